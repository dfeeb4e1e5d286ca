//! The bundles in `policies/` can be used, decide as their cases say, and print a table.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use fireaxe_protocol::names::{PersonName, TargetName};
use fireaxe_protocol::policy::{Bundle, Role, TestOutcome, check, run_cases, run_tests};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(path)).unwrap()
}

fn bundle(folder: &str) -> Bundle {
    let parsed =
        Bundle::parse(&read(&format!("{folder}/policy.toml")), &read(&format!("{folder}/roster.toml")));
    parsed.unwrap_or_else(|findings| {
        panic!("{}", findings.iter().map(|f| format!("{f}\n")).collect::<String>());
    })
}

fn all_pass(outcomes: &[TestOutcome]) {
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.passed())
        .map(|o| format!("line {}, {}: {}\n", o.line, o.name, o.failures.join("; ")))
        .collect();
    assert!(failed.is_empty(), "{}", failed.concat());
    assert!(!outcomes.is_empty());
}

#[test]
fn the_default_bundle_decides_as_its_own_tests_and_cases_say() {
    let bundle = bundle("default");
    all_pass(&run_tests(&bundle));
    all_pass(&run_cases(&bundle, &read("cases/default.toml")).unwrap());
}

#[test]
fn approvals_rules_and_exceptions_decide_as_the_strict_cases_say() {
    all_pass(&run_cases(&bundle("cases/strict"), &read("cases/strict.toml")).unwrap());
}

#[test]
fn actions_decide_as_their_cases_say() {
    all_pass(&run_cases(&bundle("cases/strict"), &read("cases/strict-actions.toml")).unwrap());
}

#[test]
fn both_bundles_are_total_monotone_and_reachable() {
    for folder in ["default", "cases/strict"] {
        let report = check(&bundle(folder));
        assert_eq!(report.findings, vec![], "{folder}");
    }
}

#[test]
fn the_table_shows_every_system_scope_and_severity() {
    let table = check(&bundle("default")).table;
    println!("{table}");
    for line in [
        "  whole system: sensitivity 4 x blast 3 = 12, row high",
        "  one host alone: sensitivity 4 x blast 2 = 8, row medium",
        "    anybody       deny   look   fix    guarded +1 approving (meanwhile fix); without touch deny (ask for fix)",
        "    anybody       look   look   fix    root",
        "    on call       look   look   fix    root",
        "    not on call   look   look   fix    root +1 approving (meanwhile fix)",
    ] {
        assert!(table.lines().any(|shown| shown == line), "{line:?} is not in\n{table}");
    }
    let strict = check(&bundle("cases/strict")).table;
    println!("{strict}");
    assert!(strict.contains("root +1 approving (meanwhile look)"), "{strict}");
    assert!(strict.contains("guarded +2 approving (meanwhile look)"), "{strict}");
}

#[test]
fn a_case_that_does_not_come_out_says_what_did() {
    let cases =
        "[[case]]\ngiven = { system = \"web\", severity = 1 }\nexpect = { tier = \"look\", approvals = 3 }\n";
    let outcomes = run_cases(&bundle("default"), cases).unwrap();
    assert_eq!(
        outcomes[0].failures,
        ["tier: look is expected, root came out", "approvals: 3 is expected, 0 came out"]
    );
    assert_eq!(outcomes[0].line, 2);
}

#[test]
fn targets_resolve_to_a_system_or_to_one_host_of_it_and_others_get_the_nearest_names() {
    let policy = bundle("default").policy;
    let resolve = |text: &str| policy.resolve(&text.parse::<TargetName>().unwrap());
    assert_eq!(resolve("payments-db").unwrap().host, None);
    let host = resolve("db-3.payments.prod").unwrap();
    assert_eq!((host.system.as_str(), host.host.unwrap().as_str()), ("payments-db", "db-3.payments.prod"));
    assert_eq!(resolve("assets.shop.prod").unwrap().system.as_str(), "web");
    assert_eq!(resolve("payment-db").unwrap_err().nearest[0], "payments-db");
    assert_eq!(resolve("db-3.payment.prod").unwrap_err().nearest[0], "db-*.payments.prod");
    assert!(resolve("db-3.x.payments.prod").is_err());
    let accounts: Vec<String> = policy.accounts().iter().map(ToString::to_string).collect();
    assert_eq!(accounts, ["root", "ops", "look"]);
}

#[test]
fn triggers_are_found_by_the_prefix_of_the_incident() {
    let policy = bundle("default").policy;
    let trigger = policy.trigger_for(&"pd:PGR0VU2".parse().unwrap()).unwrap();
    assert_eq!((trigger.name.as_str(), trigger.grace_s), ("pagerduty", 600));
    assert_eq!(trigger.close_on.as_deref(), Some("incident.resolved"));
    assert!(policy.trigger_for(&"pdx:PGR0VU2".parse().unwrap()).is_none());
    assert_eq!(policy.claim_trigger().unwrap().link_within_s, Some(1800));
}

#[test]
fn the_roster_knows_whose_key_it_is_and_who_holds_which_role() {
    let roster = bundle("default").roster;
    let name = |text: &str| text.parse::<PersonName>().unwrap();
    let ana = roster.person(&name("ana")).unwrap();
    assert_eq!(ana.keys.len(), 2);
    let (person, key) = roster.by_key(&ana.keys[1].fingerprint).unwrap();
    assert_eq!((person.name.as_str(), key.comment.as_str()), ("ana", "ana-spare"));
    assert!(roster.has_role(&name("ben"), Role::IncidentCommander));
    assert!(roster.has_role(&name("ben"), Role::PolicyAdmin));
    assert!(!roster.has_role(&name("ana"), Role::IncidentCommander));
    assert!(!roster.has_role(&name("nobody"), Role::Auditor));
}

#[test]
fn a_command_of_words_is_quoted_for_the_shell() {
    let policy = bundle("cases/strict").policy;
    let look = policy.tier(&"look".parse().unwrap()).unwrap();
    assert_eq!(look.force_command.as_deref(), Some(r"/usr/bin/printf '%s\n' 'it'\''s up'"));
}

#[test]
fn any_changed_byte_changes_the_hash() {
    let (policy, roster) = (read("default/policy.toml"), read("default/roster.toml"));
    let one = Bundle::parse(&policy, &roster).unwrap().hash;
    assert_eq!(one, Bundle::parse(&policy, &roster).unwrap().hash);
    assert_ne!(one, Bundle::parse(&format!("{policy}\n"), &roster).unwrap().hash);
    assert_ne!(one, Bundle::parse(&policy, &format!("{roster}\n")).unwrap().hash);
}
