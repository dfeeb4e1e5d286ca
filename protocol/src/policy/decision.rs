//! A decision: what is given, what waits, or why not, and how the policy got there.

use serde::{Deserialize, Serialize};

use crate::names::{GroupName, Severity, TierName, TriggerName};
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
    /// The person claimed worse than a bare claim may be: what was decided holds until others sign too.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub awaits: Option<Awaits>,
    /// How the policy got there, step by step, each with its line. Also for a permit.
    pub because: Vec<Reason>,
}

/// A claim above the cap that waits for further signatures (`second`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Awaits {
    /// The severity that was claimed and would count.
    pub severity: Severity,
    /// How many more people must sign.
    pub more: u8,
    /// Whose members may.
    pub from: GroupName,
}

/// One step of waking people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Seconds after the request.
    pub after_s: u32,
    /// Whose members are asked then; they may approve. Sorted, never empty.
    pub groups: Vec<GroupName>,
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

    /// The terms that wait for approval, if any.
    pub fn terms_waiting(&self) -> Option<&Terms> {
        match &self.outcome {
            Outcome::NeedsApproval { full, .. } => Some(full),
            Outcome::Permit(_) | Outcome::Refuse { .. } => None,
        }
    }
}

impl Decision {
    /// The incident that gave the severity: the named one, unless it did not count and the person's own
    /// claim stood instead.
    pub fn rests_on<'f>(&self, facts: &'f Facts) -> Option<&'f IncidentFact> {
        let of_claims = ["severity.claimed", "severity.seconded", "severity.awaits_second"];
        let claimed = self.because.iter().any(|reason| of_claims.contains(&reason.code.as_str()));
        facts.incident.as_ref().filter(|_| self.severity.is_some() && !claimed)
    }
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(
    clippy::large_enum_variant,
    reason = "one is made for each request and written at once; none is kept in numbers, so a box saves nothing"
)]
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
        /// The largest request that would be granted now without anybody's approval, if any.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        smaller: Option<Smaller>,
        /// Who is asked and when; the first rung at once. Never empty.
        ladder: Vec<Rung>,
        /// How long it waits before it lapses, seconds.
        wait_s: u32,
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
