//! Two sets of terms, field by field, in words with both values.

use super::compare::{Change, tighter_if};
use crate::limits;
use crate::names::{AccountName, Principal};
use crate::policy::files::reading::span;
use crate::policy::{Approvals, Cidr, Policy, Presence, Record, Terms};

/// Compares terms; another account or command may be ranked by the policy in force.
pub(in crate::policy) fn terms(in_force: Option<&Policy>, before: &Terms, after: &Terms) -> Change {
    let mut change = Change::none();
    tier(before, after, &mut change);
    doing(in_force, before, after, &mut change);
    scope(before, after, &mut change);
    let Terms {
        tier: _,
        power: _,
        account: _,
        principals: _,
        force_command: _,
        extensions,
        source_address,
        lifetime_s,
        approvals,
        presence,
        record,
        krl_max_age_s,
        grace_s,
        action,
    } = before;
    if *extensions != after.extensions {
        let fewer = after.extensions.iter().all(|extension| extensions.contains(extension));
        let words = |of: &Terms| list(of.extensions.iter().map(|e| e.openssh()), " and ");
        let words = format!("extensions: {} -> {}", words(before), words(after));
        change.add(tighter_if(fewer), words);
    }
    if *source_address != after.source_address {
        let words = format!("from: {} -> {}", addresses(source_address), addresses(&after.source_address));
        change.add(tighter_if(is_within(&after.source_address, source_address)), words);
    }
    if *lifetime_s != after.lifetime_s {
        let words = format!("lifetime: {} -> {}", span(*lifetime_s), span(after.lifetime_s));
        change.add(tighter_if(after.lifetime_s < *lifetime_s), words);
    }
    if *approvals != after.approvals {
        let words = format!("approvals: {} -> {}", quorums(approvals), quorums(&after.approvals));
        let harder = covers(approvals, &after.approvals) && !covers(&after.approvals, approvals);
        change.add(tighter_if(harder), words);
    }
    if *presence != after.presence {
        let words = format!("presence: {} -> {}", of_presence(*presence), of_presence(after.presence));
        change.add(tighter_if(after.presence > *presence), words);
    }
    if *record != after.record {
        let words = format!("recording: {} -> {}", of_record(*record), of_record(after.record));
        change.add(tighter_if(after.record > *record), words);
    }
    if *krl_max_age_s != after.krl_max_age_s {
        let age = |age: Option<u32>| age.map_or("any age".to_owned(), |s| format!("at most {} old", span(s)));
        let words = format!("revocation list: {} -> {}", age(*krl_max_age_s), age(after.krl_max_age_s));
        let fresher = after.krl_max_age_s.unwrap_or(u32::MAX) < krl_max_age_s.unwrap_or(u32::MAX);
        change.add(tighter_if(fresher), words);
    }
    if *grace_s != after.grace_s {
        let words = format!("grace: {} -> {}", span(*grace_s), span(after.grace_s));
        change.add(tighter_if(after.grace_s < *grace_s), words);
    }
    if *action != after.action {
        let name = |of: &Terms| of.action.as_ref().map_or("none".to_owned(), ToString::to_string);
        let words = format!("action: {} -> {}", name(before), name(after));
        change.add(tighter_if(action.is_none()), words);
    }
    change
}

fn tier(before: &Terms, after: &Terms, change: &mut Change) {
    let (was, is) = ((&before.tier, before.power), (&after.tier, after.power));
    if was == is {
        return;
    }
    let words = match was.0 == is.0 {
        true => format!("power of tier {}: {} -> {}", was.0, was.1, is.1),
        false => format!("tier: {} (power {}) -> {} (power {})", was.0, was.1, is.0, is.1),
    };
    change.add(tighter_if(is.1 < was.1), words);
}

/// Account and command together: what can be done. A shell can do whatever any command of its account can;
/// root's shell whatever anybody can on the same hosts.
fn doing(in_force: Option<&Policy>, before: &Terms, after: &Terms, change: &mut Change) {
    if (&before.account, &before.force_command) == (&after.account, &after.force_command) {
        return;
    }
    let is_shell = |terms: &Terms| terms.force_command.is_none();
    let tighter = is_shell(before) && (before.account == after.account || is_root(&before.account))
        || in_force.is_some_and(|policy| ranks(policy, before, after));
    let verdict = tighter_if(tighter);
    // Of two long commands that begin alike all is shown; else their beginning tells them apart.
    let text = |terms: &Terms| terms.force_command.clone().unwrap_or_default();
    let alike = text(before).chars().take(COMMAND_SHOWN).eq(text(after).chars().take(COMMAND_SHOWN));
    let cut = |command: &str| match command.char_indices().nth(COMMAND_SHOWN) {
        Some((end, _)) if !alike => format!("{} ...", command.get(..end).unwrap_or(command)),
        _ => command.to_owned(),
    };
    let command = |terms: &Terms| match &terms.force_command {
        Some(command) => format!("only `{}`", cut(command)),
        None => "a shell".to_owned(),
    };
    if before.account != after.account {
        change.add(verdict, format!("account: {} -> {}", before.account, after.account));
    }
    if before.force_command != after.force_command {
        change.add(verdict, format!("runs: {} -> {}", command(before), command(after)));
    }
}

const COMMAND_SHOWN: usize = 40;

fn is_root(account: &AccountName) -> bool {
    account.as_str() == "root"
}

/// Whether `policy` has both tiers as these terms have them, and gives the second less power.
fn ranks(policy: &Policy, before: &Terms, after: &Terms) -> bool {
    let as_there = |terms: &Terms| {
        policy.tier(&terms.tier).is_some_and(|tier| {
            tier.power == terms.power
                && tier.account == terms.account
                && tier.force_command == terms.force_command
        })
    };
    let plain = before.action.is_none() && after.action.is_none();
    plain && after.power < before.power && as_there(before) && as_there(after)
}

/// Where it opens something, whatever the account is called.
fn scope(before: &Terms, after: &Terms, change: &mut Change) {
    fn scopes(terms: &Terms) -> Vec<String> {
        let scope = |principal: &Principal| match principal.account == terms.account {
            true => principal.scope.to_string(),
            // Another account than the terms': no terms that `decide` makes have it.
            false => principal.to_string(),
        };
        terms.principals.iter().map(scope).collect()
    }
    let (was, is) = (scopes(before), scopes(after));
    if was != is {
        let words = format!("where: {} -> {}", list(&was, " and "), list(&is, " and "));
        change.add(tighter_if(is.iter().all(|scope| was.contains(scope))), words);
    }
}

/// Whether every address of `inner` is in one range of `outer`; empty is anywhere.
fn is_within(inner: &[Cidr], outer: &[Cidr]) -> bool {
    outer.is_empty() || !inner.is_empty() && inner.iter().all(|x| outer.iter().any(|y| y.contains(x)))
}

/// Whether whoever meets `harder` meets `easier` too: every place of `easier` can be given to a place of
/// `harder` that takes nobody else, and no two to the same one. Places are few: augmenting paths.
fn covers(easier: &[Approvals], harder: &[Approvals]) -> bool {
    let places = |quorums: &[Approvals]| -> Vec<usize> {
        quorums.iter().enumerate().flat_map(|(q, quorum)| vec![q; usize::from(quorum.count)]).collect()
    };
    let fits = |mine: usize, theirs: usize| match (easier.get(mine), harder.get(theirs)) {
        (Some(mine), Some(theirs)) => theirs.from.iter().all(|group| mine.from.contains(group)),
        _ => false,
    };
    let (mine, theirs) = (places(easier), places(harder));
    if mine.len().max(theirs.len()) > PLACES {
        return false;
    }
    let mut given: Vec<Option<usize>> = vec![None; theirs.len()];
    (0..mine.len()).all(|place| {
        let mut tried = vec![false; theirs.len()];
        give(place, &|a, b| Some(fits(*mine.get(a)?, *theirs.get(b)?)), &mut given, &mut tried)
    })
}

/// More places than any policy can ask for ([`limits::QUORUMS`] of 8): what has more was not made by one.
const PLACES: usize = limits::QUORUMS * 16;

fn give(
    place: usize,
    fits: &impl Fn(usize, usize) -> Option<bool>,
    given: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    for seat in 0..given.len() {
        let Some(seen) = tried.get_mut(seat).filter(|seen| !**seen) else { continue };
        if fits(place, seat) != Some(true) {
            continue;
        }
        *seen = true;
        let taken = given.get(seat).copied().flatten();
        if taken.is_none_or(|other| give(other, fits, given, tried)) {
            if let Some(seat) = given.get_mut(seat) {
                *seat = Some(place);
            }
            return true;
        }
    }
    false
}

fn quorums(all: &[Approvals]) -> String {
    if all.is_empty() {
        return "none".to_owned();
    }
    let one = |quorum: &Approvals| format!("{} of {}", quorum.count, list(&quorum.from, " or "));
    all.iter().map(one).collect::<Vec<_>>().join(" and ")
}

fn addresses(all: &[Cidr]) -> String {
    if all.is_empty() { "anywhere".to_owned() } else { list(all, " and ") }
}

pub(in crate::policy) fn of_presence(presence: Presence) -> &'static str {
    match presence {
        Presence::None => "no touch",
        Presence::Touch => "a touch",
        Presence::Verified => "a touch with PIN or fingerprint",
    }
}

pub(in crate::policy) fn of_record(record: Record) -> &'static str {
    match record {
        Record::None => "none",
        Record::BestEffort => "if it can be",
        Record::Required => "or no session",
    }
}

/// `a and b`; `none` when there is nothing.
pub(in crate::policy) fn list<T: ToString>(items: impl IntoIterator<Item = T>, between: &str) -> String {
    let all: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(between) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quorum(count: u8, from: &[&str]) -> Approvals {
        Approvals { count, from: from.iter().map(|group| group.parse().unwrap()).collect() }
    }

    #[test]
    fn a_quorum_covers_another_only_if_nobody_has_to_count_twice() {
        let (lead, any) = (quorum(1, &["leads"]), quorum(1, &["leads", "sre"]));
        let is_covered = |easier: &[&Approvals], harder: &[&Approvals]| {
            let owned = |all: &[&Approvals]| all.iter().map(|q| (*q).clone()).collect::<Vec<_>>();
            covers(&owned(easier), &owned(harder))
        };
        assert!(is_covered(&[], &[&lead]));
        assert!(!is_covered(&[&lead], &[]));
        assert!(is_covered(&[&any], &[&lead]));
        assert!(!is_covered(&[&lead], &[&any]));
        // One lead cannot sit for both: two people were asked for.
        assert!(!is_covered(&[&lead, &any], &[&lead]));
        assert!(is_covered(&[&any, &lead], &[&lead, &any]));
        // The first place must give way to the second.
        assert!(is_covered(&[&any, &lead], &[&lead, &lead]));
        assert!(is_covered(&[&quorum(2, &["leads", "sre"])], &[&any, &lead]));
        // More than any policy asks for is not looked at.
        assert!(!is_covered(&[&quorum(200, &["leads"])], &[&quorum(201, &["leads"])]));
    }
}
