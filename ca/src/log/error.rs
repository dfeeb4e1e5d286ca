//! What can go wrong with the log's store, told apart by what an operator does about it.

use fireaxe_protocol::log::{CheckpointError, EntryError};
use rusqlite::ErrorCode;
use thiserror::Error;

use super::mirror::MirrorError;

/// Why the log could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LogError {
    /// There is no file. `init` makes one.
    #[error("there is no log here")]
    Missing,
    /// There is a log already; it is never overwritten.
    #[error("there is a log here already")]
    Exists,
    /// `init` died before the first entry; it may be run again.
    #[error("the log was never finished: it has no first entry")]
    Unfinished,
    /// Another process writes this log.
    #[error("another process has the log open for writing")]
    Locked,
    /// The file or its folder cannot be written.
    #[error("the log cannot be written: read-only file, folder or file system")]
    ReadOnly,
    /// The file is no log of this program.
    #[error("the file is not a Fireaxe log")]
    NotALog,
    /// Written by a newer version of this program.
    #[error("the log has schema {found}; this program knows up to {known}")]
    NewerSchema {
        /// The file's.
        found: i64,
        /// This program's.
        known: i64,
    },
    /// The bytes contradict each other or their signed head. Nothing is signed on top of that.
    #[error("the log is damaged: {0}")]
    Corrupt(&'static str),
    /// No space left.
    #[error("the disk is full")]
    Full,
    /// The operating system failed a read or write. SQLite's extended code, or the system's own negated.
    #[error("reading or writing the log failed (code {0})")]
    Io(i32),
    /// Another error of SQLite: its extended code.
    #[error("the log's database failed (SQLite code {0})")]
    Database(i32),
    /// The second copy could not be written, so that nothing may leave that only the first holds; or it says
    /// that this log has lost entries.
    #[error("the mirror: {0}")]
    Mirror(#[from] MirrorError),
    /// An earlier write failed and the head in memory may not be the one on disk. `recover` first.
    #[error("an earlier write failed; the log must recover before it is used")]
    Poisoned,
    /// What is to be settled belongs to another batch: that one may not have been written.
    #[error("that entry belongs to another batch")]
    OtherBatch,
    /// No such entry, tile or checkpoint yet.
    #[error("the log does not reach that far")]
    OutOfRange,
    /// An entry may not be older than the one before it.
    #[error("the clock went back: the last entry is of {last}, this one of {at}")]
    TimeWentBack {
        /// The last entry's time, unix seconds.
        last: u64,
        /// The refused one's.
        at: u64,
    },
    /// `log.created` belongs at index 0, and only there.
    #[error("log.created is the first entry, and only the first")]
    Misplaced,
    /// A batch without entries: a checkpoint over nothing new.
    #[error("there is nothing to commit")]
    EmptyBatch,
    /// The signer's name or key is not the one the log was created with.
    #[error("that key does not sign this log")]
    WrongSigner,
    /// The entry has no bytes.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The checkpoint was not signed, or is not this log's.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> LogError {
        let extended = error.sqlite_extended_error_code().unwrap_or(0);
        match error.sqlite_error_code() {
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => LogError::ReadOnly,
            Some(ErrorCode::DiskFull) => LogError::Full,
            Some(ErrorCode::DatabaseCorrupt) => LogError::Corrupt("the database file"),
            Some(ErrorCode::NotADatabase) => LogError::NotALog,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LogError::Locked,
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => LogError::Io(extended),
            Some(_) => LogError::Database(extended),
            // Not SQLite's own: a column of another type than the schema says.
            None => LogError::Corrupt("a row of another shape"),
        }
    }
}

impl From<std::io::Error> for LogError {
    fn from(error: std::io::Error) -> LogError {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::NotFound => LogError::Missing,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => LogError::ReadOnly,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => LogError::Full,
            ErrorKind::WouldBlock => LogError::Locked,
            _ => LogError::Io(-error.raw_os_error().unwrap_or(0)),
        }
    }
}
