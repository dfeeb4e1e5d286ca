//! The checks of a whole log, in order: the tree as it grows, each entry against the state before it, each head
//! against the tree. What could be looked at without state was (`read.rs`).

use fireaxe_protocol::log::{Checkpoint, Event, NoteKey, PinnedKeys};
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::statement::{Envelope, SignatureError};

use super::read::{Looked, Looker, One, Spoken};
use super::source::SourceError;
use super::tree::Tree;
use super::{FINDINGS, Found, Tally, evidence, follows, hosts, known, pipeline};
use crate::state::State;

#[derive(Default)]
pub(super) struct Check {
    tree: Tree,
    state: Option<State>,
    pub(super) keys: Option<(NoteKey, Origin, PinnedKeys)>,
    covered: u64,
    /// Heads that are signed and not over these entries.
    unfit: u64,
    pub(super) tally: Tally,
    pub(super) found: Vec<Found>,
    /// What entries said that later ones refer to.
    pub(super) known: known::Known,
    /// A self-test whose certificate stands next.
    pub(super) tested: Option<hosts::Tested>,
    /// What must stand next.
    follows: follows::Follows,
    /// What is asked of those who read evidence.
    pub(super) recordings: evidence::Reported,
    /// The statements of the entry at hand, with what their signatures are worth.
    spoken: Vec<Spoken>,
    /// A head of this log that was known before.
    pub(super) since: Option<Checkpoint>,
    /// Whether a full tile that is not there is missing.
    owes_tiles: bool,
    /// Whether reading stopped before the end.
    stopped: bool,
}

impl Check {
    /// Of a log whose full tiles must be there, or need not.
    pub(super) fn of(owes_tiles: bool) -> Check {
        Check { owes_tiles, ..Check::default() }
    }

    pub(super) fn note(&mut self, entry: u64, what: impl Into<String>) {
        if self.found.len() < FINDINGS {
            self.found.push(Found { entry, what: what.into() });
        }
    }

    /// Takes the next piece; says whether to go on.
    pub(super) fn piece(&mut self, piece: Result<Looked, SourceError>) -> bool {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => return self.stop(error),
        };
        let from = piece.from;
        if let Err(fault) = pipeline::guarded(from, || self.looked(piece)) {
            return self.stop(fault);
        }
        if self.found.len() >= FINDINGS {
            self.stopped = true;
        }
        !self.stopped
    }

    fn stop(&mut self, error: SourceError) -> bool {
        self.stopped = true;
        self.note(error.entry, error.what);
        false
    }

    fn looked(&mut self, piece: Looked) {
        let at_end = piece.entries.is_empty();
        for (kind, count) in piece.kinds {
            *self.tally.kinds.entry(kind).or_default() += count;
        }
        let mut heads = piece.heads.into_iter().peekable();
        for (index, one) in (piece.from..).zip(piece.entries) {
            self.entry(index, one);
            while let Some((size, head)) = heads.next_if(|(size, _)| *size == index + 1) {
                self.checkpoint(size, head);
            }
            if let Some(since) = self.since.take_if(|since| since.size == index + 1)
                && Some(since.root) != self.tree.root()
            {
                let what =
                    "its head here was another one when it was known before: what lies before was changed";
                self.note(since.size, what);
            }
        }
        for (path, tile) in piece.tiles {
            let entry = path.index.saturating_mul(path.width.into());
            match tile {
                Some(bytes) if self.tree.is_tile(&path, &bytes) => self.tally.tiles += 1,
                Some(_) => self.note(entry, format!("{path} is not that of its entries")),
                None if self.owes_tiles && path.width == 256 => {
                    self.note(entry, format!("{path} is missing"))
                }
                None => {}
            }
        }
        self.tree.compared();
        if at_end {
            self.end(heads.next().map(|(size, _)| size));
        }
    }

    fn end(&mut self, beyond: Option<u64>) {
        let size = self.tally.entries;
        if self.unfit > 1 {
            let what = format!("{} checkpoints up to here are not over these entries", self.unfit);
            self.note(size, what);
        }
        if beyond.is_some() {
            let what = "a checkpoint covers more entries than there are: the end of the log is missing";
            self.note(size, what);
        }
        if size > self.covered {
            self.note(self.covered, "no checkpoint covers the entries from here on");
        }
        if let Some(since) = self.since.take().filter(|since| since.size > size) {
            let what = format!(
                "the log ends here, and had {} entries when it was known before: its end was cut off, or an \
                 older copy was put back",
                since.size
            );
            self.note(size, what);
        }
        self.tally.root = self.tree.root();
    }

    fn entry(&mut self, index: u64, one: One) {
        let leaf = one.leaf;
        self.tree.push(leaf);
        self.tally.entries += 1;
        self.spoken = one.spoken;
        let entry = match one.entry {
            Ok(entry) => entry,
            Err(error) => return self.note(index, error.to_string()),
        };
        if index == 0 {
            self.tally.first_at = entry.at;
        }
        self.tally.last_at = self.tally.last_at.max(entry.at);
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

    fn checkpoint(&mut self, size: u64, head: Option<Checkpoint>) {
        self.covered = size;
        self.tally.checkpoints += 1;
        let missing = self.state.as_ref().map(|state| self.follows.at_head(state));
        missing.unwrap_or_default().into_iter().for_each(|what| self.note(size, what));
        if self.keys.is_none() {
            return;
        }
        match head {
            None => self.note(size, "the checkpoint here is not signed by the log's key"),
            Some(checkpoint) if checkpoint.size != size || Some(checkpoint.root) != self.tree.root() => {
                // Each head after it says the same of the same entries.
                if self.unfit == 0 {
                    self.note(size, "the checkpoint here is not over these entries");
                }
                self.unfit += 1;
            }
            Some(_) => {}
        }
    }

    /// What the signature of a statement in the entry at hand is worth. Each is asked for once.
    pub(super) fn spoken(&mut self, envelope: &Envelope) -> Result<Spoken, SignatureError> {
        self.tally.statements += 1;
        match self.spoken.iter().position(|spoken| spoken.envelope == *envelope) {
            Some(place) => Ok(self.spoken.swap_remove(place)),
            // One that cannot be read: the same again, for its reason.
            None => Looker::new(None).spoken(envelope),
        }
    }
}
