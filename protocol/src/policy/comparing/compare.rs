//! Two decisions, or two sets of terms, compared: is the second the same, tighter, looser, or a denial of
//! what the first gave? Field by field, and in words with both values.
//!
//! The careful reading: what is looser in one field is looser, whatever the others say, and so is what
//! cannot be ordered (another account, another command, another tier of equal power). A tier's `power` is
//! its policy's own word, so it never makes another account tighter, unless the policy that is in force
//! already ranks that very tier lower ([`compare_under`]).

use serde::{Deserialize, Serialize};

use super::fields::{list, terms};
use crate::policy::files::reading::span;
use crate::policy::{Awaits, Decision, Outcome, Policy, Rung, Terms};

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
    pub(in crate::policy) fn none() -> Change {
        Change { verdict: ChangeVerdict::Same, what: Vec::new() }
    }

    pub(in crate::policy) fn add(&mut self, verdict: ChangeVerdict, words: String) {
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
    pub(in crate::policy) fn only_offered(&self) -> Option<&str> {
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

/// Tighter, or else looser: what is not shown to be tighter counts as looser.
pub(in crate::policy) fn tighter_if(tighter: bool) -> ChangeVerdict {
    if tighter { ChangeVerdict::Tighter } else { ChangeVerdict::Looser }
}
