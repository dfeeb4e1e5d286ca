//! Whether there are people enough: every quorum can be met by the roster although whoever asked is out of
//! it, and every claim beyond the cap can be signed. Asked once both files could be read.
//!
//! By Hall's theorem distinct people can be found for all places of some quorums exactly if, for every choice
//! among the quorums, their groups together have as many people as the choice has places. Whoever is out of it
//! is missing where it hurts most, so the same holds with as many more. Rules are proved one by one beside
//! each tier.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::{GroupName, PersonName, Severity, SystemName, TierName};
use crate::policy::Approvals;
use crate::policy::files::roster::{GroupMembers, Roster};
use crate::policy::finding::{At, Finding};
use crate::policy::shape::{Policy, Quorum, Rule, System, Tier, TriggerSource, When};
use crate::policy::tighten::approvals;

const FILE: &str = "policy.toml";

/// Quorums that too few people could meet, and claims that too few could sign.
pub(in crate::policy) fn too_few(policy: &Policy, roster: &Roster) -> Vec<Finding> {
    let people = roster.group_members();
    let mut out = Vec::new();
    let co_declare = claims(policy, &people, &mut out);
    let cap = co_declare.map(|(cap, _)| cap);
    let reach = Reach::of(policy, cap, None);
    let signers = co_declare.map_or(0, |(_, signers)| signers);
    let tiers = policy.tiers.values().flat_map(|tier| &tier.approvals);
    let rules = policy.rules.iter().flat_map(|rule| rule.add.approvals.iter().chain(&rule.add.also));
    let impossible: Vec<Finding> =
        tiers.chain(rules).filter_map(|quorum| too_large(quorum, &people)).collect();
    if !impossible.is_empty() {
        out.extend(impossible);
        return out;
    }
    let mut lack: BTreeSet<&TierName> = BTreeSet::new();
    for tier in policy.tiers.values() {
        let Some(first) = tier.approvals.first() else { continue };
        for (system, lifted) in reach.of_tier(&tier.name) {
            let Ok(quorums) = approvals(system, tier, &[]) else { continue };
            let asks = format!("tier `{}`", tier.name);
            if let Some(finding) = lacking(&quorums, system, *lifted, signers, &people, &asks, first.place) {
                out.push(finding);
                lack.insert(&tier.name);
                break;
            }
        }
    }
    for rule in &policy.rules {
        let Some(first) = rule.add.approvals.iter().chain(&rule.add.also).next() else { continue };
        let cap = cap.filter(|cap| applies_beyond(&rule.when, *cap));
        let named = rule.when.systems.as_deref().map(|list| Reach::of(policy, cap, Some(list)));
        let reach = named.as_ref().unwrap_or(&reach);
        let signers = if cap.is_some() { signers } else { 0 };
        let tiers = policy.tiers.values().filter(|tier| !lack.contains(&tier.name));
        out.extend(rule_lacks(tiers, rule, reach, signers, &people, first.place));
    }
    out
}

/// Whether a rule can apply at a severity beyond the cap of bare claims.
fn applies_beyond(when: &When, cap: Severity) -> bool {
    Severity::MILDEST_FIRST.into_iter().filter(|severity| severity.number() < cap.number()).any(|severity| {
        let counted = when.overdue_reviews.is_none() || severity.number() > 1;
        counted && when.severities.as_ref().is_none_or(|list| list.contains(&severity))
    })
}

/// A quorum of more people than its groups have at all.
fn too_large(quorum: &Quorum, people: &GroupMembers<'_>) -> Option<Finding> {
    let from: Vec<GroupName> = quorum.from.as_ref()?.iter().map(|group| group.value.clone()).collect();
    let members = people.of(&from).len();
    let message = format!("{} approvals are asked of groups that have {members} people", quorum.count);
    // A group that nobody is in has its own finding.
    (members > 0 && members < usize::from(quorum.count))
        .then(|| quorum.place.finding(FILE, "quorum.too_large", message, None))
}

/// Claims that too few could sign, once for each on-call group. Gives the cap and how many must sign.
fn claims(policy: &Policy, people: &GroupMembers<'_>, out: &mut Vec<Finding>) -> Option<(Severity, usize)> {
    let trigger = policy.claim_trigger()?;
    let TriggerSource::Claim { cap, co_declare: Some(signers) } = &trigger.source else { return None };
    let signers = usize::from(*signers);
    let mut seen: BTreeSet<&GroupName> = BTreeSet::new();
    let mut in_file: Vec<&System> = policy.systems.values().collect();
    in_file.sort_by_key(|system| system.line);
    for system in in_file {
        let on_call = &system.on_call;
        if !seen.insert(&on_call.value) {
            continue;
        }
        let there = people.of(std::slice::from_ref(&on_call.value)).len();
        if there > 0 && there < signers {
            let message = format!(
                "trigger `{}` wants {signers} people on call to sign a claim beyond its cap; `{}` of system `{}` has \
                 {there}",
                trigger.name, on_call.value, system.name
            );
            let help = format!("add people to `{}`, or leave `co_declare` out", on_call.value);
            out.push(on_call.finding(FILE, "trigger.co_declare_too_few", message, Some(help)));
        }
    }
    Some((cap.value, signers))
}

/// Where each tier can come up.
struct Reach<'p> {
    tiers: BTreeMap<&'p TierName, BTreeMap<Pair<'p>, (&'p System, bool)>>,
}

/// The on-call and the owner group of a system.
type Pair<'p> = (&'p GroupName, &'p GroupName);

impl<'p> Reach<'p> {
    /// Of these systems, or of all; `cap` is that of bare claims, if others may lift it.
    fn of(policy: &'p Policy, cap: Option<Severity>, only: Option<&[At<SystemName>]>) -> Reach<'p> {
        let mut reach = Reach { tiers: BTreeMap::new() };
        let lifted = |severity: &Severity| cap.is_some_and(|cap| severity.number() < cap.number());
        let only: Option<BTreeSet<&SystemName>> = only.map(|list| list.iter().map(|at| &at.value).collect());
        let systems = |list: Option<&[At<SystemName>]>| -> Vec<&'p System> {
            let named = |name: &SystemName| list.is_none_or(|list| list.iter().any(|at| at.value == *name));
            match (&only, list) {
                (Some(only), _) => {
                    only.iter().filter(|n| named(n)).filter_map(|n| policy.system(n)).collect()
                }
                (None, Some(list)) => list.iter().filter_map(|at| policy.system(&at.value)).collect(),
                (None, None) => policy.systems().collect(),
            }
        };
        for system in systems(None) {
            for blast in [system.blast, system.blast.saturating_sub(1).max(1)] {
                let Some(band) = policy.risk.band(system.sensitivity.saturating_mul(blast)) else { continue };
                for severity in Severity::MILDEST_FIRST {
                    if let Some(tier) = &band.cell(severity).value {
                        reach.add(tier, system, lifted(&severity));
                    }
                }
            }
        }
        for exception in &policy.exceptions {
            let When { systems: named, severities, .. } = &exception.when;
            let holds = |s: &&Severity| severities.as_ref().is_none_or(|list| list.contains(s));
            let lifted = Severity::MILDEST_FIRST.iter().filter(holds).any(lifted);
            for system in systems(named.as_deref()) {
                reach.add(&exception.tier.value, system, lifted);
            }
        }
        reach
    }

    fn add(&mut self, tier: &'p TierName, system: &'p System, lifted: bool) {
        let pair = (&system.on_call.value, &system.owner.value);
        let entry = self.tiers.entry(tier).or_default().entry(pair).or_insert((system, false));
        entry.1 |= lifted;
    }

    fn of_tier(&self, tier: &TierName) -> impl Iterator<Item = &(&'p System, bool)> {
        self.tiers.get(tier).into_iter().flat_map(BTreeMap::values)
    }
}

/// The first of these tiers, and its system, for which a rule asks more people than there are.
fn rule_lacks<'p>(
    tiers: impl Iterator<Item = &'p Tier>,
    rule: &Rule,
    reach: &Reach<'_>,
    signers: usize,
    people: &GroupMembers<'_>,
    place: At<()>,
) -> Option<Finding> {
    let when = &rule.when.tiers;
    for tier in tiers.filter(|tier| when.as_ref().is_none_or(|l| l.iter().any(|t| t.value == tier.name))) {
        for (system, lifted) in reach.of_tier(&tier.name) {
            // Groups that do not meet are a denial, and meant as one.
            let Ok(quorums) = approvals(system, tier, &[rule]) else { continue };
            let asks = format!("rule `{}` with tier `{}`", rule.id, tier.name);
            let lacking = lacking(&quorums, system, *lifted, signers, people, &asks, place);
            if lacking.is_some() {
                return lacking;
            }
        }
    }
    None
}

/// The finding about quorums of a system that cannot always be met.
fn lacking(
    quorums: &[Approvals],
    system: &System,
    lifted: bool,
    signers: usize,
    people: &GroupMembers<'_>,
    asks: &str,
    place: At<()>,
) -> Option<Finding> {
    // A group that nobody is in has its own finding.
    if quorums.iter().flat_map(|quorum| &quorum.from).any(|group| people.group(group).is_none()) {
        return None;
    }
    let one = Out { people: 1, of: None };
    let all = Out { people: signers, of: people.group(&system.on_call.value) };
    let who = if !can_be_met(quorums, &one, people) {
        "whoever asks".to_owned()
    } else if lifted && signers > 1 && !can_be_met(quorums, &all, people) {
        format!("the {signers} people who sign a claim")
    } else {
        return None;
    };
    let groups: BTreeSet<&GroupName> = quorums.iter().flat_map(|quorum| &quorum.from).collect();
    let groups: Vec<&str> = groups.into_iter().map(|group| group.as_str()).collect();
    let wanted: usize = quorums.iter().map(|quorum| usize::from(quorum.count)).sum();
    let message = format!(
        "{asks} wants {wanted} of {} to approve for system `{}`, and there are too few without {who}: nobody approves \
         their own request",
        groups.join(" or "),
        system.name
    );
    let help = "more people in these groups, or fewer approvals".to_owned();
    Some(place.finding(FILE, "quorum.too_few", message, Some(help)))
}

/// Who asked and so may not approve: so many, of a group or of everybody.
struct Out<'a, 'r> {
    people: usize,
    of: Option<&'a BTreeSet<&'r PersonName>>,
}

/// Whether distinct people can be found for all places, whoever they are that are out.
fn can_be_met(quorums: &[Approvals], out: &Out<'_, '_>, people: &GroupMembers<'_>) -> bool {
    let wanted: usize = quorums.iter().map(|quorum| usize::from(quorum.count)).sum();
    // One group of each quorum with room for everybody is enough, and the rule in a large roster.
    let roomy = |group: &GroupName| people.group(group).is_some_and(|all| all.len() >= wanted + out.people);
    if quorums.iter().all(|quorum| quorum.from.iter().any(roomy)) {
        return true;
    }
    choices(quorums).all(|chosen| {
        let places: usize = chosen.iter().map(|quorum| usize::from(quorum.count)).sum();
        let groups: Vec<GroupName> = chosen.iter().flat_map(|quorum| quorum.from.clone()).collect();
        let there = people.of(&groups);
        let may_be_out = match out.of {
            Some(group) => there.intersection(group).count(),
            None => there.len(),
        };
        there.len() - may_be_out.min(out.people) >= places
    })
}

/// Every choice of at least one among a few quorums: each alone, and so on up to all.
fn choices(quorums: &[Approvals]) -> impl Iterator<Item = Vec<&Approvals>> {
    let bits = u32::try_from(quorums.len()).unwrap_or(u32::MAX);
    (1..1u32.checked_shl(bits).unwrap_or(u32::MAX)).map(move |choice| {
        let chosen = |n: usize| u32::try_from(n).is_ok_and(|n| choice.checked_shr(n).unwrap_or(0) & 1 == 1);
        quorums.iter().enumerate().filter(|(n, _)| chosen(*n)).map(|(_, quorum)| quorum).collect()
    })
}
