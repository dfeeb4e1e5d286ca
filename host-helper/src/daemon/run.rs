//! Starts everything, in an order in which nothing answers before it knows what was left, and waits.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fireaxe_protocol::host::Report;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::feed::{self, Feed, Following};
use super::heartbeat::{self, Beat, Known};
use super::lists::Lists;
use super::ready;
use super::renewal::Renewal;
use super::rooms::{Connections, Door, Rooms};
use super::socket::{self, Handler};
use super::threads::Threads;
use super::witness::Witness;
use super::words;
use crate::authority::Authority;
use crate::config::Config;
use crate::connections::{Registry, Setup, record};
use crate::doctor::{Doctor, Rounds, Version};
use crate::enrol;
use crate::error::HostError;
use crate::host_key::HostKey;
use crate::processes::Cgroups;
use crate::reports::Reports;
use crate::sink::{Limits, Recordings, Sealing};
use crate::spool::{Filled, Grown, Sender, Spool, Uploads, Voice};
use crate::teardown::Moment;
use crate::{apply, atomic, journal, status};

/// Where the daemon is found while it runs.
#[derive(Debug, Clone)]
pub struct Places {
    /// Its socket.
    pub socket: PathBuf,
    /// What is remembered of live connections; gone after a boot.
    pub connections: PathBuf,
}

impl Default for Places {
    fn default() -> Places {
        Places { socket: words::SOCKET.into(), connections: record::RUN.into() }
    }
}

/// What only the daemon knows, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Since when the feed is followed, unix seconds; nothing: it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub feed_since: Option<u64>,
    /// What waits for the CA.
    pub spool: Filled,
    /// Connections that are there.
    pub sessions: u32,
    /// Size of the log's newest head that was found consistent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub head: Option<u64>,
}

/// Runs the daemon. Returns only when it cannot go on: systemd starts it again.
pub fn run(config: Config, places: &Places) -> Result<HostError, HostError> {
    let config = Arc::new(config);
    let enrolled =
        config.enrolled.clone().ok_or_else(|| HostError::NotEnrolled(crate::config::PATH.into()))?;
    // Nothing of the key in a core file.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let _one = lock(&config.state)?;
    // An apply that a reboot cut off is taken back before anybody is let in by it.
    settle(&config);
    let key = Arc::new(HostKey::read(&enrolled.host_key)?);

    // Before what was left is taken up, which can take as long as there are recordings to close: sshd waits for
    // this, and nobody is to wait for that to log in without us. What is asked meanwhile waits, two seconds at
    // most, and then does what it does without a daemon.
    let threads = Threads::new();
    let listener = socket::bind(&places.socket)?;
    let door = Arc::new(Door::default());
    let handler: Arc<dyn Handler> = door.clone();
    threads.keep("socket", move || Err(socket::serve(&listener, &handler)))?;
    ready::say();

    // What the rooms stand on: the spool first, since all of them report.
    let voice = Voice { key: key.clone(), origin: config.origin.clone(), host: enrolled.host.clone() };
    let spool = Arc::new(Spool::open(&config.state.join("spool"), voice, enrol::enrolment(&config.state))?);
    let reports: Arc<dyn Reports> = spool.clone();
    let (witness, damaged) = Witness::open(&config.state, enrolled.log_key.clone(), config.origin.clone());
    if let Some(alarm) = damaged {
        // Not kept: the journal has it. A full disk is no reason to leave logins without a daemon.
        let _ = reports.say(Report::Alarmed(alarm));
    }
    let witness = Arc::new(Mutex::new(witness));
    let recordings = config.state.join("recordings");
    let grown = Arc::new(Grown::default());
    let wakes = grown.clone();
    let (sink, left) = Recordings::open(
        &recordings,
        enrolled.host.clone(),
        Sealing::to(enrolled.auditors.as_deref()),
        Limits::default(),
        reports.clone(),
        move || wakes.grew(),
    )?;
    let setup = Setup {
        config: config.clone(),
        reports: reports.clone(),
        run: places.connections.clone(),
        cgroups: Cgroups::find(),
        now: Moment::now,
    };
    let connections: Arc<dyn Connections> = Arc::new(Registry::open(setup)?);
    for found in left {
        connections.left_open(found.connection, found.recorded);
    }
    let following = Arc::new(Following::default());
    let beat = Arc::new(Beat::default());
    let lists = Arc::new(Lists::new(config.clone(), connections.clone(), reports.clone(), beat.clone()));
    // Before anybody is let in: what this list revokes must not be alive.
    lists.settle(Ok(()));

    let live = {
        let (following, spool, connections, witness) =
            (following.clone(), spool.clone(), connections.clone(), witness.clone());
        move || Live {
            feed_since: following.since(),
            spool: spool.filled(),
            sessions: connections.count(),
            head: witness.lock().unwrap_or_else(PoisonError::into_inner).head().map(|(size, _)| size),
        }
    };
    let kept = connections.clone();
    threads.keep("deadlines", move || {
        kept.keep();
        Ok(())
    })?;
    let applied = config.clone();
    threads.keep("apply", move || {
        loop {
            std::thread::sleep(SETTLE);
            settle(&applied);
        }
    })?;
    let asked = config.clone();
    let shown = live.clone();
    let answers = move || {
        let status = status::status(&asked, crate::clock::now()).with(Some(shown()));
        serde_json::to_value(status).unwrap_or_default()
    };
    let beats = beat.clone();
    let rooms = Rooms::new(connections.clone(), Arc::new(sink), answers).telling(move || beats.changed());
    door.open(rooms);

    // From here on the CA is asked; logins go on whatever comes of it.
    let authority = {
        let (config, enrolled, key) = (config.clone(), enrolled.clone(), key.clone());
        move || Authority::new(&config, &enrolled, key.clone())
    };
    let (spooled, asks) = (spool.clone(), authority.clone());
    threads.keep("sender", move || {
        Sender::new(spooled.clone(), asks()?).run();
        Ok(())
    })?;
    let (said, asks) = (reports.clone(), authority.clone());
    threads.keep("uploads", move || {
        Uploads::new(recordings.clone(), grown.clone(), said.clone(), asks()?).run();
        Ok(())
    })?;
    let (asks, kept, known, seen, spooled, since) = (
        authority.clone(),
        lists.clone(),
        connections.clone(),
        witness.clone(),
        spool.clone(),
        following.clone(),
    );
    let news = beat.clone();
    threads.keep("feed", move || {
        let feed = Feed {
            authority: asks()?,
            lists: kept.clone(),
            connections: known.clone(),
            witness: seen.clone(),
            spool: spooled.clone(),
            following: since.clone(),
            beat: news.clone(),
        };
        feed.run()
    })?;
    threads.keep("poll", move || feed::poll(&lists))?;
    let (said, shown, seen) = (reports.clone(), config.clone(), witness);
    let openssh = Version::ask(Path::new(SSHD)).words;
    let rounds = Mutex::new(Rounds::default());
    threads.keep("heartbeat", move || {
        beat.run(&*said, |changed| {
            let (head, ahead) = {
                let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                (seen.head(), seen.ahead())
            };
            let live = live();
            let known = Known {
                openssh: &openssh,
                head,
                ahead,
                sessions: live.sessions,
                spooled: live.spool.reports,
            };
            let doctor = Doctor { config: &shown, sshd: Path::new(SSHD) };
            let mut rounds = rounds.lock().unwrap_or_else(PoisonError::into_inner);
            let found = rounds.reported(&doctor, crate::clock::now(), changed);
            heartbeat::heartbeat(&doctor, known, found)
        })
    })?;
    threads.keep("renewal", move || {
        Renewal {
            authority: authority()?,
            enrolled: enrolled.clone(),
            key: key.clone(),
            reports: reports.clone(),
        }
        .run()
    })?;
    journal::say("runs");
    Ok(threads.wait())
}

/// The server, where every package puts it.
const SSHD: &str = "/usr/sbin/sshd";

/// How often it is looked whether an apply was left unfinished. Without systemd its timer is a process of the
/// session that it was started from, and ends with that.
const SETTLE: Duration = Duration::from_secs(60);

/// Takes an apply back that nobody works on any more.
fn settle(config: &Config) {
    match apply::settle(config, Path::new(SSHD)) {
        Ok(true) => journal::say("an apply had not come to its end: its changes were taken back"),
        Ok(false) => {}
        Err(error) => journal::say(&format!("an apply that had not come to its end is still there: {error}")),
    }
}

/// Only one daemon has the state. Released when its process ends, however.
fn lock(state: &Path) -> Result<File, HostError> {
    atomic::folder(state)?;
    let path = state.join("daemon.lock");
    let failed = |error: std::io::Error| HostError::write(&path, &error);
    let file =
        File::options().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(HostError::Running(path)),
        Err(error) => Err(HostError::write(&path, &error.into())),
    }
}
