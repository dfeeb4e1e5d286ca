//! Another bundle, by the operator's local socket: put in force with its admins' signatures, or let to decide
//! beside the one in force. Trusted with nothing: what is not signed by the quorum does not come in force.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::{Bundle, unsound};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{Envelope, Kind};
use serde::{Deserialize, Serialize};

use super::Door;
use super::emergencies::{Bytes, body};
use super::problem::{Answer, Told};
use crate::road::{Internal, Proposal, Refusal};

/// A request's body: two files of the bundle's size, escaped as JSON, and a quorum's signatures.
pub(super) const BODY: usize = 3 * fireaxe_protocol::limits::BUNDLE;
/// Signatures under one change: more admins than any quorum.
const SIGNATURES: usize = 32;

/// A bundle and who signed for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleChangeRequest {
    /// `policy.toml`
    pub policy: String,
    /// `roster.toml`
    pub roster: String,
    /// Statements of kind `bundle`, each by another policy admin.
    pub signed: Vec<Envelope>,
}

/// A bundle that decides beside the one in force; none ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowRequest {
    /// `policy.toml` and `roster.toml`
    pub files: Option<(String, String)>,
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivatedAnswer {
    /// `fireaxe.activated/v1`
    pub schema: String,
    /// The bundle in force now.
    pub bundle: Hash,
    /// Index of its entry.
    pub entry: u64,
    /// Emergencies that ended with it: who declared them is no longer in the roster.
    pub closed: Vec<EmergencyId>,
    /// Emergencies whose waiting request was decided anew.
    pub decided_again: Vec<EmergencyId>,
}

/// What came of a shadow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowAnswer {
    /// `fireaxe.shadow/v1`
    pub schema: String,
    /// The bundle that decides beside the one in force; none.
    pub bundle: Option<Hash>,
}

/// `POST /operator/bundle`
pub(super) async fn activate(State(door): State<Arc<Door>>, bytes: Bytes) -> Answer<Json<ActivatedAnswer>> {
    let BundleChangeRequest { policy, roster, signed } = body(bytes)?;
    if signed.len() > SIGNATURES {
        let said = format!("{} signatures; at most {SIGNATURES} are taken", signed.len());
        return Err(Told::new(StatusCode::BAD_REQUEST, "bundle.signatures", said)
            .next("fireaxe-ca policy activate DIR --signed FILE ...   (only those whom the quorum needs)"));
    }
    let bundle = sound(policy.clone(), roster.clone()).await?;
    let gate = door.road.published().gate();
    let known: Result<Vec<_>, Refusal> =
        signed.into_iter().map(|envelope| gate.know(envelope, Kind::Bundle)).collect();
    let proposal = Proposal { policy, roster, bundle, signed: known? };
    let done = door.road.activate(proposal).await?;
    Ok(Json(ActivatedAnswer {
        schema: "fireaxe.activated/v1".into(),
        bundle: done.bundle,
        entry: done.entry,
        closed: done.closed,
        decided_again: done.decided_again,
    }))
}

/// `POST /operator/shadow`
pub(super) async fn shadow(State(door): State<Arc<Door>>, bytes: Bytes) -> Answer<Json<ShadowAnswer>> {
    let ShadowRequest { files } = body(bytes)?;
    let bundle = match files {
        Some((policy, roster)) => Some(sound(policy, roster).await?),
        None => None,
    };
    let hash = bundle.as_ref().map(|bundle| bundle.hash);
    door.road.shadow(bundle).await?;
    Ok(Json(ShadowAnswer { schema: "fireaxe.shadow/v1".into(), bundle: hash }))
}

/// Reads a bundle and proves it; off the async threads, for a large one takes a while.
async fn sound(policy: String, roster: String) -> Answer<Arc<Bundle>> {
    let read = tokio::task::spawn_blocking(move || {
        let bundle = Bundle::parse(&policy, &roster)
            .map_err(|findings| findings.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let unsound = unsound(&bundle);
        if unsound.is_empty() { Ok(Arc::new(bundle)) } else { Err(unsound) }
    });
    match read.await {
        Ok(Ok(bundle)) => Ok(bundle),
        Ok(Err(findings)) => {
            let reasons = findings.into_iter().map(|said| Reason::new("bundle.unsound", said)).collect();
            Err(Refusal::Bundle { reasons }.into())
        }
        // It panicked: never taken for a bundle that is sound.
        Err(fault) => Err(Refusal::from(Internal::Fold(format!("the check broke off: {fault}"))).into()),
    }
}
