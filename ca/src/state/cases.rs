//! The fold, move by move: what each entry does, and which entries are a broken log.

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
        let keys = PinnedKeys { user_ca: public(1), log: public(2), krl: public(3), host_ca: public(5) };
        let event =
            Event::LogCreated { origin: "test/0011223344556677".parse().unwrap(), keys, succeeds: None };
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
        self.put_with(event, None)
    }

    /// An entry with a certificate's body.
    fn put_with(&mut self, event: Event, body: Option<&[u8]>) -> Result<u64, FoldError> {
        let index = self.state.entries();
        self.state.apply(index, self.now, &event, body, leaf(index)).map(|()| index)
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
    assert_eq!(fold.state.emergencies.next_due(), Some((START + 900, EmergencyId(1))), "another system's");
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
