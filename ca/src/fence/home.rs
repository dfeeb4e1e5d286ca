//! Where a log lies: so that a copy made by hand is told from the log that was served last.
//!
//! `log.home` names the file (its inode, when it was born, its device) and the machine. A copy is another file,
//! born later; a disk that is cloned and booted elsewhere is on another machine. The device's number is written
//! down for people only: kernels give it anew at each boot. Nobody is kept from anything by this who means to be
//! deceived by it: it is against accidents.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use fireaxe_protocol::log::Hash;
use serde::{Deserialize, Serialize};

use super::doubt::{Mark, Why};
use super::{FenceError, read};
use crate::data_dir::{DataDir, put_whole};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Home {
    v: u8,
    /// Hash of `/etc/machine-id`, which is not to be shown; a container may have none.
    machine: Option<Hash>,
    device: u64,
    inode: u64,
    /// Nanoseconds since 1970; some file systems do not say.
    born: Option<u64>,
}

impl Home {
    fn of(log: &Path) -> std::io::Result<Home> {
        let found = std::fs::metadata(log)?;
        let born = found.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let machine = Some(id.trim()).filter(|id| !id.is_empty());
        Ok(Home {
            v: 1,
            machine: machine.map(|id| Hash::of(format!("fireaxe log.home\n{id}").as_bytes())),
            device: found.dev(),
            inode: found.ino(),
            born: born.and_then(|since| u64::try_from(since.as_nanos()).ok()),
        })
    }

    /// Whether the log that is here now is another file than the one that was served last. What one of the two
    /// does not say counts for nothing.
    fn is_another(&self, now: &Home) -> bool {
        fn differ<T: PartialEq>(before: &Option<T>, now: &Option<T>) -> bool {
            matches!((before, now), (Some(before), Some(now)) if before != now)
        }
        self.inode != now.inode || differ(&self.born, &now.born) || differ(&self.machine, &now.machine)
    }
}

/// Looks whether the log is where it was, and gives the mark, if there is one or must be one now.
pub(super) fn settle(dir: &DataDir, size: u64) -> Result<Option<Mark>, FenceError> {
    let path = dir.log_home();
    let failed = |source| FenceError::File { path: path.clone(), source };
    let now = Home::of(&dir.log()).map_err(failed)?;
    let before: Option<Home> = json(&path)?;
    if before.as_ref().is_some_and(|before| before.is_another(&now)) && look(dir)?.is_none() {
        // Dying between the two: marked already, and found to be a copy again.
        mark(dir, &Mark { v: 1, why: Why::Copied, size, refilled: false })?;
    }
    if before.as_ref() != Some(&now) {
        put_whole(&path, &serde_json::to_vec(&now).unwrap_or_default()).map_err(failed)?;
    }
    look(dir)
}

/// The mark.
pub(super) fn look(dir: &DataDir) -> Result<Option<Mark>, FenceError> {
    json(&dir.unconfirmed())
}

/// Writes it.
pub(super) fn mark(dir: &DataDir, mark: &Mark) -> Result<(), FenceError> {
    let path = dir.unconfirmed();
    let text = serde_json::to_vec(mark).unwrap_or_default();
    put_whole(&path, &text).map_err(|source| FenceError::File { path, source })
}

/// Takes it away: the log's head is confirmed.
pub(super) fn confirmed(dir: &DataDir) -> Result<(), FenceError> {
    let path = dir.unconfirmed();
    std::fs::remove_file(&path).map_err(|source| FenceError::File { path, source })
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, FenceError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|_| FenceError::Damaged(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_or_machine_is_another_log_and_another_device_number_is_not() {
        let home = Home { v: 1, machine: Some(Hash([1; 32])), device: 5, inode: 7, born: Some(9) };
        let booted = Home { device: 6, ..home.clone() };
        assert!(!home.is_another(&home) && !home.is_another(&booted));
        for other in [
            Home { inode: 8, ..home.clone() },
            Home { born: Some(10), ..home.clone() },
            Home { machine: Some(Hash([2; 32])), ..home.clone() },
        ] {
            assert!(home.is_another(&other), "{other:?}");
        }
        // A file system or a container that does not say.
        assert!(!home.is_another(&Home { machine: None, born: None, ..home.clone() }));
    }

    #[test]
    fn a_copy_is_marked_until_it_is_confirmed_and_the_log_that_stays_is_not() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = DataDir::at(here.path());
        std::fs::write(dir.log(), "log").unwrap();
        assert_eq!(settle(&dir, 3).unwrap(), None);
        assert_eq!(settle(&dir, 3).unwrap(), None);
        let copy = DataDir::at(there.path());
        for (from, to) in [(dir.log(), copy.log()), (dir.log_home(), copy.log_home())] {
            std::fs::copy(from, to).unwrap();
        }
        let mark = Some(Mark { v: 1, why: Why::Copied, size: 3, refilled: false });
        assert_eq!(settle(&copy, 3).unwrap(), mark);
        // Also when it is started again where it is now.
        assert_eq!(settle(&copy, 3).unwrap(), mark);
        confirmed(&copy).unwrap();
        assert_eq!(settle(&copy, 3).unwrap(), None);
        assert_eq!(settle(&dir, 3).unwrap(), None);
        std::fs::write(dir.unconfirmed(), "{").unwrap();
        assert!(matches!(settle(&dir, 3), Err(FenceError::Damaged(_))));
    }
}
