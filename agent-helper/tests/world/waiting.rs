//! An emergency that waits for people, as a CA shows it: `look` at once, `root` once ben has approved.

use std::sync::{Arc, Mutex};

use fireaxe_protocol::api::{Called, Grant, NextRung, Settled, Waiting};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::{Approvals, Decision, Outcome, Smaller, Terms};
use serde_json::{Value, json};

use super::ca::{
    Answer, DECLARATION, FakeCa, Makes, Request, certificate, decision, declared, opened, stream, terms,
};
use super::{Home, err};

pub(crate) const DECLARE: &str = "POST /v1/emergencies";
pub(crate) const GRANT: &str = "GET /v1/emergencies/EM-42/grant";
pub(crate) const EVENTS: &str = "GET /v1/emergencies/EM-42/events";

/// A home that knows the CA, with an agent that dies with it.
pub(crate) fn home(ca: &FakeCa) -> Home {
    let home = Home::with_agent();
    let enrolled = home.run(&["enrol", "--person", "ana", "--addr", &ca.address, "--pin", &ca.pin]);
    assert!(enrolled.status.success(), "{}", err(&enrolled));
    home
}

/// The weaker tier.
pub(crate) fn look() -> Terms {
    let mut look = terms();
    look.tier = "look".parse().unwrap();
    look.power = 1;
    look.account = "look".parse().unwrap();
    look.principals = vec!["look:db-3.payments.prod".parse().unwrap()];
    look
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stage {
    Waiting,
    Settled(Settled),
}

/// What such a CA knows and how it may go wrong.
#[derive(Clone)]
pub(crate) struct Play {
    pub(crate) meanwhile: bool,
    pub(crate) stage: Arc<Mutex<Stage>>,
    pub(crate) key: Arc<Mutex<Option<Ed25519Key>>>,
    /// Changes a grant before it is sent, and what its certificate is made of.
    pub(crate) lie: fn(&mut Grant, &mut Makes),
}

impl Play {
    pub(crate) fn new(meanwhile: bool) -> Play {
        let stage = Arc::new(Mutex::new(Stage::Waiting));
        Play { meanwhile, stage, key: Arc::default(), lie: |_, _| {} }
    }

    pub(crate) fn start(&self) -> FakeCa {
        let me = self.clone();
        FakeCa::start(move |request, _| me.answer(request))
    }

    pub(crate) fn settle(&self, ca: &FakeCa, how: Settled) {
        *self.stage.lock().unwrap() = Stage::Settled(how);
        ca.tell();
    }

    pub(crate) fn answer(&self, request: &Request) -> Answer {
        match request.line.as_str() {
            DECLARE => {
                *self.key.lock().unwrap() = Some(declared(request).public_key);
                Some((if self.meanwhile { 201 } else { 202 }, self.opened(request)))
            }
            EVENTS => stream(),
            GRANT => Some((200, self.grant())),
            "GET /v1/emergencies/EM-42" => Some((200, emergency("open"))),
            "POST /v1/emergencies/EM-42/closure" => Some((
                200,
                json!({"schema": "fireaxe.closed/v1", "emergency": "EM-42", "revoked": [1], "entry": 9}),
            )),
            // Nobody is signed in: what is asked beside the road is not answered.
            _ => None,
        }
    }

    fn opened(&self, request: &Request) -> Value {
        let makes = Makes { terms: look(), ..Makes::default() };
        let mut answer = opened(request, &makes);
        answer["decision"] = serde_json::to_value(self.decision()).unwrap();
        // Settled already: this answers the second try of a declaration whose first answer was lost.
        let waits = *self.stage.lock().unwrap() == Stage::Waiting;
        answer["waiting"] = serde_json::to_value(waits.then(waiting)).unwrap();
        answer["terms"] = if self.meanwhile { serde_json::to_value(look()).unwrap() } else { Value::Null };
        if !self.meanwhile {
            answer["certificate"] = Value::Null;
        }
        answer
    }

    pub(crate) fn decision(&self) -> Decision {
        let smaller = Smaller { severity: None, want: Some("look".parse().unwrap()), terms: look() };
        decision(Outcome::NeedsApproval {
            full: terms(),
            meanwhile: self.meanwhile.then(look),
            smaller: Some(smaller),
            ladder: vec![],
            wait_s: 600,
        })
    }

    fn grant(&self) -> Value {
        let stage = self.stage.lock().unwrap().clone();
        let approved = stage == Stage::Settled(Settled::Given);
        let given = if approved { Some(terms()) } else { self.meanwhile.then(look) };
        let mut makes = Makes::default();
        if approved {
            makes.serial = 5;
        }
        let mut grant = Grant {
            schema: "fireaxe.grant/v1".into(),
            emergency: EmergencyId(42),
            state: "open".into(),
            declaration: DECLARATION,
            request: DECLARATION,
            decision: self.decision(),
            system: "payments-db".parse().unwrap(),
            host: Some("db-3.payments.prod".parse().unwrap()),
            hosts: vec!["db-3.payments.prod".into()],
            owner: None,
            waiting: (stage == Stage::Waiting).then(waiting),
            settled: match stage {
                Stage::Waiting => None,
                Stage::Settled(how) => Some(how),
            },
            of: given.as_ref().map(|_| DECLARATION),
            terms: given.clone(),
            certificate: None,
            valid_before: None,
            until: super::now() + 3600,
            extensions_left: 2,
        };
        if let Some(given) = given {
            makes.terms = given;
        }
        (self.lie)(&mut grant, &mut makes);
        if grant.terms.is_some() {
            grant.certificate = Some(certificate(self.key.lock().unwrap().unwrap(), &makes));
        }
        serde_json::to_value(grant).unwrap()
    }
}

pub(crate) fn waiting() -> Waiting {
    let at = super::now();
    let group = |name: &str| name.parse().unwrap();
    Waiting {
        of: DECLARATION,
        tier: "root".parse().unwrap(),
        missing: vec![Approvals { count: 1, from: vec![group("payments-leads")] }],
        approved_by: Vec::new(),
        called: vec![Called {
            at,
            groups: vec![group("payments-leads")],
            people: vec!["ben".parse().unwrap(), "cleo".parse().unwrap()],
        }],
        next: Some(NextRung { at: at + 240, groups: vec![group("managers")] }),
        until: at + 600,
    }
}

/// What `GET /v1/emergencies/EM-42` shows.
pub(crate) fn emergency(state: &str) -> Value {
    json!({
        "emergency": "EM-42", "state": state, "declaration": DECLARATION, "person": "ana",
        "system": "payments-db", "host": "db-3.payments.prod", "severity": 1,
        "reason": "primary refuses writes", "drill": false, "declared_at": 1, "until": 2, "serials": [1]
    })
}

/// Another entry than the one that decided.
pub(crate) const ELSEWHERE: Hash = Hash([6; 32]);
