//! What a CA shows of a request: real entries, with real words in them, that hang together; or do not.

use std::sync::Mutex;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::{IncidentCard, RecentUse, RequestCard};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{Event, Hash, SignedBy, encode_entry, tree};
use fireaxe_protocol::names::{EmergencyId, Origin};
use fireaxe_protocol::policy::{
    Awaits, Decision, Facts, IncidentFact, IncidentState, Outcome, Presence, Signals, Target,
};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{
    Declare, Envelope, Extend, Header, Kind, Nonce, Params, Statement, sign_ed25519,
};

use super::ca::{DECLARATION, FakeCa, Makes, Request, certificate, declared, opened, origin, terms};
use super::waiting::{DECLARE, Play, waiting};
use serde_json::json;

/// The statement in a request's body.
pub(crate) fn said(request: &Request) -> Statement {
    let envelope: Envelope = serde_json::from_str(&request.body).unwrap();
    Statement::read(&envelope.statement).unwrap()
}

pub(crate) fn decision() -> Decision {
    let mut decision = Play::new(true).decision();
    decision.because = vec![
        Reason::new("risk.cell", "row medium, severity 1: root").at("policy.toml:20"),
        Reason::new("rule.applied", "off call: one approval more").at("policy.toml:41"),
        Reason::new("approvals.needed", "1 of payments-leads must approve").at("policy.toml:55"),
    ];
    decision
}

pub(crate) fn facts() -> Facts {
    Facts {
        at: super::now(),
        person: "ana".parse().unwrap(),
        groups: vec!["payments".parse().unwrap()],
        presence: Presence::None,
        target: Target {
            system: "payments-db".parse().unwrap(),
            host: Some("db-3.payments.prod".parse().unwrap()),
        },
        severity: None,
        incident: Some(IncidentFact {
            id: "pd:PGR0VU2".parse().unwrap(),
            state: Some(IncidentState::Open),
            severity: Some(1.try_into().unwrap()),
            systems: vec!["payments-db".parse().unwrap()],
            age_s: 120,
        }),
        on_call: Some(false),
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
    }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[31; 32])
}

fn header(kind: Kind, to: Origin) -> Header {
    Header { kind, to, nonce: Nonce([7; 16]), at: super::now() }
}

/// A declaration's entry. Its parts may be made not to fit.
pub(crate) struct Entries {
    pub(crate) emergency: EmergencyId,
    pub(crate) target: &'static str,
    pub(crate) to: Origin,
    pub(crate) facts: Facts,
    pub(crate) decision: Decision,
}

impl Default for Entries {
    fn default() -> Entries {
        let (emergency, target) = (EmergencyId(42), "db-3.payments.prod");
        Entries { emergency, target, to: origin(), facts: facts(), decision: decision() }
    }
}

impl Entries {
    /// The `emergency.declared` entry.
    pub(crate) fn declared(&self) -> String {
        let declare = Declare {
            header: header(Kind::Declare, self.to.clone()),
            target: self.target.parse().unwrap(),
            severity: None,
            incident: Some("pd:PGR0VU2".parse().unwrap()),
            reason: "primary refuses writes".parse().unwrap(),
            want: None,
            action: None,
            params: Params::default(),
            for_s: None,
            drill: false,
            public_key: Ed25519Key::from(&key()),
        };
        let text = Statement::Declare(declare).write();
        self.encode(
            3,
            &Event::EmergencyDeclared {
                emergency: self.emergency,
                declared: sign_ed25519(&key(), Kind::Declare, &text),
                key: Ed25519Key::from(&key()).fingerprint(),
                counter: None,
                bundle: Hash([8; 32]),
                facts: self.facts.clone(),
                decision: self.decision.clone(),
                hosts: vec!["db-3.payments.prod".into()],
                until: super::now() + 3600,
                link_by: None,
            },
        )
    }

    /// An `extension.requested` entry of the declaration with this leaf.
    pub(crate) fn extension(&self, of: Hash) -> String {
        let extend = Extend {
            header: header(Kind::Extend, self.to.clone()),
            of,
            emergency: self.emergency,
            severity: None,
            incident: None,
            for_s: None,
            reason: Some("the restore is at 60%".parse().unwrap()),
        };
        let text = Statement::Extend(extend).write();
        let by = SignedBy {
            person: "ana".parse().unwrap(),
            said: sign_ed25519(&key(), Kind::Extend, &text),
            key: Ed25519Key::from(&key()).fingerprint(),
            presence: Presence::None,
            counter: None,
        };
        self.encode(
            4,
            &Event::ExtensionRequested {
                emergency: self.emergency,
                of,
                by,
                bundle: Hash([8; 32]),
                facts: Facts { extension: 1, ..self.facts.clone() },
                decision: self.decision.clone(),
                hosts: vec!["db-3.payments.prod".into()],
            },
        )
    }

    /// An `emergency.redecided` entry of the declaration with this leaf.
    pub(crate) fn redecided(&self, of: Hash) -> String {
        self.encode(
            4,
            &Event::EmergencyRedecided {
                emergency: self.emergency,
                of,
                bundle: Hash([8; 32]),
                facts: self.facts.clone(),
                decision: self.decision.clone(),
                hosts: vec!["db-3.payments.prod".into()],
            },
        )
    }

    fn encode(&self, index: u64, event: &Event) -> String {
        String::from_utf8(encode_entry(index, super::now(), event, None).unwrap()).unwrap()
    }
}

pub(crate) fn leaf(entry: &str) -> Hash {
    tree::leaf_hash(entry.as_bytes())
}

/// The card of a declaration that waits for approval.
pub(crate) fn card() -> RequestCard {
    card_of(Entries::default().declared(), None)
}

/// The card of this declaration, or of a later entry of it.
pub(crate) fn card_of(declared: String, later: Option<String>) -> RequestCard {
    let entry = later.unwrap_or_else(|| declared.clone());
    let mut waits = waiting();
    waits.of = leaf(&entry);
    RequestCard {
        schema: "fireaxe.request/v1".into(),
        emergency: EmergencyId(42),
        declaration: leaf(&declared),
        entry,
        declared,
        state: "waiting".into(),
        waiting: Some(waits),
        owner: Some("payments".into()),
        incident: Some(IncidentCard {
            id: "pd:PGR0VU2".parse().unwrap(),
            state: Some(IncidentState::Open),
            severity: Some(1.try_into().unwrap()),
            title: Some("writes fail".parse().unwrap()),
            age_s: 180,
        }),
        signals: vec![Reason::new("signal.x", "it \u{1b}[2J\u{202e} is odd")],
        recent: vec![RecentUse {
            emergency: EmergencyId(40),
            at: super::now() - 7200,
            system: "web".parse().unwrap(),
            tier: Some("look".parse().unwrap()),
        }],
        may_not: None,
        also_waiting: vec![EmergencyId(43)],
    }
}

/// A CA at which every verb about other people's requests comes to its end. `EM-43` is a claim that awaits
/// a second signature.
pub(crate) fn everything() -> FakeCa {
    let key = Mutex::new(None);
    FakeCa::start(move |request, _| {
        let em = "EM-42";
        let of = leaf(&card().entry);
        let answer = match request.line.as_str() {
            DECLARE => {
                let declare = declared(request);
                *key.lock().unwrap() = Some(declare.public_key);
                let mut given = terms();
                given.force_command = declare.action.is_some().then(|| "/usr/bin/restart".into());
                if declare.action.is_some() {
                    given.extensions.clear();
                }
                given.action = declare.action;
                let makes = Makes { terms: given.clone(), ..Makes::default() };
                let mut answer = opened(request, &makes);
                answer["terms"] = serde_json::to_value(&given).unwrap();
                let decided = super::ca::decision(Outcome::Permit(given));
                answer["decision"] = serde_json::to_value(decided).unwrap();
                answer
            }
            "POST /v1/sessions" => {
                json!({"schema": "fireaxe.session/v1", "person": "ana", "until": u64::MAX})
            }
            "GET /v1/emergencies/EM-42/request" => serde_json::to_value(card()).unwrap(),
            "GET /v1/emergencies/EM-43/request" => serde_json::to_value(claim()).unwrap(),
            "GET /v1/emergencies/EM-42" => super::waiting::emergency("open"),
            "GET /v1/requests" => json!({"schema": "fireaxe.requests/v1", "requests": [], "reviews": []}),
            "POST /v1/emergencies/EM-42/approvals" => {
                json!({"schema": "fireaxe.approved/v1", "emergency": em, "of": of, "entry": 9, "missing": []})
            }
            "POST /v1/emergencies/EM-42/refusals" => {
                json!({"schema": "fireaxe.refused/v1", "emergency": em, "of": of, "entry": 9})
            }
            "POST /v1/emergencies/EM-43/seconds" => {
                json!({"schema": "fireaxe.seconded/v1", "emergency": "EM-43", "entry": 9})
            }
            "POST /v1/emergencies/EM-42/review" => {
                json!({"schema": "fireaxe.reviewed/v1", "emergency": em, "entry": 9})
            }
            "POST /v1/emergencies/EM-42/closure" => {
                json!({"schema": "fireaxe.closed/v1", "emergency": em, "revoked": [1], "entry": 9})
            }
            "POST /v1/emergencies/EM-42/extensions" => {
                let certificate =
                    certificate(key.lock().unwrap().unwrap(), &Makes { serial: 5, ..Makes::default() });
                json!({"schema": "fireaxe.grant/v1", "emergency": em, "state": "open",
                    "declaration": DECLARATION, "request": DECLARATION,
                    "decision": super::ca::decision(Outcome::Permit(terms())), "system": "payments-db",
                    "host": "db-3.payments.prod", "hosts": ["db-3.payments.prod"], "of": DECLARATION,
                    "terms": terms(), "certificate": certificate, "until": 1, "extensions_left": 1})
            }
            _ => return None,
        };
        Some((200, answer))
    })
}

/// The card of a claim that awaits another person's signature.
pub(crate) fn claim() -> RequestCard {
    let mut entries = Entries { emergency: EmergencyId(43), ..Entries::default() };
    entries.decision.outcome = Outcome::Permit(terms());
    entries.decision.awaits =
        Some(Awaits { severity: 1.try_into().unwrap(), more: 1, from: "payments-oncall".parse().unwrap() });
    let mut claim = card_of(entries.declared(), None);
    claim.emergency = EmergencyId(43);
    (claim.state, claim.waiting) = ("none".into(), None);
    claim
}
