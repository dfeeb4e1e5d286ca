//! A log made by hand, for tests: what people do, put into a history.

use std::sync::Arc;

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::policy::{Bundle, Presence, Record, Target, Terms};
use fireaxe_protocol::statement::{Close, Envelope, Header, Kind, Nonce};

use super::*;

/// Midnight of some day, UTC.
pub(super) const DAY: u64 = 86_400 * 20_000;
pub(super) const HOUR: u64 = 3600;

/// The least that is a policy: a history reads nothing of it, only who is who in the roster beside it.
const POLICY: &str = r#"version = 1
[trigger.manual]
severity_cap = 2
[system.payments-db]
hosts = ["db-*.payments.prod"]
sensitivity = 4
blast = 3
owner = "payments"
on_call = "payments-oncall"
[system.build]
hosts = ["ci-*.build.internal"]
sensitivity = 1
blast = 2
owner = "sre"
on_call = "sre"
[risk]
bands = { all = 16 }
all = ["look", "look", "look", "look"]
[tier.look]
power = 1
account = "look"
force_command = "/bin/look"
ttl = "30m"
"#;

/// How a request is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Granted at once.
    Permit,
    /// Waits, with something meanwhile.
    Wait,
    /// Waits, with nothing meanwhile.
    WaitBare,
    /// Refused.
    Refuse,
}

/// A history and the log put into it.
pub(super) struct World {
    pub(super) history: History,
    pub(super) bundle: Arc<Bundle>,
    pub(super) now: u64,
    index: u64,
    pub(super) declared: u64,
    /// Everything put, for another history to take: index, time, entry, and the bundle in force before it.
    pub(super) log: Vec<(u64, u64, Event, Arc<Bundle>)>,
}

/// What a request says.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) person: &'static str,
    pub(super) key: u8,
    pub(super) system: String,
    pub(super) network: Option<Cidr>,
    pub(super) drill: bool,
}

/// Ana's usual request.
pub(super) fn usual() -> Request {
    let network = Some("192.0.2.0/24".parse().unwrap());
    Request { person: "ana", key: 1, system: "payments-db".into(), network, drill: false }
}

/// A network that ana has not been at.
pub(super) fn hotel() -> Option<Cidr> {
    Some("198.51.100.0/24".parse().unwrap())
}

pub(super) fn name(text: &str) -> PersonName {
    text.parse().unwrap()
}

pub(super) fn key(seed: u8) -> Fingerprint {
    Ed25519Key::from(&ed25519_dalek::SigningKey::from_bytes(&[seed; 32])).fingerprint()
}

pub(super) fn roster(alias_of_ben: bool) -> Arc<Bundle> {
    let line = |name: &str, seed: u8, more: &str| {
        let key = Ed25519Key::from(&ed25519_dalek::SigningKey::from_bytes(&[seed; 32]));
        format!(
            "[person.{name}]\ngroups = [\"payments\", \"payments-oncall\", \"sre\"]\nkeys = [\"{key} {name}\"]\n{more}\n"
        )
    };
    let alias = if alias_of_ben { "same_as = \"ben\"" } else { "" };
    let people = [
        line("ana", 1, ""),
        line("ana-2", 2, "same_as = \"ana\""),
        line("ben", 3, ""),
        line("ben-2", 4, alias),
        line("cleo", 5, ""),
    ];
    let roster = format!("version = 1\n{}[role]\n", people.concat());
    Arc::new(Bundle::parse(POLICY, &roster).unwrap())
}

impl World {
    pub(super) fn new() -> World {
        let (history, bundle) = (History::default(), roster(true));
        World { history, bundle, now: DAY, index: 10, declared: 0, log: Vec::new() }
    }

    fn put(&mut self, event: Event) -> Hash {
        self.index += 1;
        self.history.take(self.index, self.now, &event, &self.bundle.roster);
        self.log.push((self.index, self.now, event, self.bundle.clone()));
        Hash::of(&self.index.to_be_bytes())
    }

    fn facts(&self, request: &Request) -> Facts {
        Facts {
            at: self.now,
            person: name(request.person),
            groups: Vec::new(),
            presence: Presence::None,
            target: Target { system: request.system.parse().unwrap(), host: None },
            severity: None,
            incident: None,
            on_call: Some(true),
            other_host_open: false,
            open_incidents: Vec::new(),
            want: None,
            for_s: None,
            drill: request.drill,
            seconds: Vec::new(),
            extension: 0,
            network: request.network,
            reviews_overdue: 0,
            signals: Signals::default(),
        }
    }

    /// Declares; the leaf of the entry.
    pub(super) fn declare(&mut self, request: &Request, how: How) -> Hash {
        let (facts, decision) = (self.facts(request), decision(how));
        let (declared, key, bundle) = (envelope(String::new()), key(request.key), self.bundle.hash);
        if how == How::Refuse {
            return self.put(Event::DeclarationRefused {
                declared,
                key,
                counter: None,
                bundle,
                facts,
                decision,
            });
        }
        self.declared += 1;
        self.put(Event::EmergencyDeclared {
            emergency: EmergencyId(self.declared),
            declared,
            key,
            counter: None,
            bundle,
            facts,
            decision,
            hosts: Vec::new(),
            until: self.now + HOUR,
            link_by: None,
        })
    }

    pub(super) fn second(&mut self, emergency: u64, request: &Request, by: (&str, u8), how: How) -> Hash {
        let (facts, decision) = (self.facts(request), decision(how));
        self.put(Event::EmergencySeconded {
            emergency: EmergencyId(emergency),
            of: Hash::of(b"declared"),
            by: signed(by),
            bundle: self.bundle.hash,
            facts,
            decision,
            hosts: Vec::new(),
        })
    }

    pub(super) fn redecide(&mut self, emergency: u64, request: &Request, how: How) -> Hash {
        let (facts, decision) = (self.facts(request), decision(how));
        self.put(Event::EmergencyRedecided {
            emergency: EmergencyId(emergency),
            of: Hash::of(b"declared"),
            bundle: self.bundle.hash,
            facts,
            decision,
            hosts: Vec::new(),
        })
    }

    pub(super) fn extend(&mut self, emergency: u64, request: &Request, how: How) -> Hash {
        let (facts, decision) = (self.facts(request), decision(how));
        self.put(Event::ExtensionRequested {
            emergency: EmergencyId(emergency),
            of: Hash::of(b"declared"),
            by: signed((request.person, request.key)),
            bundle: self.bundle.hash,
            facts,
            decision,
            hosts: Vec::new(),
        })
    }

    pub(super) fn approve(&mut self, emergency: u64, of: Hash, by: (&str, u8)) {
        self.put(Event::ApprovalGiven { emergency: EmergencyId(emergency), of, by: signed(by) });
    }

    pub(super) fn issue(&mut self, of: Hash) {
        self.put(Event::CertificateIssued { of, terms: Hash::of(b"terms") });
    }

    pub(super) fn call(&mut self, people: &[&str]) {
        self.put(Event::RungCalled {
            emergency: EmergencyId(self.declared),
            of: Hash::of(b"request"),
            rung: 0,
            groups: Vec::new(),
            people: people.iter().map(|person| name(person)).collect(),
        });
    }

    /// `by` closes, with so many uses if they say.
    pub(super) fn close(&mut self, emergency: u64, by: &str, uses: Option<u32>) {
        let header = Header {
            kind: Kind::Close,
            to: "test/0011223344556677".parse().unwrap(),
            nonce: Nonce([0; 16]),
            at: self.now,
        };
        let emergency = EmergencyId(emergency);
        let words = Statement::Close(Close { header, of: Hash::of(b"declared"), emergency, uses });
        let closed = envelope(words.write());
        let by = Closer::Person { person: name(by), closed, key: key(1), counter: None };
        self.put(Event::EmergencyClosed { emergency, by, revoked: Vec::new(), review_due: None });
    }

    pub(super) fn expire(&mut self, emergency: u64) {
        let by = Closer::Deadline;
        self.put(Event::EmergencyClosed {
            emergency: EmergencyId(emergency),
            by,
            revoked: Vec::new(),
            review_due: None,
        });
    }

    /// Another bundle with the same people, and ben-2 as an alias of ben or not.
    pub(super) fn activate(&mut self, alias_of_ben: bool, by: Activation) {
        let next = roster(alias_of_ben);
        let (policy, roster) = (Vec::new(), Vec::new());
        self.put(Event::BundleActivated { bundle: next.hash, policy, roster, by });
        self.bundle = next;
    }

    pub(super) fn signals(&self, request: &Request) -> Signals {
        self.signals_of(request, None)
    }

    /// What the signals of a request are when it is decided anew.
    pub(super) fn signals_anew(&self, emergency: u64, request: &Request) -> Signals {
        self.signals_of(request, Some(EmergencyId(emergency)))
    }

    fn signals_of(&self, request: &Request, anew: Option<EmergencyId>) -> Signals {
        let (person, key, system) = (name(request.person), key(request.key), request.system.parse().unwrap());
        let (network, severity_raised) = (request.network, Some(false));
        let asks = Asks { person: &person, key: &key, network, system: &system, anew, severity_raised };
        self.history.signals(&self.bundle.roster, &asks, self.now)
    }

    /// Ana's usual request is granted, used and over, once a day at `hour`.
    pub(super) fn days(&mut self, count: u64, hour: u64) {
        for _ in 0..count {
            self.now += 86_400;
            self.now = self.now - self.now % 86_400 + hour * HOUR;
            self.declare(&usual(), How::Permit);
            self.expire(self.declared);
        }
    }

    pub(super) fn in_a_row(&self, requester: &str, approver: &str) -> u32 {
        self.history.in_a_row(&self.bundle.roster, &name(requester), &name(approver))
    }

    /// `requester` asks and these people approve until it is granted.
    pub(super) fn approved(&mut self, requester: &'static str, by: &[(&str, u8)]) {
        let of = self.declare(&Request { person: requester, ..usual() }, How::Wait);
        let emergency = self.declared;
        for approver in by {
            self.approve(emergency, of, *approver);
        }
        self.issue(of);
        self.expire(emergency);
    }
}

fn envelope(statement: String) -> Envelope {
    Envelope { statement, signature: String::new() }
}

pub(super) fn signed((person, seed): (&str, u8)) -> SignedBy {
    let said = envelope(String::new());
    SignedBy { person: name(person), said, key: key(seed), presence: Presence::None, counter: None }
}

fn decision(how: How) -> Decision {
    let terms = Terms {
        tier: "look".parse().unwrap(),
        power: 1,
        account: "look".parse().unwrap(),
        principals: Vec::new(),
        force_command: None,
        extensions: Vec::new(),
        source_address: Vec::new(),
        lifetime_s: 1800,
        approvals: Vec::new(),
        presence: Presence::None,
        record: Record::None,
        krl_max_age_s: None,
        grace_s: 0,
        action: None,
    };
    let wait = |meanwhile| Outcome::NeedsApproval {
        full: terms.clone(),
        meanwhile,
        smaller: None,
        ladder: Vec::new(),
        wait_s: 1800,
    };
    let outcome = match how {
        How::Permit => Outcome::Permit(terms.clone()),
        How::Wait => wait(Some(terms.clone())),
        How::WaitBare => wait(None),
        How::Refuse => Outcome::Refuse { reasons: Vec::new(), smaller: None },
    };
    Decision {
        outcome,
        severity: None,
        trigger: None,
        sensitivity: 1,
        blast: 1,
        band: "low".into(),
        cell: None,
        awaits: None,
        because: Vec::new(),
    }
}
