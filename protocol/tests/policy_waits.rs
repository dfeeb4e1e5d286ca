//! What waits, and what it says: claims that others sign, ladders, meanwhiles, limits, extensions. Each reason
//! with its sentence, as a half-asleep engineer reads it.

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
    Bundle, Decision, Facts, IncidentFact, IncidentState, Outcome, Presence, Rung, Signals, Target, Want,
    decide,
};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(path)).unwrap()
}

/// The strict bundle with one thing changed, or none.
fn strict(from: &str, to: &str) -> Bundle {
    let policy = read("cases/strict/policy.toml");
    assert!(policy.contains(from), "{from:?} is not in the bundle");
    let policy = policy.replacen(from, to, 1);
    Bundle::parse(&policy, &read("cases/strict/roster.toml")).unwrap_or_else(|f| panic!("{f:#?}"))
}

fn severity(number: u8) -> Severity {
    number.try_into().unwrap()
}

/// ana, with a verified key, on the whole of a system in a fresh incident of that severity.
fn facts(system: &str, worst: u8) -> Facts {
    Facts {
        at: 1_700_000_000,
        person: "ana".parse().unwrap(),
        groups: vec![],
        presence: Presence::Verified,
        target: Target { system: system.parse().unwrap(), host: None },
        severity: None,
        incident: Some(IncidentFact {
            id: "pd:PGR0VU2".parse().unwrap(),
            state: Some(IncidentState::Open),
            severity: Some(severity(worst)),
            systems: vec![system.parse().unwrap()],
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
        signals: Signals::ordinary(),
    }
}

/// The same by ana's word alone.
fn claim(system: &str, claimed: u8) -> Facts {
    Facts { incident: None, severity: Some(severity(claimed)), ..facts(system, 1) }
}

/// The sentence of the reason with this code, wherever it stands.
fn sentence(decision: &Decision, code: &str) -> String {
    let refused = match &decision.outcome {
        Outcome::Refuse { reasons, .. } => reasons.as_slice(),
        _ => &[],
    };
    let all: Vec<_> = refused.iter().chain(&decision.because).filter(|reason| reason.code == code).collect();
    let [one] = all.as_slice() else { panic!("{code} in {decision:#?}") };
    assert!(one.at.is_some(), "the policy says so, on a line");
    one.sentence.clone()
}

fn ladder(bundle: &Bundle, facts: &Facts) -> Vec<(u32, String)> {
    let decision = decide(&bundle.policy, facts);
    let Outcome::NeedsApproval { ladder, .. } = decision.outcome else { panic!("{decision:#?}") };
    let words = |rung: &Rung| rung.groups.iter().map(|group| group.as_str()).collect::<Vec<_>>().join(" ");
    ladder.iter().map(|rung| (rung.after_s, words(rung))).collect()
}

#[test]
fn a_claim_beyond_the_cap_says_how_many_must_sign_and_who_has() {
    // Four people are on call for everything: ana, eve, jon and dan.
    let policy = read("cases/strict/policy.toml").replacen("co_declare = 2", "co_declare = 3", 1);
    let roster =
        ["[\"payments\"", "[\"contractors\""].iter().fold(read("cases/strict/roster.toml"), |roster, g| {
            roster.replace(&format!("groups = {g}"), &format!("groups = [\"on-call\", {}", &g[1..]))
        });
    let policy = ["security", "sre", "payments-oncall"].iter().fold(policy, |policy, group| {
        policy.replace(&format!("on_call = \"{group}\""), "on_call = \"on-call\"")
    });
    let bundle = Bundle::parse(&policy, &roster).unwrap_or_else(|f| panic!("{f:#?}"));
    let with = |seconds: &[&str], on_call| {
        let seconds = seconds.iter().map(|name| name.parse().unwrap()).collect();
        decide(&bundle.policy, &Facts { seconds, on_call, ..claim("vault", 1) })
    };
    let waiting = |decision: &Decision| sentence(decision, "severity.awaits_second");
    let more = |decision: &Decision| decision.awaits.as_ref().map(|awaits| awaits.more);
    let alone = with(&[], Some(true));
    assert_eq!(
        waiting(&alone),
        "severity 1 by your word alone counts as 2 until 2 more people on call sign it too"
    );
    assert_eq!((more(&alone), alone.severity), (Some(2), Some(severity(2))));
    let awaits = alone.awaits.unwrap();
    assert_eq!((awaits.severity, awaits.from.as_str()), (severity(1), "on-call"));
    let two = with(&["eve"], Some(true));
    assert_eq!(
        waiting(&two),
        "severity 1 by your word and that of eve counts as 2 until 1 more person on call signs it too"
    );
    assert_eq!(more(&two), Some(1));
    let three = with(&["eve", "jon"], Some(true));
    assert_eq!(
        sentence(&three, "severity.seconded"),
        "severity 1 as you claim, signed by ana and eve and jon of on-call"
    );
    assert_eq!((more(&three), three.severity), (None, Some(severity(1))));
    // Nobody counts twice, and only who is known to be on call counts.
    for (seconds, on_call, still) in [
        (["ana", "ana", "eve"], Some(true), Some(1)),
        (["eve", "eve", "eve"], Some(true), Some(1)),
        (["eve", "jon", "jon"], Some(false), Some(1)),
        (["eve", "jon", "jon"], None, Some(1)),
        (["eve", "jon", "dan"], None, None),
    ] {
        assert_eq!(more(&with(&seconds, on_call)), still, "{seconds:?} {on_call:?}");
    }
}

#[test]
fn what_rests_on_a_claim_does_not_rest_on_an_incident_that_did_not_count() {
    let bundle = strict("", "");
    let mut stale = facts("web", 1);
    stale.incident.as_mut().unwrap().age_s = 7200;
    stale.severity = Some(severity(1));
    let waiting = decide(&bundle.policy, &stale);
    assert_eq!(
        sentence(&waiting, "incident.stale"),
        "pd:PGR0VU2 does not count: the last word on it is 2 h old, at most 1h counts"
    );
    assert!(waiting.awaits.is_some() && waiting.rests_on(&stale).is_none());
    stale.seconds = vec!["ben".parse().unwrap()];
    let founded = decide(&bundle.policy, &stale);
    assert!(founded.awaits.is_none() && founded.rests_on(&stale).is_none());
    let fresh = facts("web", 1);
    assert!(decide(&bundle.policy, &fresh).rests_on(&fresh).is_some());
}

#[test]
fn those_on_no_rung_are_asked_at_once_and_the_rungs_follow() {
    assert_eq!(
        ladder(&strict("", ""), &facts("payments-db", 1)),
        [(0, "payments-oncall".to_owned()), (90, "sre-leads".to_owned())]
    );
    // A tier without rungs asks everybody at once, each group once, sorted.
    assert_eq!(
        ladder(&strict("", ""), &facts("payments-db", 2)),
        [(0, "payments-oncall sre-leads".to_owned())]
    );
    // With several lists too.
    assert_eq!(ladder(&strict("", ""), &facts("vault", 1)), [(0, "security sre-leads".to_owned())]);
    // A group may be woken again.
    let again =
        strict("[\"90s sre-leads\"]", "[\"90s sre-leads\", \"5m payments-oncall\", \"9m sre-leads\"]");
    assert_eq!(
        ladder(&again, &facts("payments-db", 1)),
        // All are on a rung: the first is called at once.
        [(0, "sre-leads".to_owned()), (300, "payments-oncall".to_owned()), (540, "sre-leads".to_owned())]
    );
}

#[test]
fn a_rule_that_leaves_fewer_groups_drops_the_others_rungs() {
    let rungs = "[\"90s sre-leads\", \"5m payments-oncall\"]";
    let bundle = |from: &str| {
        let rule = format!(
            "[[rule]]\nid = \"fewer\"\nwhen = {{ drill = true }}\n\
             add = {{ approvals = {{ count = 1, from = [{from}] }} }}\nwhy = \"x\"\n\n[[exception]]"
        );
        let policy = read("cases/strict/policy.toml").replacen("[\"90s sre-leads\"]", rungs, 1);
        // The leads as they are, one more on call, so that either alone is enough.
        let roster = read("cases/strict/roster.toml")
            .replace("[\"payments\", \"security\"]", "[\"payments-oncall\", \"payments\", \"security\"]");
        let roster =
            roster.replacen("groups = [\"sre-leads\"]", "groups = [\"sre-leads\", \"payments-oncall\"]", 1);
        Bundle::parse(&policy.replacen("[[exception]]", &rule, 1), &roster)
            .unwrap_or_else(|f| panic!("{f:#?}"))
    };
    let drill = Facts { drill: true, ..facts("payments-db", 1) };
    // The first rung stays away; the one that is left is called at once.
    assert_eq!(ladder(&bundle("\"payments-oncall\""), &drill), [(0, "payments-oncall".to_owned())]);
    assert_eq!(ladder(&bundle("\"sre-leads\""), &drill), [(0, "sre-leads".to_owned())]);
}

#[test]
fn what_a_rule_asks_for_also_is_asked_at_once() {
    let mut raised = facts("payments-db", 1);
    raised.signals.severity_raised = Some(true);
    assert_eq!(
        ladder(&strict("", ""), &raised),
        [(0, "payments-oncall security".to_owned()), (90, "sre-leads".to_owned())]
    );
}

/// A row whose worst cell is guarded and free, whose next is root and waits, naming guarded as its meanwhile.
fn upside_down() -> Bundle {
    let policy = read("cases/strict/policy.toml")
        .replacen("approvals = { count = 2, from = [\"sre-leads\", \"payments-oncall\"] }\nmeanwhile = \"watched\"\nescalate = [\"90s sre-leads\"]\n", "", 1)
        .replacen("high = [\"deny\", \"look\", \"watched\", \"guarded\"]", "high = [\"deny\", \"look\", \"root\", \"guarded\"]", 1)
        .replacen("ttl = \"1h\"\n", "ttl = \"1h\"\napprovals = { count = 1, from = [\"sre-leads\", \"security\"] }\nmeanwhile = \"guarded\"\n", 1);
    Bundle::parse(&policy, &read("cases/strict/roster.toml")).unwrap_or_else(|f| panic!("{f:#?}"))
}

#[test]
fn a_meanwhile_that_stands_at_a_worse_severity_is_never_held() {
    let bundle = upside_down();
    let want = Some(Want::Tier("root".parse().unwrap()));
    let decision = decide(&bundle.policy, &Facts { want, ..facts("payments-db", 1) });
    assert_eq!(decision.terms_waiting().unwrap().tier.as_str(), "root");
    // guarded has root's power and waits for nobody; as a meanwhile it would be more than a milder row gives.
    assert_eq!(decision.terms_now().unwrap().tier.as_str(), "look");
    // Asked for by itself it is to be had, and that is said.
    let Outcome::NeedsApproval { smaller: Some(smaller), .. } = decision.outcome else { panic!() };
    assert_eq!(smaller.want.unwrap().as_str(), "guarded");
}

#[test]
fn an_exception_that_gives_less_is_not_got_round_by_what_is_held_or_offered() {
    // The row gives root and fix freely; the exception makes it watched, which waits.
    let exception = "[[exception]]\nid = \"half\"\nwhen = { systems = [\"web\"], severities = [1] }\n\
                     tier = \"watched\"\nowner = \"sre\"\nfrom = 2020-01-01\nuntil = 2030-01-01\nwhy = \"x\"\n\n\
                     [[exception]]";
    let decision = decide(&strict("[[exception]]", exception).policy, &facts("web", 1));
    assert_eq!(decision.terms_waiting().unwrap().tier.as_str(), "watched");
    assert_eq!(decision.terms_now().unwrap().tier.as_str(), "fix");
    let Outcome::NeedsApproval { smaller: Some(smaller), .. } = decision.outcome else { panic!() };
    assert_eq!(smaller.want.unwrap().as_str(), "fix");
}

#[test]
fn what_is_wrong_with_its_time_alone_is_offered_as_it_is() {
    // guarded and root have the same power and wait for nobody.
    let policy = read("cases/strict/policy.toml")
        .replacen("approvals = { count = 2, from = [\"sre-leads\", \"payments-oncall\"] }\nmeanwhile = \"watched\"\nescalate = [\"90s sre-leads\"]\n", "", 1)
        .replacen("high = [\"deny\", \"look\", \"watched\", \"guarded\"]", "high = [\"deny\", \"look\", \"root\", \"guarded\"]", 1);
    let bundle =
        Bundle::parse(&policy, &read("cases/strict/roster.toml")).unwrap_or_else(|f| panic!("{f:#?}"));
    for want in ["root", "guarded"] {
        let asked = Some(Want::Tier(want.parse().unwrap()));
        let long = Facts { want: asked, for_s: Some(7200), ..facts("payments-db", 1) };
        let Outcome::Refuse { smaller: Some(smaller), .. } = decide(&bundle.policy, &long).outcome else {
            panic!()
        };
        assert_eq!((smaller.terms.tier.as_str(), smaller.want), (want, None));
    }
}

#[test]
fn of_two_rules_that_ask_the_same_groups_also_the_larger_asks_for_both() {
    let rule = |id: &str, count: u8| {
        format!(
            "[[rule]]\nid = \"{id}\"\nwhen = {{ drill = true, tiers = [\"watched\"] }}\n\
             add = {{ also = {{ count = {count}, from = [\"security\"] }} }}\nwhy = \"x\"\n\n"
        )
    };
    for (first, second) in [(1, 2), (2, 1)] {
        let rules = format!("{}{}[[exception]]", rule("a", first), rule("b", second));
        let drill = Facts { drill: true, ..facts("payments-db", 2) };
        let decision = decide(&strict("[[exception]]", &rules).policy, &drill);
        let asked: Vec<(u8, usize)> =
            decision.terms_waiting().unwrap().approvals.iter().map(|a| (a.count, a.from.len())).collect();
        assert_eq!(asked, [(1, 2), (2, 1)], "1 of those on call and the leads, 2 of security");
        assert_eq!(
            sentence(&decision, "approvals.needed"),
            "tier watched waits for 1 of payments-oncall or sre-leads and 2 of security"
        );
    }
}

#[test]
fn limits_say_what_was_counted_what_is_allowed_and_what_to_do() {
    let bundle = strict("", "");
    let mut many = facts("payments-db", 2);
    (many.signals.declared_1h, many.signals.asked_1h) = (6, 3);
    let decision = decide(&bundle.policy, &many);
    assert_eq!(
        sentence(&decision, "rate.declarations"),
        "ana has declared 6 emergencies within the hour; the policy allows 6: extend one that you hold, or wait"
    );
    assert_eq!(
        sentence(&decision, "rate.asks"),
        "ana has asked for approval 3 times within the hour; the policy allows 3: take what needs nobody's approval, extend what you hold, or wait"
    );
    // An extension wakes people like any other request.
    many.extension = 1;
    let Outcome::Refuse { reasons, smaller } = decide(&bundle.policy, &many).outcome else { panic!() };
    assert_eq!(reasons.iter().map(|r| r.code.as_str()).collect::<Vec<_>>(), ["rate.asks"]);
    assert_eq!(smaller.unwrap().terms.tier.as_str(), "look");
    // Where the severity itself is refused, the limit is told as well: what is offered would meet it.
    many.extension = 0;
    many.severity = Some(severity(1));
    let Outcome::Refuse { reasons, smaller } = decide(&bundle.policy, &many).outcome else { panic!() };
    let codes: Vec<&str> = reasons.iter().map(|r| r.code.as_str()).collect();
    assert_eq!(codes, ["severity.above_incident", "rate.declarations"]);
    assert_eq!(smaller, None);
    // A claim of severity 1 that counts as 2 is counted.
    let alone = Facts { signals: many.signals.clone(), ..claim("web", 1) };
    let Outcome::Refuse { reasons, .. } = decide(&bundle.policy, &alone).outcome else { panic!() };
    let codes: Vec<&str> = reasons.iter().map(|r| r.code.as_str()).collect();
    assert_eq!(codes, ["rate.declarations", "severity.above_cap"]);
}

#[test]
fn an_extension_too_many_says_how_many_there_were() {
    let bound = |extends: &str, extension| {
        let bundle = strict("ttl = \"1h\"\n", &format!("ttl = \"1h\"\n{extends}"));
        sentence(&decide(&bundle.policy, &Facts { extension, ..facts("web", 1) }), "extension.bound")
    };
    assert_eq!(
        bound("", 4),
        "this emergency has been extended 3 times; the policy allows 3 for tier root: declare anew"
    );
    assert_eq!(
        bound("extends = 1\n", 2),
        "this emergency has been extended once; the policy allows 1 for tier root: declare anew"
    );
    assert_eq!(bound("extends = 0\n", 1), "the policy allows no extension for tier root: declare anew");
}

#[test]
fn a_signal_that_nobody_can_tell_counts_as_one_that_holds() {
    let bundle = strict("", "");
    let record = |new_network| {
        let mut facts = facts("web", 1);
        facts.signals.new_network = new_network;
        decide(&bundle.policy, &facts).terms_now().unwrap().record
    };
    assert_ne!(record(Some(false)), record(Some(true)));
    assert_eq!(record(None), record(Some(true)));
}
