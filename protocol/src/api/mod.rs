//! The JSON shapes of the HTTP surface: what the CA answers and the client reads.
//!
//! Every answer names its `schema`; changes only ever add.

mod evidence;
mod hosts;
mod read_proof;
mod requests;

pub use evidence::{RecordingLine, RecordingState, Recordings};
pub use hosts::{
    ChunksTaken, Consistency, FeedClosing, FeedEvent, FeedHead, FeedList, Fleet, FleetHost, HostCertificate,
    Join, Joined, Missing, Narrowed, Reach, Reports, ReportsTaken, SelfTestCertificate,
};
pub use read_proof::{ReadProof, ReadProofError};
pub use requests::{
    Approved, Called, Grant, IncidentCard, NextRung, OwedReview, Progress, RecentUse, RequestCard,
    RequestRefused, Requests, Reviewed, Seconded, Settled, Waiting, WaitingRequest,
};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::keys::Ed25519Key;
use crate::log::Hash;
use crate::names::{
    AccountName, ActionName, EmergencyId, HostName, IncidentId, Origin, PersonName, ReasonText, Severity,
    SystemName, TargetName, TierName,
};
use crate::policy::{Decision, Terms};
use crate::reason::Reason;
use crate::statement::{Params, Verdict};

/// `GET /v1/keys`: what a client and a host must know of the CA. Open to everyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// `fireaxe.keys/v1`
    pub schema: String,
    /// The log's name.
    pub origin: Origin,
    /// Signs user certificates: a line for `TrustedUserCAKeys`.
    pub user_ca: Ed25519Key,
    /// Signs host certificates: a line for `@cert-authority` in `known_hosts`.
    pub host_ca: Ed25519Key,
    /// The log's key, as a C2SP verifier key.
    pub log: String,
    /// The key of the notes beside revocation lists, as a C2SP verifier key.
    pub krl: String,
    /// The CA's time, unix seconds.
    pub now: u64,
}

/// `POST /v1/emergencies`: what came of a declaration. 201 when something was given, 202 when all of it
/// waits; the same statement again gets the same answer with the same certificate bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// `fireaxe.opened/v1`
    pub schema: String,
    /// Its number.
    pub emergency: EmergencyId,
    /// Leaf of its `emergency.declared` entry: what later statements refer to.
    pub declaration: Hash,
    /// The decision and how the policy got there.
    pub decision: Decision,
    /// The system.
    pub system: SystemName,
    /// The one host, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<HostName>,
    /// The hosts it reaches: one name, or the system's patterns.
    pub hosts: Vec<String>,
    /// The group that owns the system. Nothing notifies it yet: it sees the emergency in the list.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
    /// The incident it rests on, and its age in seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incident: Option<(IncidentId, u64)>,
    /// A bare claim closes itself then unless an incident is tied to it. Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub link_by: Option<u64>,
    /// What waits for approval, if anything does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting: Option<Waiting>,
    /// The terms of the certificate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub terms: Option<Terms>,
    /// `ssh-ed25519-cert-v01@openssh.com AAAA...`, with its receipt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<String>,
    /// When the certificate ends, unix seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub valid_before: Option<u64>,
}

/// `POST /v1/emergencies/{id}/closure`: it is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// `fireaxe.closed/v1`
    pub schema: String,
    /// Which.
    pub emergency: EmergencyId,
    /// Serials that were alive and are revoked now.
    pub revoked: Vec<u64>,
    /// Index of the entry that closed it: revocation lists of this version or later hold the serials.
    pub entry: u64,
}

/// `POST /v1/sessions`: a session key may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// `fireaxe.session/v1`
    pub schema: String,
    /// As whom.
    pub person: PersonName,
    /// Until when, unix seconds.
    pub until: u64,
}

/// One emergency in `GET /v1/emergencies` and `GET /v1/emergencies/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emergency {
    /// Its number.
    pub emergency: EmergencyId,
    /// `open`, `closing`, `closed`, `reviewed`.
    pub state: String,
    /// Leaf of its `emergency.declared` entry.
    pub declaration: Hash,
    /// Who declared it.
    pub person: PersonName,
    /// For which system.
    pub system: SystemName,
    /// For which host, if one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<HostName>,
    /// The severity that counted.
    pub severity: Severity,
    /// The tier in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tier: Option<TierName>,
    /// The account it opens.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account: Option<AccountName>,
    /// The incident it rests on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incident: Option<IncidentId>,
    /// Why, in their words.
    pub reason: ReasonText,
    /// A marked rehearsal.
    pub drill: bool,
    /// Unix seconds.
    pub declared_at: u64,
    /// When it ends or ended, unix seconds.
    pub until: u64,
    /// How it was closed: `ana`, `deadline`, `grace`, `unlinked`, `removed`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub closed_by: Option<String>,
    /// When it was closed, unix seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub closed_at: Option<u64>,
    /// Serials of the certificates that decisions gave.
    pub serials: Vec<u64>,
    /// How many certificates for single hosts were made out of them on demand.
    #[serde(skip_serializing_if = "is_none_of_them", default)]
    pub narrowed: u32,
    /// The tier that waits for approval, if one does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting: Option<TierName>,
    /// Who signed the claim too.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub seconds: Vec<PersonName>,
    /// Who approved something of it. Sorted.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub approved_by: Vec<PersonName>,
    /// How often it was extended.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub extensions: u8,
    /// The review that is owed, or was made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub review: Option<ReviewState>,
    /// Connections that hosts reported with its certificates, and what became of them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub connections: Option<Connections>,
    /// How many of the hosts that it reached have confirmed its end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirmed: Option<Confirmations>,
}

fn is_zero(n: &u8) -> bool {
    *n == 0
}

/// Connections of an emergency, by the hosts' word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// There now.
    pub live: u32,
    /// In all.
    pub all: u32,
    /// Of them, those in which something is unusual.
    #[serde(skip_serializing_if = "is_none_of_them", default)]
    pub unusual: u32,
}

fn is_none_of_them(n: &u32) -> bool {
    *n == 0
}

/// Hosts that an emergency reached when it ended, and those of them that confirmed the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmations {
    /// Enrolled hosts that its certificates opened.
    pub hosts: u32,
    /// Of them, those that have the list in force and nothing of it alive.
    pub by: u32,
}

/// The review of an emergency that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewState {
    /// By when it is due, unix seconds.
    pub due: u64,
    /// Whether it is owed and late, at the time of the answer.
    pub overdue: bool,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<PersonName>,
    /// What they found.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<Verdict>,
}

/// `GET /v1/emergencies`, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emergencies {
    /// `fireaxe.emergencies/v1`
    pub schema: String,
    /// At most 200.
    pub emergencies: Vec<Emergency>,
}

/// One certificate in `GET /v1/certificates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Serial = index of its entry.
    pub serial: u64,
    /// Its emergency.
    pub emergency: EmergencyId,
    /// Its holder.
    pub person: PersonName,
    /// Its tier.
    pub tier: TierName,
    /// Its only principal.
    pub principal: String,
    /// The host that it was made for on demand, out of what its emergency gave.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub narrowed_to: Option<HostName>,
    /// Unix seconds.
    pub valid_after: u64,
    /// Unix seconds.
    pub valid_before: u64,
    /// When it was revoked, unix seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revoked_at: Option<u64>,
}

/// `GET /v1/certificates`, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    /// `fireaxe.certificates/v1`
    pub schema: String,
    /// At most 200. Of those that were made on demand, the newest for each host.
    pub certificates: Vec<Certificate>,
}

/// `POST /v1/policy/explain`: what would be decided for the reader if they declared this now. The
/// presence is taken as the best their enrolled keys can prove. Nothing is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// A system or a host.
    pub target: TargetName,
    /// How bad.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub severity: Option<Severity>,
    /// The incident.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incident: Option<IncidentId>,
    /// A smaller tier.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub want: Option<TierName>,
    /// One command instead of a tier.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action: Option<ActionName>,
    /// Its parameters.
    #[serde(skip_serializing_if = "Params::is_empty", default)]
    pub params: Params,
    /// A shorter lifetime, seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub for_s: Option<u32>,
}

/// The answer to [`ExplainRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// `fireaxe.explained/v1`
    pub schema: String,
    /// The system it resolved to.
    pub system: SystemName,
    /// The one host, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<HostName>,
    /// The hosts it would reach.
    pub hosts: Vec<String>,
    /// The group that owns the system.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
    /// The incident it would rest on, and its age in seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incident: Option<(IncidentId, u64)>,
    /// The decision and how the policy gets there.
    pub decision: Decision,
}

/// `GET /v1/policy`: what a client needs for `ssh-config` and completion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySurface {
    /// `fireaxe.policy/v1`
    pub schema: String,
    /// The bundle in force.
    pub bundle: Hash,
    /// Systems and their host patterns.
    pub systems: Vec<SystemSurface>,
    /// Accounts that tiers use, the most powerful first.
    pub accounts: Vec<AccountName>,
    /// Actions: one command instead of a shell.
    #[serde(default)]
    pub actions: Vec<ActionSurface>,
}

/// One action of [`PolicySurface`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionSurface {
    /// Its name.
    pub action: ActionName,
    /// Where it may run.
    pub systems: Vec<SystemName>,
    /// The words of its command; `{name}` stands for a parameter.
    pub command: Vec<String>,
    /// The pattern of each parameter.
    pub params: BTreeMap<String, String>,
}

/// One system of [`PolicySurface`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemSurface {
    /// Its name.
    pub system: SystemName,
    /// Its hosts: names, or patterns with `*`.
    pub hosts: Vec<String>,
}

/// RFC 9457 problem details: what every refusal and error looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `https://fireaxe.invalid/problems/<code>`: an identifier, nothing is there.
    #[serde(rename = "type")]
    pub kind: String,
    /// One line for people.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Stable code: `policy.denied`, `statement.stale`, ...
    pub code: String,
    /// All reasons; never empty.
    pub reasons: Vec<Reason>,
    /// The next command to type, when one helps.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
    /// Names like the one that is not known, the most like first; hosts may be patterns with `*`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub nearest: Vec<String>,
    /// What is different now from what was approved or refused, in words.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub changed: Vec<String>,
    /// The decision, when the policy refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision: Option<Box<Decision>>,
    /// Leaf of the `declaration.refused` or `extension.refused` entry, when it was logged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entry: Option<Hash>,
    /// Index of that entry.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub index: Option<u64>,
    /// The number that a host's next report, or a recording's next chunk, must have.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected: Option<u64>,
    /// Numbers of this request's reports that the log has word for word, though the request is refused: none of
    /// these is to be sent again. At most [`Reports::MOST`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub logged: Vec<u64>,
}
