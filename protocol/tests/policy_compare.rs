//! Comparing: terms field by field, decisions, whole bundles, and what one person gains.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::{ActionName, Principal};
use fireaxe_protocol::policy::{
    Approvals, Awaits, Bundle, Change, ChangeVerdict, Decision, Extension, Facts, Outcome, Presence, Record,
    Rung, Signals, Smaller, Target, Terms, compare, compare_terms, compare_under, decide_again, diff, gains,
    own_gains, simulate,
};
use fireaxe_protocol::reason::Reason;
use proptest::prelude::*;

use ChangeVerdict::{Denied, Looser, Same, Tighter};

/// Its own, so that what the default policy comes to say does not change what these tests show.
const POLICY: &str = include_str!("plain-policy.toml");

// --- Terms ------------------------------------------------------------------------------------------

fn base() -> Terms {
    Terms {
        tier: "fix".parse().unwrap(),
        power: 2,
        account: "ops".parse().unwrap(),
        principals: vec!["ops:payments-db".parse().unwrap()],
        force_command: None,
        extensions: vec![],
        source_address: vec![],
        lifetime_s: 1800,
        approvals: vec![],
        presence: Presence::None,
        record: Record::None,
        krl_max_age_s: None,
        grace_s: 600,
        action: None,
    }
}

fn quorum(count: u8, from: &[&str]) -> Approvals {
    Approvals { count, from: from.iter().map(|group| group.parse().unwrap()).collect() }
}

fn quorums() -> impl Strategy<Value = Vec<Approvals>> {
    let groups = proptest::sample::subsequence(vec!["leads", "oncall", "security", "sre"], 1..=4);
    proptest::collection::vec((1u8..=3, groups).prop_map(|(n, from)| quorum(n, &from)), 0..=3)
}

prop_compose! {
    fn any_terms()(
        tier in prop_oneof!["fix", "root", "look"],
        power in 1u8..=5,
        account in prop_oneof!["ops", "root", "look"],
        scopes in proptest::sample::subsequence(vec!["payments-db", "web", "db-3.payments.prod"], 1..=3),
        force_command in proptest::option::of(prop_oneof!["/bin/look", "/bin/fix"]),
        extensions in proptest::sample::subsequence(vec![Extension::PortForwarding, Extension::Pty], 0..=2),
        source_address in proptest::sample::subsequence(vec!["10.0.0.0/8", "10.2.0.0/16", "192.0.2.0/24"], 0..=3),
        lifetime_s in 60u32..30_000,
        approvals in quorums(),
        presence in prop_oneof![Just(Presence::None), Just(Presence::Touch), Just(Presence::Verified)],
        record in prop_oneof![Just(Record::None), Just(Record::BestEffort), Just(Record::Required)],
        krl_max_age_s in proptest::option::of(60u32..86_400),
        grace_s in 0u32..3600,
        action in proptest::option::of(Just("restart")),
    ) -> Terms {
        let principal = |scope: &&str| format!("{account}:{scope}").parse::<Principal>().unwrap();
        Terms {
            tier: tier.parse().unwrap(),
            power,
            principals: scopes.iter().map(principal).collect(),
            account: account.parse().unwrap(),
            force_command,
            extensions,
            source_address: source_address.iter().map(|range| range.parse().unwrap()).collect(),
            lifetime_s,
            approvals,
            presence,
            record,
            krl_max_age_s,
            grace_s,
            action: action.map(|name| name.parse().unwrap()),
        }
    }
}

/// One field made tighter; `None` where it cannot be.
fn tightened(field: usize, terms: &Terms, extra: &Approvals) -> Option<Terms> {
    let mut t = terms.clone();
    match field {
        0 => t.power = t.power.checked_sub(1)?,
        1 => t.force_command = t.force_command.is_none().then(|| Some("/bin/look".to_owned()))?,
        2 => drop(t.extensions.pop()?),
        3 if t.source_address.is_empty() => t.source_address = vec!["10.2.0.0/16".parse().unwrap()],
        3 => {
            let widest = t.source_address.first().copied().filter(|_| t.source_address.len() == 1)?;
            t.source_address = match widest.to_string().as_str() {
                "10.0.0.0/8" => vec!["10.2.0.0/16".parse().unwrap(), "10.3.0.0/16".parse().unwrap()],
                "10.2.0.0/16" => vec!["10.2.3.4/32".parse().unwrap()],
                _ => vec!["192.0.2.7/32".parse().unwrap()],
            };
        }
        4 => t.lifetime_s = t.lifetime_s.checked_sub(1)?,
        5 => t.approvals.push(extra.clone()),
        6 => t.approvals.first_mut()?.count += 1,
        7 => {
            let first = t.approvals.first_mut().filter(|quorum| quorum.from.len() > 1)?;
            first.from.pop();
        }
        8 => t.presence = if t.presence == Presence::None { Presence::Touch } else { Presence::Verified },
        9 => t.record = if t.record == Record::None { Record::BestEffort } else { Record::Required },
        10 => t.krl_max_age_s = Some(t.krl_max_age_s.map_or(600, |s| s - 1)),
        11 => t.grace_s = t.grace_s.checked_sub(1)?,
        12 => t.principals.truncate(t.principals.len().checked_sub(1).filter(|n| *n > 0)?),
        13 => t.action = t.action.is_none().then(|| Some("restart".parse().unwrap()))?,
        _ => return None,
    }
    (t != *terms).then_some(t)
}
const FIELDS: usize = 14;

/// One way, and the other.
fn verdicts(a: &Terms, b: &Terms) -> (ChangeVerdict, ChangeVerdict) {
    (compare_terms(a, b).verdict, compare_terms(b, a).verdict)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn terms_are_the_same_as_themselves_and_as_nothing_else(a in any_terms(), b in any_terms()) {
        prop_assert_eq!(compare_terms(&a, &a), Change { verdict: Same, what: vec![] });
        let change = compare_terms(&a, &b);
        prop_assert_eq!(change.verdict == Same, a == b, "{:?}", change);
        prop_assert_eq!(change.what.is_empty(), a == b);
        prop_assert!(change.verdict != Denied);
    }

    #[test]
    fn never_tighter_both_ways(a in any_terms(), b in any_terms()) {
        prop_assume!(a != b);
        let both = verdicts(&a, &b);
        prop_assert!(both.0 == Looser || both.1 == Looser, "{:?}", both);
    }

    #[test]
    fn a_field_made_tighter_is_tighter_one_way_and_looser_the_other(
        a in any_terms(),
        field in 0..FIELDS,
        extra in quorums().prop_filter_map("one", |q| q.into_iter().next()),
    ) {
        let Some(b) = tightened(field, &a, &extra) else { return Ok(()) };
        prop_assert_eq!(verdicts(&a, &b), (Tighter, Looser), "field {}: {:?} -> {:?}", field, a, b);
        let change = compare_terms(&a, &b);
        prop_assert_eq!(change.what.len(), 1, "{:?}", change);
        prop_assert!(change.what[0].contains(" -> "));
    }

    #[test]
    fn whatever_is_tightened_one_loosened_field_makes_it_looser(
        a in any_terms(),
        fields in proptest::collection::btree_set(0..FIELDS, 1..5),
        loosened in 0..FIELDS,
        extra in quorums().prop_filter_map("one", |q| q.into_iter().next()),
    ) {
        // `whole` tightens several fields of `a`; `less` all of them but one. From `a` loosened in that
        // one field to `whole`'s other fields: looser in one, tighter in the rest.
        let Some(strict) = tightened(loosened, &a, &extra) else { return Ok(()) };
        let mut after = a.clone();
        for field in fields {
            let clash = [5, 6, 7].contains(&field) && [5, 6, 7].contains(&loosened) || field == loosened;
            if !clash && let Some(tighter) = tightened(field, &after, &extra) {
                after = tighter;
            }
        }
        prop_assert_eq!(compare_terms(&strict, &after).verdict, Looser);
    }
}

#[test]
fn each_field_is_said_with_both_values() {
    let mut after = base();
    after.tier = "guarded".parse().unwrap();
    after.account = "root".parse().unwrap();
    after.principals = vec!["root:web".parse().unwrap()];
    after.force_command = Some("/bin/look".into());
    after.extensions = vec![Extension::Pty];
    after.source_address = vec!["10.0.0.0/8".parse().unwrap()];
    after.lifetime_s = 3600;
    after.approvals = vec![quorum(1, &["leads"]), quorum(2, &["security", "sre"])];
    after.presence = Presence::Verified;
    after.record = Record::Required;
    after.krl_max_age_s = Some(600);
    after.grace_s = 0;
    after.action = Some("restart".parse::<ActionName>().unwrap());
    let change = compare_terms(&base(), &after);
    assert_eq!(change.verdict, Looser);
    assert_eq!(
        change.what,
        [
            "tier: fix (power 2) -> guarded (power 2)",
            "account: ops -> root",
            "runs: a shell -> only `/bin/look`",
            "where: payments-db -> web",
            "extensions: none -> permit-pty",
            "from: anywhere -> 10.0.0.0/8",
            "lifetime: 30m -> 1h",
            "approvals: none -> 1 of leads and 2 of security or sre",
            "presence: no touch -> a touch with PIN or fingerprint",
            "recording: none -> or no session",
            "revocation list: any age -> at most 10m old",
            "grace: 10m -> 0s",
            "action: none -> restart",
        ]
    );
}

#[test]
fn what_cannot_be_ordered_is_looser_both_ways() {
    let change = |edit: fn(&mut Terms)| {
        let mut after = base();
        edit(&mut after);
        verdicts(&base(), &after)
    };
    assert_eq!(change(|t| t.account = "deploy".parse().unwrap()), (Looser, Looser));
    assert_eq!(change(|t| t.tier = "mend".parse().unwrap()), (Looser, Looser));
    let (mut one, mut other) = (base(), base());
    one.force_command = Some("/bin/look".into());
    other.force_command = Some("/bin/fix".into());
    assert_eq!(verdicts(&one, &other), (Looser, Looser));
    one = Terms { approvals: vec![quorum(1, &["leads"])], ..base() };
    other = Terms { approvals: vec![quorum(2, &["sre"])], ..base() };
    assert_eq!(verdicts(&one, &other), (Looser, Looser));
}

#[test]
fn a_tier_does_not_talk_another_account_down_by_calling_itself_weak() {
    // Less power by its own word, but root.
    let mut sneaky = base();
    sneaky.tier = "harmless".parse().unwrap();
    sneaky.power = 1;
    sneaky.account = "root".parse().unwrap();
    sneaky.principals = vec!["root:payments-db".parse().unwrap()];
    assert_eq!(verdicts(&base(), &sneaky).0, Looser);
    // Root's shell can do what anybody can: from it everything is less.
    let root = Terms { tier: "root".parse().unwrap(), power: 3, ..sneaky };
    assert_eq!(verdicts(&root, &base()), (Tighter, Looser));
}

// --- Decisions --------------------------------------------------------------------------------------

fn decided(outcome: Outcome) -> Decision {
    Decision {
        outcome,
        severity: Some(2.try_into().unwrap()),
        trigger: None,
        sensitivity: 4,
        blast: 3,
        band: "high".into(),
        cell: None,
        awaits: None,
        because: vec![],
    }
}

fn permit(terms: Terms) -> Decision {
    decided(Outcome::Permit(terms))
}

fn refuse(smaller: Option<Terms>) -> Decision {
    let reasons = vec![Reason::new("risk.denied", "no")];
    let smaller = smaller.map(|terms| Smaller { severity: None, want: None, terms });
    decided(Outcome::Refuse { reasons, smaller })
}

fn waits(meanwhile: Option<Terms>, wait_s: u32) -> Decision {
    let full = Terms { approvals: vec![quorum(1, &["leads"])], ..base() };
    let ladder = vec![Rung { after_s: 0, groups: vec!["leads".parse().unwrap()] }];
    decided(Outcome::NeedsApproval { full, meanwhile, smaller: None, ladder, wait_s })
}

fn look() -> Terms {
    Terms {
        tier: "look".parse().unwrap(),
        power: 1,
        account: "look".parse().unwrap(),
        principals: vec!["look:payments-db".parse().unwrap()],
        force_command: Some("/bin/look".into()),
        ..base()
    }
}

#[test]
fn outcomes_are_ordered() {
    let short = Terms { lifetime_s: 60, ..base() };
    let same = waits(Some(look()), 600);
    let cases = [
        (permit(base()), permit(base()), Same),
        (permit(base()), permit(short.clone()), Tighter),
        (permit(base()), refuse(None), Denied),
        (permit(base()), refuse(Some(look())), Denied),
        (refuse(None), permit(short.clone()), Looser),
        (refuse(None), waits(None, 600), Looser),
        (waits(None, 600), refuse(None), Denied),
        (permit(base()), waits(None, 600), Tighter),
        (waits(None, 600), permit(base()), Looser),
        (waits(None, 600), waits(None, 300), Tighter),
        (waits(None, 300), waits(None, 600), Looser),
        (same.clone(), waits(None, 600), Tighter),
        (waits(None, 600), same, Looser),
        // A refusal that comes to offer something, or more.
        (refuse(None), refuse(Some(look())), Looser),
        (refuse(Some(base())), refuse(Some(short)), Tighter),
        (refuse(Some(look())), refuse(None), Tighter),
    ];
    for (before, after, expected) in cases {
        let change = compare(&before, &after);
        assert_eq!(change.verdict, expected, "{before:?}\n{after:?}\n{change:?}");
        assert_eq!(change.what.is_empty(), expected == Same);
    }
}

#[test]
fn who_is_asked_when_is_told_and_does_not_count() {
    let mut later = waits(None, 600);
    if let Outcome::NeedsApproval { ladder, .. } = &mut later.outcome {
        ladder[0].after_s = 90;
    }
    let change = compare(&waits(None, 600), &later);
    assert_eq!(
        change,
        Change { verdict: Same, what: vec!["asked: leads after 0s -> leads after 90s".into()] }
    );
}

#[test]
fn other_peoples_signatures_count() {
    let awaits = |severity: u8, more: u8, from: &str| Awaits {
        severity: severity.try_into().unwrap(),
        more,
        from: from.parse().unwrap(),
    };
    let with = |awaits: Option<Awaits>| Decision { awaits, ..permit(base()) };
    let one = with(Some(awaits(1, 1, "sre")));
    assert_eq!(compare(&with(None), &one).verdict, Looser);
    assert_eq!(compare(&one, &with(None)).verdict, Tighter);
    assert_eq!(compare(&one, &with(Some(awaits(1, 2, "sre")))).verdict, Tighter);
    assert_eq!(compare(&with(Some(awaits(1, 2, "sre"))), &one).verdict, Looser);
    assert_eq!(compare(&one, &with(Some(awaits(1, 1, "web")))).verdict, Looser);
    // Severity 1 by one's own word is more than severity 1 once others sign.
    let alone = Decision { severity: Some(1.try_into().unwrap()), ..with(None) };
    assert_eq!(compare(&alone, &one).verdict, Tighter);
    assert_eq!(compare(&one, &alone).verdict, Looser);
}

// --- Bundles ----------------------------------------------------------------------------------------

fn key(seed: u8) -> Ed25519Key {
    Ed25519Key(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes())
}

fn roster() -> String {
    format!(
        r#"[person.ana]
groups = ["payments", "payments-oncall", "sre"]
keys = ["{} ana"]
[person.ben]
groups = ["sre", "sre-leads", "security"]
keys = ["{} ben"]
[person.ben-spare]
groups = []
keys = ["{} spare"]
same_as = "ben"
[person.cleo]
groups = ["security", "audit"]
keys = ["{} cleo"]
[person.dan]
groups = ["payments-oncall", "sre-leads"]
keys = ["{} dan"]
[role]
policy_admin = {{ group = "security", quorum = 2 }}
incident_commander = {{ group = "sre-leads" }}
"#,
        key(1),
        key(2),
        key(3),
        key(4),
        key(5)
    )
}

#[track_caller]
fn bundle(policy: &str, roster: &str) -> Bundle {
    Bundle::parse(policy, roster).unwrap_or_else(|findings| panic!("{findings:#?}\n{policy}"))
}

/// The policy with one text replaced.
#[track_caller]
fn edited(from: &str, to: &str) -> Bundle {
    assert_eq!(POLICY.matches(from).count(), 1, "{from:?}");
    bundle(&POLICY.replace(from, to), &roster())
}

#[track_caller]
fn roster_edited(from: &str, to: &str) -> Bundle {
    assert_eq!(roster().matches(from).count(), 1, "{from:?}");
    bundle(POLICY, &roster().replace(from, to))
}

fn before() -> Bundle {
    bundle(POLICY, &roster())
}

fn who_gains(after: &Bundle) -> Vec<&'static str> {
    let gains = |name: &&str| !gains(&before(), after, &name.parse().unwrap()).is_empty();
    ["ana", "ben", "cleo"].into_iter().filter(gains).collect()
}

#[test]
fn a_bundle_does_not_differ_from_itself_and_comments_decide_nothing() {
    assert!(diff(&before(), &before()).is_empty());
    let commented = bundle(&format!("# looked through\n{POLICY}"), &roster());
    let found = diff(&before(), &commented);
    assert!(!found.is_empty() && found.parts.is_empty() && found.cells.is_empty(), "{found}");
    assert_eq!(who_gains(&commented), Vec::<&str>::new());
}

#[test]
fn a_longer_lifetime_is_said_once_as_part_and_once_as_what_is_decided() {
    let found = diff(&before(), &edited("ttl = \"45m\"\n", "ttl = \"1h\"\n"));
    let parts: Vec<String> = found.parts.iter().map(ToString::to_string).collect();
    assert_eq!(parts, ["tier root: lifetime: 45m -> 1h"]);
    let cells: Vec<String> = found.cells.iter().map(ToString::to_string).collect();
    assert!(found.is_looser());
    assert!(found.cells.iter().all(|cell| cell.change.verdict == Looser));
    // Severity 1 alone of one database host and all of web; severities 2 and 1 of build.
    assert!(cells.len() <= 6, "{cells:#?}");
    assert!(cells.iter().all(|cell| cell.contains("lifetime: 45m -> 1h")), "{cells:#?}");
    assert!(
        cells.iter().any(|cell| cell.starts_with("payments-db; one host alone; severity 1;")),
        "{cells:#?}"
    );
    assert!(!cells.iter().any(|cell| cell.contains("on call")), "{cells:#?}");
    // And back.
    let back = diff(&edited("ttl = \"45m\"\n", "ttl = \"1h\"\n"), &before());
    assert!(!back.is_looser() && !back.cells.is_empty(), "{back}");
}

#[test]
fn a_milder_tier_in_the_table_is_tighter_because_the_policy_in_force_ranks_it() {
    let after =
        edited(r#"medium = ["look", "look", "fix",  "root"]"#, r#"medium = ["look", "look", "fix",  "fix"]"#);
    let found = diff(&before(), &after);
    assert!(!found.cells.is_empty());
    assert!(found.cells.iter().all(|cell| cell.change.verdict == Tighter), "{found}");
    let after = edited(
        r#"medium = ["look", "look", "fix",  "root"]"#,
        r#"medium = ["look", "look", "look",  "root"]"#,
    );
    let found = diff(&before(), &after);
    assert!(found.cells.iter().all(|cell| cell.change.verdict == Tighter), "{found}");
    // A new tier that calls itself weak has nobody's word but its own.
    let weak =
        POLICY.replace(r#""look", "look", "fix",  "root""#, r#""look", "look", "mend",  "root""#).replace(
            "[tier.guarded]",
            "[tier.mend]\npower = 1\naccount = \"deploy\"\nttl = \"30m\"\n[tier.guarded]",
        );
    assert!(diff(&before(), &bundle(&weak, &roster())).is_looser());
}

#[test]
fn a_rule_is_seen_where_it_applies_and_only_there() {
    let rule = r#"
[[rule]]
id = "drills"
when = { drill = true }
add = { ttl = "10m" }
why = "rehearsals are short"
[[rule]]
id = "outsider"
when = { on_call = false, systems = ["web"] }
add = { deny = true }
why = "their own people first"
"#;
    let after = bundle(&format!("{POLICY}{rule}"), &roster());
    let found = diff(&before(), &after);
    let parts: Vec<String> = found.parts.iter().map(ToString::to_string).collect();
    assert_eq!(
        parts,
        [
            "new rule drills: applies: in a drill; adds: at most 10m; why: rehearsals are short",
            "new rule outsider: applies: not on call, on web; adds: nothing is given; why: their own people first",
        ]
    );
    assert!(!found.is_looser(), "{found}");
    let denied: Vec<&_> = found.cells.iter().filter(|cell| cell.change.verdict == Denied).collect();
    assert!(!denied.is_empty() && denied.iter().all(|c| c.systems == ["web".parse().unwrap()]), "{found}");
    assert!(denied.iter().all(|cell| cell.on_call == [Some(false), None]), "{found}");
    let drills = found.cells.iter().filter(|c| c.circumstance.as_deref() == Some("in a drill"));
    assert!(drills.clone().count() > 0, "{found}");
    // Taken away again: looser, in the same cases.
    let back = diff(&after, &before());
    assert!(back.is_looser(), "{back}");
    assert_eq!(
        back.cells.iter().filter(|c| c.change.verdict == Looser).map(|c| c.place()).collect::<Vec<_>>().len(),
        found.cells.len()
    );
}

#[test]
fn an_exception_is_seen_while_it_runs() {
    let exception = r#"
[[exception]]
id = "migration"
when = { systems = ["payments-db"], severities = [2] }
tier = "root"
owner = "payments"
from = 2027-01-31
until = 2027-02-02
why = "moving house"
"#;
    let found = diff(&before(), &bundle(&format!("{POLICY}{exception}"), &roster()));
    assert!(found.is_looser(), "{found}");
    for cell in found.cells.iter().filter(|cell| cell.change.verdict == Looser) {
        assert_eq!(cell.circumstance.as_deref(), Some("while exception migration runs"), "{cell}");
        assert_eq!(cell.systems, ["payments-db".parse().unwrap()]);
    }
}

#[test]
fn hosts_that_come_and_go_are_seen() {
    let found = diff(
        &before(),
        &edited(r#"["db-*.payments.prod"]"#, r#"["db-*.payments.prod", "pg.payments.prod"]"#),
    );
    assert_eq!(found.parts[0].to_string(), "system payments-db: hosts: new pg.payments.prod");
    let new: Vec<&_> = found.cells.iter().collect();
    assert!(!new.is_empty() && new.iter().all(|cell| cell.change.verdict == Looser), "{found}");
    let back = diff(
        &edited(r#"["db-*.payments.prod"]"#, r#"["db-*.payments.prod", "pg.payments.prod"]"#),
        &before(),
    );
    assert!(!back.cells.is_empty() && back.cells.iter().all(|cell| cell.change.verdict != Looser), "{back}");
}

#[test]
fn the_roster_is_compared_too() {
    let after = roster_edited(r#"groups = ["security", "audit"]"#, r#"groups = ["security", "sre-leads"]"#);
    let found = diff(&before(), &after);
    assert_eq!(found.parts.len(), 1, "{found}");
    assert_eq!(found.parts[0].to_string(), "person cleo: groups: new sre-leads; gone audit");
    let found = diff(&before(), &roster_edited("same_as = \"ben\"\n", ""));
    assert_eq!(found.parts[0].to_string(), "person ben-spare: same person as: ben -> nobody else");
}

// --- Gains ------------------------------------------------------------------------------------------

#[test]
fn whoever_gets_more_gains_and_nobody_else() {
    // On call for payments: a rule that spares them.
    let rule = |wanted: &str| {
        let rule = format!(
            "\n[[rule]]\nid = \"short\"\nwhen = {{ {wanted} }}\nadd = {{ ttl = \"10m\" }}\nwhy = \"x\"\n"
        );
        bundle(&format!("{POLICY}{rule}"), &roster())
    };
    let (all, outsiders) = (rule("severities = [1, 2, 3, 4]"), rule("outside = [\"payments-oncall\"]"));
    let of = |name: &str| gains(&all, &outsiders, &name.parse().unwrap());
    assert!(!of("ana").is_empty());
    assert_eq!(of("ben"), Vec::<String>::new());
    // A tightening is nobody's gain.
    assert_eq!(who_gains(&all), Vec::<&str>::new());
    // What is looser for all is a gain of all, and nobody's own.
    let longer = edited("ttl = \"45m\"\n", "ttl = \"1h\"\n");
    assert_eq!(who_gains(&longer), ["ana", "ben", "cleo"]);
    for name in ["ana", "ben", "cleo"] {
        assert_eq!(own_gains(&before(), &longer, &name.parse().unwrap()), Vec::<String>::new());
    }
    assert_eq!(own_gains(&all, &outsiders, &"ana".parse().unwrap()), of("ana"));
}

#[test]
fn a_gain_counts_under_any_name() {
    let spare = "groups = []\n";
    assert_eq!(roster().matches(spare).count(), 1);
    let after = roster_edited(spare, "groups = [\"payments-oncall\"]\n");
    assert_eq!(who_gains(&after), ["ben"]);
    let same = |name: &str| gains(&before(), &after, &name.parse().unwrap());
    assert_eq!(same("ben"), same("ben-spare"));
}

#[test]
fn keys_names_and_roles_are_gains() {
    let say = |after: &Bundle, name: &str| gains(&before(), after, &name.parse().unwrap()).join("\n");
    let another = format!("{} another\", \"{} ben", key(9), key(2));
    let after = roster_edited(&format!("{} ben", key(2)), &another);
    assert!(say(&after, "ben").starts_with("ben has a new key SHA256:"), "{}", say(&after, "ben"));
    assert_eq!(who_gains(&after), ["ben"]);
    let after = roster_edited("same_as = \"ben\"\n", "");
    assert_eq!(say(&after, "ben"), "ben and ben-spare count as different people");
    let after = roster_edited(r#"groups = ["security", "audit"]"#, r#"groups = ["security", "sre-leads"]"#);
    assert_eq!(say(&after, "cleo"), "role incident_commander");
    let after = roster_edited("quorum = 2", "quorum = 1");
    assert_eq!(who_gains(&after), ["ben", "cleo"]);
    // Somebody new, and another name for cleo who was somebody else.
    let new = format!("[person.dora]\ngroups = [\"sre\"]\nkeys = [\"{} dora\"]\n[role]\n", key(6));
    assert!(say(&roster_edited("[role]\n", &new), "dora").contains("dora is new in the roster"));
    let merged = roster().replace("[role]\n", &new);
    let (two, one) = (
        bundle(POLICY, &merged),
        bundle(POLICY, &merged.replace("dora\"]\n", "dora\"]\nsame_as = \"cleo\"\n")),
    );
    let gained = gains(&two, &one, &"cleo".parse().unwrap());
    assert!(gained.contains(&"dora is another name of theirs".to_owned()), "{gained:?}");
}

#[test]
fn approving_and_reviewing_are_gains() {
    let review = "\n[review]\nfrom = [\"audit\"]\nwithin = \"2d\"\n";
    let old = bundle(&format!("{POLICY}{review}"), &roster());
    let after = bundle(&format!("{POLICY}{}", review.replace("audit", "payments")), &roster());
    assert_eq!(gains(&old, &after, &"ana".parse().unwrap()), ["may review emergencies"]);
    let asks = |from: &str| {
        let approvals = format!("presence = \"touch\"\napprovals = {{ count = 1, from = [\"{from}\"] }}");
        bundle(&POLICY.replace("presence = \"touch\"\n\n# ---", &format!("{approvals}\n\n# ---")), &roster())
    };
    let gained = gains(&asks("security"), &asks("sre"), &"ana".parse().unwrap());
    assert!(gained.contains(&"may approve tier guarded".to_owned()), "{gained:?}");
}

// --- Recorded decisions -----------------------------------------------------------------------------

fn facts(system: &str, severity: u8) -> Facts {
    Facts {
        at: 1_700_000_000,
        person: "ana".parse().unwrap(),
        groups: vec!["payments".parse().unwrap(), "payments-oncall".parse().unwrap(), "sre".parse().unwrap()],
        presence: Presence::None,
        target: Target { system: system.parse().unwrap(), host: None },
        severity: Some(severity.try_into().unwrap()),
        incident: None,
        on_call: Some(system == "payments-db"),
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

#[test]
fn a_recorded_request_is_decided_again_with_the_groups_of_the_new_roster() {
    let facts = facts("payments-db", 2);
    let old = before();
    let recorded = decide_again(&old, &facts).unwrap();
    assert_eq!(simulate(&old, Some(&old.policy), &facts, &recorded).verdict, Same);
    let outsiders =
        "\n[[rule]]\nid = \"short\"\nwhen = { on_call = false }\nadd = { ttl = \"10m\" }\nwhy = \"x\"\n";
    let policy = format!("{POLICY}{outsiders}");
    let stays = bundle(&policy, &roster());
    assert_eq!(simulate(&stays, Some(&old.policy), &facts, &recorded).verdict, Same);
    let moved = bundle(
        &policy,
        &roster().replace(r#""payments", "payments-oncall", "sre""#, r#""sre""#).replace(
            r#"groups = ["security", "audit"]"#,
            r#"groups = ["security", "audit", "payments", "payments-oncall"]"#,
        ),
    );
    assert_eq!(simulate(&moved, Some(&old.policy), &facts, &recorded).verdict, Tighter);
}

#[test]
fn who_or_what_is_gone_is_denied() {
    let facts = facts("build", 3);
    let recorded = decide_again(&before(), &facts).unwrap();
    let no_ana = roster().replace("[person.ana]", "[person.dora]");
    let gone = bundle(POLICY, &no_ana);
    let change = simulate(&gone, None, &facts, &recorded);
    assert_eq!(
        (change.verdict, change.what),
        (Denied, vec!["tier fix -> refused: the roster has no ana".into()])
    );
    let start = POLICY.find("[system.build]").unwrap();
    let end = POLICY[start..].find("# ---").unwrap() + start;
    let tests = POLICY.find("[[test]]").unwrap();
    let without = format!("{}{}", &POLICY[..start], &POLICY[end..tests]);
    let change = simulate(&bundle(&without, &roster()), None, &facts, &recorded);
    assert_eq!((change.verdict, change.what), (Denied, vec!["tier fix -> refused (target.unknown)".into()]));
}

#[test]
fn the_policy_in_force_ranks_tiers_for_a_comparison_and_a_candidate_cannot() {
    let old = before();
    let mut fix = facts("payments-db", 2);
    fix.on_call = Some(true);
    let was = decide_again(&old, &fix).unwrap();
    let milder = decide_again(&old, &Facts { severity: Some(3.try_into().unwrap()), ..fix }).unwrap();
    assert_eq!(compare_under(&old.policy, &was, &milder).verdict, Tighter);
    assert_eq!(compare(&was, &milder).verdict, Looser);
    assert_eq!(compare_under(&old.policy, &milder, &was).verdict, Looser);
}
