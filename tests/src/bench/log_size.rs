//! A large log: how soon the CA listens, how long an append takes, how large a receipt is and what a host needs
//! to check it.
//!
//! The log is the CA's own (its keys, its origin), begun anew five years ago and filled through
//! [`fireaxe_ca::log`] in large batches: emergencies as `history` draws them (signed by people, decided by
//! the policy, with certificates made of their terms, closed), and between them incidents, whose entries are
//! small. Hosts and their reports are not in it. `FIREAXE_BENCH_LOG` says how many entries; names keep saying
//! `10m` and `1m`, and the number is a figure beside them. Ten million take some 10 GB, which are removed.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use fireaxe_ca::keys::{self, Purpose};
use fireaxe_ca::log::{Log, Reader};
use fireaxe_ca::snapshot::Maker;
use fireaxe_protocol::certificate::{cut_receipt, from_openssh};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{Event, IncidentUpdate, NoteSigner, PinnedKeys, SnapshotNote, receipt};
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::policy::{Bundle, IncidentState};

use super::dice::Dice;
use super::history::{self, History, Turn, append};
use super::load;
use super::process;
use super::summary::Summary;
use crate::clock;
use crate::run::{bound, end};
use crate::world::World;

/// Entries, if nobody says otherwise.
const ENTRIES: u64 = 10_000_000;
/// Entries of the log whose full start is timed, at most: a tenth of all.
const TENTH: u64 = 10;
/// Emergencies in one commit.
const TOGETHER: u64 = 512;
/// Incidents heard of for each emergency.
const INCIDENTS: u64 = 6;
/// Appends that are timed.
const APPENDS: u64 = 2000;
/// Declarations of one person: one more within the hour would be unusual.
const EACH: u64 = 4;
/// How long the log goes back, seconds.
const YEARS_S: u64 = 5 * 365 * 86_400;
/// How long a start may take: one that reads ten million entries on a slow machine.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Checks of one receipt.
const CHECKS: u32 = 2000;

/// Records `log.entries`, `log.start_full_1m_s`, `log.start_10m_s`, `log.start_10m_mem_mb`,
/// `log.append_10m_ms.p50` and `.p99`, `log.receipt_bytes_10m`, `log.receipt_check_us`,
/// `log.snapshot_10m_mb`, and `log.bytes_10m_mb`.
pub fn measure(summary: &mut Summary, world: &World) {
    let wanted = std::env::var("FIREAXE_BENCH_LOG").ok().and_then(|n| n.parse().ok()).unwrap_or(ENTRIES);
    let people: Vec<SigningKey> = (0..APPENDS.div_ceil(EACH)).map(person).collect();
    let room = world.room("log-size");
    let (data, program) = (room.join("data"), world.programs().ours("fireaxe-ca"));
    let mut filling = Filling::begin(&room, &data, &program, &people);
    let port = free_port();

    filling.fill(wanted / TENTH);
    let at = filling.log().size();
    eprintln!(
        "  {at} entries, read whole at the start ({} emergencies, the rest incidents)",
        filling.told.emergencies
    );
    filling.log = None;
    let (seconds, child) = start(&program, &data, port, &["--no-snapshot"]);
    stop(child);
    summary.put("log.start_full_1m_s", seconds);
    summary.put("log.start_full_1m.entries", at as f64);

    filling.log = Some(Log::open(&data.join("log.sqlite")).expect("log"));
    filling.fill(wanted);
    let (entries, origin) = (filling.log().size(), filling.origin.clone());
    eprintln!("  {entries} entries ({} emergencies)", filling.told.emergencies);
    drop(filling);
    let made = maker(&data, &origin).make().expect("a snapshot");
    summary.put("log.entries", entries as f64);
    summary.put("log.snapshot_10m_mb", made.bytes.unwrap_or(0) as f64 / 1e6);
    let size = std::fs::metadata(data.join("log.sqlite")).map_or(0, |found| found.len());
    summary.put("log.bytes_10m_mb", size as f64 / 1e6);
    let (seconds, child) = start(&program, &data, port, &[]);
    summary.put("log.start_10m_s", seconds);
    summary.put("log.start_10m_mem_mb", process::memory(child.id(), "VmHWM"));

    let target = load::Target::new(port, &std::fs::read(data.join("tls.crt")).expect("tls.crt"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let requests = load::statements(&origin, &people, "web-1.shop.prod", 0, APPENDS);
    let mut outcome = runtime.block_on(load::run(&target, 1, requests, false));
    summary.put("log.append_10m_ms.p50", outcome.ms(0.5));
    summary.put("log.append_10m_ms.p99", outcome.ms(0.99));
    receipts(summary, &data, &origin, &outcome.sample);
    stop(child);
    let _ = std::fs::remove_dir_all(&room);
}

/// The receipt in an answer: its bytes, and what a host needs to check it, microseconds.
fn receipts(summary: &mut Summary, data: &Path, origin: &Origin, sample: &[String]) {
    let log = Reader::open(&data.join("log.sqlite")).expect("log");
    let answer = sample.first().expect("an answer");
    let opened: fireaxe_protocol::api::Opened = serde_json::from_str(answer).expect("answer");
    let line = opened.certificate.expect("certificate");
    let serial = ssh_key::Certificate::from_openssh(&line).expect("certificate").serial();
    let bytes = from_openssh(&line).expect("certificate");
    let cut = cut_receipt(&bytes).expect("receipt");
    summary.put("log.receipt_bytes_10m", cut.receipt.len() as f64);
    let start = clock::now();
    for _ in 0..CHECKS {
        let (body, receipt) = (cut.body.as_bytes(), cut.receipt.as_bytes());
        let proved = receipt::check(body, serial, receipt, log.key(), origin);
        std::hint::black_box(proved.expect("the receipt holds"));
    }
    summary.put("log.receipt_check_us", start.elapsed().as_secs_f64() * 1e6 / f64::from(CHECKS));
}

/// A log that is being filled.
struct Filling {
    /// None while a CA has it.
    log: Option<Log>,
    signer: NoteSigner,
    bundle: Bundle,
    origin: Origin,
    ca: Ed25519Key,
    told: History,
    dice: Dice,
    at: u64,
    step: u64,
}

impl Filling {
    /// A CA as `init` makes it, whose log begins five years ago.
    fn begin(room: &Path, data: &Path, program: &Path, people: &[SigningKey]) -> Filling {
        let policy = crate::scene::policy_without_limits();
        let mut roster = history::roster();
        for (n, key) in people.iter().enumerate() {
            let key = Ed25519Key::from(key);
            roster.push_str(&format!("[person.load{n}]\ngroups = [\"sre\"]\nkeys = [\"{key} load{n}\"]\n"));
        }
        let folder = room.join("bundle");
        std::fs::create_dir_all(&folder).expect("folder");
        std::fs::write(folder.join("policy.toml"), &policy).expect("policy");
        std::fs::write(folder.join("roster.toml"), &roster).expect("roster");
        let mut init = Command::new(program);
        init.arg("init").arg("--data").arg(data).arg("--bundle").arg(&folder).args(["--name", "large.test"]);
        let done = init.output().expect("fireaxe-ca init");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

        let path = data.join("log.sqlite");
        let origin = Reader::open(&path).expect("log").origin().clone();
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(data.join(format!("log.sqlite{ending}")));
        }
        let public = |purpose| Ed25519Key::from(&keys::load(&data.join("keys"), purpose).expect("key"));
        let pinned = PinnedKeys {
            user_ca: public(Purpose::UserCa),
            log: public(Purpose::Log),
            krl: public(Purpose::Krl),
            host_ca: public(Purpose::HostCa),
        };
        let ca = pinned.user_ca;
        let secret = keys::load(&data.join("keys"), Purpose::Log).expect("key");
        let signer = NoteSigner::new(origin.as_str(), secret).expect("signer");
        let at = clock::unix() - YEARS_S;
        let mut log = Log::create(&path, origin.clone(), pinned, at, &signer).expect("log");
        let bundle = Bundle::parse(&policy, &roster).expect("bundle");
        history::activate(&mut log, &bundle, (&policy, &roster), at, &signer);
        let told = History { emergencies: 0, refused: 0, approved: 0, entries: 0 };
        // An emergency brings three entries or so, and its incidents.
        let step = YEARS_S / (ENTRIES / (INCIDENTS + 2));
        Filling { log: Some(log), signer, bundle, origin, ca, told, dice: Dice::new(11), at, step }
    }

    /// Until there are so many entries.
    fn fill(&mut self, entries: u64) {
        let now = clock::unix();
        while self.log().size() < entries {
            let mut turn = Turn {
                batch: self.log.as_mut().expect("an open log").batch().expect("batch"),
                bundle: &self.bundle,
                origin: &self.origin,
                ca: self.ca,
                told: &mut self.told,
            };
            for _ in 0..TOGETHER {
                self.at = (self.at + self.step).min(now);
                turn.emergency(&mut self.dice, self.at);
                for _ in 0..INCIDENTS {
                    append(&mut turn.batch, self.at, &incident(&mut self.dice));
                }
            }
            turn.batch.commit(&self.signer).expect("commit");
        }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("an open log")
    }
}

/// An incident of five hundred, with a title as trackers write them.
fn incident(dice: &mut Dice) -> Event {
    let system = *dice.of(&["payments-db", "web", "build"]);
    Event::IncidentUpdated(IncidentUpdate {
        incident: format!("pd:P{}", dice.below(500)).parse().expect("incident"),
        // None is left open: it would count for what is declared.
        state: IncidentState::Resolved,
        severity: (*dice.of(&[1u8, 2, 3, 4])).try_into().expect("severity"),
        systems: vec![system.parse().expect("system")],
        title: Some(
            "replication lag above 60 s on two replicas, primary refuses writes".parse().expect("title"),
        ),
        by: "operator uid 0".into(),
    })
}

fn maker(data: &Path, origin: &Origin) -> Maker {
    let secret = keys::load(&data.join("keys"), Purpose::Log).expect("key");
    let signer = NoteSigner::new(&SnapshotNote::key_name(origin), secret).expect("signer");
    let reader = Reader::open(&data.join("log.sqlite")).expect("log");
    Maker { reader, path: data.join("state.snapshot"), signer }
}

/// Serves; seconds until it accepts a connection.
fn start(program: &Path, data: &Path, port: u16, more: &[&str]) -> (f64, Child) {
    let begun = clock::now();
    let mut command = bound(program);
    command.arg("serve").arg("--data").arg(data).args(["--listen", &format!("127.0.0.1:{port}")]).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let mut child = command.spawn().expect("fireaxe-ca serve");
    let up = clock::wait_for(PATIENCE, || {
        assert!(child.try_wait().expect("wait").is_none(), "it ended");
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    assert!(up.is_some(), "it does not listen");
    (begun.elapsed().as_secs_f64(), child)
}

fn stop(mut child: Child) {
    end(&mut child);
}

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    free.local_addr().expect("address").port()
}

fn person(n: u64) -> SigningKey {
    let mut seed = [77; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    SigningKey::from_bytes(&seed)
}
