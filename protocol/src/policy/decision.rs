//! A decision: what is given, what waits, or why not, and how the policy got there.

use serde::{Deserialize, Serialize};

use crate::names::{Severity, TierName, TriggerName};
use crate::policy::{Facts, IncidentFact, Terms};
use crate::reason::Reason;

/// The output of `decide`. Recorded whole in the entry of the declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// What happens.
    pub outcome: Outcome,
    /// The severity that counted, if one could be derived.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub severity: Option<Severity>,
    /// The trigger that gave it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trigger: Option<TriggerName>,
    /// The system's sensitivity.
    pub sensitivity: u8,
    /// The blast radius that counted (one host alone counts one less).
    pub blast: u8,
    /// The row of the risk table.
    pub band: String,
    /// The cell's tier before smaller requests and rules; `None` is `deny` or no severity.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cell: Option<TierName>,
    /// How the policy got there, step by step, each with its line. Also for a permit.
    pub because: Vec<Reason>,
}

impl Decision {
    /// The terms that may be issued at once, if any.
    pub fn terms_now(&self) -> Option<&Terms> {
        match &self.outcome {
            Outcome::Permit(terms) => Some(terms),
            Outcome::NeedsApproval { meanwhile, .. } => meanwhile.as_ref(),
            Outcome::Refuse { .. } => None,
        }
    }
}

impl Decision {
    /// The incident that gave the severity: the named one, unless it did not count and the person's own
    /// claim stood instead.
    pub fn rests_on<'f>(&self, facts: &'f Facts) -> Option<&'f IncidentFact> {
        let claimed = self.because.iter().any(|reason| reason.code == "severity.claimed");
        facts.incident.as_ref().filter(|_| self.severity.is_some() && !claimed)
    }
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// These terms, now.
    Permit(Terms),
    /// `full` once approved; `meanwhile` now, if there is something safe to give.
    NeedsApproval {
        /// What waits.
        full: Terms,
        /// What is given at once.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        meanwhile: Option<Terms>,
    },
    /// Nothing, for all these reasons.
    Refuse {
        /// All of them; never empty.
        reasons: Vec<Reason>,
        /// The largest request that would be granted now, if any.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        smaller: Option<Smaller>,
    },
}

/// A request that would be granted now: what to change in the one that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smaller {
    /// The severity to claim instead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub severity: Option<Severity>,
    /// The tier to ask for instead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub want: Option<TierName>,
    /// What it would give.
    pub terms: Terms,
}
