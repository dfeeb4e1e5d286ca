//! The current state: a fold over the log's entries, and nothing else.
//!
//! Not trusted on its own: it is rebuilt from the log at every start, by the same [`State::apply`] that
//! follows each append. What an entry may do to the state is written here once; who may cause an entry
//! is the road's business. An entry that the state cannot take is a broken log, never skipped.

mod answered;
mod emergencies;
mod incidents;
mod revocations;

pub use answered::Answered;
pub use emergencies::{Issued, Live, Phase};
pub use revocations::Revocations;

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::log::{Closer, Entry, Event, Hash, PinnedKeys};
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::policy::Bundle;
use fireaxe_protocol::statement::{Declare, Statement};
use thiserror::Error;

use self::answered::AnsweredStatements;
use self::emergencies::Emergencies;
use self::incidents::Incidents;

/// Why an entry does not fit the state: the log was not written by this program's rules.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FoldError {
    /// Entry 0 is something else, or `log.created` stands elsewhere.
    #[error("entry {0}: log.created stands exactly once, at index 0")]
    Created(u64),
    /// A time before the one of the entry before it.
    #[error("entry {0}: its time is before that of the entry before it")]
    TimeRuns(u64),
    /// Emergency numbers have a gap or repeat.
    #[error("entry {0}: emergency number {1} is not the next one")]
    Number(u64, u64),
    /// Refers to an emergency that is not there or not in that phase.
    #[error("entry {0}: refers to an emergency that is not open")]
    NotOpen(u64),
    /// Refers to something that no earlier entry holds.
    #[error("entry {0}: refers to leaf {1}, which is not there")]
    Dangling(u64, Hash),
    /// A bundle that does not parse or whose hash differs.
    #[error("entry {0}: the bundle it activates is not readable or not the one it names")]
    Bundle(u64),
    /// A statement inside an entry cannot be read.
    #[error("entry {0}: the statement in it cannot be read")]
    Statement(u64),
    /// A certificate for other terms, a second one, one that outlives its emergency, or one too late.
    #[error("entry {0}: a certificate that no declaration allows")]
    Certificate(u64),
    /// A closing that does not revoke exactly what is alive.
    #[error("entry {0}: it does not revoke exactly what is alive")]
    Revoked(u64),
    /// A decision while no bundle is active.
    #[error("entry {0}: no bundle is active")]
    NoBundle(u64),
}

/// Everything the road needs to know, in memory.
#[derive(Debug)]
pub struct State {
    origin: Origin,
    keys: PinnedKeys,
    bundle: Option<Arc<Bundle>>,
    blobs: HashMap<Hash, Vec<u8>>,
    /// Emergencies that are open or closing.
    pub emergencies: Emergencies,
    /// What trackers or the operator said.
    pub incidents: Incidents,
    /// Statements of the last minutes, for retries.
    pub answered: AnsweredStatements,
    /// Revoked serials that still matter.
    pub revocations: Revocations,
    counters: HashMap<Fingerprint, u32>,
    entries: u64,
    last_at: u64,
}

impl State {
    /// The state after entry 0.
    pub fn begin(first: &Entry) -> Result<State, FoldError> {
        let Event::LogCreated { origin, keys } = &first.event else {
            return Err(FoldError::Created(first.index));
        };
        if first.index != 0 {
            return Err(FoldError::Created(first.index));
        }
        Ok(State {
            origin: origin.clone(),
            keys: keys.clone(),
            bundle: None,
            blobs: HashMap::new(),
            emergencies: Emergencies::default(),
            incidents: Incidents::default(),
            answered: AnsweredStatements::default(),
            revocations: Revocations::default(),
            counters: HashMap::new(),
            entries: 1,
            last_at: first.at,
        })
    }

    /// The log's name.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The keys that entry 0 pins.
    pub fn keys(&self) -> &PinnedKeys {
        &self.keys
    }

    /// The bundle in force; none before the first `bundle.activated`.
    pub fn bundle(&self) -> Option<&Arc<Bundle>> {
        self.bundle.as_ref()
    }

    /// How many entries are folded in.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The time of the newest entry, unix seconds.
    pub fn last_at(&self) -> u64 {
        self.last_at
    }

    /// The last counter that a FIDO key showed in a logged statement.
    pub fn counter(&self, key: &Fingerprint) -> Option<u32> {
        self.counters.get(key).copied()
    }

    /// Takes one entry, whose leaf hash is `leaf`. On an error the state must be thrown away.
    pub fn apply(&mut self, index: u64, at: u64, event: &Event, leaf: Hash) -> Result<(), FoldError> {
        if at < self.last_at {
            return Err(FoldError::TimeRuns(index));
        }
        match event {
            Event::LogCreated { .. } => return Err(FoldError::Created(index)),
            Event::BlobStored { base64 } => {
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(base64)
                    .map_err(|_| FoldError::Bundle(index))?;
                self.blobs.insert(leaf, bytes);
            }
            Event::BundleActivated { bundle, policy, roster, .. } => {
                let policy = self.text(index, policy)?;
                let roster = self.text(index, roster)?;
                let parsed = Bundle::parse(&policy, &roster).map_err(|_| FoldError::Bundle(index))?;
                if parsed.hash != *bundle {
                    return Err(FoldError::Bundle(index));
                }
                self.blobs.clear();
                self.bundle = Some(Arc::new(parsed));
            }
            Event::IncidentUpdated(update) => {
                self.incidents.update(update, at);
                if update.state == fireaxe_protocol::policy::IncidentState::Open {
                    self.emergencies.link(&update.systems);
                }
            }
            Event::EmergencyDeclared { declared, .. } => {
                let statement =
                    Statement::read(&declared.statement).map_err(|_| FoldError::Statement(index))?;
                let Statement::Declare(words) = &statement else { return Err(FoldError::Statement(index)) };
                return self.apply_declared(index, at, event, leaf, words);
            }
            Event::DeclarationRefused { declared, key, counter, .. } => {
                let statement =
                    Statement::read(&declared.statement).map_err(|_| FoldError::Statement(index))?;
                self.bundle.as_ref().ok_or(FoldError::NoBundle(index))?;
                self.note_counter(key, *counter);
                self.answered.remember(key, statement.header(), &declared.statement, index);
            }
            Event::CertificateIssued { of, terms } => self.emergencies.issue(index, at, of, terms)?,
            Event::CertificateAbandoned { serial, .. } => self.revocations.abandon(*serial, at),
            Event::EmergencyClosing { emergency, until, .. } => {
                self.emergencies.closing(index, *emergency, *until)?;
            }
            Event::EmergencyClosed { emergency, by, revoked } => {
                if let Closer::Person { closed, key, .. } = by {
                    let statement =
                        Statement::read(&closed.statement).map_err(|_| FoldError::Statement(index))?;
                    self.answered.remember(key, statement.header(), &closed.statement, index);
                }
                let live = self.emergencies.close(index, *emergency)?;
                if live.alive(at) != *revoked {
                    return Err(FoldError::Revoked(index));
                }
                let alive = live.certificates().iter().filter(|c| revoked.contains(&c.serial));
                self.revocations.revoke(index, alive);
            }
            Event::ClockCorrected { .. } => {}
        }
        self.reached(index, at);
        Ok(())
    }

    /// [`State::apply`] for an `emergency.declared` whose statement has been read already.
    pub fn apply_declared(
        &mut self,
        index: u64,
        at: u64,
        event: &Event,
        leaf: Hash,
        words: &Declare,
    ) -> Result<(), FoldError> {
        let Event::EmergencyDeclared { declared, key, counter, facts, .. } = event else {
            return Err(FoldError::Statement(index));
        };
        if at < self.last_at {
            return Err(FoldError::TimeRuns(index));
        }
        self.bundle.as_ref().ok_or(FoldError::NoBundle(index))?;
        self.note_counter(key, *counter);
        self.answered.remember(key, &words.header, &declared.statement, index);
        let linked = self.incidents.any_open_on(&facts.target.system);
        self.emergencies.declare(index, leaf, at, event, words.public_key, linked)?;
        self.reached(index, at);
        Ok(())
    }

    fn reached(&mut self, index: u64, at: u64) {
        self.entries = index + 1;
        self.last_at = at;
        self.answered.forget(at);
        self.revocations.forget(at);
    }

    fn note_counter(&mut self, key: &Fingerprint, counter: Option<u32>) {
        if let Some(counter) = counter {
            self.counters.insert(*key, counter);
        }
    }

    fn text(&self, index: u64, leaves: &[Hash]) -> Result<String, FoldError> {
        let mut bytes = Vec::new();
        for leaf in leaves {
            bytes.extend_from_slice(self.blobs.get(leaf).ok_or(FoldError::Dangling(index, *leaf))?);
        }
        String::from_utf8(bytes).map_err(|_| FoldError::Bundle(index))
    }
}
