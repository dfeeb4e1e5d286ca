//! How often a person may ask within an hour: declarations, and requests that wake somebody. Counted by
//! the CA from its log (`Signals::declared_1h`, `asked_1h`); the policy's `[limits]` say how many. Neither
//! holds at severity 1: nobody is told to wait in the worst outage. The limit on approvals is the approver's
//! and is the CA's to hold.

use super::severity::line;
use super::shape::Policy;
use super::{Facts, Limits};
use crate::names::Severity;
use crate::reason::Reason;

/// Why no further emergency may be declared, if that is so. Extensions of one that is open are never counted.
pub(super) fn declarations(policy: &Policy, facts: &Facts, severity: Severity) -> Option<Reason> {
    let Limits { declarations, .. } = policy.limits();
    let most = declarations.filter(|_| severity.number() > 1 && facts.extension == 0)?;
    let done = facts.signals.declared_1h;
    if done < u32::from(most.value) {
        return None;
    }
    let sentence = format!(
        "{} has declared {done} {} within the hour; the policy allows {}: extend one that you hold, or wait",
        facts.person,
        if done == 1 { "emergency" } else { "emergencies" },
        most.value
    );
    Some(Reason::new("rate.declarations", sentence).at(line(most.line)))
}

/// Why nobody may be woken for this, if that is so.
pub(super) fn asks(policy: &Policy, facts: &Facts, severity: Severity) -> Option<Reason> {
    let Limits { asks, .. } = policy.limits();
    let most = asks.filter(|_| severity.number() > 1)?;
    let done = facts.signals.asked_1h;
    if done < u32::from(most.value) {
        return None;
    }
    let sentence = format!(
        "{} has asked for approval {} within the hour; the policy allows {}: take what needs nobody's approval, \
         extend what you hold, or wait",
        facts.person,
        if done == 1 { "once".to_owned() } else { format!("{done} times") },
        most.value
    );
    Some(Reason::new("rate.asks", sentence).at(line(most.line)))
}
