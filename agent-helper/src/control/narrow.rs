//! A certificate for one host: what the agent says to the process that asks the CA for it, and takes from it.

use fireaxe_protocol::certificate::Within;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{EmergencyId, HostName, Origin, PersonName};
use fireaxe_protocol::policy::Terms;
use serde::{Deserialize, Serialize};

/// Of which emergency, for which host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Narrow {
    /// The emergency.
    pub(crate) emergency: EmergencyId,
    /// Whose log.
    pub(crate) origin: Origin,
    /// The host.
    pub(crate) host: HostName,
}

/// What certificates for single hosts are held against: as it was known when the wide one was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pinned {
    /// Leaf of the entry whose decision gave the wide one.
    pub(crate) of: Hash,
    /// Who holds it.
    pub(crate) person: PersonName,
    /// Signs user certificates.
    pub(crate) user_ca: Ed25519Key,
    /// Signs host certificates: only hosts of its are asked for.
    pub(crate) host_ca: Ed25519Key,
}

/// What is held, to be narrowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Narrowing {
    /// Its key.
    pub(crate) public_key: Ed25519Key,
    /// Its terms.
    pub(crate) terms: Terms,
    /// Leaf of the entry whose decision gave it.
    pub(crate) of: Hash,
    /// Its serial and its end: what one for a host must say that it was made of.
    pub(crate) within: Within,
}

/// A certificate for one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNarrowed {
    /// One line of OpenSSH text.
    pub(crate) certificate: String,
    /// Its terms.
    pub(crate) terms: Terms,
}
