//! The JSON shapes of what waits for people: grants, requests, approvals, reviews.

use serde::{Deserialize, Serialize};

use crate::log::Hash;
use crate::names::{
    EmergencyId, GroupName, HostName, IncidentId, PersonName, ReasonText, Severity, SystemName, TierName,
};
use crate::policy::{Approvals, Decision, IncidentState, Terms};
use crate::reason::Reason;

/// `GET /v1/emergencies/{id}/grant`, read by its fresh key or its person; also the answer to an extension.
/// What is held now, with the certificate again, and what waits. The same certificate has the same bytes each
/// time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// `fireaxe.grant/v1`
    pub schema: String,
    /// Which emergency.
    pub emergency: EmergencyId,
    /// `open`, `closing`.
    pub state: String,
    /// Leaf of its `emergency.declared` entry: what `extend` and `close` refer to.
    pub declaration: Hash,
    /// Leaf of the newest entry that decided: what approvals refer to.
    pub request: Hash,
    /// The decision of that entry.
    pub decision: Decision,
    /// The system.
    pub system: SystemName,
    /// The one host, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<HostName>,
    /// The hosts it reaches.
    pub hosts: Vec<String>,
    /// The group that owns the system.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
    /// What waits for approval.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting: Option<Waiting>,
    /// How the newest request that waited ended, if it did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub settled: Option<Settled>,
    /// Leaf of the entry whose decision the newest certificate embodies.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<Hash>,
    /// The terms of the newest certificate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub terms: Option<Terms>,
    /// The newest certificate, one line of OpenSSH text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<String>,
    /// When it ends, unix seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub valid_before: Option<u64>,
    /// When the emergency ends by itself, unix seconds.
    pub until: u64,
    /// How often it may still be extended.
    pub extensions_left: u8,
}

/// A request that waits for approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Leaf of the entry that holds declaration, decision, terms and hosts: what an approval refers to.
    pub of: Hash,
    /// The tier that waits.
    pub tier: TierName,
    /// What is still missing: so many people of these groups.
    pub missing: Vec<Approvals>,
    /// Who has approved it. In order.
    pub approved_by: Vec<PersonName>,
    /// The rungs called so far.
    pub called: Vec<Called>,
    /// The next rung, if there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<NextRung>,
    /// When it lapses, unix seconds.
    pub until: u64,
}

/// A rung that was called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    /// When, unix seconds.
    pub at: u64,
    /// Its groups.
    pub groups: Vec<GroupName>,
    /// Who of them may approve this.
    pub people: Vec<PersonName>,
}

/// A rung that will be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRung {
    /// When, unix seconds.
    pub at: u64,
    /// Its groups.
    pub groups: Vec<GroupName>,
}

/// How a request that waited ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Settled {
    /// The quorum was met.
    Given,
    /// Somebody who may said no.
    Refused {
        /// Who.
        by: PersonName,
        /// Why.
        reason: ReasonText,
    },
    /// Nobody answered in time.
    Lapsed,
}

/// `GET /v1/emergencies/{id}/request`: everything an approver must see, read by a person of the roster. The
/// approver's client computes the leaf from `entry` and shows what stands in it, so that what is signed
/// is what was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCard {
    /// `fireaxe.request/v1`
    pub schema: String,
    /// Which emergency.
    pub emergency: EmergencyId,
    /// The newest entry that decided, byte for byte.
    pub entry: String,
    /// Leaf of its `emergency.declared` entry: what a review refers to.
    pub declaration: Hash,
    /// The `emergency.declared` entry, byte for byte: the signed words, reason and all. The same as `entry`
    /// when nothing was decided since.
    pub declared: String,
    /// `waiting`, `given`, `refused`, `lapsed`, or `none` when nothing ever waited.
    pub state: String,
    /// What waits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting: Option<Waiting>,
    /// The group that owns the system.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
    /// The incident that was named, as the log knows it by now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incident: Option<IncidentCard>,
    /// What is unusual about it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub signals: Vec<Reason>,
    /// What this person opened lately, newest first, at most 5.
    pub recent: Vec<RecentUse>,
    /// Why the reader may not approve it, if so: they asked for it themselves, are in no group that may ...
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub may_not: Option<Reason>,
    /// Other requests that wait for the reader: never instead of this one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub also_waiting: Vec<EmergencyId>,
}

/// An incident on an approver's card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentCard {
    /// The tracker's id.
    pub id: IncidentId,
    /// Going on or over; nothing when the log never heard of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<IncidentState>,
    /// How bad.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub severity: Option<Severity>,
    /// The tracker's title.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<ReasonText>,
    /// Seconds since the log last heard of it.
    pub age_s: u64,
}

/// One earlier emergency of a requester.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentUse {
    /// Which.
    pub emergency: EmergencyId,
    /// When it was declared, unix seconds.
    pub at: u64,
    /// For which system.
    pub system: SystemName,
    /// The tier it gave at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tier: Option<TierName>,
}

/// `POST /v1/emergencies/{id}/seconds`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seconded {
    /// `fireaxe.seconded/v1`
    pub schema: String,
    /// Which emergency.
    pub emergency: EmergencyId,
    /// Index of the `emergency.seconded` entry.
    pub entry: u64,
}

/// `POST /v1/emergencies/{id}/approvals`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// `fireaxe.approved/v1`
    pub schema: String,
    /// Which emergency.
    pub emergency: EmergencyId,
    /// Leaf of the entry that was approved.
    pub of: Hash,
    /// Index of the `approval.given` entry.
    pub entry: u64,
    /// What is still missing; empty: the requester has it.
    pub missing: Vec<Approvals>,
}

/// `POST /v1/emergencies/{id}/refusals`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRefused {
    /// `fireaxe.refused/v1`
    pub schema: String,
    /// Which emergency.
    pub emergency: EmergencyId,
    /// Leaf of the entry that was refused.
    pub of: Hash,
    /// Index of the `approval.refused` entry.
    pub entry: u64,
}

/// `POST /v1/emergencies/{id}/review`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// `fireaxe.reviewed/v1`
    pub schema: String,
    /// Which emergency.
    pub emergency: EmergencyId,
    /// Index of the `emergency.reviewed` entry.
    pub entry: u64,
}

/// `GET /v1/requests`: what waits for people, and for the reader among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// `fireaxe.requests/v1`
    pub schema: String,
    /// Oldest first, at most 200.
    pub requests: Vec<WaitingRequest>,
    /// Reviews that are owed, the most overdue first, at most 200.
    pub reviews: Vec<OwedReview>,
}

/// One request in [`Requests`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingRequest {
    /// Which emergency.
    pub emergency: EmergencyId,
    /// `approval` or `second`.
    pub waits_for: String,
    /// Who asks.
    pub person: PersonName,
    /// For which system.
    pub system: SystemName,
    /// For which host, if one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<HostName>,
    /// The tier that waits; of a second signature, nothing is known yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tier: Option<TierName>,
    /// When it was asked, unix seconds.
    pub at: u64,
    /// When it lapses, unix seconds.
    pub until: u64,
    /// Whether the reader may answer it.
    pub yours: bool,
}

/// One review that is owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwedReview {
    /// Which emergency.
    pub emergency: EmergencyId,
    /// Who declared it.
    pub person: PersonName,
    /// For which system.
    pub system: SystemName,
    /// When it ended, unix seconds.
    pub closed_at: u64,
    /// By when it is due, unix seconds.
    pub due: u64,
    /// Whether that has passed.
    pub overdue: bool,
    /// Whether the reader may make it.
    pub yours: bool,
}

/// One event of `GET /v1/emergencies/{id}/events` (`text/event-stream`): an entry of the log that is about
/// this emergency. What changed is read from the grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// `fireaxe.progress/v1`
    pub schema: String,
    /// Which emergency.
    pub emergency: EmergencyId,
    /// Index of the newest entry about it.
    pub entry: u64,
}
