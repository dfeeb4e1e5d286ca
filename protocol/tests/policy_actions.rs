//! Actions: what a bundle may say of them, what may be filled in, and under whose controls they are had; the
//! last against a model that is slow and obvious, on random rows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::Path;

use fireaxe_protocol::limits;
use fireaxe_protocol::names::Severity;
use fireaxe_protocol::policy::{
    Bundle, Command, Decision, Facts, Finding, IncidentFact, IncidentState, Outcome, Presence, Signals,
    Target, Terms, Want, check, decide,
};
use proptest::prelude::*;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(path)).unwrap()
}

/// A bundle of its own, so that every line of it is here.
const POLICY: &str = r#"version = 1
[trigger.pagerduty]
ids = "pd"
severity = { default = 4 }
max_age = "1h"
[trigger.manual]
severity_cap = 2
[system.payments-db]
hosts = ["db-*.payments.prod"]
sensitivity = 4
blast = 3
owner = "payments"
on_call = "payments-oncall"
[system.web]
hosts = ["web-*.shop.prod"]
sensitivity = 1
blast = 2
owner = "sre"
on_call = "sre"
[risk]
bands = { low = 3, high = 16 }
low = ["look", "look", "look", "fix"]
high = ["deny", "look", "fix", "root"]
[tier.look]
power = 1
account = "look"
force_command = "uptime"
ttl = "30m"
[tier.fix]
power = 2
account = "ops"
extensions = ["pty"]
ttl = "30m"
presence = "touch"
record = "best-effort"
krl_max_age = "10m"
source_address = ["10.0.0.0/8"]
[tier.root]
power = 3
account = "root"
extensions = ["pty", "port-forwarding"]
ttl = "1h"
approvals = { count = 1, from = ["sre"] }
[action.restart]
systems = ["payments-db", "web"]
account = "svc"
force_command = ["/usr/bin/systemctl", "restart", "payments@{shard}", "--note={note}", "it's {{up}}!"]
params = { shard = "[0-9]{1,3}", note = "(?s).*" }
power = 2
[action.reboot]
systems = ["payments-db"]
account = "root"
force_command = ["/sbin/reboot"]
power = 3
"#;

fn roster() -> String {
    let text = read("default/roster.toml");
    let keys = text.split('"').filter(|part| part.starts_with("ssh-ed25519 "));
    let people = ["ana", "ben", "cleo"].into_iter().zip(keys);
    people
        .map(|(name, key)| {
            let groups = r#"["payments", "payments-oncall", "sre"]"#;
            format!("[person.{name}]\ngroups = {groups}\nkeys = [\"{key}\"]\n")
        })
        .collect()
}

fn bundle(policy: &str) -> Bundle {
    Bundle::parse(policy, &roster()).unwrap_or_else(|findings| panic!("{findings:#?}"))
}

fn severity(number: u8) -> Severity {
    number.try_into().unwrap()
}

fn params(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// ana, with a verified key, on the whole of payments-db, in a fresh incident.
fn facts(number: u8, action: &str, given: &[(&str, &str)]) -> Facts {
    Facts {
        at: 1_800_000_000,
        person: "ana".parse().unwrap(),
        groups: vec![],
        presence: Presence::Verified,
        target: Target { system: "payments-db".parse().unwrap(), host: None },
        severity: None,
        incident: Some(IncidentFact {
            id: "pd:PGR0VU2".parse().unwrap(),
            state: Some(IncidentState::Open),
            severity: Some(severity(number)),
            systems: vec!["payments-db".parse().unwrap()],
            age_s: 125,
        }),
        on_call: Some(true),
        other_host_open: false,
        open_incidents: vec![],
        want: Some(Want::Action(action.parse().unwrap(), params(given))),
        for_s: None,
        drill: false,
        seconds: vec![],
        extension: 0,
        network: None,
        reviews_overdue: 0,
        signals: Signals::default(),
    }
}

const GOOD: &[(&str, &str)] = &[("note", "x"), ("shard", "12")];

fn permitted(decision: Decision) -> Terms {
    match decision.outcome {
        Outcome::Permit(terms) => terms,
        other => panic!("{other:#?}"),
    }
}

/// The reasons as `code: sentence`, and the smaller request as `want/tier/action`.
fn told(facts: &Facts) -> (Vec<String>, String) {
    let Outcome::Refuse { reasons, smaller } = decide(&bundle(POLICY).policy, facts).outcome else {
        panic!("granted")
    };
    let smaller = smaller.map_or("none".to_owned(), |s| {
        let want = s.want.map_or("-".to_owned(), |w| w.to_string());
        let action = s.terms.action.map_or("-".to_owned(), |a| a.to_string());
        format!("{want}/{}/{action}", s.terms.tier)
    });
    (reasons.iter().map(|reason| format!("{}: {}", reason.code, reason.sentence)).collect(), smaller)
}

// --- what is granted ------------------------------------------------------------------------------------

#[test]
fn the_terms_are_the_actions_and_every_control_is_the_mildest_tiers() {
    let world = bundle(POLICY);
    for number in [1, 2] {
        let decision = decide(&world.policy, &facts(number, "restart", GOOD));
        let why = decision.because.iter().find(|reason| reason.code == "action.granted").unwrap();
        assert_eq!(
            why.sentence,
            "action restart takes power 2: it has the controls of tier fix (power 2; row high, severity 2)"
        );
        assert_eq!(POLICY.lines().nth(43), Some("[action.restart]"));
        assert_eq!(why.at.as_deref(), Some("policy.toml:44"));
        let terms = permitted(decision);
        let mut asked_for_fix = facts(number, "restart", GOOD);
        asked_for_fix.want = Some(Want::Tier("fix".parse().unwrap()));
        let tier = permitted(decide(&world.policy, &asked_for_fix));
        let expected = Terms {
            account: "svc".parse().unwrap(),
            principals: vec!["svc:payments-db".parse().unwrap()],
            force_command: Some(
                r"/usr/bin/systemctl restart payments@12 '--note=x' 'it'\''s {up}'\!''".to_owned(),
            ),
            extensions: vec![],
            action: Some("restart".parse().unwrap()),
            ..tier
        };
        assert_eq!(terms, expected);
        assert_eq!((terms.presence, terms.krl_max_age_s), (Presence::Touch, Some(600)));
    }
}

#[test]
fn one_hosts_action_opens_that_host_and_its_power_is_its_own() {
    let mut facts = facts(1, "reboot", &[]);
    facts.target.host = Some("db-3.payments.prod".parse().unwrap());
    facts.for_s = Some(300);
    let Outcome::NeedsApproval { full, meanwhile, smaller, ladder, .. } =
        decide(&bundle(POLICY).policy, &facts).outcome
    else {
        panic!("no approval needed")
    };
    assert_eq!(full.principals[0].to_string(), "root:db-3.payments.prod");
    assert_eq!((full.power, full.lifetime_s, full.force_command.as_deref()), (3, 300, Some("/sbin/reboot")));
    assert_eq!(full.approvals[0].count, 1);
    // An action has no weaker form; a tier that can do less may be asked for.
    assert_eq!(meanwhile, None);
    let smaller = smaller.unwrap();
    assert_eq!((smaller.want.unwrap().as_str(), smaller.terms.action), ("fix", None));
    assert!(!ladder.is_empty());
}

#[test]
fn a_tiers_name_is_not_an_actions() {
    let mut facts = facts(1, "restart", GOOD);
    facts.want = Some(Want::Tier("restart".parse().unwrap()));
    assert!(told(&facts).0[0].starts_with("want.unknown"));
}

// --- what is refused ------------------------------------------------------------------------------------

#[test]
fn every_refusal_says_what_there_is_instead() {
    let here = "on payments-db there are: reboot, restart";
    for (facts, reasons, smaller) in [
        (
            facts(1, "restat", GOOD),
            vec![format!(
                "action.unknown: the policy knows no action restat; did you mean `restart`?; {here}"
            )],
            "fix/fix/-",
        ),
        (
            facts(3, "restart", GOOD),
            vec!["action.power: action restart takes power 2: at severity 3 row high gives look (power 1)".into()],
            "look/look/-",
        ),
        (
            facts(4, "restart", GOOD),
            vec!["action.power: action restart takes power 2: at severity 4 row high gives nothing".into()],
            "none",
        ),
        (
            facts(2, "restart", &[("shart", "12")]),
            vec![
                "param.unknown: action restart has no parameter \"shart\"; did you mean `shard`?; it takes \
                 note=(?s).* shard=[0-9]{1,3}"
                    .into(),
                "param.missing: action restart needs note; it takes note=(?s).* shard=[0-9]{1,3}".into(),
                "param.missing: action restart needs shard; it takes note=(?s).* shard=[0-9]{1,3}".into(),
            ],
            "look/look/-",
        ),
        (
            facts(2, "restart", &[("note", "a b"), ("shard", "12\u{1b}[2J; reboot")]),
            vec![
                "param.invalid: parameter shard: \"12\\u{1b}[2J; reboot\" is not [0-9]{1,3}".into(),
                "param.unsafe: parameter note: it would make the word \"--note=a b\"; only letters, digits and \
                 . _ : / @ + = , - reach a shell"
                    .into(),
            ],
            "look/look/-",
        ),
        (
            facts(2, "restart", &[("note", "x"), ("shard", "1"), ("shard", "2")]),
            vec!["param.repeated: parameter shard is given more than once".into()],
            "look/look/-",
        ),
        (
            facts(2, "reboot", &[("shard", "12")]),
            vec![
                "param.unknown: action reboot has no parameter \"shard\"; it takes none".into(),
                "action.power: action reboot takes power 3: at severity 2 row high gives fix (power 2), look \
                 (power 1)"
                    .into(),
            ],
            "fix/fix/-",
        ),
    ] {
        assert_eq!(told(&facts), (reasons, smaller.to_owned()));
    }
}

#[test]
fn an_action_of_another_system_says_where_it_runs() {
    let mut facts = facts(1, "reboot", &[]);
    facts.target.system = "web".parse().unwrap();
    facts.incident.as_mut().unwrap().systems = vec!["web".parse().unwrap()];
    let sentence = "action.elsewhere: action reboot runs on payments-db only; on web there are: restart";
    assert_eq!(told(&facts), (vec![sentence.to_owned()], "fix/fix/-".to_owned()));
}

#[test]
fn where_only_severity_or_time_is_wrong_the_same_action_is_offered() {
    let mut too_bad = facts(1, "restart", GOOD);
    (too_bad.incident, too_bad.severity) = (None, Some(severity(1)));
    let (reasons, smaller) = told(&too_bad);
    assert_eq!((reasons.len(), smaller.as_str()), (1, "-/fix/restart"));
    assert!(reasons[0].starts_with("severity.above_cap"), "{reasons:?}");
    let mut too_long = facts(1, "restart", GOOD);
    too_long.for_s = Some(3600);
    let (reasons, smaller) = told(&too_long);
    assert_eq!((reasons.len(), smaller.as_str()), (1, "-/fix/restart"));
    assert!(reasons[0].starts_with("lifetime.above_tier"), "{reasons:?}");
    let mut untouched = facts(1, "restart", GOOD);
    untouched.presence = Presence::None;
    let (reasons, smaller) = told(&untouched);
    assert_eq!((reasons.len(), smaller.as_str()), (1, "look/look/-"));
    assert!(reasons[0].starts_with("presence.insufficient"), "{reasons:?}");
}

#[test]
fn a_command_above_the_limit_is_refused_and_one_at_the_limit_is_granted() {
    // 16 words of 253 and a blank are 4,064 bytes; the program fills the rest.
    let of = |program: usize| {
        let words: String = ", \"{a}\"".repeat(16);
        let command = format!("[\"/{}\"{words}]", "p".repeat(program - 1));
        let policy = POLICY.replace(r#"["/sbin/reboot"]"#, &format!("{command}\nparams = {{ a = \"a*\" }}"));
        let value = "a".repeat(limits::PARAM);
        let want = facts(1, "reboot", &[("a", &value)]);
        decide(&bundle(&policy).policy, &want).outcome
    };
    let at = limits::FORCE_COMMAND - 16 * (limits::PARAM + 1);
    let Outcome::NeedsApproval { full, .. } = of(at) else { panic!("refused at the limit") };
    assert_eq!(full.force_command.unwrap().len(), limits::FORCE_COMMAND);
    let Outcome::Refuse { reasons, .. } = of(at + 1) else { panic!("granted past the limit") };
    assert_eq!(reasons[0].code, "action.too_long");
    assert!(reasons[0].sentence.contains("4097 bytes"), "{}", reasons[0].sentence);
}

// --- what a bundle may say ------------------------------------------------------------------------------

/// One change: exactly this finding, on the line of the change.
fn finding(from: &str, to: &str, code: &str) -> Finding {
    let at = POLICY.find(from).unwrap_or_else(|| panic!("{from:?} is not in the bundle"));
    let line = POLICY[..at].matches('\n').count() as u32 + 1;
    let findings = Bundle::parse(&POLICY.replacen(from, to, 1), &roster()).expect_err("the bundle is taken");
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!((finding.file, finding.line, finding.code), ("policy.toml", line, code), "{finding}");
    finding.clone()
}

#[test]
fn what_could_never_be_filled_safely_is_a_finding_at_its_place() {
    for (from, to, code, says) in [
        ("[0-9]{1,3}", "[0-9", "param.pattern", "`action.restart.params.shard`: not a pattern: unclosed"),
        ("[0-9]{1,3}", "a)|(?:b", "param.pattern", "unopened group"),
        ("[0-9]{1,3}", "(?u)[0-9]+", "param.pattern", "flag `u`"),
        ("[0-9]{1,3}", r"\\p{Nd}+", "param.pattern", "Unicode not allowed"),
        ("[0-9]{1,3}", "[٠-٩]", "param.pattern", "printable ASCII"),
        ("payments@{shard}", "payments@{shard", "action.brace", "without its other half"),
        ("payments@{shard}", "payments@{shard}}", "action.brace", "without its other half"),
        ("payments@{shard}", "payments @{shard}", "action.word_unsafe", "may hold only letters, digits and"),
        ("payments@{shard}", "={shard}", "action.word_unsafe", "does not begin with '='"),
        ("payments@{shard}", "$(payments@{shard})", "action.word_unsafe", "may hold only"),
        ("payments@{shard}", "payments@{shard}{shart}", "param.undefined", "`{shart}` is no parameter"),
        ("restart\", \"pay", "rest\\nart\", \"pay", "value.invalid", "printable ASCII"),
        ("/sbin/reboot", "reboot", "value.invalid", "absolute path"),
        ("[\"/sbin/reboot\"]", "[]", "value.invalid", "absolute path"),
        (
            "[\"/sbin/reboot\"]",
            "[\"/sbin/{what}\"]\nparams = { what = \"a\" }",
            "action.program",
            "the program itself",
        ),
    ] {
        let found = finding(from, to, code);
        assert!(found.message.contains(says), "{found}");
    }
    let found = finding("shard = \"[0-9]{1,3}\"", "shard = \"[0-9]{1,3}\", more = \"x\"", "param.unused");
    assert_eq!(found.message, "`action.restart.params.more`: no word holds `{more}`");
    let found = finding("payments@{shard}", "payments@{shard}{shart}", "param.undefined");
    assert_eq!(found.help.as_deref(), Some("did you mean `shard`?"));
    let long = format!("[\"/sbin/{}\"]", "x".repeat(limits::FORCE_COMMAND - 5));
    finding("[\"/sbin/reboot\"]", &long, "value.invalid");
    let findings = Bundle::parse(&POLICY.replace("shard", "Shard"), &roster()).unwrap_err();
    assert!(findings.iter().any(|f| f.message.contains("a parameter's name is")), "{findings:#?}");
}

#[test]
fn more_parameters_than_a_statement_holds_are_refused() {
    let of = |n: usize| {
        let words: Vec<String> = (0..n).map(|i| format!("\"{{p{i}}}\"")).collect();
        let each: Vec<String> = (0..n).map(|i| format!("p{i} = \"a\"")).collect();
        let more = format!("[\"/sbin/reboot\", {}]\nparams = {{ {} }}", words.join(", "), each.join(", "));
        Bundle::parse(&POLICY.replace("[\"/sbin/reboot\"]", &more), &roster())
    };
    assert!(of(limits::PARAMS).is_ok());
    assert!(of(limits::PARAMS + 1).is_err());
}

#[test]
fn check_finds_actions_that_nobody_can_have_and_controls_that_fall() {
    let code = |policy: String, code: &str| {
        let findings = check(&bundle(&policy)).findings;
        findings.into_iter().find(|finding| finding.code == code).unwrap_or_else(|| panic!("no {code}"))
    };
    assert_eq!(check(&bundle(POLICY)).findings, vec![]);
    let line = |text: &str| POLICY.lines().position(|l| l == text).unwrap() as u32 + 1;
    let nowhere = POLICY.replace("systems = [\"payments-db\"]", "systems = [\"payments-db\", \"web\"]");
    let found = code(nowhere, "action.unreachable");
    assert_eq!(found.line, line("[action.reboot]") + 1);
    assert_eq!(found.message, "action `reboot` takes power 3, which system `web` gives at no severity");
    let loose = POLICY
        .replace("low = [\"look\", \"look\", \"look\", \"fix\"]", "low = [\"look\", \"look\", \"look\", \"tight\"]")
        .replace("[tier.root]", "[tier.tight]\npower = 4\naccount = \"root\"\nttl = \"10m\"\npresence = \"verified\"\n[tier.root]");
    let found = code(loose.clone(), "action.not_monotone");
    assert!(
        found
            .message
            .contains("those of fix, than in the smaller row `low`, those of tight: presence, lifetime")
    );
    assert_eq!(loose.lines().nth(found.line as usize - 1), Some("[action.restart]"));
}

#[test]
fn the_table_shows_each_action_where_it_runs_and_what_it_is() {
    let table = check(&bundle(POLICY)).table;
    for line in [
        "    action restart",
        "    anybody       deny   deny (ask for look)  as fix; without touch deny (ask for look)  as fix; without \
         touch deny (ask for look)",
        "    anybody       deny   deny (ask for look)  deny (ask for fix); without touch deny (ask for look)  as \
         root +1 approving",
        r"  restart      power 2, account svc, only `/usr/bin/systemctl restart payments@{shard} --note={note} 'it'\''s {up}'\!''`, note is (?s).*, shard is [0-9]{1,3}, no extensions, on payments-db and web  (policy.toml:44)",
    ] {
        assert!(table.lines().any(|shown| shown == line), "{line:?} is not in\n{table}");
    }
    assert_eq!(table.matches("    action reboot\n").count(), 2, "{table}");
}

#[test]
fn a_client_fills_the_same_command_from_what_the_surface_tells_it() {
    let world = bundle(POLICY);
    let action = world.policy.action(&"restart".parse().unwrap()).unwrap();
    let told = Command::parse(action.name.clone(), &action.force_command, &action.params).unwrap();
    assert_eq!(told.fill(&params(GOOD)), action.render(&params(GOOD)));
    let wrong = params(&[("shard", "x")]);
    let codes = |reasons: Vec<fireaxe_protocol::reason::Reason>| -> Vec<String> {
        reasons.into_iter().map(|reason| reason.code).collect()
    };
    assert_eq!(codes(told.fill(&wrong).unwrap_err()), codes(action.render(&wrong).unwrap_err()));
}

// --- under whose controls, against a model --------------------------------------------------------------

/// A tier of a random row: what it can do, and what is asked for it.
#[derive(Debug, Clone)]
struct MTier {
    power: u8,
    presence: usize,
    approvals: u8,
}

const PRESENCE: [&str; 3] = ["none", "touch", "verified"];

fn write(tiers: &[MTier], row: &[usize; 4], power: u8) -> String {
    let cells: Vec<String> =
        row.iter().map(|c| c.checked_sub(1).map_or("\"deny\"".into(), |n| format!("\"t{n}\""))).collect();
    let mut out = POLICY.split("[risk]").next().unwrap().to_owned();
    // The first row has every tier, so that none is unused.
    out += "[risk]\nbands = { low = 3, high = 16 }\nlow = [\"t0\", \"t1\", \"t2\", \"t3\"]\n";
    out += &format!("high = [{}]\n", cells.join(", "));
    for (n, t) in tiers.iter().enumerate() {
        out += &format!("[tier.t{n}]\npower = {}\naccount = \"acc{n}\"\nttl = \"{}m\"\n", t.power, n + 1);
        out += &format!("presence = \"{}\"\nextensions = [\"pty\"]\n", PRESENCE[t.presence]);
        if t.approvals > 0 {
            out += &format!("approvals = {{ count = {}, from = [\"sre\"] }}\n", t.approvals);
        }
    }
    out += "[action.act]\nsystems = [\"payments-db\"]\naccount = \"svc\"\npower = ";
    out + &format!("{power}\nforce_command = [\"/bin/act\", \"{{x}}\"]\nparams = {{ x = \"[a-z]*\" }}\n")
}

fn row() -> impl Strategy<Value = (Vec<MTier>, [usize; 4], u8)> {
    let tier = (1u8..5, 0usize..3, 0u8..3).prop_map(|(power, presence, approvals)| MTier {
        power,
        presence,
        approvals,
    });
    let most = (prop::collection::vec(tier, 4), prop::array::uniform4(0usize..5), 1u8..5);
    most.prop_filter("a power that some tier has", |(tiers, _, power)| {
        tiers.iter().any(|t| t.power >= *power)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_action_is_had_under_the_mildest_tier_of_enough_power_or_not_at_all(
        (tiers, row, power) in row(), number in 1u8..5, presence in 0usize..3, value in "[a-z;]{1,3}"
    ) {
        let world = bundle(&write(&tiers, &row, power));
        let mut asked = facts(number, "act", &[("x", &value)]);
        asked.presence = [Presence::None, Presence::Touch, Presence::Verified][presence];
        // The severity's own cell and the milder ones, each tier where it stands worst; the last that can do
        // as much.
        let mut cells: Vec<usize> = vec![];
        for cell in row.iter().take(usize::from(5 - number)).rev().filter_map(|c| c.checked_sub(1)) {
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        let controls = cells.iter().rev().copied().find(|n| tiers[*n].power >= power);
        let enough = controls.is_some_and(|n| presence >= tiers[n].presence);
        let decision = decide(&world.policy, &asked);
        match &decision.outcome {
            Outcome::Refuse { reasons, smaller } => {
                let codes: Vec<&str> = reasons.iter().map(|reason| reason.code.as_str()).collect();
                let mut expected = vec![];
                expected.extend(value.contains(';').then_some("param.invalid"));
                expected.extend(controls.is_none().then_some("action.power"));
                expected.extend((controls.is_some() && !enough).then_some("presence.insufficient"));
                prop_assert_eq!(codes, expected);
                if let Some(smaller) = smaller {
                    let tier = smaller.want.clone().unwrap();
                    prop_assert!(smaller.terms.power < power);
                    asked.want = Some(Want::Tier(tier));
                    prop_assert_eq!(decide(&world.policy, &asked).outcome, Outcome::Permit(smaller.terms.clone()));
                } else {
                    let free = |n: usize| tiers[n].approvals == 0 && presence >= tiers[n].presence;
                    let less = |n: usize| tiers[n].power < power;
                    let missed = cells.iter().copied().any(|n| free(n) && less(n));
                    prop_assert!(!missed, "a tier that could be had is not offered");
                }
            }
            Outcome::Permit(terms) | Outcome::NeedsApproval { full: terms, .. } => {
                let n = controls.unwrap();
                prop_assert!(enough && !value.contains(';'));
                prop_assert_eq!(terms.tier.as_str(), format!("t{n}"));
                prop_assert_eq!((terms.power, terms.lifetime_s), (power, 60 * (n as u32 + 1)));
                prop_assert_eq!(terms.presence as usize, tiers[n].presence);
                prop_assert_eq!(terms.approvals.iter().map(|a| a.count).sum::<u8>(), tiers[n].approvals);
                let waits = matches!(decision.outcome, Outcome::NeedsApproval { meanwhile: None, .. });
                prop_assert_eq!(waits, tiers[n].approvals > 0);
                prop_assert!(terms.extensions.is_empty());
                prop_assert_eq!(terms.account.as_str(), "svc");
                prop_assert_eq!(terms.principals[0].to_string(), "svc:payments-db");
                prop_assert_eq!(terms.force_command.clone(), Some(format!("/bin/act {value}")));
                prop_assert_eq!(terms.action.as_ref().unwrap().as_str(), "act");
            }
        }
    }
}

#[test]
fn what_the_surface_tells_is_what_the_policy_wrote() {
    let world = bundle(POLICY);
    let action = world.policy.action(&"restart".parse().unwrap()).unwrap();
    let expected: BTreeMap<String, String> =
        params(&[("shard", "[0-9]{1,3}"), ("note", "(?s).*")]).into_iter().collect();
    assert_eq!(action.params, expected);
    assert_eq!(action.force_command[2], "payments@{shard}");
}
