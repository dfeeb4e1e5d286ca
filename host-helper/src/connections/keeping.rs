//! Waits for the ends of connections and brings them about: a certificate's time, a revocation, a countdown,
//! a user who leaves. One thread waits, on the monitors themselves and on the next deadline; each end has a
//! thread of its own, since ending can take seconds and nobody else's must wait for that.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use fireaxe_protocol::host::{Confirmed, EndReason, Report, SessionClosed};
use fireaxe_protocol::limits;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Nonce;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::record::Record;
use super::{Listed, Live, Registry, State};
use crate::daemon::Connections;
use crate::journal::{Line, Severity};
use crate::processes::{Held, Others};
use crate::teardown::planted::{self, Findings, Look, Snapshot};
use crate::teardown::{ASKED, ASKED_WITHOUT_GRACE, Outcome, sweep};

/// See [`crate::daemon::Connections::keep`].
pub(super) fn keep(registry: &Registry) {
    loop {
        registry.take_up_waiting();
        let (watched, wait) = registry.round();
        let timeout = Timespec::try_from(wait).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let mut fds = vec![PollFd::new(&registry.0.wake, PollFlags::IN)];
        fds.extend(watched.iter().map(|held| PollFd::from_borrowed_fd(held.as_fd(), PollFlags::IN)));
        if poll(&mut fds, Some(&timeout)).is_err() {
            // A signal, or no memory: looked at again, and not at once.
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut woken = [0u8; 8];
        let _ = rustix::io::read(&registry.0.wake, &mut woken);
    }
}

impl Registry {
    /// Starts the ends that are due, says what is owed, gives what to wait for and how long.
    pub(super) fn round(&self) -> (Vec<Arc<Held>>, Duration) {
        let now = self.now();
        let mut wait = LONGEST;
        let mut watched = Vec::new();
        let (mut untold, mut unseen) = (Vec::new(), Vec::new());
        let mut state = self.state();
        let State { live, list, .. } = &mut *state;
        let mut any = false;
        for connection in live.values_mut().filter(|live| live.ending.is_none()) {
            any = true;
            if now.boot_ms < connection.record.life.opened.boot_ms.saturating_add(SETTLING_MS) {
                if connection.refresh() {
                    self.remember(&connection.record);
                }
                wait = wait.min(Duration::from_secs(1));
            }
            if let Some(awaited) = connection.record.awaited {
                let left = awaited.until_ms.saturating_sub(now.boot_ms);
                if left == 0 {
                    connection.record.awaited = None;
                    unseen.push(connection.record.connection);
                } else {
                    wait = wait.min(Duration::from_millis(left));
                }
            }
            let end = connection.record.life.end(now);
            let revoked = list.as_ref().is_some_and(|list| list.revokes(&connection.record));
            let why = if revoked {
                Some(EndReason::Revoked)
            } else if connection.monitor.as_ref().is_none_or(|monitor| has_ended(monitor)) {
                Some(EndReason::Left)
            } else {
                (end.in_ms == 0).then_some(end.why)
            };
            match why {
                None => {
                    wait = wait.min(Duration::from_millis(end.in_ms));
                    watched.extend(connection.monitor.clone());
                    let untold_yet = !connection.record.told && !connection.telling;
                    untold.extend(untold_yet.then_some(connection.record.connection));
                }
                Some(why) if self.start(connection, why) => {
                    if let (EndReason::Revoked, Some(list)) = (why, list.as_mut()) {
                        list.ended = list.ended.saturating_add(1);
                    }
                }
                // No thread can be had: others end, and then one can.
                Some(_) => wait = wait.min(Duration::from_secs(1)),
            }
        }
        let confirmed = confirmed(live.values(), list.as_ref());
        drop(state);
        for connection in untold {
            self.tell_opened(connection);
        }
        for connection in unseen {
            // Its recorder did not come back, and what it ran may go on.
            self.unrecorded(connection);
        }
        if let Some(confirmed) = confirmed {
            self.confirm(confirmed);
        }
        // With nobody there a wake is all there is to wait for; a clock that was set is looked at again.
        (watched, if any { wait.min(LOOK_AGAIN) } else { wait })
    }

    fn start(&self, live: &mut Live, why: EndReason) -> bool {
        if live.refresh() {
            self.remember(&live.record);
        }
        let (registry, record) = (self.clone(), live.record.clone());
        let thread = std::thread::Builder::new().name("ending".into());
        let started = thread.spawn(move || {
            let ending = Ending { registry, connection: record.connection };
            ending.registry.finish(&record, why);
        });
        let started = started.is_ok();
        if started {
            live.ending = Some(why);
        }
        started
    }

    /// Ends one connection, to its last process, and tells the CA.
    fn finish(&self, record: &Record, why: EndReason) {
        let connection = record.connection;
        let asked = if why == EndReason::Revoked { ASKED_WITHOUT_GRACE } else { ASKED };
        let sweep = || sweep(&record.mark, || self.others(connection), &self.0.setup.cgroups, asked);
        let first = sweep();
        self.wait_for_sessions(connection);
        let closed = self.close(record, why, first);
        self.say_until_taken(&Report::SessionClosed(closed));
        let mut outcome = first;
        while outcome.swept.left > outcome.servers {
            // Said once; tried until it is true: a list that revokes this is not confirmed before.
            if outcome == first {
                let sentence = format!(
                    "{} processes that came in with serial {} cannot be ended",
                    outcome.swept.left, record.serial
                );
                self.say_until_taken(&Report::Alarmed(Reason::new("session.left", sentence)));
            }
            std::thread::sleep(LOOK_AGAIN);
            outcome = sweep();
        }
        for cgroup in &record.mark.cgroups {
            self.0.setup.cgroups.remove(cgroup);
        }
        // A crash before the next line: the next daemon finds the connection without a monitor, sweeps, and
        // tells its end once more, under the same name.
        self.forget(connection);
        self.wake();
    }

    /// What the CA is told of an end.
    fn close(&self, record: &Record, why: EndReason, outcome: Outcome) -> SessionClosed {
        let connection = record.connection;
        let after = self.look(self.now().boot_ms, Look::AtTheEnd);
        if after.is_none() {
            let sentence =
                format!("what serial {} left behind was not looked for: that took too long", record.serial);
            self.say_until_taken(&Report::Alarmed(Reason::new("planted.not_looked", sentence)));
        }
        let mut state = self.state();
        let live = state.live.get_mut(&connection);
        let (before, recordings, more) = live.map_or((None, Vec::new(), 0), |live| {
            (live.before.take(), live.record.recordings.clone(), live.record.more)
        });
        drop(state);
        let opened_at = record.life.opened.wall_s;
        let Findings { mut planted, complete } =
            planted::since(before.as_deref(), after.as_deref(), opened_at);
        let unlisted = planted.len().saturating_sub(limits::REPORTED);
        planted.truncate(limits::REPORTED);
        Line::new("closed")
            .with("connection", connection)
            .with("serial", record.serial)
            .with("account", &record.account)
            .with("why", serde_json::to_string(&why).unwrap_or_default().trim_matches('"'))
            .with("terminated", outcome.swept.terminated)
            .with("killed", outcome.swept.killed)
            .with("left", outcome.swept.left)
            .with("planted", planted.len() + unlisted)
            .with("looked_everywhere", complete)
            .say(Severity::Info);
        SessionClosed {
            connection,
            serial: record.serial,
            at: self.now().wall_s,
            why,
            swept: outcome.swept,
            recordings,
            planted,
            more: more.saturating_add(u32::try_from(unlisted).unwrap_or(u32::MAX)),
        }
    }

    /// Recorders end with what they record; what they wrote last is on its way.
    fn wait_for_sessions(&self, connection: Nonce) {
        let running = |state: &mut State| state.live.get(&connection).is_some_and(|live| live.sessions > 0);
        let state = self.state();
        let _ = self.0.changed.wait_timeout_while(state, RECORDERS, running);
    }

    /// A disk that is full now may have room later; an end that nobody hears of has not happened.
    fn say_until_taken(&self, report: &Report) {
        while let Err(error) = self.0.setup.reports.say(report.clone()) {
            Line::new("report_waits").with("why", error).say(Severity::Warning);
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn confirm(&self, confirmed: Confirmed) {
        let version = confirmed.version;
        if self.0.setup.reports.say(Report::Confirmed(confirmed)).is_ok()
            && let Some(list) = self.state().list.as_mut().filter(|list| list.version == version)
        {
            list.confirmed = true;
        }
    }

    /// Everybody else's, at this moment.
    fn others(&self, connection: Nonce) -> Others {
        let mut others = Others { spared: BTreeSet::from([std::process::id()]), ..Others::default() };
        for live in self.state().live.values().filter(|live| live.record.connection != connection) {
            others.monitors.insert(live.record.mark.monitor);
            others.sessions.extend(live.record.mark.session);
            others.cgroups.extend(live.record.mark.cgroups.iter().cloned());
        }
        others
    }

    /// Forgets a connection that is over, or was not let in.
    pub(super) fn forget(&self, connection: Nonce) {
        self.state().live.remove(&connection);
        if let Err(error) = self.0.store.remove(connection) {
            Line::new("connection_not_forgotten")
                .with("connection", connection)
                .with("why", error)
                .say(Severity::Warning);
        }
    }

    /// Looks at the host's files beside the login, and remembers beyond the boot that it is there.
    pub(super) fn look_beside(&self, connection: Nonce) {
        let registry = self.clone();
        let thread = std::thread::Builder::new().name("look".into());
        let started = thread.spawn(move || {
            let record = registry.state().live.get(&connection).map(|live| live.record.clone());
            let Some(record) = record else { return };
            // A crash before this line: a boot that ends it is told by nobody.
            if let Err(error) = registry.0.store.trace(&record) {
                Line::new("connection_not_kept")
                    .with("connection", connection)
                    .with("why", error)
                    .say(Severity::Warning);
            }
            // One that is a little older than the connection is as good, and better.
            let before = registry.look(registry.now().boot_ms.saturating_sub(YOUNG_MS), Look::Beside);
            match registry.state().live.get_mut(&connection) {
                Some(live) => live.before = before,
                // It ended meanwhile, and its trace was removed before it was written.
                None => drop(registry.0.store.remove(connection)),
            }
        });
        // Without it the end is told by times alone.
        drop(started);
    }

    /// A look at the host's files that was begun not before `since_ms` (since boot); many that want one at
    /// once share it.
    fn look(&self, since_ms: u64, which: Look) -> Option<Arc<Snapshot>> {
        let mut newest = self.0.look.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((at, snapshot)) = newest.as_ref()
            && *at >= since_ms
        {
            return Some(snapshot.clone());
        }
        let at = self.now().boot_ms;
        let snapshot = Arc::new(planted::look(&self.0.setup.config, which)?);
        *newest = Some((at, snapshot.clone()));
        Some(snapshot)
    }
}

/// One end that is being brought about. When it is dropped with the connection still known, its thread
/// panicked: the end is begun again at the next look, and tells the same under the same name.
struct Ending {
    registry: Registry,
    connection: Nonce,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(live) = self.registry.state().live.get_mut(&self.connection) {
            live.ending = None;
        }
    }
}

impl Listed {
    /// Whether it revokes what the connection rests on.
    pub(super) fn revokes(&self, record: &Record) -> bool {
        record.life.serials.iter().any(|serial| self.list.is_revoked(&record.ca_key, *serial))
    }
}

/// The list's confirmation, once nothing that it revokes is there any more, and the CA does not know yet.
fn confirmed<'a>(mut live: impl Iterator<Item = &'a Live>, list: Option<&Listed>) -> Option<Confirmed> {
    let list = list.filter(|list| !list.confirmed)?;
    if live.any(|live| list.revokes(&live.record)) {
        return None;
    }
    let (version, krl) = (list.version, list.hash);
    Some(Confirmed { version, krl, in_force_at: list.in_force_at, ended: list.ended })
}

fn has_ended(monitor: &Held) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(monitor.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// With nobody there: until it is woken; this often for what the hook may have left.
const LONGEST: Duration = Duration::from_secs(60);
/// With somebody there, for clocks that are set meanwhile; and between tries of what does not succeed.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long PAM may take to give a login its audit session and its scope, milliseconds.
const SETTLING_MS: u64 = 10_000;
/// How old a first look may be, milliseconds.
const YOUNG_MS: u64 = 2_000;
/// How long recorders have to hand over what they wrote last.
const RECORDERS: Duration = Duration::from_secs(3);
