//! `serve`: opens everything, refuses to start half-able, runs until told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use fireaxe_protocol::log::{KrlNote, NoteSigner, SnapshotNote};
use tokio::sync::watch;

use super::expiring::Expiring;
use super::mirror::MirrorTo;
use super::{Data, Failed, tell, witnesses};
use crate::clock::{Clock, SystemClock};
use crate::data_dir::DataDir;
use crate::door::{
    self, Door, Feed, Fleet, HostTurns, Proofs, Reached, RecordingTurns, RevocationList, Sessions, Tls,
    Watchers,
};
use crate::fence::{Fence, Source};
use crate::keys::{self, Purpose};
use crate::log::{Log, Reader, WalKeeper};
use crate::metrics::Metrics;
use crate::randomness::SystemRandomness;
use crate::recordings::Recordings;
use crate::road::{Conductor, Deps, Pager, Road, StartError, deliver_by};
use crate::snapshot::{self, Made, Maker};
use crate::views::Views;

/// How often the write-ahead log is moved: at full load it grows by some 60 MiB in that time; more often,
/// and commits wait for the disk behind it more often.
const WAL_EVERY: Duration = Duration::from_secs(2);

/// How often it is asked whether a snapshot is due.
const SNAPSHOT_LOOK: Duration = Duration::from_secs(60);

/// How long the end waits for the last snapshot: five seconds, which is more than the entries since
/// the one before need.
const LAST_SNAPSHOT_LOOK: Duration = Duration::from_millis(20);
const LAST_SNAPSHOT_LOOKS: u32 = 250;

/// The least that a thread can ask of the processor.
const NICE: i32 = 19;

/// How soon it is noticed that the writer ended by itself.
const LOOK_AT_WRITER: Duration = Duration::from_secs(1);

const PUT_BACK: &str = "put the files back from their backup: a CA is never given other keys";

/// Run the CA.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    data: Data,
    /// Address to listen on
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8443", env = "FIREAXE_LISTEN")]
    listen: SocketAddr,
    /// What hosts call it by; default: the address it listens on, or this machine's name when that is all of them
    #[arg(long, value_name = "https://HOST:PORT", env = "FIREAXE_CA_ADDR", value_parser = https)]
    addr: Option<String>,
    /// Program that wakes a person: run once for each who is asked, with one JSON object on its standard input
    #[arg(long, value_name = "PROGRAM", env = "FIREAXE_PAGER")]
    pager: Option<PathBuf>,
    /// Read and check the whole log at the start, and neither use nor make a snapshot
    #[arg(long)]
    no_snapshot: bool,
    #[command(flatten)]
    mirror: MirrorTo,
    #[command(flatten)]
    witnesses: witnesses::Asked,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failed> {
        start_logging();
        let dir = DataDir::at(&self.data.dir);
        let unlogged = |error| Failed::log(&dir, error);
        // Before the log is opened: the first entry of a log that old names no host CA and cannot be read.
        if dir.log().exists() && !keys::exists(&dir.keys(), Purpose::HostCa) {
            let data = dir.path().display();
            let line = format!("{data} has no key for host certificates (keys/host-ca)");
            return Err(Failed::config(vec![line]).hint(
                "put it back from its backup; if it never was there, this CA was made by a fireaxe-ca that had \
                 no hosts: make a new one, fireaxe-ca init --data NEWDIR --bundle DIR, and enrol with that",
            ));
        }
        // First of all: it is also the lock against a second CA on the same data.
        let mut log = Log::open(&dir.log()).map_err(unlogged)?;
        keys::unexposed(&dir.tls_key()).map_err(|e| Failed::key(&e))?;
        let tls = Tls::load(&dir.tls_certificate(), &dir.tls_key())
            .map_err(|e| Failed::config(vec![e.to_string()]).hint(PUT_BACK))?;
        let load = |purpose| keys::load(&dir.keys(), purpose).map_err(|e| Failed::key(&e));
        let (user_ca, log_key, krl_key) = (load(Purpose::UserCa)?, load(Purpose::Log)?, load(Purpose::Krl)?);
        let host_ca = load(Purpose::HostCa)?;

        let origin = log.origin().clone();
        let snapshots = NoteSigner::new(&SnapshotNote::key_name(&origin), load(Purpose::Log)?);
        let snapshots = snapshots.map_err(Failed::error)?;
        let reader = || Reader::open(&dir.log()).map_err(unlogged);
        let fence = Arc::new(Fence::open(&dir, &reader()?).map_err(Failed::error)?);
        let (confirmed, follower) = self.mirror.begin(&dir, &mut log, reader()?, &fence)?;
        if confirmed {
            fence.confirm(&Source::Mirror).map_err(Failed::error)?;
        }
        let found = keys::public(&krl_key);
        let krl_signer = NoteSigner::new(&KrlNote::key_name(&origin), krl_key).map_err(Failed::error)?;
        let clock = Arc::new(SystemClock);
        let pager = self.pager.clone().map(|program| Pager::start(deliver_by(program))).transpose();
        let pager = pager.map_err(Failed::error)?;
        // Before anything is signed: a log that is behind what a witness has seen signs nothing.
        let asked = self.witnesses.start(&dir, log.key(), clock.clone(), fence.is_in_doubt());
        let (witnesses, confirmed) = asked?;
        if confirmed {
            // A quorum had cosigned this very head before, and the rest of them have less: none has seen another past
            // or more of this one. One that knew nothing was given nothing, and does not count.
            fence.confirm(&Source::Witness("a quorum".into())).map_err(Failed::error)?;
        }
        let deps = Deps {
            log,
            reader: reader()?,
            snapshot: (!self.no_snapshot).then(|| dir.snapshot()),
            user_ca,
            host_ca,
            checkpoints: NoteSigner::new(origin.as_str(), log_key).map_err(Failed::error)?,
            clock: clock.clone(),
            random: Box::new(SystemRandomness),
            pager,
            fence: fence.clone(),
            witnesses,
        };
        let (road, writer) = Conductor::start(deps).map_err(|error| match error {
            StartError::Log(error) => unlogged(error),
            StartError::OtherKeys { .. } => Failed::config(vec![error.to_string()]).hint(PUT_BACK),
            _ => Failed::error(error),
        })?;
        let pinned = road.published().keys().krl;
        if pinned != found {
            let (pinned, found) = (pinned.to_string(), found.to_string());
            return Err(
                Failed::config(vec![StartError::OtherKeys { pinned, found }.to_string()]).hint(PUT_BACK)
            );
        }
        let views = Views::open(&dir.views()).map_err(Failed::error)?;
        let door = Arc::new(Door {
            road: road.clone(),
            reader: Mutex::new(reader()?),
            views,
            sessions: Sessions::default(),
            revocation_list: RevocationList::new(krl_signer),
            watchers: Watchers::default(),
            feed: Feed::default(),
            fleet: Fleet::default(),
            report_turns: HostTurns::default(),
            proofs: Proofs::default(),
            recordings: Recordings::at(&dir.recordings()),
            recording_turns: RecordingTurns::default(),
            clock: clock.clone(),
            metrics: Metrics::default(),
        });

        enough_descriptors();
        door::start_herald(&door, reader()?).map_err(Failed::error)?;
        let keeper = WalKeeper::open(&dir.log()).map_err(unlogged)?;
        let kept = keep_wal_small(keeper, road.clone());
        let maker = Maker { reader: reader()?, path: dir.snapshot(), signer: snapshots };
        let made = (!self.no_snapshot).then(|| keep_snapshot(maker, road.clone(), clock));
        let follower = follower.map(|f| f.start(road.clone(), Arc::new(SystemClock))).transpose();
        let follower = follower.map_err(Failed::error)?;
        let expiring = Expiring { reader: reader()?, door: door.clone(), search: dir.search() };
        let expired = expiring.start().map_err(Failed::error)?;

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("door")
            .build()
            .map_err(Failed::error)?;
        let served = runtime.block_on(self.serve(&dir, door, &tls, &road, &writer));
        road.stop();
        // The writer ends after what is under way: whoever waits gets an answer.
        let ended = writer.join();
        let _ = std::fs::remove_file(dir.operator_socket());
        kept.thread().unpark();
        expired.thread().unpark();
        if let Some(made) = made {
            made.thread().unpark();
            // One that reads the whole log is not waited for: the one before stays, and the next run makes it.
            let mut looks = 0;
            while !made.is_finished() && looks < LAST_SNAPSHOT_LOOKS {
                std::thread::sleep(LAST_SNAPSHOT_LOOK);
                looks += 1;
            }
        }
        let _ = follower.map(std::thread::JoinHandle::join);
        runtime.shutdown_timeout(Duration::from_secs(2));
        served.and(ended.map_err(|_| Failed::error("the writer broke; look at the last lines of the log")))
    }

    async fn serve(
        &self,
        dir: &DataDir,
        door: Arc<Door>,
        tls: &Tls,
        road: &Road,
        writer: &std::thread::JoinHandle<()>,
    ) -> Result<(), Failed> {
        let (stop, stopped) = watch::channel(false);
        let local = door.clone();
        let (address, _) = door::listen_https(self.listen, tls, door::routes(door), stopped.clone())
            .await
            .map_err(Failed::error)?;
        let machine = rustix::system::uname();
        let node = machine.nodename().to_string_lossy();
        let reached = Reached {
            addr: self.addr.clone().or_else(|| called(address, &node)).unwrap_or_else(|| {
                tell("this machine has no name that hosts could call it by: give --addr https://HOST:8443");
                format!("https://{address}")
            }),
            pin: format!("sha256:{}", tls.pin),
        };
        let operator = move |peer| door::operator_routes(local.clone(), peer, reached.clone());
        door::listen_operator(&dir.operator_socket(), operator, stopped).map_err(Failed::error)?;
        let health = road.published().health();
        tell(format_args!("listening on https://{address}   pin sha256:{}", tls.pin));
        tell(format_args!("  {} entries in the log, {} emergencies open", health.entries, health.open));
        if let Some(why) = road.published().fence().now() {
            tell(format_args!("  it signs nothing: {why}"));
            tell("next:  see docs/OPERATIONS.md, \"The fence\"");
        }
        tracing::info!(event = "ca.started", %address, entries = health.entries, open = health.open);
        let why = tokio::select! {
            signal = wait_for_signal() => signal.map_err(Failed::error),
            // A door without a writer would refuse for ever: end, and be started again.
            () = ended(writer) => Err(Failed::error("the writer ended by itself")),
        };
        tracing::info!(event = "ca.stopping");
        let _ = stop.send(true);
        why
    }
}

/// An address as `fireaxe-host enrol` takes it, which goes into a command that is pasted into a shell.
fn https(text: &str) -> Result<String, String> {
    let authority = text.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    match authority {
        Some(authority) if !authority.is_empty() && authority.chars().all(plain) => {
            Ok(format!("https://{authority}"))
        }
        _ => Err("an address is https://HOST:PORT".to_owned()),
    }
}

/// Where others find what listens on `bound`, on a machine called `node`. All addresses of a machine are none
/// that another could use: then its name, with or without a dot; nothing: there is none that says which.
fn called(bound: SocketAddr, node: &str) -> Option<String> {
    if !bound.ip().is_unspecified() {
        return Some(format!("https://{bound}"));
    }
    let says_which = !node.is_empty() && node != "localhost" && !node.starts_with("localhost.");
    says_which.then(|| https(&format!("https://{node}:{}", bound.port())).ok()).flatten()
}

/// Moves what the write-ahead log holds into the file proper, off the commit's path, while entries come.
fn keep_wal_small(keeper: WalKeeper, road: Road) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut moved = 0;
        loop {
            std::thread::park_timeout(WAL_EVERY);
            if road.is_stopped() {
                return;
            }
            let entries = road.published().health().entries;
            if entries != moved {
                match keeper.checkpoint_wal() {
                    Ok(_) => moved = entries,
                    Err(error) => tracing::warn!(event = "wal.not_moved", %error),
                }
            }
        }
    })
}

/// Makes the next snapshot when it is due, and at the end. A state that the log does not come to ends the writer:
/// the next start, with the snapshot that is made now, decides by what is in the log.
fn keep_snapshot(maker: Maker, road: Road, clock: Arc<SystemClock>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        // Of this thread alone, on Linux. The writer and the door come first.
        let _ = rustix::process::nice(NICE);
        let mut last = None;
        loop {
            std::thread::park_timeout(SNAPSHOT_LOOK);
            let (entries, tick_ms) = (road.published().health().entries, clock.now().tick_ms);
            let ago = last.map(|(entries, at_ms)| (entries, tick_ms.saturating_sub(at_ms) / 1000));
            let stopped = road.is_stopped();
            if snapshot::is_due(entries, ago) || stopped && entries >= snapshot::WORTH {
                match maker.make() {
                    Ok(Made { was_wrong: true, .. }) => {
                        tracing::error!(event = "snapshot.was_wrong", entries);
                        road.stop();
                    }
                    Ok(made) => tracing::info!(event = "snapshot.made", ?made),
                    Err(error) => tracing::warn!(event = "snapshot.not_made", %error),
                }
                // After a failure too: the next try is not at once.
                last = Some((entries, tick_ms));
            }
            if stopped {
                return;
            }
        }
    })
}

/// Each host that follows holds a connection: as many descriptors as this user may have, and a warning if a
/// whole fleet would not fit.
fn enough_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(door::DESCRIPTORS, |maximum| maximum.min(door::DESCRIPTORS));
    if current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if now < door::DESCRIPTORS {
        tracing::warn!(event = "descriptors.few", now, wanted = door::DESCRIPTORS);
    }
}

async fn ended(writer: &std::thread::JoinHandle<()>) {
    while !writer.is_finished() {
        tokio::time::sleep(LOOK_AT_WRITER).await;
    }
}

pub(super) async fn wait_for_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// JSON lines on stderr; `FIREAXE_LOG` filters (e.g. `info`, `fireaxe_ca=debug`). Default: warnings.
pub(super) fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FIREAXE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_an_address_that_they_can_use() {
        let told = |bound: &str, node| called(bound.parse().unwrap(), node);
        assert_eq!(told("192.0.2.7:8443", "ca").unwrap(), "https://192.0.2.7:8443");
        assert_eq!(told("[2001:db8::7]:8443", "ca").unwrap(), "https://[2001:db8::7]:8443");
        for all in ["0.0.0.0:8443", "[::]:8443"] {
            for node in ["ca", "ca.internal"] {
                assert_eq!(told(all, node), Some(format!("https://{node}:8443")));
            }
            for nobody in ["", "(none)", "localhost", "localhost.localdomain", "ca;reboot"] {
                assert_eq!(told(all, nobody), None, "{nobody}");
            }
        }
        assert_eq!(https("https://ca.internal:8443/").unwrap(), "https://ca.internal:8443");
        for wrong in ["ca.internal:8443", "http://ca:1", "https://", "https://ca:1/x", "https://ca;reboot"] {
            assert!(https(wrong).is_err(), "{wrong}");
        }
    }
}
