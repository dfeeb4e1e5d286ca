//! Verifying a whole log from its bytes: tree, checkpoints, statements, decisions, certificates, state.
//!
//! Independent of the code that wrote it where it can be: the tree is recomputed here from the leaves
//! alone, signatures are checked again, facts gathered again from the words and the state before them and
//! decided again (`said.rs`, `hosts.rs`), what must stand next is asked for (`follows.rs`), and only then the fold is asked
//! whether the entries may follow each other.
//! Reads only.

mod follows;
mod hosts;
mod known;
mod reported;
mod said;

use std::ops::ControlFlow;

use fireaxe_protocol::log::tree::{leaf_hash, node_hash};
use fireaxe_protocol::log::{Checkpoint, Entry, Event, Hash, NoteKey, PinnedKeys};
use fireaxe_protocol::names::Origin;
use thiserror::Error;

use crate::log::{LogError, Reader};
use crate::state::State;

/// Something wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("entry {entry}: {what}")]
pub struct Found {
    /// Index of the entry, or size of the checkpoint.
    pub entry: u64,
    /// What is wrong.
    pub what: String,
}

/// What was read and found good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries.
    pub entries: u64,
    /// Signed heads.
    pub checkpoints: u64,
    /// Signed statements.
    pub statements: u64,
    /// Decisions that came out the same again.
    pub decisions: u64,
    /// Reports of hosts.
    pub reports: u64,
    /// Certificate bodies that are what their terms say.
    pub certificates: u64,
    /// The root over all entries, if there are any.
    pub root: Option<Hash>,
}

/// Entries read in one go.
const CHUNK: u64 = 4096;

/// At most this many findings are collected: a log that is wrong throughout says so early.
const FINDINGS: usize = 100;

/// Reads everything. `progress` is told the number of entries read so far.
pub fn verify(reader: &Reader, progress: &mut dyn FnMut(u64)) -> Result<(Tally, Vec<Found>), LogError> {
    let mut check = Check::default();
    let mut next = 0;
    let mut head = check.head_after(reader, 0)?;
    loop {
        let before = next;
        reader.entries(next, CHUNK, |_, bytes| {
            check.entry(next, bytes);
            next += 1;
            // Stops where a checkpoint stands, so that it is compared with the tree as it was.
            let reached = head.as_ref().is_some_and(|(size, _)| *size == next);
            if reached || check.found.len() >= FINDINGS {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if check.found.len() >= FINDINGS {
            return Ok((check.tally, check.found));
        }
        if let Some((size, note)) = head.take_if(|(size, _)| *size == next) {
            check.checkpoint(size, &note);
            head = check.head_after(reader, next)?;
        }
        if next == before {
            break;
        }
        progress(next);
    }
    if let Some((size, _)) = head {
        check.note(size, "a checkpoint covers more entries than there are: the end of the log is missing");
    }
    if check.tally.entries > check.covered {
        check.note(check.covered, "no checkpoint covers the entries from here on");
    }
    check.tally.root = check.tree.root();
    Ok((check.tally, check.found))
}

#[derive(Default)]
struct Check {
    tree: Tree,
    state: Option<State>,
    keys: Option<(NoteKey, Origin, PinnedKeys)>,
    covered: u64,
    tally: Tally,
    found: Vec<Found>,
    /// What entries said that later ones refer to.
    known: known::Known,
    /// A self-test whose certificate stands next.
    tested: Option<hosts::Tested>,
    /// What must stand next.
    follows: follows::Follows,
}

impl Check {
    fn note(&mut self, entry: u64, what: impl Into<String>) {
        self.found.push(Found { entry, what: what.into() });
    }

    fn head_after(&mut self, reader: &Reader, size: u64) -> Result<Option<(u64, String)>, LogError> {
        let (_, note) = match reader.checkpoint_covering(size) {
            Ok(found) => found,
            Err(LogError::OutOfRange) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Unverified here: only where it says it belongs. Its signature is checked when it is reached.
        match note.split_once("\n\n").and_then(|(text, _)| Checkpoint::parse(&format!("{text}\n")).ok()) {
            Some(says) if says.size > size => Ok(Some((says.size, note))),
            _ => {
                self.note(size, "the checkpoint after it cannot be read");
                Ok(None)
            }
        }
    }

    fn entry(&mut self, index: u64, bytes: &[u8]) {
        let leaf = leaf_hash(bytes);
        self.tree.push(leaf);
        self.tally.entries += 1;
        let entry = match Entry::decode(bytes) {
            Ok(entry) => entry,
            Err(error) => return self.note(index, error.to_string()),
        };
        if entry.index != index {
            self.note(index, format!("it says that it is entry {}", entry.index));
        }
        if index == 0 {
            match State::begin(&entry) {
                Ok(state) => {
                    match NoteKey::new(state.origin().as_str(), &state.keys().log) {
                        Ok(log) => self.keys = Some((log, state.origin().clone(), state.keys().clone())),
                        Err(error) => self.note(index, format!("the log key it pins: {error}")),
                    }
                    self.state = Some(state);
                }
                Err(error) => self.note(index, error.to_string()),
            }
            return;
        }
        let Some(mut state) = self.state.take() else { return };
        for what in self.follows.before(&state, &entry) {
            self.note(index, what);
        }
        self.says(&state, &entry, leaf);
        let before = state.bundle().cloned().zip(state.activation());
        match state.apply(index, entry.at, &entry.event, entry.body.as_deref(), leaf) {
            Ok(()) => {
                if let Event::BundleActivated { by, .. } = &entry.event {
                    self.activation(index, entry.at, before, &state, by);
                }
                self.follows.after(&state, &entry, leaf);
                self.state = Some(state);
            }
            // What follows would only repeat this finding.
            Err(error) => self.note(index, format!("it does not follow from what is before it: {error}")),
        }
    }

    fn checkpoint(&mut self, size: u64, note: &str) {
        self.covered = size;
        self.tally.checkpoints += 1;
        let missing = self.state.as_ref().map(|state| self.follows.at_head(state));
        missing.unwrap_or_default().into_iter().for_each(|what| self.note(size, what));
        let Some((key, origin, _)) = &self.keys else { return };
        match Checkpoint::open(note, key, origin).ok() {
            None => self.note(size, "the checkpoint here is not signed by the log's key"),
            Some(checkpoint) if checkpoint.size != size || Some(checkpoint.root) != self.tree.root() => {
                self.note(size, "the checkpoint here is not over these entries");
            }
            Some(_) => {}
        }
    }
}

/// RFC 6962, from leaves alone: complete subtrees on a stack, the largest first.
#[derive(Default)]
struct Tree {
    stack: Vec<(u64, Hash)>,
}

impl Tree {
    fn push(&mut self, leaf: Hash) {
        let mut top = (1, leaf);
        while let Some((size, left)) = self.stack.pop_if(|(size, _)| *size == top.0) {
            top = (size * 2, node_hash(&left, &top.1));
        }
        self.stack.push(top);
    }

    fn root(&self) -> Option<Hash> {
        let (last, before) = self.stack.split_last()?;
        Some(before.iter().rev().fold(last.1, |right, (_, left)| node_hash(left, &right)))
    }
}
