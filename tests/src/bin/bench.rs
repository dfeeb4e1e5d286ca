//! `make bench`: loads the CA, times the client, an approval and the policy tools. Needs the release binaries;
//! prints a table, writes `target/bench/summary.json`. See `docs/PERFORMANCE.md` for what the figures mean.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench that cannot run ends, with a message"
)]

use std::path::PathBuf;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::Keys;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_tests::bench::hosts::Hosts;
use fireaxe_tests::bench::reach;
use fireaxe_tests::bench::summary::{Summary, quantile};
use fireaxe_tests::bench::{
    audit, ceilings, client, decide, load, log_size, offline, process, search, upgrade,
};
use fireaxe_tests::holder::Holder;
use fireaxe_tests::{Ca, Engineer, World};
use fireaxe_transport::{Ca as Transport, Timeouts};
use tokio::runtime::Runtime;

/// Everybody who loads the CA is on call for it: nothing is unusual about what they declare.
const LOADED: &str = "web-1.shop.prod";
/// Nobody who loads the CA is on call for it: each declaration shows a signal and writes an entry that says so.
const UNUSUAL: &str = "db-1.payments.prod";
/// What the client and the approvals are about.
const HOST: &str = "db-1.payments.prod";
/// Declarations of each person at most: one more within the hour would be unusual.
const EACH: u64 = 4;
/// Approvals that are timed.
const APPROVALS: usize = 60;
const LEADS: u8 = 4;

/// Requests of a run, for each second that it was given.
const WARM: u64 = 500;
const ONE: u64 = 800;
const EIGHT: u64 = 2500;
const MANY: u64 = 4000;
const FRESH: u64 = 1200;
const ODD: u64 = 2000;

fn main() {
    if std::env::args().nth(1).is_some_and(|first| first == "fleet") {
        return fleet_alone();
    }
    if std::env::args().nth(1).is_some_and(|first| first == "log") {
        let (world, mut figures) = (World::new(), Summary::default());
        log_size::measure(&mut figures, &world);
        return written(&figures);
    }
    if std::env::args().nth(1).is_some_and(|first| first == "audit") {
        let mut figures = Summary::default();
        audit(&mut figures);
        return written(&figures);
    }
    if std::env::args().nth(1).is_some_and(|first| first == "search") {
        return search_alone();
    }
    let seconds: u64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(2);
    let fleet: u64 = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(10_000);
    let fleet = reach::most(fleet);
    let mut figures = Summary::default();
    if seconds == 0 {
        hosts(&mut figures, fleet);
        return written(&figures);
    }
    let world = World::new();
    eprintln!("this machine's own ceilings");
    ceilings::measure(&mut figures, &world.room("ceilings"));

    let ordinary = WARM + (ONE + EIGHT + MANY + FRESH) * seconds;
    let people: Vec<SigningKey> = (0..ordinary.div_ceil(EACH)).map(|n| key(1, n)).collect();
    let leads: Vec<SigningKey> = (0..LEADS).map(|n| key(2, n.into())).collect();
    let (ana, mut ben) = (world.engineer("ana"), world.engineer("ben"));
    let mut ca = world.ca(&bundle(&world, &ana, &ben, &people, &leads));
    ca.start();
    let transport = transport(&ca);
    let keys: Keys = transport.get("/v1/keys", None).expect("keys");

    issue(&mut figures, &ca, &keys, &people, seconds);

    eprintln!("the client: whole processes, a software key");
    ana.enrol(&ca);
    figures.put("client.open_ms.p50", client::open_ms(&ana, HOST, 30));
    ana.fireaxe(&["open", HOST, "-s", "2", "-r", "bench"]).ok();
    figures.put("client.match_ms.p50", client::match_ms(&ana, HOST, "ops", 60));

    eprintln!("an approval: from the approver's request to the certificate in the waiting agent");
    ca.cmd(&["incident", "put", "pd:BENCH", "--severity", "1", "--system", "payments-db"]).ok();
    ben.enrol(&ca);
    ben.start_agent();
    let scene = upgrade::Scene {
        origin: &keys.origin,
        approvers: &leads,
        words: &[HOST, "--incident", "pd:BENCH", "-r", "bench", "--no-wait"],
        account: "root",
    };
    let mut upgrades = upgrade::upgrade_ms(&scene, &transport, &ben, APPROVALS);
    figures.put("approve.upgrade_ms.p50", quantile(&mut upgrades, 0.5));
    figures.put("approve.upgrade_ms.p99", quantile(&mut upgrades, 0.99));

    eprintln!("the policy");
    decide::measure(&mut figures);
    offline::measure(&mut figures, &world);

    audit(&mut figures);
    eprintln!("search");
    search::measure(&mut figures, &world.room("search"));

    hosts(&mut figures, fleet);

    eprintln!("a large log");
    log_size::measure(&mut figures, &world);

    eprintln!("ratios to the ceilings of this run");
    ratios(&mut figures);
    written(&figures);
    let told = ca.cmd(&["log", "verify"]);
    told.ok();
    eprint!("{}", told.stderr);
}

/// `bench search`: that part alone.
fn search_alone() {
    let (mut figures, world) = (Summary::default(), World::new());
    search::measure(&mut figures, &world.room("search"));
    written(&figures);
}

fn written(figures: &Summary) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    figures.write(&folder).expect("summary.json");
    eprintln!("written: target/bench/summary.json");
}

fn key(kind: u8, n: u64) -> SigningKey {
    let mut seed = [kind; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    SigningKey::from_bytes(&seed)
}

/// The default policy without its limits, and people with software keys: the declarations need no touch.
fn bundle(
    world: &World,
    ana: &Engineer,
    ben: &Engineer,
    people: &[SigningKey],
    leads: &[SigningKey],
) -> PathBuf {
    let mut roster = String::from(fireaxe_tests::scene::COLLEAGUES);
    for (keys, name, group) in [(people, "load", "sre"), (leads, "lead", "sre-leads")] {
        for (n, key) in keys.iter().enumerate() {
            let public = Ed25519Key(key.verifying_key().to_bytes());
            roster.push_str(&format!(
                "\n[person.{name}{n}]\ngroups = [\"{group}\"]\nkeys = [\"{public} {name}{n}\"]\n"
            ));
        }
    }
    let policy = fireaxe_tests::scene::policy_without_limits();
    let on_call: &[&str] = &["payments", "payments-oncall", "sre", "sre-leads", "security", "audit"];
    world.bundle(&policy, &[(ana, on_call), (ben, &["sre"])], &roster)
}

/// `bench fleet N`: a fleet of N and nothing else, at a CA of its own.
fn fleet_alone() {
    let fleet: u64 = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let fleet = reach::most(fleet);
    let mut figures = Summary::default();
    let world = World::new();
    let ana = world.engineer("ana");
    let bundle = world.bundle(
        &fireaxe_tests::scene::policy_without_limits(),
        &[(&ana, ALL)],
        fireaxe_tests::scene::COLLEAGUES,
    );
    let mut ca = world.ca(&bundle);
    ca.start();
    let ana = Holder::new(&ana, &ca);
    reach::measure(&mut figures, &world, &ca, &ana, fleet);
    ca.cmd(&["log", "verify"]).ok();
    written(&figures);
}

/// What an auditor waits for. `bench audit` does this alone; `FIREAXE_BENCH_ENTRIES` is how many entries.
fn audit(figures: &mut Summary) {
    let entries =
        std::env::var("FIREAXE_BENCH_ENTRIES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    eprintln!("an auditor: a log of {entries} entries, verified and replayed");
    audit::measure(figures, entries);
}

/// Groups of somebody who may ask for anything.
const ALL: &[&str] = &["payments", "payments-oncall", "sre", "sre-leads", "security", "audit"];

/// Hosts and the fleet, at a CA of their own. `bench 0 N` does this alone, with a fleet of N.
fn hosts(figures: &mut Summary, fleet: u64) {
    let world = World::new();
    let (ana, ben) = (world.engineer("ana"), world.engineer("ben"));
    let policy = fireaxe_tests::scene::policy_without_limits();
    let bundle = world.bundle(&policy, &[(&ana, ALL), (&ben, ALL)], fireaxe_tests::scene::COLLEAGUES);
    let mut ca = world.ca(&bundle);
    ca.start();
    ca.cmd(&["incident", "put", "pd:BENCH", "--severity", "1", "--system", "payments-db"]).ok();
    let (ana, ben) = (Holder::new(&ana, &ca), Holder::new(&ben, &ca));
    {
        eprintln!("logins: whole processes on loopback, interleaved");
        let hosts = Hosts::new(&world, &ca);
        hosts.logins(figures, &ana, &ben, 60);
        eprintln!("revocations of a live session");
        hosts.revocations(figures, &ana, 100);
        eprintln!("a recording that is flooded");
        hosts.flood(figures, &ca, &ben, 500);
    }
    eprintln!("a fleet of {fleet} simulated hosts on the feed");
    reach::measure(figures, &world, &ca, &ana, fleet);
    ca.cmd(&["log", "verify"]).ok();
}

fn transport(ca: &Ca) -> Transport {
    let (address, pin) = (ca.url().parse().expect("address"), ca.pin().parse().expect("pin"));
    Transport::new(address, pin, Timeouts::default()).expect("transport")
}

/// Declarations over HTTPS, and what they cost the CA.
fn issue(figures: &mut Summary, ca: &Ca, keys: &Keys, people: &[SigningKey], seconds: u64) {
    let pid = ca.pid().expect("a running CA");
    let certificate = std::fs::read(ca.data().join("tls.crt")).expect("tls.crt");
    let target = load::Target::new(ca.port(), &certificate);
    let runtime: Runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    eprintln!("the CA: {} people, severity 2, fsync on, receipt inside each certificate", people.len());
    figures.put("ca.rss_mib.idle", process::memory(pid, "VmRSS"));
    let https = runtime.block_on(load::empty_requests(&target, 64, 200));
    figures.put("limit.https_empty.per_s", https);

    let mut used = 0;
    let mut go = |host: &str, clients: usize, count: u64, fresh: bool| {
        let requests = load::statements(&keys.origin, people, host, used, count);
        used += count;
        let before = process::cpu(pid);
        let outcome = runtime.block_on(load::run(&target, clients, requests, fresh));
        let cpu_us = (process::cpu(pid) - before).as_secs_f64() * 1e6 / outcome.done as f64;
        load::check_sample(&outcome.sample, &keys.origin, keys.user_ca, &keys.log);
        (outcome, cpu_us)
    };
    go(LOADED, 8, WARM, false);
    let (mut one, _) = go(LOADED, 1, ONE * seconds, false);
    figures.put("issue.c1.p50_ms", one.ms(0.5));
    figures.put("issue.c1.p99_ms", one.ms(0.99));
    let (eight, _) = go(LOADED, 8, EIGHT * seconds, false);
    figures.put("issue.c8.per_s", eight.per_s());
    let (mut many, cpu_us) = go(LOADED, 64, MANY * seconds, false);
    figures.put("issue.c64.per_s", many.per_s());
    figures.put("issue.c64.p50_ms", many.ms(0.5));
    figures.put("issue.c64.p99_ms", many.ms(0.99));
    figures.put("issue.cpu_us", cpu_us);
    let (fresh, cpu_us) = go(LOADED, 8, FRESH * seconds, true);
    figures.put("issue.fresh_tls.c8.per_s", fresh.per_s());
    figures.put("issue.fresh_tls.cpu_us", cpu_us);
    figures.put("ca.rss_mib.load", process::memory(pid, "VmHWM"));
    let (unusual, cpu_us) = go(UNUSUAL, 64, ODD * seconds, false);
    figures.put("issue.unusual.c64.per_s", unusual.per_s());
    figures.put("issue.unusual.cpu_us", cpu_us);
    figures.put("issue.total", used as f64);
}

fn ratios(figures: &mut Summary) {
    let of = |figures: &Summary, name: &str| figures.get(name).unwrap_or(0.0);
    let crypto = of(figures, "limit.verify_sign.per_s");
    let rows = of(figures, "limit.sqlite_rows64.per_s");
    let https = of(figures, "limit.https_empty.per_s");
    let sync_ms = of(figures, "limit.fdatasync_us.p50") / 1e3;
    for name in ["issue.c8.per_s", "issue.c64.per_s", "issue.fresh_tls.c8.per_s"] {
        figures.ratio(name, https);
    }
    let many = of(figures, "issue.c64.per_s");
    figures.put("ratio.issue.c64.per_s.to_verify_sign", many / crypto);
    figures.put("ratio.issue.c64.per_s.to_sqlite_rows64", many / rows);
    figures.ratio("issue.unusual.c64.per_s", many);
    for name in ["issue.c1.p50_ms", "issue.c1.p99_ms", "issue.c64.p50_ms", "issue.c64.p99_ms"] {
        figures.ratio(name, sync_ms);
    }
    for name in ["approve.upgrade_ms.p50", "approve.upgrade_ms.p99"] {
        figures.ratio(name, sync_ms);
    }
    for name in ["issue.cpu_us", "issue.fresh_tls.cpu_us", "policy.decide_us"] {
        figures.ratio(name, 1e6 / crypto);
    }
    let replay = of(figures, "limit.log_replay_s");
    figures.ratio("policy.simulate_10000_s", replay);
}
