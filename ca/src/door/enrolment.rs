//! How hosts become ours and stay so: join with a token, renew the host certificate, ask for a self-test.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use fireaxe_protocol::api::{HostCertificate, Join, Joined, SelfTestCertificate};
use fireaxe_protocol::host::JoinToken;
use fireaxe_protocol::names::{HostName, NameError};
use fireaxe_protocol::statement::Envelope;

use super::emergencies::{Bytes, body};
use super::problem::{Answer, Told};
use super::{Door, reading};
use crate::road::{HostRefusal, Refusal};

/// A host's name in a path, as axum gives it.
pub(super) type Host = Result<Path<String>, PathRejection>;

/// Reads it.
pub(super) fn named(host: Host) -> Answer<HostName> {
    let wrong = |said: String| Told::new(StatusCode::BAD_REQUEST, "host.name", said);
    let Path(text) = host.map_err(|rejection| wrong(rejection.body_text()))?;
    text.parse().map_err(|error: NameError| wrong(error.to_string()))
}

/// `POST /v1/hosts`: the token is looked up before any signature is checked. Nothing of the token is kept.
pub(super) async fn join(State(door): State<Arc<Door>>, bytes: Bytes) -> Answer<Json<Joined>> {
    let Join { enrol, token } = body(bytes)?;
    let token: JoinToken = token.parse().map_err(|error: NameError| {
        Told::new(StatusCode::BAD_REQUEST, "token.unreadable", error.to_string())
            .next("give the whole line that fireaxe-ca host invite printed")
    })?;
    let published = door.road.published();
    let joining = published.speakers().joins(&published.gate().origin, enrol, &token)?;
    let joined = door.road.join(joining).await?;
    Ok(Json(Joined {
        schema: "fireaxe.host-joined/v1".into(),
        host: joined.host,
        system: joined.system,
        enrolment: joined.enrolment,
        certificate: joined.certificate,
        valid_before: joined.valid_before,
    }))
}

/// `POST /v1/hosts/{host}/certificate`
pub(super) async fn certificate(
    State(door): State<Arc<Door>>,
    host: Host,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Json<HostCertificate>> {
    let host = named(host)?;
    let known = reading::host(&door, &headers, "POST", &uri)?;
    if known.host != host {
        return Err(Refusal::from(HostRefusal::NotEnrolled(host)).into());
    }
    let newest = door.road.certify(host, known.public_key).await?;
    Ok(Json(HostCertificate {
        schema: "fireaxe.host-certificate/v1".into(),
        certificate: newest.certificate,
        valid_before: newest.valid_before,
    }))
}

/// `POST /v1/hosts/{host}/self-tests`
pub(super) async fn self_test(
    State(door): State<Arc<Door>>,
    host: Host,
    bytes: Bytes,
) -> Answer<Json<SelfTestCertificate>> {
    let host = named(host)?;
    let envelope: Envelope = body(bytes)?;
    let published = door.road.published();
    let speaking = published.speakers().speaks(&published.gate().origin, envelope, &host)?;
    Ok(Json(*door.road.self_test(speaking).await?))
}
