//! `make bench`: the load bench. Needs the release binaries; prints a table, writes
//! `target/bench/summary.json`. See `docs/PERFORMANCE.md` for what the figures mean.

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
use fireaxe_tests::World;
use fireaxe_tests::bench::{ceilings, client, load, process, summary};
use fireaxe_transport::{Ca as Transport, Timeouts};

const HOST: &str = "db-1.payments.prod";
const PEOPLE: u8 = 64;

fn main() {
    let seconds: u64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(2);
    let mut figures = summary::Summary::default();
    let world = World::new();
    eprintln!("this machine's own ceilings");
    ceilings::measure(&mut figures, &world.room("ceilings"));

    // The default policy without its limits, and people with software keys: the declarations need no touch.
    let people: Vec<SigningKey> = (1..=PEOPLE).map(|n| SigningKey::from_bytes(&[n; 32])).collect();
    let mut roster = String::from(fireaxe_tests::scene::COLLEAGUES);
    for (n, key) in people.iter().enumerate() {
        let public = Ed25519Key(key.verifying_key().to_bytes());
        roster.push_str(&format!("\n[person.load{n}]\ngroups = [\"sre\"]\nkeys = [\"{public} load{n}\"]\n"));
    }
    let ana = world.engineer("ana");
    let policy = fireaxe_tests::scene::policy_without_limits();
    let bundle = world.bundle(
        &policy,
        &[(&ana, &["payments", "payments-oncall", "sre", "sre-leads", "security", "audit"])],
        &roster,
    );
    let mut ca = world.ca(&bundle);
    ca.start();
    let pid = ca.pid().expect("a running CA");
    let transport = Transport::new(
        ca.url().parse().expect("address"),
        ca.pin().parse().expect("pin"),
        Timeouts::default(),
    )
    .expect("transport");
    let keys: Keys = transport.get("/v1/keys", None).expect("keys");
    let certificate = std::fs::read(ca.data().join("tls.crt")).expect("tls.crt");
    let target = load::Target::new(ca.port(), &certificate);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");

    eprintln!("the CA: {HOST}, severity 2, fsync on, receipt inside each certificate");
    figures.put("ca.rss_mib.idle", process::memory(pid, "VmRSS"));
    let https = runtime.block_on(load::empty_requests(&target, 64, 200));
    figures.put("limit.https_empty.per_s", https);

    let mut used = 0;
    let mut go = |clients: usize, count: u64, fresh: bool| {
        let requests = load::statements(&keys.origin, &people, HOST, used, count);
        used += count;
        let before = process::cpu(pid);
        let outcome = runtime.block_on(load::run(&target, clients, requests, fresh));
        let cpu_us = (process::cpu(pid) - before).as_secs_f64() * 1e6 / outcome.done as f64;
        load::check_sample(&outcome.sample, &keys.origin, keys.user_ca, &keys.log);
        (outcome, cpu_us)
    };
    go(8, 500, false); // warm
    let (mut one, _) = go(1, 800 * seconds, false);
    figures.put("issue.c1.p50_ms", one.ms(0.5));
    figures.put("issue.c1.p99_ms", one.ms(0.99));
    let (eight, _) = go(8, 2500 * seconds, false);
    figures.put("issue.c8.per_s", eight.per_s());
    let (mut many, cpu_us) = go(64, 4000 * seconds, false);
    figures.put("issue.c64.per_s", many.per_s());
    figures.put("issue.c64.p50_ms", many.ms(0.5));
    figures.put("issue.c64.p99_ms", many.ms(0.99));
    figures.put("issue.cpu_us", cpu_us);
    let (fresh, cpu_us) = go(8, 1200 * seconds, true);
    figures.put("issue.fresh_tls.c8.per_s", fresh.per_s());
    figures.put("issue.fresh_tls.cpu_us", cpu_us);
    figures.put("ca.rss_mib.load", process::memory(pid, "VmHWM"));
    figures.put("issue.total", used as f64);

    eprintln!("the client: whole processes, a software key");
    ana.fireaxe(&[
        "enrol",
        "--person",
        "ana",
        "--addr",
        &ca.url(),
        "--pin",
        &ca.pin(),
        "--key",
        ana.key().path().to_str().unwrap(),
    ])
    .ok();
    figures.put("client.open_ms.p50", client::open_ms(&ana, HOST, 30));
    ana.fireaxe(&["open", HOST, "-s", "2", "-r", "bench"]).ok();
    figures.put("client.match_ms.p50", client::match_ms(&ana, HOST, "ops", 60));

    eprintln!("ratios to the ceilings of this run");
    let crypto = figures.get("limit.verify_sign.per_s").unwrap_or(0.0);
    let rows = figures.get("limit.sqlite_rows64.per_s").unwrap_or(0.0);
    let sync_ms = figures.get("limit.fdatasync_us.p50").unwrap_or(0.0) / 1e3;
    for name in ["issue.c8.per_s", "issue.c64.per_s", "issue.fresh_tls.c8.per_s"] {
        figures.ratio(name, https);
    }
    figures
        .put("ratio.issue.c64.per_s.to_verify_sign", figures.get("issue.c64.per_s").unwrap_or(0.0) / crypto);
    figures
        .put("ratio.issue.c64.per_s.to_sqlite_rows64", figures.get("issue.c64.per_s").unwrap_or(0.0) / rows);
    for name in ["issue.c1.p50_ms", "issue.c1.p99_ms", "issue.c64.p50_ms", "issue.c64.p99_ms"] {
        figures.ratio(name, sync_ms);
    }
    for name in ["issue.cpu_us", "issue.fresh_tls.cpu_us"] {
        figures.ratio(name, 1e6 / crypto);
    }

    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    figures.write(&folder).expect("summary.json");
    eprintln!("written: target/bench/summary.json");
    let told = ca.cmd(&["log", "verify"]);
    told.ok();
    eprint!("{}", told.stderr);
}
