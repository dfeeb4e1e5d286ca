//! Verifying a whole log from its bytes: tree, checkpoints, statements, decisions, certificates, state.
//!
//! Independent of the code that wrote it where it can be: the tree is recomputed here from the leaves
//! alone, signatures are checked again, facts gathered again from the words and the state before them and
//! decided again, and only then the fold is asked whether the entries may follow each other. Reads only.

use std::ops::ControlFlow;

use fireaxe_protocol::certificate::{Body, Issue, Profile};
use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::log::tree::{leaf_hash, node_hash};
use fireaxe_protocol::log::{Checkpoint, Closer, Entry, Event, Hash, NoteKey, PinnedKeys};
use fireaxe_protocol::names::{EmergencyId, Origin, PersonName};
use fireaxe_protocol::policy::{Decision, Facts, decide};
use fireaxe_protocol::statement::{Claimed, Envelope, Signed, Statement};
use thiserror::Error;

use crate::log::{LogError, Reader};
use crate::road::{Request, due, fresh, gather, hosts_of, link_by, longest, may_close};
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
    /// The declaration that the next certificates may refer to.
    declared: std::collections::HashMap<Hash, Declared>,
}

struct Declared {
    emergency: fireaxe_protocol::names::EmergencyId,
    person: PersonName,
    public_key: fireaxe_protocol::keys::Ed25519Key,
    terms: fireaxe_protocol::policy::Terms,
    until: u64,
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
        self.says(index, &entry, leaf);
        if let Some(state) = &mut self.state
            && let Err(error) = state.apply(index, entry.at, &entry.event, leaf)
        {
            self.note(index, format!("it does not follow from what is before it: {error}"));
            // What follows would only repeat this finding.
            self.state = None;
        }
    }

    /// What an entry says, against the bundle and the state of its time.
    fn says(&mut self, index: u64, entry: &Entry, leaf: Hash) {
        let Some(state) = self.state.take() else { return };
        match &entry.event {
            Event::EmergencyDeclared {
                emergency,
                declared,
                key,
                counter,
                bundle,
                facts,
                decision,
                hosts,
                until,
                link_by: by,
            } => {
                if let Some(active) = state.bundle() {
                    let end = longest(decision).map(|longest_s| entry.at + u64::from(longest_s));
                    let follows =
                        (hosts_of(active, &facts.target), end, link_by(&state, active, decision, facts));
                    if (hosts, Some(*until), *by) != (&follows.0, follows.1, follows.2) {
                        self.note(index, "its hosts, end or time to be tied do not follow from its decision");
                    }
                }
                self.declaration(
                    (index, entry.at),
                    &state,
                    declared,
                    (key, *counter),
                    *bundle,
                    facts,
                    decision,
                );
                if let (Some(terms), Ok(Statement::Declare(words))) =
                    (decision.terms_now(), Statement::read(&declared.statement))
                {
                    let declared = Declared {
                        emergency: *emergency,
                        person: facts.person.clone(),
                        public_key: words.public_key,
                        terms: terms.clone(),
                        until: entry.at.saturating_add(terms.lifetime_s.into()),
                    };
                    self.declared.insert(leaf, declared);
                }
            }
            Event::DeclarationRefused { declared, key, counter, bundle, facts, decision } => {
                self.declaration(
                    (index, entry.at),
                    &state,
                    declared,
                    (key, *counter),
                    *bundle,
                    facts,
                    decision,
                );
                if decision.terms_now().is_some() {
                    self.note(index, "a refusal holds a decision that gives something");
                }
            }
            Event::EmergencyClosed { emergency, by, .. } => {
                self.closing(index, &state, entry, *emergency, by)
            }
            Event::CertificateIssued { of, .. } => self.certificate(index, entry, of),
            _ => {}
        }
        self.state = Some(state);
    }

    /// A signed declaration: who signed, whether the facts are those of its words and of its time, and
    /// whether they decide the same again.
    #[allow(clippy::too_many_arguments, reason = "the fields of two events")]
    fn declaration(
        &mut self,
        (index, at): (u64, u64),
        state: &State,
        declared: &Envelope,
        by: (&Fingerprint, Option<u32>),
        named: Hash,
        facts: &Facts,
        decision: &Decision,
    ) {
        let Some(bundle) = state.bundle() else { return };
        let signed = self.statement(index, state, declared, &facts.person, at);
        if let Some(signed) = signed {
            if (&signed.fingerprint, signed.counter) != by {
                self.note(index, "its key or counter is not that of the signature");
            }
            if let Statement::Declare(words) = &signed.statement {
                let request = Request::declared(words);
                if gather(state, bundle, &facts.person, signed.presence, &request, at).as_ref() != Ok(facts) {
                    self.note(index, "its facts are not those of the signed words and of its time");
                }
            } else {
                self.note(index, "the statement in it is no declaration");
            }
        }
        self.tally.decisions += 1;
        if named != bundle.hash {
            self.note(index, "it names another bundle than the one in force");
        } else if decide(&bundle.policy, facts) != *decision {
            self.note(index, "its policy and facts decide otherwise");
        }
    }

    /// An end: by somebody who may, or by the clock when it was due.
    fn closing(&mut self, index: u64, state: &State, entry: &Entry, id: EmergencyId, by: &Closer) {
        let Closer::Person { person, closed, key, counter } = by else {
            if due(state, entry.at).is_none_or(|(due, why)| due != id || why != *by) {
                self.note(index, "the clock did not close that emergency at that time");
            }
            return;
        };
        let Some(signed) = self.statement(index, state, closed, person, entry.at) else { return };
        let Some(bundle) = state.bundle() else { return };
        let may = match &signed.statement {
            Statement::Close(words) => may_close(state, bundle, person, id, words).is_ok(),
            _ => false,
        };
        if !may || signed.fingerprint != *key || signed.counter != *counter {
            self.note(index, format!("what {person} signed does not close {id}"));
        }
    }

    /// A statement's signature, log, time and nonce.
    fn statement(
        &mut self,
        index: u64,
        state: &State,
        envelope: &Envelope,
        person: &PersonName,
        at: u64,
    ) -> Option<Signed> {
        self.tally.statements += 1;
        let claimed = match Claimed::read(envelope.clone()) {
            Ok(claimed) => claimed,
            Err(error) => {
                self.note(index, error.to_string());
                return None;
            }
        };
        let header = claimed.statement().header();
        if header.to != *state.origin() {
            self.note(index, "the statement in it is for another log");
        }
        if fresh(header.at, at).is_err() {
            self.note(index, "the statement in it was too old or from the future");
        }
        if state.answered.find(claimed.fingerprint(), header, &envelope.statement).is_some() {
            self.note(index, "the statement in it, or its nonce, was answered before");
        }
        let key = state.bundle().and_then(|bundle| bundle.roster.by_key(claimed.fingerprint()));
        let Some((_, key)) = key.filter(|(signer, _)| signer.name == *person) else {
            self.note(index, format!("the roster of its time does not give that key to {person}"));
            return None;
        };
        claimed.verify(key).map_err(|error| self.note(index, error.to_string())).ok()
    }

    fn certificate(&mut self, index: u64, entry: &Entry, of: &Hash) {
        self.tally.certificates += 1;
        let Some((.., keys)) = &self.keys else { return };
        let ca_key = keys.user_ca;
        let Some(declared) = self.declared.get(of) else {
            return self.note(index, "a certificate for a declaration that gave nothing or is not there");
        };
        let bytes = entry.body.as_deref().unwrap_or_default();
        let nonce = Body::read(bytes).ok().and_then(|body| body.fields().ok()?.nonce.try_into().ok());
        let Some(nonce) = nonce else {
            return self.note(index, "its certificate body cannot be read");
        };
        let issue = Issue {
            nonce,
            public_key: declared.public_key,
            serial: index,
            emergency: declared.emergency,
            person: &declared.person,
            at: entry.at,
            grant_end: declared.until,
            ca_key,
        };
        let expected = Profile::from_terms(&declared.terms, &issue).map(|profile| Body::of(&profile));
        if !expected.is_ok_and(|expected| expected.as_bytes() == bytes) {
            self.note(index, "its certificate body is not what its terms say");
        }
    }

    fn checkpoint(&mut self, size: u64, note: &str) {
        self.covered = size;
        self.tally.checkpoints += 1;
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
