//! A bundle of a thousand systems and ten thousand people is read, proved and printed without a wait. What is
//! held is that the cost grows with the bundle and not with its square; `--nocapture` shows the times.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "what is looked at here is how long it takes")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use fireaxe_protocol::policy::{Bundle, check};

/// People in the one group that approves everywhere.
const LEADS: usize = fireaxe_protocol::limits::CALLED - 10;

/// So many systems, each with its own groups and its own rule, and ten people for each.
fn files(systems: usize, people_each: usize) -> (String, String) {
    let mut policy = String::from(
        "version = 1\nlimits = { declarations = 20, asks = 6 }\nreview = { from = [\"leads\"], within = \"72h\" }\n\
         [trigger.pagerduty]\nids = \"pd\"\nseverity = { P1 = 1, default = 4 }\nmax_age = \"1h\"\n\
         [trigger.manual]\nseverity_cap = 2\nco_declare = 2\n\
         [risk]\nbands = { low = 3, medium = 8, high = 16 }\nlow = [\"look\", \"fix\", \"root\", \"root\"]\n\
         medium = [\"look\", \"look\", \"fix\", \"root\"]\nhigh = [\"deny\", \"look\", \"fix\", \"guarded\"]\n\
         [tier.look]\npower = 1\naccount = \"look\"\nttl = \"30m\"\n[tier.fix]\npower = 2\naccount = \"ops\"\n\
         ttl = \"30m\"\n[tier.root]\npower = 3\naccount = \"root\"\nttl = \"30m\"\n[tier.guarded]\npower = 3\n\
         account = \"root\"\nttl = \"30m\"\nmeanwhile = \"fix\"\n\
         approvals = [{ count = 2, from = [\"leads\"] }, { count = 1, from = [\"leads\", \"g0\"] }]\n",
    );
    let mut roster = String::new();
    let key = include_str!("../../policies/default/roster.toml")
        .split('"')
        .find(|t| t.starts_with("ssh-"))
        .unwrap();
    let (algorithm, _) = key.split_once(' ').unwrap();
    for n in 0..systems {
        let (sensitivity, blast) = (1 + n % 4, 1 + n / 4 % 4);
        let _ = write!(
            policy,
            "[system.s{n}]\nhosts = [\"db-{n}-*.fleet.prod\", \"web-{n}.s{n}.prod\"]\nsensitivity = {sensitivity}\n\
             blast = {blast}\nowner = \"o{n}\"\non_call = \"g{n}\"\n\
             [[rule]]\nid = \"r{n}\"\nwhen = {{ systems = [\"s{n}\"], on_call = false }}\nadd = {{ approvals = 1 }}\n\
             why = \"PM-{n}\"\n"
        );
        for p in 0..people_each {
            let blob = key_blob(n * people_each + p);
            // As many leads as a rung may call beside one group.
            let leads = if n * people_each + p < LEADS { "\"leads\", " } else { "" };
            let _ = write!(
                roster,
                "[person.p{n}-{p}]\ngroups = [{leads}\"g{n}\", \"o{n}\"]\nkeys = [\"{algorithm} {blob} p\"]\n"
            );
        }
    }
    (policy, roster)
}

/// A valid key that is no other's.
fn key_blob(n: usize) -> String {
    let seed: [u8; 32] = std::array::from_fn(|i| if i < 8 { n.to_le_bytes()[i] } else { 7 });
    let public = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes();
    fireaxe_protocol::keys::Ed25519Key(public).to_string().split(' ').nth(1).unwrap().to_owned()
}

/// The time to read and to check, and that nothing is found.
#[allow(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn measured(policy: &str, roster: &str) -> (Duration, Duration) {
    let begun = Instant::now();
    let bundle = Bundle::parse(policy, roster).unwrap_or_else(|f| panic!("{:#?}", &f[..f.len().min(5)]));
    let read = begun.elapsed();
    let begun = Instant::now();
    let report = check(&bundle);
    assert_eq!(report.findings, vec![]);
    assert!(report.table.lines().count() > bundle.policy.systems().count() * 10);
    (read, begun.elapsed())
}

#[test]
fn a_thousand_systems_each_with_its_own_groups_and_rule() {
    let ((small, few), (large, many)) = (files(250, 3), files(1000, 3));
    let (_, quarter) = measured(&small, &few);
    let (read, whole) = measured(&large, &many);
    println!(
        "1000 systems, 1000 rules, 3000 people: read in {read:?}, checked in {whole:?} (250 in {quarter:?})"
    );
    // Four times the systems: sixteen times the time would be a square. Wide, for a busy machine.
    assert!(whole < quarter * 11 + Duration::from_millis(200), "{quarter:?} for 250, {whole:?} for 1000");
}

/// Reading ten thousand keys takes a while without optimisation: run with `--ignored --nocapture` to look.
#[test]
#[ignore = "prints how long a thousand systems and ten thousand people take"]
fn a_thousand_systems_and_ten_thousand_people() {
    let (policy, roster) = files(1000, 10);
    let (read, checked) = measured(&policy, &roster);
    println!("1000 systems, 10000 people: read in {read:?}, checked in {checked:?}");
}
