//! A bundle that is not exactly right is refused: every finding with its file, its line, and the name
//! that was probably meant. Each test changes one thing in a bundle that is right.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use fireaxe_protocol::policy::{Bundle, Finding, check};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(path)).unwrap()
}

fn default() -> (String, String) {
    (read("default/policy.toml"), read("default/roster.toml"))
}

fn strict() -> (String, String) {
    (read("cases/strict/policy.toml"), read("cases/strict/roster.toml"))
}

/// The text with `from` replaced once, and the line on which the change begins.
fn change(text: &str, from: &str, to: &str) -> (String, u32) {
    let at = text.find(from).unwrap_or_else(|| panic!("{from:?} is not in the bundle"));
    let line = text[..at].matches('\n').count() as u32 + 1;
    (text.replacen(from, to, 1), line)
}

fn refused(policy: &str, roster: &str) -> Vec<Finding> {
    Bundle::parse(policy, roster).expect_err("the bundle is taken")
}

/// One change to a policy: exactly this finding, on the line of the change plus `offset`.
fn policy_finding(bundle: (String, String), from: &str, to: &str, code: &str, offset: u32) -> Finding {
    let (policy, line) = change(&bundle.0, from, to);
    let findings = refused(&policy, &bundle.1);
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    let place = (finding.file, finding.line, finding.code);
    assert_eq!(place, ("policy.toml", line + offset, code), "{finding}");
    finding.clone()
}

fn roster_finding(bundle: (String, String), from: &str, to: &str, code: &str, offset: u32) -> Finding {
    let (roster, line) = change(&bundle.1, from, to);
    let findings = refused(&bundle.0, &roster);
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    let place = (finding.file, finding.line, finding.code);
    assert_eq!(place, ("roster.toml", line + offset, code), "{finding}");
    finding.clone()
}

fn help(finding: &Finding) -> &str {
    finding.help.as_deref().unwrap_or_default()
}

#[test]
fn a_misspelt_key_that_is_needed_is_both_missing_and_unknown() {
    let (policy, line) = change(&default().0, "sensitivity = 4 ", "sensitivty = 4 ");
    let findings = refused(&policy, &default().1);
    let [missing, unknown] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!((missing.line, missing.code), (line - 2, "key.missing"));
    assert_eq!(missing.message, "`system.payments-db` has no `sensitivity`");
    assert_eq!((unknown.line, unknown.column, unknown.code), (line, 1, "key.unknown"));
    assert_eq!(help(unknown), "did you mean `sensitivity`?");
}

#[test]
fn a_misspelt_optional_key_is_refused_with_the_nearest_one() {
    for (from, to, meant) in [
        ("presence = \"touch\"\n", "presense = \"touch\"\n", "presence"),
        ("grace = \"10m\"", "grase = \"10m\"", "grace"),
        ("link_within =", "linkwithin =", "link_within"),
    ] {
        let finding = policy_finding(default(), from, to, "key.unknown", 0);
        assert_eq!(help(&finding), format!("did you mean `{meant}`?"));
    }
    let finding = policy_finding(strict(), "when = { drill", "when = { dril", "key.unknown", 0);
    assert_eq!(help(&finding), "did you mean `drill`?");
    let finding = policy_finding(strict(), "add = { ttl", "add = { tll", "key.unknown", 0);
    assert_eq!(help(&finding), "did you mean `ttl`?");
    let finding = roster_finding(default(), "auditor =", "auditer =", "key.unknown", 0);
    assert_eq!(help(&finding), "did you mean `auditor`?");
}

#[test]
fn an_undefined_name_is_refused_with_the_nearest_one() {
    for (from, to, code, meant) in [
        ("\"fix\",  \"root\", \"root\"", "\"fix\",  \"rot\", \"root\"", "tier.undefined", "root"),
        (
            "on_call = \"payments-oncall\"",
            "on_call = \"payment-oncall\"",
            "group.undefined",
            "payments-oncall",
        ),
        ("owner = \"payments\"", "owner = \"paymnts\"", "group.undefined", "payments"),
    ] {
        let finding = policy_finding(default(), from, to, code, 0);
        assert_eq!(help(&finding), format!("did you mean `{meant}`?"));
    }
    for (from, to, code, meant) in [
        ("meanwhile = \"watched\"", "meanwhile = \"wached\"", "tier.undefined", "watched"),
        (
            "systems = [\"payments-db\"]\naccount",
            "systems = [\"paymentsdb\"]\naccount",
            "system.undefined",
            "payments-db",
        ),
        ("when = { systems = [\"web\"]", "when = { systems = [\"wep\"]", "system.undefined", "web"),
        (
            "when = { drill = true }",
            "when = { triggers = [\"pagerdoty\"] }",
            "trigger.undefined",
            "pagerduty",
        ),
        ("tier = \"fix\"\nowner", "tier = \"fux\"\nowner", "tier.undefined", "fix"),
        ("{ count = 1, from = [\"sre\"] }", "{ count = 1, from = [\"srr\"] }", "group.undefined", "sre"),
        (
            "groups = [\"contractors\"], tiers = [\"root\"]",
            "groups = [\"contractor\"], tiers = [\"root\"]",
            "group.undefined",
            "contractors",
        ),
    ] {
        let finding = policy_finding(strict(), from, to, code, 0);
        assert_eq!(help(&finding), format!("did you mean `{meant}`?"));
    }
    let finding =
        roster_finding(default(), "{ group = \"audit\" }", "{ group = \"audits\" }", "group.undefined", 0);
    assert_eq!(help(&finding), "did you mean `audit`?");
}

#[test]
fn a_broken_part_is_not_called_undefined_as_well() {
    let finding = policy_finding(default(), "power = 2\n", "power = 0\n", "value.invalid", 0);
    assert!(finding.message.contains("`tier.fix.power`: 0 is not from 1 to 100"), "{finding}");
}

#[test]
fn an_unused_part_is_refused() {
    let unused = "[tier.spare]\npower = 3\naccount = \"root\"\nttl = \"5m\"\n\n# See how";
    policy_finding(default(), "# See how", unused, "tier.unused", 0);
    // A meanwhile and a ladder are of no use to a tier that never waits.
    let never_waiting = |line: &str| {
        let (policy, roster) = default();
        let rule = policy.find("# Somebody who is not on call").unwrap();
        let tests = policy.find("# --- Worked examples").unwrap();
        let policy = format!("{}{}", &policy[..rule], &policy[tests..]);
        let (from, to) =
            (policy.find("approvals = {").unwrap(), policy.find("presence = \"touch\"").unwrap());
        let policy = format!("{}{line}\n{}", &policy[..from], &policy[to..]);
        (policy, roster)
    };
    let meanwhile = "meanwhile = \"fix\"";
    policy_finding(never_waiting(meanwhile), meanwhile, meanwhile, "tier.meanwhile_unused", 0);
    let escalate = "escalate = [\"90s sre-leads\"]";
    let (policy, roster) = never_waiting(escalate);
    let codes: Vec<&str> = refused(&policy, &roster).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["tier.escalate_unused", "escalate.cannot_approve"]);
    let (capped, _) = change(&default().0, "severity_cap = 2 ", "severity_cap = 1 ");
    let here = "[trigger.manual]";
    policy_finding((capped, default().1), here, here, "trigger.co_declare_unused", 0);
    let never_closing = (change(&default().0, "close_on = \"incident.resolved\"\n", "").0, default().1);
    policy_finding(never_closing, "[trigger.pagerduty]", "[trigger.pagerduty]", "trigger.grace_unused", 0);
    let too_strong = (change(&strict().0, "power = 2\n\n[[rule]]", "power = 9\n\n[[rule]]").0, strict().1);
    policy_finding(too_strong, "[action.restart", "[action.restart", "action.unused", 0);
    policy_finding(strict(), "params = { shard =", "params = { more = \"x\", shard =", "param.unused", 0);
    policy_finding(strict(), "payments@{shard}", "payments@{shard}{shart}", "param.undefined", 0);
}

#[test]
fn a_hole_in_the_table_is_refused() {
    policy_finding(
        default(),
        "\"look\", \"look\", \"fix\",  \"root\"]",
        "\"look\", \"fix\",  \"root\"]",
        "risk.hole",
        0,
    );
    policy_finding(default(), "high = 16 }", "high = 12 }", "risk.hole", 0);
    policy_finding(default(), "{ low = 3, medium = 8,", "{ low = 3, tiny = 1, medium = 8,", "risk.hole", 0);
    policy_finding(default(), ", default = 4 }", " }", "severity.hole", 0);
    policy_finding(default(), "low = 3,", "low = 8,", "risk.repeated", 0);
    let finding = policy_finding(
        default(),
        "high   = [\"deny\"",
        "higher = [\"deny\", \"look\", \"fix\", \"guarded\"]\nhigh   = [\"deny\"",
        "key.unknown",
        0,
    );
    assert_eq!(help(&finding), "did you mean `high`?");
}

#[test]
fn hosts_belong_to_one_system_and_none_has_a_systems_name() {
    let finding =
        policy_finding(default(), "\"assets.shop.prod\"", "\"*-1.payments.prod\"", "hosts.overlap", 0);
    assert!(finding.message.contains("`db-*.payments.prod` of system `payments-db`"), "{finding}");
    policy_finding(default(), "\"assets.shop.prod\"", "\"web-1.shop.prod\"", "hosts.overlap", 0);
    policy_finding(default(), "\"assets.shop.prod\"", "\"db-1.*.prod\"", "hosts.overlap", 0);
    let named = "[system.\"web-9.shop.prod\"]\nhosts = [\"a.b\"]\nsensitivity = 1\nblast = 1\nowner = \"sre\"\non_call = \"sre\"\n\n[system.build]";
    policy_finding(default(), "[system.build]", named, "hosts.system_name", 0);
}

#[test]
fn values_must_be_what_they_should_be() {
    for (from, to, says) in [
        ("version = 1", "version = 2", "2 is not from 1 to 1"),
        ("ttl = \"45m\"", "ttl = \"45\"", "is not a duration"),
        ("ttl = \"45m\"", "ttl = \"59s\"", "is not from 1m to 8h"),
        ("ttl = \"45m\"", "ttl = \"481m\"", "is not from 1m to 8h"),
        ("ttl = \"45m\"", "ttl = 45", "a text in quotes is expected"),
        ("sensitivity = 4", "sensitivity = 5", "5 is not from 1 to 4"),
        ("presence = \"touch\"", "presence = \"tuch\"", "is not one of the words"),
        ("\"db-*.payments.prod\"", "\"db-?.payments.prod\"", "is not valid"),
        ("\"db-*.payments.prod\"", "\"\"", "is not valid"),
        ("hosts = [\"db-*.payments.prod\"]", "hosts = []", "the list is empty"),
        ("account = \"ops\"", "account = \"o,ps\"", "is not valid"),
        ("account = \"ops\"", "account = \"ops\\u001b[2J\"", "\\u{1b}"),
        ("ids = \"pd\"", "ids = \"pd:\"", "lower-case letters"),
        ("force_command = \"uptime;", "force_command = \"uptime\\n", "printable ASCII"),
    ] {
        let finding = policy_finding(default(), from, to, "value.invalid", 0);
        assert!(finding.message.contains(says), "{finding}");
        assert!(!finding.to_string().contains('\u{1b}'));
    }
    let finding = policy_finding(strict(), "\"/usr/bin/printf\"", "\"printf\"", "value.invalid", 0);
    assert!(finding.message.contains("absolute path"), "{finding}");
    policy_finding(strict(), "until = 2027-01-18", "until = 2027-01-11", "exception.never", 0);
    policy_finding(strict(), "until = 2027-01-18", "until = \"2027-01-18\"", "value.invalid", 0);
    policy_finding(
        strict(),
        "extensions = [\"pty\", \"port-forwarding\"]",
        "extensions = [\"pty\", \"pty\"]",
        "value.repeated",
        0,
    );
    policy_finding(
        strict(),
        "extensions = [\"pty\", \"port-forwarding\"]",
        "extensions = [\"agent-forwarding\"]",
        "value.invalid",
        0,
    );
    policy_finding(strict(), "[\"10.0.0.0/8\"]", "[\"10.0.0.1/8\"]", "value.invalid", 0);
    policy_finding(strict(), "add = { approvals = 1 }", "add = { }", "rule.empty", 0);
    policy_finding(strict(), "add = { approvals = 1 }", "add = { deny = false }", "value.invalid", 0);
    policy_finding(strict(), "{ count = 2, from", "{ count = 6, from", "quorum.too_large", 0);
}

#[test]
fn two_triggers_do_not_answer_for_the_same_thing() {
    let second = "[trigger.phone]\nseverity_cap = 3\n\n[trigger.manual]";
    policy_finding(default(), "[trigger.manual]", second, "trigger.overlap", 3);
    let second =
        "[trigger.more]\nids = \"pd\"\nseverity = { default = 4 }\nmax_age = \"1h\"\n\n[trigger.manual]";
    policy_finding(default(), "[trigger.manual]", second, "trigger.overlap", 0);
    policy_finding(default(), "ids = \"pd\"\n", "ids = \"pd\"\nseverity_cap = 2\n", "trigger.both", 1);
}

#[test]
fn the_roster_is_as_strict() {
    let roster = default().1;
    let key = |person: &str| {
        let line = roster.lines().find(|line| line.contains(person) && line.contains("ssh-ed25519")).unwrap();
        let from = line.find("\"ssh").unwrap();
        line[from..].split('"').nth(1).unwrap().to_owned()
    };
    let finding = roster_finding(default(), &key("ben-laptop"), &key("ana-spare"), "key.shared", 0);
    assert!(finding.message.contains("ana's already"), "{finding}");
    roster_finding(default(), &key("ana-laptop"), &key("ana-spare"), "key.repeated", 1);
    let ben = format!("keys = [\"{}\"]", key("ben-laptop"));
    roster_finding(default(), &ben, "keys = []", "person.no_keys", 0);
    roster_finding(
        default(),
        &key("ben-laptop"),
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ== old",
        "value.invalid",
        0,
    );
    roster_finding(default(), "[person.ben]", "[person.Ben]", "value.invalid", 0);
}

#[test]
fn an_alias_names_a_person_who_is_none() {
    let dan = "[person.dan]\n";
    let same = |whom: &str| format!("{dan}same_as = \"{whom}\"\n");
    let finding = roster_finding(default(), dan, &same("dan"), "person.alias", 1);
    assert_eq!(finding.message, "dan is an alias of itself");
    let finding = roster_finding(default(), dan, &same("benn"), "person.alias", 1);
    assert_eq!(
        (finding.message.as_str(), help(&finding)),
        ("there is no person `benn`", "did you mean `ben`?")
    );
    let (roster, _) = change(&default().1, "[person.ana]\n", "[person.ana]\nsame_as = \"ben\"\n");
    let (roster, line) = change(&roster, dan, &same("ana"));
    let findings = refused(&default().0, &roster);
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!((finding.line, finding.code), (line + 1, "person.alias"));
    assert_eq!(finding.message, "ana is an alias itself: name the person");
}

#[test]
fn a_person_is_one_person_under_all_their_names() {
    let (policy, _) = change(&default().0, "co_declare = 2", "");
    let roster = change(&default().1, "[person.dan]\n", "[person.dan]\nsame_as = \"ana\"\n").0;
    let roster = Bundle::parse(&policy, &roster).unwrap_or_else(|f| panic!("{f:#?}")).roster;
    let name = |text: &str| text.parse::<fireaxe_protocol::names::PersonName>().unwrap();
    let of = |text: &str| roster.canonical(&name(text)).to_string();
    assert_eq!([of("dan"), of("ana"), of("ben"), of("nobody")], ["ana", "ana", "ben", "nobody"]);
    // ana, dan who is ana, and ben: two people.
    let groups = ["payments-oncall", "sre-leads"].map(|group| group.parse().unwrap());
    let people: Vec<&str> = roster.distinct_members(&groups).into_iter().map(|name| name.as_str()).collect();
    assert_eq!(people, ["ana", "ben"]);
    assert!(roster.distinct_members(&[]).is_empty());
    assert!(roster.distinct_members(&["nobodies".parse().unwrap()]).is_empty());
    let groups = |text: &str| {
        roster.all_groups(&name(text)).iter().map(|group| group.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(groups("dan"), "payments payments-oncall sre", "those of ana too");
    assert_eq!(groups("ana"), groups("dan"));
    assert_eq!(groups("ben"), "security sre sre-leads");
    assert_eq!(groups("nobody"), "");
}

#[test]
fn a_quorum_must_be_met_by_people_there_are() {
    roster_finding(default(), "quorum = 2", "quorum = 3", "quorum.too_large", 0);
    policy_finding(strict(), "{ count = 2, from", "{ count = 6, from", "quorum.too_large", 0);
}

#[test]
fn a_quorum_must_be_met_without_whoever_asks() {
    // Five people may approve guarded: the five cannot be all of them, nor four without the two who sign.
    let finding = policy_finding(strict(), "{ count = 2, from", "{ count = 5, from", "quorum.too_few", 0);
    assert_eq!(
        finding.message,
        "tier `guarded` wants 5 of payments-oncall or sre-leads to approve for system `payments-db`, and there are \
         too few without whoever asks: nobody approves their own request"
    );
    let finding = policy_finding(strict(), "{ count = 2, from", "{ count = 4, from", "quorum.too_few", 0);
    assert!(finding.message.contains("too few without the 2 people who sign a claim"), "{finding}");
    let alone = (change(&strict().0, "co_declare = 2\n", "").0, strict().1);
    let (four, _) = change(&alone.0, "{ count = 2, from", "{ count = 4, from");
    // Then only the rule that asks for one of security besides is out of reach of nobody.
    assert_eq!(Bundle::parse(&four, &alone.1).map(|_| ()), Ok(()));
    let five = change(&four, "{ count = 4, from", "{ count = 5, from").0;
    assert_eq!(refused(&five, &alone.1)[0].code, "quorum.too_few");
}

#[test]
fn a_group_of_one_cannot_approve_its_own_member_under_any_name() {
    // payments-oncall is ana alone once dan leaves, and dan as another name of ana is nobody more.
    let (policy, roster) = default();
    let lone = "approvals = { count = 1, from = [\"payments-oncall\"] }\nmeanwhile";
    let given = "approvals = { count = 1, from = [\"payments-oncall\", \"sre-leads\"] }\nmeanwhile";
    let policy = change(&policy, given, lone).0;
    let policy = change(&policy, "escalate = [\"90s sre-leads\"]", "").0;
    let policy = change(&policy, "co_declare = 2", "").0;
    Bundle::parse(&policy, &roster).unwrap();
    let alias = change(&roster, "[person.dan]\n", "[person.dan]\nsame_as = \"ana\"\n").0;
    let here = "approvals = { count = 1";
    let finding = policy_finding((policy, alias), here, here, "quorum.too_few", 0);
    assert!(finding.message.contains("tier `guarded` wants 1 of payments-oncall"), "{finding}");
}

#[test]
fn a_rule_is_proved_with_each_tier_it_can_tighten() {
    // The rule's own three leads are there, but not without whoever asks.
    let rule = "add = { approvals = { count = 1, from = [\"sre-leads\"] }, record";
    let more = "add = { approvals = { count = 3, from = [\"sre-leads\"] }, record";
    let finding = policy_finding(strict(), rule, more, "quorum.too_few", 0);
    assert!(
        finding.message.starts_with("rule `contractors` with tier `root` wants 3 of sre-leads"),
        "{finding}"
    );
    // Who owns a system or is on call for it approves where nobody is named; each pair is proved.
    let few = "[person.jon]\ngroups = [\"payments\", ";
    let roster = change(&strict().1, few, "[person.jon]\ngroups = [").0;
    let here = "add = { approvals = 1 }";
    let finding = policy_finding((strict().0, roster), here, here, "quorum.too_few", 0);
    assert!(finding.message.contains("wants 1 of payments or payments-oncall"), "{finding}");
    assert!(finding.message.contains("for system `payments-db`"), "{finding}");
}

#[test]
fn who_signs_a_claim_is_missing_only_where_the_claim_counts() {
    // Two of the three leads are on call for web: both may have signed, but only for severity 1.
    let roster = change(&strict().1, "[person.cleo]\ngroups = [", "[person.cleo]\ngroups = [\"sre\", ").0;
    let given = "when = { overdue_reviews = 2, systems = [\"web\"] }\nadd = { approvals = { count = 1";
    let of = |when: &str| {
        let rule = format!("when = {{ {when}, systems = [\"web\"] }}\nadd = {{ approvals = {{ count = 2");
        Bundle::parse(&change(&strict().0, given, &rule).0, &roster)
            .map_err(|findings| findings.iter().map(|finding| finding.code).collect::<Vec<_>>())
    };
    for never in ["overdue_reviews = 2", "severities = [2, 3]"] {
        assert_eq!(of(never).map(|_| ()), Ok(()), "{never}");
    }
    for possible in ["drill = true", "severities = [1]"] {
        assert_eq!(of(possible).unwrap_err(), ["quorum.too_few"], "{possible}");
    }
}

#[test]
fn a_claim_beyond_the_cap_must_find_people_to_sign_it() {
    let few =
        "groups = [\"payments\", \"payments-oncall\"]\nkeys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILtz";
    let (roster, _) = change(&default().1, few, &few.replace(", \"payments-oncall\"", ""));
    let here = "on_call = \"payments-oncall\"";
    let finding = policy_finding((default().0, roster.clone()), here, here, "trigger.co_declare_too_few", 0);
    assert_eq!(
        finding.message,
        "trigger `manual` wants 2 people on call to sign a claim beyond its cap; `payments-oncall` of system \
         `payments-db` has 1"
    );
    let without = change(&default().0, "co_declare = 2", "").0;
    Bundle::parse(&without, &roster).unwrap();
}

#[test]
fn whoever_is_woken_may_approve() {
    let rung = "escalate = [\"90s sre-leads\"]";
    let finding =
        policy_finding(default(), rung, "escalate = [\"90s payments\"]", "escalate.cannot_approve", 0);
    assert_eq!(help(&finding), "did you mean `payments-oncall`?");
    // A group that nobody is in is undefined as well.
    let (policy, _) = change(&default().0, rung, "escalate = [\"90s secondary\"]");
    let codes: Vec<&str> = refused(&policy, &default().1).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["escalate.cannot_approve", "group.undefined"]);
}

#[test]
fn one_mistake_does_not_hide_the_next() {
    let (policy, roster) = default();
    let (policy, first) = change(&policy, "grace = \"10m\"", "grase = \"10m\"");
    let (policy, second) =
        change(&policy, "\"look\", \"look\", \"fix\",  \"root\"]", "\"look\", \"lok\", \"fix\",  \"root\"]");
    let (policy, third) = change(&policy, "ttl = \"45m\"", "ttl = \"45x\"");
    let (roster, fourth) = change(&roster, "quorum = 2", "quorom = 2");
    let findings = refused(&policy, &roster);
    let places: Vec<(&str, u32)> = findings.iter().map(|f| (f.file, f.line)).collect();
    for place in
        [("policy.toml", first), ("policy.toml", second), ("policy.toml", third), ("roster.toml", fourth)]
    {
        assert!(places.contains(&place), "{place:?} is not in {findings:#?}");
    }
}

#[test]
fn what_is_not_toml_is_refused_with_its_line() {
    let finding = policy_finding(default(), "blast = 3 ", "blast = nought ", "toml.syntax", 0);
    assert!(!finding.message.is_empty());
    for text in ["", "\0", "version = 1", "\u{feff}", "[[[", "a = 'x", "version = 1\nversion = 1"] {
        assert!(!refused(text, text).is_empty());
    }
}

#[test]
fn a_bundle_over_the_limit_is_refused_and_one_at_the_limit_is_read() {
    use fireaxe_protocol::limits;
    let (policy, roster) = default();
    let room = limits::BUNDLE - policy.len() - roster.len() - 1;
    let filled = format!("{policy}#{}", "x".repeat(room));
    assert!(Bundle::parse(&filled, &roster).is_ok());
    assert_eq!(refused(&format!("{filled}x"), &roster)[0].code, "bundle.too_large");
}

/// A change that parses, and that only the whole table shows to be wrong.
fn check_finding(bundle: (String, String), from: &str, to: &str, code: &str, offset: u32) {
    let (policy, line) = change(&bundle.0, from, to);
    let bundle = Bundle::parse(&policy, &bundle.1).unwrap_or_else(|f| panic!("{f:#?}"));
    let findings = check(&bundle).findings;
    let hit = findings.iter().find(|finding| finding.code == code);
    let hit = hit.unwrap_or_else(|| panic!("no {code} in {findings:#?}"));
    assert_eq!((hit.file, hit.line), ("policy.toml", line + offset), "{hit}");
}

#[test]
fn a_row_in_which_a_worse_severity_gives_less_is_found() {
    let row = "[\"look\", \"look\", \"fix\",  \"root\"]";
    check_finding(default(), row, "[\"look\", \"fix\", \"look\",  \"root\"]", "row.not_monotone", 0);
    check_finding(default(), row, "[\"look\", \"look\", \"fix\",  \"deny\"]", "row.not_monotone", 0);
}

#[test]
fn a_larger_band_with_weaker_controls_at_equal_power_is_found_field_by_field() {
    let swap = |t: &str| {
        let t = t.replacen(
            "[\"look\", \"fix\",  \"root\", \"root\"]",
            "[\"look\", \"fix\",  \"root\", \"guarded\"]",
            1,
        );
        (t, default().1)
    };
    // The smaller row has guarded where the larger one has root.
    check_finding(swap(&default().0), "medium = [", "medium = [", "band.not_monotone", 0);
    for (from, to) in [
        ("ttl = \"20m\"\napprovals", "ttl = \"46m\"\napprovals"),
        (
            "extensions = [\"pty\"]\nttl = \"20m\"",
            "extensions = [\"pty\", \"port-forwarding\"]\nttl = \"20m\"",
        ),
        ("presence = \"touch\"\nrecord = \"required\"", "presence = \"touch\"\nrecord = \"none\""),
        ("ttl = \"45m\"", "ttl = \"45m\"\npresence = \"verified\""),
        ("ttl = \"45m\"", "ttl = \"45m\"\nkrl_max_age = \"5m\""),
        ("ttl = \"45m\"", "ttl = \"45m\"\nsource_address = [\"10.0.0.0/8\"]"),
        (
            "ttl = \"45m\"",
            "ttl = \"45m\"\napprovals = { count = 2, from = [\"payments-oncall\", \"sre-leads\"] }",
        ),
        // Two lists that ask one each are two people: one quorum of one does not answer both.
        (
            "ttl = \"45m\"",
            "ttl = \"45m\"\napprovals = [{ count = 1, from = [\"payments-oncall\", \"sre-leads\"] }, \
             { count = 1, from = [\"payments-oncall\", \"sre-leads\"] }]",
        ),
    ] {
        let (policy, roster) = default();
        // Without those who sign a claim there would be too few for two approvals.
        let policy = change(&policy, "co_declare = 2", "").0;
        let (changed, _) = change(&policy, from, to);
        check_finding((changed, roster), "high   = [", "high   = [", "band.not_monotone", 0);
    }
}

#[test]
fn what_no_case_brings_up_is_found() {
    let (policy, roster) = default();
    let small = change(&policy, "sensitivity = 4", "sensitivity = 2").0;
    check_finding((small, roster), "[tier.guarded]", "[tier.guarded]", "tier.unreachable", 0);
    check_finding(
        strict(),
        "id = \"drills-are-short\"\nwhen = { drill = true }",
        "id = \"drills-are-short\"\nwhen = { systems = [\"web\"], tiers = [\"guarded\"] }",
        "rule.unreachable",
        0,
    );
    check_finding(
        strict(),
        "meanwhile = \"watched\"",
        "meanwhile = \"root\"",
        "tier.meanwhile_unreachable",
        0,
    );
    // Reviews count for nothing at severity 1, nor where none is owed; no tier is extended five times.
    let debt = |when: &str| format!("id = \"debt\"\nwhen = {{ {when} }}");
    let given = debt("overdue_reviews = 2, systems = [\"web\"]");
    let only_worst = debt("overdue_reviews = 2, severities = [1]");
    check_finding(strict(), &given, &only_worst, "rule.unreachable", 0);
    let (before, rest) =
        strict().0.split_once("[review]").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let nothing_owed = (format!("{before}{after}"), strict().1);
    check_finding(nothing_owed, &given, &given, "rule.unreachable", 0);
    let long = "id = \"long-days\"\nwhen = { extension = 2 }";
    check_finding(strict(), long, &long.replace('2', "4"), "rule.unreachable", 0);
    // Three is the most that root may be extended.
    let (policy, _) = change(&strict().0, long, &long.replace('2', "3"));
    assert_eq!(check(&Bundle::parse(&policy, &strict().1).unwrap()).findings, vec![]);
    let (policy, _) = change(&strict().0, &given, &debt("overdue_reviews = 2, severities = [1, 2]"));
    assert_eq!(check(&Bundle::parse(&policy, &strict().1).unwrap()).findings, vec![]);
}

#[test]
fn no_tier_is_called_as_the_hosts_self_test_is() {
    let (policy, roster) = default();
    let tier = "[tier.self-test]\npower = 1\naccount = \"look\"\nttl = \"30m\"\n\n[tier.fix]";
    let (policy, line) = change(&policy, "[tier.fix]", tier);
    let findings = refused(&policy, &roster);
    let found = findings.iter().find(|finding| finding.line == line && finding.code == "value.invalid");
    assert!(found.is_some_and(|finding| finding.message.contains("`self-test`")), "{findings:#?}");
}
