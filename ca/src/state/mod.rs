//! The current state: a fold over the log's entries, and nothing else.
//!
//! Not trusted on its own: it is rebuilt at every start, by the same [`State::apply`] that follows each append,
//! from the log's entries alone or from a snapshot (`saved.rs`) that the CA signed and the entries after it.
//! What an entry may do to the state is written here once; who may cause an entry
//! is the road's business. An entry that the state cannot take is a broken log, never skipped.

mod answered;
#[cfg(test)]
mod cases;
mod emergencies;
mod fold_error;
mod history;
mod hosts;
mod in_force;
mod incidents;
mod live;
mod narrowed;
mod reported;
mod reviews;
mod revocations;
mod saved;
mod voice;

pub use answered::Answered;
pub use fold_error::FoldError;
pub use history::{Asks, History};
pub use hosts::{Certified, EnrolledHost, Hosts, Invitation};
pub use live::{Approval, Call, Issued, Live, Phase, Request, Settled, Wait};
pub use narrowed::{CannotNarrow, Narrowed};
pub use reported::{Counted, Hour, Reported, Speaker};
pub use reviews::Owed;
pub use revocations::Revocations;
pub use saved::Unreadable;
pub use voice::Voice;

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::log::{Activation, Closer, Entry, Event, Hash, PinnedKeys, SignedBy};
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::policy::{Bundle, Decision, Facts};
use fireaxe_protocol::statement::{Declare, Statement};
use serde::{Deserialize, Serialize};

use self::answered::AnsweredStatements;
use self::emergencies::{Emergencies, Place};
use self::in_force::InForce;
use self::incidents::Incidents;
use self::reviews::Reviews;

/// Everything the road needs to know, in memory.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    origin: Origin,
    keys: PinnedKeys,
    bundle: Option<InForce>,
    blobs: HashMap<Hash, Vec<u8>>,
    /// Emergencies that are open or closing.
    pub emergencies: Emergencies,
    /// What trackers or the operator said.
    pub incidents: Incidents,
    /// Statements of the last minutes, for retries.
    pub answered: AnsweredStatements,
    /// Revoked serials that still matter.
    pub revocations: Revocations,
    /// Emergencies that are over and owed a review.
    pub reviews: Reviews,
    /// What people did before, for signals.
    pub history: History,
    /// Hosts: invited, enrolled, certified.
    pub hosts: Hosts,
    /// What hosts said.
    pub reported: Reported,
    /// Leaf of the `bundle.activated` entry in force.
    activation: Option<Hash>,
    counters: HashMap<Fingerprint, u32>,
    entries: u64,
    last_at: u64,
}

impl State {
    /// The state after entry 0.
    pub fn begin(first: &Entry) -> Result<State, FoldError> {
        let Event::LogCreated { origin, keys, .. } = &first.event else {
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
            reviews: Reviews::default(),
            history: History::default(),
            hosts: Hosts::default(),
            reported: Reported::default(),
            activation: None,
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
        self.bundle.as_deref()
    }

    /// Leaf of the entry that put that bundle in force: what a change of it must name.
    pub fn activation(&self) -> Option<Hash> {
        self.activation
    }

    /// How many entries are folded in.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The time of the newest entry, unix seconds.
    pub fn last_at(&self) -> u64 {
        self.last_at
    }

    /// The largest counter that a FIDO key showed in a logged statement.
    pub fn counter(&self, key: &Fingerprint) -> Option<u32> {
        self.counters.get(key).copied()
    }

    /// Takes one entry, whose leaf hash is `leaf`; `body` is the certificate's, where it has one. On an error
    /// the state must be thrown away.
    pub fn apply(
        &mut self,
        index: u64,
        at: u64,
        event: &Event,
        body: Option<&[u8]>,
        leaf: Hash,
    ) -> Result<(), FoldError> {
        if at < self.last_at {
            return Err(FoldError::TimeRuns(index));
        }
        if let Some((id, narrowed)) = self.narrowing(index, at, event, body) {
            // Nothing that people did: what they asked for and were given is in the history already.
            self.emergencies.narrow(at, id, narrowed);
            self.reached(index, at);
            return Ok(());
        }
        if !matches!(event, Event::EmergencyDeclared { .. })
            && let Some(bundle) = &self.bundle
        {
            self.history.take(index, at, event, &bundle.roster);
        }
        match event {
            Event::LogCreated { .. } => return Err(FoldError::Created(index)),
            Event::BlobStored { base64 } => {
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(base64)
                    .map_err(|_| FoldError::Bundle(index))?;
                self.blobs.insert(leaf, bytes);
            }
            Event::BundleActivated { bundle, policy, roster, by } => {
                let policy = self.text(index, policy)?;
                let roster = self.text(index, roster)?;
                let parsed = Bundle::parse(&policy, &roster).map_err(|_| FoldError::Bundle(index))?;
                if parsed.hash != *bundle {
                    return Err(FoldError::Bundle(index));
                }
                self.blobs.clear();
                self.emergencies.renamed(&parsed.roster);
                self.reviews.renamed(&parsed.roster);
                self.bundle = Some(InForce::new(parsed, policy, roster));
                self.activation = Some(leaf);
                if let Activation::Admins(admins) = by {
                    admins.iter().for_each(|by| self.note_counter(&by.key, by.counter));
                }
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
            Event::CertificateIssued { of, terms } if self.hosts.awaits_certificate(of) => {
                self.hosts.issue(index, of, terms)?;
            }
            Event::CertificateIssued { of, terms } => self.emergencies.issue(index, at, of, terms)?,
            Event::CertificateAbandoned { serial, .. } => self.revocations.abandon(*serial, at),
            Event::EmergencyClosing { emergency, until, .. } => {
                self.emergencies.closing(index, *emergency, *until)?;
            }
            Event::EmergencySeconded { by, .. } => {
                self.heard(index, by)?;
                let bundle = self.bundle.clone().ok_or(FoldError::NoBundle(index))?;
                let voice = Voice::new(&bundle.roster, &by.person, &by.key);
                let decided = event.decided().ok_or(FoldError::NotOpen(index))?;
                let link_by = self.link_by(&bundle, decided.decision, decided.facts);
                self.emergencies.decide(Place { index, leaf, at }, &decided, link_by, |live| {
                    live.requesters.push(voice);
                })?;
            }
            Event::EmergencyRedecided { .. } => {
                let decided = event.decided().ok_or(FoldError::NotOpen(index))?;
                let bundle = self.bundle.clone().ok_or(FoldError::NoBundle(index))?;
                let link_by = self.link_by(&bundle, decided.decision, decided.facts);
                self.emergencies.decide(Place { index, leaf, at }, &decided, link_by, |_| ())?;
            }
            Event::ExtensionRequested { by, .. } => {
                self.heard(index, by)?;
                let bundle = self.bundle.clone().ok_or(FoldError::NoBundle(index))?;
                let decided = event.decided().ok_or(FoldError::NotOpen(index))?;
                let link_by = self.link_by(&bundle, decided.decision, decided.facts);
                self.emergencies.decide(Place { index, leaf, at }, &decided, link_by, |live| {
                    live.phase = Phase::Open;
                    live.extensions = live.extensions.saturating_add(1);
                    live.words = index;
                })?;
            }
            Event::ExtensionRefused { emergency, by, .. } => {
                self.heard(index, by)?;
                self.emergencies.hold(index, *emergency)?;
            }
            Event::RungCalled { emergency, of, rung, groups, people } => {
                let call = Call { at, groups: groups.clone(), people: people.clone() };
                self.emergencies.call(index, *emergency, of, *rung, call)?;
            }
            Event::ApprovalGiven { emergency, of, by } => {
                self.heard(index, by)?;
                let bundle = self.bundle.as_ref().ok_or(FoldError::NoBundle(index))?;
                let voice = Voice::new(&bundle.roster, &by.person, &by.key);
                self.emergencies.approve(index, at, *emergency, of, voice, &bundle.roster)?;
            }
            Event::ApprovalRefused { emergency, of, by } => {
                let Statement::Refuse(words) = self.heard(index, by)? else {
                    return Err(FoldError::Statement(index));
                };
                let bundle = self.bundle.as_ref().ok_or(FoldError::NoBundle(index))?;
                let voice = Voice::new(&bundle.roster, &by.person, &by.key);
                let how = Settled::Refused { by: by.person.clone(), reason: words.reason };
                self.emergencies.settle(index, at, *emergency, of, how, Some(voice))?;
            }
            Event::RequestLapsed { emergency, of } => {
                self.emergencies.settle(index, at, *emergency, of, Settled::Lapsed, None)?;
            }
            Event::AnomalyRaised { .. } => {}
            Event::EmergencyReviewed { emergency, by } => {
                self.heard(index, by)?;
                let bundle = self.bundle.as_ref().ok_or(FoldError::NoBundle(index))?;
                let reviewed = self.reviews.reviewed(*emergency, &bundle.roster, &by.person);
                reviewed.map_err(|()| FoldError::Review(index))?;
            }
            Event::EmergencyClosed { emergency, by, revoked, review_due } => {
                let mut closer = None;
                if let Closer::Person { person, closed, key, counter } = by {
                    self.note_counter(key, *counter);
                    let statement =
                        Statement::read(&closed.statement).map_err(|_| FoldError::Statement(index))?;
                    self.answered.remember(key, statement.header(), &closed.statement, index);
                    let roster = self.bundle.as_ref().map(|bundle| &bundle.roster);
                    closer = roster.map(|roster| Voice::new(roster, person, key));
                }
                let mut live = self.emergencies.close(index, *emergency)?;
                if live.alive(at) != *revoked {
                    return Err(FoldError::Revoked(index));
                }
                let alive = live.ends().filter(|(serial, _)| revoked.binary_search(serial).is_ok());
                self.revocations.revoke(index, alive);
                closer.into_iter().for_each(|voice| live.has_a_say(voice));
                if !revoked.is_empty() {
                    let scope = live.host.as_ref().map_or(live.system.as_str(), |host| host.as_str());
                    self.reported.closed(index, at, leaf, *emergency, scope);
                }
                if let Some(due) = review_due {
                    self.reviews.owe(live, at, *due);
                }
            }
            Event::HostInvited { .. }
            | Event::HostEnrolled { .. }
            | Event::HostCertified { .. }
            | Event::HostRetired { .. } => {
                self.hosts.take(index, at, event, leaf)?;
                self.reported.take(index, at, event, leaf)?;
            }
            Event::SelfTestGranted { by, .. } => {
                self.hosts.take(index, at, event, leaf)?;
                let words = Statement::read(&by.said.statement).map_err(|_| FoldError::Statement(index))?;
                if let Some(host) = self.hosts.enrolled().get(&by.host) {
                    let key = host.key.fingerprint();
                    self.answered.remember(&key, words.header(), &by.said.statement, index);
                }
            }
            Event::SessionOpened { .. }
            | Event::SessionClosed { .. }
            | Event::HostConfirmed { .. }
            | Event::HostAlarmed { .. } => self.reported.take(index, at, event, leaf)?,
            Event::EvidenceRead { .. }
            | Event::EvidenceExported { .. }
            | Event::EvidenceRefused { .. }
            | Event::RecordingExpired { .. }
            | Event::ClockCorrected { .. } => {}
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
        let bundle = self.bundle.clone().ok_or(FoldError::NoBundle(index))?;
        self.history.take(index, at, event, &bundle.roster);
        self.note_counter(key, *counter);
        self.answered.remember(key, &words.header, &declared.statement, index);
        let linked = self.incidents.any_counts(&facts.target.system, &bundle.policy, at);
        let place = Place { index, leaf, at };
        self.emergencies.declare(place, event, words.public_key, linked, &bundle.roster)?;
        self.reached(index, at);
        Ok(())
    }

    /// When the bare claim that a decision rests on must have been tied to an incident, unix seconds; nothing
    /// if it rests on an incident, or one that counts for the system ties it at once.
    pub fn link_by(&self, bundle: &Bundle, decision: &Decision, facts: &Facts) -> Option<u64> {
        let trigger = bundle.policy.trigger(decision.trigger.as_ref()?)?;
        if self.incidents.any_counts(&facts.target.system, &bundle.policy, facts.at) {
            return None;
        }
        trigger.link_within_s.map(|link_within_s| facts.at.saturating_add(link_within_s.into()))
    }

    fn reached(&mut self, index: u64, at: u64) {
        self.entries = index + 1;
        self.last_at = at;
        self.answered.forget(at);
        self.revocations.forget(at);
        self.reported.forget(at);
    }

    /// A signed statement in an entry: its counter and its answer are remembered.
    fn heard(&mut self, index: u64, by: &SignedBy) -> Result<Statement, FoldError> {
        let statement = Statement::read(&by.said.statement).map_err(|_| FoldError::Statement(index))?;
        self.note_counter(&by.key, by.counter);
        self.answered.remember(&by.key, statement.header(), &by.said.statement, index);
        Ok(statement)
    }

    /// The largest that a key showed: a signature under a bundle may be older than what it signed since.
    fn note_counter(&mut self, key: &Fingerprint, counter: Option<u32>) {
        if let Some(counter) = counter {
            let noted = self.counters.entry(*key).or_insert(counter);
            *noted = counter.max(*noted);
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
