//! Walks two bundles side by side: every system x scope x way to begin x severity x on-call x presence,
//! and each circumstance that a rule or an exception of either speaks of. Gives the cases in which the
//! second decides otherwise, joined so that a reader is not drowned.
//!
//! Systems that neither policy tells apart are walked once.

use std::collections::{BTreeMap, BTreeSet};

use super::axes::{Axes, ON_CALL, PRESENCE, SCOPES, circumstance_in, request_in};
use super::cells::{Cell, DIMENSIONS, Place, Scope, bit};
use crate::names::{GroupName, HostName, PersonName, Severity, SystemName};
use crate::policy::finding::At;
use crate::policy::shape::{Policy, System, When};
use crate::policy::{Bundle, Change, ChangeVerdict, Facts, Target, compare_under, decide};

/// Who asks.
pub(in crate::policy) struct Asker<'a> {
    pub(in crate::policy) person: &'a PersonName,
    /// Their groups in the first bundle; sorted.
    pub(in crate::policy) before: &'a [GroupName],
    /// And in the second.
    pub(in crate::policy) after: &'a [GroupName],
    /// On call as their groups say; else each answer is walked.
    pub(in crate::policy) on_call_by_group: bool,
}

/// One case that changes: where it lies, the circumstance, and how.
type Case = (Place, usize, Change);

/// The cases in which `after` decides otherwise than `before`, for `asker`; the weightiest first. Without
/// those that change in the same way for `but`.
pub(in crate::policy) fn walk(
    before: &Bundle,
    after: &Bundle,
    asker: &Asker<'_>,
    but: Option<&Asker<'_>>,
) -> Vec<Cell> {
    let axes = Axes::of(before, after, asker);
    let mut classes: BTreeMap<Class<'_>, Vec<&SystemName>> = BTreeMap::new();
    let names: BTreeSet<&SystemName> =
        before.policy.systems.keys().chain(after.policy.systems.keys()).collect();
    for name in names {
        classes.entry(Class::of(&before.policy, &after.policy, name)).or_default().push(name);
    }
    let mut joined: BTreeMap<Found, Vec<SystemName>> = BTreeMap::new();
    for systems in classes.values() {
        let Some(first) = systems.first() else { continue };
        for found in of_system(before, after, asker, but, &axes, first) {
            joined.entry(found).or_default().extend(systems.iter().map(|name| (*name).clone()));
        }
    }
    let mut cells: Vec<Cell> =
        joined.into_iter().map(|(found, systems)| found.into_cell(systems, &axes)).collect();
    cells.sort_by(|a, b| b.change.verdict.cmp(&a.change.verdict).then_with(|| a.systems.cmp(&b.systems)));
    cells
}

/// One change and where it is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    place: Place,
    /// Index into the circumstances; 0 is the ordinary.
    circumstance: usize,
    change: Change,
    /// Which bits of each dimension were walked.
    walked: Place,
}

impl Found {
    fn into_cell(self, mut systems: Vec<SystemName>, axes: &Axes) -> Cell {
        let [scopes, ways, severities, on_call, presence] = self.place;
        systems.sort();
        let mut severities: Vec<Severity> = picked(&Severity::MILDEST_FIRST, severities);
        severities.reverse();
        let circumstance = axes.circumstances.get(self.circumstance).filter(|_| self.circumstance > 0);
        Cell {
            change: self.change,
            systems,
            scopes: picked(&SCOPES, scopes),
            begun_by: picked(&axes.ways, ways).iter().map(ToString::to_string).collect(),
            severities,
            on_call: picked(&ON_CALL, on_call),
            presence: picked(&PRESENCE, presence),
            circumstance: circumstance.map(|c| c.words.clone()),
            whole: std::array::from_fn(|n| self.place.get(n) == self.walked.get(n)),
        }
    }
}

fn picked<T: Clone>(all: &[T], mask: u32) -> Vec<T> {
    all.iter().enumerate().filter(|(n, _)| mask & bit(*n) != 0).map(|(_, value)| value.clone()).collect()
}

/// What the decision of a system may depend on besides the request: its own figures in both bundles, and
/// which rules, exceptions and actions name it. Systems alike in all of it are walked once.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Class<'p> {
    before: Option<Figures<'p>>,
    after: Option<Figures<'p>>,
    /// A host in both, a new one, one that is gone.
    hosts: [bool; 3],
}

type Figures<'p> = (u8, u8, &'p GroupName, &'p GroupName, Vec<bool>);

impl<'p> Class<'p> {
    fn of(before: &'p Policy, after: &'p Policy, name: &SystemName) -> Class<'p> {
        let hosts = Hosts::of(before.system(name), after.system(name));
        Class {
            before: before.system(name).map(|system| figures(before, system)),
            after: after.system(name).map(|system| figures(after, system)),
            hosts: [hosts.kept.is_some(), hosts.new.is_some(), hosts.gone.is_some()],
        }
    }
}

fn figures<'p>(policy: &'p Policy, system: &'p System) -> Figures<'p> {
    let System { name, line: _, hosts: _, sensitivity, blast, owner, on_call } = system;
    let names = |systems: &[At<SystemName>]| systems.iter().any(|at| at.value == *name);
    let named = |when: &When| when.systems.as_deref().is_some_and(names);
    let rules = policy.rules.iter().map(|rule| named(&rule.when));
    let exceptions = policy.exceptions.iter().map(|exception| named(&exception.when));
    let actions = policy.actions.values().map(|action| names(&action.systems));
    let mentions = rules.chain(exceptions).chain(actions).collect();
    (*sensitivity, *blast, &owner.value, &on_call.value, mentions)
}

/// A host to ask for, of each kind there is.
struct Hosts {
    kept: Option<HostName>,
    new: Option<HostName>,
    gone: Option<HostName>,
}

impl Hosts {
    fn of(before: Option<&System>, after: Option<&System>) -> Hosts {
        let has = |system: Option<&System>, host: &HostName| {
            system.is_some_and(|system| system.hosts.iter().any(|p| p.value.matches(host)))
        };
        // A pattern with a letter for its star is one of its hosts.
        let some = |system: Option<&System>| -> Vec<HostName> {
            let patterns = system.into_iter().flat_map(|system| &system.hosts);
            patterns.filter_map(|p| p.value.as_str().replace('*', "x").parse().ok()).collect()
        };
        let (old, young) = (some(before), some(after));
        Hosts {
            kept: old.iter().chain(&young).find(|host| has(before, host) && has(after, host)).cloned(),
            new: young.iter().find(|host| !has(before, host)).cloned(),
            gone: old.iter().find(|host| !has(after, host)).cloned(),
        }
    }

    fn target(&self, scope: Scope, system: &SystemName) -> Option<Target> {
        let host = match scope {
            Scope::System => None,
            Scope::Host | Scope::FurtherHost => Some(self.kept.clone()?),
            Scope::NewHost => Some(self.new.clone()?),
            Scope::GoneHost => Some(self.gone.clone()?),
        };
        Some(Target { system: system.clone(), host })
    }
}

/// The changes of one system, joined along every dimension.
fn of_system(
    before: &Bundle,
    after: &Bundle,
    asker: &Asker<'_>,
    but: Option<&Asker<'_>>,
    axes: &Axes,
    name: &SystemName,
) -> Vec<Found> {
    let (walked, mut changes) = cases(before, after, asker, axes, name);
    if let Some(but) = but.filter(|_| !changes.is_empty()) {
        let theirs: BTreeSet<_> = cases(before, after, but, axes, name).1.into_iter().collect();
        changes.retain(|change| !theirs.contains(change));
    }
    drop_offers(&mut changes);
    let found = |(place, circumstance, change)| Found { place, circumstance, change, walked };
    join(changes).into_iter().map(found).collect()
}

/// Every case of one system that changes, one by one, and which there are.
fn cases(
    before: &Bundle,
    after: &Bundle,
    asker: &Asker<'_>,
    axes: &Axes,
    name: &SystemName,
) -> (Place, Vec<Case>) {
    let hosts = Hosts::of(before.policy.system(name), after.policy.system(name));
    let mut facts = [Facts::ordinary(asker.person, name), Facts::ordinary(asker.person, name)];
    let mut walked: Place = [0; DIMENSIONS];
    let mut changes: Vec<Case> = Vec::new();
    // What the ordinary changes, so that a circumstance is named only where it changes something else.
    let mut ordinary: BTreeMap<Place, Change> = BTreeMap::new();
    for (c, circumstance) in axes.circumstances.iter().enumerate() {
        if circumstance.systems.as_ref().is_some_and(|systems| !systems.contains(name)) {
            continue;
        }
        for (facts, groups) in facts.iter_mut().zip([asker.before, asker.after]) {
            circumstance_in(facts, circumstance);
            facts.groups = groups.iter().chain(&circumstance.groups).cloned().collect();
        }
        let [was_on_call, is_on_call] =
            [(before, asker.before), (after, asker.after)].map(|(bundle, groups)| {
                bundle.policy.system(name).map(|system| groups.contains(&system.on_call.value))
            });
        for request in &axes.requests {
            let Some(target) = hosts.target(request.scope, name) else { continue };
            for facts in &mut facts {
                request_in(facts, request, target.clone());
            }
            let [was, is] = &mut facts;
            if asker.on_call_by_group {
                (was.on_call, is.on_call) = (was_on_call, is_on_call);
            }
            let (was, is) = (decide(&before.policy, was), decide(&after.policy, is));
            for (seen, new) in walked.iter_mut().zip(request.place) {
                *seen |= new;
            }
            let change = compare_under(&before.policy, &was, &is);
            if change.verdict == ChangeVerdict::Same || ordinary.get(&request.place) == Some(&change) {
                continue;
            }
            if c == 0 {
                ordinary.insert(request.place, change.clone());
            }
            changes.push((request.place, c, change));
        }
    }
    (walked, changes)
}

/// A changed offer (the smaller request that would be granted) is said by the case that it is itself, where
/// there is one.
fn drop_offers(changes: &mut Vec<Case>) {
    let key = |place: &Place, circumstance: usize| {
        let [scope, _, _, on_call, presence] = *place;
        (scope, on_call, presence, circumstance)
    };
    let said: BTreeSet<_> =
        changes.iter().map(|(place, c, change)| (key(place, *c), change.what.join(", "))).collect();
    changes.retain(|(place, c, change)| {
        change.only_offered().is_none_or(|words| !said.contains(&(key(place, *c), words.to_owned())))
    });
}

/// Joins what differs in one dimension only, one dimension after the other.
fn join(mut changes: Vec<Case>) -> Vec<Case> {
    for dimension in (0..DIMENSIONS).rev() {
        let mut joined: BTreeMap<(Place, usize, Change), u32> = BTreeMap::new();
        for (mut place, circumstance, change) in changes {
            let mask = place.get_mut(dimension).map(std::mem::take).unwrap_or_default();
            *joined.entry((place, circumstance, change)).or_default() |= mask;
        }
        changes = joined
            .into_iter()
            .map(|((mut place, circumstance, change), mask)| {
                if let Some(bits) = place.get_mut(dimension) {
                    *bits = mask;
                }
                (place, circumstance, change)
            })
            .collect();
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every single case of a cell.
    fn spread(cells: &[Found], name: &SystemName) -> BTreeSet<(SystemName, Place, usize, Change)> {
        let mut out = BTreeSet::new();
        for found in cells {
            let bits = |n: usize| (0..32).map(bit).filter(move |bit| found.place[n] & bit != 0);
            for (a, b) in bits(0).flat_map(|a| bits(1).map(move |b| (a, b))) {
                for (c, d) in bits(2).flat_map(|c| bits(3).map(move |d| (c, d))) {
                    for e in bits(4) {
                        let place = [a, b, c, d, e];
                        assert!(out.insert((name.clone(), place, found.circumstance, found.change.clone())));
                    }
                }
            }
        }
        out
    }

    fn policy(lifetime: &str, rule: &str) -> Bundle {
        let mut text = String::from(
            r#"version = 1
[trigger.pagerduty]
ids = "pd"
severity = { default = 4 }
max_age = "4h"
[trigger.manual]
severity_cap = 2
co_declare = 2
[risk]
bands = { all = 16 }
all = ["look", "look", "fix", "fix"]
[tier.look]
power = 1
account = "look"
force_command = "/bin/look"
ttl = "30m"
[tier.fix]
power = 2
account = "ops"
presence = "touch"
"#,
        );
        text.push_str(&format!("ttl = \"{lifetime}\"\n{rule}"));
        for (name, blast, owner) in
            [("a", 1, "x"), ("b", 1, "x"), ("c", 1, "y"), ("d", 3, "x"), ("e", 1, "x")]
        {
            text.push_str(&format!(
                "[system.{name}]\nhosts = [\"*.{name}.prod\"]\nsensitivity = 2\nblast = {blast}\n\
                 owner = \"{owner}\"\non_call = \"x\"\n"
            ));
        }
        // Three people, so that every signature the policy asks for can be had.
        let people = [("ana", 1), ("ben", 2), ("cleo", 3)].map(|(name, seed)| {
            let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key();
            let key = crate::keys::Ed25519Key(key.to_bytes());
            format!("[person.{name}]\ngroups = [\"x\", \"y\"]\nkeys = [\"{key} {name}\"]\n")
        });
        let roster = people.concat();
        Bundle::parse(&text, &roster).unwrap_or_else(|findings| panic!("{findings:#?}"))
    }

    #[test]
    fn systems_walked_together_change_as_each_does_alone() {
        let rule = "[[rule]]\nid = \"r\"\nwhen = { systems = [\"b\"], drill = true, on_call = false }\n\
                    add = { ttl = \"10m\", approvals = 1 }\nwhy = \"x\"\n";
        let (before, after) = (policy("30m", ""), policy("45m", rule));
        let person: PersonName = "somebody".parse().unwrap();
        let asker = Asker { person: &person, before: &[], after: &[], on_call_by_group: false };
        let axes = Axes::of(&before, &after, &asker);
        let alone: BTreeSet<_> = ["a", "b", "c", "d", "e"]
            .into_iter()
            .flat_map(|name| {
                let name: SystemName = name.parse().unwrap();
                spread(&of_system(&before, &after, &asker, None, &axes, &name), &name)
            })
            .collect();
        let cells = walk(&before, &after, &asker, None);
        // Joined, they are few; spread out again, they are what each system shows alone.
        let together: BTreeSet<_> = cells
            .iter()
            .flat_map(|cell| {
                cell.systems.iter().flat_map(|name| {
                    let found = Found {
                        place: placed(cell, &axes),
                        circumstance: circumstance_of(cell, &axes),
                        change: cell.change.clone(),
                        walked: [0; DIMENSIONS],
                    };
                    spread(&[found], name)
                })
            })
            .collect();
        assert!(!alone.is_empty());
        assert_eq!(alone, together);
        assert!(cells.len() < 12, "{cells:#?}");
    }

    fn circumstance_of(cell: &Cell, axes: &Axes) -> usize {
        let Some(words) = &cell.circumstance else { return 0 };
        axes.circumstances.iter().position(|c| c.words == *words).unwrap()
    }

    fn placed(cell: &Cell, axes: &Axes) -> Place {
        fn mask<T: PartialEq>(all: &[T], some: &[T]) -> u32 {
            some.iter().map(|one| bit(all.iter().position(|x| x == one).unwrap())).fold(0, |a, b| a | b)
        }
        let ways: Vec<String> = axes.ways.iter().map(ToString::to_string).collect();
        [
            mask(&SCOPES, &cell.scopes),
            mask(&ways, &cell.begun_by),
            mask(&Severity::MILDEST_FIRST, &cell.severities),
            mask(&ON_CALL, &cell.on_call),
            mask(&PRESENCE, &cell.presence),
        ]
    }
}
