//! What an auditor waits for: `log verify` and `log replay` over a log of a million entries.
//!
//! The log is made by the CA's own road, in this process, with a clock that is moved: each declaration, approval
//! and closing is signed, known, decided, logged and certified as over HTTPS; only the network is missing. Of
//! eight emergencies seven are a severity 2 on one host, whose certificate comes at once; one waits under an
//! incident of severity 1 and is approved. All are closed by whoever opened them. What is unusual in that (people
//! who ask often) is logged as it is.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use fireaxe_ca::clock::{Clock, Moment};
use fireaxe_ca::data_dir::DataDir;
use fireaxe_ca::fence::Fence;
use fireaxe_ca::keys::{self, Purpose};
use fireaxe_ca::log::{Log, Reader};
use fireaxe_ca::randomness::SystemRandomness;
use fireaxe_ca::road::{Conductor, Deps, Opening, Refusal, Road};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{Event, Hash, IncidentUpdate, NoteSigner};
use fireaxe_protocol::names::{EmergencyId, Origin};
use fireaxe_protocol::policy::IncidentState;
use fireaxe_protocol::statement::{
    Approve, Close, Declare, Header, Kind, Nonce, Params, Statement, sign_ed25519,
};
use tokio::runtime::Runtime;

use super::process;
use super::summary::Summary;
use crate::clock;
use crate::run::{bound, end};
use crate::world::World;

/// People who open emergencies, and leads who approve.
const PEOPLE: u64 = 2000;
const LEADS: u64 = 8;
/// Emergencies that are open at once.
const TOGETHER: u64 = 256;
/// Seconds between two such rounds.
const ROUND_S: u64 = 240;

/// Generates the log and records `log.verify_1m_s`, `log.verify_1m_mem_mb`, `log.replay_1m_s` and
/// `log.replay_1m_mem_mb`; with another number of entries than a million that number stands in the names.
pub fn measure(figures: &mut Summary, entries: u64) {
    let world = World::new();
    let start = clock::now();
    let (data, told) = generate(&world, entries);
    eprintln!("generated in {:.0} s: {told}", start.elapsed().as_secs_f64());
    let size = if entries == 1_000_000 { "1m".to_owned() } else { entries.to_string() };
    let program = world.programs().ours("fireaxe-ca");
    for verb in ["verify", "replay"] {
        let (took, memory) = timed(&program, verb, &data);
        figures.put(&format!("log.{verb}_{size}_s"), took.as_secs_f64());
        figures.put(&format!("log.{verb}_{size}_mem_mb"), memory);
    }
}

/// A whole process: how long it took, and its peak memory in MiB.
fn timed(program: &Path, verb: &str, data: &Path) -> (Duration, f64) {
    let mut command = bound(program);
    command.args(["log", verb, "--data"]).arg(data).stdin(Stdio::null()).stdout(Stdio::null());
    let start = clock::now();
    let mut child = command.spawn().expect("fireaxe-ca starts");
    let mut memory = 0.0f64;
    let ended = clock::wait_for(Duration::from_secs(3600), || {
        memory = memory.max(process::memory(child.id(), "VmHWM"));
        child.try_wait().ok().flatten()
    });
    let took = start.elapsed();
    if ended.is_none() {
        end(&mut child);
    }
    assert!(ended.is_some_and(|status| status.success()), "log {verb} found something, or did not end");
    (took, memory)
}

/// A CA's data folder with a log of at least so many entries, and what is in it.
pub fn generate(world: &World, entries: u64) -> (std::path::PathBuf, String) {
    let (people, leads) = (keys_of(1, PEOPLE), keys_of(2, LEADS));
    let bundle = world.bundle(&crate::scene::policy_without_limits(), &[], &roster(&people, &leads));
    let ca = world.ca(&bundle);
    let data = ca.data().to_path_buf();
    let dir = DataDir::at(&data);
    let (clock, origin, road, writer) = open(&dir);
    let runtime = Runtime::new().expect("runtime");
    let mut maker = Maker { road, origin, clock, people, leads, number: 1 };
    let size = || Reader::open(&dir.log()).and_then(|reader| reader.size()).expect("size");
    let (mut emergencies, mut approved) = (0, 0);
    while size() < entries {
        let (opened, yes) = runtime.block_on(maker.round());
        emergencies += opened;
        approved += yes;
        maker.clock.pass(ROUND_S);
    }
    maker.road.stop();
    writer.join().expect("the writer ends");
    let told = format!(
        "{} entries of {emergencies} emergencies, {approved} of them approved, by {PEOPLE} people, through the \
         CA's own road",
        size()
    );
    (data, told)
}

fn open(dir: &DataDir) -> (Arc<HandClock>, Origin, Road, std::thread::JoinHandle<()>) {
    let load = |purpose| keys::load(&dir.keys(), purpose).expect("a key of the CA");
    let clock = Arc::new(HandClock { wall_s: AtomicU64::new(clock::unix()), tick_ms: AtomicU64::new(0) });
    let log = Log::open(&dir.log()).expect("log");
    let origin = log.origin().clone();
    let deps = Deps {
        log,
        reader: Reader::open(&dir.log()).expect("log"),
        user_ca: load(Purpose::UserCa),
        host_ca: load(Purpose::HostCa),
        checkpoints: NoteSigner::new(origin.as_str(), load(Purpose::Log)).expect("signer"),
        clock: clock.clone(),
        random: Box::new(SystemRandomness),
        pager: None,
        fence: Arc::new(
            Fence::open(dir, &Reader::open(&dir.log()).expect("log")).expect("the fence's files"),
        ),
        witnesses: None,
        snapshot: None,
    };
    let (road, writer) = Conductor::start(deps).expect("the road");
    (clock, origin, road, writer)
}

fn keys_of(kind: u8, count: u64) -> Vec<SigningKey> {
    let key = |n: u64| {
        let mut seed = [kind; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        SigningKey::from_bytes(&seed)
    };
    (0..count).map(key).collect()
}

fn roster(people: &[SigningKey], leads: &[SigningKey]) -> String {
    let mut roster = String::from(
        "\n[role]\npolicy_admin = { group = \"security\", quorum = 1, presence = \"none\" }\n\
         auditor = { group = \"audit\" }\nincident_commander = { group = \"sre-leads\" }\n",
    );
    let lead = "\"sre-leads\", \"sre\", \"payments\", \"payments-oncall\", \"security\", \"audit\"";
    for (name, keys, groups) in [("p", people, "\"sre\""), ("lead", leads, lead)] {
        for (n, key) in keys.iter().enumerate() {
            let public = Ed25519Key::from(key);
            roster.push_str(&format!(
                "[person.{name}{n}]\ngroups = [{groups}]\nkeys = [\"{public} {name}{n}\"]\n"
            ));
        }
    }
    roster
}

struct HandClock {
    wall_s: AtomicU64,
    tick_ms: AtomicU64,
}

impl HandClock {
    fn pass(&self, seconds: u64) {
        self.wall_s.fetch_add(seconds, Ordering::SeqCst);
        self.tick_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        Moment { wall_s: self.wall_s.load(Ordering::SeqCst), tick_ms: self.tick_ms.load(Ordering::SeqCst) }
    }
}

struct Maker {
    road: Road,
    origin: Origin,
    clock: Arc<HandClock>,
    people: Vec<SigningKey>,
    leads: Vec<SigningKey>,
    number: u64,
}

impl Maker {
    /// Emergencies that are declared together, approved where they wait, and closed; how many, and how many
    /// approved.
    async fn round(&mut self) -> (u64, u64) {
        let at = self.clock.now().wall_s;
        self.incident().await;
        let from = self.number;
        self.number += TOGETHER;
        let declared = (from..from + TOGETHER).map(|n| {
            let person = person(n, self.people.len());
            let words = declaration(&self.origin, n, at);
            self.known(&self.people[person], &Statement::Declare(words))
        });
        let opened: Vec<Result<Box<Opening>, Refusal>> =
            self.all(declared.collect(), |road, known| async move { road.declare(known).await }).await;
        let opened: Vec<(u64, EmergencyId, Hash, bool)> = (from..)
            .zip(opened)
            .map(|(n, opening)| {
                let opening = opening.unwrap_or_else(|refusal| panic!("declaration {n}: {refusal:?}"));
                let Event::EmergencyDeclared { emergency, .. } = opening.declared else {
                    panic!("no emergency")
                };
                (n, emergency, opening.leaf, opening.waiting.is_some())
            })
            .collect();
        let waits = opened.iter().filter(|(.., waits)| *waits);
        let approvals = waits.map(|(n, emergency, of, _)| {
            let header = header(&self.origin, Kind::Approve, *n, at);
            let words = Approve { header, of: *of, emergency: *emergency, shown_s: 20, reason: None };
            let lead = &self.leads[*n as usize % self.leads.len()];
            (*emergency, self.known(lead, &Statement::Approve(words)))
        });
        let yes =
            self.all(approvals.collect(), |road, (id, known)| async move { road.say(id, known).await }).await;
        let approved = yes.iter().filter(|said| said.is_ok()).count() as u64;
        assert_eq!(approved, yes.len() as u64, "{:?}", yes.iter().find_map(|said| said.as_ref().err()));
        let closings = opened.iter().map(|(n, emergency, of, _)| {
            let header = header(&self.origin, Kind::Close, *n, at);
            let words = Close { header, of: *of, emergency: *emergency, uses: None };
            let person = &self.people[person(*n, self.people.len())];
            (*emergency, self.known(person, &Statement::Close(words)))
        });
        let closed = self
            .all(closings.collect(), |road, (id, known)| async move { road.close(id, known).await })
            .await;
        assert!(closed.iter().all(Result::is_ok), "{:?}", closed.iter().find_map(|said| said.as_ref().err()));
        (TOGETHER, approved)
    }

    async fn incident(&self) {
        let update = IncidentUpdate {
            incident: "pd:AUDIT".parse().expect("incident"),
            state: IncidentState::Open,
            severity: 1.try_into().expect("severity"),
            systems: vec!["payments-db".parse().expect("system")],
            title: None,
            by: "operator uid 0".into(),
        };
        self.road.incident(update).await.expect("an incident");
    }

    fn known(&self, key: &SigningKey, words: &Statement) -> fireaxe_ca::road::Known {
        let kind = words.header().kind;
        let envelope = sign_ed25519(key, kind, &words.write());
        self.road.published().gate().know(envelope, kind).expect("a person of the roster")
    }

    /// Asks all at once, so that the writer takes them in batches.
    async fn all<A, T, F>(&self, asked: Vec<A>, ask: impl Fn(Road, A) -> F) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let tasks: Vec<_> = asked.into_iter().map(|one| tokio::spawn(ask(self.road.clone(), one))).collect();
        let mut told = Vec::with_capacity(tasks.len());
        for task in tasks {
            told.push(task.await.expect("an answer"));
        }
        told
    }
}

/// Who opens emergency `n`: each in turn.
fn person(n: u64, people: usize) -> usize {
    n as usize % people
}

fn header(origin: &Origin, kind: Kind, n: u64, at: u64) -> Header {
    let mut nonce = [kind as u8; 16];
    nonce[..8].copy_from_slice(&n.to_be_bytes());
    Header { kind, to: origin.clone(), nonce: Nonce(nonce), at }
}

fn declaration(origin: &Origin, n: u64, at: u64) -> Declare {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    let waits = n.is_multiple_of(8);
    let target = if waits { "db-1.payments.prod" } else { "web-1.shop.prod" };
    Declare {
        header: header(origin, Kind::Declare, n, at),
        target: target.parse().expect("target"),
        severity: (!waits).then(|| 2.try_into().expect("severity")),
        incident: waits.then(|| "pd:AUDIT".parse().expect("incident")),
        reason: "the primary refuses writes, replicas lag by minutes".parse().expect("reason"),
        want: None,
        action: None,
        params: Params::default(),
        for_s: None,
        drill: false,
        public_key: Ed25519Key::from(&SigningKey::from_bytes(&seed)),
    }
}
