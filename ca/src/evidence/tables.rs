//! The tables of a period, one row for each entry of a kind. Times stand twice: as people read them, and in unix
//! seconds. What people and hosts wrote is a cell like any other, and no formula.

use std::io::Write;

use fireaxe_protocol::certificate::Fields;
use fireaxe_protocol::evidence::{SessionWords, in_words, utc};
use fireaxe_protocol::log::{Closer, Entry, Event, EvidenceReader};
use fireaxe_protocol::policy::{Decision, Outcome};
use fireaxe_protocol::statement::{Statement, Verdict};

use super::cell::cell;
use super::draft::Fault;

/// One table.
pub(super) struct Table {
    /// Its file.
    pub(super) name: &'static str,
    /// Columns after `entry`, `at` and `at_unix`.
    head: &'static [&'static str],
    /// The kinds of entries that give a row.
    pub(super) kinds: &'static [&'static str],
    row: fn(&Entry) -> Option<Vec<String>>,
}

/// All of them.
pub(super) const TABLES: [Table; 8] = [
    Table {
        name: "csv/emergencies.csv",
        head: &[
            "emergency",
            "event",
            "person",
            "system",
            "host",
            "severity",
            "incident",
            "reason",
            "drill",
            "outcome",
            "tier",
            "by",
            "until",
        ],
        kinds: &["emergency.declared", "emergency.closing", "emergency.closed"],
        row: emergency,
    },
    Table {
        name: "csv/decisions.csv",
        head: &[
            "emergency",
            "kind",
            "person",
            "system",
            "outcome",
            "tier_now",
            "tier_waiting",
            "severity",
            "band",
            "bundle",
            "why",
        ],
        kinds: &[
            "emergency.declared",
            "declaration.refused",
            "emergency.seconded",
            "emergency.redecided",
            "extension.requested",
            "extension.refused",
        ],
        row: decision,
    },
    Table {
        name: "csv/approvals.csv",
        head: &["emergency", "answer", "person", "of", "presence", "shown_s", "reason"],
        kinds: &["approval.given", "approval.refused", "request.lapsed"],
        row: approval,
    },
    Table {
        name: "csv/certificates.csv",
        head: &["serial", "key_id", "principals", "valid_after", "valid_before", "event", "why"],
        kinds: &["certificate.issued", "certificate.abandoned"],
        row: certificate,
    },
    Table {
        name: "csv/sessions.csv",
        head: &[
            "emergency",
            "event",
            "host",
            "connection",
            "serial",
            "account",
            "from",
            "host_at",
            "ended",
            "recordings",
            "planted",
            "left",
        ],
        kinds: &["session.opened", "session.closed"],
        row: session,
    },
    Table {
        name: "csv/hosts.csv",
        head: &["event", "host", "what"],
        kinds: &[
            "host.invited",
            "host.enrolled",
            "host.certified",
            "host.retired",
            "host.confirmed",
            "host.alarmed",
            "self-test.granted",
        ],
        row: host,
    },
    Table {
        name: "csv/reviews.csv",
        head: &["emergency", "person", "verdict", "reason"],
        kinds: &["emergency.reviewed"],
        row: review,
    },
    Table {
        name: "csv/evidence.csv",
        head: &["event", "by", "what"],
        kinds: &["evidence.read", "evidence.exported", "evidence.refused", "recording.expired"],
        row: evidence,
    },
];

impl Table {
    /// Writes its head, then the rows that `entries` hands out.
    pub(super) fn write(
        &self,
        out: &mut dyn Write,
        entries: impl FnOnce(&mut dyn FnMut(&Entry) -> Result<(), Fault>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
        let failed = |error: csv::Error| Fault::Io(std::io::Error::other(error));
        writer.write_record(["entry", "at", "at_unix"].iter().chain(self.head)).map_err(failed)?;
        entries(&mut |entry| {
            let Some(row) = (self.row)(entry) else { return Ok(()) };
            let head = [entry.index.to_string(), utc(entry.at), entry.at.to_string()];
            let cells = head.iter().chain(&row).map(|text| cell(text).into_owned());
            writer.write_record(cells).map_err(failed)
        })?;
        writer.flush()?;
        Ok(())
    }
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A word of ours as JSON spells it, without its quotes.
fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn outcome(decision: &Decision) -> &'static str {
    match decision.outcome {
        Outcome::Permit(_) => "given",
        Outcome::NeedsApproval { .. } => "waits",
        Outcome::Refuse { .. } => "refused",
    }
}

fn emergency(entry: &Entry) -> Option<Vec<String>> {
    let none = String::new;
    Some(match &entry.event {
        Event::EmergencyDeclared { emergency, declared, facts, decision, until, .. } => {
            let reason = match Statement::read(&declared.statement) {
                Ok(Statement::Declare(words)) => words.reason.to_string(),
                _ => none(),
            };
            vec![
                emergency.to_string(),
                "declared".into(),
                facts.person.to_string(),
                facts.target.system.to_string(),
                text(facts.target.host.as_ref()),
                text(decision.severity),
                text(facts.incident.as_ref().map(|one| &one.id)),
                reason,
                facts.drill.to_string(),
                outcome(decision).into(),
                text(decision.terms_now().map(|terms| &terms.tier)),
                facts.person.to_string(),
                utc(*until),
            ]
        }
        Event::EmergencyClosing { emergency, incident, until } => {
            let mut row = vec![String::new(); 13];
            fill(
                &mut row,
                &[
                    (0, emergency.to_string()),
                    (1, "closing".into()),
                    (6, incident.to_string()),
                    (12, utc(*until)),
                ],
            );
            row
        }
        Event::EmergencyClosed { emergency, by, .. } => {
            let by = match by {
                Closer::Person { person, .. } => person.to_string(),
                Closer::Deadline => "its deadline".into(),
                Closer::Grace => "its countdown".into(),
                Closer::Unlinked => "no incident".into(),
                Closer::Removed => "its person was removed".into(),
            };
            let mut row = vec![String::new(); 13];
            fill(&mut row, &[(0, emergency.to_string()), (1, "closed".into()), (11, by)]);
            row
        }
        _ => return None,
    })
}

fn fill(row: &mut [String], cells: &[(usize, String)]) {
    for (n, text) in cells {
        if let Some(cell) = row.get_mut(*n) {
            cell.clone_from(text);
        }
    }
}

fn decision(entry: &Entry) -> Option<Vec<String>> {
    let (facts, decision, bundle) = match &entry.event {
        Event::DeclarationRefused { facts, decision, bundle, .. }
        | Event::ExtensionRefused { facts, decision, bundle, .. } => (facts, decision, *bundle),
        event => event.decided().map(|one| (one.facts, one.decision, one.bundle))?,
    };
    let why = match &decision.outcome {
        Outcome::Refuse { reasons, .. } => reasons,
        _ => &decision.because,
    };
    let why: Vec<&str> = why.iter().map(|reason| reason.code.as_str()).collect();
    Some(vec![
        text(entry.event.emergency()),
        entry.kind(),
        facts.person.to_string(),
        facts.target.system.to_string(),
        outcome(decision).into(),
        text(decision.terms_now().map(|terms| &terms.tier)),
        text(decision.terms_waiting().map(|terms| &terms.tier)),
        text(decision.severity),
        decision.band.clone(),
        bundle.to_string(),
        why.join(" "),
    ])
}

fn approval(entry: &Entry) -> Option<Vec<String>> {
    let (emergency, answer, of, by) = match &entry.event {
        Event::ApprovalGiven { emergency, of, by } => (emergency, "given", of, Some(by)),
        Event::ApprovalRefused { emergency, of, by } => (emergency, "refused", of, Some(by)),
        Event::RequestLapsed { emergency, of } => (emergency, "lapsed", of, None),
        _ => return None,
    };
    let (shown, reason) = match by.map(|by| Statement::read(&by.said.statement)) {
        Some(Ok(Statement::Approve(words))) => (words.shown_s.to_string(), text(words.reason)),
        Some(Ok(Statement::Refuse(words))) => (String::new(), words.reason.to_string()),
        _ => Default::default(),
    };
    let (person, presence) = by.map(|by| (by.person.to_string(), word(&by.presence))).unwrap_or_default();
    Some(vec![emergency.to_string(), answer.into(), person, of.to_string(), presence, shown, reason])
}

fn certificate(entry: &Entry) -> Option<Vec<String>> {
    match &entry.event {
        Event::CertificateIssued { .. } => {
            let fields = Fields::of_unsigned(entry.body.as_deref()?).ok()?;
            Some(vec![
                fields.serial.to_string(),
                fields.key_id.to_owned(),
                fields.principals.join(" "),
                utc(fields.valid_after),
                utc(fields.valid_before),
                "issued".into(),
                String::new(),
            ])
        }
        Event::CertificateAbandoned { serial, why } => {
            let mut row = vec![String::new(); 7];
            fill(&mut row, &[(0, serial.to_string()), (5, "abandoned".into()), (6, why.clone())]);
            Some(row)
        }
        _ => None,
    }
}

fn session(entry: &Entry) -> Option<Vec<String>> {
    let emergency = text(entry.event.emergency());
    let (by, words) = SessionWords::of(&entry.event)?;
    let none = String::new;
    Some(match words {
        SessionWords::Opened(said) => vec![
            emergency,
            "opened".into(),
            by.host.to_string(),
            said.connection.to_string(),
            said.serial.to_string(),
            said.account.to_string(),
            said.from.to_string(),
            utc(said.at),
            none(),
            none(),
            none(),
            none(),
        ],
        SessionWords::Closed(said) => {
            let planted: Vec<&str> = said.planted.iter().map(|one| one.path.as_str()).collect();
            let recordings: Vec<String> =
                said.recordings.iter().map(|one| one.recording.to_string()).collect();
            vec![
                emergency,
                "closed".into(),
                by.host.to_string(),
                said.connection.to_string(),
                said.serial.to_string(),
                none(),
                none(),
                utc(said.at),
                word(&said.why),
                recordings.join(" "),
                planted.join(" "),
                said.swept.left.to_string(),
            ]
        }
    })
}

fn host(entry: &Entry) -> Option<Vec<String>> {
    let host = match &entry.event {
        Event::HostInvited { host, .. }
        | Event::HostEnrolled { host, .. }
        | Event::HostCertified { host, .. }
        | Event::HostRetired { host, .. } => host,
        Event::HostConfirmed { by, .. } | Event::HostAlarmed { by } | Event::SelfTestGranted { by, .. } => {
            &by.host
        }
        _ => return None,
    };
    Some(vec![entry.kind(), host.to_string(), in_words(entry)])
}

fn review(entry: &Entry) -> Option<Vec<String>> {
    let Event::EmergencyReviewed { emergency, by } = &entry.event else { return None };
    let (verdict, reason) = match Statement::read(&by.said.statement) {
        Ok(Statement::Review(words)) => (word::<Verdict>(&words.verdict), words.reason.to_string()),
        _ => Default::default(),
    };
    Some(vec![emergency.to_string(), by.person.to_string(), verdict, reason])
}

fn evidence(entry: &Entry) -> Option<Vec<String>> {
    let by = match &entry.event {
        Event::EvidenceRead { by, .. }
        | Event::EvidenceExported { by, .. }
        | Event::EvidenceRefused { by, .. } => match by {
            EvidenceReader::Person { person, .. } => person.to_string(),
            EvidenceReader::Operator(who) => who.clone(),
        },
        Event::RecordingExpired { .. } => String::new(),
        _ => return None,
    };
    Some(vec![entry.kind(), by, in_words(entry)])
}
