//! The registry without a daemon around it: what the hook left, what comes of an end.

use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use fireaxe_protocol::host::{EndReason, Report, SessionClosed};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::AccountName;

use super::record::Waiting;
use super::*;
use crate::clock::Deadline;
use crate::login::judge;
use crate::login::judge::tests::{Made, config};
use crate::processes::{Mark, ProcessId};

#[derive(Default)]
struct Heard(Mutex<Vec<Report>>);

impl Reports for Heard {
    fn say(&self, report: Report) -> Result<(), HostError> {
        self.0.lock().unwrap().push(report);
        Ok(())
    }
}

impl Heard {
    #[track_caller]
    fn closed(&self) -> SessionClosed {
        let deadline = Deadline::after(Duration::from_secs(30));
        loop {
            let found = self.0.lock().unwrap().iter().find_map(|report| match report {
                Report::SessionClosed(closed) => Some(closed.clone()),
                _ => None,
            });
            match found {
                Some(closed) => return closed,
                None => assert!(deadline.left().is_some(), "no end was told"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn setup(dir: &tempfile::TempDir, reports: Arc<dyn Reports>, now: fn() -> Moment) -> Setup {
    let (run, state) = (dir.path().join("run"), dir.path().join("state"));
    let config = Arc::new(Config { state, ..config() });
    Setup { config, reports, run, cgroups: Cgroups::none(), now }
}

/// What is remembered of a connection whose monitor is `monitor`.
fn remembered(monitor: ProcessId, record: Recording) -> Record {
    let claimed = judge::claimed(&Made::good().certificate()).unwrap();
    let (account, opened) = ("ops".parse().unwrap(), Moment::now());
    let known = admit::record_of(Nonce([7; 16]), monitor, &account, "192.0.2.7", &claimed, opened);
    Record { record, ..known }
}

/// A registry of a host that trusts who signed [`Made`], at the time of that, and knows a list of then.
fn admitting(dir: &tempfile::TempDir, reports: Arc<dyn Reports>) -> Registry {
    fn now() -> Moment {
        Moment { wall_s: 1_800_000_010, ..Moment::now() }
    }
    let at = |name: &str| dir.path().join(name);
    let trusted = Ed25519Key(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
    std::fs::write(at("user_ca.pub"), format!("{trusted}\n")).unwrap();
    std::fs::write(at("revoked_keys"), "a list").unwrap();
    let known = crate::krl::State {
        schema: "fireaxe.host-krl/v1".into(),
        version: 7,
        hash: Hash::of(b"a list"),
        signed_at: now().wall_s,
        confirmed_at: now().wall_s,
        etag: None,
    };
    known.write(&at("state")).unwrap();
    let setup = setup(dir, reports, now);
    let config =
        Config { user_ca: at("user_ca.pub"), revoked_keys: at("revoked_keys"), ..(*setup.config).clone() };
    Registry::open(Setup { config: Arc::new(config), ..setup }).unwrap()
}

/// Other connections of somebody, with so many sessions each.
fn crowd(registry: &Registry, person: &str, connections: usize, sessions: usize) {
    let gone = ProcessId { pid: std::process::id(), start: 1 };
    for n in 0..connections {
        let mut known = remembered(gone, Recording::Required);
        known.connection.0[..8].copy_from_slice(&n.to_be_bytes());
        known.person = Some(person.parse().unwrap());
        let live = Live { sessions, ..Live::of(known, None) };
        registry.state().live.insert(live.record.connection, live);
    }
}

#[test]
fn one_person_has_half_of_the_connections_and_another_is_let_in() {
    let (_child, monitor) = sleeps();
    for (person, there, admitted) in [
        ("ana", CONNECTIONS / 2, Err("login.too_many_of_one")),
        ("ana", CONNECTIONS / 2 - 1, Ok(())),
        ("ben", CONNECTIONS / 2, Ok(())),
        ("ben", CONNECTIONS - 1, Ok(())),
        ("ben", CONNECTIONS, Err("login.too_many")),
        // Over, and not told yet: nobody's, up to a bound.
        ("ana, over", CONNECTIONS, Ok(())),
        ("ana, over", CONNECTIONS + ENDING, Err("login.too_many")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let registry = admitting(&dir, Arc::new(Heard::default()));
        let (person, over) = person.split_once(", ").map_or((person, false), |(person, _)| (person, true));
        crowd(&registry, person, there, 0);
        if over {
            registry.state().live.values_mut().for_each(|live| live.ending = Some(EndReason::Left));
        }
        // ana's.
        let came =
            registry.register(monitor, &"ops".parse().unwrap(), "192.0.2.7", &Made::good().certificate());
        let found = came.map(|_| ()).map_err(|reason| reason.code);
        assert_eq!(found, admitted.map_err(str::to_owned), "{there} of {person}");
    }
}

#[test]
fn whoever_has_the_number_of_one_that_asked_and_is_gone_gets_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(setup(&dir, Arc::new(Heard::default()), Moment::now)).unwrap();
    let me = Process::read(std::process::id()).unwrap();
    let known = remembered(me.id, Recording::None);
    let connection = known.connection;
    let live = Live::of(known, None);
    registry.state().live.insert(connection, live);
    let asked = Peer { process: me.id, uid: 0 };
    assert_eq!(registry.of(asked), Some(connection));
    // As after a reuse: who has the number did not start when the asker did.
    let gone = Peer { process: ProcessId { start: me.id.start - 1, ..me.id }, uid: 0 };
    assert_eq!(registry.of(gone), None);
    let refused = registry.begin(gone, None, None).map(|_| ()).unwrap_err();
    assert_eq!(refused.code, "session.unknown");
    let opening =
        Opening { account: "ops".parse().unwrap(), from: String::new(), certificate: String::new() };
    let Answer::Refused(reason) = registry.opened(gone, opening) else { panic!("it was let in") };
    assert_eq!(reason.code, "peer.gone");
}

#[test]
fn one_person_has_half_of_the_sessions_and_anothers_begins() {
    let me = Process::read(std::process::id()).unwrap();
    let account = rustix::process::getuid().is_root().then(|| "root".parse().unwrap());
    let account = account.expect("run as root: its sessions are root's");
    for (person, begins) in [("ana", Some("session.too_many_of_one")), ("ben", None)] {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(setup(&dir, Arc::new(Heard::default()), Moment::now)).unwrap();
        crowd(&registry, person, 8, SESSIONS);
        let known =
            Record { account: AccountName::clone(&account), ..remembered(me.id, Recording::Required) };
        let connection = known.connection;
        let live = Live::of(known, None);
        registry.state().live.insert(connection, live);
        let begun = registry.begin(Peer { process: me.id, uid: 0 }, None, None);
        assert_eq!(begun.map(|_| ()).map_err(|reason| reason.code).err().as_deref(), begins, "{person}");
    }
}

fn sleeps() -> (Killed, ProcessId) {
    let child = Killed(Command::new("sleep").arg("600").spawn().unwrap());
    let id = Process::read(child.0.id()).unwrap().id;
    (child, id)
}

/// A registry that takes up a login which the hook left, on a host that admits nobody any more.
fn taken_up(mark: Mark) -> (tempfile::TempDir, Arc<Heard>) {
    let (dir, heard) = (tempfile::tempdir().unwrap(), Arc::new(Heard::default()));
    let certificate = STANDARD.encode(Made::good().certificate());
    let (account, from) = ("ops".parse().unwrap(), "192.0.2.7".into());
    let waiting = Waiting { mark, account, from, at: 1_700_000_000, certificate };
    record::leave(&dir.path().join("run"), Nonce([1; 16]), &waiting).unwrap();
    let registry = Registry::open(setup(&dir, heard.clone(), Moment::now)).unwrap();
    std::thread::spawn(move || registry.keep());
    (dir, heard)
}

#[test]
fn a_login_that_the_hook_left_and_that_may_not_be_is_ended_with_what_it_started_and_told() {
    let shell = Killed(Command::new("sh").args(["-c", "sleep 600 & wait"]).spawn().unwrap());
    let monitor = Process::read(shell.0.id()).unwrap().id;
    let deadline = Deadline::after(Duration::from_secs(30));
    let child = loop {
        let child = Process::all().into_iter().find(|process| process.parent == monitor.pid);
        match child {
            Some(child) if child.program().as_deref() == Some("sleep") => break child.id,
            _ => assert!(deadline.left().is_some(), "nothing was started"),
        }
    };
    let (_dir, heard) = taken_up(Mark { monitor, session: None, cgroups: Vec::new() });
    let closed = heard.closed();
    assert_eq!((closed.serial, closed.why, closed.swept.left), (2, EndReason::Refused, 0));
    assert!(Process::read(child.pid).is_none_or(|process| process.id != child || process.zombie));
    let Report::SessionOpened(opened) = heard.0.lock().unwrap()[0].clone() else { panic!("not told") };
    assert_eq!((opened.connection, opened.at), (closed.connection, 1_700_000_000));
}

#[test]
fn a_login_that_the_hook_left_and_that_is_over_is_told() {
    let gone = ProcessId { pid: std::process::id(), start: 1 };
    let (dir, heard) = taken_up(Mark { monitor: gone, session: None, cgroups: Vec::new() });
    assert_eq!(heard.closed().why, EndReason::Left);
    assert!(matches!(heard.0.lock().unwrap()[..], [Report::SessionOpened(_), Report::SessionClosed(_)]));
    assert!(!dir.path().join("run").join(format!("{}.waiting", Nonce([1; 16]))).exists());
}

#[test]
fn a_recorder_that_does_not_come_back_after_a_restart_ends_its_connection_and_one_that_does_not() {
    static LATER_MS: AtomicU64 = AtomicU64::new(0);
    fn now() -> Moment {
        let (now, later) = (Moment::now(), LATER_MS.load(Ordering::Relaxed));
        Moment { boot_ms: now.boot_ms + later, ..now }
    }
    let (_child, monitor) = sleeps();
    for (record, found, back, ends) in [
        (Recording::Required, 1, 0, true),
        (Recording::Required, 1, 1, false),
        (Recording::Required, 2, 1, true),
        (Recording::Required, 0, 0, false),
        (Recording::BestEffort, 1, 0, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let setup = || setup(&dir, Arc::new(Heard::default()), now);
        let connection = {
            let known = remembered(monitor, record);
            Store::open(&setup().run, &setup().config.state).unwrap().write(&known).unwrap();
            known.connection
        };
        LATER_MS.store(0, Ordering::Relaxed);
        let registry = Registry::open(setup()).unwrap();
        for n in 0..found {
            let recording = Nonce([n; 16]);
            registry.left_open(
                connection,
                Recorded { recording, chunks: 2, bytes: 0, lost: 0, head: Hash([0; 32]) },
            );
        }
        for _ in 0..back {
            let mut state = registry.state();
            let live = state.live.get_mut(&connection).unwrap();
            assert!(live.record.came_back() && registry.remember(&live.record));
        }
        let unrecorded = |registry: &Registry| {
            registry.round();
            registry.state().live.get(&connection).unwrap().record.life.unrecorded.is_some()
        };
        LATER_MS.store(50_000, Ordering::Relaxed);
        assert!(!unrecorded(&registry));
        // A restart meanwhile begins the minute anew, and forgets nobody.
        let registry = Registry::open(setup()).unwrap();
        LATER_MS.store(100_000, Ordering::Relaxed);
        assert!(!unrecorded(&registry));
        LATER_MS.store(120_000, Ordering::Relaxed);
        assert_eq!(unrecorded(&registry), ends, "{record:?}, {found} found, {back} back");
    }
}

#[test]
fn whoever_was_told_to_end_within_a_minute_gets_no_second_one() {
    let (_child, monitor) = sleeps();
    for (passed_s, left_ms) in [(0, 60_000), (59, 1_000), (60, 0), (600, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let setup = || setup(&dir, Arc::new(Heard::default()), Moment::now);
        let known = remembered(monitor, Recording::Required);
        Store::open(&setup().run, &setup().config.state).unwrap().write(&known).unwrap();
        let registry = Registry::open(setup()).unwrap();
        let since = Duration::from_secs(passed_s);
        registry.ended(known.connection, Took { recorded: None, unrecorded: true, since });
        let life = registry.state().live.get(&known.connection).unwrap().record.life.clone();
        let end = life.end(Moment::now());
        assert!(end.in_ms <= left_ms && end.in_ms + 5_000 > left_ms, "{end:?}");
        assert_eq!(end.why, EndReason::Unrecorded);
    }
}

#[test]
fn forgetting_that_is_cut_off_leaves_no_trace_that_a_boot_would_be_blamed_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("run"), dir.path()).unwrap();
    let known = remembered(ProcessId { pid: 1, start: 1 }, Recording::None);
    store.trace(&known).unwrap();
    // What cannot be removed cuts it off there.
    std::fs::create_dir(dir.path().join("run").join(format!("{}.json", known.connection))).unwrap();
    assert!(store.remove(known.connection).is_err());
    assert_eq!(std::fs::read_dir(dir.path().join("connections")).unwrap().count(), 0);
}

/// Panics at the first end that it is told of.
#[derive(Default)]
struct Panics(AtomicU64, Heard);

impl Reports for Panics {
    fn say(&self, report: Report) -> Result<(), HostError> {
        if matches!(report, Report::SessionClosed(_)) && self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            panic!("as the test wants");
        }
        self.1.say(report)
    }
}

#[test]
fn an_end_whose_thread_panics_is_begun_again() {
    let (dir, reports) = (tempfile::tempdir().unwrap(), Arc::new(Panics::default()));
    let setup = setup(&dir, reports.clone(), Moment::now);
    let known = remembered(ProcessId { pid: std::process::id(), start: 1 }, Recording::None);
    Store::open(&setup.run, &setup.config.state).unwrap().write(&known).unwrap();
    let registry = Registry::open(setup).unwrap();
    let is_ending = || registry.state().live[&known.connection].ending.is_some();
    registry.round();
    let deadline = Deadline::after(Duration::from_secs(30));
    while is_ending() {
        assert!(deadline.left().is_some(), "it is ending still, and nobody ends it");
        std::thread::sleep(Duration::from_millis(10));
    }
    registry.round();
    assert_eq!(reports.1.closed().why, EndReason::Left);
}

/// Hears whose connections are opened.
#[derive(Default)]
struct Holders(Mutex<Vec<Option<fireaxe_protocol::names::PersonName>>>);

impl Reports for Holders {
    fn say(&self, _: Report) -> Result<(), HostError> {
        Ok(())
    }

    fn opened(
        &self,
        _: fireaxe_protocol::host::SessionOpened,
        person: Option<&fireaxe_protocol::names::PersonName>,
    ) -> Result<(), HostError> {
        self.0.lock().unwrap().push(person.cloned());
        Ok(())
    }
}

#[test]
fn a_connection_is_told_with_the_person_whose_share_of_the_spool_it_takes() {
    let (dir, reports) = (tempfile::tempdir().unwrap(), Arc::new(Holders::default()));
    let setup = setup(&dir, reports.clone(), Moment::now);
    let known = remembered(ProcessId { pid: std::process::id(), start: 1 }, Recording::None);
    Store::open(&setup.run, &setup.config.state).unwrap().write(&known).unwrap();
    let registry = Registry::open(setup).unwrap();
    assert!(known.person.is_some() && registry.tell_opened(known.connection));
    assert_eq!(*reports.0.lock().unwrap(), [known.person]);
}

/// Counts the beginnings that it is told of, and does what the test wants at each.
struct Beginning(AtomicU64, Box<dyn Fn(u64) + Send + Sync>);

impl Beginning {
    fn with(then: impl Fn(u64) + Send + Sync + 'static) -> Arc<Beginning> {
        Arc::new(Beginning(AtomicU64::new(0), Box::new(then)))
    }

    fn told(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Reports for Beginning {
    fn say(&self, _: Report) -> Result<(), HostError> {
        Ok(())
    }

    fn opened(
        &self,
        _: fireaxe_protocol::host::SessionOpened,
        _: Option<&fireaxe_protocol::names::PersonName>,
    ) -> Result<(), HostError> {
        (self.1)(self.0.fetch_add(1, Ordering::SeqCst));
        Ok(())
    }
}

fn registers(registry: &Registry, monitor: ProcessId) -> Result<Nonce, Reason> {
    registry.register(monitor, &"ops".parse().unwrap(), "192.0.2.7", &Made::good().certificate())
}

#[test]
fn while_whoever_registered_a_connection_tells_of_it_whoever_keeps_does_not() {
    let (dir, (_child, monitor)) = (tempfile::tempdir().unwrap(), sleeps());
    // The first goes on when the test says so: a disk that is slow.
    let (at, arrived) = channel();
    let (go, may_go) = channel::<()>();
    let (at, may_go) = (Mutex::new(at), Mutex::new(may_go));
    let reports = Beginning::with(move |nth| {
        if nth == 0 {
            at.lock().unwrap().send(()).unwrap();
            may_go.lock().unwrap().recv_timeout(Duration::from_secs(30)).unwrap();
        }
    });
    let registry = admitting(&dir, reports.clone());
    let registering = std::thread::spawn({
        let registry = registry.clone();
        move || registers(&registry, monitor)
    });
    arrived.recv_timeout(Duration::from_secs(30)).unwrap();
    registry.round();
    assert_eq!(reports.told(), 1);
    go.send(()).unwrap();
    registering.join().unwrap().unwrap();
    registry.round();
    assert_eq!(reports.told(), 1);
}

#[test]
fn a_connection_whose_registering_thread_panics_is_told_by_whoever_keeps() {
    let (dir, (_child, monitor)) = (tempfile::tempdir().unwrap(), sleeps());
    let reports = Beginning::with(|nth| assert_ne!(nth, 0, "as the test wants"));
    let registry = admitting(&dir, reports.clone());
    let there = registry.clone();
    assert!(std::thread::spawn(move || registers(&there, monitor)).join().is_err());
    registry.round();
    assert_eq!(reports.told(), 2);
    registry.round();
    assert_eq!(reports.told(), 2, "once it is told, it is");
}

/// A connection of this very process, which came in as `account`.
fn of_this_process(registry: &Registry, account: &str) -> (Nonce, Peer) {
    let me = Process::read(std::process::id()).unwrap();
    let known = Record { account: account.parse().unwrap(), ..remembered(me.id, Recording::BestEffort) };
    let connection = known.connection;
    registry.state().live.insert(connection, Live::of(known, None));
    (connection, Peer { process: me.id, uid: rustix::process::getuid().as_raw() })
}

#[test]
fn sessions_that_are_over_are_not_remembered_for_ever_on_a_connection_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(setup(&dir, Arc::new(Heard::default()), Moment::now)).unwrap();
    let (connection, peer) = of_this_process(&registry, "root");
    let told = || registry.state().live[&connection].told.len();
    // One goes on, and hears what the others are forgotten by.
    let stays = registry.begin(Peer { uid: 0, ..peer }, None, None).unwrap();
    for _ in 0..3 * SESSIONS {
        let begun = registry.begin(Peer { uid: 0, ..peer }, None, None).unwrap();
        assert!(told() <= SESSIONS, "{} are remembered", told());
        drop(begun);
        registry.ended(connection, Took::default());
    }
    assert!(matches!(stays.notices.try_recv(), Ok(Notice::Goes { .. })));
    registry.state().live.get_mut(&connection).unwrap().tell(Notice::Goes { until: 1 });
    assert_eq!(told(), 1);
}

#[test]
fn a_session_of_an_account_that_the_host_does_not_know_does_not_begin_and_says_which() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(setup(&dir, Arc::new(Heard::default()), Moment::now)).unwrap();
    let (connection, peer) = of_this_process(&registry, "no-such-account");
    let reason = registry.begin(peer, None, None).unwrap_err();
    assert_eq!(reason.code, "session.no_account");
    assert!(reason.sentence.contains("no-such-account"), "{}", reason.sentence);
    assert_eq!(registry.state().live[&connection].sessions, 0, "it takes no place");
}
