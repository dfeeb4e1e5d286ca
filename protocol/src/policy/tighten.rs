//! From a tier to terms: what the tier says, tightened field by field by every rule that applies. The
//! fields' operations (max, min, intersection, or) are commutative, so the order of rules cannot matter.

use std::collections::{BTreeMap, BTreeSet};

use super::files::reading::span;
use super::severity::line;
use super::shape::{Band, Policy, Quorum, Rule, System, Tier, Trigger, When};
use super::{Approvals, Cidr, Facts, Terms};
use crate::names::{GroupName, Principal, Severity};
use crate::reason::Reason;

/// Where a decision stands once severity and row are known.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) policy: &'a Policy,
    pub(super) facts: &'a Facts,
    pub(super) system: &'a System,
    pub(super) band: &'a Band,
    pub(super) severity: Severity,
    pub(super) trigger: &'a Trigger,
}

/// A tier's terms under all rules.
pub(super) struct Candidate<'a> {
    pub(super) terms: Terms,
    /// Why these terms cannot be had at all.
    pub(super) denied: Vec<Reason>,
    /// The rules that applied.
    rules: Vec<&'a Rule>,
}

impl Candidate<'_> {
    /// The rules that applied, as reasons.
    pub(super) fn because(&self) -> Vec<Reason> {
        self.rules.iter().map(|rule| applied(rule)).collect()
    }

    /// Whether the person could have these terms at once.
    pub(super) fn is_free(&self, facts: &Facts) -> bool {
        self.denied.is_empty() && self.terms.approvals.is_empty() && facts.presence >= self.terms.presence
    }
}

/// The terms of `tier`, which the row gives at `cell`: a severity as bad as the setting's, or milder.
/// Rules for either severity apply, so that asking for less sheds nothing.
pub(super) fn candidate<'a>(setting: &Setting<'a>, tier: &Tier, cell: Severity) -> Candidate<'a> {
    let (facts, system) = (setting.facts, setting.system);
    let principal = match &facts.target.host {
        Some(host) => Principal::of_host(&tier.account, host),
        None => Principal::of_system(&tier.account, &system.name),
    };
    let mut terms = Terms {
        tier: tier.name.clone(),
        power: tier.power,
        account: tier.account.clone(),
        principals: vec![principal],
        force_command: tier.force_command.clone(),
        extensions: tier.extensions.clone(),
        source_address: tier.source_address.clone(),
        lifetime_s: tier.ttl_s,
        approvals: vec![],
        presence: tier.presence,
        record: tier.record,
        krl_max_age_s: tier.krl_max_age_s,
        grace_s: setting.trigger.grace_s,
        action: None,
    };
    let rules: Vec<&Rule> = setting
        .policy
        .rules_on(&system.name)
        .into_iter()
        .filter(|rule| rule_applies(setting, &rule.when, tier, cell))
        .collect();
    let mut denied = Vec::new();
    if facts.extension > tier.extends {
        denied.push(too_often(tier, facts.extension));
    }
    for rule in &rules {
        tighten(&mut terms, rule, &mut denied);
    }
    match approvals(system, tier, &rules) {
        Ok(approvals) => terms.approvals = approvals,
        Err(line_of) => {
            let sentence = format!("tier {} asks for approvals that no group may give", tier.name);
            denied.push(Reason::new("approvals.nobody", sentence).at(line(line_of)));
        }
    }
    Candidate { terms, denied, rules }
}

/// The quorums of a tier under its rules: each rule's count is the least of every quorum, its groups are all
/// that is left of every quorum's, and what it asks for `also` is a quorum more. Nobody counts for two quorums
/// (`quorum.rs`), so two of the same groups are one of both counts; of several rules that ask the same groups
/// `also`, the largest asks for all. Sorted by groups. `Err`: the line that leaves a quorum nobody to be met
/// by.
pub(super) fn approvals(system: &System, tier: &Tier, rules: &[&Rule]) -> Result<Vec<Approvals>, u32> {
    let names = |quorum: &Quorum| -> Option<BTreeSet<GroupName>> {
        quorum.from.as_ref().map(|from| from.iter().map(|group| group.value.clone()).collect())
    };
    let asked: Vec<&Quorum> = rules.iter().filter_map(|rule| rule.add.approvals.as_ref()).collect();
    let mut quorums: Vec<(u8, Option<BTreeSet<GroupName>>)> =
        tier.approvals.iter().map(|quorum| (quorum.count, names(quorum))).collect();
    if quorums.is_empty() && !asked.is_empty() {
        quorums.push((0, None));
    }
    for (count, from) in &mut quorums {
        for quorum in &asked {
            *count = (*count).max(quorum.count);
            if let Some(named) = names(quorum) {
                *from = Some(match from.take() {
                    None => named,
                    Some(before) => before.intersection(&named).cloned().collect(),
                });
            }
        }
    }
    let whose = |from: Option<BTreeSet<GroupName>>| {
        from.unwrap_or_else(|| [&system.on_call, &system.owner].map(|at| at.value.clone()).into())
    };
    let mut also: BTreeMap<BTreeSet<GroupName>, u8> = BTreeMap::new();
    for quorum in rules.iter().filter_map(|rule| rule.add.also.as_ref()) {
        let count = also.entry(whose(names(quorum))).or_default();
        *count = (*count).max(quorum.count);
    }
    let mut all: BTreeMap<BTreeSet<GroupName>, u8> = BTreeMap::new();
    for (from, count) in quorums.into_iter().map(|(count, from)| (whose(from), count)).chain(also) {
        if from.is_empty() {
            return Err(rules.iter().find(|rule| rule.add.approvals.is_some()).map_or(tier.line, |r| r.line));
        }
        let sum = all.entry(from).or_default();
        *sum = sum.saturating_add(count);
    }
    Ok(all.into_iter().map(|(from, count)| Approvals { count, from: from.into_iter().collect() }).collect())
}

/// An extension more than the tier allows; `this` is the one that is asked for, from 1.
fn too_often(tier: &Tier, this: u8) -> Reason {
    let Tier { name, extends, .. } = tier;
    let times = |n: u8| if n == 1 { "once".to_owned() } else { format!("{n} times") };
    let sentence = match extends {
        0 => format!("the policy allows no extension for tier {name}: declare anew"),
        most => format!(
            "this emergency has been extended {}; the policy allows {most} for tier {name}: declare anew",
            times(this.saturating_sub(1))
        ),
    };
    Reason::new("extension.bound", sentence).at(line(tier.line))
}

fn tighten(terms: &mut Terms, rule: &Rule, denied: &mut Vec<Reason>) {
    let add = &rule.add;
    if add.deny {
        let sentence = format!("rule {} refuses this: {}", rule.id, rule.why);
        denied.push(Reason::new("rule.denied", sentence).at(line(rule.line)));
    }
    if let Some(ttl_s) = add.ttl_s {
        terms.lifetime_s = terms.lifetime_s.min(ttl_s);
    }
    if let Some(only) = &add.extensions {
        terms.extensions.retain(|extension| only.contains(extension));
    }
    if let Some(only) = &add.source_address {
        let both = meet(&terms.source_address, only);
        if both.is_empty() {
            let sentence = format!("rule {} leaves no address to come from: {}", rule.id, rule.why);
            denied.push(Reason::new("source_address.nowhere", sentence).at(line(rule.line)));
        } else {
            terms.source_address = both;
        }
    }
    terms.presence = terms.presence.max(add.presence.unwrap_or_default());
    terms.record = terms.record.max(add.record.unwrap_or_default());
    terms.krl_max_age_s = match (terms.krl_max_age_s, add.krl_max_age_s) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}

/// The addresses in both lists; an empty first list is anywhere. Ranges nest or are apart.
fn meet(a: &[Cidr], b: &[Cidr]) -> Vec<Cidr> {
    if a.is_empty() {
        return b.to_vec();
    }
    let inner = a.iter().filter(|x| b.iter().any(|y| y.contains(x)));
    let outer = b.iter().filter(|y| a.iter().any(|x| x.contains(y)));
    let mut both: Vec<Cidr> = inner.chain(outer).copied().collect();
    both.sort();
    both.dedup();
    both
}

fn applied(rule: &Rule) -> Reason {
    let add = &rule.add;
    let mut what: Vec<String> = Vec::new();
    if add.deny {
        what.push("nothing is given".into());
    }
    if let Some(quorum) = &add.approvals {
        what.push(format!("{} approval{}", quorum.count, if quorum.count == 1 { "" } else { "s" }));
    }
    if let Some(quorum) = &add.also {
        what.push(format!("{} more of others", quorum.count));
    }
    if let Some(ttl_s) = add.ttl_s {
        what.push(format!("at most {}", span(ttl_s)));
    }
    if add.extensions.is_some() {
        what.push("fewer extensions".into());
    }
    if add.source_address.is_some() {
        what.push("only from some addresses".into());
    }
    if add.presence.is_some() {
        what.push("presence".into());
    }
    if add.record.is_some() {
        what.push("recording".into());
    }
    if add.krl_max_age_s.is_some() {
        what.push("a fresh revocation list".into());
    }
    let sentence = format!("rule {} asks for {}: {}", rule.id, what.join(", "), rule.why);
    Reason::new("rule.applied", sentence).at(line(rule.line))
}

/// Rules tighten, so what is unknown meets their condition.
fn rule_applies(setting: &Setting<'_>, when: &When, tier: &Tier, cell: Severity) -> bool {
    let severity_fits = |list: &Vec<Severity>| list.contains(&setting.severity) || list.contains(&cell);
    let on_call_fits = |wanted: bool| setting.facts.on_call.is_none_or(|known| known == wanted);
    when.tiers.as_ref().is_none_or(|list| list.iter().any(|t| t.value == tier.name))
        && when.severities.as_ref().is_none_or(severity_fits)
        && when.on_call.is_none_or(on_call_fits)
        && when.signals.as_ref().is_none_or(|list| list.iter().any(|s| s.holds(setting.facts) != Some(false)))
        && when.extension.is_none_or(|from_on| setting.facts.extension >= from_on)
        && when.overdue_reviews.is_none_or(|n| is_in_debt(setting, n))
        && rest_applies(setting, when)
}

/// At severity 1 nobody is asked for reviews first.
fn is_in_debt(setting: &Setting<'_>, reviews: u8) -> bool {
    setting.severity.number() > 1 && setting.facts.reviews_overdue >= u32::from(reviews)
}

/// Exceptions loosen, so what is unknown does not meet their condition.
pub(super) fn exception_applies(setting: &Setting<'_>, when: &When) -> bool {
    when.severities.as_ref().is_none_or(|list| list.contains(&setting.severity))
        && when.on_call.is_none_or(|wanted| setting.facts.on_call == Some(wanted))
        && rest_applies(setting, when)
}

fn rest_applies(setting: &Setting<'_>, when: &When) -> bool {
    let facts = setting.facts;
    let member =
        |list: &Vec<super::finding::At<GroupName>>| list.iter().any(|g| facts.groups.contains(&g.value));
    when.systems.as_ref().is_none_or(|list| list.iter().any(|s| s.value == setting.system.name))
        && when.triggers.as_ref().is_none_or(|list| list.iter().any(|t| t.value == setting.trigger.name))
        && when.one_host.is_none_or(|one| one == facts.target.host.is_some())
        && when.groups.as_ref().is_none_or(member)
        && when.outside.as_ref().is_none_or(|list| !member(list))
        && when.drill.is_none_or(|drill| drill == facts.drill)
}
