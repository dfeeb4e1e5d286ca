//! The thread that says how this host is: at the start, once a minute, and soon after each new list.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use fireaxe_protocol::host::{Heartbeat, Mode, Report};
use fireaxe_protocol::log::Hash;

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
/// Bytes of sshd's own words on its version.
const VERSION: usize = 64;

/// Says when a heartbeat is due before its time.
#[derive(Debug, Default)]
pub(super) struct Beat {
    due: Mutex<bool>,
    woken: Condvar,
}

impl Beat {
    /// Something in the next heartbeat is news.
    pub(super) fn now(&self) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.woken.notify_one();
    }

    /// Waits; whether it was asked for.
    fn wait(&self, time: Duration) -> bool {
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.woken.wait_timeout_while(due, time, |due| !*due);
        std::mem::take(&mut *waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Says what `made` makes, for ever.
    pub(super) fn run(&self, reports: &dyn Reports, made: impl Fn() -> Heartbeat) -> Result<(), HostError> {
        loop {
            if let Err(error) = reports.say(Report::Heartbeat(made())) {
                journal::say(&format!("heartbeat: {error}"));
            }
            // Nine tenths of a minute and up to two tenths more.
            if self.wait(EVERY * 9 / 10 + randomness::jitter(EVERY / 5)) {
                std::thread::sleep(randomness::jitter(SOON));
            }
        }
    }
}

/// What the daemon knows for a heartbeat, beside the list and the findings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// sshd's own words on its version.
    pub(super) openssh: &'a str,
    /// The log's newest head that was found consistent.
    pub(super) head: Option<(u64, Hash)>,
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
        mode: doctor.mode().unwrap_or(Mode::Stock),
        helper: env!("CARGO_PKG_VERSION").into(),
        openssh: known.openssh.into(),
        sessions: known.sessions,
        spooled: u32::try_from(known.spooled).unwrap_or(u32::MAX),
        drift: found.drift,
        strays: found.strays,
        more: found.more,
    }
}

/// sshd's own words on its version: what `sshd -V` prints, or, before 9.3, the usage of an unknown option.
pub(super) fn openssh() -> String {
    let said = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"]
        .into_iter()
        .find_map(|sshd| std::process::Command::new(sshd).arg("-V").output().ok());
    let text = said.map(|said| [said.stderr, said.stdout].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find(|line| line.contains("OpenSSH")).unwrap_or("unknown");
    line.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(VERSION).collect()
}
