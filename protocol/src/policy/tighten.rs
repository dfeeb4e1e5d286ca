//! From a tier to terms: what the tier says, tightened field by field by every rule that applies. The
//! fields' operations (max, min, intersection, or) are commutative, so the order of rules cannot matter.

use super::reading::span;
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
pub(super) struct Candidate {
    pub(super) terms: Terms,
    /// Why these terms cannot be had at all.
    pub(super) denied: Vec<Reason>,
    /// The rules that applied.
    pub(super) because: Vec<Reason>,
}

impl Candidate {
    /// Whether the person could have these terms at once.
    pub(super) fn is_free(&self, facts: &Facts) -> bool {
        self.denied.is_empty() && self.terms.approvals.is_empty() && facts.presence >= self.terms.presence
    }
}

/// The terms of `tier`, which the row gives at `cell`: a severity as bad as the setting's, or milder.
/// Rules for either severity apply, so that asking for less sheds nothing.
pub(super) fn candidate(setting: &Setting<'_>, tier: &Tier, cell: Severity) -> Candidate {
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
    let rules: Vec<&Rule> =
        setting.policy.rules.iter().filter(|rule| rule_applies(setting, &rule.when, tier, cell)).collect();
    let (mut denied, mut because) = (Vec::new(), Vec::new());
    for rule in &rules {
        tighten(&mut terms, rule, &mut denied);
        because.push(applied(rule));
    }
    match approvals(system, tier, &rules) {
        Ok(approvals) => terms.approvals = approvals,
        Err(line_of) => {
            let sentence = format!("tier {} asks for approvals that no group may give", tier.name);
            denied.push(Reason::new("approvals.nobody", sentence).at(line(line_of)));
        }
    }
    Candidate { terms, denied, because }
}

/// The quorums of a tier under its rules: each rule's count is the least of every quorum, its groups are all
/// that is left of every quorum's, and what it asks for `also` is a quorum more. `Err`: the line that leaves a
/// quorum nobody to be met by.
fn approvals(system: &System, tier: &Tier, rules: &[&Rule]) -> Result<Vec<Approvals>, u32> {
    let names = |quorum: &Quorum| -> Option<Vec<GroupName>> {
        quorum.from.as_ref().map(|from| from.iter().map(|group| group.value.clone()).collect())
    };
    let asked: Vec<&Quorum> = rules.iter().filter_map(|rule| rule.add.approvals.as_ref()).collect();
    let mut quorums: Vec<(u8, Option<Vec<GroupName>>)> =
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
                    Some(before) => before.into_iter().filter(|group| named.contains(group)).collect(),
                });
            }
        }
    }
    quorums.extend(rules.iter().filter_map(|rule| rule.add.also.as_ref()).map(|q| (q.count, names(q))));
    let mut out: Vec<Approvals> = Vec::new();
    for (count, from) in quorums {
        let mut from = from.unwrap_or_else(|| vec![system.on_call.value.clone(), system.owner.value.clone()]);
        from.sort();
        from.dedup();
        if from.is_empty() {
            let place = rules.iter().find(|rule| rule.add.approvals.is_some()).map_or(tier.line, |r| r.line);
            return Err(place);
        }
        out.push(Approvals { count, from });
    }
    out.sort_by(|a, b| a.from.cmp(&b.from).then(b.count.cmp(&a.count)));
    // Two of the same groups: the larger asks for both.
    out.dedup_by(|later, first| later.from == first.from);
    Ok(out)
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
        && rest_applies(setting, when)
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
