//! How hosts become ours and stay so: join with a token, renew the host certificate, ask for a self-test.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use fireaxe_protocol::api::{HostCertificate, Join, Joined, ReadProof, SelfTestCertificate};
use fireaxe_protocol::host::JoinToken;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits::STATEMENT_WINDOW_S;
use fireaxe_protocol::names::{HostName, NameError};
use fireaxe_protocol::statement::Envelope;

use super::Door;
use super::emergencies::{Bytes, body};
use super::problem::{Answer, Told};
use crate::road::HostRefusal;

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
    let joining = door.road.published().host_gate().joins(enrol, &token)?;
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
    let key = proved(&door, &headers, "POST", &uri, &host)?;
    let newest = door.road.certify(host, key).await?;
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
    let speaking = door.road.published().host_gate().speaks(envelope, &host)?;
    Ok(Json(*door.road.self_test(speaking).await?))
}

/// The key of `host`, with which it signed this very request.
pub(super) fn proved(
    door: &Door,
    headers: &HeaderMap,
    method: &str,
    uri: &Uri,
    host: &HostName,
) -> Answer<Ed25519Key> {
    let refused = |code: &str, words: &str| {
        Told::new(StatusCode::UNAUTHORIZED, code, words).next("fireaxe-host doctor   (compares the clocks)")
    };
    let proof = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let proof =
        proof.ok_or_else(|| refused("reader.missing", "this needs a proof signed by the host key"))?;
    let proof = ReadProof::read(proof)
        .map_err(|_| refused("reader.unreadable", "the Authorization header is not a read proof"))?;
    if door.clock.now().wall_s.abs_diff(proof.at) > STATEMENT_WINDOW_S {
        return Err(refused("reader.stale", "the proof's time is too far from the CA's"));
    }
    let gate = door.road.published().host_gate();
    let unknown = || Told::from(crate::road::Refusal::from(HostRefusal::NotEnrolled(host.clone())));
    let enrolled = gate.hosts.get(host).ok_or_else(unknown)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    proof.verify(&enrolled.key, &gate.origin, method, path).map_err(|_| unknown())?;
    Ok(enrolled.key)
}
