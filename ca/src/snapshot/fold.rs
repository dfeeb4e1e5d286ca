//! Entries into a state: all of them, or those after a snapshot.

use std::path::Path;

use fireaxe_protocol::log::{Entry, Hash};
use thiserror::Error;

use super::file::{self, Snapshot, Unfit};
use crate::log::{Beginning, LogError, Reader};
use crate::state::{FoldError, State};

/// Why there is no state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FoldFailed {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Its entries are not what this program writes.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// It has no entry.
    #[error("the log is empty")]
    Empty,
}

/// The state of today, the short way if there is one: from the snapshot at `path` and the entries after it.
/// A snapshot that does not fit, or that the entries after it do not fit, is moved aside and said to be, and the
/// log is folded whole. A fault of the log itself, or of the disk, moves nothing.
pub fn latest(reader: &Reader, path: Option<&Path>) -> Result<State, FoldFailed> {
    let Some(path) = path else { return Ok(fold(reader)?.state) };
    let (why, is_its_own) = match file::read(path, reader) {
        Ok(None) => return Ok(fold(reader)?.state),
        Ok(Some(snapshot)) => {
            let from = snapshot.beginning.size;
            match after(reader, snapshot) {
                Ok(now) => {
                    tracing::info!(event = "snapshot.used", from, entries = now.state.entries());
                    return Ok(now.state);
                }
                Err(FoldFailed::Fold(error)) => (error.to_string(), true),
                // What a whole fold would meet too, later.
                Err(error) => return Err(error),
            }
        }
        Err(unfit) => (unfit.to_string(), !matches!(unfit, Unfit::File(_) | Unfit::Log(_))),
    };
    tracing::warn!(event = "snapshot.set_aside", path = %path.display(), %why);
    if is_its_own && let Err(error) = file::set_aside(path) {
        tracing::warn!(event = "snapshot.not_moved", path = %path.display(), %error);
    }
    Ok(fold(reader)?.state)
}

/// Reads the whole log into a state. What it was given is proved against the newest checkpoint before the state
/// is handed out. Its `whole_at` is the time of its last entry.
pub fn fold(reader: &Reader) -> Result<Snapshot, FoldFailed> {
    fold_past(reader, |_| ())
}

/// [`fold`], which shows the state after each entry to `each`.
pub(super) fn fold_past(reader: &Reader, mut each: impl FnMut(&State)) -> Result<Snapshot, FoldFailed> {
    let (mut state, mut fault) = (None, None);
    let head = reader.replay(|index, entry, leaf| {
        if fault.is_some() {
            return;
        }
        let taken = match &mut state {
            None => State::begin(&entry).map(|first| state = Some(first)),
            Some(state) => take(state, index, &entry, leaf),
        };
        fault = taken.err();
        state.iter().for_each(&mut each);
    })?;
    match (fault, state) {
        (Some(fault), _) => Err(fault.into()),
        (None, None) => Err(FoldFailed::Empty),
        (None, Some(state)) => {
            let beginning = Beginning { size: head.size, root: head.root, last_at: state.last_at() };
            Ok(Snapshot { whole_at: state.last_at(), state, beginning })
        }
    }
}

/// What came since `before`, folded into it, proved as [`Reader::replay_after`] says.
pub(super) fn after(reader: &Reader, before: Snapshot) -> Result<Snapshot, FoldFailed> {
    let Snapshot { mut state, beginning, whole_at } = before;
    let mut fault = None;
    let head = reader.replay_after(&beginning, |index, entry, leaf| {
        if fault.is_none() {
            fault = take(&mut state, index, &entry, leaf).err();
        }
    })?;
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    let beginning = Beginning { size: head.size, root: head.root, last_at: state.last_at() };
    Ok(Snapshot { state, beginning, whole_at })
}

fn take(state: &mut State, index: u64, entry: &Entry, leaf: Hash) -> Result<(), FoldError> {
    state.apply(index, entry.at, &entry.event, entry.body.as_deref(), leaf)
}
