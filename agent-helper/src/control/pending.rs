//! What waits: an emergency whose request has not been decided by the people it needs. The agent remembers
//! it with its key, so that whoever comes later (`status`, the follower) can take up what was granted.

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{ActionName, EmergencyId, HostName, Origin, SystemName, TierName};
use serde::{Deserialize, Serialize};

use super::Held;

/// What the person asked to be made smaller: whatever is granted must stay within it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// This tier.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) want: Option<TierName>,
    /// This one command.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) action: Option<ActionName>,
    /// At most so many seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) for_s: Option<u32>,
}

/// An emergency with something that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pending {
    /// Which.
    pub(crate) emergency: EmergencyId,
    /// Leaf of its `emergency.declared` entry.
    pub(crate) declaration: Hash,
    /// Whose log.
    pub(crate) origin: Origin,
    /// Its key, born in this agent.
    pub(crate) public_key: Ed25519Key,
    /// The system.
    pub(crate) system: SystemName,
    /// The one host, if it is one.
    pub(crate) host: Option<HostName>,
    /// A marked rehearsal.
    pub(crate) drill: bool,
    /// What was asked for.
    pub(crate) asked: Asked,
    /// The tier that waits; nothing while the claim waits for a second signature.
    pub(crate) tier: Option<TierName>,
    /// When the waiting ends by itself, unix seconds.
    pub(crate) until: u64,
}

impl Pending {
    /// The same emergency as one that is held: for whatever else is asked about it.
    pub(crate) fn of(held: &Held) -> Pending {
        Pending {
            emergency: held.emergency,
            declaration: held.declaration,
            origin: held.origin.clone(),
            public_key: held.public_key,
            system: held.system.clone(),
            host: held.host.clone(),
            drill: held.drill,
            asked: Asked { want: None, action: held.action.clone(), for_s: None },
            tier: None,
            until: held.valid_before,
        }
    }

    /// The host, or the system.
    pub(crate) fn reach(&self) -> &str {
        self.host.as_ref().map_or(self.system.as_str(), |host| host.as_str())
    }
}
