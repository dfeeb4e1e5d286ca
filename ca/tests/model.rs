//! Random days of a CA against a slow, obvious model of emergencies: who declares, closes, retries, which
//! incidents open and resolve, how time passes, when it restarts. The CA issues nothing that the model
//! would not, lists exactly what the model revokes, numbers without a gap, and its log verifies.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use std::collections::BTreeSet;

use fireaxe_protocol::api::{Closed, Opened};
use fireaxe_protocol::krl::RevocationList;
use fireaxe_protocol::statement::{Envelope, Statement};
use installed::{ANA, BEN, CLEO, Installed, signed};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Act {
    Declare { by: u8, target: usize, severity: Option<u8>, incident: bool },
    Close { by: u8, which: usize },
    Retry { which: usize },
    Incident { severity: u8, resolved: bool },
    Pass { seconds: u64 },
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let person = prop::sample::select(vec![ANA, BEN, CLEO]);
    prop_oneof![
        4 => (person.clone(), 0..TARGETS.len(), prop::option::of(1u8..=4), any::<bool>())
            .prop_map(|(by, target, severity, incident)| Act::Declare { by, target, severity, incident }),
        3 => (person, 0usize..8).prop_map(|(by, which)| Act::Close { by, which }),
        2 => (0usize..8).prop_map(|which| Act::Retry { which }),
        2 => (1u8..=4, any::<bool>()).prop_map(|(severity, resolved)| Act::Incident { severity, resolved }),
        3 => prop::sample::select(vec![1u64, 59, 250, 599, 600, 1799, 1801])
            .prop_map(|seconds| Act::Pass { seconds }),
        1 => Just(Act::Restart),
    ]
}

const TARGETS: [&str; 4] = ["db-3.payments.prod", "db-4.payments.prod", "payments-db", "web-1.shop.prod"];
const INCIDENT: &str = "pd:A";
const GRACE_S: u64 = 600;

#[derive(Debug, PartialEq)]
enum Phase {
    Open,
    Closing(u64),
    Closed,
}

struct Emergency {
    owner: u8,
    phase: Phase,
    opened: Opened,
    serial: u64,
    end: u64,
    /// Until when it must be tied, while it is not.
    link_by: Option<u64>,
    on_incident: bool,
    said: Envelope,
    said_at: u64,
}

#[derive(Default)]
struct Model {
    all: Vec<Emergency>,
    revoked: BTreeSet<u64>,
    /// Since when the incident, which is on payments-db, was last said to be open.
    incident_open: Option<u64>,
}

impl Model {
    fn close(&mut self, which: usize, now: u64) {
        let one = &mut self.all[which];
        one.phase = Phase::Closed;
        if one.end > now {
            self.revoked.insert(one.serial);
        }
    }

    /// What the clock closes by `now`.
    fn tick(&mut self, now: u64) {
        for which in 0..self.all.len() {
            let one = &self.all[which];
            let counted = if let Phase::Closing(until) = one.phase { until } else { u64::MAX };
            let due = one.end.min(counted).min(one.link_by.unwrap_or(u64::MAX));
            if one.phase != Phase::Closed && due <= now {
                self.close(which, now);
            }
        }
    }

    fn incident(&mut self, resolved: bool, now: u64) {
        self.incident_open = (!resolved).then_some(now);
        for one in &mut self.all {
            if !resolved && one.opened.system.as_str() == "payments-db" {
                one.link_by = None;
            }
            if resolved && one.on_incident && one.phase == Phase::Open {
                one.phase = Phase::Closing(one.end.min(now + GRACE_S));
            }
        }
    }
}

async fn day(acts: Vec<Act>) {
    let (mut ca, mut model) = (Installed::new(), Model::default());
    for act in acts {
        let now = ca.clock.wall();
        match act {
            Act::Declare { by, target, severity, incident } => {
                model.tick(now);
                let mut words = ca.declare(TARGETS[target]);
                words.severity = severity.map(|s| s.try_into().unwrap());
                words.incident = incident.then(|| INCIDENT.parse().unwrap());
                let said = signed(by, &Statement::Declare(words));
                let told = ca.send(&said).await;
                if told.status != 201 {
                    told.problem(403, "policy.denied");
                    continue;
                }
                let opened: Opened = told.json();
                assert_eq!(opened.emergency.0, model.all.len() as u64 + 1, "gapless");
                let certificate =
                    ssh_key::Certificate::from_openssh(opened.certificate.as_ref().unwrap()).unwrap();
                let terms = opened.terms.as_ref().unwrap();
                let end = now + u64::from(terms.lifetime_s);
                assert_eq!(certificate.valid_before(), end, "never longer than its grant");
                assert_eq!(certificate.valid_principals(), &[terms.principals[0].to_string()]);
                let serial = certificate.serial();
                assert!(model.all.iter().all(|one| one.serial < serial), "a serial is used once");
                // The default policy: the last word on an incident counts for four hours.
                let fresh = model.incident_open.is_some_and(|since| now - since <= 4 * 3600);
                let tied = fresh && opened.system.as_str() == "payments-db";
                let claim = opened.decision.trigger.as_ref().is_some_and(|t| t.as_str() == "manual");
                let link_by = (claim && !tied).then_some(now + 1800);
                assert_eq!(opened.link_by, link_by);
                // Named and counted: one that did not count starts no countdown.
                let (phase, on_incident) = (Phase::Open, incident && opened.incident.is_some());
                let said_at = now;
                model.all.push(Emergency {
                    owner: by,
                    phase,
                    opened,
                    serial,
                    end,
                    link_by,
                    on_incident,
                    said,
                    said_at,
                });
            }
            Act::Close { by, which } => {
                model.tick(now);
                let Some(one) = model.all.get(which) else { continue };
                let told = ca.close_emergency(by, &one.opened).await;
                if one.phase == Phase::Closed {
                    told.problem(409, "emergency.closed");
                } else if by != one.owner && by != BEN {
                    told.problem(403, "emergency.not_yours");
                } else {
                    assert_eq!(told.json::<Closed>().revoked, [one.serial]);
                    model.close(which, now);
                }
            }
            Act::Retry { which } => {
                model.tick(now);
                let Some(one) = model.all.get(which).filter(|one| now - one.said_at <= 300) else { continue };
                let told = ca.send(&one.said).await;
                match one.phase {
                    Phase::Open => assert_eq!(told.json::<Opened>(), one.opened, "the same bytes"),
                    Phase::Closing(_) => drop(told.problem(409, "emergency.closing")),
                    Phase::Closed => drop(told.problem(409, "emergency.closed")),
                }
            }
            Act::Incident { severity, resolved } => {
                model.tick(now);
                let state = if resolved { "resolved" } else { "open" };
                assert_eq!(ca.incident(INCIDENT, severity, state, "payments-db").await.status, 200);
                model.incident(resolved, now);
            }
            Act::Pass { seconds } => ca.clock.pass(seconds),
            Act::Restart => ca = ca.restart(),
        }
        check(&ca, &mut model).await;
    }
    let (tally, found) = fireaxe_ca::verify::verify(&ca.reader(), &mut |_| {}).unwrap();
    assert_eq!(found, []);
    assert_eq!(tally.certificates, model.all.len() as u64);
}

/// The list is what the model revokes: by now, and after each restart too.
async fn check(ca: &Installed, model: &mut Model) {
    // Anything that makes the writer look at the clock.
    ca.incident("pd:X", 1, "open", "nowhere").await.problem(404, "system.unknown");
    model.tick(ca.clock.wall());
    let list = RevocationList::read(&ca.get("/v1/krl", None).await.bytes).unwrap();
    let user_ca = ca.road.published().keys().user_ca;
    for one in &model.all {
        let listed = list.is_revoked(&user_ca, one.serial);
        assert_eq!(listed, model.revoked.contains(&one.serial), "{}: {:?}", one.opened.emergency, one.phase);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ca_is_the_model(acts in prop::collection::vec(act(), 1..32)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(day(acts));
    }
}
