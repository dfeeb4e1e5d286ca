//! What only enumeration can show: that every case yields a tier or a denial, that the table is
//! monotone, that everything in it can be reached. The table it walks is printed for the auditor.

use super::decide::decide_at;
use super::finding::{At, Finding};
use super::severity::Founded;
use super::shape::{Action, Band, Exception, Policy, Quorum, System, Tier, Trigger, TriggerSource};
use super::{Bundle, Decision, Facts, Outcome, Presence, Signals, Target, Want};
use super::{action, check_actions, table};
use crate::names::{GroupName, HostName, PersonName, Severity, TierName};

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
    let fixed = action::with_fixed_commands(policy);
    let mut walked: Vec<Walked<'_>> = Vec::new();
    for system in policy.systems.values() {
        let actions = policy.actions_on(&system.name).filter_map(|action| {
            let want = Some(Want::Action(action.name.clone(), vec![]));
            Some((action, walk(&fixed, system, want)?))
        });
        let actions = actions.collect();
        walked.extend(walk(policy, system, None).map(|cases| Walked { system, cases, actions }));
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

/// Every case of one system.
pub(super) struct Walked<'p> {
    pub(super) system: &'p System,
    pub(super) cases: Vec<Walk>,
    /// The cases of each action that may run on it; what people fill in is not the table's question.
    pub(super) actions: Vec<(&'p Action, Vec<Walk>)>,
}

/// One case and what comes of it.
pub(super) struct Walk {
    pub(super) one_host: bool,
    pub(super) on_call: Option<bool>,
    pub(super) severity: Severity,
    pub(super) presence: Presence,
    pub(super) decision: Decision,
}

pub(super) const ON_CALL: [Option<bool>; 3] = [Some(true), Some(false), None];
const PRESENCE: [Presence; 3] = [Presence::Verified, Presence::Touch, Presence::None];

fn walk(policy: &Policy, system: &System, want: Option<Want>) -> Option<Vec<Walk>> {
    let trigger = ordinary_trigger(policy)?;
    let host = system.hosts.first()?.value.as_str().replace('*', "x").parse::<HostName>().ok();
    let mut facts = Facts {
        at: 0,
        person: "somebody".parse::<PersonName>().ok()?,
        groups: vec![],
        presence: Presence::None,
        target: Target { system: system.name.clone(), host: None },
        severity: None,
        incident: None,
        on_call: None,
        other_host_open: false,
        open_incidents: vec![],
        want,
        for_s: None,
        drill: false,
        seconds: vec![],
        extension: 0,
        network: None,
        reviews_overdue: 0,
        signals: Signals::default(),
    };
    let mut cases = Vec::new();
    for one_host in [false, true] {
        facts.target.host = host.clone().filter(|_| one_host);
        for on_call in ON_CALL {
            facts.on_call = on_call;
            for severity in Severity::MILDEST_FIRST {
                for presence in PRESENCE {
                    facts.presence = presence;
                    let founded = Founded { severity, trigger };
                    let decision = decide_at(policy, &facts, system, founded, vec![], vec![]);
                    cases.push(Walk { one_host, on_call, severity, presence, decision });
                }
            }
        }
    }
    Some(cases)
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

pub(super) fn at(line: u32) -> At<()> {
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
pub(super) fn weaker_controls(a: &Tier, b: &Tier) -> Vec<&'static str> {
    // Every quorum of `b` has one of `a` that is at least as hard to meet.
    let from = |quorum: &Quorum| -> Vec<GroupName> {
        quorum.from.iter().flatten().map(|group| group.value.clone()).collect()
    };
    let as_hard = |mine: &Quorum, theirs: &Quorum| {
        let wider = from(theirs);
        mine.count >= theirs.count && from(mine).iter().all(|group| wider.contains(group))
    };
    let approvals = b.approvals.iter().any(|theirs| !a.approvals.iter().any(|mine| as_hard(mine, theirs)));
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

/// Tiers, meanwhiles and rules that no case can ever bring up.
fn unreachable(policy: &Policy, out: &mut Vec<Finding>) {
    // Every cell that some system reaches, whole or by one host, with that system.
    let mut reached: Vec<(&System, bool, Severity, &TierName)> = Vec::new();
    for system in policy.systems.values() {
        for (one_host, blast) in [(false, system.blast), (true, system.blast.saturating_sub(1).max(1))] {
            let Some(band) = policy.risk.band(system.sensitivity.saturating_mul(blast)) else { continue };
            for severity in Severity::MILDEST_FIRST {
                if let Some(tier) = &band.cell(severity).value {
                    reached.push((system, one_host, severity, tier));
                }
            }
        }
    }
    let exceptional = |e: &Exception, tier: &Tier| e.tier.value == tier.name;
    for tier in policy.tiers.values() {
        let in_row = reached.iter().any(|(.., name)| **name == tier.name);
        if !in_row && !policy.exceptions.iter().any(|e| exceptional(e, tier)) {
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
        let when = &rule.when;
        let meets = |(system, one_host, severity, tier): &(&System, bool, Severity, &TierName)| {
            let tier_fits =
                |name: &TierName| when.tiers.as_ref().is_none_or(|l| l.iter().any(|t| t.value == *name));
            let exception = policy.exceptions.iter().any(|e| tier_fits(&e.tier.value));
            when.systems.as_ref().is_none_or(|l| l.iter().any(|s| s.value == system.name))
                && when.one_host.is_none_or(|wanted| wanted == *one_host)
                && when.severities.as_ref().is_none_or(|l| l.contains(severity))
                && (tier_fits(tier) || exception)
        };
        if !reached.iter().any(meets) {
            let message = format!("rule `{}` can never apply", rule.id);
            out.push(at(rule.line).finding(FILE, "rule.unreachable", message, None));
        }
    }
}
