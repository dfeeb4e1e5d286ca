//! A copy of the whole log in a folder, as an auditor keeps it: plain C2SP tlog-tiles (`checkpoint`, `tile/...`),
//! which `fireaxe-ca log verify --tiles` and other programs read.
//!
//! Nothing is kept that the log's signed head does not prove: `tree.rs` holds each hash tile against the one above it
//! and entries against their leaves. A head is taken only if the one before it is its beginning, computed from the
//! tiles themselves. `folder.rs` is the disk, `fetch.rs` the order of steps; who asks the CA is the verb.
//!
//! **Trusted or not.** Whoever can change the folder can take parts away, which the next fetch brings back, or change
//! entries that were fetched before, which `log verify` finds.

mod fetch;
mod folder;
mod tree;

pub(crate) use fetch::fetch;
pub(crate) use folder::Folder;
pub(crate) use tree::Source;

use thiserror::Error;

/// Why a copy cannot be made, or is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CopyError {
    /// The disk.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        why: String,
    },
    /// Its `checkpoint` is not this log's.
    #[error("{path} is not a head of the log that this CA keeps: {why}")]
    Foreign {
        /// Which.
        path: String,
        /// Why not.
        why: String,
    },
    /// Another fetch.
    #[error("another fetch is at work in {0}")]
    Busy(String),
    /// What was served is not what the head says.
    #[error("{place} is not what the log's own head of {size} entries says; it was not kept")]
    Refused {
        /// A tile's path, and the entry where it is one.
        place: String,
        /// The head's size.
        size: u64,
    },
    /// Two pasts.
    #[error("{0}")]
    Forked(String),
    /// A shorter log than the one that is here already.
    #[error(
        "the CA shows a head of {shown} entries and this copy has seen {seen}: the CA was put back to an older state"
    )]
    Behind {
        /// Here.
        seen: u64,
        /// There.
        shown: u64,
    },
}

impl CopyError {
    /// A stable code, for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            CopyError::File { .. } => "copy.file",
            CopyError::Foreign { .. } => "copy.foreign",
            CopyError::Busy(_) => "copy.busy",
            CopyError::Refused { .. } => "copy.refused",
            CopyError::Forked(_) => "log.forked",
            CopyError::Behind { .. } => "log.behind",
        }
    }

    /// What to type next.
    pub(crate) fn next(&self) -> &'static str {
        match self {
            CopyError::File { .. } => "make room, or see to it that the folder is yours; then the same again",
            CopyError::Foreign { .. } => {
                "fetch into another folder   (fireaxe doctor says which log this is)"
            }
            CopyError::Busy(_) => "wait until it is done; then the same again",
            CopyError::Refused { .. } => {
                "keep the folder and tell security: what answers as the CA changed its log on the way"
            }
            CopyError::Forked(_) => {
                "keep the folder and tell security: the log's key has signed two pasts (docs/OPERATIONS.md)"
            }
            CopyError::Behind { .. } => {
                "keep the folder and tell the CA's operator: this copy has what it lost"
            }
        }
    }
}
