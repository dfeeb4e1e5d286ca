//! Who is connected with a certificate of ours, until when, and how that ends: the registry that the daemon
//! keeps. One SSH connection is one entry, however many sessions it carries, `ssh -N` too.
//!
//! | file | what it does |
//! |---|---|
//! | `mod` | the registry's face: what is asked of it, and who may ask |
//! | `admit` | a certificate came in: who says so, judged again, remembered, told |
//! | `keeping` | waits for ends and brings them about |
//! | [`record`] | what is remembered across a restart |
//! | `account` | an account's number and shell |
//!
//! What ends when is [`crate::teardown`]'s; which processes belong [`crate::processes`]'s; whether a certificate
//! is good [`crate::login::judge`]'s. Nothing here believes a process about itself: the kernel says who asks
//! and whose child that is.
//!
//! | limit | | why |
//! |---|---|---|
//! | [`CONNECTIONS`] | 1,024 | a descriptor each; a daemon has 4,096 or more |
//! | [`ENDING`] beside them | 1,024 | a thread each, until the disk takes what is told of them |
//! | [`RECORDERS`] | 1,024 | a descriptor and a thread each |
//! | [`SESSIONS`] of one connection | 64 | sshd's `MaxSessions` is 10 |
//! | of those of all, one person | half of what others leave | `shares` |
//! | [`SERIALS`] of one connection | 32 | one for each time that it was given more time |
//! | [`HINTS`] | 256 | logins under way |

mod account;
mod admit;
mod keeping;
pub mod record;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use fireaxe_protocol::api::FeedClosing;
use fireaxe_protocol::host::{EndReason, Recorded, SessionCommand};
use fireaxe_protocol::krl::RevocationList;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::PersonName;
use fireaxe_protocol::policy::Record as Recording;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Nonce;
use rustix::event::{EventfdFlags, eventfd};

use crate::config::Config;
use crate::daemon::socket::Peer;
use crate::daemon::words::{Answer, Notice, Run, Terminal};
use crate::daemon::{Begun, Connections, Considering, InForce, Opening, Took};
use crate::error::HostError;
use crate::journal::{Line, Severity};
use crate::processes::belonging::descends;
use crate::processes::{Cgroups, Held, Process};
use crate::randomness;
use crate::reports::Reports;
use crate::shares;
use crate::teardown::planted::Snapshot;
use crate::teardown::{End, Moment};
use account::{Accounts, NoAnswer};
use record::{Record, Store};

/// Connections at once.
pub const CONNECTIONS: usize = 1024;
/// Connections beside them that are over and not told yet.
pub const ENDING: usize = 1024;
/// Sessions of all connections that have a recorder, at once.
pub const RECORDERS: usize = 1024;
/// Sessions of one connection at once.
pub const SESSIONS: usize = 64;
/// Serials that one connection may have come to rest on.
pub const SERIALS: usize = 32;
/// Certificates that were considered and may come in.
pub const HINTS: usize = 256;

/// What a registry stands on.
pub struct Setup {
    /// The host's configuration.
    pub config: Arc<Config>,
    /// Where the CA's news go.
    pub reports: Arc<dyn Reports>,
    /// Where live connections are remembered: [`record::RUN`].
    pub run: PathBuf,
    /// Whether connections can have cgroups of their own.
    pub cgroups: Cgroups,
    /// This host's clocks.
    pub now: fn() -> Moment,
}

/// The registry. Cheap to clone: one registry, many hands.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    setup: Setup,
    store: Store,
    state: Mutex<State>,
    accounts: Accounts,
    /// A session ended.
    changed: Condvar,
    /// Wakes whoever keeps.
    wake: OwnedFd,
    /// The newest look at the host's files, and when it was begun (milliseconds since boot).
    look: Mutex<Option<(u64, Arc<Snapshot>)>>,
}

#[derive(Default)]
struct State {
    live: BTreeMap<Nonce, Live>,
    list: Option<Listed>,
    closing: Vec<FeedClosing>,
    hints: VecDeque<(u32, Option<u64>)>,
}

impl State {
    /// How much of something all others hold, and how much this person does. What is over and only not told yet is
    /// nobody's: a disk that takes no report must not shut out who ended everything.
    fn held(&self, person: Option<&PersonName>, what: impl Fn(&Live) -> usize) -> (usize, usize) {
        let alive = self.live.values().filter(|live| live.ending.is_none());
        alive.fold((0, 0), |(others, mine), live| match live.record.person.as_ref() == person {
            true => (others, mine + what(live)),
            false => (others + what(live), mine),
        })
    }
}

/// A connection, with what is not remembered.
struct Live {
    record: Record,
    /// Its monitor; `None`: it is gone.
    monitor: Option<Arc<Held>>,
    /// Recorders that run.
    sessions: usize,
    told: Vec<Sender<Notice>>,
    before: Option<Arc<Snapshot>>,
    ending: Option<EndReason>,
    /// Whoever registered it tells the CA of it just now: nobody else does.
    telling: bool,
}

/// The list that sshd reads.
struct Listed {
    list: RevocationList,
    version: u64,
    hash: Hash,
    in_force_at: u64,
    /// Whether the CA knows that nothing of it is alive.
    confirmed: bool,
    /// Connections that it ended.
    ended: u32,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("connections", &self.state().live.len()).finish()
    }
}

impl Registry {
    /// Takes up what a daemon before this one left, and tells what a boot ended. Nothing is ended before
    /// [`Connections::keep`].
    pub fn open(setup: Setup) -> Result<Registry, HostError> {
        let store = Store::open(&setup.run, &setup.config.state)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| HostError::read("eventfd".as_ref(), &errno.into()))?;
        let registry = Registry(Arc::new(Inner {
            setup,
            store,
            state: Mutex::default(),
            accounts: Accounts::default(),
            changed: Condvar::new(),
            wake,
            look: Mutex::default(),
        }));
        registry.take_up();
        Ok(registry)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a thread that panicked left is whole: each change is one assignment.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        (self.0.setup.now)()
    }

    fn wake(&self) {
        // A counter that is full wakes, too.
        let _ = rustix::io::write(&self.0.wake, &1u64.to_ne_bytes());
    }

    /// Remembers; a host that cannot goes on without: what is lost is a restart's knowledge.
    fn remember(&self, record: &Record) -> bool {
        let kept = self.0.store.write(record);
        if let Err(error) = &kept {
            Line::new("connection_not_kept")
                .with("connection", record.connection)
                .with("why", error)
                .say(Severity::Warning);
        }
        kept.is_ok()
    }

    /// Which connection a process came in with, by its ancestors and its audit session.
    fn of(&self, peer: Peer) -> Option<Nonce> {
        // Only while the number is still the asker's: else it is another's ancestors that are looked at.
        let read = |pid: u32| match pid == peer.process.pid {
            true => peer.process.read(),
            false => Process::read(pid),
        };
        for live in self.state().live.values_mut() {
            live.refresh();
            if descends(peer.process.pid, read, &live.record.mark) {
                return Some(live.record.connection);
            }
        }
        None
    }
}

impl Connections for Registry {
    fn considered(&self, peer: Peer, considering: Considering) {
        // Anybody may say this: it is a hint, and believed only from a child of the monitor it names.
        let parent = peer.process.read().map(|process| process.parent);
        if considering.refused.is_none() && parent == Some(considering.monitor) {
            let mut state = self.state();
            state.hints.push_back((considering.monitor, considering.serial));
            while state.hints.len() > HINTS {
                state.hints.pop_front();
            }
        }
    }

    fn opened(&self, peer: Peer, opening: Opening) -> Answer {
        match self.admit(peer, &opening) {
            Ok(connection) => Answer::Registered { connection },
            Err(reason) => {
                // A daemon that hung answers hooks that are gone: what they left is looked for now.
                self.wake();
                Answer::Refused(reason)
            }
        }
    }

    fn begin(&self, peer: Peer, _: Option<&Terminal>, _: Option<&str>) -> Result<Begun, Reason> {
        let refuse = |code: &str, sentence: &str| Err(Reason::new(code, sentence));
        let Some(connection) = self.of(peer) else {
            return refuse("session.unknown", "this process came in with no connection of an emergency");
        };
        let recording =
            randomness::nonce().map_err(|error| Reason::new("session.no_randomness", error.to_string()))?;
        let known = |live: &Live| (live.record.account.clone(), live.record.person.clone());
        let Some((came_as, person)) = self.state().live.get(&connection).map(known) else {
            return refuse("session.over", "its connection is over");
        };
        let account = match self.0.accounts.look_up(&came_as) {
            Ok(Some(account)) => account,
            Ok(None) => {
                return refuse("session.no_account", &format!("this host knows no account {came_as}"));
            }
            Err(NoAnswer) => {
                let why = format!("this host's name service does not say who {came_as} is: try again");
                return refuse("session.no_account", &why);
            }
        };
        let mut state = self.state();
        let (others, mine) = state.held(person.as_ref(), |live| live.sessions);
        let Some(live) = state.live.get_mut(&connection) else {
            return refuse("session.over", "its connection is over");
        };
        if account.uid != peer.uid {
            return refuse("session.other_user", "it runs as another user than its connection's account");
        }
        if live.ending.is_some() {
            return refuse("session.over", "its connection is ending");
        }
        if live.sessions >= SESSIONS {
            return refuse("session.too_many", "its connection carries too many sessions");
        }
        if others + mine >= RECORDERS {
            return refuse("session.too_many_of_all", "this host carries too many sessions");
        }
        if !shares::has_one_more(RECORDERS, others, mine) {
            let why = format!(
                "{mine} sessions of yours run on this host, half of what others leave: end some, then try again"
            );
            return refuse("session.too_many_of_one", &why);
        }
        let record = &live.record;
        let serial = record.serial;
        let from = Some(record.from).filter(|from| !from.is_unspecified());
        let command = match record.force_command.as_deref().map(|text| (SessionCommand::read(text), text)) {
            Some((Some(SessionCommand::Run(command)), _)) => Some(command),
            Some((None, command)) => Some(command.to_owned()),
            Some((Some(SessionCommand::Shell), _)) | None => None,
        };
        let End { at: until, .. } = record.life.end(self.now());
        let run = Run {
            recording,
            command,
            shell: account.shell,
            record: record.record,
            emergency: record.life.emergency,
            tier: record.tier.clone(),
            until,
        };
        if live.record.came_back() {
            self.remember(&live.record);
        }
        if live.told.len() >= SESSIONS {
            // Those that are over are forgotten when they are told something.
            live.tell(Notice::Goes { until });
        }
        let (to, notices) = channel();
        live.sessions += 1;
        live.told.push(to);
        Ok(Begun { connection, serial, account: came_as, person, from, run, notices })
    }

    fn missed(&self) {
        self.wake();
    }

    fn ended(&self, connection: Nonce, took: Took) {
        let mut state = self.state();
        if let Some(live) = state.live.get_mut(&connection) {
            live.sessions = live.sessions.saturating_sub(1);
            if let Some(recorded) = took.recorded {
                match live.record.recordings.len() < limits::REPORTED {
                    true => live.record.recordings.push(recorded),
                    false => live.record.more = live.record.more.saturating_add(1),
                }
                self.remember(&live.record);
            }
        }
        drop(state);
        self.0.changed.notify_all();
        if took.unrecorded {
            self.unrecorded_since(connection, self.now().before(took.since));
        }
    }

    fn left_open(&self, connection: Nonce, recorded: Recorded) {
        let now = self.now();
        if let Some(live) = self.state().live.get_mut(&connection) {
            live.record.await_recorders(1, now);
        }
        // Remembers both.
        self.ended(connection, Took { recorded: Some(recorded), ..Took::default() });
    }

    fn listed(&self, list: InForce<'_>) {
        let read = match RevocationList::read(list.bytes) {
            Ok(read) => read,
            Err(error) => {
                Line::new("list_unreadable")
                    .with("version", list.version)
                    .with("why", error)
                    .say(Severity::Warning);
                return;
            }
        };
        let mut state = self.state();
        // Ended for a list that was not confirmed yet: counted for this one, which revokes them too.
        let ended = state.list.as_ref().filter(|before| !before.confirmed).map_or(0, |before| before.ended);
        state.list = Some(Listed {
            list: read,
            version: list.version,
            hash: list.hash,
            in_force_at: list.at,
            confirmed: false,
            ended,
        });
        drop(state);
        self.wake();
    }

    fn closing(&self, closing: Vec<FeedClosing>) {
        let now = self.now();
        let mut state = self.state();
        for live in state.live.values_mut().filter(|live| live.ending.is_none()) {
            if live.record.life.closing(&closing, now) {
                self.remember(&live.record);
                let end = live.record.life.end(now);
                live.tell(match live.record.life.closing {
                    Some(_) => Notice::Ends { at: end.at, why: "its emergency is closing".into() },
                    None => Notice::Goes { until: end.at },
                });
            }
        }
        state.closing = closing;
        drop(state);
        self.wake();
    }

    fn extended(&self, certificates: &[Vec<u8>]) {
        for certificate in certificates {
            self.lengthen(certificate);
        }
    }

    fn unrecorded(&self, connection: Nonce) {
        self.unrecorded_since(connection, self.now());
    }

    fn count(&self) -> u32 {
        u32::try_from(self.state().live.len()).unwrap_or(u32::MAX)
    }

    fn keep(&self) {
        keeping::keep(self);
    }
}

impl Registry {
    /// It must be recorded and has not been since then: it has a minute from there.
    fn unrecorded_since(&self, connection: Nonce, since: Moment) {
        let mut state = self.state();
        if let Some(live) = state.live.get_mut(&connection)
            && live.record.record == Recording::Required
            && live.record.life.unrecorded.is_none()
        {
            live.record.life.unrecorded = Some(since);
            self.remember(&live.record);
            let at = live.record.life.end(self.now()).at;
            live.tell(Notice::Ends { at, why: "it must be recorded and cannot be any more".into() });
        }
        drop(state);
        self.wake();
    }
}

impl Live {
    fn of(record: Record, monitor: Option<Arc<Held>>) -> Live {
        Live { record, monitor, sessions: 0, told: Vec::new(), before: None, ending: None, telling: false }
    }

    /// Tells every session of it; those that are over are forgotten.
    fn tell(&mut self, notice: Notice) {
        self.told.retain(|to| to.send(notice.clone()).is_ok());
    }

    /// Reads again what ties processes to it; gives whether anything is new.
    fn refresh(&mut self) -> bool {
        self.record.mark.refresh()
    }
}

#[cfg(test)]
mod tests;
