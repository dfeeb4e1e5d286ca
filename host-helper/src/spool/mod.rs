//! What the CA must learn, kept on the disk until the CA has it: across outages and restarts, in order,
//! nothing twice.
//!
//! | file of the room | what it does |
//! |---|---|
//! | `store` | the folder: a file for each report that waits, the batch that has numbers, how far it got |
//! | `fit` | makes a report short enough for a statement, and says what may be dropped for what |
//! | `sender` | the thread that sends, and what it makes of the CA's answers |
//! | `uploads` | the thread that sends recordings |
//!
//! A report gets its number, and its signature, when it is put in a batch to be sent, not when it is said: so
//! numbers have no gaps whatever had to be dropped before. A batch that may have been sent keeps its numbers
//! and bytes until the CA says how far it took them.
//!
//! Three things never wait in the folder, since only the newest matters: a heartbeat, and a confirmation that
//! the CA did not ask for; and alarms past [`ALARMS_PER_HOUR`], which the CA only counts.
//!
//! | limit | | why |
//! |---|---|---|
//! | [`MOST`] reports wait | 4,096 | half an hour of the most that the CA takes (one a second), a week of a busy host |
//! | [`MOST_BYTES`] of them | 16 MiB | half of their number at their longest; `/var` has that |
//! | [`ALARMS_PER_HOUR`] with a number | 30 | as many as the CA logs |

mod fit;
mod sender;
mod store;
mod uploads;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fireaxe_protocol::api::{Reports as Batch, ReportsTaken};
use fireaxe_protocol::host::{Confirmed, Heartbeat, Report};
use fireaxe_protocol::limits;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{HostName, Origin};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{Envelope, Header, HostReport, Kind, Statement};

use crate::clock;
use crate::error::HostError;
use crate::host_key::HostKey;
use crate::reports::Reports;
use crate::{journal, randomness};

pub use sender::{Courier, Round, Sender};
use store::Store;
pub use store::{Numbered, Said};
pub use uploads::{Carrier, Grown, Uploads};

/// Reports that wait at once.
pub const MOST: usize = 4096;
/// Bytes of them.
pub const MOST_BYTES: u64 = 16 * 1024 * 1024;
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
    /// The report as it is sent. Its time is when it was said.
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
    inner: Mutex<Inner>,
    /// Something is there to be sent, or it is worth trying again.
    woken: Condvar,
}

#[derive(Debug)]
struct Inner {
    store: Store,
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
    /// Reports that had to be dropped, and that no alarm has told yet.
    pub lost: u64,
    /// The number of the last report that the CA has.
    pub taken: u64,
}

impl Spool {
    /// Opens the spool in `folder`, made if it is missing. `enrolment` is the leaf under which this host is
    /// enrolled: another one than before starts a new count. What cannot be read is set aside, with an alarm. A full disk
    /// keeps nothing from being opened that is there.
    pub fn open(folder: &Path, voice: Voice, enrolment: Option<Hash>) -> Result<Spool, HostError> {
        let (store, alarms) = Store::open(folder, enrolment)?;
        let inner = Inner {
            store,
            heartbeat: None,
            confirmation: None,
            surplus: VecDeque::new(),
            confirmed: None,
            answered: 0,
            owed: None,
            alarms: VecDeque::new(),
            poked: false,
        };
        let spool = Spool { voice, inner: Mutex::new(inner), woken: Condvar::new() };
        for alarm in alarms {
            // Not kept: the journal has it, and a full disk is no reason not to start.
            let _ = spool.say(Report::Alarmed(alarm));
        }
        Ok(spool)
    }

    /// How full it is.
    pub fn filled(&self) -> Filled {
        self.inner().store.filled()
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

    fn said(&self, report: Report) -> Result<Said, HostError> {
        let said = Said { nonce: randomness::nonce()?, at: clock::now(), report };
        Ok(fit::shortened(said, |said| self.voice.statement(said, u64::MAX).write().len()))
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

    /// What the CA said: how far it has the numbered ones, and what it wants confirmed.
    fn taken(&self, taken: &ReportsTaken) -> Result<(), HostError> {
        let counted = self.inner().store.taken(taken.seq, &self.voice)?;
        if let Some(version) = taken.confirm {
            self.owed(version)?;
        }
        if counted {
            return Ok(());
        }
        self.say(Report::Alarmed(renumbered(taken.seq.saturating_add(1))))
    }

    /// The CA wants a list of this version or a later one confirmed, in order.
    pub(crate) fn owed(&self, version: u64) -> Result<(), HostError> {
        let mut inner = self.inner();
        inner.owed = Some(version);
        self.answer(&mut inner)
    }

    fn answer(&self, inner: &mut Inner) -> Result<(), HostError> {
        let Some(confirmed) = inner.confirmed.clone() else { return Ok(()) };
        if inner.owed.is_some_and(|owed| owed <= confirmed.version && owed > inner.answered) {
            let version = confirmed.version;
            let said = self.said(Report::Confirmed(confirmed))?;
            inner.store.add(&said)?;
            inner.answered = version;
            self.woken.notify_all();
        }
        Ok(())
    }
}

impl Inner {
    fn has_something(&self) -> bool {
        self.heartbeat.is_some()
            || self.confirmation.is_some()
            || !self.surplus.is_empty()
            || self.store.has_something()
    }
}

impl Reports for Spool {
    fn say(&self, report: Report) -> Result<(), HostError> {
        match &report {
            Report::Heartbeat(heartbeat) => self.inner().heartbeat = Some(heartbeat.clone()),
            Report::Confirmed(confirmed) => {
                let mut inner = self.inner();
                inner.confirmed = Some(confirmed.clone());
                let placed = self.answer(&mut inner);
                // What has a place in the order is not said beside it.
                inner.confirmation = (inner.answered < confirmed.version).then(|| confirmed.clone());
                placed?;
            }
            Report::Alarmed(alarm) => {
                journal::reason(alarm);
                let said = self.said(report)?;
                let mut inner = self.inner();
                while inner.alarms.front().is_some_and(|at| at.saturating_add(3600) <= said.at) {
                    inner.alarms.pop_front();
                }
                if inner.alarms.len() < ALARMS_PER_HOUR {
                    inner.store.add(&said)?;
                    inner.alarms.push_back(said.at);
                } else if inner.surplus.len() < ALARMS_PER_HOUR {
                    inner.surplus.push_back(said);
                }
            }
            Report::SessionOpened(_) | Report::SessionClosed(_) => {
                let said = self.said(report)?;
                self.inner().store.add(&said)?;
            }
            Report::SelfTest(_) => {
                return Err(HostError::Unsaid("a self-test is asked for by itself, not reported".into()));
            }
        }
        self.woken.notify_all();
        Ok(())
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
