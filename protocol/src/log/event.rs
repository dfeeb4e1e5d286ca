//! Events: the facts that entries record. One enum, one name each, nothing optional that is not.

use serde::{Deserialize, Serialize};

use super::author::{Activation, Closer, HostSaid, SignedBy};
use super::evidence::{Evidence, EvidenceReader};
use crate::keys::{Ed25519Key, Fingerprint};
use crate::log::Hash;
use crate::names::{
    EmergencyId, GroupName, HostName, IncidentId, Origin, PersonName, ReasonText, Severity, SystemName,
};
use crate::policy::{Decision, Facts, IncidentState, Terms};
use crate::reason::Reason;
use crate::statement::{Envelope, Nonce};

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
        /// The log that this one goes on from, when that one was lost or had to be given up.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        succeeds: Option<Succeeded>,
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
        /// Who put it in force.
        by: Activation,
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
    /// Another on-call person signed the claim too: decided anew. What was given goes on; what waited is
    /// replaced.
    #[serde(rename = "emergency.seconded")]
    EmergencySeconded {
        /// Which.
        emergency: EmergencyId,
        /// Leaf of its `emergency.declared` entry.
        of: Hash,
        /// The signed words and who signed them.
        by: SignedBy,
        /// The bundle that decided.
        bundle: Hash,
        /// What the decision rested on.
        facts: Facts,
        /// The decision.
        decision: Decision,
        /// The hosts these terms reach.
        hosts: Vec<HostPattern>,
    },
    /// The bundle changed while a request waited: decided anew under the new one, from the words that were
    /// signed, so that nobody has to type them again. Its approvals so far are void.
    #[serde(rename = "emergency.redecided")]
    EmergencyRedecided {
        /// Which.
        emergency: EmergencyId,
        /// Leaf of its `emergency.declared` entry.
        of: Hash,
        /// The bundle that decided.
        bundle: Hash,
        /// What the decision rested on.
        facts: Facts,
        /// The decision.
        decision: Decision,
        /// The hosts these terms reach.
        hosts: Vec<HostPattern>,
    },
    /// More time was asked for, and is given or waits. An emergency that was closing is open again.
    #[serde(rename = "extension.requested")]
    ExtensionRequested {
        /// Which.
        emergency: EmergencyId,
        /// Leaf of its `emergency.declared` entry.
        of: Hash,
        /// The signed words and who signed them.
        by: SignedBy,
        /// The bundle that decided.
        bundle: Hash,
        /// What the decision rested on.
        facts: Facts,
        /// The decision.
        decision: Decision,
        /// The hosts these terms reach.
        hosts: Vec<HostPattern>,
    },
    /// More time was asked for and refused. What is held goes on to its end; an emergency that was closing is
    /// open again until then, at most [`crate::limits::HOLDS`] times: its holder says that it is not over.
    #[serde(rename = "extension.refused")]
    ExtensionRefused {
        /// Which.
        emergency: EmergencyId,
        /// Leaf of its `emergency.declared` entry.
        of: Hash,
        /// The signed words and who signed them.
        by: SignedBy,
        /// The bundle that decided.
        bundle: Hash,
        /// What the decision rested on.
        facts: Facts,
        /// The refusal with all its reasons.
        decision: Decision,
    },
    /// A rung of the ladder: these people were asked, by the CA's own clock.
    #[serde(rename = "rung.called")]
    RungCalled {
        /// Which.
        emergency: EmergencyId,
        /// Leaf of the entry whose decision waits.
        of: Hash,
        /// Counted from 0: the first is called at once.
        rung: u8,
        /// Its groups. Sorted.
        groups: Vec<GroupName>,
        /// Who of them may approve this. Sorted.
        people: Vec<PersonName>,
    },
    /// Somebody who may said yes.
    #[serde(rename = "approval.given")]
    ApprovalGiven {
        /// Which.
        emergency: EmergencyId,
        /// Leaf of the entry that they approve.
        of: Hash,
        /// The signed words and who signed them.
        by: SignedBy,
    },
    /// Somebody who may said no: the request is over.
    #[serde(rename = "approval.refused")]
    ApprovalRefused {
        /// Which.
        emergency: EmergencyId,
        /// Leaf of the entry that they refuse.
        of: Hash,
        /// The signed words and who signed them.
        by: SignedBy,
    },
    /// Nobody answered in time.
    #[serde(rename = "request.lapsed")]
    RequestLapsed {
        /// Which.
        emergency: EmergencyId,
        /// Leaf of the entry whose decision waited.
        of: Hash,
    },
    /// Something unusual, from the facts of an entry alone.
    #[serde(rename = "anomaly.raised")]
    AnomalyRaised {
        /// Which.
        emergency: EmergencyId,
        /// Leaf of the entry that shows it.
        of: Hash,
        /// The signals, each with its one sentence; never empty. In order of [`crate::policy::Signal`].
        signals: Vec<Reason>,
    },
    /// Somebody who took no part looked at an emergency that is over.
    #[serde(rename = "emergency.reviewed")]
    EmergencyReviewed {
        /// Which.
        emergency: EmergencyId,
        /// The signed words and who signed them.
        by: SignedBy,
    },
    /// A certificate body is about to be signed. The entry's second line is that body, base64.
    /// Holds no people and no text: this line travels in the certificate's receipt.
    #[serde(rename = "certificate.issued")]
    CertificateIssued {
        /// Leaf of the entry whose decision gives it: `emergency.declared`, `emergency.seconded`,
        /// `emergency.redecided` or `extension.requested`.
        of: Hash,
        /// [`Terms::hash`] of the terms it embodies: the decision's, or [`Terms::narrowed`] ones of those.
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
        /// By when somebody who took no part must have looked back at it, unix seconds; nothing when the
        /// policy asks for no reviews, and when nothing was ever given.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        review_due: Option<u64>,
    },
    /// The operator invited a host: whoever shows the token may enrol it, once.
    #[serde(rename = "host.invited")]
    HostInvited {
        /// The host's name.
        host: HostName,
        /// The system it belongs to.
        system: SystemName,
        /// Hash of the join token.
        token: Hash,
        /// Until when it is good. Unix seconds.
        until: u64,
        /// Who invited it: `operator uid 0`.
        by: String,
    },
    /// A host proved its host key and used its invitation. One that was enrolled before is so anew.
    #[serde(rename = "host.enrolled")]
    HostEnrolled {
        /// Leaf of its `host.invited` entry.
        of: Hash,
        /// The host's name.
        host: HostName,
        /// The system it belongs to.
        system: SystemName,
        /// Its host key: what it signs reports with.
        key: Ed25519Key,
        /// The signed words, verbatim.
        said: Envelope,
    },
    /// A host certificate's body is about to be signed by the host CA. Its serial is this entry's index.
    #[serde(rename = "host.certified")]
    HostCertified {
        /// Leaf of its `host.enrolled` entry.
        of: Hash,
        /// The host's name.
        host: HostName,
        /// The certificate's body, base64.
        body: String,
    },
    /// A host is ours no more: its reports are not taken, its certificate is not renewed.
    #[serde(rename = "host.retired")]
    HostRetired {
        /// Leaf of its `host.enrolled` entry.
        of: Hash,
        /// The host's name.
        host: HostName,
        /// Who retired it: `operator uid 0`.
        by: String,
    },
    /// A host asked for a login's proof: a `certificate.issued` of these terms, for that host alone, follows.
    #[serde(rename = "self-test.granted")]
    SelfTestGranted {
        /// What it said.
        by: HostSaid,
        /// One forced command that does nothing, from the host itself, for a minute.
        terms: Terms,
    },
    /// A certificate of ours came in on a host.
    #[serde(rename = "session.opened")]
    SessionOpened {
        /// The emergency of that certificate, as the CA knows it; none for a self-test.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        emergency: Option<EmergencyId>,
        /// What in it cannot be, going by the log: a serial that was never issued, an account that it does not
        /// open there. Somebody should look; it is the host's word all the same.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        unusual: Vec<Reason>,
        /// What the host said.
        by: HostSaid,
    },
    /// Everything that came in with it has ended.
    #[serde(rename = "session.closed")]
    SessionClosed {
        /// As of its `session.opened`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        emergency: Option<EmergencyId>,
        /// As of its `session.opened`; and a connection that was not open.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        unusual: Vec<Reason>,
        /// What the host said.
        by: HostSaid,
    },
    /// A host that an emergency reached has the list in force that revokes its certificates, and nothing of
    /// them is alive there.
    #[serde(rename = "host.confirmed")]
    HostConfirmed {
        /// Leaves of the `emergency.closed` entries that it confirms, oldest first, at most
        /// [`crate::limits::CONFIRMED`]; none when the host confirmed unasked.
        closed: Vec<Hash>,
        /// What the host said.
        by: HostSaid,
    },
    /// A host says that somebody should look.
    #[serde(rename = "host.alarmed")]
    HostAlarmed {
        /// What the host said.
        by: HostSaid,
    },
    /// Evidence is handed out to somebody who may read it. Stands in the log before they have it.
    #[serde(rename = "evidence.read")]
    EvidenceRead {
        /// Who.
        by: EvidenceReader,
        /// What.
        what: Evidence,
    },
    /// Evidence was put together in a file that leaves the CA.
    #[serde(rename = "evidence.exported")]
    EvidenceExported {
        /// Who.
        by: EvidenceReader,
        /// What.
        what: Evidence,
        /// SHA-256 of the file's manifest, which names every part with its hash.
        manifest: Hash,
    },
    /// Somebody known asked for evidence that they may not read.
    #[serde(rename = "evidence.refused")]
    EvidenceRefused {
        /// Who.
        by: EvidenceReader,
        /// What.
        what: Evidence,
        /// Why not.
        why: Reason,
    },
    /// A recording is about to be removed from the CA's disk, for the policy keeps it no longer. Its hash stays
    /// in the entry that reported it.
    #[serde(rename = "recording.expired")]
    RecordingExpired {
        /// Leaf of the `session.closed` entry that reported it.
        of: Hash,
        /// The host.
        host: HostName,
        /// The recording's name.
        recording: Nonce,
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

/// The log that another one goes on from. Written by `init` on its operator's word: the CA that was lost signed
/// the note, not that another follows it. An auditor who knows its key checks the note with that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Succeeded {
    /// Its name.
    pub origin: Origin,
    /// The newest checkpoint of it that is known: a signed note, at most [`crate::limits::NOTE`] bytes.
    pub note: String,
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
    /// Signs host certificates.
    pub host_ca: Ed25519Key,
}

/// An entry that decided something about an emergency: what approvals and certificates refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided<'e> {
    /// Which emergency.
    pub emergency: EmergencyId,
    /// The bundle that decided.
    pub bundle: Hash,
    /// What the decision rested on.
    pub facts: &'e Facts,
    /// The decision.
    pub decision: &'e Decision,
    /// The hosts its terms reach.
    pub hosts: &'e [HostPattern],
}

impl Event {
    /// The terms that are in force at once after this declaration, if it is one.
    pub fn terms_now(&self) -> Option<&Terms> {
        match self {
            Event::EmergencyDeclared { decision, .. } => decision.terms_now(),
            _ => None,
        }
    }

    /// The emergency that this entry is about, if it names one.
    pub fn emergency(&self) -> Option<EmergencyId> {
        match self {
            Event::EmergencyDeclared { emergency, .. }
            | Event::EmergencySeconded { emergency, .. }
            | Event::EmergencyRedecided { emergency, .. }
            | Event::ExtensionRequested { emergency, .. }
            | Event::ExtensionRefused { emergency, .. }
            | Event::RungCalled { emergency, .. }
            | Event::ApprovalGiven { emergency, .. }
            | Event::ApprovalRefused { emergency, .. }
            | Event::RequestLapsed { emergency, .. }
            | Event::AnomalyRaised { emergency, .. }
            | Event::EmergencyReviewed { emergency, .. }
            | Event::EmergencyClosing { emergency, .. }
            | Event::EmergencyClosed { emergency, .. } => Some(*emergency),
            Event::LogCreated { .. }
            | Event::BlobStored { .. }
            | Event::BundleActivated { .. }
            | Event::IncidentUpdated(_)
            | Event::DeclarationRefused { .. }
            | Event::CertificateIssued { .. }
            | Event::CertificateAbandoned { .. }
            | Event::HostInvited { .. }
            | Event::HostEnrolled { .. }
            | Event::HostCertified { .. }
            | Event::HostRetired { .. }
            | Event::SelfTestGranted { .. }
            | Event::HostConfirmed { .. }
            | Event::HostAlarmed { .. }
            | Event::EvidenceRead { .. }
            | Event::EvidenceExported { .. }
            | Event::EvidenceRefused { .. }
            | Event::RecordingExpired { .. }
            | Event::ClockCorrected { .. } => None,
            Event::SessionOpened { emergency, .. } | Event::SessionClosed { emergency, .. } => *emergency,
        }
    }

    /// What this entry decided, if it is one that approvals and certificates may refer to.
    pub fn decided(&self) -> Option<Decided<'_>> {
        match self {
            Event::EmergencyDeclared { emergency, bundle, facts, decision, hosts, .. }
            | Event::EmergencySeconded { emergency, bundle, facts, decision, hosts, .. }
            | Event::EmergencyRedecided { emergency, bundle, facts, decision, hosts, .. }
            | Event::ExtensionRequested { emergency, bundle, facts, decision, hosts, .. } => {
                Some(Decided { emergency: *emergency, bundle: *bundle, facts, decision, hosts })
            }
            _ => None,
        }
    }
}
