//! The operator's commands on bundles and logs: the real program, whole processes, on generated input.

use std::fs;
use std::path::Path;
use std::process::Command;

use fireaxe_ca::log::Reader;

use super::summary::{Summary, quantile};
use super::{fleet, history};
use crate::clock;
use crate::world::World;

/// So many systems.
const SYSTEMS: usize = 1000;
/// So many emergencies.
const EMERGENCIES: u64 = 10_000;
/// Runs of each command; the median counts.
const RUNS: usize = 3;

/// Records `policy.check_1000_systems_s`, `policy.simulate_10000_s` and `limit.log_replay_s`: reading the same
/// log and checking its tree, with nothing decided.
pub fn measure(summary: &mut Summary, world: &World) {
    let (policy, roster, words) = fleet::bundle(SYSTEMS);
    eprintln!("  a generated bundle: {words}");
    let fleet = world.room("fleet");
    bundle(&fleet, &policy, &roster);
    let seconds = seconds(RUNS, || {
        let said = ca(world, &["policy", "check", &fleet.display().to_string()]);
        assert!(said.contains("the bundle is sound"), "{said}");
    });
    summary.put("policy.check_1000_systems_s", seconds);

    let policy = crate::scene::default_policy();
    let room = world.room("history");
    let log = room.join("log.sqlite");
    let told = history::write(&log, &policy, EMERGENCIES);
    eprintln!(
        "  a generated history: {} emergencies (drawn facts, decided by the default policy), {} refused \
         declarations, {} approvals; {} entries",
        told.emergencies, told.refused, told.approved, told.entries
    );
    let candidate = room.join("candidate");
    fs::create_dir_all(&candidate).expect("folder");
    bundle(&candidate, &shorter(&policy), &history::roster());
    let all = format!("{} decisions: ", told.emergencies + told.refused);
    let replay = median_replay(&log, told.entries);
    summary.put("limit.log_replay_s", replay);
    let (candidate, log) = (candidate.display().to_string(), log.display().to_string());
    let seconds = self::seconds(RUNS, || {
        let said = ca(world, &["policy", "simulate", &candidate, "--against", &log]);
        assert!(said.contains(&all) && !said.contains(" 0 tighter"), "{said}");
    });
    summary.put("policy.simulate_10000_s", seconds);
}

/// The candidate: root for half an hour, so that some decisions come out tighter.
fn shorter(policy: &str) -> String {
    let shorter = policy.replace("ttl = \"45m\"", "ttl = \"30m\"");
    assert_ne!(policy, shorter);
    shorter
}

fn bundle(folder: &Path, policy: &str, roster: &str) {
    fs::write(folder.join("policy.toml"), policy).expect("policy");
    fs::write(folder.join("roster.toml"), roster).expect("roster");
}

/// What `fireaxe-ca` says to people; it must succeed.
fn ca(world: &World, args: &[&str]) -> String {
    let done = Command::new(world.programs().ours("fireaxe-ca")).args(args).output().expect("fireaxe-ca");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "fireaxe-ca {args:?}: {said}");
    said
}

fn median_replay(log: &Path, entries: u64) -> f64 {
    seconds(RUNS, || {
        let mut seen = 0;
        let reader = Reader::open(log).expect("log");
        reader.replay(|_, entry, _| seen += u64::from(entry.at > 0)).expect("a whole log");
        assert_eq!(seen, entries);
    })
}

fn seconds(runs: usize, mut work: impl FnMut()) -> f64 {
    let mut samples = Vec::new();
    for _ in 0..runs {
        let start = clock::now();
        work();
        samples.push(start.elapsed().as_secs_f64());
    }
    quantile(&mut samples, 0.5)
}
