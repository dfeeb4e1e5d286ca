//! The page of a dossier: who, what, why, when; what was decided and why; who agreed and to what; what was given,
//! what hosts said, what somebody who took no part found. Made from entries alone.

use super::dossier::{Dossier, Kept};
use super::html::Page;
use super::words::{
    self, SessionWords, evidence, in_words, outcome, people, report_of, sentences, short, some, spoken,
    why_ended,
};
use super::{layout, utc};
use crate::certificate::Fields;
use crate::host::{Report, SessionClosed};
use crate::log::Event;
use crate::policy::{Terms, raised};
use crate::statement::Statement;

/// The whole page.
pub(super) fn page(dossier: &Dossier) -> String {
    let mut page = Page::new(&format!("Emergency {}", dossier.emergency));
    page.paragraph(
        "Made from the entries in this folder. VERIFY.txt says how to check them, and what they cannot show.",
    );
    overview(dossier, &mut page);
    page.heading("Decisions, and why");
    dossier.entries.values().for_each(|kept| decision(kept, &mut page));
    answers(dossier, &mut page);
    certificates(dossier, &mut page);
    sessions(dossier, &mut page);
    left_behind(dossier, &mut page);
    unusual(dossier, &mut page);
    review(dossier, &mut page);
    recordings(dossier, &mut page);
    page.heading("Everything, in order");
    let told = dossier.entries.values().filter(|kept| !matches!(kept.entry.event, Event::BlobStored { .. }));
    let rows: Vec<Vec<String>> = told
        .map(|kept| vec![utc(kept.entry.at), kept.entry.index.to_string(), in_words(&kept.entry)])
        .collect();
    page.table(&["When", "Entry", "What"], &rows, "");
    about(dossier, &mut page);
    page.end()
}

fn overview(dossier: &Dossier, page: &mut Page) {
    for kept in dossier.entries.values() {
        let Event::EmergencyDeclared { declared, key, facts, decision, hosts, until, .. } = &kept.entry.event
        else {
            continue;
        };
        let presence = format!("{:?}", facts.presence).to_lowercase();
        page.facts([
            ("Who", format!("{}, with the key {key} (presence: {presence})", facts.person)),
            ("Groups then", some(facts.groups.iter().map(ToString::to_string))),
            ("What", format!("{} ({})", facts.target.system, hosts.join(", "))),
            ("Why", spoken(&declared.statement).trim_start_matches(", ").to_owned()),
            ("Incident", facts.incident.as_ref().map(|one| one.id.to_string()).unwrap_or_default()),
            ("When", utc(kept.entry.at)),
            ("At most until", utc(*until)),
            ("Severity that counted", decision.severity.map(|s| s.to_string()).unwrap_or_default()),
            ("Given", outcome(decision)),
            ("Drill", if facts.drill { "yes".into() } else { String::new() }),
        ]);
    }
    let ends =
        dossier.entries.values().filter(|kept| matches!(kept.entry.event, Event::EmergencyClosed { .. }));
    let ends: Vec<String> =
        ends.map(|kept| format!("{}: {}", utc(kept.entry.at), in_words(&kept.entry))).collect();
    if ends.is_empty() {
        page.paragraph("It was not over when this was made.");
    }
    page.list(ends);
}

fn decision(kept: &Kept, page: &mut Page) {
    let decided = match &kept.entry.event {
        Event::ExtensionRefused { facts, decision, bundle, .. } => Some((facts, decision, bundle)),
        event => event.decided().map(|one| (one.facts, one.decision, { &kept.leaf })),
    };
    let Some((facts, decision, _)) = decided else { return };
    page.paragraph(&format!("Entry {}, {}: {}", kept.entry.index, utc(kept.entry.at), outcome(decision)));
    let because = decision.because.iter().map(|reason| match &reason.at {
        Some(at) => format!("{} [{}, {at}]", reason.sentence, reason.code),
        None => format!("{} [{}]", reason.sentence, reason.code),
    });
    page.list(because);
    let signals = raised(facts);
    if !signals.is_empty() {
        page.paragraph(&format!("Unusual about it: {}", sentences(&signals)));
    }
    let both = decision
        .terms_now()
        .map(|t| ("at once", t))
        .into_iter()
        .chain(decision.terms_waiting().map(|t| ("once approved", t)));
    both.for_each(|(when, terms)| terms_of(when, terms, page));
}

fn terms_of(when: &str, terms: &Terms, page: &mut Page) {
    let approvals = terms
        .approvals
        .iter()
        .map(|quorum| format!("{} of {}", quorum.count, some(quorum.from.iter().map(ToString::to_string))));
    page.facts([
        ("Terms", format!("tier {}, {when}", terms.tier)),
        ("Account", terms.account.to_string()),
        ("Principals", some(terms.principals.iter().map(ToString::to_string))),
        ("Command", terms.force_command.clone().unwrap_or_default()),
        ("Extensions", some(terms.extensions.iter().map(|e| e.openssh().to_owned()))),
        ("From", some(terms.source_address.iter().map(ToString::to_string))),
        ("For", format!("{} s", terms.lifetime_s)),
        ("Approvals", some(approvals)),
        ("Recorded", format!("{:?}", terms.record).to_lowercase()),
    ]);
}

fn answers(dossier: &Dossier, page: &mut Page) {
    page.heading("Who was asked, and who agreed");
    let mut rows = Vec::new();
    for kept in dossier.entries.values() {
        let (who, what, of, said) = match &kept.entry.event {
            Event::RungCalled { of, people: asked, .. } => {
                (people(asked.iter()), "was asked", of, String::new())
            }
            Event::ApprovalGiven { of, by, .. } => {
                let shown = match Statement::read(&by.said.statement) {
                    Ok(Statement::Approve(words)) => format!("{} s on the screen", words.shown_s),
                    _ => String::new(),
                };
                let said = format!("{shown}{}; presence {:?}", spoken(&by.said.statement), by.presence);
                (by.person.to_string(), "agreed", of, said)
            }
            Event::ApprovalRefused { of, by, .. } => (
                by.person.to_string(),
                "refused",
                of,
                spoken(&by.said.statement).trim_start_matches(", ").to_owned(),
            ),
            Event::RequestLapsed { of, .. } => (String::new(), "nobody answered in time", of, String::new()),
            _ => continue,
        };
        let in_front = dossier.entries.values().find(|one| one.leaf == *of);
        let in_front = in_front.map_or_else(
            || short(of),
            |one| {
                let waits =
                    one.entry.event.decided().map(|decided| outcome(decided.decision)).unwrap_or_default();
                format!("entry {} ({}): {waits}", one.entry.index, short(of))
            },
        );
        rows.push(vec![utc(kept.entry.at), who, what.to_owned(), in_front, said]);
    }
    let head = ["When", "Who", "", "What was in front of them", "Said"];
    page.table(&head, &rows, "Nobody's approval was needed.");
}

fn certificates(dossier: &Dossier, page: &mut Page) {
    page.heading("Certificates");
    let mut rows = Vec::new();
    for kept in dossier.entries.values() {
        let Some(fields) = kept.entry.body.as_deref().and_then(|body| Fields::of_unsigned(body).ok()) else {
            continue;
        };
        let whole = dossier.certificates.contains(&kept.entry.index);
        rows.push(vec![
            fields.serial.to_string(),
            fields.key_id.to_owned(),
            fields.principals.join(", "),
            format!("{} to {}", utc(fields.valid_after), utc(fields.valid_before)),
            if whole { layout::certificate(kept.entry.index) } else { "body in its entry".into() },
        ]);
    }
    page.table(&["Serial", "Key id", "Principals", "Good", "Here"], &rows, "None was issued.");
}

fn sessions(dossier: &Dossier, page: &mut Page) {
    page.heading("Sessions, by the hosts' word");
    let mut rows: Vec<(crate::statement::Nonce, Vec<String>)> = Vec::new();
    for kept in dossier.entries.values() {
        match SessionWords::of(&kept.entry.event) {
            Some((by, SessionWords::Opened(said))) => rows.push((
                said.connection,
                vec![
                    by.host.to_string(),
                    said.account.to_string(),
                    said.from.to_string(),
                    said.serial.to_string(),
                    utc(said.at),
                    "not over".into(),
                ],
            )),
            Some((by, SessionWords::Closed(said))) => {
                let ended = format!("{}: {}{}", utc(said.at), why_ended(said.why), swept(&said));
                match rows.iter_mut().find(|(connection, _)| *connection == said.connection) {
                    Some((_, row)) => {
                        row.pop();
                        row.push(ended);
                    }
                    None => {
                        let dash = || "-".to_owned();
                        let row =
                            vec![by.host.to_string(), dash(), dash(), said.serial.to_string(), dash(), ended];
                        rows.push((said.connection, row));
                    }
                }
            }
            None => {}
        }
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
    page.table(&["Host", "Account", "From", "Serial", "Came in", "Ended"], &rows, "Nobody came in.");
    let confirmed =
        dossier.entries.values().filter(|kept| matches!(kept.entry.event, Event::HostConfirmed { .. }));
    page.list(confirmed.map(|kept| format!("{}: {}", utc(kept.entry.at), in_words(&kept.entry))));
}

fn swept(said: &SessionClosed) -> String {
    let swept = said.swept;
    match (swept.terminated, swept.killed, swept.left) {
        (0, 0, 0) => String::new(),
        (terminated, killed, left) => {
            format!("; processes ended: {terminated}, killed: {killed}, still there: {left}")
        }
    }
}

fn left_behind(dossier: &Dossier, page: &mut Page) {
    page.heading("What could let somebody in later");
    let mut rows = Vec::new();
    for kept in dossier.entries.values() {
        let Some((by, SessionWords::Closed(said))) = SessionWords::of(&kept.entry.event) else { continue };
        rows.extend(said.planted.iter().map(|one| {
            let (kind, change) = (format!("{:?}", one.kind), format!("{:?}", one.change).to_lowercase());
            vec![by.host.to_string(), utc(said.at), kind, change, one.path.clone()]
        }));
        if said.more > 0 {
            rows.push(vec![
                by.host.to_string(),
                utc(said.at),
                format!("and {} more", said.more),
                String::new(),
                String::new(),
            ]);
        }
    }
    page.table(&["Host", "Found", "Kind", "", "Where"], &rows, "Hosts found nothing.");
}

fn unusual(dossier: &Dossier, page: &mut Page) {
    let lines = dossier.entries.values().filter_map(|kept| match &kept.entry.event {
        Event::AnomalyRaised { signals, .. } => {
            Some(format!("{}: {}", utc(kept.entry.at), sentences(signals)))
        }
        Event::SessionOpened { unusual, by, .. } | Event::SessionClosed { unusual, by, .. }
            if !unusual.is_empty() =>
        {
            Some(format!("{}: {}: {}", utc(kept.entry.at), by.host, sentences(unusual)))
        }
        Event::HostAlarmed { by } => match report_of(by) {
            Some(Report::Alarmed(reason)) => {
                Some(format!("{}: {}: {}", utc(kept.entry.at), by.host, reason.sentence))
            }
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<String> = lines.collect();
    page.heading("What was unusual");
    if lines.is_empty() {
        page.paragraph("Nothing, by the signals that the policy knows.");
    }
    page.list(lines);
}

fn review(dossier: &Dossier, page: &mut Page) {
    page.heading("Review");
    let reviews: Vec<String> = dossier
        .entries
        .values()
        .filter(|kept| matches!(kept.entry.event, Event::EmergencyReviewed { .. }))
        .map(|kept| format!("{}: {}", utc(kept.entry.at), in_words(&kept.entry)))
        .collect();
    let due = dossier.entries.values().find_map(|kept| match &kept.entry.event {
        Event::EmergencyClosed { review_due, .. } => *review_due,
        _ => None,
    });
    match (reviews.is_empty(), due) {
        (true, Some(due)) => page.paragraph(&format!("None yet. It is owed by {}.", utc(due))),
        (true, None) => page.paragraph("None, and none was owed when this was made."),
        _ => page.list(reviews),
    }
}

fn recordings(dossier: &Dossier, page: &mut Page) {
    page.heading("Recordings");
    let mut rows: Vec<Vec<String>> = dossier
        .recordings
        .iter()
        .map(|one| {
            let picture = if one.cast {
                layout::cast(&one.host, one.name)
            } else {
                "none: sealed, or not complete".into()
            };
            vec![
                layout::recording(&one.host, one.name),
                one.bytes.to_string(),
                one.sha256.to_string(),
                picture,
            ]
        })
        .collect();
    rows.extend(dossier.missing.iter().map(|one| {
        vec![
            layout::recording(&one.host, one.recording),
            String::new(),
            String::new(),
            format!("not here: {}", one.why),
        ]
    }));
    page.table(&["Recording", "Bytes", "SHA-256", "Picture (asciicast v3)"], &rows, "Nothing was recorded.");
}

fn about(dossier: &Dossier, page: &mut Page) {
    let made = &dossier.made;
    page.heading("About this dossier");
    page.facts([
        ("Made", format!("{} by {} with fireaxe-ca {}", utc(made.at), made.by, made.version)),
        (
            "In the log",
            if made.logged {
                "yes: manifest.entry.json".into()
            } else {
                "NO: made without a running CA".into()
            },
        ),
        ("Log", dossier.head.origin.to_string()),
        ("Log key", dossier.log_key.clone()),
        ("Head", format!("{} entries, root {}", dossier.head.size, dossier.head.root)),
        ("Entries here", dossier.entries.len().to_string()),
    ]);
    let read = dossier.entries.values().filter_map(|kept| match &kept.entry.event {
        Event::EvidenceRead { by, what } | Event::EvidenceExported { by, what, .. } => {
            Some(format!("{}: {} had {} before", utc(kept.entry.at), words::reader(by), evidence(what)))
        }
        _ => None,
    });
    page.list(read);
}
