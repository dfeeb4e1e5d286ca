//! The JSON shapes of the HTTP surface: what the CA answers and the client reads.
//!
//! Every answer names its `schema`; changes only ever add.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::keys::{Ed25519Key, Fingerprint};
use crate::log::Hash;
use crate::names::{
    AccountName, EmergencyId, HostName, IncidentId, Origin, PersonName, ReasonText, Severity, SystemName,
    TargetName, TierName,
};
use crate::policy::{Decision, Terms};
use crate::reason::Reason;

/// `GET /v1/keys`: what a client and a host must know of the CA. Open to everyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// `fireaxe.keys/v1`
    pub schema: String,
    /// The log's name.
    pub origin: Origin,
    /// Signs user certificates: a line for `TrustedUserCAKeys`.
    pub user_ca: Ed25519Key,
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
    /// `open`, `closing`, `closed`.
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
    /// How it was closed: `ana`, `deadline`, `grace`, `unlinked`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub closed_by: Option<String>,
    /// When it was closed, unix seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub closed_at: Option<u64>,
    /// Serials of its certificates.
    pub serials: Vec<u64>,
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
    /// At most 200.
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
    /// The decision, when the policy refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision: Option<Box<Decision>>,
    /// Leaf of the `declaration.refused` entry, when it was logged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entry: Option<Hash>,
    /// Index of that entry.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub index: Option<u64>,
}

/// The proof of a reader: the `Authorization` header of every read that is not open to everyone,
/// `Fireaxe <key> <unix s> <base64 signature>` where key is the reader's fingerprint.
///
/// The signature is Ed25519 by a session key (`login`) or an emergency's fresh key over
/// [`ReadProof::message`]. Valid for [`crate::limits::STATEMENT_WINDOW_S`] around the CA's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadProof {
    /// Which key.
    pub key: Fingerprint,
    /// When, unix seconds.
    pub at: u64,
    /// Raw Ed25519 signature.
    pub signature: [u8; 64],
}

/// Why a read proof does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadProofError {
    /// Not `Fireaxe <key> <unix s> <base64 signature>`.
    #[error("the Authorization header is not `Fireaxe <key> <unix s> <base64 signature>`")]
    Unreadable,
    /// Another key signed, or another request was signed.
    #[error("the signature in the Authorization header does not match this request")]
    Mismatch,
}

impl ReadProof {
    /// The bytes that are signed: origin, method, path with query, time; each on its own line.
    pub fn message(origin: &Origin, method: &str, path: &str, at: u64) -> Vec<u8> {
        format!("read.v1@fireaxe\n{origin}\n{method}\n{path}\n{at}\n").into_bytes()
    }

    /// Signs one request with a session key or an emergency's fresh key.
    pub fn sign(key: &SigningKey, origin: &Origin, method: &str, path: &str, at: u64) -> ReadProof {
        let signature = key.sign(&ReadProof::message(origin, method, path, at)).to_bytes();
        ReadProof { key: Ed25519Key::from(key).fingerprint(), at, signature }
    }

    /// The value of the `Authorization` header.
    pub fn header(&self) -> String {
        format!("Fireaxe {} {} {}", self.key, self.at, STANDARD.encode(self.signature))
    }

    /// Reads the header's value: only the spelling that [`ReadProof::header`] writes.
    pub fn read(header: &str) -> Result<ReadProof, ReadProofError> {
        let wrong = ReadProofError::Unreadable;
        let mut words = header.split(' ');
        let [scheme, key, at, signature, end] = std::array::from_fn(|_| words.next());
        let (Some("Fireaxe"), Some(key), Some(at), Some(signature), None) = (scheme, key, at, signature, end)
        else {
            return Err(wrong);
        };
        let raw = STANDARD.decode(signature).map_err(|_| wrong)?;
        let proof = ReadProof {
            key: key.parse().map_err(|_| wrong)?,
            at: at.parse().map_err(|_| wrong)?,
            signature: raw.try_into().map_err(|_| wrong)?,
        };
        if proof.at.to_string() == at { Ok(proof) } else { Err(wrong) }
    }

    /// Checks the signature over this very request by `key`, which must be the one the header names.
    /// Whether `at` is near enough to now is the caller's, who has the clock.
    pub fn verify(
        &self,
        key: &Ed25519Key,
        origin: &Origin,
        method: &str,
        path: &str,
    ) -> Result<(), ReadProofError> {
        if key.fingerprint() != self.key {
            return Err(ReadProofError::Mismatch);
        }
        let point = key.verifying().ok_or(ReadProofError::Mismatch)?;
        let message = ReadProof::message(origin, method, path, self.at);
        point
            .verify_strict(&message, &Signature::from_bytes(&self.signature))
            .map_err(|_| ReadProofError::Mismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> (SigningKey, Origin, ReadProof) {
        let key = SigningKey::from_bytes(&[5; 32]);
        let origin: Origin = "ca.example/0123456789abcdef".parse().unwrap();
        let proof = ReadProof::sign(&key, &origin, "GET", "/v1/emergencies?n=1", 1_800_000_000);
        (key, origin, proof)
    }

    #[test]
    fn a_read_proof_counts_for_its_request_only() {
        let (key, origin, proof) = proof();
        let read = ReadProof::read(&proof.header()).unwrap();
        assert_eq!(read, proof);
        let public = Ed25519Key::from(&key);
        assert_eq!(read.verify(&public, &origin, "GET", "/v1/emergencies?n=1"), Ok(()));
        let no = Err(ReadProofError::Mismatch);
        assert_eq!(read.verify(&public, &origin, "POST", "/v1/emergencies?n=1"), no);
        assert_eq!(read.verify(&public, &origin, "GET", "/v1/emergencies"), no);
        let elsewhere: Origin = "ca.example/0123456789abcdee".parse().unwrap();
        assert_eq!(read.verify(&public, &elsewhere, "GET", "/v1/emergencies?n=1"), no);
        let later = ReadProof { at: proof.at + 1, ..proof.clone() };
        assert_eq!(later.verify(&public, &origin, "GET", "/v1/emergencies?n=1"), no);
        let other = Ed25519Key::from(&SigningKey::from_bytes(&[6; 32]));
        assert_eq!(read.verify(&other, &origin, "GET", "/v1/emergencies?n=1"), no);
    }

    #[test]
    fn a_read_proof_has_one_spelling() {
        let (_, _, proof) = proof();
        let header = proof.header();
        for other in [
            header.replace("Fireaxe", "fireaxe"),
            header.replace("Fireaxe", "Bearer"),
            header.replace("1800000000", "01800000000"),
            header.replace("1800000000", "+1800000000"),
            header.replace("1800000000", "99999999999999999999"),
            header.replace(' ', "  "),
            format!("{header} "),
            format!("{header}="),
            header.trim_end_matches('=').to_owned(),
            header.replace("SHA256:", "MD5:"),
            String::new(),
            "Fireaxe".to_owned(),
        ] {
            assert_eq!(ReadProof::read(&other), Err(ReadProofError::Unreadable), "{other}");
        }
    }
}
