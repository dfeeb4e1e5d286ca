//! A certificate came in. Who says so is what the kernel says: root, as a child of an sshd, which is the
//! connection's monitor. The certificate is judged again, by what is true here and now.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::host::{EndReason, Report, SessionClosed, SessionOpened, Swept};
use fireaxe_protocol::names::AccountName;
use fireaxe_protocol::policy::Record as Recording;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Nonce;

use super::record::{Record, Waiting};
use super::{CONNECTIONS, ENDING, Live, Registry, SERIALS};
use crate::daemon::Opening;
use crate::daemon::socket::Peer;
use crate::daemon::words::Notice;
use crate::journal::{Line, Severity};
use crate::login::judge::{self, Admitted};
use crate::login::known::Known;
use crate::processes::{Held, Mark, Process, ProcessId};
use crate::teardown::{self, Life};
use crate::{files, randomness, shares};

/// Whoever registered a connection tells the CA of it, and nobody else. When this is dropped, also by a panic, it
/// is whoever keeps that tells what is untold.
struct Telling<'a> {
    registry: &'a Registry,
    connection: Nonce,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if let Some(live) = self.registry.state().live.get_mut(&self.connection) {
            live.telling = false;
        }
        if std::thread::panicking() {
            self.registry.wake();
        }
    }
}

impl Registry {
    /// Registers the connection whose hook asks. The answer comes once the host remembers it and the CA's
    /// report is on the disk.
    pub(super) fn admit(&self, peer: Peer, opening: &Opening) -> Result<Nonce, Reason> {
        let admitted = self.monitor_of(peer).and_then(|monitor| {
            let certificate = STANDARD
                .decode(&opening.certificate)
                .map_err(|_| Reason::new("login.not_ours", "what the hook sent is not base64"))?;
            self.register(monitor, &opening.account, &opening.from, &certificate)
        });
        let (severity, why) = match &admitted {
            Ok(_) => (Severity::Info, None),
            Err(reason) => (Severity::Warning, Some(reason)),
        };
        Line::new("opened")
            .with("verdict", if why.is_none() { "admitted" } else { "refused" })
            .with("account", &opening.account)
            .with("from", &opening.from)
            .with_some("connection", admitted.as_ref().ok())
            .with_some("reason", why.map(|reason| &reason.code))
            .with_some("why", why.map(|reason| &reason.sentence))
            .say(severity);
        admitted
    }

    /// sshd's process for the connection: the parent of the hook, root's, and an sshd.
    fn monitor_of(&self, peer: Peer) -> Result<ProcessId, Reason> {
        if peer.uid != 0 {
            return Err(Reason::new("peer.not_root", "only root's hook may say that"));
        }
        let monitor = peer.process.read().and_then(|hook| Process::read(hook.parent));
        match monitor {
            Some(monitor) if monitor.is_sshd() && monitor.uid() == Some(0) => Ok(monitor.id),
            Some(_) => Err(Reason::new("peer.not_sshd", "who asks was not started by sshd")),
            None => Err(Reason::new("peer.gone", "who asks is gone")),
        }
    }

    /// Registers a connection by its monitor.
    pub(super) fn register(
        &self,
        monitor: ProcessId,
        account: &AccountName,
        from: &str,
        certificate: &[u8],
    ) -> Result<Nonce, Reason> {
        let admitted = self.judge(certificate, account)?;
        let held = Held::of(monitor).ok_or_else(|| Reason::new("peer.gone", "its connection is over"))?;
        let connection =
            randomness::nonce().map_err(|error| Reason::new("login.no_randomness", error.to_string()))?;
        let mut state = self.state();
        if let Some(known) = state.live.values().find(|live| live.record.mark.monitor == monitor) {
            // Asked again: one connection, one entry.
            return match known.record.serial == admitted.serial {
                true => Ok(known.record.connection),
                false => Err(Reason::new("login.twice", "the connection came in with another certificate")),
            };
        }
        let (others, mine) = state.held(admitted.person.as_ref(), |_| 1);
        if others + mine >= CONNECTIONS || state.live.len() >= CONNECTIONS + ENDING {
            return Err(Reason::new("login.too_many", format!("{CONNECTIONS} connections are there")));
        }
        if !shares::has_one_more(CONNECTIONS, others, mine) {
            let why = format!(
                "the same person has {mine} connections here, half of what others leave: end some, then try again"
            );
            return Err(Reason::new("login.too_many_of_one", why));
        }
        let now = self.now();
        let mut record = record_of(connection, monitor, account, from, &admitted, now);
        record.life.closing(&state.closing, now);
        if state.list.as_ref().is_some_and(|list| list.revokes(&record)) {
            return Err(Reason::new("login.revoked", "its serial is revoked"));
        }
        let seen = state.hints.iter().any(|hint| *hint == (monitor.pid, Some(admitted.serial)));
        if !seen {
            // Said, not held against it: a daemon that was away heard nothing.
            let line = Line::new("not_considered").with("connection", connection);
            line.with("serial", admitted.serial).with("monitor", monitor.pid).say(Severity::Info);
        }
        record.mark.cgroups.extend(self.0.setup.cgroups.own(connection, monitor.pid));
        let mut live = Live { telling: true, ..Live::of(record, Some(Arc::new(held))) };
        live.refresh();
        // A crash before this line: the hook hears nothing, and refuses or leaves a file. After it: the
        // next daemon finds the connection and tells the CA.
        self.remember(&live.record);
        let required = live.record.record == Recording::Required;
        state.live.insert(connection, live);
        drop(state);
        let telling = Telling { registry: self, connection };
        let told = self.tell_opened(connection);
        drop(telling);
        if required && !told {
            self.forget(connection);
            return Err(Reason::new("login.not_told", "the CA cannot be told: nothing more fits the spool"));
        }
        self.look_beside(connection);
        self.wake();
        Ok(connection)
    }

    fn judge(&self, certificate: &[u8], account: &AccountName) -> Result<Admitted, Reason> {
        let config = &self.0.setup.config;
        let user_ca = files::read_user_ca(&config.user_ca)
            .map_err(|error| Reason::new("login.no_ca", error.to_string()))?;
        let known = Known::of(config, user_ca);
        judge::judge(certificate, account, &known.here(config, self.now().wall_s))
            .map_err(|refusals| judge::reason(&refusals))
    }

    /// A certificate was issued that gives more time: connections of the same key, in the same emergency and
    /// tier, go on until its end. Its own proof is all that is believed.
    pub(super) fn lengthen(&self, certificate: &[u8]) {
        let candidates: Vec<(Nonce, AccountName)> = {
            let state = self.state();
            let alive = state.live.values().filter(|live| live.ending.is_none());
            alive.map(|live| (live.record.connection, live.record.account.clone())).collect()
        };
        let now = self.now();
        for (connection, account) in candidates {
            let Ok(admitted) = self.judge(certificate, &account) else { continue };
            let mut state = self.state();
            let revoked = state.list.as_ref().is_some_and(|list| {
                admitted.serials().iter().any(|serial| list.list.is_revoked(&admitted.ca_key, *serial))
            });
            let Some(live) = state.live.get_mut(&connection).filter(|_| !revoked) else { continue };
            if lengthens(&mut live.record, &admitted) {
                self.remember(&live.record);
                let until = live.record.life.end(now).at;
                live.tell(Notice::Goes { until });
            }
        }
        self.wake();
    }

    /// Tells the CA that a connection was opened, once; gives whether that is on the disk.
    pub(super) fn tell_opened(&self, connection: Nonce) -> bool {
        let Some(record) = self.state().live.get(&connection).map(|live| live.record.clone()) else {
            return false;
        };
        if record.told {
            return true;
        }
        let opened = SessionOpened {
            connection,
            serial: record.serial,
            account: record.account.clone(),
            from: record.from,
            at: record.life.opened.wall_s,
            record: record.record,
        };
        if self.0.setup.reports.opened(opened, record.person.as_ref()).is_err() {
            return false;
        }
        // A crash here: it is told once more, under the same name.
        if let Some(live) = self.state().live.get_mut(&connection) {
            live.record.told = true;
            self.remember(&live.record);
        }
        true
    }

    /// What a daemon before this one left, and what a boot ended.
    pub(super) fn take_up(&self) {
        for mut record in self.0.store.records() {
            // Whoever had not come back to the last daemon could not, while there was none.
            record.await_recorders(0, self.now());
            let monitor = Held::of(record.mark.monitor).map(Arc::new);
            let live = Live::of(record, monitor);
            self.state().live.insert(live.record.connection, live);
        }
        for trace in self.0.store.traces_of_other_boots() {
            let closed = SessionClosed {
                connection: trace.connection,
                serial: trace.serial,
                at: self.now().wall_s,
                why: EndReason::Restarted,
                swept: Swept::default(),
                recordings: Vec::new(),
                planted: Vec::new(),
                more: 0,
            };
            if self.0.setup.reports.say(Report::SessionClosed(closed)).is_ok() {
                // A crash here: it is told once more, under the same name.
                let _ = self.0.store.remove(trace.connection);
            }
        }
    }

    /// Registers what the hook left while no daemon answered. What is not admitted now, or over by now, is
    /// ended: the hook let it in on its own.
    pub(super) fn take_up_waiting(&self) {
        for (path, waiting) in self.0.store.waiting() {
            let certificate = STANDARD.decode(&waiting.certificate).unwrap_or_default();
            let monitor = waiting.mark.monitor;
            let registered = self.register(monitor, &waiting.account, &waiting.from, &certificate);
            let line =
                Line::new("opened_before").with("account", &waiting.account).with("monitor", monitor.pid);
            match registered {
                Ok(connection) => line.with("connection", connection).say(Severity::Info),
                Err(reason) => {
                    let ending = self.take_to_end(waiting, &certificate);
                    if ending.is_none() {
                        teardown::hang_up(monitor);
                    }
                    line.with_some("connection", ending)
                        .with("reason", reason.code)
                        .with("why", reason.sentence)
                        .say(Severity::Warning);
                }
            }
            // A crash before this line: it is looked at again, and known.
            let _ = crate::atomic::remove(&path);
        }
    }

    /// Takes up a connection only to end it: it is told, swept and told again like any other. `None`: it is
    /// known already, or its certificate says nothing that could be told; then its monitor is all there is.
    fn take_to_end(&self, waiting: Waiting, certificate: &[u8]) -> Option<Nonce> {
        let Waiting { mark, account, from, at, .. } = waiting;
        let claimed = judge::claimed(certificate)?;
        let connection = randomness::nonce().ok()?;
        let mut state = self.state();
        if state.live.values().any(|live| live.record.mark.monitor == mark.monitor) {
            return None;
        }
        let now = self.now();
        let opened = teardown::Moment { wall_s: at.min(now.wall_s), ..now };
        let mut record = record_of(connection, mark.monitor, &account, &from, &claimed, opened);
        record.life.refused = true;
        record.mark = mark;
        let monitor = Held::of(record.mark.monitor).map(Arc::new);
        self.remember(&record);
        let live = Live::of(record, monitor);
        state.live.insert(connection, live);
        drop(state);
        self.tell_opened(connection);
        Some(connection)
    }
}

pub(super) fn record_of(
    connection: Nonce,
    monitor: ProcessId,
    account: &AccountName,
    from: &str,
    admitted: &Admitted,
    now: teardown::Moment,
) -> Record {
    let (address, _) = from.split_once('%').unwrap_or((from, ""));
    Record {
        connection,
        account: account.clone(),
        from: address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        serial: admitted.serial,
        ca_key: admitted.ca_key,
        public_key: admitted.public_key,
        person: admitted.person.clone(),
        tier: admitted.terms.tier.clone(),
        record: admitted.terms.record,
        force_command: admitted.force_command.clone(),
        mark: Mark { monitor, session: None, cgroups: Vec::new() },
        life: Life {
            opened: now,
            until: admitted.until(),
            serials: admitted.serials(),
            emergency: admitted.emergency,
            grace_s: admitted.terms.grace_s,
            closing: None,
            unrecorded: None,
            refused: false,
        },
        told: false,
        recordings: Vec::new(),
        more: 0,
        awaited: None,
    }
}

/// Whether a later certificate lets the connection go on, and how long: only one of the same key, emergency,
/// person and tier that is recorded and forced alike.
fn lengthens(record: &mut Record, later: &Admitted) -> bool {
    let same = later.public_key == record.public_key
        && later.emergency.is_some()
        && later.emergency == record.life.emergency
        && later.person == record.person
        && later.terms.tier == record.tier
        && later.terms.record == record.record
        && later.force_command == record.force_command
        && later.ca_key == record.ca_key;
    let longer = later.until() > record.life.until && record.life.serials.len() < SERIALS;
    if same && longer {
        record.life.until = later.until();
        let new: Vec<u64> =
            later.serials().into_iter().filter(|s| !record.life.serials.contains(s)).collect();
        record.life.serials.extend(new);
    }
    same && longer
}
