//! Makes the next snapshot, beside the road and never on it: with a reader of its own, from the one before and
//! the entries since. Now and then from entry 0 on, and then the one before must be what comes out at its entry:
//! so whatever a start from a snapshot did not read again is read within a week.
//!
//! When is the caller's; [`is_due`] says how often.

use std::path::PathBuf;

use fireaxe_protocol::log::NoteSigner;
use thiserror::Error;

use super::file::{self, Snapshot, Unfit};
use super::fold::{FoldFailed, after, fold_past};
use crate::log::{LogError, Reader};

/// What [`Maker::make`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Entries that the newest snapshot holds.
    pub entries: u64,
    /// Bytes of it; nothing if the one before is of the same entries and stays.
    pub bytes: Option<usize>,
    /// Whether it was folded from entry 0 on.
    pub whole: bool,
    /// The one before was signed by this log's key and is not what the log comes to. A CA that began with it
    /// decides by a past that is not in its log: it must begin anew.
    pub was_wrong: bool,
}

/// Why none was made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MakeFailed {
    /// The log cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldFailed),
    /// It cannot be written.
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

impl From<LogError> for MakeFailed {
    fn from(error: LogError) -> MakeFailed {
        MakeFailed::Fold(error.into())
    }
}

/// See the file's top.
pub struct Maker {
    /// Nobody else's.
    pub reader: Reader,
    /// Where the snapshot lies.
    pub path: PathBuf,
    /// By the name of [`fireaxe_protocol::log::SnapshotNote::key_name`].
    pub signer: NoteSigner,
}

impl Maker {
    /// Makes one of all entries that are there now. In memory meanwhile: one more state, or two when it reads the
    /// whole log and compares, and the bytes of one.
    pub fn make(&self) -> Result<Made, MakeFailed> {
        let before = match file::read(&self.path, &self.reader) {
            Ok(before) => before,
            Err(unfit) => {
                tracing::warn!(event = "snapshot.unfit", path = %self.path.display(), %unfit);
                None
            }
        };
        let entries = self.reader.size()?;
        let newest = self.reader.entry(entries.saturating_sub(1))?.at;
        let (snapshot, whole, was_wrong) = match before {
            Some(before) if newest.saturating_sub(before.whole_at) < WHOLE_EVERY_S => {
                if before.beginning.size == entries {
                    return Ok(Made { entries, bytes: None, whole: false, was_wrong: false });
                }
                (after(&self.reader, before)?, false, false)
            }
            before => {
                let (snapshot, was_wrong) = self.whole(before.as_ref())?;
                (snapshot, true, was_wrong)
            }
        };
        let bytes = Some(file::write(&self.path, &snapshot, &self.signer)?);
        Ok(Made { entries: snapshot.beginning.size, bytes, whole, was_wrong })
    }

    /// From entry 0 on, and whether the one before is not what comes out on the way.
    fn whole(&self, before: Option<&Snapshot>) -> Result<(Snapshot, bool), MakeFailed> {
        let mut was_wrong = false;
        let snapshot = fold_past(&self.reader, |state| {
            was_wrong |= before.is_some_and(|b| b.beginning.size == state.entries() && b.state != *state);
        })?;
        Ok((snapshot, was_wrong))
    }
}

/// Whether it is time for the next one: `entries` are in the log, the last one made in this process held `last`
/// and was made `ago_s` seconds ago. The first look makes one, whatever came since.
pub fn is_due(entries: u64, last: Option<(u64, u64)>) -> bool {
    match last {
        _ if entries < WORTH => false,
        None => true,
        Some((last, ago_s)) => {
            let since = entries.saturating_sub(last);
            since >= EVERY || since > 0 && ago_s >= AT_LEAST_S
        }
    }
}

/// A smaller log has no snapshot: it is read whole at each start, at some tens of microseconds an entry.
pub const WORTH: u64 = 10_000;
/// As many entries are folded within two seconds, and the rest of a start is a snapshot.
const EVERY: u64 = 50_000;
/// A day, in seconds.
const AT_LEAST_S: u64 = 86_400;
/// How long, in seconds of the log's time, snapshots are made of snapshots: a week.
const WHOLE_EVERY_S: u64 = 7 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_due_at_the_first_look_then_after_so_many_entries_or_a_day() {
        assert!(!is_due(WORTH - 1, None), "a small log has none");
        assert!(is_due(WORTH, None));
        assert!(!is_due(WORTH + EVERY - 1, Some((WORTH, AT_LEAST_S - 1))));
        assert!(is_due(WORTH + EVERY, Some((WORTH, 0))));
        assert!(is_due(WORTH + 1, Some((WORTH, AT_LEAST_S))));
        assert!(!is_due(WORTH, Some((WORTH, u64::MAX))), "nothing came");
    }
}
