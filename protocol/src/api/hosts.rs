//! What hosts ask of the CA and are told, and the fleet as people see it.

use serde::{Deserialize, Serialize};

use crate::host::{Mode, Stray};
use crate::log::Hash;
use crate::names::{EmergencyId, HostName, SystemName};
use crate::policy::Terms;
use crate::reason::Reason;
use crate::statement::Envelope;

/// `POST /v1/hosts`: a host joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The signed `enrol` statement.
    pub enrol: Envelope,
    /// The join token. Kept nowhere.
    pub token: String,
}

/// The answer to [`Join`]. The same words again get the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// `fireaxe.host-joined/v1`
    pub schema: String,
    /// The host.
    pub host: HostName,
    /// The system it belongs to, as the operator invited it.
    pub system: SystemName,
    /// Leaf of its `host.enrolled` entry.
    pub enrolment: Hash,
    /// `ssh-ed25519-cert-v01@openssh.com AAAA...`: its host certificate.
    pub certificate: String,
    /// When that ends, unix seconds.
    pub valid_before: u64,
}

/// `POST /v1/hosts/{host}/certificate`, proved by the host key: the newest host certificate; a new one once
/// half of the time of the last has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCertificate {
    /// `fireaxe.host-certificate/v1`
    pub schema: String,
    /// `ssh-ed25519-cert-v01@openssh.com AAAA...`
    pub certificate: String,
    /// When it ends, unix seconds.
    pub valid_before: u64,
}

/// `POST /v1/hosts/{host}/self-tests`: a certificate that opens one account of that host, from itself, for a
/// minute, and does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTestCertificate {
    /// `fireaxe.self-test/v1`
    pub schema: String,
    /// The terms of the certificate.
    pub terms: Terms,
    /// `ssh-ed25519-cert-v01@openssh.com AAAA...`, with its receipt.
    pub certificate: String,
    /// When it ends, unix seconds.
    pub valid_before: u64,
}

/// `POST /v1/hosts/{host}/reports`: they are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportsTaken {
    /// `fireaxe.reports-taken/v1`
    pub schema: String,
    /// The number of the last report of this host that is taken for good: none up to it is to be sent again.
    pub seq: u64,
    /// The host owes a confirmation: emergencies that reached it are closed, and the log has not heard that
    /// the list of this version or a later one is in force there. Once it is, and nothing that it revokes is
    /// alive, the host says so with its next number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirm: Option<u64>,
}

/// The body of `POST /v1/hosts/{host}/reports`: in order, at most [`Reports::MOST`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reports {
    /// Signed `report` statements.
    pub reports: Vec<Envelope>,
}

impl Reports {
    /// Reports in one request: 4 of 8 KiB, escaped, stay within [`crate::limits::BODY`].
    pub const MOST: usize = 4;
}

/// `POST /v1/hosts/{host}/recordings/{recording}`: the body is whole chunks, appended to what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunksTaken {
    /// `fireaxe.chunks-taken/v1`
    pub schema: String,
    /// How many chunks of this recording the CA has, on its disk: the next to send has this number.
    pub chunks: u64,
}

/// One event of `GET /v1/feed`, proved by the host key. Only what is new is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FeedEvent {
    /// `fireaxe.feed/v1`
    pub schema: String,
    /// A revocation list with its note.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub krl: Option<FeedList>,
    /// A head of the log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub head: Option<FeedHead>,
    /// Countdowns of emergencies that are closing, all of them: one that is no longer here was held or is over.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub closing: Option<Vec<FeedClosing>>,
    /// Certificates that were issued when an emergency was given more time, base64 of their bytes: a host
    /// lets the sessions that came in with an earlier one of the same key go on. All that are alive on a
    /// connection's first event, then each when it is issued; only those that open something on this host.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub extended: Vec<String>,
    /// Beside a new list, when what it revokes reached this host: what [`ReportsTaken::confirm`] says, before it
    /// is asked. A host that is not told here is told by the next answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirm: Option<u64>,
}

/// A revocation list on the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedList {
    /// Its version.
    pub version: u64,
    /// Its note, base64.
    pub note: String,
    /// Its bytes, base64; left out when they are many: then `GET /v1/krl` has them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub krl: Option<String>,
}

/// A head on the feed, with the proof that it continues the one before it on the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedHead {
    /// The signed note (C2SP tlog-checkpoint).
    pub checkpoint: String,
    /// The size of the head that `proof` starts from; 0: there is none.
    pub from: u64,
    /// RFC 6962 consistency proof from there.
    pub proof: Vec<Hash>,
}

/// An emergency whose countdown runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedClosing {
    /// Which.
    pub emergency: EmergencyId,
    /// Its certificates that are alive.
    pub serials: Vec<u64>,
    /// When it ends, unix seconds.
    pub until: u64,
}

/// `GET /log/consistency?from=N&to=M`: for a host or witness that missed heads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consistency {
    /// `fireaxe.consistency/v1`
    pub schema: String,
    /// The smaller size.
    pub from: u64,
    /// The larger size.
    pub to: u64,
    /// RFC 6962 consistency proof.
    pub proof: Vec<Hash>,
}

/// `POST /v1/emergencies/{id}/certificates/{host}`, proved by the emergency's fresh key: what is held of it,
/// narrowed to one host and to minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narrowed {
    /// `fireaxe.narrowed/v1`
    pub schema: String,
    /// Which emergency.
    pub emergency: EmergencyId,
    /// The host.
    pub host: HostName,
    /// Leaf of the entry whose decision gave what was narrowed.
    pub of: Hash,
    /// The terms of the certificate.
    pub terms: Terms,
    /// `ssh-ed25519-cert-v01@openssh.com AAAA...`, with its receipt.
    pub certificate: String,
    /// When it ends, unix seconds.
    pub valid_before: u64,
}

/// `GET /v1/fleet`: every enrolled host, and how far the newest revocation got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// `fireaxe.fleet/v1`
    pub schema: String,
    /// The CA's time, unix seconds.
    pub now: u64,
    /// Version of the newest revocation list.
    pub krl_version: u64,
    /// How far it got.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revocation: Option<Reach>,
    /// What is missing; only for who sees every host.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub missing: Option<Missing>,
    /// By name.
    pub hosts: Vec<FleetHost>,
}

/// What somebody should have looked at, as far as the CA knows without looking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Missing {
    /// Connections that ended without a recording although their terms ask for one, since the log began.
    pub unrecorded: u64,
    /// Logins and ends that cannot be, going by the log, since it began.
    pub unusual: u64,
    /// Hosts' confirmations of closings that are more than a minute old, now.
    pub unconfirmed: u64,
    /// Reviews that are overdue now.
    pub overdue: u64,
}

/// How far a revocation got: "revoked 14:02:11, on 997 of 1000 by 14:02:13".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// When it was revoked, unix milliseconds.
    pub revoked_at_ms: u64,
    /// Hosts enrolled.
    pub hosts: u64,
    /// Of them, those that said they have it.
    pub confirmed: u64,
    /// When the last of those said so, unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_at_ms: Option<u64>,
    /// Those that did not, by name; at most 20.
    pub stale: Vec<HostName>,
}

/// One host of [`Fleet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetHost {
    /// Its name.
    pub host: HostName,
    /// Its system.
    pub system: SystemName,
    /// When it was enrolled, unix seconds.
    pub enrolled_at: u64,
    /// When it was last heard, unix seconds; nothing since the CA started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seen_at: Option<u64>,
    /// Whether it follows the feed now.
    pub following: bool,
    /// Its revocation list's version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub krl_version: Option<u64>,
    /// How old that was when it said so, seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub krl_age_s: Option<u64>,
    /// How far its clock is ahead of the CA's, seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clock_ahead_s: Option<i64>,
    /// How its sshd learns principals.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode: Option<Mode>,
    /// Connections that are there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sessions: Option<u32>,
    /// What is not as it was set up.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub drift: Vec<Reason>,
    /// Other ways in.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub strays: Vec<Stray>,
}
