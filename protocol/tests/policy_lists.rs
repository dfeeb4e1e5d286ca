//! What the log lists must fit into an entry: a bundle whose rung would call a crowd, or whose system has hosts
//! without end, is found before it can be put in force.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fmt::Write;
use std::path::Path;

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::{Entry, Event, Hash};
use fireaxe_protocol::names::{EmergencyId, GroupName, PersonName};
use fireaxe_protocol::policy::{Bundle, Finding, check, unsound};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(path)).unwrap()
}

/// The roster of the default bundle with `more` people in these groups.
fn with(more: &[(usize, &[&str])]) -> String {
    let mut roster = read("default/roster.toml");
    let mut people = String::new();
    let mut n: u64 = 0;
    for (count, groups) in more {
        for _ in 0..*count {
            n += 1;
            let seed: [u8; 32] = std::array::from_fn(|i| if i < 8 { n.to_le_bytes()[i] } else { 9 });
            let key = Ed25519Key(ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes());
            let _ = writeln!(people, "[person.p{n}]\ngroups = {groups:?}\nkeys = [\"{key} p\"]\n");
        }
    }
    let at = roster.find("[role]").unwrap();
    roster.insert_str(at, &people);
    roster
}

/// What `check` finds, and that the same keeps the bundle from being put in force.
fn found(policy: &str, roster: &str) -> Vec<Finding> {
    let bundle = Bundle::parse(policy, roster).unwrap_or_else(|f| panic!("{f:#?}"));
    let findings = check(&bundle).findings;
    assert_eq!(unsound(&bundle).len(), findings.len(), "{findings:#?}");
    findings
}

fn line_of(text: &str, what: &str) -> u32 {
    text[..text.find(what).unwrap()].matches('\n').count() as u32 + 1
}

#[test]
fn a_rung_may_call_as_many_as_the_limit_says_and_not_one_more() {
    let policy = read("default/policy.toml");
    // Ben is a lead, ana and dan are on call.
    assert_eq!(found(&policy, &with(&[(limits::CALLED - 3, &["sre-leads"])])), vec![]);
    assert_eq!(found(&policy, &with(&[(limits::CALLED - 3, &["payments-oncall"])])), vec![]);
    assert_eq!(found(&policy, &with(&[(limits::CALLED - 2, &["sre-leads"])])).len(), 1);
    let findings = found(&policy, &with(&[(limits::CALLED, &["sre-leads"])]));
    let [rung, rule] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!((rung.file, rung.code), ("policy.toml", "rung.crowd"));
    assert_eq!(rung.line, line_of(&policy, "escalate = [\"90s sre-leads\"]"));
    assert_eq!(
        rung.message,
        "a rung of tier `guarded` may call 257 people at once, of sre-leads; at most 256 are called"
    );
    // The rule makes tier root wait, which has no rungs of its own: all are asked at once.
    assert_eq!(rule.line, line_of(&policy, "add = { approvals = { count = 1, from = [\"payments-oncall\""));
    assert!(rule.message.contains("tier `root` may call 259 people at once"), "{rule}");
    let findings = found(&policy, &with(&[(limits::CALLED - 1, &["payments-oncall"])]));
    let lines: Vec<u32> = findings.iter().map(|finding| finding.line).collect();
    let quorum =
        line_of(&policy, "approvals = { count = 1, from = [\"payments-oncall\", \"sre-leads\"] }\nmean");
    assert_eq!(lines, [quorum, line_of(&policy, "add = { approvals = { count = 1")]);
}

#[test]
fn groups_that_are_called_together_are_counted_together() {
    let also = "[[rule]]\nid = \"also\"\nwhen = { drill = true, tiers = [\"root\"] }\n\
                add = { also = { count = 1, from = [\"security\"] } }\nwhy = \"x\"\n\n# --- Worked";
    let policy = read("default/policy.toml").replacen("# --- Worked", also, 1);
    let half = limits::CALLED / 2;
    // The same people in both groups are the same people.
    let same = with(&[(half, &["payments-oncall", "security"])]);
    assert_eq!(found(&policy, &same), vec![]);
    let apart = with(&[(half, &["payments-oncall"]), (half, &["security"])]);
    let findings = found(&policy, &apart);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!((findings[0].code, findings[0].line), ("rung.crowd", line_of(&policy, "add = { also")));
}

#[test]
fn an_entry_holds_a_rung_at_its_limit() {
    let name = |n: usize| format!("{n:0>32}").replace('0', "a");
    let mut people: Vec<PersonName> = (0..limits::CALLED)
        .map(|n| format!("p{}", name(n)).chars().take(limits::NAME).collect::<String>().parse().unwrap())
        .collect();
    people.sort();
    let groups: Vec<GroupName> = vec!["g".repeat(limits::NAME).parse().unwrap(); 32];
    let event = Event::RungCalled { emergency: EmergencyId(1), of: Hash([7; 32]), rung: 0, groups, people };
    let bytes = Entry { index: 1, at: 1_795_416_501, event, body: None }.encode().unwrap();
    assert!(bytes.len() < limits::ENTRY / 2, "{}", bytes.len());
}

#[test]
fn a_systems_hosts_are_listed_in_entries_and_must_fit_there() {
    let hosts = |bytes: usize| {
        // 64 bytes each, with quotes and comma.
        let hosts: Vec<String> =
            (0..bytes / 64).map(|n| format!("\"h{n:06}.{}.test\"", "x".repeat(48))).collect();
        read("default/policy.toml").replacen(
            "[\"web-*.shop.prod\", \"assets.shop.prod\"]",
            &format!("[{}]", hosts.join(", ")),
            1,
        )
    };
    let roster = read("default/roster.toml");
    let at_limit = hosts(limits::SYSTEM_HOSTS);
    assert_eq!(found(&at_limit, &roster), vec![]);
    let findings = found(&hosts(limits::SYSTEM_HOSTS + 64), &roster);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!((findings[0].code, findings[0].line), ("hosts.too_many", line_of(&at_limit, "[system.web]")));
}
