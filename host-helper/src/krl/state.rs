//! What is remembered between runs: which list is in force, and when that was last confirmed.
//!
//! Not trusted for anything but "never backwards": whoever can write it can keep a host from taking lists,
//! not make it take one. Lost or damaged, the version in the list itself takes its place.

use std::fs;
use std::path::{Path, PathBuf};

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
/// Below it, in memory, is what the state's own disk has no room for; gone after a boot.
const RUN: &str = "/run/fireaxe/krl";

impl State {
    /// Reads it; `None` when there is none or it is damaged. Of the disk's and the memory's the newer counts.
    pub fn read(folder: &Path) -> Option<State> {
        State::newer(folder, &in_memory(folder))
    }

    /// Writes it, as a whole: to the disk, or to memory when the disk takes nothing. A list that the CA has
    /// confirmed must not grow old because of a full disk.
    pub fn write(&self, folder: &Path) -> Result<(), HostError> {
        self.put(folder, &in_memory(folder))
    }

    /// Forgets what is in memory of the state in this folder.
    pub(crate) fn forget(folder: &Path) -> Result<(), HostError> {
        atomic::remove(&in_memory(folder).join(FILE)).map(drop)
    }

    fn newer(folder: &Path, memory: &Path) -> Option<State> {
        let read = |folder: &Path| -> Option<State> {
            serde_json::from_str(&fs::read_to_string(folder.join(FILE)).ok()?).ok()
        };
        let there = [folder, memory].into_iter().filter_map(read);
        there.max_by_key(|state| (state.version, state.signed_at, state.confirmed_at))
    }

    fn put(&self, folder: &Path, memory: &Path) -> Result<(), HostError> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| HostError::Write { path: folder.join(FILE), why: error.to_string() })?;
        let text = text + "\n";
        let to = |folder: &Path| {
            atomic::folder(folder)?;
            atomic::write(&folder.join(FILE), text.as_bytes())
        };
        match to(folder) {
            Ok(_) => {
                // A crash before it is gone: it is the older one. What stays of it is that, too.
                let _ = fs::remove_file(memory.join(FILE));
                Ok(())
            }
            Err(error) => to(memory).map(drop).map_err(|_| error),
        }
    }
}

/// Where the state of this folder is in memory: below [`RUN`] under its own path.
fn in_memory(folder: &Path) -> PathBuf {
    Path::new(RUN).join(folder.strip_prefix("/").unwrap_or(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_nothing_does_not_let_a_list_grow_old_and_the_newer_state_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, memory) = (dir.path().join("disk"), dir.path().join("memory"));
        let state = |signed_at| State {
            schema: "fireaxe.host-krl/v1".into(),
            version: 5,
            hash: Hash([5; 32]),
            signed_at,
            confirmed_at: signed_at,
            etag: None,
        };
        let put = |signed_at| state(signed_at).put(&disk, &memory).unwrap();
        put(100);
        assert!(!memory.exists());
        // As root only a folder in the place of the file that is written first refuses.
        let refuses = disk.join(".krl.json.new");
        fs::create_dir(&refuses).unwrap();
        put(200);
        assert_eq!(State::newer(&disk, &memory), Some(state(200)));
        fs::remove_dir(&refuses).unwrap();
        put(300);
        assert_eq!(State::newer(&disk, &memory), Some(state(300)));
        assert!(!memory.join(FILE).exists());
        assert_eq!(in_memory(Path::new("/var/lib/fireaxe")), Path::new("/run/fireaxe/krl/var/lib/fireaxe"));
    }
}
