//! Declaring, closing and listing emergencies.

use std::sync::Arc;

use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use fireaxe_protocol::api::{Certificates, Closed, Emergencies, Emergency, Opened};
use fireaxe_protocol::log::Event;
use fireaxe_protocol::names::{EmergencyId, shown};
use fireaxe_protocol::policy::Cidr;
use fireaxe_protocol::statement::{Envelope, Kind};

use super::listen::PeerAddress;
use super::problem::{Answer, Told};
use super::reading::{self, Scope};
use super::{Door, problem};
use crate::road::{Opening, Refusal};

/// A body as the routes get it.
pub(super) type Bytes = Result<axum::body::Bytes, BytesRejection>;

/// Reads a JSON body, or says what is wrong with it.
pub(super) fn body<T: serde::de::DeserializeOwned>(bytes: Bytes) -> Answer<T> {
    let bytes = bytes.map_err(|rejection| {
        let status = rejection.status();
        let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "body.too_large" } else { "body.unreadable" };
        Told::new(status, code, "the body is longer than this takes, or it broke off")
    })?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Told::new(
            StatusCode::BAD_REQUEST,
            "body.unreadable",
            // It may quote a key of the body.
            format!("the body is not the JSON this takes: {}", shown(&e.to_string())),
        )
    })
}

/// `POST /v1/emergencies`
pub(super) async fn declare(
    State(door): State<Arc<Door>>,
    from: Option<Extension<PeerAddress>>,
    bytes: Bytes,
) -> Answer<Response> {
    let told = declared(&door, from, bytes).await;
    door.metrics.declared(told.as_ref().map_or_else(|t| t.code(), |_| "opened"));
    told
}

async fn declared(door: &Door, from: Option<Extension<PeerAddress>>, bytes: Bytes) -> Answer<Response> {
    let envelope: Envelope = body(bytes)?;
    let known = door.road.published().gate().know(envelope, Kind::Declare)?.from_network(network(from));
    let opening = door.road.declare(known).await?;
    let status = if opening.certificate.is_none() {
        StatusCode::ACCEPTED
    } else if opening.first {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let opened = opened(door, *opening).ok_or(problem::Told::from(Refusal::Stopping))?;
    Ok((status, Json(opened)).into_response())
}

fn opened(door: &Door, opening: Opening) -> Option<Opened> {
    let Event::EmergencyDeclared { emergency, facts, decision, hosts, link_by, .. } = opening.declared else {
        return None;
    };
    let bundle = door.road.published().gate().bundle;
    let owner = bundle.policy.system(&facts.target.system).map(|s| s.owner.value.to_string());
    let terms = decision.terms_now().cloned();
    let incident = decision.rests_on(&facts).map(|i| (i.id.clone(), i.age_s));
    Some(Opened {
        schema: "fireaxe.opened/v1".into(),
        emergency,
        declaration: opening.leaf,
        system: facts.target.system,
        host: facts.target.host,
        hosts,
        owner,
        incident,
        link_by,
        waiting: opening.waiting,
        valid_before: terms.as_ref().map(|t| opening.at + u64::from(t.lifetime_s)),
        terms,
        certificate: opening.certificate,
        decision,
    })
}

/// `POST /v1/emergencies/{id}/closure`
pub(super) async fn close(
    State(door): State<Arc<Door>>,
    id: Result<Path<String>, PathRejection>,
    bytes: Bytes,
) -> Answer<Json<Closed>> {
    let id = number(id)?;
    let envelope: Envelope = body(bytes)?;
    let known = door.road.published().gate().know(envelope, Kind::Close)?;
    let closed = door.road.close(id, known).await?;
    Ok(Json(Closed {
        schema: "fireaxe.closed/v1".into(),
        emergency: closed.emergency,
        revoked: closed.revoked,
        entry: closed.entry,
    }))
}

/// `GET /v1/emergencies`
pub(super) async fn list(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Json<Emergencies>> {
    let scope = reading::who(&door, &headers, "GET", &uri).await?;
    let only = match &scope {
        Scope::Person(_) => None,
        Scope::Emergency(_, id) => Some(*id),
    };
    let now = door.clock.now().wall_s;
    let emergencies = in_views(&door, move |views, reader| views.emergencies(reader, only, now)).await?;
    Ok(Json(Emergencies { schema: "fireaxe.emergencies/v1".into(), emergencies }))
}

/// `GET /v1/emergencies/{id}`
pub(super) async fn one(
    State(door): State<Arc<Door>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Json<Emergency>> {
    let id = number(id)?;
    let scope = reading::who(&door, &headers, "GET", &uri).await?;
    reading::about(&scope, id)?;
    let now = door.clock.now().wall_s;
    let found = in_views(&door, move |views, reader| views.emergencies(reader, Some(id), now)).await?;
    found.into_iter().next().map(Json).ok_or_else(|| Refusal::UnknownEmergency(id).into())
}

/// `GET /v1/certificates`
pub(super) async fn certificates(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Json<Certificates>> {
    let scope = reading::who(&door, &headers, "GET", &uri).await?;
    let only = match &scope {
        Scope::Person(_) => None,
        Scope::Emergency(_, id) => Some(*id),
    };
    let certificates = in_views(&door, move |views, reader| views.certificates(reader, only)).await?;
    Ok(Json(Certificates { schema: "fireaxe.certificates/v1".into(), certificates }))
}

/// Reads the views off the async threads: they are SQLite.
pub(super) async fn in_views<T: Send + 'static>(
    door: &Arc<Door>,
    read: impl FnOnce(&crate::views::Views, &crate::log::Reader) -> Result<T, crate::views::ViewError>
    + Send
    + 'static,
) -> Answer<T> {
    let door = door.clone();
    let read = tokio::task::spawn_blocking(move || {
        let reader = door.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        read(&door.views, &reader)
    });
    match read.await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            tracing::error!(event = "views.failed", %error);
            Err(Told::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "views.unavailable",
                "the lists cannot be read now",
            ))
        }
        Err(_) => Err(Refusal::Stopping.into()),
    }
}

/// The network that a request came from.
pub(super) fn network(from: Option<Extension<PeerAddress>>) -> Option<Cidr> {
    from.map(|Extension(PeerAddress(address))| Cidr::network_of(address))
}

pub(super) fn number(path: Result<Path<String>, PathRejection>) -> Answer<EmergencyId> {
    let wrong = |said: String| Told::new(StatusCode::BAD_REQUEST, "emergency.name", said).next("fireaxe ls");
    let Path(text) = path.map_err(|_| wrong("an emergency is named like EM-42".into()))?;
    text.parse().map_err(|e: fireaxe_protocol::names::NameError| wrong(e.to_string()))
}
