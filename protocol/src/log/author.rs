//! Who is behind an entry, with the words that they signed.

use serde::{Deserialize, Serialize};

use crate::keys::Fingerprint;
use crate::log::Hash;
use crate::names::{HostName, PersonName};
use crate::policy::Presence;
use crate::statement::Envelope;

/// Who or what closed an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Closer {
    /// Its owner or somebody with the role, by a signed statement.
    Person {
        /// Who.
        person: PersonName,
        /// The signed words, verbatim.
        closed: Envelope,
        /// Which enrolled key signed.
        key: Fingerprint,
        /// A FIDO key's signature counter.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        counter: Option<u32>,
    },
    /// Its time ran out.
    Deadline,
    /// Its incident was resolved and the countdown ended.
    Grace,
    /// A bare claim that was never tied to an incident: flagged.
    Unlinked,
    /// The key that declared it, or its person, is no longer in the roster.
    Removed,
}

/// A statement, verbatim, and what its signature proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedBy {
    /// Who signed.
    pub person: PersonName,
    /// The signed words, verbatim.
    pub said: Envelope,
    /// Which enrolled key signed.
    pub key: Fingerprint,
    /// What the signature proves about the human.
    pub presence: Presence,
    /// A FIDO key's signature counter.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub counter: Option<u32>,
}

/// A host's report, verbatim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSaid {
    /// Leaf of the host's `host.enrolled` entry, whose key signed.
    pub of: Hash,
    /// The host's name.
    pub host: HostName,
    /// The signed words, verbatim.
    pub said: Envelope,
}

/// Who put a bundle in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Activation {
    /// The operator who made the log.
    Init,
    /// The quorum of policy admins that the bundle before names. In the order sent.
    Admins(Vec<SignedBy>),
}
