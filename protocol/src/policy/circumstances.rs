//! The circumstances that the rules and exceptions of two policies speak of: what a walk of both must try beside
//! the ordinary, so that no rule goes unseen.

use std::collections::BTreeSet;

use super::shape::{Policy, When};
use super::{Facts, Signal, Signals};
use crate::names::{GroupName, RuleId, SystemName};

/// Each circumstance that one of them speaks of, the ordinary first. Without `by_group` nobody in particular is
/// put into a group: who asks is in theirs.
pub(super) fn circumstances(both: &[&Policy; 2], by_group: bool) -> Vec<Circumstance> {
    let mut out = vec![Circumstance::ordinary()];
    let mut add = |mut new: Circumstance| {
        // A person is in the groups that they are in.
        if !by_group {
            new.groups.clear();
        }
        match out.iter_mut().find(|known| known.same_facts(&new)) {
            Some(known) => {
                known.systems =
                    known.systems.take().zip(new.systems).map(|(a, b)| a.into_iter().chain(b).collect());
            }
            None => out.push(new),
        }
    };
    for rule in both.iter().flat_map(|policy| &policy.rules) {
        add(Circumstance::meeting(&rule.when));
        Circumstance::escaping(&rule.when).into_iter().for_each(&mut add);
    }
    // The extensions that one policy has and the other has not.
    let [first, second] = both;
    for (tier, other) in first.tiers.values().filter_map(|tier| Some((tier, second.tier(&tier.name)?))) {
        if tier.extends != other.extends {
            let extension = tier.extends.max(other.extends);
            let words = format!("at extension {extension}");
            add(Circumstance { words, extension, ..Circumstance::ordinary() });
        }
    }
    // Each stretch of time in which the same exceptions run.
    let exceptions = || both.iter().enumerate().flat_map(|(n, p)| p.exceptions.iter().map(move |e| (n, e)));
    let mut seen: BTreeSet<Vec<(usize, &RuleId)>> = BTreeSet::from([Vec::new()]);
    for at in exceptions().flat_map(|(_, e)| [e.from, e.until]).collect::<BTreeSet<u64>>() {
        let alive: Vec<_> = exceptions().filter(|(_, e)| e.from <= at && at < e.until).collect();
        if !seen.insert(alive.iter().map(|(n, e)| (*n, &e.id)).collect()) {
            continue;
        }
        let ids: BTreeSet<&str> = alive.iter().map(|(_, e)| e.id.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        for (_, exception) in &alive {
            let mut new = Circumstance::meeting(&exception.when);
            new.at = at;
            let runs = format!("while exception {} runs", ids.join(" and "));
            new.words = if new.words.is_empty() { runs } else { format!("{runs}, {}", new.words) };
            add(new);
        }
    }
    out
}

/// What is out of the ordinary: what it takes for some rule or exception to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Circumstance {
    /// How it is said; empty for what is ordinary.
    pub(super) words: String,
    at: u64,
    drill: bool,
    extension: u8,
    overdue: u8,
    signals: Vec<Signal>,
    /// Groups of whoever asks, when it is nobody in particular.
    pub(super) groups: Vec<GroupName>,
    /// Only these systems can tell; `None` is all.
    pub(super) systems: Option<BTreeSet<SystemName>>,
}

impl Circumstance {
    fn ordinary() -> Circumstance {
        Circumstance {
            words: String::new(),
            at: 0,
            drill: false,
            extension: 0,
            overdue: 0,
            signals: Vec::new(),
            groups: Vec::new(),
            systems: None,
        }
    }

    /// The least that meets `when`.
    fn meeting(when: &When) -> Circumstance {
        let mut words = Vec::new();
        let drill = when.drill == Some(true);
        if drill {
            words.push("in a drill".to_owned());
        }
        let extension = when.extension.unwrap_or(0);
        if extension > 0 {
            words.push(format!("at extension {extension}"));
        }
        let overdue = when.overdue_reviews.unwrap_or(0);
        if overdue > 0 {
            words.push(format!("with {overdue} reviews overdue"));
        }
        let signals = when.signals.clone().unwrap_or_default();
        if !signals.is_empty() {
            let names: Vec<&str> = signals.iter().map(|signal| signal.as_str()).collect();
            words.push(format!("when {}", names.join(" and ")));
        }
        let groups: Vec<GroupName> =
            when.groups.iter().flat_map(|list| list.first()).map(|at| at.value.clone()).collect();
        words.extend(groups.first().map(|group| format!("in group {group}")));
        let systems = when.systems.as_ref().map(|list| list.iter().map(|at| at.value.clone()).collect());
        let words = words.join(", ");
        Circumstance { words, at: 0, drill, extension, overdue, signals, groups, systems }
    }

    /// What escapes `when`, if being in a group does.
    fn escaping(when: &When) -> Option<Circumstance> {
        let group = when.outside.as_ref()?.first()?.value.clone();
        Some(Circumstance { words: format!("in group {group}"), groups: vec![group], ..Self::ordinary() })
    }

    fn same_facts(&self, other: &Circumstance) -> bool {
        let Circumstance { words: _, at, drill, extension, overdue, signals, groups, systems: _ } = self;
        (*at, *drill, *extension, *overdue, signals, groups)
            == (other.at, other.drill, other.extension, other.overdue, &other.signals, &other.groups)
    }

    /// Makes it hold of a request. Its groups and systems are for who walks.
    pub(super) fn put_into(&self, facts: &mut Facts) {
        let Circumstance { words: _, at, drill, extension, overdue, signals, groups: _, systems: _ } = self;
        facts.at = *at;
        facts.drill = *drill;
        facts.extension = *extension;
        facts.reviews_overdue = (*overdue).into();
        facts.signals = Signals::holding(signals);
    }
}
