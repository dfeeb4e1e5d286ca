//! Steps 8 and 11: what an enrolled host said becomes an entry. Its words stand there verbatim; what the log
//! itself knows of them, whose certificate that was and what in it cannot be, stands beside.
//!
//! Nothing a host says is refused for being unlikely. A host that lies is found by what it said, and one that
//! tells the truth about something that should not have been possible is the very thing to be heard.

use std::sync::Arc;

use fireaxe_protocol::certificate::Fields;
use fireaxe_protocol::host::Report;
use fireaxe_protocol::limits::STATEMENT_WINDOW_S;
use fireaxe_protocol::log::{Entry, Event, HostSaid};
use fireaxe_protocol::names::{AccountName, EmergencyId, HostName};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{Envelope, HostReport};

use super::refusal::{Internal, Refusal};
use super::speakers::Heard;
use super::turn::Turn;
use super::{Asked, HostRefusal, Reply};
use crate::state::{Speaker, State};

/// A certificate as its own entry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Came {
    /// Its emergency; none for a self-test.
    emergency: Option<EmergencyId>,
    principals: Vec<String>,
    valid_after: u64,
    valid_before: u64,
}

impl Came {
    /// What a `certificate.issued` entry says; nothing for another.
    pub(crate) fn of(entry: &Entry) -> Option<Came> {
        if !matches!(entry.event, Event::CertificateIssued { .. }) {
            return None;
        }
        let fields = Fields::of_unsigned(entry.body.as_deref()?).ok()?;
        // `fireaxe/EM-42/ana/1234`, `fireaxe/self-test/1234`
        let emergency = fields.key_id.split('/').nth(1).and_then(|word| word.parse().ok());
        Some(Came {
            emergency,
            principals: fields.principals.iter().map(|one| (*one).to_owned()).collect(),
            valid_after: fields.valid_after,
            valid_before: fields.valid_before,
        })
    }
}

/// The entry that a report becomes: a function of the words, of the state before it and of the certificate that
/// it names. Nothing for what is not logged.
pub(crate) fn entry_of(
    state: &State,
    speaker: &Speaker,
    words: &HostReport,
    came: Option<&Came>,
    by: HostSaid,
) -> Option<Event> {
    let emergency = came.and_then(|came| came.emergency);
    match &words.report {
        Report::SessionOpened(said) => {
            let seen = Seen { serial: said.serial, account: Some(&said.account), at: said.at };
            let unusual = unusual(state, speaker, &words.host, &seen, came);
            Some(Event::SessionOpened { emergency, unusual, by })
        }
        Report::SessionClosed(said) => {
            let seen = Seen { serial: said.serial, account: None, at: said.at };
            let mut unusual = unusual(state, speaker, &words.host, &seen, came);
            if speaker.connection(&said.connection).is_none_or(|open| open.serial != said.serial) {
                unusual.push(Reason::new(
                    "session.not_open",
                    format!(
                        "no connection of that name and serial {} was open on {}",
                        said.serial, words.host
                    ),
                ));
            }
            Some(Event::SessionClosed { emergency, unusual, by })
        }
        Report::Confirmed(said) => {
            Some(Event::HostConfirmed { closed: state.reported.confirms(&words.host, said.version), by })
        }
        Report::Alarmed(_) => Some(Event::HostAlarmed { by }),
        Report::SelfTest(_) | Report::Heartbeat(_) => None,
    }
}

/// The serial that a report names.
pub(crate) fn serial_of(report: &Report) -> Option<u64> {
    match report {
        Report::SessionOpened(said) => Some(said.serial),
        Report::SessionClosed(said) => Some(said.serial),
        _ => None,
    }
}

struct Seen<'a> {
    serial: u64,
    /// Of one that was opened: a closing need not repeat it.
    account: Option<&'a AccountName>,
    at: u64,
}

/// What in a session cannot be, going by the log. The host's clock may be as wrong as a statement's.
fn unusual(
    state: &State,
    speaker: &Speaker,
    host: &HostName,
    seen: &Seen<'_>,
    came: Option<&Came>,
) -> Vec<Reason> {
    let Some(came) = came else {
        let sentence = format!("no certificate was ever issued with serial {}", seen.serial);
        return vec![Reason::new("session.unknown_serial", sentence)];
    };
    let mut out = Vec::new();
    let Some(account) = seen.account else { return out };
    let opens = [format!("{account}:{}", speaker.system), format!("{account}:{host}")];
    if !came.principals.iter().any(|one| opens.contains(one)) {
        out.push(Reason::new(
            "session.out_of_reach",
            format!(
                "certificate {} is for {}, which opens no account {account} on {host}",
                seen.serial,
                came.principals.join(" ")
            ),
        ));
    }
    let early = seen.at.saturating_add(STATEMENT_WINDOW_S) < came.valid_after;
    if early || seen.at > came.valid_before.saturating_add(STATEMENT_WINDOW_S) {
        out.push(Reason::new(
            "session.out_of_time",
            format!(
                "certificate {} is for {} to {}, and the host says that it came in at {}",
                seen.serial, came.valid_after, came.valid_before, seen.at
            ),
        ));
    }
    if let Some((emergency, ended)) = came.emergency.and_then(|id| Some((id, state.reported.ended(id)?)))
        && seen.at > ended.saturating_add(STATEMENT_WINDOW_S)
    {
        out.push(Reason::new(
            "session.after_end",
            format!("{emergency} was closed at {ended}, and the host says that it came in at {}", seen.at),
        ));
    }
    out
}

/// Numbers of what a host says again and the log has, as far back as is remembered: under other numbers these would
/// stand in the log twice.
fn logged(speaker: &Speaker, heard: &Heard) -> Vec<u64> {
    let there = heard.numbered().iter().filter(|(words, said)| speaker.has(words, said));
    there.map(|(words, _)| words.seq).collect()
}

impl Turn<'_> {
    pub(super) fn take_reports(&mut self, heard: Arc<Heard>, reply: Reply<u64>) {
        // A serial of this very batch is nobody's yet: whether it was issued, the log says next turn.
        let of_this_batch = self.committed..self.batch.next_index();
        let serials = heard.numbered().iter().filter_map(|(words, _)| serial_of(&words.report));
        if serials.into_iter().any(|serial| of_this_batch.contains(&serial)) {
            self.deferred.push(Asked::Report(heard, reply));
            return;
        }
        let taken = self.reports(&heard);
        self.later(taken, reply);
    }

    /// Takes them in order, up to the first that cannot be; gives the number of the last that is taken. One that
    /// was taken before is taken: nothing is logged twice. But under its number the host must have said the same:
    /// one that was set back, or that there are two of, would lose what it says now.
    fn reports(&mut self, heard: &Heard) -> Result<u64, Refusal> {
        let host = &heard.host().host;
        let mut last = self.speaker(heard)?.seq;
        let before = last;
        for (words, said) in heard.numbered() {
            if words.seq <= last {
                let speaker = self.speaker(heard)?;
                let (found, expected) = (words.seq, last.saturating_add(1));
                match speaker.said(found) {
                    _ if speaker.has(words, said) => continue,
                    Some(_) => {
                        return Err(Refusal::OtherWords { found, expected, logged: logged(speaker, heard) });
                    }
                    // No sender repeats more than its last request: this one counts otherwise.
                    None => {
                        return Err(Refusal::ReportGap { expected, found, logged: logged(speaker, heard) });
                    }
                }
            }
            match self.report(heard, words, said) {
                Ok(()) => last = words.seq,
                // What is taken is taken: the host sends the rest again, and is told then.
                Err(Refusal::ReportGap { .. } | Refusal::TooManyReports(_)) if last > before => break,
                Err(refusal) => return Err(refusal),
            }
        }
        tracing::debug!(event = "reports.taken", %host, seq = last);
        Ok(last)
    }

    fn report(&mut self, heard: &Heard, words: &HostReport, said: &Envelope) -> Result<(), Refusal> {
        // What costs nothing first: an entry is read back only for what is then logged.
        let host = &heard.host().host;
        let speaker = self.speaker(heard)?;
        let expected = speaker.seq.saturating_add(1);
        if words.seq != expected {
            return Err(Refusal::ReportGap { expected, found: words.seq, logged: Vec::new() });
        }
        if !self.state.reported.may_report(host, self.now) {
            return Err(Refusal::TooManyReports(host.clone()));
        }
        let came = self.came(words)?;
        let by = HostSaid { of: speaker.enrolment, host: host.clone(), said: said.clone() };
        let event = entry_of(self.state, speaker, words, came.as_ref(), by);
        let event =
            event.ok_or_else(|| Internal::Fold("a report that is never logged has a number".into()))?;
        // Dying before the commit: the host was not answered, and sends it again. After it: it sends it again,
        // and is told that it is taken.
        self.append(event).map(drop)
    }

    /// It may have been retired or enrolled anew since its signature was checked.
    fn speaker(&self, heard: &Heard) -> Result<&Speaker, Refusal> {
        let known = heard.host();
        let speaker = self.state.reported.host(&known.host);
        let speaker = speaker.filter(|speaker| speaker.enrolment == known.enrolment);
        speaker.ok_or_else(|| HostRefusal::NotEnrolled(known.host.clone()).into())
    }

    fn came(&self, words: &HostReport) -> Result<Option<Came>, Refusal> {
        match serial_of(&words.report) {
            Some(serial) if serial < self.committed => Ok(Came::of(&self.read_back(serial)?.0)),
            _ => Ok(None),
        }
    }
}
