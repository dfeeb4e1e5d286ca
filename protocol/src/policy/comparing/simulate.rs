//! A recorded request, decided again under another bundle.

use crate::policy::{Bundle, Change, Decision, Facts, Policy, compare, compare_under, decide};

/// What `candidate` decides about recorded facts. The groups of the person, and whether they are on call,
/// are those of its own roster; everything else is as recorded. `None`: it does not know the person.
pub fn decide_again(candidate: &Bundle, facts: &Facts) -> Option<Decision> {
    let person = candidate.roster.person(&facts.person)?;
    let mut facts = facts.clone();
    facts.groups.clone_from(&person.groups);
    if let Some(system) = candidate.policy.system(&facts.target.system) {
        // Nobody could tell then: nobody can tell now.
        facts.on_call = facts.on_call.map(|_| facts.groups.contains(&system.on_call.value));
    }
    Some(decide(&candidate.policy, &facts))
}

/// How a recorded decision would change under `candidate`. `in_force` is the policy that made it, as far as
/// it is known: see [`compare_under`].
pub fn simulate(candidate: &Bundle, in_force: Option<&Policy>, facts: &Facts, decision: &Decision) -> Change {
    match (decide_again(candidate, facts), in_force) {
        (None, _) => compare_with_nobody(facts, decision),
        (Some(again), Some(policy)) => compare_under(policy, decision, &again),
        (Some(again), None) => compare(decision, &again),
    }
}

/// A person who is not in the roster gets nothing.
fn compare_with_nobody(facts: &Facts, decision: &Decision) -> Change {
    use crate::policy::{ChangeVerdict, Outcome};
    match &decision.outcome {
        Outcome::Refuse { .. } => Change { verdict: ChangeVerdict::Same, what: Vec::new() },
        Outcome::Permit(terms) | Outcome::NeedsApproval { full: terms, .. } => {
            let words = format!("tier {} -> refused: the roster has no {}", terms.tier, facts.person);
            Change { verdict: ChangeVerdict::Denied, what: vec![words] }
        }
    }
}
