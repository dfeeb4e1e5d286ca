//! What only the whole table shows of actions: that each can be had on every system it names, and that none
//! has weaker controls where more is at stake.

use super::check::{at, weaker_controls};
use crate::names::{Severity, SystemName};
use crate::policy::finding::Finding;
use crate::policy::shape::{Action, Band, Policy, Tier};

const FILE: &str = "policy.toml";

/// Adds what is wrong with the policy's actions.
pub(in crate::policy) fn check(policy: &Policy, out: &mut Vec<Finding>) {
    for action in policy.actions.values() {
        for name in action.systems.iter().filter(|name| !is_ever_had(policy, action, &name.value)) {
            let message = format!(
                "action `{}` takes power {}, which system `{}` gives at no severity",
                action.name, action.power, name.value
            );
            out.push(name.finding(FILE, "action.unreachable", message, None));
        }
        larger_bands_never_loosen(policy, action, out);
    }
}

/// The tier whose controls an action has in a row: the mildest that can do as much.
fn controls<'p>(policy: &'p Policy, band: &Band, action: &Action) -> Option<&'p Tier> {
    let cells = Severity::MILDEST_FIRST.into_iter().filter_map(|severity| band.cell(severity).value.as_ref());
    cells.filter_map(|name| policy.tier(name)).find(|tier| tier.power >= action.power)
}

/// Whether the whole system, one host of it, or an exception gives enough.
fn is_ever_had(policy: &Policy, action: &Action, name: &SystemName) -> bool {
    let Some(system) = policy.system(name) else { return false };
    let scopes = [system.blast, system.blast.saturating_sub(1).max(1)];
    let mut bands = scopes.iter().filter_map(|b| policy.risk.band(system.sensitivity.saturating_mul(*b)));
    bands.any(|band| controls(policy, band, action).is_some())
        || policy.exceptions.iter().any(|e| {
            e.when.systems.as_ref().is_none_or(|list| list.iter().any(|at| at.value == *name))
                && policy.tier(&e.tier.value).is_some_and(|tier| tier.power >= action.power)
        })
}

/// A larger band never has fewer or weaker controls for the same action.
fn larger_bands_never_loosen(policy: &Policy, action: &Action, out: &mut Vec<Finding>) {
    let bands = &policy.risk.bands;
    for (n, small) in bands.iter().enumerate() {
        for large in bands.iter().skip(n.saturating_add(1)) {
            let both = controls(policy, small, action).zip(controls(policy, large, action));
            let Some((a, b)) = both else { continue };
            // An action has no extensions, whatever the tier has.
            let mut weaker = weaker_controls(b, a);
            weaker.retain(|field| *field != "extensions");
            if !weaker.is_empty() {
                let message = format!(
                    "action `{}` has weaker controls in row `{}`, those of {}, than in the smaller row `{}`, those of {}: {}",
                    action.name,
                    large.name,
                    b.name,
                    small.name,
                    a.name,
                    weaker.join(", ")
                );
                out.push(at(action.line).finding(FILE, "action.not_monotone", message, None));
            }
        }
    }
}
