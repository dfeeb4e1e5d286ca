//! An entry as an event of OCSF 1.3 (schema.ocsf.io), for whoever collects events of many programs. Pure, and total:
//! a kind of entry without its line here does not compile.
//!
//! | class | what of ours |
//! |---|---|
//! | 3002 Authentication | certificates (an authentication ticket), self-tests |
//! | 3003 User Access Management | emergencies: what is asked for, given, refused, lengthened, ended, looked back at |
//! | 3004 Entity Management | the log itself, bundles, incidents, hosts, evidence |
//! | 4007 SSH Activity | connections, as hosts report them |
//!
//! Texts of people are cut at 500 bytes; the whole entry is what `jsonl` is for.

use fireaxe_protocol::certificate::Fields;
use fireaxe_protocol::host::Report;
use fireaxe_protocol::log::{
    Activation, Closer, Entry, Event, Evidence, EvidenceReader, Hash, HostSaid, SignedBy,
};
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::policy::{Decision, Facts};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Statement;
use serde_json::{Map, Value, json};

/// Classes, each with its category.
const AUTHENTICATION: (u32, u32) = (3002, 3);
const ACCESS: (u32, u32) = (3003, 3);
const ENTITY: (u32, u32) = (3004, 3);
const SSH: (u32, u32) = (4007, 4);

/// Activities that no class has a number for.
const OTHER: u32 = 99;

/// What an entry is in OCSF's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping {
    /// Class and category.
    class: (u32, u32),
    /// Activity, in that class.
    activity: u32,
    /// 1 informational, 2 low, 3 medium, 4 high.
    pub(super) severity: u32,
    /// Whether it came to what was asked.
    ok: bool,
}

const fn of(class: (u32, u32), activity: u32, severity: u32, ok: bool) -> Mapping {
    Mapping { class, activity, severity, ok }
}

/// The table: every kind of entry. Activities: 3002: 3 ticket, 4 service ticket; 3003: 1 assign, 2 revoke; 3004:
/// 1 create, 2 read, 3 update, 4 delete; 4007: 1 open, 2 close.
pub(super) fn mapping(event: &Event) -> Mapping {
    match event {
        Event::LogCreated { .. } => of(ENTITY, 1, 1, true),
        Event::BlobStored { .. } => of(ENTITY, 1, 1, true),
        Event::BundleActivated { .. } => of(ENTITY, 3, 3, true),
        Event::IncidentUpdated(_) => of(ENTITY, 3, 1, true),
        Event::EmergencyDeclared { .. } => of(ACCESS, 1, 3, true),
        Event::DeclarationRefused { .. } => of(ACCESS, 1, 2, false),
        Event::EmergencySeconded { .. } => of(ACCESS, 1, 3, true),
        Event::EmergencyRedecided { .. } => of(ACCESS, 1, 2, true),
        Event::ExtensionRequested { .. } => of(ACCESS, 1, 2, true),
        Event::ExtensionRefused { .. } => of(ACCESS, 1, 2, false),
        Event::RungCalled { .. } => of(ACCESS, OTHER, 1, true),
        Event::ApprovalGiven { .. } => of(ACCESS, 1, 3, true),
        Event::ApprovalRefused { .. } => of(ACCESS, 1, 2, false),
        Event::RequestLapsed { .. } => of(ACCESS, OTHER, 2, false),
        Event::AnomalyRaised { .. } => of(ACCESS, OTHER, 4, true),
        Event::EmergencyReviewed { .. } => of(ACCESS, OTHER, 1, true),
        Event::CertificateIssued { .. } => of(AUTHENTICATION, 3, 2, true),
        Event::CertificateAbandoned { .. } => of(AUTHENTICATION, 3, 2, false),
        Event::EmergencyClosing { .. } => of(ACCESS, OTHER, 1, true),
        Event::EmergencyClosed { .. } => of(ACCESS, 2, 2, true),
        Event::HostInvited { .. } => of(ENTITY, 1, 2, true),
        Event::HostEnrolled { .. } => of(ENTITY, 1, 2, true),
        Event::HostCertified { .. } => of(ENTITY, 3, 1, true),
        Event::HostRetired { .. } => of(ENTITY, 4, 2, true),
        Event::SelfTestGranted { .. } => of(AUTHENTICATION, 4, 1, true),
        Event::SessionOpened { unusual, .. } => of(SSH, 1, if unusual.is_empty() { 2 } else { 4 }, true),
        Event::SessionClosed { unusual, .. } => of(SSH, 2, if unusual.is_empty() { 1 } else { 4 }, true),
        Event::HostConfirmed { .. } => of(ENTITY, 3, 1, true),
        Event::HostAlarmed { .. } => of(ENTITY, OTHER, 4, true),
        Event::EvidenceRead { .. } => of(ENTITY, 2, 2, true),
        Event::EvidenceExported { .. } => of(ENTITY, 2, 3, true),
        Event::EvidenceRefused { .. } => of(ENTITY, 2, 3, false),
        Event::RecordingExpired { .. } => of(ENTITY, 4, 2, true),
        Event::ClockCorrected { .. } => of(ENTITY, 3, 4, true),
    }
}

/// The entry as an event; `leaf` is its leaf hash, which names it for ever. `short`: without what only we have.
pub(super) fn event(entry: &Entry, leaf: &Hash, origin: &Origin, short: bool) -> Value {
    let Mapping { class: (class, category), activity, severity, ok } = mapping(&entry.event);
    let mut said = Said::default();
    said.take(entry);
    let Said { mut fields, mut unmapped } = said;
    if let Some(id) = entry.event.emergency() {
        unmapped.insert("emergency".into(), json!(id));
    }
    if short {
        unmapped = Map::from_iter([("cut".to_owned(), json!(true))]);
    }
    if class == ENTITY.0 {
        let kind = kind_of(&entry.event).split('.').next().unwrap_or_default().to_owned();
        fields.entry("entity").or_insert_with(|| json!({ "type": kind }));
    } else {
        fields.entry("user").or_insert_with(|| json!({ "name": "unknown" }));
    }
    let head = json!({
        "class_uid": class, "category_uid": category, "activity_id": activity,
        "type_uid": class * 100 + activity, "time": entry.at.saturating_mul(1000), "severity_id": severity,
        "status_id": if ok { 1 } else { 2 },
        "metadata": {
            "version": "1.3.0", "product": { "name": "Fireaxe", "vendor_name": "Fireaxe" },
            "uid": leaf, "sequence": entry.index, "event_code": kind_of(&entry.event), "log_name": origin,
        },
        "unmapped": unmapped,
    });
    if let Value::Object(head) = head {
        fields.extend(head);
    }
    Value::Object(fields)
}

/// The entry's kind: `certificate.issued`.
pub(super) fn kind_of(event: &Event) -> String {
    let tagged = serde_json::to_value(event).ok();
    tagged.and_then(|tagged| Some(tagged.get("kind")?.as_str()?.to_owned())).unwrap_or_default()
}

/// What an event says of people and hosts.
#[derive(Default)]
struct Said {
    fields: Map<String, Value>,
    unmapped: Map<String, Value>,
}

impl Said {
    fn take(&mut self, entry: &Entry) {
        match &entry.event {
            Event::LogCreated { .. } | Event::BlobStored { .. } => {}
            Event::BundleActivated { bundle, by, .. } => {
                self.field("entity", json!({ "type": "bundle", "uid": bundle }));
                match by {
                    Activation::Init => self.actor("init"),
                    Activation::Admins(admins) => {
                        let names: Vec<&str> = admins.iter().map(|by| by.person.as_str()).collect();
                        self.actor(&names.join(", "));
                    }
                }
            }
            Event::IncidentUpdated(update) => {
                self.field("entity", json!({ "type": "incident", "uid": update.incident }));
                self.actor(&update.by);
                self.more("severity", json!(update.severity));
                self.more("state", json!(update.state));
                self.more("systems", json!(update.systems));
            }
            Event::EmergencyDeclared { declared, facts, decision, .. }
            | Event::DeclarationRefused { declared, facts, decision, .. } => {
                self.decided(facts, decision);
                self.words(&declared.statement);
            }
            Event::EmergencySeconded { by, facts, decision, .. }
            | Event::ExtensionRequested { by, facts, decision, .. }
            | Event::ExtensionRefused { by, facts, decision, .. } => {
                self.decided(facts, decision);
                self.signed(by);
            }
            Event::EmergencyRedecided { facts, decision, .. } => self.decided(facts, decision),
            Event::RungCalled { rung, people, .. } => {
                self.more("rung", json!(rung));
                self.more("people", json!(people.iter().take(LISTED).collect::<Vec<_>>()));
            }
            Event::ApprovalGiven { of, by, .. } | Event::ApprovalRefused { of, by, .. } => {
                self.more("of", json!(of));
                self.signed(by);
            }
            Event::EmergencyReviewed { by, .. } => self.signed(by),
            Event::RequestLapsed { of, .. } => self.more("of", json!(of)),
            Event::AnomalyRaised { of, signals, .. } => {
                self.more("of", json!(of));
                self.more("signals", reasons(signals));
            }
            Event::CertificateIssued { .. } => self.certificate(entry),
            Event::CertificateAbandoned { serial, why } => {
                self.more("serial", json!(serial));
                self.more("why", json!(cut(why)));
            }
            Event::EmergencyClosing { incident, until, .. } => {
                self.more("incident", json!(incident));
                self.more("until", json!(until));
            }
            Event::EmergencyClosed { by, revoked, review_due, .. } => {
                self.more("revoked", json!(revoked.iter().take(LISTED).collect::<Vec<_>>()));
                self.more("revoked_count", json!(revoked.len()));
                self.more("review_due", json!(review_due));
                self.closer(by);
            }
            Event::HostInvited { host, system, by, .. } => {
                self.host(host.as_str(), Some(system.as_str()));
                self.actor(by);
            }
            Event::HostEnrolled { host, system, .. } => self.host(host.as_str(), Some(system.as_str())),
            Event::HostCertified { host, .. } => self.host(host.as_str(), None),
            Event::HostRetired { host, by, .. } => {
                self.host(host.as_str(), None);
                self.actor(by);
            }
            Event::SelfTestGranted { by, .. } => self.reported(by, &[]),
            Event::SessionOpened { unusual, by, .. } | Event::SessionClosed { unusual, by, .. } => {
                self.reported(by, unusual);
            }
            Event::HostConfirmed { by, .. } | Event::HostAlarmed { by } => {
                self.host(by.host.as_str(), None);
                self.reported(by, &[]);
            }
            Event::EvidenceRead { by, what } => self.evidence(by, what),
            Event::EvidenceExported { by, what, manifest } => {
                self.evidence(by, what);
                self.more("manifest", json!(manifest));
            }
            Event::EvidenceRefused { by, what, why } => {
                self.evidence(by, what);
                self.more("why", json!(why.code));
            }
            Event::RecordingExpired { host, recording, .. } => {
                self.field("entity", json!({ "type": "recording", "uid": recording, "name": host }));
            }
            Event::ClockCorrected { to, reason, by } => {
                self.actor(by);
                self.more("to", json!(to));
                self.more("reason", json!(cut(reason.as_str())));
            }
        }
    }

    fn field(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    fn more(&mut self, name: &str, value: Value) {
        self.unmapped.insert(name.to_owned(), value);
    }

    fn actor(&mut self, name: &str) {
        self.field("actor", json!({ "user": { "name": cut(name) } }));
    }

    fn host(&mut self, host: &str, system: Option<&str>) {
        self.field("entity", json!({ "type": "host", "name": host, "uid": host }));
        if let Some(system) = system {
            self.more("system", json!(system));
        }
    }

    /// What was asked for whom, and what came of it.
    fn decided(&mut self, facts: &Facts, decision: &Decision) {
        self.field("user", json!({ "name": facts.person }));
        self.actor(facts.person.as_str());
        let target = facts.target.host.as_ref().map_or(facts.target.system.as_str(), |host| host.as_str());
        self.field("resources", json!([{ "name": target, "type": "ssh" }]));
        if let Some(terms) = decision.terms_now() {
            self.field("privileges", json!([terms.tier]));
            self.more("account", json!(terms.account));
        }
        if let Some(terms) = decision.terms_waiting() {
            self.more("waits_for", json!(terms.tier));
        }
    }

    /// Who signed, and the reason that they gave.
    fn signed(&mut self, by: &SignedBy) {
        self.actor(by.person.as_str());
        self.fields.entry("user").or_insert_with(|| json!({ "name": by.person }));
        self.words(&by.said.statement);
    }

    fn words(&mut self, statement: &str) {
        let reason = match Statement::read(statement) {
            Ok(Statement::Declare(words)) => Some(words.reason),
            Ok(Statement::Refuse(words)) => Some(words.reason),
            Ok(Statement::Review(words)) => Some(words.reason),
            Ok(Statement::Approve(words)) => words.reason,
            Ok(Statement::Extend(words)) => words.reason,
            _ => None,
        };
        let Some(reason) = reason else { return };
        self.more("reason", json!(cut(reason.as_str())));
    }

    fn certificate(&mut self, entry: &Entry) {
        let Some(fields) = entry.body.as_deref().and_then(|body| Fields::of_unsigned(body).ok()) else {
            return;
        };
        // `fireaxe/EM-42/ana/1234`, or `fireaxe/self-test/12`, which is nobody's.
        let parts: Vec<&str> = fields.key_id.split('/').collect();
        if let [_, emergency, person, _] = parts.as_slice() {
            self.field("user", json!({ "name": person }));
            self.more("emergency", json!(emergency));
        }
        self.field("service", json!({ "name": "ssh" }));
        self.more("serial", json!(entry.index));
        self.more("key_id", json!(fields.key_id));
        self.more("principals", json!(fields.principals));
        self.more("valid_before", json!(fields.valid_before));
    }

    fn closer(&mut self, by: &Closer) {
        let how = match by {
            Closer::Person { person, .. } => {
                self.actor(person.as_str());
                self.field("user", json!({ "name": person }));
                "person"
            }
            Closer::Deadline => "deadline",
            Closer::Grace => "grace",
            Closer::Unlinked => "unlinked",
            Closer::Removed => "removed",
        };
        self.more("by", json!(how));
    }

    /// What a host said: its own word.
    fn reported(&mut self, by: &HostSaid, unusual: &[Reason]) {
        self.field("dst_endpoint", json!({ "hostname": by.host, "svc_name": "ssh" }));
        if !unusual.is_empty() {
            self.more("unusual", reasons(unusual));
        }
        let Ok(Statement::Report(words)) = Statement::read(&by.said.statement) else { return };
        match words.report {
            Report::SessionOpened(said) => {
                self.field("src_endpoint", json!({ "ip": said.from }));
                self.field("user", json!({ "name": said.account }));
                self.field("auth_type_id", json!(1));
                self.field("connection_info", json!({ "uid": said.connection, "direction_id": 1 }));
                self.more("serial", json!(said.serial));
                self.more("record", json!(said.record));
            }
            Report::SessionClosed(said) => {
                self.field("connection_info", json!({ "uid": said.connection, "direction_id": 1 }));
                self.more("serial", json!(said.serial));
                self.more("why", json!(said.why));
                self.more("recordings", json!(said.recordings.len()));
                self.more("planted", json!(said.planted.len()));
            }
            Report::Confirmed(said) => self.more("krl_version", json!(said.version)),
            Report::Alarmed(reason) => self.more("alarm", reasons(&[reason])),
            Report::SelfTest(said) => self.field("user", json!({ "name": said.account })),
            Report::Heartbeat(_) => {}
        }
    }

    fn evidence(&mut self, by: &EvidenceReader, what: &Evidence) {
        match by {
            EvidenceReader::Person { person, .. } => self.actor(person.as_str()),
            EvidenceReader::Operator(who) => self.actor(who),
        }
        self.field("entity", json!({ "type": "evidence" }));
        self.more("what", json!(what));
    }
}

/// Of anything that there may be many of, so many are listed.
const LISTED: usize = 20;

fn reasons(all: &[Reason]) -> Value {
    all.iter()
        .take(LISTED)
        .map(|one| json!({ "code": cut(&one.code), "sentence": cut(&one.sentence) }))
        .collect()
}

/// At most 500 bytes of a text, in whole characters.
fn cut(text: &str) -> &str {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= 500).last();
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
