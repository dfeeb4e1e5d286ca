//! Entries in words: one line each, for the timeline and the page. What people and hosts wrote is quoted.

use super::utc;
use crate::host::{EndReason, Report, SessionClosed, SessionOpened};
use crate::log::{Activation, Closer, Entry, Event, Evidence, EvidenceReader, Hash, HostSaid};
use crate::names::PersonName;
use crate::policy::{Decision, IncidentState, Outcome, Terms};
use crate::reason::Reason;
use crate::statement::{Declare, Statement, Verdict};

/// What an entry says, in a line. Harmless only after [`super::html::plain`] or [`super::html::text`].
pub fn in_words(entry: &Entry) -> String {
    match &entry.event {
        Event::LogCreated { origin, .. } => format!("the log {origin} begins, with its keys"),
        Event::BlobStored { .. } => "bytes of a policy or a roster".into(),
        Event::BundleActivated { bundle, by, .. } => {
            let by = match by {
                Activation::Init => "when the CA was made".to_owned(),
                Activation::Admins(admins) => {
                    format!("signed by {}", some(admins.iter().map(|one| one.person.to_string())))
                }
            };
            format!("policy and roster {} come into force, {by}", short(bundle))
        }
        Event::IncidentUpdated(update) => {
            let state = match update.state {
                IncidentState::Open => "open",
                IncidentState::Resolved => "over",
            };
            let title = update.title.as_ref().map(|title| format!(" “{title}”")).unwrap_or_default();
            let systems = some(update.systems.iter().map(ToString::to_string));
            let (incident, severity, by) = (&update.incident, update.severity, &update.by);
            format!("incident {incident}{title} is {state}, severity {severity}, of {systems}, says {by}")
        }
        Event::EmergencyDeclared { emergency, declared, facts, decision, .. } => {
            let (reason, target) = match Statement::read(&declared.statement) {
                Ok(Statement::Declare(Declare { reason, target, .. })) => {
                    (quoted(reason.as_str()), target.to_string())
                }
                _ => (String::new(), facts.target.system.to_string()),
            };
            let drill = if facts.drill { ", as a drill" } else { "" };
            format!(
                "{} declares {emergency} for {target}{drill}{reason}: {}",
                facts.person,
                outcome(decision)
            )
        }
        Event::DeclarationRefused { facts, decision, .. } => {
            format!("{} asks for {} and is refused: {}", facts.person, facts.target.system, outcome(decision))
        }
        Event::EmergencySeconded { emergency, by, decision, .. } => {
            format!("{} signs the claim of {emergency} too: {}", by.person, outcome(decision))
        }
        Event::EmergencyRedecided { emergency, decision, .. } => {
            format!("the policy changed, {emergency} is decided anew: {}", outcome(decision))
        }
        Event::ExtensionRequested { by, decision, .. } => {
            format!("{} asks for more time{}: {}", by.person, spoken(&by.said.statement), outcome(decision))
        }
        Event::ExtensionRefused { by, decision, .. } => {
            format!(
                "{} asks for more time{} and is refused: {}",
                by.person,
                spoken(&by.said.statement),
                outcome(decision)
            )
        }
        Event::RungCalled { rung, groups, people, .. } => format!(
            "asked for approval, step {}: {} ({})",
            rung.saturating_add(1),
            some(people.iter().map(ToString::to_string)),
            some(groups.iter().map(ToString::to_string))
        ),
        Event::ApprovalGiven { of, by, .. } => {
            let shown = match Statement::read(&by.said.statement) {
                Ok(Statement::Approve(words)) => format!(", after {} s with it on the screen", words.shown_s),
                _ => String::new(),
            };
            format!("{} approves what waits ({}){shown}{}", by.person, short(of), spoken(&by.said.statement))
        }
        Event::ApprovalRefused { of, by, .. } => {
            format!("{} refuses what waits ({}){}", by.person, short(of), spoken(&by.said.statement))
        }
        Event::RequestLapsed { of, .. } => {
            format!("nobody answered in time: what waited ({}) has lapsed", short(of))
        }
        Event::AnomalyRaised { signals, .. } => format!("unusual: {}", sentences(signals)),
        Event::EmergencyReviewed { emergency, by } => {
            let verdict = match Statement::read(&by.said.statement) {
                Ok(Statement::Review(words)) => match words.verdict {
                    Verdict::Justified => "justified",
                    Verdict::FollowUp => "follow-up",
                    Verdict::Unjustified => "unjustified",
                },
                _ => "",
            };
            format!("{} reviews {emergency}: {verdict}{}", by.person, spoken(&by.said.statement))
        }
        Event::CertificateIssued { of, .. } => {
            format!("certificate {}, by the decision {}", entry.index, short(of))
        }
        Event::CertificateAbandoned { serial, why } => format!("certificate {serial} is not signed: {why}"),
        Event::EmergencyClosing { incident, until, .. } => {
            format!("{incident} was resolved: it closes by itself at {}", utc(*until))
        }
        Event::EmergencyClosed { emergency, by, revoked, .. } => {
            let how = match by {
                Closer::Person { person, .. } => format!("{person} closes {emergency}"),
                Closer::Deadline => format!("the time of {emergency} is over"),
                Closer::Grace => format!("the countdown of {emergency} is over"),
                Closer::Unlinked => format!("{emergency} was tied to no incident and is closed"),
                Closer::Removed => format!("who declared {emergency} left the roster: it is closed"),
            };
            match revoked.as_slice() {
                [] => how,
                revoked => format!("{how}; revoked: {}", some(revoked.iter().map(ToString::to_string))),
            }
        }
        event => of_host(event),
    }
}

fn of_host(event: &Event) -> String {
    match event {
        Event::HostInvited { host, system, by, .. } => format!("{by} invites {host} as a host of {system}"),
        Event::HostEnrolled { host, system, key, .. } => {
            format!("{host} joins as a host of {system}, with the key {}", key.fingerprint())
        }
        Event::HostCertified { host, .. } => format!("{host} gets a host certificate"),
        Event::HostRetired { host, by, .. } => format!("{by} retires {host}"),
        Event::SelfTestGranted { by, .. } => format!("{} tries a login of its own", by.host),
        Event::SessionOpened { unusual, by, .. } => match opened(by) {
            Some(SessionOpened { serial, account, from, at, .. }) => format!(
                "{} says: certificate {serial} came in as {account} from {from} at {}{}",
                by.host,
                utc(at),
                odd(unusual)
            ),
            None => format!("{} says that a certificate came in", by.host),
        },
        Event::SessionClosed { unusual, by, .. } => match closed(by) {
            Some(said) => {
                let planted = match said.planted.len() {
                    0 => String::new(),
                    n => format!("; {n} change(s) that could let somebody in later"),
                };
                let swept = said.swept;
                let left = if swept.left > 0 {
                    format!("; {} process(es) are left", swept.left)
                } else {
                    String::new()
                };
                format!(
                    "{} says: what came in with certificate {} ended at {}, {}; {} recording(s){planted}{left}{}",
                    by.host,
                    said.serial,
                    utc(said.at),
                    why_ended(said.why),
                    said.recordings.len(),
                    odd(unusual)
                )
            }
            None => format!("{} says that a session ended", by.host),
        },
        Event::HostConfirmed { by, .. } => match report_of(by) {
            Some(Report::Confirmed(said)) => format!(
                "{} says: list {} is in force since {}, nothing that it revokes is alive here; {} connection(s) ended",
                by.host,
                said.version,
                utc(said.in_force_at),
                said.ended
            ),
            _ => format!("{} confirms that the list is in force", by.host),
        },
        Event::HostAlarmed { by } => match report_of(by) {
            Some(Report::Alarmed(reason)) => format!("{} raises an alarm: {}", by.host, reason.sentence),
            _ => format!("{} raises an alarm", by.host),
        },
        Event::EvidenceRead { by, what } => format!("{} reads {}", reader(by), evidence(what)),
        Event::EvidenceExported { by, what, .. } => format!("{} exports {}", reader(by), evidence(what)),
        Event::EvidenceRefused { by, what, .. } => {
            format!("{} asked for {} and may not", reader(by), evidence(what))
        }
        Event::RecordingExpired { host, recording, .. } => {
            format!("recording {recording} of {host} is kept no longer")
        }
        Event::ClockCorrected { to, by, .. } => format!("{by} says that the clock is right: {}", utc(*to)),
        _ => "an entry that this program has no words for".into(),
    }
}

/// What a host said in a report.
pub fn report_of(by: &HostSaid) -> Option<Report> {
    match Statement::read(&by.said.statement) {
        Ok(Statement::Report(words)) => Some(words.report),
        _ => None,
    }
}

/// What a host said of a session, if the entry is one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionWords {
    /// It came in.
    Opened(SessionOpened),
    /// It ended.
    Closed(SessionClosed),
}

impl SessionWords {
    /// Of a `session.opened` or `session.closed` entry.
    pub fn of(event: &Event) -> Option<(&HostSaid, SessionWords)> {
        match event {
            Event::SessionOpened { by, .. } => opened(by).map(|said| (by, SessionWords::Opened(said))),
            Event::SessionClosed { by, .. } => closed(by).map(|said| (by, SessionWords::Closed(said))),
            _ => None,
        }
    }
}

fn opened(by: &HostSaid) -> Option<SessionOpened> {
    match report_of(by)? {
        Report::SessionOpened(said) => Some(said),
        _ => None,
    }
}

fn closed(by: &HostSaid) -> Option<SessionClosed> {
    match report_of(by)? {
        Report::SessionClosed(said) => Some(said),
        _ => None,
    }
}

pub(super) fn why_ended(why: EndReason) -> &'static str {
    match why {
        EndReason::Left => "its user left",
        EndReason::Expired => "the certificate's time was over",
        EndReason::Revoked => "the certificate was revoked",
        EndReason::Closing => "the countdown was over",
        EndReason::Unrecorded => "it could not be recorded any more",
        EndReason::Restarted => "the host was restarted",
        EndReason::Refused => "the host did not admit it",
    }
}

/// What a decision came to.
pub(super) fn outcome(decision: &Decision) -> String {
    match &decision.outcome {
        Outcome::Permit(terms) => format!("given: {}", terms_in_words(terms)),
        Outcome::NeedsApproval { full, meanwhile, .. } => {
            let now = match meanwhile {
                Some(terms) => format!("given meanwhile: {}", terms_in_words(terms)),
                None => "nothing given meanwhile".to_owned(),
            };
            format!("waits for approval: {}; {now}", terms_in_words(full))
        }
        Outcome::Refuse { reasons, .. } => format!("refused: {}", sentences(reasons)),
    }
}

/// Terms in a few words.
pub(super) fn terms_in_words(terms: &Terms) -> String {
    let what = match (&terms.action, &terms.force_command) {
        (Some(action), _) => format!(", action {action}"),
        (None, Some(_)) => ", one command".to_owned(),
        (None, None) => String::new(),
    };
    format!("tier {} as {}{what}, for {} min", terms.tier, terms.account, terms.lifetime_s.div_ceil(60))
}

/// Who reads.
pub(super) fn reader(by: &EvidenceReader) -> String {
    match by {
        EvidenceReader::Person { person, .. } => person.to_string(),
        EvidenceReader::Operator(who) => who.clone(),
    }
}

/// What is read.
pub(super) fn evidence(what: &Evidence) -> String {
    match what {
        Evidence::Entries => "entries of the log".into(),
        Evidence::Emergency(id) => format!("everything of {id}"),
        Evidence::Period { from, to } => format!("everything from {} to {}", utc(*from), utc(*to)),
        Evidence::Recording { host, recording } => format!("recording {recording} of {host}"),
        Evidence::Recordings => "the list of recordings".into(),
    }
}

/// What somebody said in their own words.
pub(super) fn spoken(statement: &str) -> String {
    let reason = match Statement::read(statement) {
        Ok(Statement::Declare(words)) => Some(words.reason),
        Ok(Statement::Approve(words)) => words.reason,
        Ok(Statement::Refuse(words)) => Some(words.reason),
        Ok(Statement::Extend(words)) => words.reason,
        Ok(Statement::Review(words)) => Some(words.reason),
        _ => None,
    };
    reason.map(|reason| quoted(reason.as_str())).unwrap_or_default()
}

fn quoted(text: &str) -> String {
    format!(", “{text}”")
}

pub(super) fn sentences(reasons: &[Reason]) -> String {
    some(reasons.iter().map(|reason| reason.sentence.clone()))
}

fn odd(reasons: &[Reason]) -> String {
    if reasons.is_empty() { String::new() } else { format!("; unusual: {}", sentences(reasons)) }
}

/// The first 12 digits: enough to find it.
pub(super) fn short(hash: &Hash) -> String {
    hash.to_string().chars().take(12).collect()
}

pub(super) fn some(all: impl Iterator<Item = String>) -> String {
    all.collect::<Vec<_>>().join(", ")
}

/// People by name, for a cell of a table.
pub(super) fn people<'a>(all: impl Iterator<Item = &'a PersonName>) -> String {
    some(all.map(ToString::to_string))
}
