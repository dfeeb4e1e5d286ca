//! What of the log and of the recordings somebody reads, and who reads it: access to evidence is evidence.

use serde::{Deserialize, Serialize};

use crate::keys::Fingerprint;
use crate::names::{EmergencyId, HostName, PersonName};
use crate::statement::Nonce;

/// Who reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EvidenceReader {
    /// A person of the roster, by a session that their enrolled key signed for.
    Person {
        /// Who.
        person: PersonName,
        /// The enrolled key that signed the login; of one who was refused with the fresh key of an emergency, the
        /// one that declared it.
        key: Fingerprint,
    },
    /// Whoever is at the other end of the operator's socket: `operator uid 0`.
    Operator(String),
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Evidence {
    /// Entries of the log, for an hour: the enrolled key may go on, in any session, without a further entry.
    Entries,
    /// All that belongs to one emergency.
    Emergency(EmergencyId),
    /// All that happened from one time to another, unix seconds; the second not included.
    Period {
        /// The first second.
        from: u64,
        /// The second after the last.
        to: u64,
    },
    /// One recording.
    Recording {
        /// The host it was made on.
        host: HostName,
        /// Its name.
        recording: Nonce,
    },
    /// The list of recordings.
    Recordings,
}
