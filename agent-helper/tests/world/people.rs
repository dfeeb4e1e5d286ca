//! What a CA shows of a request: real entries, with real words in them, that hang together; or do not.

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::{IncidentCard, RecentUse, RequestCard};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{Event, Hash, SignedBy, encode_entry, tree};
use fireaxe_protocol::names::{EmergencyId, Origin};
use fireaxe_protocol::policy::{Decision, Facts, IncidentFact, IncidentState, Presence, Signals, Target};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{
    Declare, Envelope, Extend, Header, Kind, Nonce, Params, Statement, sign_ed25519,
};

use super::ca::{Request, origin};
use super::waiting::{Play, waiting};

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
