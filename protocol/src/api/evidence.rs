//! What people with the role auditor read.

use serde::{Deserialize, Serialize};

use crate::host::Recorded;
use crate::names::{EmergencyId, HostName};
use crate::statement::Nonce;

/// `GET /v1/recordings`: what there is of recordings, by host and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recordings {
    /// `fireaxe.recordings/v1`
    pub schema: String,
    /// At most [`crate::limits::RECORDINGS_LISTED`].
    pub recordings: Vec<RecordingLine>,
    /// There may be more: what to ask for as `after`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// One recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingLine {
    /// The host it was made on.
    pub host: HostName,
    /// Its name.
    pub recording: Nonce,
    /// How it stands.
    pub state: RecordingState,
    /// Whose it is, as far as the log knows the connection.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub emergency: Option<EmergencyId>,
    /// Bytes of it on the CA's disk.
    pub bytes: u64,
    /// What it must come to, as its host signed when the connection ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reported: Option<Recorded>,
}

/// How a recording stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordingState {
    /// It is here, and the log has what it must come to.
    Reported,
    /// It is here; its connection is open, or its end was not reported yet.
    NotReported,
    /// It was reported, and is not here.
    Missing,
    /// It was here until the policy's time for it was over.
    Expired,
}
