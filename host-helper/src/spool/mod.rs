//! What the CA must learn, kept on the disk until the CA has it: across outages and restarts, in order,
//! nothing twice.
//!
//! | file of the room | what it does |
//! |---|---|
//! | `waiting` | the folder: a file for each report that waits |
//! | `shares` | who may have how many places there |
//! | `counted` | what is only counted, beyond a share |
//! | `numbers` | the batch that has numbers, how far it got |
//! | `fit` | makes a report short enough for a statement |
//! | `sender` | the thread that sends, and what it makes of the CA's answers |
//! | `uploads` | the thread that sends recordings |
//!
//! A report gets its number, and its signature, when it is put in a batch to be sent, not when it is said: so
//! numbers have no gaps whatever was only counted. A batch that may have been sent keeps its numbers and bytes
//! until the CA says how far it took them.
//!
//! Three things never wait in the folder, since only the newest matters: a heartbeat, and a confirmation that
//! the CA did not ask for; and alarms past [`ALARMS_PER_HOUR`], which the CA only counts.
//!
//! | limit | | why |
//! |---|---|---|
//! | [`MOST`] reports of connections wait | 4,096 | what the CA takes in an hour (one a second), a week of a busy host; at their longest 32 MiB, a tenth of that as they are; `shares` says who may have how many |
//! | [`ALARMS_PER_HOUR`] with a number | 30 | as many as the CA logs |
//!
//! Two locks, always taken in this order: `numbers`, which the sender holds while it writes; `inner`, which is
//! never held while something is synced, but for a count that has doubled or is told. So a login waits for the
//! disk with its own report, and never for the sender's.

mod counted;
mod fit;
mod numbers;
mod sender;
mod shares;
mod uploads;
mod waiting;

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fireaxe_protocol::api::{Reports as Batch, ReportsTaken};
use fireaxe_protocol::host::{Confirmed, Heartbeat, Report, SessionOpened};
use fireaxe_protocol::limits;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{HostName, Origin, PersonName};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{Envelope, Header, HostReport, Kind, Statement};

use crate::error::HostError;
use crate::host_key::HostKey;
use crate::reports::Reports;
use crate::{atomic, clock, journal, randomness};

pub use numbers::Numbered;
use numbers::Numbers;
pub use sender::{Courier, Round, Sender};
pub use shares::Holder;
pub use uploads::{Carrier, Grown, Uploads};
pub use waiting::Said;
use waiting::Waiting;

/// Reports of connections that wait at once, with the places that are kept for their ends.
pub const MOST: usize = 4096;
/// Alarms with a number in an hour.
pub const ALARMS_PER_HOUR: usize = limits::ALARMS_PER_HOUR as usize;

/// Signs what this host says.
#[derive(Debug, Clone)]
pub struct Voice {
    /// The enrolled key.
    pub key: Arc<HostKey>,
    /// The log that it speaks to.
    pub origin: Origin,
    /// Its name.
    pub host: HostName,
}

impl Voice {
    /// The report as it is sent.
    fn sign(&self, said: &Said, seq: u64) -> Envelope {
        self.key.sign(&self.statement(said, seq))
    }

    fn statement(&self, said: &Said, seq: u64) -> Statement {
        let header = Header { kind: Kind::Report, to: self.origin.clone(), nonce: said.nonce, at: said.at };
        let report = HostReport { header, host: self.host.clone(), seq, report: said.report.clone() };
        Statement::Report(Box::new(report))
    }
}

/// The spool. Several threads say things; one sends them.
#[derive(Debug)]
pub struct Spool {
    voice: Voice,
    numbers: Mutex<Numbers>,
    inner: Mutex<Inner>,
    /// Something is there to be sent, or it is worth trying again.
    woken: Condvar,
}

#[derive(Debug)]
struct Inner {
    waiting: Waiting,
    /// Only the newest of each kind.
    heartbeat: Option<Heartbeat>,
    confirmation: Option<Confirmed>,
    /// Alarms past the bound.
    surplus: VecDeque<Said>,
    /// The newest list that is in force with nothing alive that it revokes.
    confirmed: Option<Confirmed>,
    /// The newest version whose confirmation was given a place in the order.
    answered: u64,
    /// What the CA asks to have confirmed.
    owed: Option<u64>,
    /// When alarms with a number were said, within the last hour.
    alarms: VecDeque<u64>,
    poked: bool,
}

/// How the spool is, for `status` and heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Filled {
    /// Reports that wait, those in a batch included.
    pub reports: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Reports that were dropped or only counted, and that no alarm has told yet.
    pub lost: u64,
    /// The number of the last report that the CA has.
    pub taken: u64,
}

impl Spool {
    /// Opens the spool in `folder`, made if it is missing. `enrolment` is the leaf under which this host is
    /// enrolled: another one than before starts a new count. What cannot be read is set aside, with an alarm. A full disk
    /// keeps nothing from being opened that is there.
    pub fn open(folder: &Path, voice: Voice, enrolment: Option<Hash>) -> Result<Spool, HostError> {
        atomic::folder(folder)?;
        // Who came from where, and what an alarm says, is nobody's on this host to read.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .map_err(|error| HostError::write(folder, &error))?;
        let mut alarms = Vec::new();
        let numbers = Numbers::open(folder, enrolment, &mut alarms);
        let batch: Vec<_> = numbers.there().iter().map(|n| (n.file, n.said.clone())).collect();
        let waiting = Waiting::open(folder, numbers.done(), &batch, &mut alarms)?;
        let inner = Inner {
            waiting,
            heartbeat: None,
            confirmation: None,
            surplus: VecDeque::new(),
            confirmed: None,
            answered: 0,
            owed: None,
            alarms: VecDeque::new(),
            poked: false,
        };
        let spool =
            Spool { voice, numbers: Mutex::new(numbers), inner: Mutex::new(inner), woken: Condvar::new() };
        for alarm in alarms {
            // Not kept: the journal has it, and a full disk is no reason not to start.
            let _ = spool.say(Report::Alarmed(alarm));
        }
        Ok(spool)
    }

    /// How full it is.
    pub fn filled(&self) -> Filled {
        let (batch, taken) = {
            let numbers = self.numbers();
            (numbers.there().len(), numbers.taken_up_to())
        };
        let (waiting, bytes, lost) = self.inner().waiting.filled();
        Filled { reports: waiting + batch, bytes, lost, taken }
    }

    /// It is worth trying now: the CA was heard.
    pub fn poke(&self) {
        self.inner().poked = true;
        self.woken.notify_all();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // What a thread left half-way is on the disk; in memory there is nothing that must go together.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        // The same.
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self, report: Report) -> Result<Said, HostError> {
        let said = Said { nonce: randomness::nonce()?, at: clock::now(), holder: None, report };
        Ok(fit::shortened(said, |said| self.voice.statement(said, u64::MAX).write().len()))
    }

    /// Keeps one, on the disk when this returns, or counts it.
    fn keep(&self, said: Said, person: Option<&PersonName>) -> Result<(), HostError> {
        let Some(placed) = self.inner().waiting.place(said, person)? else { return Ok(()) };
        let put = placed.put();
        let settled = self.inner().waiting.settle(placed, put);
        // After a failure too: what was said later may have waited for it.
        self.woken.notify_all();
        settled
    }

    /// The batch to be sent, from its first number: the one that was not taken yet, or a new one of the oldest
    /// that wait.
    fn batch(&self) -> Result<Vec<(u64, Envelope)>, HostError> {
        let mut numbers = self.numbers();
        let mut damaged = Vec::new();
        if numbers.there().is_empty() {
            let (due, files) = {
                let waiting = &self.inner().waiting;
                let due = waiting.due(clock::now(), Batch::MOST);
                let files = waiting.oldest(Batch::MOST.saturating_sub(due.alarms().len()));
                (due, files)
            };
            let mut said = Vec::new();
            for alarm in due.alarms() {
                said.push((0, self.said(Report::Alarmed(alarm))?));
            }
            for (file, path) in &files {
                said.extend(waiting::read::<Said>(path, &mut damaged).map(|said| (*file, said)));
            }
            numbers.make(said, &self.voice)?;
            // A crash here: they are in the batch and in their files; the files go at the next start.
            let mut inner = self.inner();
            files.iter().for_each(|(file, _)| inner.waiting.left(*file));
            inner.waiting.told(due)?;
        }
        let sent = numbers.batch(&self.voice)?;
        let sent = sent.iter().map(|numbered| (numbered.seq, numbered.envelope.clone())).collect();
        drop(numbers);
        for alarm in damaged {
            self.say(Report::Alarmed(alarm))?;
        }
        Ok(sent)
    }

    /// Waits until there is something to send, at most `time` long if that is given; a poke ends the wait too.
    fn wait(&self, time: Option<Duration>) {
        let mut inner = self.inner();
        let idle = |inner: &mut Inner| !inner.poked && (time.is_some() || !inner.has_something());
        match time {
            // After a failure: whatever is there could not be sent, so only time or a poke helps.
            Some(time) => {
                inner = self
                    .woken
                    .wait_timeout_while(inner, time, idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            None => {
                inner = self.woken.wait_while(inner, idle).unwrap_or_else(PoisonError::into_inner);
            }
        }
        inner.poked = false;
    }

    /// What has no number and is to be sent next; it is gone from here, since only the newest matters. Beside
    /// it the confirmation that is in it: a fleet's view must not lack one for a lost connection.
    fn unnumbered(&self) -> (Vec<Envelope>, Option<Confirmed>) {
        let mut said: Vec<Said> = Vec::new();
        let mut inner = self.inner();
        let confirmation = inner.confirmation.take();
        let heartbeat = inner.heartbeat.take().map(Report::Heartbeat);
        for report in confirmation.clone().map(Report::Confirmed).into_iter().chain(heartbeat) {
            said.extend(self.said(report).ok());
        }
        while said.len() < Batch::MOST
            && let Some(alarm) = inner.surplus.pop_front()
        {
            said.push(alarm);
        }
        drop(inner);
        (said.iter().map(|said| self.voice.sign(said, 0)).collect(), confirmation)
    }

    /// The confirmation was not sent: it is to be, unless a newer one has come.
    fn unconfirmed(&self, confirmation: Option<Confirmed>) {
        let mut inner = self.inner();
        if inner.confirmation.is_none() {
            inner.confirmation = confirmation;
        }
    }

    /// What the CA said to what has no number. A count that is behind the CA's goes on there at once if nothing
    /// waits; what waits is compared first, since the CA may have it word for word.
    fn heard(&self, taken: &ReportsTaken) -> Result<(), HostError> {
        let mut numbers = self.numbers();
        let behind = numbers.given() < taken.seq;
        let behind = behind && numbers.there().is_empty() && self.inner().waiting.filled().0 == 0;
        if behind {
            numbers.renumber(taken.seq.saturating_add(1), &[], &self.voice)?;
        }
        drop(numbers);
        if behind {
            self.say(Report::Alarmed(renumbered(taken.seq.saturating_add(1))))?;
        }
        taken.confirm.map_or(Ok(()), |version| self.owed(version))
    }

    /// What the CA said to numbered ones, of which `sent` is the last: how far it has them, and what it wants
    /// confirmed. It compared what it was sent, and nothing beyond: if it counts further, this host was set back,
    /// and what waits may be what it has.
    fn taken(&self, taken: &ReportsTaken, sent: u64) -> Result<(), HostError> {
        self.numbers().taken(taken.seq.min(sent))?;
        taken.confirm.map_or(Ok(()), |version| self.owed(version))
    }

    /// Whether an alarm is one of those with a number; else it is news, if it is not too much for that too.
    fn may_alarm(&self, said: &Said) -> bool {
        let mut inner = self.inner();
        while inner.alarms.front().is_some_and(|at| at.saturating_add(3600) <= said.at) {
            inner.alarms.pop_front();
        }
        let may = inner.alarms.len() < ALARMS_PER_HOUR;
        if may {
            inner.alarms.push_back(said.at);
        } else if inner.surplus.len() < ALARMS_PER_HOUR {
            inner.surplus.push_back(said.clone());
        }
        may
    }

    /// The CA wants a list of this version or a later one confirmed, in order.
    pub(crate) fn owed(&self, version: u64) -> Result<(), HostError> {
        self.inner().owed = Some(version);
        self.answer()
    }

    fn answer(&self) -> Result<(), HostError> {
        let (confirmed, before) = {
            let mut inner = self.inner();
            let Some(confirmed) = inner.confirmed.clone() else { return Ok(()) };
            let owed = inner.owed.is_some_and(|owed| owed <= confirmed.version && owed > inner.answered);
            if !owed {
                return Ok(());
            }
            let before = std::mem::replace(&mut inner.answered, confirmed.version);
            (confirmed, before)
        };
        let kept = self.said(Report::Confirmed(confirmed)).and_then(|said| self.keep(said, None));
        if kept.is_err() {
            self.inner().answered = before;
        }
        kept
    }
}

impl Inner {
    fn has_something(&self) -> bool {
        self.heartbeat.is_some()
            || self.confirmation.is_some()
            || !self.surplus.is_empty()
            || self.waiting.has_something(clock::now())
    }
}

impl Reports for Spool {
    fn say(&self, report: Report) -> Result<(), HostError> {
        match &report {
            Report::Heartbeat(heartbeat) => self.inner().heartbeat = Some(heartbeat.clone()),
            Report::Confirmed(confirmed) => {
                let mut inner = self.inner();
                inner.confirmed = Some(confirmed.clone());
                drop(inner);
                let placed = self.answer();
                // What has a place in the order is not said beside it.
                let mut inner = self.inner();
                inner.confirmation = (inner.answered < confirmed.version).then(|| confirmed.clone());
                drop(inner);
                placed?;
            }
            Report::Alarmed(alarm) => {
                journal::reason(alarm);
                let said = self.said(report)?;
                if self.may_alarm(&said) {
                    self.keep(said, None)?;
                }
            }
            Report::SessionOpened(_) | Report::SessionClosed(_) => {
                let said = self.said(report)?;
                self.keep(said, None)?;
            }
            Report::SelfTest(_) => {
                return Err(HostError::Unsaid("a self-test is asked for by itself, not reported".into()));
            }
        }
        self.woken.notify_all();
        Ok(())
    }

    fn opened(&self, opened: SessionOpened, person: Option<&PersonName>) -> Result<(), HostError> {
        let said = self.said(Report::SessionOpened(opened))?;
        self.keep(said, person)
    }
}

/// The alarm that tells how many reports had to be dropped.
fn overflowed(lost: u64) -> Reason {
    let sentence = format!("{lost} reports could not be kept until the CA had them, and are lost");
    Reason::new("spool.overflowed", sentence)
}

/// The alarm that tells that this host's count of its reports is not the CA's.
fn renumbered(expected: u64) -> Reason {
    let sentence = format!(
        "the CA expects report {expected} next, this host had counted otherwise: one of them was set back"
    );
    Reason::new("spool.renumbered", sentence)
}

#[cfg(test)]
mod tests;
