//! Whether the parts of a bundle fit together: every name is defined, every part is used, no host
//! belongs to two systems, whoever is woken may approve. Whether people are enough is `enough`'s question.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::policy_file::Declared;
use super::roster::Roster;
use crate::names::{GroupName, SystemName, TierName};
use crate::policy::finding::{At, Finding, meant};
use crate::policy::shape::{Policy, TriggerSource, When};

const FILE: &str = "policy.toml";

/// Everything that a name in the policy points at must exist.
pub(in crate::policy) fn undefined(
    policy: &Policy,
    declared: &Declared,
    roster: Option<&Roster>,
) -> Vec<Finding> {
    let mut out = Vec::new();
    let tiers = |at: &At<TierName>, out: &mut Vec<Finding>| {
        if !declared.tiers.contains(&at.value) {
            let help = meant(at.value.as_str(), declared.tiers.iter().map(TierName::as_str));
            out.push(missing(at, "tier.undefined", "tier", help));
        }
    };
    let systems = |at: &At<SystemName>, out: &mut Vec<Finding>| {
        if !declared.systems.contains(&at.value) {
            let help = meant(at.value.as_str(), declared.systems.iter().map(SystemName::as_str));
            out.push(missing(at, "system.undefined", "system", help));
        }
    };
    for cell in policy.risk.bands.iter().flat_map(|band| &band.cells) {
        if let Some(name) = &cell.value {
            tiers(&cell.with(name.clone()), &mut out);
        }
    }
    policy.tiers.values().filter_map(|tier| tier.meanwhile.as_ref()).for_each(|at| tiers(at, &mut out));
    policy.exceptions.iter().for_each(|exception| tiers(&exception.tier, &mut out));
    policy.actions.values().flat_map(|action| &action.systems).for_each(|at| systems(at, &mut out));
    let whens = policy.rules.iter().map(|rule| &rule.when).chain(policy.exceptions.iter().map(|e| &e.when));
    for when in whens {
        when.tiers.iter().flatten().for_each(|at| tiers(at, &mut out));
        when.systems.iter().flatten().for_each(|at| systems(at, &mut out));
        for at in when.triggers.iter().flatten().filter(|at| !declared.triggers.contains(&at.value)) {
            let help = meant(at.value.as_str(), declared.triggers.iter().map(|t| t.as_str()));
            out.push(missing(at, "trigger.undefined", "trigger", help));
        }
    }
    for case in &policy.tests {
        let expected = case.expect.tier.iter().flatten();
        let more = case.expect.meanwhile.iter().chain(&case.expect.smaller);
        expected.chain(more).for_each(|at| tiers(at, &mut out));
    }
    if let Some(roster) = roster {
        groups(policy, roster, &mut out);
    }
    out
}

fn missing(at: &At<impl Display>, code: &'static str, what: &str, help: Option<String>) -> Finding {
    at.finding(FILE, code, format!("no {what} is called `{}`", at.value), help)
}

fn groups(policy: &Policy, roster: &Roster, out: &mut Vec<Finding>) {
    let known = roster.groups();
    let mut check = |at: &At<GroupName>| {
        if !known.contains(&at.value) {
            let help = meant(at.value.as_str(), known.iter().map(|group| group.as_str()));
            let message = format!("nobody in roster.toml is in group `{}`", at.value);
            out.push(at.finding(FILE, "group.undefined", message, help));
        }
    };
    for system in policy.systems.values() {
        check(&system.owner);
        check(&system.on_call);
    }
    let whens = policy.rules.iter().map(|rule| &rule.when).chain(policy.exceptions.iter().map(|e| &e.when));
    for When { groups, outside, .. } in whens {
        groups.iter().chain(outside).flatten().for_each(&mut check);
    }
    policy.exceptions.iter().for_each(|exception| check(&exception.owner));
    policy.tiers.values().flat_map(|tier| &tier.escalate).for_each(|(_, group)| check(group));
    policy.reviews.iter().flat_map(|reviews| &reviews.from).for_each(&mut check);
    let tiers = policy.tiers.values().flat_map(|tier| &tier.approvals);
    let rules = policy.rules.iter().flat_map(|rule| rule.add.approvals.iter().chain(&rule.add.also));
    tiers.chain(rules).flat_map(|quorum| quorum.from.iter().flatten()).for_each(&mut check);
}

/// Whoever is woken for a tier must be able to approve it.
pub(in crate::policy) fn rungs(policy: &Policy) -> Vec<Finding> {
    let mut out = Vec::new();
    for tier in policy.tiers.values() {
        let from = || tier.approvals.iter().flat_map(|quorum| quorum.from.iter().flatten());
        for (_, rung) in tier.escalate.iter().filter(|(_, rung)| !from().any(|at| at.value == rung.value)) {
            let message = format!(
                "group `{}` is woken for tier `{}`, whose approvals are asked of others: it cannot approve",
                rung.value, tier.name
            );
            let help = meant(rung.value.as_str(), from().map(|at| at.value.as_str()));
            out.push(rung.finding(FILE, "escalate.cannot_approve", message, help));
        }
    }
    out
}

/// Every part must be of use. Asked only when all parts could be read.
pub(in crate::policy) fn unused(policy: &Policy) -> Vec<Finding> {
    let mut out = Vec::new();
    let cells = policy.risk.bands.iter().flat_map(|band| &band.cells).filter_map(|cell| cell.value.as_ref());
    let used: BTreeSet<&TierName> = cells.chain(policy.exceptions.iter().map(|e| &e.tier.value)).collect();
    let rule_asks = policy.rules.iter().any(|rule| rule.add.approvals.is_some() || rule.add.also.is_some());
    for tier in policy.tiers.values() {
        let at = At { value: (), line: tier.line, column: 1 };
        if !used.contains(&tier.name) {
            let message = format!("tier `{}` is used by no row and no exception", tier.name);
            out.push(at.finding(FILE, "tier.unused", message, None));
        }
        if let Some(meanwhile) = tier.meanwhile.as_ref().filter(|_| tier.approvals.is_empty() && !rule_asks) {
            let message =
                format!("tier `{}` never waits for approvals: nothing is given meanwhile", tier.name);
            out.push(meanwhile.finding(FILE, "tier.meanwhile_unused", message, None));
        }
    }
    for action in policy.actions.values() {
        if !policy.tiers.values().any(|tier| tier.power >= action.power) {
            let message = format!("action `{}` takes power {}, which no tier has", action.name, action.power);
            let at = At { value: (), line: action.line, column: 1 };
            out.push(at.finding(FILE, "action.unused", message, None));
        }
    }
    for trigger in policy.triggers.values() {
        let at = At { value: (), line: trigger.line, column: 1 };
        let claim = matches!(trigger.source, TriggerSource::Claim { .. });
        if trigger.grace_s > 0 && trigger.close_on.is_none() {
            let message =
                format!("trigger `{}` has a `grace` but no `close_on` that begins it", trigger.name);
            out.push(at.finding(FILE, "trigger.grace_unused", message, None));
        }
        if let TriggerSource::Claim { cap, co_declare: Some(_) } = &trigger.source
            && cap.value.number() == 1
        {
            let message = format!(
                "trigger `{}` has a `co_declare`, but nothing is worse than its cap: nobody need sign too",
                trigger.name
            );
            out.push(at.finding(FILE, "trigger.co_declare_unused", message, None));
        }
        if !claim && trigger.link_within_s.is_some() {
            let message =
                format!("trigger `{}` begins with an incident: nothing is to be linked", trigger.name);
            out.push(at.finding(FILE, "trigger.link_unused", message, None));
        }
    }
    out
}

/// Two triggers must not answer for the same incident or claim.
pub(in crate::policy) fn clashing_triggers(policy: &Policy) -> Vec<Finding> {
    let key = |source: &TriggerSource| match source {
        TriggerSource::Incidents { ids, .. } => Some(ids.clone()),
        TriggerSource::Claim { .. } => None,
    };
    let mut in_file: Vec<_> = policy.triggers.values().collect();
    in_file.sort_by_key(|trigger| trigger.line);
    let mut out = Vec::new();
    for (n, trigger) in in_file.iter().enumerate() {
        if let Some(first) = in_file.iter().take(n).find(|t| key(&t.source) == key(&trigger.source)) {
            let what = match key(&trigger.source) {
                Some(ids) => format!("incidents `{ids}:`"),
                None => "bare claims".into(),
            };
            let at = At { value: (), line: trigger.line, column: 1 };
            let message = format!("trigger `{}` takes {what}; so does `{}`", trigger.name, first.name);
            out.push(at.finding(FILE, "trigger.overlap", message, None));
        }
    }
    out
}

/// A host is in one system, and no host has a system's name. Fills the policy's index of hosts.
pub(in crate::policy) fn hosts(policy: &mut Policy) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut in_file: Vec<_> = policy.systems.values().collect();
    in_file.sort_by_key(|system| system.line);
    for system in in_file {
        for pattern in &system.hosts {
            if let Some((other, whose)) = policy.hosts.add(&pattern.value, system.name.clone()) {
                let message =
                    format!("`{}` and `{other}` of system `{whose}` can match the same host", pattern.value);
                out.push(pattern.finding(
                    FILE,
                    "hosts.overlap",
                    message,
                    Some("a host is in one system".into()),
                ));
            }
        }
    }
    for system in policy.systems.values() {
        if let Some((pattern, whose)) = policy.hosts.find(system.name.as_str()) {
            let message =
                format!("the name `{}` is also a host: `{pattern}` of system `{whose}`", system.name);
            let at = At { value: (), line: system.line, column: 1 };
            out.push(at.finding(FILE, "hosts.system_name", message, None));
        }
    }
    out
}
