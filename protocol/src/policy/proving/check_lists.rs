//! What an entry lists must fit into it: the people whom a rung calls, the hosts of a system. A list that did
//! not fit would keep the log from being written in the very hour in which somebody waits.

use std::collections::{BTreeMap, BTreeSet};

use super::check::at;
use crate::limits;
use crate::names::GroupName;
use crate::policy::files::roster::{GroupMembers, Roster};
use crate::policy::finding::{At, Finding};
use crate::policy::shape::{Policy, Quorum, Rule, System, Tier};

const FILE: &str = "policy.toml";

/// Adds a finding for each rung that may call more than [`limits::CALLED`] people, and for each system whose
/// hosts are more than [`limits::SYSTEM_HOSTS`] bytes.
pub(in crate::policy) fn check(policy: &Policy, roster: &Roster, out: &mut Vec<Finding>) {
    let mut sizes = Sizes { people: roster.group_members(), known: BTreeMap::new() };
    for tier in policy.tiers.values() {
        for (_, rung) in &tier.escalate {
            let called = sizes.of(&BTreeSet::from([&rung.value]));
            if called > limits::CALLED {
                out.push(crowd(rung.with(()), &tier.name, called, &BTreeSet::from([&rung.value])));
            }
        }
        // Once for each place, whichever systems it is the same for.
        let first: BTreeSet<Finding> = policy
            .systems
            .values()
            .filter_map(|system| first_rung(policy, tier, system, &mut sizes))
            .collect();
        let mut places: BTreeSet<(u32, u32)> = BTreeSet::new();
        out.extend(first.into_iter().filter(|finding| places.insert((finding.line, finding.column))));
    }
    for system in policy.systems.values() {
        let bytes: usize = system.hosts.iter().map(|host| host.value.as_str().len().saturating_add(3)).sum();
        if bytes > limits::SYSTEM_HOSTS {
            let message = format!(
                "the hosts of system `{}` are {bytes} bytes; at most {} are listed in an entry",
                system.name,
                limits::SYSTEM_HOSTS
            );
            let help = Some("patterns instead of single hosts, or several systems".to_owned());
            out.push(at(system.line).finding(FILE, "hosts.too_many", message, help));
        }
    }
}

/// The rung of all who are on no other: the tier's own quorums, then what each rule that may apply adds. Which
/// rules apply at once is not asked: together they must not be too many either. The finding is at the quorum
/// with which they become so.
fn first_rung<'p>(
    policy: &'p Policy,
    tier: &'p Tier,
    system: &'p System,
    sizes: &mut Sizes<'_, 'p>,
) -> Option<Finding> {
    let applies =
        |rule: &&Rule| rule.when.tiers.as_ref().is_none_or(|l| l.iter().any(|t| t.value == tier.name));
    let rules = policy.rules_on(&system.name);
    let rules = rules.into_iter().filter(applies);
    let added = rules.flat_map(|rule| {
        // Where the tier has quorums of its own, a rule's `approvals` only narrows them.
        let own = rule.add.approvals.iter().filter(|_| tier.approvals.is_empty());
        own.chain(&rule.add.also)
    });
    let later: BTreeSet<&GroupName> = tier.escalate.iter().map(|(_, group)| &group.value).collect();
    let mut groups: BTreeSet<&GroupName> = BTreeSet::new();
    for Quorum { place, from, .. } in tier.approvals.iter().chain(added) {
        match from {
            Some(from) => groups.extend(from.iter().map(|group| &group.value)),
            None => groups.extend([&system.on_call.value, &system.owner.value]),
        }
        groups.retain(|group| !later.contains(group));
        let called = sizes.of(&groups);
        if called > limits::CALLED {
            return Some(crowd(*place, &tier.name, called, &groups));
        }
    }
    None
}

fn crowd(
    place: At<()>,
    tier: &crate::names::TierName,
    called: usize,
    groups: &BTreeSet<&GroupName>,
) -> Finding {
    let groups: Vec<&str> = groups.iter().map(|group| group.as_str()).collect();
    let message = format!(
        "a rung of tier `{tier}` may call {called} people at once, of {}; at most {} are called",
        groups.join(" or "),
        limits::CALLED
    );
    let help =
        Some("name a group of those who decide, or wake some of the groups later (`escalate`)".to_owned());
    place.finding(FILE, "rung.crowd", message, help)
}

/// How many distinct people some groups have together, each choice counted once.
struct Sizes<'r, 'p> {
    people: GroupMembers<'r>,
    known: BTreeMap<BTreeSet<&'p GroupName>, usize>,
}

impl<'p> Sizes<'_, 'p> {
    fn of(&mut self, groups: &BTreeSet<&'p GroupName>) -> usize {
        if let Some(known) = self.known.get(groups) {
            return *known;
        }
        let names: Vec<GroupName> = groups.iter().map(|group| (*group).clone()).collect();
        let count = self.people.of(&names).len();
        self.known.insert(groups.clone(), count);
        count
    }
}
