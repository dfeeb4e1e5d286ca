//! What a change of the bundle gives to one person: so that nobody puts a change in force alone that is
//! for their own good.
//!
//! A person is whoever stands under any of their names. What is the same for all (how long an incident's
//! word counts, how often one may ask) is not looked for here.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::list;
use super::parts::ROLES;
use super::walk::{Asker, walk};
use crate::keys::Fingerprint;
use crate::names::{GroupName, PersonName, SystemName};
use crate::policy::finding::At;
use crate::policy::shape::Quorum;
use crate::policy::{Bundle, ChangeVerdict, Roster};

/// What `person` gains if `after` takes the place of `before`, a sentence each; empty is nothing.
///
/// Every decision that becomes looser for them with the groups that each bundle gives them, on call where
/// they are; roles; approvals and reviews that they may give now and could not; keys and names added for
/// them, and names that are no longer theirs.
pub fn gains(before: &Bundle, after: &Bundle, person: &PersonName) -> Vec<String> {
    found(before, after, person, false)
}

/// As [`gains`], without what becomes looser in the same way for somebody who is in no group: what is
/// looser for all is nobody's own, and if it counted, nobody could sign for it.
pub fn own_gains(before: &Bundle, after: &Bundle, person: &PersonName) -> Vec<String> {
    found(before, after, person, true)
}

fn found(before: &Bundle, after: &Bundle, person: &PersonName, only_own: bool) -> Vec<String> {
    if before.hash == after.hash {
        return Vec::new();
    }
    let names = Names::of(&before.roster, &after.roster, person);
    if names.after.is_empty() {
        return Vec::new();
    }
    let was = groups(&before.roster, &names.before);
    let is = groups(&after.roster, &names.after);
    let mut out = Vec::new();
    identity(before, after, &names, &mut out);
    roles(before, after, (&was, &is), &mut out);
    let (could, can) = (may_say(before, &was), may_say(after, &is));
    out.extend(can.difference(&could).map(|what| format!("may {what}")));
    let (owned, owns) = (own(before, &was), own(after, &is));
    let new: Vec<&SystemName> = owns.difference(&owned).copied().collect();
    if let Some(first) = new.first() {
        let more = if new.len() > 1 { format!(" and {} more", new.len() - 1) } else { String::new() };
        out.push(format!("is asked where nobody else is named for {first}{more}: owner or on call"));
    }
    if !names.before.is_empty() {
        let asker = Asker { person, before: &was, after: &is, on_call_by_group: true };
        decisions(before, after, &asker, only_own, &mut out);
    }
    out
}

/// The names under which a person stands in each bundle. Of the second also those that were theirs in the
/// first: to be taken for two people is a gain.
struct Names<'a> {
    before: BTreeSet<&'a PersonName>,
    after: BTreeSet<&'a PersonName>,
}

impl<'a> Names<'a> {
    fn of(before: &'a Roster, after: &'a Roster, person: &'a PersonName) -> Names<'a> {
        fn all<'r>(roster: &'r Roster, names: &BTreeSet<&PersonName>) -> BTreeSet<&'r PersonName> {
            let canonical: BTreeSet<&PersonName> = names
                .iter()
                .filter_map(|name| roster.person(name))
                .map(|p| roster.canonical(&p.name))
                .collect();
            let people = roster.people().map(|person| &person.name);
            people.filter(|name| canonical.contains(roster.canonical(name))).collect()
        }
        let mine = all(before, &BTreeSet::from([person]));
        let theirs: BTreeSet<&PersonName> = mine.iter().copied().chain([person]).collect();
        Names { after: all(after, &theirs), before: mine }
    }
}

fn groups(roster: &Roster, names: &BTreeSet<&PersonName>) -> Vec<GroupName> {
    let people = names.iter().filter_map(|name| roster.person(name));
    let all: BTreeSet<&GroupName> = people.flat_map(|person| &person.groups).collect();
    all.into_iter().cloned().collect()
}

fn identity(before: &Bundle, after: &Bundle, names: &Names<'_>, out: &mut Vec<String>) {
    fn keys<'r>(
        roster: &'r Roster,
        names: &BTreeSet<&PersonName>,
    ) -> BTreeMap<Fingerprint, (&'r PersonName, &'r str)> {
        let people = names.iter().filter_map(|name| roster.person(name));
        people
            .flat_map(|p| p.keys.iter().map(|key| (key.fingerprint, (&p.name, key.comment.as_str()))))
            .collect()
    }
    let had = keys(&before.roster, &names.before);
    for (fingerprint, (name, comment)) in keys(&after.roster, &names.after) {
        if !had.contains_key(&fingerprint) {
            out.push(format!("{name} has a new key {fingerprint} {comment}").trim_end().to_owned());
        }
    }
    if names.before.is_empty() {
        out.push(format!("{} is new in the roster", list(&names.after, ", ")));
    } else {
        for name in names.after.difference(&names.before) {
            out.push(format!("{name} is another name of theirs"));
        }
    }
    let people: BTreeSet<&PersonName> = names.after.iter().map(|name| after.roster.canonical(name)).collect();
    if people.len() > 1 {
        out.push(format!("{} count as different people", list(&people, " and ")));
    }
}

fn roles(before: &Bundle, after: &Bundle, (was, is): (&[GroupName], &[GroupName]), out: &mut Vec<String>) {
    for (role, name) in ROLES {
        let holds = |bundle: &'_ Bundle, groups: &[GroupName]| {
            bundle.roster.role(role).filter(|holders| groups.contains(&holders.group.value)).cloned()
        };
        let Some(now) = holds(after, is) else { continue };
        match holds(before, was) {
            None => out.push(format!("role {name}")),
            Some(then) => {
                if now.quorum < then.quorum {
                    out.push(format!("role {name} with {} others fewer", then.quorum - now.quorum));
                }
                if now.presence < then.presence {
                    out.push(format!("role {name} with less proof of presence"));
                }
            }
        }
    }
}

/// What members of `groups` may say yes to, or look back at.
fn may_say(bundle: &Bundle, groups: &[GroupName]) -> BTreeSet<String> {
    let policy = &bundle.policy;
    let named = |from: &[At<GroupName>]| from.iter().any(|group| groups.contains(&group.value));
    let mut out = BTreeSet::new();
    for tier in policy.tiers.values() {
        if tier.approvals.iter().any(|quorum| quorum.from.as_deref().is_some_and(named)) {
            out.insert(format!("approve tier {}", tier.name));
        }
    }
    for rule in &policy.rules {
        let mut asked = rule.add.approvals.iter().chain(&rule.add.also);
        if asked.any(|quorum: &Quorum| quorum.from.as_deref().is_some_and(named)) {
            out.insert(format!("approve what rule {} asks for", rule.id));
        }
    }
    if policy.reviews.as_ref().is_some_and(|reviews| named(&reviews.from)) {
        out.insert("review emergencies".to_owned());
    }
    out
}

/// Systems that are theirs: where a rule asks for approvals and names nobody, they give them.
fn own<'b>(bundle: &'b Bundle, groups: &[GroupName]) -> BTreeSet<&'b SystemName> {
    let systems = bundle.policy.systems.values();
    let own = systems.filter(|s| groups.contains(&s.owner.value) || groups.contains(&s.on_call.value));
    own.map(|system| &system.name).collect()
}

fn decisions(before: &Bundle, after: &Bundle, asker: &Asker<'_>, only_own: bool, out: &mut Vec<String>) {
    let anybody = Asker { before: &[], after: &[], ..*asker };
    for cell in walk(before, after, asker, Some(&anybody).filter(|_| only_own)) {
        if cell.change.verdict == ChangeVerdict::Looser {
            let words = cell.to_string();
            if !out.contains(&words) {
                out.push(words);
            }
        }
    }
}
