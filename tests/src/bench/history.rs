//! A generated history: a log as the CA writes it, of many emergencies. Facts are drawn, decisions are
//! `decide`'s, statements are signed, certificate bodies are made from the terms; entries, tiles and
//! checkpoints go through [`fireaxe_ca::log`]. What a real log has beside that (rungs, extensions, reviews)
//! decides nothing and is left out; and since facts are drawn, not gathered, `log verify` would find fault with them.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use fireaxe_ca::log::{Batch, Log};
use fireaxe_protocol::certificate::{Body, Issue, Profile, Subject};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::{Activation, Closer, Event, Hash, NoteSigner, PinnedKeys, SignedBy};
use fireaxe_protocol::names::{EmergencyId, Origin, PersonName};
use fireaxe_protocol::policy::{
    Bundle, Facts, IncidentFact, IncidentState, Outcome, Presence, Signal, Signals, Target, Terms, Want,
    decide,
};
use fireaxe_protocol::statement::{Approve, Declare, Header, Kind, Nonce, Params, Statement, sign_ed25519};

use super::dice::Dice;

/// People in the roster.
const PEOPLE: u8 = 40;
/// When it begins, unix seconds.
const BEGIN: u64 = 1_790_000_000;
/// Emergencies in one commit.
const TOGETHER: u64 = 64;

/// What came of it.
#[derive(Debug)]
pub struct History {
    /// Emergencies that were declared.
    pub emergencies: u64,
    /// Declarations that were refused; beside them.
    pub refused: u64,
    /// Approvals that were given.
    pub approved: u64,
    /// Entries of the log.
    pub entries: u64,
}

/// The roster of the history: [`PEOPLE`] people in the default policy's groups.
pub fn roster() -> String {
    let mut roster = String::from(
        "version = 1\n[role]\npolicy_admin = { group = \"security\", quorum = 2, presence = \"none\" }\n\
         incident_commander = { group = \"sre-leads\" }\n",
    );
    for n in 0..PEOPLE {
        let groups = match n % 4 {
            0 => "\"payments\", \"payments-oncall\", \"sre\"",
            1 => "\"sre\", \"sre-leads\", \"security\"",
            2 => "\"security\", \"audit\"",
            _ => "\"sre\"",
        };
        let key = Ed25519Key::from(&key_of(n));
        roster.push_str(&format!("[person.p{n}]\ngroups = [{groups}]\nkeys = [\"{key} p{n}\"]\n"));
    }
    roster
}

/// Writes the log of `emergencies` emergencies under this policy and [`roster`] into a new file.
pub fn write(path: &Path, policy: &str, emergencies: u64) -> History {
    let roster = roster();
    let bundle = Bundle::parse(policy, &roster).expect("the history's bundle");
    let origin: Origin = "history.fireaxe.test/0123456789abcdef".parse().expect("origin");
    let signer = NoteSigner::new(origin.as_str(), SigningKey::from_bytes(&[3; 32])).expect("signer");
    let ca = Ed25519Key::from(&SigningKey::from_bytes(&[1; 32]));
    let krl = Ed25519Key::from(&SigningKey::from_bytes(&[4; 32]));
    let log = Ed25519Key::from(&SigningKey::from_bytes(&[3; 32]));
    let pinned = PinnedKeys { user_ca: ca, log, krl, host_ca: ca };
    let mut log = Log::create(path, origin.clone(), pinned, BEGIN, &signer).expect("log");
    activate(&mut log, &bundle, (policy, &roster), BEGIN, &signer);
    let mut told = History { emergencies: 0, refused: 0, approved: 0, entries: 0 };
    let mut dice = Dice::new(7);
    let mut at = BEGIN;
    while told.emergencies < emergencies {
        let mut turn = Turn {
            batch: log.batch().expect("batch"),
            bundle: &bundle,
            origin: &origin,
            ca,
            told: &mut told,
        };
        let until = (turn.told.emergencies + TOGETHER).min(emergencies);
        while turn.told.emergencies < until {
            at += 60 + dice.below(600);
            turn.emergency(&mut dice, at);
        }
        turn.batch.commit(&signer).expect("commit");
    }
    told.entries = log.size();
    told
}

/// As `fireaxe-ca init` does, at `at`, unix seconds.
pub(super) fn activate(
    log: &mut Log,
    bundle: &Bundle,
    (policy, roster): (&str, &str),
    at: u64,
    signer: &NoteSigner,
) {
    let mut batch = log.batch().expect("batch");
    let [policy, roster] = [policy, roster].map(|text| {
        let chunks = text.as_bytes().chunks(limits::BLOB_CHUNK);
        let stored = chunks.map(|chunk| Event::BlobStored { base64: STANDARD.encode(chunk) });
        stored.map(|event| append(&mut batch, at, &event)).collect::<Vec<Hash>>()
    });
    let activated = Event::BundleActivated { bundle: bundle.hash, policy, roster, by: Activation::Init };
    append(&mut batch, at, &activated);
    batch.commit(signer).expect("commit");
}

pub(super) fn append(batch: &mut Batch<'_>, at: u64, event: &Event) -> Hash {
    batch.append(at, event, None, ()).expect("entry").leaf()
}

/// One batch that is being filled.
pub(super) struct Turn<'a> {
    pub(super) batch: Batch<'a>,
    pub(super) bundle: &'a Bundle,
    pub(super) origin: &'a Origin,
    pub(super) ca: Ed25519Key,
    pub(super) told: &'a mut History,
}

impl Turn<'_> {
    /// One declaration and all that follows from it.
    pub(super) fn emergency(&mut self, dice: &mut Dice, at: u64) {
        let n = dice.below(PEOPLE.into()) as u8;
        let facts = draw(dice, self.bundle, n, at);
        let decision = decide(&self.bundle.policy, &facts);
        let fresh = Ed25519Key::from(&SigningKey::from_bytes(&dice.bytes32()));
        let header = self.header(dice, Kind::Declare, at);
        let declared = sign_ed25519(&key_of(n), Kind::Declare, &words(&facts, header, fresh).write());
        let key = Ed25519Key::from(&key_of(n)).fingerprint();
        let bundle = self.bundle.hash;
        if let Outcome::Refuse { .. } = decision.outcome {
            let refused = Event::DeclarationRefused { declared, key, counter: None, bundle, facts, decision };
            append(&mut self.batch, at, &refused);
            self.told.refused += 1;
            return;
        }
        self.told.emergencies += 1;
        let emergency = EmergencyId(self.told.emergencies);
        let hosts = match &facts.target.host {
            Some(host) => vec![host.to_string()],
            None => {
                let system = self.bundle.policy.system(&facts.target.system).expect("system");
                system.hosts.iter().map(|host| host.value.to_string()).collect()
            }
        };
        let until = at + 8 * 3600;
        let event = Event::EmergencyDeclared {
            emergency,
            declared,
            key,
            counter: None,
            bundle,
            facts: facts.clone(),
            decision: decision.clone(),
            hosts,
            until,
            link_by: None,
        };
        let of = append(&mut self.batch, at, &event);
        let mut revoked = Vec::new();
        revoked.extend(
            decision
                .terms_now()
                .map(|terms| self.issue(dice, (emergency, of), &facts.person, terms, fresh, at)),
        );
        if let Some(full) = decision.terms_waiting().filter(|_| dice.chance(70)) {
            // Somebody of the first quorum; a second quorum would go unmet.
            let from = full.approvals.first().map(|quorum| quorum.from.as_slice()).unwrap_or_default();
            let may = |other: &u8| {
                let person = self.bundle.roster.person(&name_of(*other)).expect("person");
                *other != n && person.groups.iter().any(|group| from.contains(group))
            };
            let approvers: Vec<u8> = (0..PEOPLE).filter(may).collect();
            let approver = *dice.of(&approvers);
            let header = self.header(dice, Kind::Approve, at);
            let yes = Approve { header, of, emergency, shown_s: 20, reason: None };
            let said = sign_ed25519(&key_of(approver), Kind::Approve, &Statement::Approve(yes).write());
            let key = Ed25519Key::from(&key_of(approver)).fingerprint();
            let by =
                SignedBy { person: name_of(approver), said, key, presence: Presence::Touch, counter: None };
            append(&mut self.batch, at, &Event::ApprovalGiven { emergency, of, by });
            self.told.approved += 1;
            if full.approvals.iter().map(|quorum| quorum.count).sum::<u8>() == 1 {
                revoked.push(self.issue(dice, (emergency, of), &facts.person, full, fresh, at));
            }
        }
        let closed = Event::EmergencyClosed { emergency, by: Closer::Deadline, revoked, review_due: None };
        append(&mut self.batch, at, &closed);
    }

    /// The serial.
    fn issue(
        &mut self,
        dice: &mut Dice,
        (emergency, of): (EmergencyId, Hash),
        person: &PersonName,
        terms: &Terms,
        fresh: Ed25519Key,
        at: u64,
    ) -> u64 {
        let issue = Issue {
            nonce: dice.bytes32(),
            public_key: fresh,
            serial: self.batch.next_index(),
            subject: Subject::Person(emergency, person),
            at,
            grant_end: at + u64::from(terms.lifetime_s),
            within: None,
            ca_key: self.ca,
        };
        let body = Body::of(&Profile::from_terms(terms, &issue).expect("profile"));
        let event = Event::CertificateIssued { of, terms: terms.hash() };
        self.batch.append(at, &event, Some(body.as_bytes()), ()).expect("entry").index()
    }

    fn header(&self, dice: &mut Dice, kind: Kind, at: u64) -> Header {
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&dice.bytes32()[..16]);
        Header { kind, to: self.origin.clone(), nonce: Nonce(nonce), at }
    }
}

/// Facts of a request: the person and their groups are the roster's, all else comes as it falls.
fn draw(dice: &mut Dice, bundle: &Bundle, n: u8, at: u64) -> Facts {
    let person = bundle.roster.person(&name_of(n)).expect("person");
    let (system, host) = *dice.of(&[
        ("payments-db", "db-3.payments.prod"),
        ("payments-db", "db-4.payments.prod"),
        ("web", "web-1.shop.prod"),
        ("build", "ci-7.build.internal"),
    ]);
    let target = Target {
        system: system.parse().expect("system"),
        host: dice.chance(70).then(|| host.parse().expect("host")),
    };
    let severity = *dice.of(&[1u8, 1, 1, 2, 2, 2, 3, 4]);
    let incident = dice.chance(60).then(|| IncidentFact {
        id: format!("pd:P{}", dice.below(500)).parse().expect("incident"),
        state: Some(if dice.chance(90) { IncidentState::Open } else { IncidentState::Resolved }),
        severity: Some(severity.try_into().expect("severity")),
        systems: vec![target.system.clone()],
        age_s: dice.below(6 * 3600),
    });
    let want = match dice.below(20) {
        0..3 => Some(Want::Tier("look".parse().expect("tier"))),
        3..5 if system == "payments-db" => {
            let shard = dice.below(1000).to_string();
            Some(Want::Action("restart-payments".parse().expect("action"), vec![("shard".into(), shard)]))
        }
        _ => None,
    };
    let on_call = bundle.policy.system(&target.system).map(|s| person.groups.contains(&s.on_call.value));
    let signals: Vec<Signal> = Signal::IN_RULES.into_iter().filter(|_| dice.chance(5)).collect();
    Facts {
        at,
        person: person.name.clone(),
        groups: person.groups.clone(),
        presence: *dice.of(&[Presence::None, Presence::Touch, Presence::Touch, Presence::Verified]),
        severity: incident.is_none().then(|| severity.try_into().expect("severity")),
        incident,
        on_call,
        other_host_open: target.host.is_some() && dice.chance(10),
        open_incidents: Vec::new(),
        want,
        for_s: dice.chance(10).then_some(600),
        drill: dice.chance(5),
        seconds: Vec::new(),
        extension: 0,
        network: Some(format!("10.2.{}.0/24", dice.below(256)).parse().expect("network")),
        reviews_overdue: 0,
        signals: Signals::holding(&signals),
        target,
    }
}

/// The statement that fits these facts.
fn words(facts: &Facts, header: Header, public_key: Ed25519Key) -> Statement {
    let mut params = Params::default();
    let (want, action) = match &facts.want {
        Some(Want::Tier(tier)) => (Some(tier.clone()), None),
        Some(Want::Action(name, values)) => {
            values.iter().for_each(|(name, value)| params.insert(name, value).expect("parameter"));
            (None, Some(name.clone()))
        }
        None => (None, None),
    };
    let target = facts.target.host.as_ref().map_or(facts.target.system.to_string(), ToString::to_string);
    Statement::Declare(Declare {
        header,
        target: target.parse().expect("target"),
        severity: facts.severity,
        incident: facts.incident.as_ref().map(|incident| incident.id.clone()),
        reason: "the primary refuses writes, replicas lag by minutes".parse().expect("reason"),
        want,
        action,
        params,
        for_s: facts.for_s,
        drill: facts.drill,
        public_key,
    })
}

fn key_of(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[100 + n; 32])
}

fn name_of(n: u8) -> PersonName {
    format!("p{n}").parse().expect("person")
}

#[cfg(test)]
mod tests {
    use fireaxe_ca::log::Reader;

    use super::*;

    #[test]
    fn the_log_is_whole_and_holds_what_it_tells_with_the_decisions_of_its_facts() {
        let dir = tempfile::tempdir().unwrap();
        let policy = crate::scene::default_policy();
        let told = write(&dir.path().join("log.sqlite"), &policy, 300);
        let bundle = Bundle::parse(&policy, &roster()).unwrap();
        let (mut declared, mut refused, mut approved, mut entries) = (0, 0, 0, 0);
        let reader = Reader::open(&dir.path().join("log.sqlite")).unwrap();
        let head = reader.replay(|_, entry, _| {
            entries += 1;
            match &entry.event {
                Event::EmergencyDeclared { facts, decision, .. } => {
                    assert_eq!(decide(&bundle.policy, facts), *decision);
                    declared += 1;
                }
                Event::DeclarationRefused { facts, decision, .. } => {
                    assert_eq!(decide(&bundle.policy, facts), *decision);
                    refused += 1;
                }
                Event::ApprovalGiven { .. } => approved += 1,
                _ => {}
            }
        });
        assert_eq!(head.unwrap().size, entries);
        assert_eq!((declared, refused, entries), (300, told.refused, told.entries));
        assert!(refused > 30 && approved > 5 && approved == told.approved, "{told:?}");
        let again = write(&dir.path().join("again.sqlite"), &policy, 300);
        assert_eq!((again.entries, again.refused), (told.entries, told.refused), "another history");
    }
}
