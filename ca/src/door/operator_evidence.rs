//! The operator's local socket, about evidence that is read there or leaves the CA: certificates as they went out, and the entry by
//! which the log's key signs a file's manifest. As trusted as `operator.rs` says: whoever can open it can say that
//! something was read or exported, in the name of the uid that the kernel tells, and gets no key and no open door.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use fireaxe_protocol::log::{Evidence, EvidenceReader, Hash};
use serde::{Deserialize, Serialize};

use super::emergencies::{Bytes, body};
use super::operator::{RecordedAnswer, recorded};
use super::problem::Answer;
use super::{Door, Peer};
use crate::road::{Access, AccessOutcome};

/// What is about to be read on this machine, or handed out in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceRequest {
    /// What.
    pub what: Evidence,
    /// SHA-256 of the manifest of the file that it goes into; nothing: it is read, and goes into none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub manifest: Option<Hash>,
}

/// Which certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificatesRequest {
    /// Their serials; of more than 64 the rest is not answered.
    pub serials: Vec<u64>,
}

/// Those that the CA signs again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificatesAnswer {
    /// `fireaxe.certificates-again/v1`
    pub schema: String,
    /// What may be signed again; nothing of the others.
    pub certificates: Vec<CertificateAgain>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateAgain {
    /// Its serial.
    pub serial: u64,
    /// One line of OpenSSH text.
    pub certificate: String,
}

/// `POST /operator/evidence`
pub(super) async fn accessed(
    State(door): State<Arc<Door>>,
    Extension(peer): Extension<Peer>,
    bytes: Bytes,
) -> Answer<Json<RecordedAnswer>> {
    let EvidenceRequest { what, manifest } = body(bytes)?;
    let outcome = manifest.map_or(AccessOutcome::Read, AccessOutcome::Exported);
    let access = Access { by: EvidenceReader::Operator(peer.name()), what, outcome };
    Ok(recorded(door.road.evidence_accessed(access).await?))
}

/// `POST /operator/certificates`
pub(super) async fn certificates(
    State(door): State<Arc<Door>>,
    bytes: Bytes,
) -> Answer<Json<CertificatesAnswer>> {
    let CertificatesRequest { serials } = body(bytes)?;
    let signed = door.road.certificates(serials).await?;
    let certificates =
        signed.into_iter().map(|(serial, certificate)| CertificateAgain { serial, certificate });
    Ok(Json(CertificatesAnswer {
        schema: "fireaxe.certificates-again/v1".into(),
        certificates: certificates.collect(),
    }))
}
