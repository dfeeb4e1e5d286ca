//! Every reason for which `decide` refuses, at least once: its code, its line, its sentence, and what
//! would be granted instead.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use fireaxe_protocol::names::Severity;
use fireaxe_protocol::policy::{
    Bundle, Decision, Facts, IncidentFact, IncidentState, Outcome, Presence, Signals, Smaller, Target, Want,
    decide,
};
use fireaxe_protocol::reason::Reason;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(path)).unwrap()
}

/// A bundle and the text of its policy, so that lines are told by what stands on them.
struct World {
    bundle: Bundle,
    text: String,
}

impl World {
    fn new(text: String, roster: &str) -> World {
        let bundle = Bundle::parse(&text, &read(roster)).unwrap_or_else(|f| panic!("{f:#?}"));
        World { bundle, text }
    }

    /// The first word of the line that a reason points at.
    fn place(&self, at: &str) -> &str {
        let line: usize = at.strip_prefix("policy.toml:").unwrap().parse().unwrap();
        self.text.lines().nth(line - 1).unwrap().split(' ').next().unwrap()
    }

    fn decide(&self, facts: &Facts) -> Decision {
        decide(&self.bundle.policy, facts)
    }
}

fn default() -> World {
    World::new(read("default/policy.toml"), "default/roster.toml")
}

fn strict_with(more: &str) -> World {
    World::new(format!("{}\n{more}", read("cases/strict/policy.toml")), "cases/strict/roster.toml")
}

fn severity(number: u8) -> Severity {
    number.try_into().unwrap()
}

/// ana, with a verified key, on the whole of payments-db, in a fresh incident of severity 1.
fn facts() -> Facts {
    Facts {
        at: 1_800_000_000,
        person: "ana".parse().unwrap(),
        groups: vec!["payments-oncall".parse().unwrap()],
        presence: Presence::Verified,
        target: Target { system: "payments-db".parse().unwrap(), host: None },
        severity: None,
        incident: Some(IncidentFact {
            id: "pd:PGR0VU2".parse().unwrap(),
            state: Some(IncidentState::Open),
            severity: Some(severity(1)),
            systems: vec!["payments-db".parse().unwrap()],
            age_s: 125,
        }),
        on_call: Some(true),
        other_host_open: false,
        open_incidents: vec![],
        want: None,
        for_s: None,
        drill: false,
        seconds: vec![],
        extension: 0,
        network: None,
        reviews_overdue: 0,
        signals: Signals::default(),
    }
}

fn refusal(world: &World, change: impl FnOnce(&mut Facts)) -> (Vec<Reason>, Option<Smaller>) {
    let mut facts = facts();
    change(&mut facts);
    let Decision { outcome: Outcome::Refuse { reasons, smaller }, .. } = world.decide(&facts) else {
        panic!("granted")
    };
    (reasons, smaller)
}

/// The reasons as `code @line: sentence`, and the smaller request as `severity/want/tier`.
fn told(world: &World, change: impl FnOnce(&mut Facts)) -> (Vec<String>, String) {
    let (reasons, smaller) = refusal(world, change);
    let reasons = reasons.iter().map(|r| match &r.at {
        Some(at) => format!("{} @{}: {}", r.code, world.place(at), r.sentence),
        None => format!("{}: {}", r.code, r.sentence),
    });
    let smaller = smaller.map_or("none".to_owned(), |s| {
        let severity = s.severity.map_or("-".to_owned(), |s| s.to_string());
        let want = s.want.map_or("-".to_owned(), |w| w.to_string());
        format!("{severity}/{want}/{}", s.terms.tier)
    });
    (reasons.collect(), smaller)
}

#[test]
fn a_claim_above_the_cap_that_nobody_else_can_sign() {
    let world = World::new(read("default/policy.toml").replace("co_declare = 2", ""), "default/roster.toml");
    let (reasons, smaller) = told(&world, |f| {
        f.incident = None;
        f.severity = Some(severity(1));
        f.seconds = vec!["dan".parse().unwrap()];
    });
    assert_eq!(
        reasons,
        [
            "severity.above_cap @severity_cap: severity 1 by your word alone: a bare claim may be 2 at worst; claim 2, or name an incident that is worse"
        ]
    );
    assert_eq!(smaller, "2/-/fix");
}

#[test]
fn a_claim_above_the_cap_that_is_refused_at_the_cap_says_that_nobody_can_sign_it() {
    let (reasons, smaller) = told(&strict_with(""), |f| {
        f.incident = None;
        f.severity = Some(severity(1));
        f.for_s = Some(7200);
    });
    assert_eq!(
        reasons,
        [
            "lifetime.above_tier @[tier.watched]: 2h is more than the 20m that tier watched gives",
            "severity.above_cap @severity_cap: severity 1 by your word alone counts as 2, and others can sign only what is open: name an incident that is worse"
        ]
    );
    assert_eq!(smaller, "-/look/look");
}

#[test]
fn a_claim_worse_than_the_incident() {
    let (reasons, smaller) = told(&default(), |f| {
        f.incident.as_mut().unwrap().severity = Some(severity(3));
        f.severity = Some(severity(2));
    });
    assert_eq!(
        reasons,
        [
            "severity.above_incident @[trigger.pagerduty]: severity 2 is worse than the 3 of pd:PGR0VU2 (2 min old)"
        ]
    );
    assert_eq!(smaller, "3/-/look");
}

#[test]
fn no_severity_names_the_incidents_that_are_open() {
    let (reasons, smaller) = told(&default(), |f| {
        f.incident = None;
        f.open_incidents = vec!["pd:A".parse().unwrap()];
    });
    assert_eq!(
        reasons,
        ["severity.missing: no severity: none is claimed; is it for pd:A, which is open on payments-db?"]
    );
    assert_eq!(smaller, "2/-/fix");
    let (reasons, _) = told(&default(), |f| {
        f.incident = None;
        f.open_incidents = vec!["pd:A".parse().unwrap(), "pd:B".parse().unwrap()];
    });
    assert_eq!(reasons, ["severity.missing: no severity: none is claimed; open on payments-db: pd:A, pd:B"]);
}

#[test]
fn an_incident_that_does_not_count_says_why() {
    let of = |change: fn(&mut IncidentFact)| {
        told(&default(), |f| change(f.incident.as_mut().unwrap())).0.first().unwrap().clone()
    };
    for (change, told) in [
        (
            (|i| i.id = "jira:X-1".parse().unwrap()) as fn(&mut IncidentFact),
            "incident.no_trigger: jira:X-1 does not count: no trigger has ids \"jira\"",
        ),
        (
            |i| i.state = None,
            "incident.unknown @[trigger.pagerduty]: pd:PGR0VU2 does not count: the log has never heard of it",
        ),
        (
            |i| i.severity = None,
            "incident.unknown @[trigger.pagerduty]: pd:PGR0VU2 does not count: the log has never heard of it",
        ),
        (
            |i| i.state = Some(IncidentState::Resolved),
            "incident.resolved @[trigger.pagerduty]: pd:PGR0VU2 does not count: it is resolved",
        ),
        (
            |i| i.age_s = 4 * 3600 + 1,
            "incident.stale @[trigger.pagerduty]: pd:PGR0VU2 does not count: the last word on it is 4 h old, at most 4h counts",
        ),
        (
            |i| i.systems = vec!["web".parse().unwrap()],
            "incident.other_system @[trigger.pagerduty]: pd:PGR0VU2 does not count: it is on web, not on payments-db",
        ),
    ] {
        assert_eq!(of(change), told);
    }
    // At its limit an incident still counts.
    let mut at_limit = facts();
    at_limit.incident.as_mut().unwrap().age_s = 4 * 3600;
    assert!(default().decide(&at_limit).terms_now().is_some());
}

#[test]
fn a_policy_without_bare_claims() {
    let policy = read("default/policy.toml");
    let from = policy.find("[trigger.manual]").unwrap();
    let to = policy.find("# --- What there is").unwrap();
    let tests = policy.find("# --- Worked examples").unwrap();
    let policy = format!("{}{}", &policy[..from], &policy[to..tests]);
    let world = World::new(policy, "default/roster.toml");
    let (reasons, smaller) = told(&world, |f| {
        f.incident = None;
        f.severity = Some(severity(4));
    });
    assert_eq!(reasons, ["severity.unclaimable: this policy takes no bare claims: name an incident"]);
    assert_eq!(smaller, "none");
}

#[test]
fn a_cell_that_denies() {
    let (reasons, smaller) = told(&default(), |f| f.severity = Some(severity(4)));
    assert_eq!(
        reasons,
        ["risk.denied @high: payments-db at severity 4: the policy gives nothing (row high)"]
    );
    assert_eq!(smaller, "none");
}

#[test]
fn a_tier_that_the_row_does_not_give_or_that_does_not_exist() {
    let want = |name: &str| Some(Want::Tier(name.parse().unwrap()));
    let (reasons, smaller) = told(&default(), |f| f.want = want("root"));
    assert_eq!(
        reasons,
        ["want.not_given @high: tier root is not to be had at severity 1: row high gives guarded, fix, look"]
    );
    assert_eq!(smaller, "-/fix/fix");
    let (reasons, _) = told(&default(), |f| f.want = want("gaurded"));
    assert_eq!(reasons, ["want.unknown: the policy knows no tier gaurded; did you mean `guarded`?"]);
}

#[test]
fn a_life_too_short_or_too_long_at_the_limit_and_one_past_it() {
    let told_for = |for_s| told(&default(), |f| f.for_s = Some(for_s));
    assert_eq!(told_for(59).0, ["lifetime.too_short: 59s is too short for a login: at least 60 s"]);
    assert_eq!(
        told_for(1201).0,
        ["lifetime.above_tier @[tier.guarded]: 1201s is more than the 20m that tier guarded gives"]
    );
    assert_eq!(told_for(1201).1, "-/fix/fix");
    for for_s in [60, 1200] {
        let decision = default().decide(&Facts { for_s: Some(for_s), ..facts() });
        assert_eq!(decision.terms_waiting().unwrap().lifetime_s, for_s);
        assert_eq!(decision.terms_now().unwrap().lifetime_s, for_s);
    }
    // What waits for nobody is offered as it is, for as long as it lasts.
    let (_, smaller) = told(&default(), |f| {
        f.want = Some(Want::Tier("fix".parse().unwrap()));
        f.for_s = Some(1801);
    });
    assert_eq!(smaller, "-/-/fix");
}

#[test]
fn a_signature_without_the_presence_that_the_tier_needs() {
    let (reasons, smaller) = told(&default(), |f| f.presence = Presence::None);
    assert_eq!(
        reasons,
        [
            "presence.insufficient @[tier.guarded]: tier guarded needs a touch on your key; your signature shows no touch"
        ]
    );
    assert_eq!(smaller, "-/fix/fix");
    let (reasons, _) = told(&strict_with(""), |f| f.presence = Presence::Touch);
    assert_eq!(
        reasons,
        [
            "presence.insufficient @[tier.guarded]: tier guarded needs a touch with PIN or fingerprint on your key; your signature shows a touch"
        ]
    );
}

#[test]
fn a_rule_that_denies_or_leaves_no_approver_or_no_address() {
    let rule = |id: &str, add: &str| {
        strict_with(&format!(
            "[[rule]]\nid = \"{id}\"\nwhen = {{ tiers = [\"guarded\"] }}\nadd = {{ {add} }}\nwhy = \"PM-7\"\n"
        ))
    };
    let (reasons, smaller) = told(&rule("freeze", "deny = true"), |_| {});
    assert!(reasons[0].starts_with("rule.denied @"), "{reasons:?}");
    assert!(reasons[0].ends_with("rule freeze refuses this: PM-7"), "{reasons:?}");
    assert_eq!(smaller, "-/look/look");
    let (reasons, _) = told(&rule("office", "source_address = [\"192.168.0.0/16\"]"), |_| {});
    assert!(reasons[0].ends_with("rule office leaves no address to come from: PM-7"), "{reasons:?}");
    let inside = rule("office", "source_address = [\"10.2.0.0/16\", \"192.168.0.0/16\"]").decide(&facts());
    let Outcome::NeedsApproval { full, .. } = inside.outcome else { panic!("{inside:?}") };
    assert_eq!(full.source_address, ["10.2.0.0/16".parse().unwrap()]);
    let nobody = "approvals = { count = 1, from = [\"sre\"] }";
    let (reasons, _) = told(&rule("sre-only", nobody), |_| {});
    assert!(reasons[0].contains("approvals.nobody"), "{reasons:?}");
    // All of them at once.
    let (reasons, _) = told(&rule("all", &format!("deny = true, {nobody}")), |f| {
        f.presence = Presence::None;
        f.for_s = Some(5);
    });
    let codes: Vec<&str> = reasons.iter().map(|r| r.split([' ', ':']).next().unwrap()).collect();
    assert_eq!(codes, ["lifetime.too_short", "rule.denied", "approvals.nobody", "presence.insufficient"]);
}

#[test]
fn a_target_that_the_policy_does_not_know() {
    let (reasons, smaller) = told(&default(), |f| f.target.system = "payment-db".parse().unwrap());
    assert_eq!(
        reasons,
        ["target.unknown: the policy knows no system payment-db; did you mean `payments-db`?"]
    );
    assert_eq!(smaller, "none");
    let host = |f: &mut Facts| f.target.host = Some("web-1.shop.prod".parse().unwrap());
    let (reasons, smaller) = told(&default(), host);
    assert_eq!(reasons, ["target.unknown @[system.payments-db]: web-1.shop.prod is no host of payments-db"]);
    assert_eq!(smaller, "none");
}

#[test]
fn a_permit_says_how_the_policy_got_there_with_its_lines() {
    let mut facts = facts();
    facts.target.host = Some("db-3.payments.prod".parse().unwrap());
    let world = default();
    let decision = world.decide(&facts);
    let because: Vec<String> = decision
        .because
        .iter()
        .map(|r| format!("{} {}", world.place(r.at.as_deref().unwrap()), r.sentence))
        .collect();
    assert_eq!(
        because,
        [
            "[trigger.pagerduty] severity 1 from pd:PGR0VU2 (2 min old)",
            "medium payments-db, one host: sensitivity 4 x blast 2 = 8, row medium",
            "medium row medium, severity 1: root",
        ]
    );
    let terms = decision.terms_now().unwrap();
    assert_eq!(terms.principals[0].to_string(), "root:db-3.payments.prod");
    assert_eq!((terms.lifetime_s, terms.grace_s, terms.power), (2700, 600, 3));
    assert_eq!((decision.band.as_str(), decision.sensitivity, decision.blast), ("medium", 4, 2));
    assert_eq!(decision.trigger.unwrap().as_str(), "pagerduty");
}

#[test]
fn a_permit_for_the_whole_system_has_the_systems_principal() {
    let decision = default().decide(&facts());
    assert_eq!(decision.terms_waiting().unwrap().principals[0].to_string(), "root:payments-db");
    assert_eq!(decision.terms_now().unwrap().principals[0].to_string(), "ops:payments-db");
}
