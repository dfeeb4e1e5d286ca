//! What is remembered between runs: which list is in force, and when that was last confirmed.
//!
//! Not trusted for anything but "never backwards": whoever can write it can keep a host from taking lists,
//! not make it take one. Lost or damaged, the version in the list itself takes its place.

use std::fs;
use std::path::Path;

use fireaxe_protocol::log::Hash;
use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::HostError;

/// The state file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// `fireaxe.host-krl/v1`
    pub schema: String,
    /// The newest version ever taken.
    pub version: u64,
    /// SHA-256 of its bytes.
    pub hash: Hash,
    /// When the CA signed its note. Unix seconds, the CA's clock.
    pub signed_at: u64,
    /// When the CA last said that this is the newest. Unix seconds, this host's clock.
    pub confirmed_at: u64,
    /// How the CA names these bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub etag: Option<String>,
}

const FILE: &str = "krl.json";

impl State {
    /// Reads it; `None` when there is none or it is damaged.
    pub fn read(folder: &Path) -> Option<State> {
        let text = fs::read_to_string(folder.join(FILE)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes it, as a whole.
    pub fn write(&self, folder: &Path) -> Result<(), HostError> {
        atomic::folder(folder)?;
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| HostError::Write { path: folder.join(FILE), why: error.to_string() })?;
        atomic::write(&folder.join(FILE), (text + "\n").as_bytes()).map(|_| ())
    }
}
