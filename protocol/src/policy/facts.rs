//! Facts: everything a decision may depend on, gathered before it, recorded with it.
//!
//! What is unknown is `None` and counts as the tighter value. Ages are seconds at the decision.

use serde::{Deserialize, Serialize};

use crate::names::{ActionName, GroupName, HostName, IncidentId, PersonName, Severity, SystemName, TierName};
use crate::policy::{Cidr, Presence, Signals};

/// The input of `decide`, complete: replay needs the bundle and this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The CA's time of the decision, unix seconds. Exceptions expire by it.
    pub at: u64,
    /// Who asks.
    pub person: PersonName,
    /// The groups the roster gives them. Sorted.
    pub groups: Vec<GroupName>,
    /// What their signature proved.
    pub presence: Presence,
    /// What they ask for, resolved.
    pub target: Target,
    /// The severity they claim, if they claim one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub severity: Option<Severity>,
    /// The incident they name, as far as the log knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incident: Option<IncidentFact>,
    /// Whether they are on call for the system; `None` when nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub on_call: Option<bool>,
    /// Whether another host of the same system is open already, in the same incident or by the same
    /// person: then one host counts as the whole system.
    pub other_host_open: bool,
    /// Open incidents on the target's system, for a refusal that names them. Sorted, at most 5.
    pub open_incidents: Vec<IncidentId>,
    /// A smaller request than the cell would give.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub want: Option<Want>,
    /// A shorter lifetime than the tier's, seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub for_s: Option<u32>,
    /// A marked rehearsal.
    pub drill: bool,
    /// People besides the declarer who signed the claim too, on call when they did. Sorted.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub seconds: Vec<PersonName>,
    /// Which extension of its emergency this would be; 0 for a declaration.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub extension: u8,
    /// The network the request came from, as the socket says: /24 or /48. `None` when nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub network: Option<Cidr>,
    /// Emergencies of this system whose review is overdue.
    #[serde(skip_serializing_if = "is_none_due", default)]
    pub reviews_overdue: u32,
    /// What the log says of this person and request beside the rest.
    #[serde(default, skip_serializing_if = "Signals::is_silent")]
    pub signals: Signals,
}

impl Facts {
    /// Somebody asks for the whole of `system`, and nothing about it is out of the ordinary: where a walk of
    /// the table begins.
    pub(super) fn ordinary(person: &PersonName, system: &SystemName) -> Facts {
        Facts {
            at: 0,
            person: person.clone(),
            groups: vec![],
            presence: Presence::None,
            target: Target { system: system.clone(), host: None },
            severity: None,
            incident: None,
            on_call: None,
            other_host_open: false,
            open_incidents: vec![],
            want: None,
            for_s: None,
            drill: false,
            seconds: vec![],
            extension: 0,
            network: None,
            reviews_overdue: 0,
            signals: Signals::ordinary(),
        }
    }
}

fn is_zero(n: &u8) -> bool {
    *n == 0
}

fn is_none_due(n: &u32) -> bool {
    *n == 0
}

/// A system, or one host of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The system.
    pub system: SystemName,
    /// One host of it; `None` is the whole system.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<HostName>,
}

/// A tier or an action asked for by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Want {
    /// A tier of the same row at a milder severity.
    Tier(TierName),
    /// An action, with its parameters in order of name.
    Action(ActionName, Vec<(String, String)>),
}

/// What the log knows of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentFact {
    /// The tracker's id.
    pub id: IncidentId,
    /// `None`: the log has never heard of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<IncidentState>,
    /// Its severity, when known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub severity: Option<Severity>,
    /// The systems it touches. Sorted.
    pub systems: Vec<SystemName>,
    /// Seconds since the log last heard of it.
    pub age_s: u64,
}

/// Whether an incident goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// Going on.
    Open,
    /// Over.
    Resolved,
}
