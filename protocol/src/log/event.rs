//! Events: the facts that entries record. One enum, one name each, nothing optional that is not.

use serde::{Deserialize, Serialize};

use crate::keys::{Ed25519Key, Fingerprint};
use crate::log::Hash;
use crate::names::{EmergencyId, IncidentId, Origin, PersonName, ReasonText, Severity, SystemName};
use crate::policy::{Decision, Facts, IncidentState, Terms};
use crate::statement::Envelope;

/// A host pattern of the policy as it stood at a decision: a host name, or one with `*`.
pub type HostPattern = String;

/// What an entry says. `kind` is the JSON tag; the bytes around it are [`crate::log`]'s `Entry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum Event {
    /// Index 0, once: the log's name and the keys it begins with.
    #[serde(rename = "log.created")]
    LogCreated {
        /// The log's name.
        origin: Origin,
        /// The keys of this installation.
        keys: PinnedKeys,
    },
    /// Bytes too large for one entry, in order; the entry that needs them names their leaves.
    #[serde(rename = "blob.stored")]
    BlobStored {
        /// Base64, at most [`crate::limits::BLOB_CHUNK`] bytes before encoding.
        base64: String,
    },
    /// The bundle that decides from the next entry on.
    #[serde(rename = "bundle.activated")]
    BundleActivated {
        /// Hash over both files (`Bundle::hash`).
        bundle: Hash,
        /// Leaves of the `blob.stored` entries that make `policy.toml`, in order.
        policy: Vec<Hash>,
        /// The same for `roster.toml`.
        roster: Vec<Hash>,
        /// `init`, or the local operator (`uid 0`).
        by: String,
    },
    /// An incident as the operator or a tracker reports it.
    #[serde(rename = "incident.updated")]
    IncidentUpdated(IncidentUpdate),
    /// Somebody known declared an emergency, and something was given or waits.
    #[serde(rename = "emergency.declared")]
    EmergencyDeclared {
        /// Its number: one more than the last.
        emergency: EmergencyId,
        /// The signed words, verbatim.
        declared: Envelope,
        /// Which enrolled key signed.
        key: Fingerprint,
        /// A FIDO key's signature counter.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        counter: Option<u32>,
        /// The bundle that decided.
        bundle: Hash,
        /// What the decision rested on.
        facts: Facts,
        /// The decision, with the terms given and waiting.
        decision: Decision,
        /// The hosts these terms reach: one name, or the system's patterns.
        hosts: Vec<HostPattern>,
        /// When it ends by itself: the end of the last certificate it may have. Unix seconds.
        until: u64,
        /// A bare claim must be tied to an incident by then, or it closes itself. Unix seconds.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        link_by: Option<u64>,
    },
    /// Somebody known asked and was refused.
    #[serde(rename = "declaration.refused")]
    DeclarationRefused {
        /// The signed words, verbatim.
        declared: Envelope,
        /// Which enrolled key signed.
        key: Fingerprint,
        /// A FIDO key's signature counter.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        counter: Option<u32>,
        /// The bundle that decided.
        bundle: Hash,
        /// What the decision rested on.
        facts: Facts,
        /// The refusal with all its reasons.
        decision: Decision,
    },
    /// A certificate body is about to be signed. The entry's second line is that body, base64.
    /// Holds no people and no text: this line travels in the certificate's receipt.
    #[serde(rename = "certificate.issued")]
    CertificateIssued {
        /// Leaf of the `emergency.declared` entry it comes from.
        of: Hash,
        /// [`Terms::hash`] of the terms it embodies.
        terms: Hash,
    },
    /// A logged body that will not be signed (again).
    #[serde(rename = "certificate.abandoned")]
    CertificateAbandoned {
        /// Its serial.
        serial: u64,
        /// `emergency.closed`, `emergency.closing`, `certificate.revoked`.
        why: String,
    },
    /// A countdown to the end began.
    #[serde(rename = "emergency.closing")]
    EmergencyClosing {
        /// Which.
        emergency: EmergencyId,
        /// Why: the incident that was resolved.
        incident: IncidentId,
        /// When the countdown ends. Unix seconds.
        until: u64,
    },
    /// The end: no further certificate, and these serials are revoked.
    #[serde(rename = "emergency.closed")]
    EmergencyClosed {
        /// Which.
        emergency: EmergencyId,
        /// Who or what closed it.
        by: Closer,
        /// Serials that were alive and are revoked by this entry. Ascending.
        revoked: Vec<u64>,
    },
    /// An operator says the clock is right again after a jump.
    #[serde(rename = "clock.corrected")]
    ClockCorrected {
        /// The time that is right, unix seconds.
        to: u64,
        /// The operator's reason.
        reason: ReasonText,
        /// Who says so: `operator uid 0`.
        by: String,
    },
}

/// Who or what closed an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Closer {
    /// Its owner or somebody with the role, by a signed statement.
    Person {
        /// Who.
        person: PersonName,
        /// The signed words, verbatim.
        closed: Envelope,
        /// Which enrolled key signed.
        key: Fingerprint,
        /// A FIDO key's signature counter.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        counter: Option<u32>,
    },
    /// Its time ran out.
    Deadline,
    /// Its incident was resolved and the countdown ended.
    Grace,
    /// A bare claim that was never tied to an incident: flagged.
    Unlinked,
}

/// An incident as reported at one moment; replaces what was known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentUpdate {
    /// The tracker's id.
    pub incident: IncidentId,
    /// Going on, or over.
    pub state: IncidentState,
    /// How bad.
    pub severity: Severity,
    /// The systems it touches. Sorted, never empty.
    pub systems: Vec<SystemName>,
    /// The tracker's title, for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<ReasonText>,
    /// Who reported it: `operator uid 0`.
    pub by: String,
}

/// The public keys an installation begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedKeys {
    /// Signs user certificates.
    pub user_ca: Ed25519Key,
    /// Signs checkpoints.
    pub log: Ed25519Key,
    /// Signs the notes beside revocation lists.
    pub krl: Ed25519Key,
}

impl Event {
    /// The terms that are in force at once after this declaration, if it is one.
    pub fn terms_now(&self) -> Option<&Terms> {
        match self {
            Event::EmergencyDeclared { decision, .. } => decision.terms_now(),
            _ => None,
        }
    }
}
