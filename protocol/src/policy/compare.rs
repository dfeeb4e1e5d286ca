//! Two decisions, or two sets of terms, compared: is the second the same, tighter, looser, or a denial of
//! what the first gave? Field by field, and in words with both values.
//!
//! The careful reading: what is looser in one field is looser, whatever the others say, and so is what
//! cannot be ordered (another account, another command, another tier of equal power). A tier's `power` is
//! its policy's own word, so it never makes another account tighter, unless the policy that is in force
//! already ranks that very tier lower ([`compare_under`]).

use serde::{Deserialize, Serialize};

use super::reading::span;
use super::{Approvals, Awaits, Cidr, Decision, Outcome, Policy, Presence, Record, Rung, Terms};
use crate::limits;
use crate::names::{AccountName, Principal};

/// How a decision differs from the one before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// In one word.
    pub verdict: ChangeVerdict,
    /// Field by field, each with both values. Of a `Same` it holds at most what does not count: who is
    /// asked when.
    pub what: Vec<String>,
}

/// In order of weight: of several fields the last one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeVerdict {
    /// The same access under the same controls.
    Same,
    /// Less access, or the same under more control.
    Tighter,
    /// Something was given, or could have been approved, and is refused now.
    Denied,
    /// More access or less control in some field, or something that cannot be ordered.
    Looser,
}

impl ChangeVerdict {
    /// `same`, `tighter`, `denied`, `looser`.
    pub fn as_str(self) -> &'static str {
        match self {
            ChangeVerdict::Same => "same",
            ChangeVerdict::Tighter => "tighter",
            ChangeVerdict::Denied => "denied",
            ChangeVerdict::Looser => "looser",
        }
    }
}

/// Compares terms.
pub fn compare_terms(before: &Terms, after: &Terms) -> Change {
    terms(None, before, after)
}

/// Compares decisions about one request: what is given or waits, what is given at once, the largest request
/// that needs nobody, how long it waits and what it awaits.
pub fn compare(before: &Decision, after: &Decision) -> Change {
    decisions(None, before, after)
}

/// As [`compare`], where `before` was decided by `in_force`: another account or command is tighter when it
/// comes with a tier that `in_force` has too, the same, and ranks below the one before.
pub fn compare_under(in_force: &Policy, before: &Decision, after: &Decision) -> Change {
    decisions(Some(in_force), before, after)
}

/// A change in the making.
impl Change {
    fn none() -> Change {
        Change { verdict: ChangeVerdict::Same, what: Vec::new() }
    }

    fn add(&mut self, verdict: ChangeVerdict, words: String) {
        self.verdict = self.verdict.max(verdict);
        if !self.what.contains(&words) {
            self.what.push(words);
        }
    }

    /// What another part of the decision changes: as it is, or in one line under a label.
    fn join(&mut self, label: &str, other: Change) {
        if label.is_empty() {
            other.what.into_iter().for_each(|words| self.add(other.verdict, words));
        } else if !other.what.is_empty() {
            self.add(other.verdict, format!("{label}{}", other.what.join(", ")));
        }
    }

    /// Whether only what is offered instead changes; then how, in one line.
    pub(super) fn only_offered(&self) -> Option<&str> {
        match self.what.as_slice() {
            [one] => one.strip_prefix(OFFERED),
            _ => None,
        }
    }
}

const OFFERED: &str = "a smaller request: ";

fn decisions(in_force: Option<&Policy>, before: &Decision, after: &Decision) -> Change {
    let mut change = Change::none();
    if (&before.outcome, &before.awaits) == (&after.outcome, &after.awaits) {
        return change;
    }
    let (was, is) = (Given::of(&before.outcome), Given::of(&after.outcome));
    match (was.most, is.most) {
        (Some(most), None) => {
            change.add(ChangeVerdict::Denied, format!("{} -> refused{}", named(most), why(after)));
            return change;
        }
        (None, Some(most)) => {
            change.add(ChangeVerdict::Looser, format!("refused -> {}", named(most)));
            return change;
        }
        (was_most, is_most) => {
            let pairs =
                [("", was_most, is_most), ("at once: ", was.now, is.now), (OFFERED, was.free, is.free)];
            for (n, (label, x, y)) in pairs.iter().enumerate() {
                // What is given at once is often all there is: said once.
                if !pairs.iter().take(n).any(|(_, a, b)| (a, b) == (x, y)) {
                    change.join(label, some_terms(in_force, *x, *y));
                }
            }
        }
    }
    awaits(before, after, &mut change);
    waiting(before, after, &mut change);
    change
}

/// What an outcome gives, three ways.
#[derive(Clone, Copy)]
struct Given<'d> {
    /// Given, or waiting.
    most: Option<&'d Terms>,
    /// At once.
    now: Option<&'d Terms>,
    /// The largest request that would be given without anybody's approval.
    free: Option<&'d Terms>,
}

impl Given<'_> {
    fn of(outcome: &Outcome) -> Given<'_> {
        match outcome {
            Outcome::Permit(terms) => Given { most: Some(terms), now: Some(terms), free: Some(terms) },
            Outcome::NeedsApproval { full, meanwhile, smaller, ladder: _, wait_s: _ } => Given {
                most: Some(full),
                now: meanwhile.as_ref(),
                free: smaller.as_ref().map(|smaller| &smaller.terms),
            },
            Outcome::Refuse { reasons: _, smaller } => {
                Given { most: None, now: None, free: smaller.as_ref().map(|smaller| &smaller.terms) }
            }
        }
    }
}

fn some_terms(in_force: Option<&Policy>, before: Option<&Terms>, after: Option<&Terms>) -> Change {
    let mut change = Change::none();
    match (before, after) {
        (None, None) => {}
        (Some(before), None) => change.add(ChangeVerdict::Tighter, format!("{} -> nothing", named(before))),
        (None, Some(after)) => change.add(ChangeVerdict::Looser, format!("nothing -> {}", named(after))),
        (Some(before), Some(after)) => change = terms(in_force, before, after),
    }
    change
}

fn named(terms: &Terms) -> String {
    match &terms.action {
        Some(action) => format!("action {action} under tier {}", terms.tier),
        None => format!("tier {}", terms.tier),
    }
}

/// The codes of a refusal's reasons; their sentences are the decision's own.
fn why(decision: &Decision) -> String {
    match &decision.outcome {
        Outcome::Refuse { reasons, .. } if !reasons.is_empty() => {
            format!(" ({})", list(reasons.iter().map(|reason| reason.code.as_str()), ", "))
        }
        _ => String::new(),
    }
}

/// A claim that further signatures would lift. To wait for them is tighter than not to need them, and
/// looser than a cap that nobody can lift.
fn awaits(before: &Decision, after: &Decision, change: &mut Change) {
    let say = |awaits: &Awaits| {
        format!("severity {} once {} more of {} sign", awaits.severity, awaits.more, awaits.from)
    };
    let reaches = |decision: &Decision, awaits: &Awaits| {
        decision.severity.is_some_and(|s| s.number() <= awaits.severity.number())
    };
    match (&before.awaits, &after.awaits) {
        (None, None) => {}
        (None, Some(is)) => {
            let verdict = tighter_if(reaches(before, is));
            change.add(verdict, format!("other signatures: not counted -> {}", say(is)));
        }
        (Some(was), None) => {
            let verdict = tighter_if(!reaches(after, was));
            change.add(verdict, format!("other signatures: {} -> not counted", say(was)));
        }
        (Some(was), Some(is)) if was != is => {
            let as_tight =
                is.severity.number() >= was.severity.number() && is.more >= was.more && is.from == was.from;
            change.add(tighter_if(as_tight), format!("other signatures: {} -> {}", say(was), say(is)));
        }
        (Some(_), Some(_)) => {}
    }
}

fn waiting(before: &Decision, after: &Decision, change: &mut Change) {
    let (Outcome::NeedsApproval { wait_s: was, .. }, Outcome::NeedsApproval { wait_s: is, .. }) =
        (&before.outcome, &after.outcome)
    else {
        return;
    };
    if was != is {
        change.add(tighter_if(is < was), format!("waits for approval: {} -> {}", span(*was), span(*is)));
    }
    let (Outcome::NeedsApproval { ladder: was, .. }, Outcome::NeedsApproval { ladder: is, .. }) =
        (&before.outcome, &after.outcome)
    else {
        return;
    };
    if was != is {
        change.add(ChangeVerdict::Same, format!("asked: {} -> {}", rungs(was), rungs(is)));
    }
}

fn rungs(ladder: &[Rung]) -> String {
    let rung = |rung: &Rung| format!("{} after {}", list(&rung.groups, " and "), span(rung.after_s));
    ladder.iter().map(rung).collect::<Vec<_>>().join(", ")
}

fn tighter_if(tighter: bool) -> ChangeVerdict {
    if tighter { ChangeVerdict::Tighter } else { ChangeVerdict::Looser }
}

fn terms(in_force: Option<&Policy>, before: &Terms, after: &Terms) -> Change {
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

pub(super) fn of_presence(presence: Presence) -> &'static str {
    match presence {
        Presence::None => "no touch",
        Presence::Touch => "a touch",
        Presence::Verified => "a touch with PIN or fingerprint",
    }
}

pub(super) fn of_record(record: Record) -> &'static str {
    match record {
        Record::None => "none",
        Record::BestEffort => "if it can be",
        Record::Required => "or no session",
    }
}

/// `a and b`; `none` when there is nothing.
pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>, between: &str) -> String {
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
        let (leads, both) = ([quorum(1, &["leads"])], [quorum(1, &["leads", "sre"])]);
        let two = |first: &[Approvals; 1], second: &[Approvals; 1]| [first.clone(), second.clone()].concat();
        assert!(covers(&[], &leads));
        assert!(!covers(&leads, &[]));
        assert!(covers(&both, &leads));
        assert!(!covers(&leads, &both));
        // One lead cannot sit for both: two people were asked for.
        assert!(!covers(&two(&leads, &both), &leads));
        assert!(covers(&two(&both, &leads), &two(&leads, &both)));
        // The first place must give way to the second.
        assert!(covers(&two(&both, &leads), &two(&leads, &leads)));
        assert!(covers(&[quorum(2, &["leads", "sre"])], &two(&both, &leads)));
    }
}
