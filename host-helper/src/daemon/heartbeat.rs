//! The thread that says how this host is: at the start, once a minute, and soon after each new list and each
//! `apply`.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use fireaxe_protocol::host::{Heartbeat, Report};
use fireaxe_protocol::log::Hash;

use crate::clock::Deadline;
use crate::doctor::{Doctor, Reported};
use crate::error::HostError;
use crate::krl::{State, installed};
use crate::reports::Reports;
use crate::{clock, journal, randomness};

/// How often.
const EVERY: Duration = Duration::from_secs(60);
/// After a new list: any moment within it. The confirmation has gone out before; this is for the fleet's view, and
/// must not come between the CA and the confirmations of other hosts.
const SOON: Duration = Duration::from_secs(20);
/// The least time between two looks at sshd's files: each starts a few `sshd -T`, and root may ask for one as
/// often as it likes.
const LOOK: Duration = Duration::from_secs(10);

/// Says when a heartbeat is due before its time.
#[derive(Debug, Default)]
pub(super) struct Beat {
    due: Mutex<Option<Due>>,
    woken: Condvar,
}

/// Why a heartbeat is due before its time; the later is the more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// Something that the daemon knows is news.
    News,
    /// What `doctor` looks at was changed.
    Changed,
}

impl Beat {
    /// Something in the next heartbeat is news.
    pub(super) fn now(&self) {
        self.say(Due::News);
    }

    /// How sshd lets people in was changed: it is looked again.
    pub(super) fn changed(&self) {
        self.say(Due::Changed);
    }

    fn say(&self, why: Due) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        *due = (*due).max(Some(why));
        self.woken.notify_one();
    }

    /// Waits; why it was asked for, if it was.
    fn wait(&self, time: Duration) -> Option<Due> {
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.woken.wait_timeout_while(due, time, |due| due.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    /// Says what `made` makes, for ever. It is told whether what `doctor` looks at was changed since.
    pub(super) fn run(
        &self,
        reports: &dyn Reports,
        made: impl Fn(bool) -> Heartbeat,
    ) -> Result<(), HostError> {
        let mut changed = false;
        loop {
            let looked = Deadline::after(LOOK);
            if let Err(error) = reports.say(Report::Heartbeat(made(changed))) {
                journal::say(&format!("heartbeat: {error}"));
            }
            // Nine tenths of a minute and up to two tenths more.
            let due = self.wait(EVERY * 9 / 10 + randomness::jitter(EVERY / 5));
            changed = due == Some(Due::Changed);
            if changed && let Some(left) = looked.left() {
                std::thread::sleep(left);
            }
            if due.is_some() {
                std::thread::sleep(randomness::jitter(SOON));
            }
        }
    }
}

/// What the daemon knows for a heartbeat, beside the list and the findings.
#[derive(Debug, Clone)]
pub(super) struct Known<'a> {
    /// sshd's own words on its version.
    pub(super) openssh: &'a str,
    /// The log's newest head that was found consistent.
    pub(super) head: Option<(u64, Hash)>,
    /// Its note, if the CA shows an older one or another now.
    pub(super) ahead: Option<String>,
    /// Connections.
    pub(super) sessions: u32,
    /// Reports that wait.
    pub(super) spooled: usize,
}

/// The heartbeat of this moment.
pub(super) fn heartbeat(doctor: &Doctor<'_>, known: Known<'_>, found: Reported) -> Heartbeat {
    let (config, now) = (doctor.config, clock::now());
    let list = installed(&config.revoked_keys).ok();
    let state = State::read(&config.state).filter(|state| list.is_some_and(|list| list.hash == state.hash));
    Heartbeat {
        krl_version: list.map_or(0, |list| list.version),
        // One that nobody confirmed is as old as can be said.
        krl_age_s: state.map_or(now, |state| now.saturating_sub(state.signed_at)),
        head: known.head,
        ahead: known.ahead,
        mode: doctor.mode(),
        helper: env!("CARGO_PKG_VERSION").into(),
        openssh: known.openssh.into(),
        sessions: known.sessions,
        spooled: u32::try_from(known.spooled).unwrap_or(u32::MAX),
        drift: found.drift,
        strays: found.strays,
        more: found.more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_often_it_is_asked_for_it_is_one_heartbeat_and_a_change_is_not_lost_behind_news() {
        let beat = Beat::default();
        assert_eq!(beat.wait(Duration::ZERO), None);
        for _ in 0..100 {
            beat.changed();
            beat.now();
        }
        assert_eq!(beat.wait(Duration::ZERO), Some(Due::Changed));
        assert_eq!(beat.wait(Duration::ZERO), None);
        beat.now();
        assert_eq!(beat.wait(Duration::ZERO), Some(Due::News));
    }
}
