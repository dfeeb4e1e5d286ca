//! The operator's local socket, about evidence that leaves the CA: certificates as they went out, and the entry by
//! which the log's key signs a file's manifest. As trusted as `operator.rs` says: whoever can open it can say that
//! something was exported, in the name of the uid that the kernel tells, and gets no key and no open door.

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

/// A file that is about to be handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// Of what it is.
    pub what: Evidence,
    /// SHA-256 of its manifest.
    pub manifest: Hash,
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
pub(super) async fn exported(
    State(door): State<Arc<Door>>,
    Extension(peer): Extension<Peer>,
    bytes: Bytes,
) -> Answer<Json<RecordedAnswer>> {
    let ExportRequest { what, manifest } = body(bytes)?;
    let access = Access {
        by: EvidenceReader::Operator(peer.name()),
        what,
        outcome: AccessOutcome::Exported(manifest),
    };
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
