//! Random nights of a CA in which everybody says everything to everything: declares, signs too, approves,
//! refuses, extends, closes, reviews, changes the policy; with old leaves, for other emergencies, twice, under
//! other names, as strangers; while incidents come and go, time passes, the clock steps, it restarts. After
//! each step, answer, log, grants and revocations are those of a slow model (`waiting/`), and at the end every
//! certificate is accounted for from the log's bytes alone.
//!
//! `FIREAXE_MODEL_CASES` says how many nights; 24 otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

mod installed;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::Settled;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::krl::RevocationList;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Closer, Entry, Event, Hash};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::statement::{self as said, BundleChange, Envelope, Statement, Verdict};
use installed::people::{ANA_ADMIN, ANA_SPARE, DAN, EVE};
use installed::{ANA, BEN, CLEO, Installed, STRANGER, Told, signed};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use waiting::bytes;
use waiting::model::{Ended, Model, Move, Phase};
use waiting::moves::{Again, Answer, Kind, Words};
use waiting::world::{Bundle, FAY, INCIDENTS, TARGETS, VOICES, files, person};

/// Which leaf a statement names.
#[derive(Debug, Clone, Copy)]
enum Leaf {
    /// What its kind refers to.
    Right,
    /// What was decided before.
    Before,
    /// Another emergency's.
    Others,
    /// The right one, and the emergency's number is another's.
    Misnamed,
    /// No entry's at all.
    Nothing,
}

/// Who says it, and about which emergency.
#[derive(Debug, Clone, Copy)]
enum Aim {
    /// The next of the voices whose word would count, about the newest emergency in which it would.
    Apt,
    /// Anybody, about the newest emergency in which somebody's word would count.
    Fit,
    /// Anybody about any.
    Any,
}

#[derive(Debug, Clone)]
enum Act {
    Declare {
        by: u8,
        target: usize,
        severity: Option<u8>,
        incident: Option<usize>,
        want: Option<&'static str>,
        for_s: Option<u64>,
        used_key: bool,
    },
    Say {
        by: usize,
        kind: Kind,
        which: usize,
        leaf: Leaf,
        aim: Aim,
    },
    Again {
        which: usize,
    },
    Nonce {
        which: usize,
    },
    Incident {
        which: usize,
        severity: u8,
        open: bool,
    },
    Activate {
        other: bool,
        signers: Vec<u8>,
        replay: bool,
    },
    Pass {
        seconds: u64,
    },
    Step {
        seconds: i64,
    },
    Jump {
        seconds: i64,
    },
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let voice = || prop::sample::select(VOICES.to_vec());
    let asker = prop_oneof![5 => Just(ANA), 3 => voice()];
    let severity = || prop_oneof![3 => Just(None), 3 => Just(Some(1)), 2 => Just(Some(2)), 1 => (3u8..=4).prop_map(Some)];
    // None, that of the system, or the other's.
    let incident = |target: usize, n: u8| match n {
        0..4 => None,
        4..8 => Some(usize::from(target > 1)),
        _ => Some(usize::from(target <= 1)),
    };
    let other = || prop_oneof![3 => Just(None), 1 => (0..INCIDENTS.len()).prop_map(Some)];
    let for_s = || prop_oneof![8 => Just(None), 1 => Just(Some(300u64)), 1 => Just(Some(2000))];
    let want = prop_oneof![8 => Just(None), 1 => prop::sample::select(vec!["look", "fix", "root", "guarded", "sealed"]).prop_map(Some)];
    let kind = prop_oneof![
        3 => Just(Kind::Second),
        9 => Just(Kind::Approve),
        2 => Just(Kind::Refuse),
        5 => (severity(), other(), for_s()).prop_map(|(s, i, f)| Kind::Extend(s, i, f)),
        3 => Just(Kind::Extend(None, None, None)),
        4 => Just(Kind::Review),
        2 => Just(Kind::Close),
    ];
    let leaf = prop_oneof![
        14 => Just(Leaf::Right),
        2 => Just(Leaf::Before),
        1 => Just(Leaf::Others),
        1 => Just(Leaf::Misnamed),
        1 => Just(Leaf::Nothing),
    ];
    let aim = prop_oneof![5 => Just(Aim::Apt), 4 => Just(Aim::Fit), 2 => Just(Aim::Any)];
    let signers = prop_oneof![
        6 => Just(vec![CLEO, DAN]),
        1 => prop::sample::select(vec![vec![CLEO], vec![DAN, BEN], vec![STRANGER, CLEO], vec![CLEO, ANA], vec![CLEO, CLEO]]),
    ];
    prop_oneof![
        6 => (asker, 0..TARGETS.len(), severity(), 0u8..9, want, for_s(), prop::bool::weighted(0.05)).prop_map(
            move |(by, target, severity, n, want, for_s, used_key)| {
                Act::Declare { by, target, severity, incident: incident(target, n), want, for_s, used_key }
            }
        ),
        22 => (0..VOICES.len(), kind, prop_oneof![5 => 0usize..3, 1 => 3usize..20], leaf, aim)
            .prop_map(|(by, kind, which, leaf, aim)| Act::Say { by, kind, which, leaf, aim }),
        3 => (0usize..12).prop_map(|which| Act::Again { which }),
        1 => (0usize..6).prop_map(|which| Act::Nonce { which }),
        6 => (0..INCIDENTS.len(), prop_oneof![4 => Just(1u8), 1 => 2u8..=3], prop::bool::weighted(0.7))
            .prop_map(|(which, severity, open)| Act::Incident { which, severity, open }),
        1 => (prop::bool::weighted(0.8), signers, prop::bool::weighted(0.3))
            .prop_map(|(other, signers, replay)| Act::Activate { other, signers, replay }),
        4 => prop::sample::select(vec![1u64, 29, 60, 90, 200, 240, 299]).prop_map(|seconds| Act::Pass { seconds }),
        1 => prop::sample::select(vec![599u64, 600, 1200, 2700, 15_000]).prop_map(|seconds| Act::Pass { seconds }),
        1 => prop::sample::select(vec![-30i64, 1, 250]).prop_map(|seconds| Act::Step { seconds }),
        1 => prop::sample::select(vec![-4000i64, -4000, 301]).prop_map(|seconds| Act::Jump { seconds }),
        1 => Just(Act::Restart),
    ]
}

/// What a night is made of: one act, or a short scene that chance alone would seldom play.
fn acts() -> impl Strategy<Value = Vec<Act>> {
    let declare = |by, target, severity, incident| Act::Declare {
        by,
        target,
        severity,
        incident,
        want: None,
        for_s: None,
        used_key: false,
    };
    let say = |by: u8, kind| Act::Say {
        by: VOICES.iter().position(|voice| *voice == by).unwrap(),
        kind,
        which: 0,
        leaf: Leaf::Right,
        aim: Aim::Any,
    };
    let open = |which| Act::Incident { which, severity: 1, open: true };
    let to = |other| Act::Activate { other, signers: vec![CLEO, DAN], replay: false };
    let approve = move |by| say(by, Kind::Approve);
    let more = Kind::Extend(None, None, None);
    let held = || vec![Act::Incident { which: 0, severity: 1, open: false }, say(ANA, more), open(0)];
    let scenes = vec![
        // One of two, and the same again under both hats; then another.
        vec![open(1), declare(ANA, 2, None, Some(1)), approve(DAN), approve(DAN), approve(EVE), approve(BEN)],
        // Hers, by her other name.
        vec![open(1), declare(ANA, 2, None, Some(1)), approve(ANA_ADMIN), approve(CLEO), approve(ANA_ADMIN)],
        // One of two, and the policy changes; then the other of two.
        vec![open(1), declare(ANA, 2, None, Some(1)), approve(BEN), to(true), approve(CLEO), approve(DAN)],
        // One of two, and it is extended; then the other.
        vec![open(1), declare(ANA, 2, None, Some(1)), approve(BEN), say(ANA, more), approve(CLEO)],
        // Too many in an hour.
        vec![
            to(true),
            declare(ANA, 0, Some(2), None),
            approve(BEN),
            declare(ANA, 0, Some(2), None),
            approve(BEN),
        ],
        // A claim that another must sign too: who did asks for it, and neither approves nor reviews.
        vec![
            declare(ANA, 0, Some(1), None),
            say(ANA_ADMIN, Kind::Second),
            say(BEN, Kind::Second),
            say(FAY, Kind::Second),
            approve(FAY),
            approve(BEN),
            say(ANA, Kind::Close),
            say(EVE, Kind::Review),
            say(CLEO, Kind::Review),
            say(CLEO, Kind::Review),
        ],
        // What the quorum is for.
        vec![
            Act::Activate { other: true, signers: vec![CLEO], replay: false },
            Act::Activate { other: true, signers: vec![DAN, BEN], replay: false },
            to(false),
            to(true),
            to(true),
            Act::Activate { other: true, signers: vec![], replay: true },
        ],
        // Who declared it is removed.
        vec![declare(EVE, 0, Some(2), None), to(true)],
        // Given, closed, and asked for again.
        vec![
            declare(ANA, 0, Some(2), None),
            say(ANA, Kind::Close),
            Act::Again { which: 1 },
            Act::Again { which: 2 },
        ],
        // Late.
        vec![open(0), declare(ANA, 0, None, Some(0)), Act::Pass { seconds: 600 }, approve(BEN)],
        // Given some while after it was asked.
        vec![open(0), declare(ANA, 0, None, Some(0)), Act::Pass { seconds: 250 }, approve(BEN)],
        // More and more time.
        vec![open(0), declare(ANA, 1, None, Some(0)), say(ANA, more), say(ANA_SPARE, more), say(ANA, more)],
        // Held again and again.
        [vec![open(0), declare(ANA, 0, None, Some(0))], held(), held(), held(), held()].concat(),
    ];
    prop_oneof![24 => act().prop_map(|act| vec![act]), 4 => prop::sample::select(scenes)]
}

/// A statement that was sent.
struct Sent {
    by: u8,
    at: u64,
    path: String,
    envelope: Envelope,
    words: Words,
    again: Option<Again>,
    /// The answer's bytes, where the same certificate must come again.
    told: Vec<u8>,
}

struct Night {
    ca: Option<Installed>,
    model: Model,
    sent: Vec<Sent>,
    /// The last change that was taken.
    changes: Vec<(Bundle, Vec<Envelope>)>,
    activation: Hash,
    read: u64,
    fresh: u64,
    turn: usize,
    told: BTreeMap<String, u32>,
}

/// Runs a night; gives what was answered how often, and what the model saw.
async fn night(acts: &[Act]) -> (BTreeMap<String, u32>, BTreeMap<&'static str, u32>) {
    let (policy, roster) = files(Bundle::A);
    let ca = Installed::with(&policy, &roster);
    let read = ca.size();
    let newest = Entry::decode(&ca.reader().entry_bytes(read - 1).unwrap()).unwrap().at;
    let activation = leaf_hash(&ca.reader().entry_bytes(read - 1).unwrap());
    let model = Model::new(newest);
    let mut night = Night {
        ca: Some(ca),
        model,
        sent: Vec::new(),
        changes: Vec::new(),
        activation,
        read,
        fresh: 0,
        turn: 0,
        told: BTreeMap::new(),
    };
    for act in acts {
        night.act(act).await;
        night.compare(matches!(act, Act::Restart)).await;
    }
    night.compare(true).await;
    let ca = night.ca.as_ref().unwrap();
    let (_, found) = fireaxe_ca::verify::verify(&ca.reader(), &mut |_| {}).unwrap();
    assert_eq!(found, []);
    let log: Vec<Vec<u8>> = (0..ca.size()).map(|n| ca.reader().entry_bytes(n).unwrap()).collect();
    assert_eq!(bytes::check(&log).0, night.model.certificates.len());
    (night.told, night.model.seen)
}

impl Night {
    fn ca(&self) -> &Installed {
        self.ca.as_ref().unwrap()
    }

    /// The time that the CA uses: its log's never runs back.
    fn now(&self) -> u64 {
        self.ca().clock.wall().max(self.model.newest)
    }

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Declare { .. } | Act::Say { .. } => {
                let Some((by, path, envelope, words)) = self.statement(act) else { return };
                let (at, now) = (self.ca().clock.wall(), self.now());
                let (expected, again) = self.model.hear(by, at, &words, now);
                let told = self.ca().post(&path, &envelope).await;
                self.answered(&told, expected);
                self.sent.push(Sent { by, at, path, envelope, words, again, told: told.bytes });
            }
            Act::Again { which } => self.again(*which).await,
            Act::Nonce { which } => {
                // The nonce of a statement that was answered, under other words of the same person.
                let Some(n) = self.back(*which, |sent| sent.again.is_some()) else { return };
                let (sent, now) = (&self.sent[n], self.now());
                let by = sent.by;
                self.model.tick(now);
                let sent = &self.sent[n];
                if self.is_remembered(sent.at) != Some(true) {
                    return;
                }
                let header = Statement::read(&sent.envelope.statement).unwrap().header().clone();
                let mut words = self.ca().declare(TARGETS[0]);
                words.header.nonce = header.nonce;
                let known = person(self.model.bundle, by).is_some();
                let expected =
                    if known { Answer(409, "statement.nonce_reused") } else { Answer(401, "key.unknown") };
                let told = self.ca().send(&signed(by, &Statement::Declare(words))).await;
                self.answered(&told, expected);
            }
            Act::Incident { which, severity, open } => {
                let now = self.now();
                self.model.incident(*which, *severity, *open, now);
                let state = if *open { "open" } else { "resolved" };
                let system = ["payments-db", "vault"][*which];
                let told = self.ca().incident(INCIDENTS[*which], *severity, state, system).await;
                assert_eq!(told.status, 200, "{}", told.text());
            }
            Act::Activate { other, signers, replay } => {
                let to = if (self.model.bundle == Bundle::A) == *other { Bundle::B } else { Bundle::A };
                self.activate(to, signers, *replay).await;
            }
            Act::Pass { seconds } => self.ca().clock.pass(*seconds),
            Act::Step { seconds } => {
                let wall = self.ca().clock.wall().checked_add_signed(*seconds).unwrap();
                if wall + 60 >= self.model.newest {
                    self.ca().clock.jump(*seconds);
                }
            }
            Act::Jump { seconds } => self.jump(*seconds).await,
            Act::Restart => {
                let ca = self.ca.take().unwrap();
                self.ca = Some(ca.restart());
            }
        }
    }

    /// The wall jumps: nothing is done, whoever asks, until somebody says that it is right.
    async fn jump(&mut self, seconds: i64) {
        let waiting = self.model.all.iter().rposition(|one| one.waiting.is_some());
        let ca = self.ca();
        ca.clock.jump(seconds);
        ca.incident("pd:TICK", 4, "open", "nowhere").await.problem(503, "clock.stopped");
        if let Some(id) = waiting {
            let of = *self.model.all[id].leaves.last().unwrap();
            let id = EmergencyId(id as u64 + 1);
            let words = Statement::Approve(ca.approval(of, id));
            ca.say(DAN, id, words).await.problem(503, "clock.stopped");
        }
        if seconds < 0 {
            ca.clock.jump(-seconds);
            ca.incident("pd:TICK", 4, "open", "nowhere").await.problem(503, "clock.stopped");
        }
        let now = self.now();
        self.model.tick(now);
        self.model.expect(now, Move::Clock);
        self.model.see("clock.stopped");
        self.model.tick(now);
        let told = self.ca().operator("POST", "/operator/clock", serde_json::json!({"reason": "ntp"})).await;
        assert_eq!(told.status, 200, "{}", told.text());
    }

    /// The statement that an act means, as it is sent and as the model reads it.
    fn statement(&mut self, act: &Act) -> Option<(u8, String, Envelope, Words)> {
        let ca = self.ca.as_ref().unwrap();
        match act {
            Act::Declare { by, target, severity, incident, want, for_s, used_key } => {
                let mut fresh = [9u8; 32];
                self.fresh += 1;
                fresh[..8].copy_from_slice(&self.fresh.to_be_bytes());
                if let Some(other) = self.model.all.last().filter(|_| *used_key) {
                    fresh = other.fresh;
                }
                let mut words = ca.declare(TARGETS[*target]);
                words.severity = severity.map(|severity| severity.try_into().unwrap());
                words.incident = incident.map(|n| INCIDENTS[n].parse().unwrap());
                words.want = want.map(|want| want.parse().unwrap());
                words.for_s = for_s.map(|for_s| u32::try_from(for_s).unwrap());
                words.public_key = Ed25519Key(SigningKey::from_bytes(&fresh).verifying_key().to_bytes());
                let envelope = signed(*by, &Statement::Declare(words));
                let words = Words::Declare {
                    target: *target,
                    severity: *severity,
                    incident: *incident,
                    want: *want,
                    for_s: *for_s,
                    fresh,
                };
                Some((*by, "/v1/emergencies".into(), envelope, words))
            }
            Act::Say { by, kind, which, leaf, aim } => {
                let apt = if matches!(aim, Aim::Any) { None } else { self.apt(*by, *kind) };
                if let Some((fits, id)) = apt {
                    let by = if matches!(aim, Aim::Apt) { fits } else { VOICES[*by] };
                    return Some(self.about(by, *kind, id, *leaf));
                }
                // The newest first; beyond all of them, one that was never declared.
                let all = &self.model.all;
                let id = if *which >= 19 {
                    all.len()
                } else {
                    all.len().checked_sub(which % all.len().max(1) + 1)?
                };
                Some(self.about(VOICES[*by], *kind, id, *leaf))
            }
            _ => None,
        }
    }

    /// What somebody says about an emergency.
    fn about(&self, by: u8, kind: Kind, id: usize, leaf: Leaf) -> (u8, String, Envelope, Words) {
        let (ca, all) = (self.ca(), &self.model.all);
        let leaves = all.get(id).map(|one| one.leaves.as_slice()).unwrap_or_default();
        let of_request = matches!(kind, Kind::Second | Kind::Approve | Kind::Refuse);
        let right = if of_request { leaves.last() } else { leaves.first() };
        let others = (id > 0).then(|| all[id - 1].leaves.last()).flatten();
        let of = match leaf {
            Leaf::Right | Leaf::Misnamed => right,
            Leaf::Before => leaves.iter().rev().nth(1),
            Leaf::Others => others,
            Leaf::Nothing => None,
        };
        let of = of.copied().unwrap_or(Hash([7; 32]));
        let named = if matches!(leaf, Leaf::Misnamed) { id + 1 } else { id };
        let (emergency, sent_to) = (EmergencyId(named as u64 + 1), EmergencyId(id as u64 + 1));
        let (place, words) = match kind {
            Kind::Second => {
                let header = ca.header(said::Kind::Second);
                ("seconds", Statement::Second(said::Second { header, of, emergency }))
            }
            Kind::Approve => ("approvals", Statement::Approve(ca.approval(of, emergency))),
            Kind::Refuse => {
                let (header, reason) = (ca.header(said::Kind::Refuse), "not tonight".parse().unwrap());
                ("refusals", Statement::Refuse(said::Refuse { header, of, emergency, reason }))
            }
            Kind::Extend(severity, incident, for_s) => {
                let mut words = ca.extension(of, emergency);
                words.severity = severity.map(|severity| severity.try_into().unwrap());
                words.incident = incident.map(|n| INCIDENTS[n].parse().unwrap());
                words.for_s = for_s.map(|for_s| u32::try_from(for_s).unwrap());
                ("extensions", Statement::Extend(words))
            }
            Kind::Review => {
                let (header, reason) = (ca.header(said::Kind::Review), "looked at it".parse().unwrap());
                let verdict = Verdict::Justified;
                ("review", Statement::Review(said::Review { header, of, emergency, verdict, reason }))
            }
            Kind::Close => {
                let header = ca.header(said::Kind::Close);
                ("closure", Statement::Close(said::Close { header, of, emergency, uses: None }))
            }
        };
        let path = format!("/v1/emergencies/{sent_to}/{place}");
        (by, path, signed(by, &words), Words::About { kind, sent_to: id, named, of })
    }

    /// Whose word of this kind would count about which emergency: the newest, and the next of the voices from
    /// `first` on.
    fn apt(&self, first: usize, kind: Kind) -> Option<(u8, usize)> {
        let (at, now) = (self.ca().clock.wall(), self.now());
        let voices = (0..VOICES.len()).map(|n| VOICES[(first + n) % VOICES.len()]);
        let newest_first = (0..self.model.all.len()).rev();
        // Who would hold what is closing before who would have more time.
        let closing = |id: &usize| !matches!(self.model.all[*id].phase, Phase::Closing(_));
        let mut ids: Vec<usize> = newest_first.collect();
        ids.sort_by_key(closing);
        let mut both = voices.flat_map(|by| ids.iter().map(move |id| (by, *id)));
        both.find(|(by, id)| {
            let (.., words) = self.about(*by, kind, *id, Leaf::Right);
            let (answer, again) = self.model.clone().hear(*by, at, &words, now);
            answer.0 < 300 || (again.is_some() && matches!(self.model.all[*id].phase, Phase::Closing(_)))
        })
    }

    fn back(&self, which: usize, fits: impl Fn(&Sent) -> bool) -> Option<usize> {
        (0..self.sent.len()).rev().filter(|n| fits(&self.sent[*n])).nth(which)
    }

    /// Whether a statement of that time can still be answered as before, by the log's own time: for ten
    /// minutes. When that is a matter of who stepped back when, nobody says.
    fn is_remembered(&self, at: u64) -> Option<bool> {
        match self.model.newest.saturating_sub(at) {
            0..570 => Some(true),
            570..=640 => None,
            _ => Some(false),
        }
    }

    async fn again(&mut self, which: usize) {
        let Some(n) = self.back(which, |_| true) else { return };
        let now = self.now();
        let Sent { by, at, words, again, .. } = &self.sent[n];
        let (by, at, words, again) = (*by, *at, words.clone(), *again);
        let known = person(self.model.bundle, by).is_some();
        if known {
            self.model.tick(now);
        }
        let Some(is_remembered) = self.is_remembered(at) else { return };
        let remembered = again.filter(|_| is_remembered);
        let expected = match remembered {
            Some(again) => self.model.hear_again(by, again, now),
            None => {
                let (answer, again) = self.model.hear(by, at, &words, now);
                self.sent[n].again = again;
                answer
            }
        };
        let told = self.ca().post(&self.sent[n].path, &self.sent[n].envelope).await;
        self.answered(&told, expected);
        if expected.0 == 200 && matches!(remembered, Some(Again::Declared(..))) {
            assert_eq!(given(&told.bytes), given(&self.sent[n].told), "the same certificate");
            self.model.see("retried.given");
        }
        if remembered.is_some() {
            self.model.see("retried");
        }
    }

    async fn activate(&mut self, to: Bundle, signers: &[u8], replay: bool) {
        let (policy, roster) = files(to);
        let hash = fireaxe_protocol::policy::Bundle::parse(&policy, &roster).unwrap().hash;
        let old = self.changes.iter().rev().find(|(bundle, _)| *bundle == to).filter(|_| replay);
        let (envelopes, signers, current) = match old {
            Some((_, envelopes)) => (envelopes.clone(), vec![CLEO, DAN], false),
            None => {
                let change = |by: &u8| {
                    let header = self.ca().header(said::Kind::Bundle);
                    signed(
                        *by,
                        &Statement::Bundle(BundleChange { header, of: self.activation, bundle: hash }),
                    )
                };
                (signers.iter().map(change).collect(), signers.to_vec(), true)
            }
        };
        let distinct: BTreeSet<u8> = signers.iter().copied().collect();
        let distinct: Vec<u8> = distinct.into_iter().collect();
        let now = self.now();
        let expected = self.model.activate(to, &distinct, current, now);
        let body = serde_json::json!({ "policy": policy, "roster": roster, "signed": envelopes });
        let told = self.ca().operator("POST", "/operator/bundle", body).await;
        self.answered(&told, expected);
        if expected.0 == 200 {
            self.changes.push((to, envelopes));
        }
    }

    #[track_caller]
    fn answered(&mut self, told: &Told, expected: Answer) {
        let found: serde_json::Value = serde_json::from_slice(&told.bytes).unwrap_or_default();
        let code = found["code"].as_str().unwrap_or_default();
        assert_eq!((told.status, code), (expected.0, expected.1), "{}", told.text());
        if !code.is_empty() {
            told.problem(expected.0, expected.1);
        }
        *self
            .told
            .entry(if code.is_empty() { told.status.to_string() } else { code.to_owned() })
            .or_default() += 1;
    }

    /// Log, grants and revocations are the model's.
    async fn compare(&mut self, everything: bool) {
        // Anything that makes the writer look at the clock.
        self.ca().incident("pd:TICK", 4, "open", "nowhere").await.problem(404, "system.unknown");
        let now = self.now();
        self.model.tick(now);
        let touched = self.read_log();
        let list = RevocationList::read(&self.ca().get("/v1/krl", None).await.bytes).unwrap();
        let user_ca = self.ca().road.published().keys().user_ca;
        for (n, certificate) in self.model.certificates.iter().enumerate() {
            // Dropped a day after their end.
            if now < certificate.end + 86_000 {
                let listed = list.is_revoked(&user_ca, certificate.serial);
                assert_eq!(listed, self.model.revoked.contains(&n), "serial {}", certificate.serial);
            }
        }
        let live: Vec<usize> =
            (0..self.model.all.len()).filter(|id| self.model.all[*id].phase != Phase::Closed).collect();
        // Those that something happened to, and of the others one after the other.
        self.turn += 1;
        let other = live.get(self.turn % live.len().max(1)).copied();
        for id in live {
            if everything || touched.contains(&id) || other == Some(id) {
                self.compare_grant(id, now).await;
            }
        }
    }

    async fn compare_grant(&self, id: usize, now: u64) {
        let one = &self.model.all[id];
        let grant = self.ca().grant(&SigningKey::from_bytes(&one.fresh), EmergencyId(id as u64 + 1)).await;
        assert_eq!(grant.state, if one.phase == Phase::Open { "open" } else { "closing" });
        assert_eq!(grant.request, *one.leaves.last().unwrap());
        assert_eq!(grant.until, self.model.end(id), "EM-{}: {one:?}", id + 1);
        let newest = self.model.alive(id, now).last().copied().filter(|_| one.phase == Phase::Open);
        let newest = newest.map(|n| &self.model.certificates[n]);
        let held = grant.terms.as_ref().map(|terms| (terms.tier.as_str(), terms.lifetime_s.into()));
        assert_eq!(held, newest.map(|c| (c.terms.tier, c.terms.life_s)), "EM-{}: {one:?}", id + 1);
        assert_eq!(grant.valid_before, newest.map(|certificate| certificate.end));
        let serial = grant.certificate.map(|c| ssh_key::Certificate::from_openssh(&c).unwrap().serial());
        assert_eq!(serial, newest.map(|certificate| certificate.serial));
        let settled = grant.settled.as_ref().map(|settled| match settled {
            Settled::Given => Ended::Given,
            Settled::Refused { .. } => Ended::Refused,
            Settled::Lapsed => Ended::Lapsed,
        });
        assert_eq!(settled, one.ended, "EM-{}: {one:?}", id + 1);
        assert_eq!(grant.waiting.is_some(), one.waiting.is_some());
        if let (Some(shown), Some(wait)) = (&grant.waiting, &one.waiting) {
            let missing: usize = shown.missing.iter().map(|quorum| usize::from(quorum.count)).sum();
            let approved: Vec<&str> = shown.approved_by.iter().map(|name| name.as_str()).collect();
            let names: Vec<&str> = wait.approvals.iter().map(|person| person.canonical).collect();
            assert_eq!((shown.tier.as_str(), missing), (wait.full.tier, self.model.missing(id)));
            assert_eq!((approved, shown.called.len(), shown.until), (names, wait.called, wait.until));
            let next = self.model.next_rung(id).map(|(at, _)| at);
            assert_eq!(shown.next.as_ref().map(|next| next.at), next);
        }
        assert_eq!(grant.decision.awaits.is_some() && one.phase == Phase::Open && one.awaits, one.awaits);
    }

    /// The new entries of the log are those that the model expects, in that order and of that time; gives
    /// which emergencies they are about.
    fn read_log(&mut self) -> BTreeSet<usize> {
        let mut touched = BTreeSet::new();
        let reader = self.ca().reader();
        let mut expected = std::mem::take(&mut self.model.expected).into_iter();
        for index in self.read..reader.size().unwrap() {
            let bytes = reader.entry_bytes(index).unwrap();
            let entry = Entry::decode(&bytes).unwrap();
            if matches!(entry.event, Event::BlobStored { .. } | Event::AnomalyRaised { .. }) {
                continue;
            }
            let Some((at, what)) = expected.next() else {
                panic!("entry {index} is not the model's: {entry:?}")
            };
            touched.extend(entry.event.emergency().map(|id| usize::try_from(id.0).unwrap() - 1));
            let found = self.found(index, &entry, leaf_hash(&bytes), &what);
            assert_eq!((entry.at, &found), (at, &what), "entry {index}: {entry:?}");
        }
        assert_eq!(expected.next(), None, "the log does not say it");
        self.read = reader.size().unwrap();
        touched
    }

    /// What an entry says, in the model's words.
    fn found(&mut self, index: u64, entry: &Entry, leaf: Hash, what: &Move) -> Move {
        let n = |id: &EmergencyId| usize::try_from(id.0).unwrap() - 1;
        if let Some(decided) = entry.event.decided() {
            let one = &mut self.model.all[n(&decided.emergency)];
            one.leaves.push(leaf);
            one.decisions.insert(leaf, decided.decision.clone());
        }
        match &entry.event {
            Event::IncidentUpdated(_) => Move::Incident,
            Event::EmergencyDeclared { emergency, .. } => Move::Declared(n(emergency)),
            Event::DeclarationRefused { .. } => Move::Denied,
            Event::EmergencySeconded { emergency, .. } => Move::Seconded(n(emergency)),
            Event::EmergencyRedecided { emergency, .. } => Move::Redecided(n(emergency)),
            Event::ExtensionRequested { emergency, .. } => Move::Extended(n(emergency)),
            Event::ExtensionRefused { emergency, .. } => Move::NotExtended(n(emergency)),
            Event::RungCalled { emergency, rung, people, .. } => {
                let Move::Rung(_, _, names) = what else { panic!("entry {index}: a rung is called") };
                let people: Vec<&str> = people.iter().map(|name| name.as_str()).collect();
                assert_eq!(people, *names, "entry {index}");
                Move::Rung(n(emergency), usize::from(*rung), names.clone())
            }
            Event::ApprovalGiven { emergency, .. } => Move::Approved(n(emergency)),
            Event::ApprovalRefused { emergency, .. } => Move::Refused(n(emergency)),
            Event::RequestLapsed { emergency, .. } => Move::Lapsed(n(emergency)),
            Event::EmergencyReviewed { emergency, .. } => Move::Reviewed(n(emergency)),
            Event::EmergencyClosing { emergency, until, .. } => Move::Closing(n(emergency), *until),
            Event::EmergencyClosed { emergency, by, revoked, .. } => {
                let by = match by {
                    Closer::Person { .. } => "person",
                    Closer::Deadline => "deadline",
                    Closer::Grace => "grace",
                    Closer::Unlinked => "unlinked",
                    Closer::Removed => "removed",
                };
                let all = &self.model.certificates;
                let which = |serial: &u64| all.iter().position(|one| one.serial == *serial).unwrap();
                Move::Closed(n(emergency), by, revoked.iter().map(which).collect())
            }
            Event::CertificateIssued { of, terms } => {
                let Move::Issued(which) = what else { panic!("entry {index}: a certificate nobody grants") };
                let certificate = &mut self.model.certificates[*which];
                certificate.serial = index;
                let one = &self.model.all[certificate.emergency];
                assert_eq!(one.leaves.last(), Some(of), "entry {index}");
                let decision = &one.decisions[of];
                let both = [decision.terms_now(), decision.terms_waiting()];
                let terms = both.into_iter().flatten().find(|one| one.hash() == *terms).unwrap();
                let granted = (certificate.terms.tier, certificate.terms.life_s);
                assert_eq!(
                    (terms.tier.as_str(), u64::from(terms.lifetime_s)),
                    granted,
                    "entry {index}: {decision:?} {one:?}"
                );
                let read = bytes::certified(entry.body.as_deref().unwrap());
                assert_eq!((read.serial, read.to), (index, certificate.end), "entry {index}");
                Move::Issued(*which)
            }
            Event::CertificateAbandoned { serial, .. } => {
                let all = &self.model.certificates;
                Move::Abandoned(all.iter().position(|one| one.serial == *serial).unwrap())
            }
            Event::BundleActivated { .. } => {
                self.activation = leaf;
                Move::Bundle
            }
            Event::ClockCorrected { .. } => Move::Clock,
            event => panic!("entry {index}: {event:?}"),
        }
    }
}
/// An answer's certificate, without what it says of the moment it was asked.
fn given(answer: &[u8]) -> serde_json::Value {
    let mut answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
    answer.as_object_mut().unwrap().remove("waiting");
    answer
}

fn run(acts: &[Act]) -> (BTreeMap<String, u32>, BTreeMap<&'static str, u32>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(night(acts))
}

fn cases() -> u32 {
    std::env::var("FIREAXE_MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, max_shrink_iters: 120, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_reaches_a_certificate_that_the_model_would_not_grant(acts in prop::collection::vec(acts(), 1..32)) {
        run(&acts.concat());
    }
}

/// A sequence of random acts reaches what it is there for: over fixed seeds, every interesting move and every
/// refusal at least once.
#[test]
fn the_random_nights_reach_every_answer() {
    let config = Config { failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let mut told: BTreeMap<String, u32> = BTreeMap::new();
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..8 {
        let acts = prop::collection::vec(acts(), 64..65).new_tree(&mut runner).unwrap().current();
        let (answers, moves) = run(&acts.concat());
        answers.into_iter().for_each(|(code, n)| *told.entry(code).or_default() += n);
        moves.into_iter().for_each(|(what, n)| *seen.entry(what).or_default() += n);
    }
    let answers = [
        "200",
        "201",
        "approval.not_asked",
        "approval.own",
        "approval.twice",
        "bundle.not_admin",
        "bundle.other_activation",
        "bundle.quorum",
        "bundle.same",
        "emergency.closed",
        "emergency.closing",
        "emergency.not_yours",
        "emergency.other_declaration",
        "emergency.unknown",
        "key.unknown",
        "policy.denied",
        "public_key.not_fresh",
        "rate.approvals",
        "request.changed",
        "request.none",
        "request.settled",
        "review.not_asked",
        "review.not_over",
        "review.not_owed",
        "review.took_part",
        "second.not_awaited",
        "second.off_call",
        "second.own",
        "statement.nonce_reused",
        "statement.stale",
    ];
    let moves = [
        "abandoned",
        "activated",
        "approvals.void",
        "approved",
        "clock.stopped",
        "closed",
        "closing",
        "closing.lapsed",
        "deadline",
        "declared.given",
        "declared.waiting",
        "extended",
        "extended.closing",
        "extension.refused",
        "grace",
        "held",
        "lapsed",
        "not.held",
        "redecided",
        "refused",
        "removed",
        "retried",
        "retried.given",
        "reviewed",
        "rung.first",
        "rung.second",
        "rung.third",
        "seconded",
        "upgraded",
    ];
    let never: Vec<&str> = answers.into_iter().filter(|code| !told.contains_key(*code)).collect();
    let unseen: Vec<&str> = moves.into_iter().filter(|what| !seen.contains_key(*what)).collect();
    assert_eq!((never, unseen), (vec![], vec![]), "reached: {told:?} {seen:?}");
}
