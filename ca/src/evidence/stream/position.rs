//! Where a stream stands: a small file of the operator's, replaced whole and flushed each time. It names the log and
//! the target it is for, and the last entry's leaf, so that it can never be used for another log, another target, or
//! a log that was put back and went another way.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::Origin;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// `fireaxe.stream-position/v1`
    pub schema: String,
    /// The log's name.
    pub log: Origin,
    /// The key that signs its heads.
    pub key: Ed25519Key,
    /// Where to, as the operator says it.
    pub to: String,
    /// Index of the next entry to send: all before it have arrived.
    pub next: u64,
    /// Leaf of the one before that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last: Option<Hash>,
}

/// Why a position cannot be used, or kept.
#[derive(Debug, Error)]
pub enum PositionError {
    /// The file, or its folder.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not what this program writes.
    #[error("{0} is no position of a stream")]
    NotOne(PathBuf),
    /// Of another log.
    #[error("{path} is the position in another log, {found}")]
    OtherLog {
        /// The file.
        path: PathBuf,
        /// The log that it names.
        found: Origin,
    },
    /// Of another target: the entries before it never went to this one.
    #[error("{path} is the position of the stream to {found}")]
    OtherTarget {
        /// The file.
        path: PathBuf,
        /// The target that it names, escaped.
        found: String,
    },
    /// The log ends before it, or has something else there.
    #[error("{path} says that entry {next} comes next, and this log ends before it or is another there")]
    PutBack {
        /// The file.
        path: PathBuf,
        /// Its index.
        next: u64,
    },
    /// Another process uses it.
    #[error("{0} is in use by another stream")]
    Busy(PathBuf),
}

/// A position and the file that holds it, if there is one.
#[derive(Debug)]
pub struct PositionFile {
    position: Position,
    file: Option<(PathBuf, File)>,
}

/// More than such a file ever has, bytes.
const LONGEST: u64 = 4096;
const SCHEMA: &str = "fireaxe.stream-position/v1";

impl PositionFile {
    /// At the log's beginning, and in memory only.
    pub fn in_memory(log: Origin, key: Ed25519Key, to: String) -> PositionFile {
        let position = Position { schema: SCHEMA.into(), log, key, to, next: 0, last: None };
        PositionFile { position, file: None }
    }

    /// As the file at `path` says; at the log's beginning if there is none. Nobody else may use it meanwhile.
    pub fn open(
        path: &Path,
        log: Origin,
        key: Ed25519Key,
        to: String,
    ) -> Result<PositionFile, PositionError> {
        let failed = |source| PositionError::File { path: path.to_owned(), source };
        let beside = with_ending(path, ".lock");
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&beside).map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| PositionError::Busy(path.to_owned()))?;
        let mut fresh = PositionFile::in_memory(log, key, to);
        fresh.file = Some((path.to_owned(), lock));
        let mut text = String::new();
        match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(fresh),
            Err(error) => return Err(failed(error)),
            Ok(file) => {
                let mut part = file.take(LONGEST);
                part.read_to_string(&mut text).map_err(|_| PositionError::NotOne(path.to_owned()))?;
            }
        }
        let found: Position =
            serde_json::from_str(&text).map_err(|_| PositionError::NotOne(path.to_owned()))?;
        let ours = &fresh.position;
        if found.schema != ours.schema || (found.next == 0) != found.last.is_none() {
            return Err(PositionError::NotOne(path.to_owned()));
        }
        if found.log != ours.log || found.key != ours.key {
            return Err(PositionError::OtherLog { path: path.to_owned(), found: found.log });
        }
        if found.to != ours.to {
            let found = fireaxe_protocol::names::shown(&found.to);
            return Err(PositionError::OtherTarget { path: path.to_owned(), found });
        }
        fresh.position = found;
        Ok(fresh)
    }

    /// Where it stands.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Whether the log has what it says: `leaf_of` gives the leaf of an entry, if there is one.
    pub fn fits(&self, leaf_of: impl FnOnce(u64) -> Option<Hash>) -> Result<(), PositionError> {
        let Position { next, last, .. } = &self.position;
        let there = next.checked_sub(1).and_then(leaf_of);
        if there == *last {
            return Ok(());
        }
        let path = self.file.as_ref().map(|(path, _)| path.clone()).unwrap_or_default();
        Err(PositionError::PutBack { path, next: *next })
    }

    /// Everything before `next` has arrived, the last with this leaf. Dying before the rename: what was sent is sent
    /// again. After it: the next start goes on from here.
    pub fn arrived(&mut self, next: u64, last: Hash) -> Result<(), PositionError> {
        let position = Position { next, last: Some(last), ..self.position.clone() };
        if let Some((path, _)) = &self.file {
            write(path, &position).map_err(|source| PositionError::File { path: path.clone(), source })?;
        }
        self.position = position;
        Ok(())
    }
}

fn write(path: &Path, position: &Position) -> Result<(), std::io::Error> {
    let fresh = with_ending(path, ".new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(format!("{}\n", serde_json::json!(position)).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> Origin {
        format!("{name}/0123456789abcdef").parse().unwrap()
    }

    fn open(path: &Path, name: &str, key: u8, to: &str) -> Result<PositionFile, PositionError> {
        PositionFile::open(path, log(name), Ed25519Key([key; 32]), to.into())
    }

    #[test]
    fn a_position_is_found_again_and_only_by_its_own_log_and_target() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("position");
        let mut first = open(&path, "fireaxe.example", 1, "stdout").unwrap();
        assert_eq!(first.position().next, 0);
        assert!(matches!(open(&path, "fireaxe.example", 1, "stdout"), Err(PositionError::Busy(_))));
        first.arrived(7, Hash([3; 32])).unwrap();
        drop(first);
        let again = open(&path, "fireaxe.example", 1, "stdout").unwrap();
        assert_eq!((again.position().next, again.position().last), (7, Some(Hash([3; 32]))));
        assert!(again.fits(|index| (index == 6).then_some(Hash([3; 32]))).is_ok());
        for other in [Some(Hash([4; 32])), None] {
            assert!(matches!(again.fits(|_| other), Err(PositionError::PutBack { next: 7, .. })));
        }
        drop(again);
        let refused = |name, key, to| open(&path, name, key, to).unwrap_err();
        assert!(matches!(refused("other.example", 1, "stdout"), PositionError::OtherLog { .. }));
        assert!(matches!(refused("fireaxe.example", 2, "stdout"), PositionError::OtherLog { .. }));
        assert!(matches!(refused("fireaxe.example", 1, "file:x"), PositionError::OtherTarget { .. }));
    }

    #[test]
    fn what_is_no_position_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("position");
        for bad in ["", "{}", "next: 7", &"x".repeat(9000)] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(open(&path, "fireaxe.example", 1, "stdout"), Err(PositionError::NotOne(_))));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
        }
    }
}
