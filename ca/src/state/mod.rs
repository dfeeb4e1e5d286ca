//! The current state: a fold over the log's entries, and nothing else.
//!
//! Not trusted on its own: it is rebuilt from the log at every start, by the same [`State::apply`] that
//! follows each append. What an entry may do to the state is written here once; who may cause an entry
//! is the road's business. An entry that the state cannot take is a broken log, never skipped.

mod answered;
mod emergencies;
mod history;
mod incidents;
mod live;
mod reviews;
mod revocations;

pub use answered::Answered;
pub use history::{Asks, History};
pub use live::{Approval, Call, Issued, Live, Phase, Request, Settled, Wait};
pub use reviews::Owed;
pub use revocations::Revocations;

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::log::{Activation, Closer, Entry, Event, Hash, PinnedKeys, SignedBy};
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::policy::Bundle;
use fireaxe_protocol::statement::{Declare, Statement};
use thiserror::Error;

use self::answered::AnsweredStatements;
use self::emergencies::{Emergencies, Place};
use self::incidents::Incidents;
use self::reviews::Reviews;

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
    /// Another rung than the next one, or other groups than the ladder's.
    #[error("entry {0}: that rung is not the next one")]
    Rung(u64),
    /// An approval by somebody who may not, or for the second time.
    #[error("entry {0}: an approval that does not count")]
    Approval(u64),
    /// A review that nobody owes, or by somebody who took part.
    #[error("entry {0}: a review that is not owed")]
    Review(u64),
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
    /// Emergencies that are over and owed a review.
    pub reviews: Reviews,
    /// What people did before, for signals.
    pub history: History,
    /// Leaf of the `bundle.activated` entry in force.
    activation: Option<Hash>,
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
            reviews: Reviews::default(),
            history: History::default(),
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
        self.bundle.as_ref()
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

    /// The last counter that a FIDO key showed in a logged statement.
    pub fn counter(&self, key: &Fingerprint) -> Option<u32> {
        self.counters.get(key).copied()
    }

    /// Takes one entry, whose leaf hash is `leaf`. On an error the state must be thrown away.
    pub fn apply(&mut self, index: u64, at: u64, event: &Event, leaf: Hash) -> Result<(), FoldError> {
        if at < self.last_at {
            return Err(FoldError::TimeRuns(index));
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
                self.bundle = Some(Arc::new(parsed));
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
            Event::CertificateIssued { of, terms } => self.emergencies.issue(index, at, of, terms)?,
            Event::CertificateAbandoned { serial, .. } => self.revocations.abandon(*serial, at),
            Event::EmergencyClosing { emergency, until, .. } => {
                self.emergencies.closing(index, *emergency, *until)?;
            }
            Event::EmergencySeconded { by, .. } => {
                self.heard(index, by)?;
                let bundle = self.bundle.clone().ok_or(FoldError::NoBundle(index))?;
                let person = bundle.roster.canonical(&by.person).clone();
                let decided = event.decided().ok_or(FoldError::NotOpen(index))?;
                self.emergencies.decide(index, leaf, at, &decided, |live| {
                    live.requesters.push(person);
                })?;
            }
            Event::EmergencyRedecided { .. } => {
                let decided = event.decided().ok_or(FoldError::NotOpen(index))?;
                self.emergencies.decide(index, leaf, at, &decided, |_| ())?;
            }
            Event::ExtensionRequested { by, .. } => {
                self.heard(index, by)?;
                let decided = event.decided().ok_or(FoldError::NotOpen(index))?;
                self.emergencies.decide(index, leaf, at, &decided, |live| {
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
                let person = bundle.roster.canonical(&by.person).clone();
                let groups = bundle.roster.person(&by.person).map(|p| p.groups.clone()).unwrap_or_default();
                self.emergencies.approve(index, at, *emergency, of, Approval { person, groups })?;
            }
            Event::ApprovalRefused { emergency, of, by } => {
                let Statement::Refuse(words) = self.heard(index, by)? else {
                    return Err(FoldError::Statement(index));
                };
                let bundle = self.bundle.as_ref().ok_or(FoldError::NoBundle(index))?;
                let person = bundle.roster.canonical(&by.person).clone();
                let how = Settled::Refused { by: by.person.clone(), reason: words.reason };
                self.emergencies.settle(index, at, *emergency, of, how, Some(person))?;
            }
            Event::RequestLapsed { emergency, of } => {
                self.emergencies.settle(index, at, *emergency, of, Settled::Lapsed, None)?;
            }
            Event::AnomalyRaised { .. } => {}
            Event::EmergencyReviewed { emergency, by } => {
                self.heard(index, by)?;
                let bundle = self.bundle.as_ref().ok_or(FoldError::NoBundle(index))?;
                let person = bundle.roster.canonical(&by.person);
                self.reviews.reviewed(*emergency, person).map_err(|()| FoldError::Review(index))?;
            }
            Event::EmergencyClosed { emergency, by, revoked, review_due } => {
                let mut took_part = None;
                if let Closer::Person { person, closed, key, counter } = by {
                    self.note_counter(key, *counter);
                    let statement =
                        Statement::read(&closed.statement).map_err(|_| FoldError::Statement(index))?;
                    self.answered.remember(key, statement.header(), &closed.statement, index);
                    let roster = self.bundle.as_ref().map(|bundle| &bundle.roster);
                    took_part = roster.map(|roster| roster.canonical(person).clone());
                }
                let mut live = self.emergencies.close(index, *emergency)?;
                if live.alive(at) != *revoked {
                    return Err(FoldError::Revoked(index));
                }
                let alive = live.certificates().iter().filter(|c| revoked.contains(&c.serial));
                self.revocations.revoke(index, alive);
                live.took_part.extend(took_part);
                if let Some(due) = review_due {
                    self.reviews.owe(live, at, *due);
                }
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

    fn reached(&mut self, index: u64, at: u64) {
        self.entries = index + 1;
        self.last_at = at;
        self.answered.forget(at);
        self.revocations.forget(at);
    }

    /// A signed statement in an entry: its counter and its answer are remembered.
    fn heard(&mut self, index: u64, by: &SignedBy) -> Result<Statement, FoldError> {
        let statement = Statement::read(&by.said.statement).map_err(|_| FoldError::Statement(index))?;
        self.note_counter(&by.key, by.counter);
        self.answered.remember(&by.key, statement.header(), &by.said.statement, index);
        Ok(statement)
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

#[cfg(test)]
mod tests {
    use fireaxe_protocol::keys::Ed25519Key;
    use fireaxe_protocol::log::IncidentUpdate;
    use fireaxe_protocol::names::EmergencyId;
    use fireaxe_protocol::policy::{Facts, IncidentState, Presence, Signals, Target, decide};
    use fireaxe_protocol::statement::{Header, Kind, Nonce, Params, sign_ed25519};

    use super::*;

    const START: u64 = 1_000_000;

    fn key(seed: u8) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&[seed; 32])
    }

    fn public(seed: u8) -> Ed25519Key {
        Ed25519Key(key(seed).verifying_key().to_bytes())
    }

    fn leaf(index: u64) -> Hash {
        Hash::of(&index.to_be_bytes())
    }

    /// A state and the entries put into it.
    struct Fold {
        state: State,
        now: u64,
    }

    impl Fold {
        fn new() -> Fold {
            let keys = PinnedKeys { user_ca: public(1), log: public(2), krl: public(3) };
            let event = Event::LogCreated { origin: "test/0011223344556677".parse().unwrap(), keys };
            let first = Entry { index: 0, at: START, event, body: None };
            let mut fold = Fold { state: State::begin(&first).unwrap(), now: START };
            let policy = include_str!("../../../policies/default/policy.toml");
            let colleague = |name: &str, groups: &str, seed: u8| {
                format!("[person.{name}]\ngroups = [{groups}]\nkeys = [\"{} {name}\"]\n", public(seed))
            };
            let roster = format!(
                "version = 1\n{}{}{}[role]\n",
                colleague("ana", r#""payments", "payments-oncall", "sre""#, 4),
                colleague("ben", r#""sre", "sre-leads", "security""#, 5),
                colleague("dan", r#""payments-oncall""#, 6)
            );
            let hash = Bundle::parse(policy, &roster).unwrap().hash;
            let mut leaves = Vec::new();
            for text in [policy, &roster] {
                let base64 = base64::engine::general_purpose::STANDARD.encode(text);
                leaves.push(leaf(fold.state.entries()));
                fold.put(Event::BlobStored { base64 }).unwrap();
            }
            let [policy, roster] = leaves.try_into().unwrap();
            let (policy, roster) = (vec![policy], vec![roster]);
            fold.put(Event::BundleActivated {
                bundle: hash,
                policy,
                roster,
                by: fireaxe_protocol::log::Activation::Init,
            })
            .unwrap();
            fold
        }

        fn put(&mut self, event: Event) -> Result<u64, FoldError> {
            let index = self.state.entries();
            self.state.apply(index, self.now, &event, leaf(index)).map(|()| index)
        }

        /// Emergency `number`, declared now by ana.
        fn declaration(&self, number: u64) -> Event {
            let bundle = self.state.bundle().unwrap();
            let header = Header {
                kind: Kind::Declare,
                to: self.state.origin().clone(),
                nonce: Nonce([u8::try_from(number).unwrap(); 16]),
                at: self.now,
            };
            let words = Declare {
                header,
                target: "db-3.payments.prod".parse().unwrap(),
                severity: Some(2.try_into().unwrap()),
                incident: None,
                reason: "primary refuses writes".parse().unwrap(),
                want: None,
                action: None,
                params: Params::default(),
                for_s: None,
                drill: false,
                public_key: public(100 + u8::try_from(number).unwrap()),
            };
            let facts = Facts {
                at: self.now,
                person: "ana".parse().unwrap(),
                groups: Vec::new(),
                presence: Presence::None,
                target: Target {
                    system: "payments-db".parse().unwrap(),
                    host: Some("db-3.payments.prod".parse().unwrap()),
                },
                severity: words.severity,
                incident: None,
                on_call: Some(true),
                other_host_open: false,
                open_incidents: Vec::new(),
                want: None,
                for_s: None,
                drill: false,
                seconds: Vec::new(),
                extension: 0,
                network: None,
                reviews_overdue: 0,
                signals: Signals::default(),
            };
            let decision = decide(&bundle.policy, &facts);
            let until = self.now + u64::from(decision.terms_now().unwrap().lifetime_s);
            Event::EmergencyDeclared {
                emergency: EmergencyId(number),
                declared: sign_ed25519(&key(4), Kind::Declare, &Statement::Declare(words).write()),
                key: public(4).fingerprint(),
                counter: None,
                bundle: bundle.hash,
                facts,
                decision,
                hosts: vec!["db-3.payments.prod".into()],
                until,
                link_by: Some(self.now + 900),
            }
        }

        fn issued(&self, of: u64) -> Event {
            let live = self.state.emergencies.iter().find(|live| live.index == of).unwrap();
            Event::CertificateIssued { of: live.leaf, terms: live.terms_hash().unwrap() }
        }

        fn closed(number: u64, revoked: &[u64]) -> Event {
            let emergency = EmergencyId(number);
            Event::EmergencyClosed {
                emergency,
                by: Closer::Deadline,
                revoked: revoked.to_vec(),
                review_due: None,
            }
        }

        fn closing(&self, number: u64) -> Event {
            let (emergency, incident) = (EmergencyId(number), "pd:A".parse().unwrap());
            Event::EmergencyClosing { emergency, incident, until: self.now + 600 }
        }

        fn incident(system: &str) -> Event {
            Event::IncidentUpdated(IncidentUpdate {
                incident: "pd:A".parse().unwrap(),
                state: IncidentState::Open,
                severity: 2.try_into().unwrap(),
                systems: vec![system.parse().unwrap()],
                title: None,
                by: "test".into(),
            })
        }
    }

    #[test]
    fn an_emergency_opens_counts_down_and_ends_with_what_it_holds_revoked() {
        let mut fold = Fold::new();
        let declared = fold.put(fold.declaration(1)).unwrap();
        let serial = fold.put(fold.issued(declared)).unwrap();
        let end = START + 1800;
        assert_eq!(fold.state.emergencies.next_due(), Some((START + 900, EmergencyId(1))), "not tied yet");
        fold.put(Fold::incident("build")).unwrap();
        assert_eq!(
            fold.state.emergencies.next_due(),
            Some((START + 900, EmergencyId(1))),
            "another system's"
        );
        fold.put(Fold::incident("payments-db")).unwrap();
        assert_eq!(fold.state.emergencies.next_due(), Some((end, EmergencyId(1))), "tied");
        fold.put(fold.closing(1)).unwrap();
        assert_eq!(fold.state.emergencies.next_due(), Some((START + 600, EmergencyId(1))), "counting down");
        let closed = fold.put(Fold::closed(1, &[serial])).unwrap();
        assert_eq!((fold.state.emergencies.next_due(), fold.state.emergencies.count()), (None, 0));
        assert!(fold.state.revocations.is_revoked(serial));
        assert_eq!(fold.state.revocations.version(), closed);
        assert!(fold.state.emergencies.by_fresh_key(&public(101).fingerprint()).is_none());
        assert!(fold.state.emergencies.was_declared(EmergencyId(1)));
    }

    #[test]
    fn moves_that_the_table_does_not_have_are_a_broken_log() {
        let mut fold = Fold::new();
        assert_eq!(fold.put(fold.declaration(2)), Err(FoldError::Number(4, 2)));
        assert_eq!(fold.put(Fold::closed(1, &[])), Err(FoldError::NotOpen(4)));
        assert_eq!(fold.put(fold.closing(1)), Err(FoldError::NotOpen(4)));
        let nowhere = Event::CertificateIssued { of: leaf(9), terms: leaf(9) };
        assert_eq!(fold.put(nowhere), Err(FoldError::Dangling(4, leaf(9))));

        let declared = fold.put(fold.declaration(1)).unwrap();
        let of = fold.state.emergencies.get(EmergencyId(1)).unwrap().leaf;
        let other = Event::CertificateIssued { of, terms: leaf(9) };
        assert_eq!(fold.put(other), Err(FoldError::Certificate(5)), "for other terms");
        fold.now += 1;
        assert_eq!(fold.put(fold.issued(declared)), Err(FoldError::Certificate(5)), "outlives its grant");
        fold.now -= 1;
        let serial = fold.put(fold.issued(declared)).unwrap();
        assert_eq!(fold.put(fold.issued(declared)), Err(FoldError::Certificate(6)), "a second one");
        fold.put(fold.closing(1)).unwrap();
        assert_eq!(fold.put(fold.closing(1)), Err(FoldError::NotOpen(7)), "it is closing already");

        let mut early = Fold::new();
        let declared = early.put(early.declaration(1)).unwrap();
        let issued = early.issued(declared);
        early.put(early.closing(1)).unwrap();
        assert_eq!(early.put(issued), Err(FoldError::Certificate(6)), "while closing");
        assert_eq!(serial, 5);
    }

    #[test]
    fn a_closing_revokes_exactly_what_is_alive() {
        for (later, revoked, taken) in [
            (0, vec![5], true),
            (0, vec![], false),
            (0, vec![5, 6], false),
            (1800, vec![], true),
            (1800, vec![5], false),
        ] {
            let mut fold = Fold::new();
            let declared = fold.put(fold.declaration(1)).unwrap();
            fold.put(fold.issued(declared)).unwrap();
            fold.now += later;
            let expected = if taken { Ok(6) } else { Err(FoldError::Revoked(6)) };
            assert_eq!(fold.put(Fold::closed(1, &revoked)), expected, "{later} {revoked:?}");
        }
    }

    #[test]
    fn time_does_not_go_back_and_nothing_is_decided_without_a_bundle() {
        let mut fold = Fold::new();
        let event = fold.declaration(1);
        fold.now -= 1;
        assert_eq!(fold.put(event.clone()), Err(FoldError::TimeRuns(4)));
        fold.now += 1;
        fold.state.bundle = None;
        assert_eq!(fold.put(event), Err(FoldError::NoBundle(4)));
    }

    #[test]
    fn a_statement_is_remembered_by_the_logs_time_for_as_long_as_it_can_be_sent_again() {
        let mut fold = Fold::new();
        let event = fold.declaration(1);
        let Event::EmergencyDeclared { declared, key, .. } = &event else { unreachable!() };
        let (declared, key) = (declared.clone(), *key);
        let Ok(Statement::Declare(words)) = Statement::read(&declared.statement) else { unreachable!() };
        let index = fold.put(event).unwrap();
        let find = |fold: &Fold, text: &str| fold.state.answered.find(&key, &words.header, text);
        assert_eq!(find(&fold, &declared.statement), Some(Answered::Same { entry: index }));
        assert_eq!(find(&fold, "other bytes"), Some(Answered::Other));
        let stranger = public(9).fingerprint();
        assert_eq!(fold.state.answered.find(&stranger, &words.header, &declared.statement), None);
        fold.now += 600;
        fold.put(Fold::incident("build")).unwrap();
        assert!(find(&fold, &declared.statement).is_some(), "twice the window");
        fold.now += 1;
        fold.put(Fold::incident("build")).unwrap();
        assert_eq!(find(&fold, &declared.statement), None);
    }
}
