//! What only enumeration can show: that every case yields a tier or a denial, that the table is
//! monotone, that everything in it can be reached. The table it walks is printed for the auditor.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::{check_actions, check_lists, table};
use crate::names::{ActionName, GroupName, HostName, PersonName, Severity, TierName};
use crate::policy::actions::action;
use crate::policy::decide::decide_at;
use crate::policy::finding::{At, Finding};
use crate::policy::severity::Founded;
use crate::policy::shape::{Action, Band, Policy, Quorum, Rule, System, Tier, Trigger, TriggerSource, When};
use crate::policy::{Bundle, Decision, Facts, Outcome, Presence, Signal, Want};

const FILE: &str = "policy.toml";

/// What [`check`] found, and the whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In order of line; empty is a bundle that may be used.
    pub findings: Vec<Finding>,
    /// Every system x scope x on-call x severity, as plain text.
    pub table: String,
}

/// Proves a bundle total and monotone by walking every case, and prints what it walked.
pub fn check(bundle: &Bundle) -> Report {
    let policy = &bundle.policy;
    let mut findings = Vec::new();
    rows_never_fall(policy, &mut findings);
    larger_bands_never_loosen(policy, &mut findings);
    unreachable(policy, &mut findings);
    check_actions::check(policy, &mut findings);
    check_lists::check(policy, &bundle.roster, &mut findings);
    let fixed = action::with_fixed_commands(policy);
    // Systems that differ in nothing that decides share one walk; so do the cases of an action on them.
    let mut walks: BTreeMap<(Kind<'_>, Option<&ActionName>), Cases> = BTreeMap::new();
    let mut walked: Vec<Walked<'_>> = Vec::new();
    for system in policy.systems.values() {
        let naming = policy.rules_by_system.naming(&system.name);
        let kind = (system.sensitivity, system.blast, naming);
        let cases = walks.entry((kind, None)).or_insert_with(|| walk(policy, system, None)).clone();
        let mut actions = Vec::new();
        for action in policy.actions_on(&system.name) {
            // The fixed policy's action runs wherever this one does.
            let want = || Some(Want::Action(action.name.clone(), vec![]));
            let cases =
                walks.entry((kind, Some(&action.name))).or_insert_with(|| walk(&fixed, system, want()));
            actions.extend(cases.clone().map(|cases| (action, cases)));
        }
        walked.extend(cases.map(|cases| Walked { system, cases, actions }));
    }
    for Walked { system, cases, actions } in &walked {
        let mut cases = cases.iter().chain(actions.iter().flat_map(|(_, cases)| cases.iter()));
        if let Some(case) = cases.find(|case| !is_answer(&case.decision.outcome)) {
            let message = format!(
                "system `{}`, severity {}: neither a tier nor a denial comes out",
                system.name, case.severity
            );
            findings.push(at(system.line).finding(FILE, "risk.hole", message, None));
        }
    }
    findings.sort();
    findings.dedup();
    Report { findings, table: table::render(policy, &walked) }
}

/// What decides of a system: sensitivity, blast, the rules that name it.
type Kind<'p> = (u8, u8, &'p [usize]);

/// What a walk found; shared by all systems of one kind. `None`: there was nothing to walk.
type Cases = Option<Rc<[Walk]>>;

/// Every case of one system.
pub(in crate::policy) struct Walked<'p> {
    pub(in crate::policy) system: &'p System,
    pub(in crate::policy) cases: Rc<[Walk]>,
    /// The cases of each action that may run on it; what people fill in is not the table's question.
    pub(in crate::policy) actions: Vec<(&'p Action, Rc<[Walk]>)>,
}

/// One case and what comes of it.
pub(in crate::policy) struct Walk {
    pub(in crate::policy) one_host: bool,
    pub(in crate::policy) on_call: Option<bool>,
    pub(in crate::policy) severity: Severity,
    pub(in crate::policy) presence: Presence,
    pub(in crate::policy) decision: Rc<Decision>,
}

pub(in crate::policy) const ON_CALL: [Option<bool>; 3] = [Some(true), Some(false), None];
const PRESENCE: [Presence; 3] = [Presence::Verified, Presence::Touch, Presence::None];

fn walk(policy: &Policy, system: &System, want: Option<Want>) -> Option<Rc<[Walk]>> {
    let trigger = ordinary_trigger(policy)?;
    let host = system.hosts.first()?.value.as_str().replace('*', "x").parse::<HostName>().ok();
    let somebody = "somebody".parse::<PersonName>().ok()?;
    let mut facts = Facts { want, ..Facts::ordinary(&somebody, &system.name) };
    // What no part of the policy asks about is decided once.
    let levels = presence_levels(policy);
    let asks_on_call = asks_on_call(policy, system);
    let mut cases: Vec<Walk> = Vec::new();
    for one_host in [false, true] {
        facts.target.host = host.clone().filter(|_| one_host);
        for severity in Severity::MILDEST_FIRST {
            let first = cases.len();
            for on_call in ON_CALL {
                facts.on_call = on_call;
                for presence in PRESENCE {
                    facts.presence = presence;
                    let known = cases.iter().skip(first).find(|walk| {
                        (walk.on_call == on_call || !asks_on_call)
                            && levels.iter().all(|level| (*level <= walk.presence) == (*level <= presence))
                    });
                    let decision = known.map(|walk| walk.decision.clone()).unwrap_or_else(|| {
                        let founded = Founded { severity, trigger };
                        Rc::new(decide_at(policy, &facts, system, founded, vec![], vec![]))
                    });
                    cases.push(Walk { one_host, on_call, severity, presence, decision });
                }
            }
        }
    }
    Some(cases.into())
}

/// Every presence that some tier or rule asks for.
fn presence_levels(policy: &Policy) -> BTreeSet<Presence> {
    let rules = policy.rules.iter().filter_map(|rule| rule.add.presence);
    policy.tiers.values().map(|tier| tier.presence).chain(rules).collect()
}

/// Whether it matters for a system who is on call.
fn asks_on_call(policy: &Policy, system: &System) -> bool {
    let asks = |when: &When| {
        when.on_call.is_some() || when.signals.as_ref().is_some_and(|list| list.contains(&Signal::OffCall))
    };
    policy.rules_on(&system.name).iter().any(|rule| asks(&rule.when))
        || policy.exceptions.iter().any(|exception| asks(&exception.when))
}

/// Severities come from incidents where there is a trigger for them.
fn ordinary_trigger(policy: &Policy) -> Option<&Trigger> {
    let incidents = |t: &&Trigger| matches!(t.source, TriggerSource::Incidents { .. });
    policy.triggers.values().find(incidents).or_else(|| policy.triggers.values().next())
}

/// A tier, or a refusal that the policy means.
fn is_answer(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Permit(_) | Outcome::NeedsApproval { .. } => true,
        Outcome::Refuse { reasons, .. } => {
            !reasons.is_empty() && reasons.iter().all(|reason| reason.code != "risk.hole")
        }
    }
}

pub(in crate::policy) fn at(line: u32) -> At<()> {
    At { value: (), line, column: 1 }
}

/// Along a row, a worse severity never gives less power.
fn rows_never_fall(policy: &Policy, out: &mut Vec<Finding>) {
    let power = |name: &Option<TierName>| name.as_ref().and_then(|n| policy.tier(n)).map_or(0, |t| t.power);
    let named = |name: &Option<TierName>| name.as_ref().map_or("deny".to_owned(), ToString::to_string);
    for band in &policy.risk.bands {
        let milder = Severity::MILDEST_FIRST.into_iter();
        let worse = Severity::MILDEST_FIRST.into_iter().skip(1);
        for (milder, worse) in milder.zip(worse) {
            let (before, after) = (band.cell(milder), band.cell(worse));
            if power(&after.value) < power(&before.value) {
                let message = format!(
                    "row `{}`: severity {worse} gives {} (power {}), less than {} (power {}) at severity {milder}",
                    band.name,
                    named(&after.value),
                    power(&after.value),
                    named(&before.value),
                    power(&before.value)
                );
                let help = Some("a worse severity never gives less power".to_owned());
                out.push(after.finding(FILE, "row.not_monotone", message, help));
            }
        }
    }
}

/// At equal power and severity, a larger band never has fewer or weaker controls.
fn larger_bands_never_loosen(policy: &Policy, out: &mut Vec<Finding>) {
    let bands = &policy.risk.bands;
    for (n, small) in bands.iter().enumerate() {
        for large in bands.iter().skip(n.saturating_add(1)) {
            for severity in Severity::MILDEST_FIRST {
                let tier = |band: &Band| policy.tier(band.cell(severity).value.as_ref()?);
                let (Some(a), Some(b)) = (tier(small), tier(large)) else { continue };
                if a.power != b.power {
                    continue;
                }
                let weaker = weaker_controls(b, a);
                if !weaker.is_empty() {
                    let message = format!(
                        "row `{}`, severity {severity}: {} has weaker controls than {} in the smaller row `{}`: {}",
                        large.name,
                        b.name,
                        a.name,
                        small.name,
                        weaker.join(", ")
                    );
                    out.push(large.cell(severity).finding(FILE, "band.not_monotone", message, None));
                }
            }
        }
    }
}

/// The fields in which `a` controls less than `b`.
pub(in crate::policy) fn weaker_controls(a: &Tier, b: &Tier) -> Vec<&'static str> {
    let approvals = !each_as_hard(&b.approvals, &mut a.approvals.iter().collect());
    let freshness = a.krl_max_age_s.unwrap_or(u32::MAX) > b.krl_max_age_s.unwrap_or(u32::MAX);
    let somewhere = |a: &Tier| !a.source_address.is_empty();
    let addresses = somewhere(b)
        && (!somewhere(a)
            || !a.source_address.iter().all(|x| b.source_address.iter().any(|y| y.contains(x))));
    let fields = [
        ("approvals", approvals),
        ("presence", a.presence < b.presence),
        ("recording", a.record < b.record),
        ("lifetime", a.ttl_s > b.ttl_s),
        ("freshness", freshness),
        ("extensions", a.extensions.iter().any(|extension| !b.extensions.contains(extension))),
        ("source addresses", addresses),
    ];
    fields.into_iter().filter(|(_, weaker)| *weaker).map(|(field, _)| field).collect()
}

/// A cell that a system reaches, whole or by one host: which of the two, at which severity, what stands there.
type Cell<'p> = (bool, Severity, &'p TierName);

/// The cells that a system reaches.
fn cells_of<'p>(policy: &'p Policy, sensitivity: u8, blast: u8) -> Vec<Cell<'p>> {
    let mut out = Vec::new();
    for (one_host, blast) in [(false, blast), (true, blast.saturating_sub(1).max(1))] {
        let Some(band) = policy.risk.band(sensitivity.saturating_mul(blast)) else { continue };
        for severity in Severity::MILDEST_FIRST {
            out.extend(band.cell(severity).value.as_ref().map(|tier| (one_host, severity, tier)));
        }
    }
    out
}

/// Whether each of `theirs` has one of `mine` to itself that is at least as hard to meet. To itself, because
/// nobody counts for two quorums.
fn each_as_hard(theirs: &[Quorum], mine: &mut Vec<&Quorum>) -> bool {
    let Some((first, rest)) = theirs.split_first() else { return true };
    let within = |narrow: &Quorum, wide: &Quorum| {
        let wide: Vec<&GroupName> = wide.from.iter().flatten().map(|group| &group.value).collect();
        narrow.from.iter().flatten().all(|group| wide.contains(&&group.value))
    };
    (0..mine.len()).any(|n| {
        let fits = mine.get(n).is_some_and(|q| q.count >= first.count && within(q, first));
        fits && {
            let taken = mine.remove(n);
            let found = each_as_hard(rest, mine);
            mine.insert(n, taken);
            found
        }
    })
}

/// Tiers, meanwhiles and rules that no case can ever bring up.
fn unreachable(policy: &Policy, out: &mut Vec<Finding>) {
    // At most 16 kinds of system, however many systems.
    let kinds: BTreeSet<(u8, u8)> = policy.systems.values().map(|s| (s.sensitivity, s.blast)).collect();
    let reached: BTreeMap<(u8, u8), Vec<Cell<'_>>> =
        kinds.into_iter().map(|kind| (kind, cells_of(policy, kind.0, kind.1))).collect();
    for tier in policy.tiers.values() {
        let in_row = reached.values().flatten().any(|(.., name)| **name == tier.name);
        if !in_row && !policy.exceptions.iter().any(|e| e.tier.value == tier.name) {
            let message = format!("tier `{}` stands in rows that no system reaches", tier.name);
            out.push(at(tier.line).finding(FILE, "tier.unreachable", message, None));
        }
        let beside = |band: &Band, name: &TierName| {
            let at = |name: &TierName| {
                let holds = |s: &Severity| band.cell(*s).value.as_ref() == Some(name);
                Severity::MILDEST_FIRST.into_iter().position(|s| holds(&s))
            };
            let worst = Severity::MILDEST_FIRST
                .into_iter()
                .rposition(|s| band.cell(s).value.as_ref() == Some(&tier.name));
            at(name).zip(worst).is_some_and(|(milder, mine)| milder < mine)
        };
        if let Some(meanwhile) = &tier.meanwhile
            && !policy.risk.bands.iter().any(|band| beside(band, &meanwhile.value))
        {
            let message = format!(
                "`{}` is never given at a milder severity than `{}`: it cannot be held meanwhile",
                meanwhile.value, tier.name
            );
            out.push(meanwhile.finding(FILE, "tier.meanwhile_unreachable", message, None));
        }
    }
    for rule in &policy.rules {
        if let Some(why) = never_applies(policy, &reached, rule) {
            let message = format!("rule `{}` can never apply{why}", rule.id);
            out.push(at(rule.line).finding(FILE, "rule.unreachable", message, None));
        }
    }
}

/// Why a rule can never apply, if it cannot; empty where its condition says enough.
fn never_applies(
    policy: &Policy,
    reached: &BTreeMap<(u8, u8), Vec<Cell<'_>>>,
    rule: &Rule,
) -> Option<&'static str> {
    let when = &rule.when;
    if when.overdue_reviews.is_some() {
        if policy.reviews.is_none() {
            return Some(": no `[review]` says that any is due");
        }
        if when.severities.as_ref().is_some_and(|list| list.iter().all(|s| s.number() == 1)) {
            return Some(": overdue reviews count for nothing at severity 1");
        }
    }
    let tier_fits = |name: &TierName| {
        let extended = when.extension.is_none_or(|n| policy.tier(name).is_some_and(|tier| tier.extends >= n));
        extended && when.tiers.as_ref().is_none_or(|list| list.iter().any(|t| t.value == *name))
    };
    let exceptional = policy.exceptions.iter().any(|e| tier_fits(&e.tier.value));
    let meets = |(one_host, severity, tier): &Cell<'_>| {
        when.one_host.is_none_or(|wanted| wanted == *one_host)
            && when.severities.as_ref().is_none_or(|list| list.contains(severity))
            && (exceptional || tier_fits(tier))
    };
    let applies = match &when.systems {
        None => reached.values().flatten().any(meets),
        Some(list) => list
            .iter()
            .filter_map(|at| policy.system(&at.value))
            .any(|system| reached.get(&(system.sensitivity, system.blast)).into_iter().flatten().any(meets)),
    };
    (!applies).then_some("")
}
