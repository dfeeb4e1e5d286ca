//! What waits for people: second signatures, approvals, refusals, extensions, reviews; and what they read
//! for it.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::{Extension, Json};
use fireaxe_protocol::api::{
    Approved, Grant, Narrowed, RequestCard, RequestRefused, Requests, Reviewed, Seconded,
};
use fireaxe_protocol::names::{EmergencyId, HostName, NameError};
use fireaxe_protocol::statement::{Envelope, Kind};

use super::Door;
use super::emergencies::{Bytes, body, network, number};
use super::listen::PeerAddress;
use super::problem::{Answer, Told};
use super::reading::{self, Scope};
use crate::road::{Internal, Refusal, Said};

type Id = Result<Path<String>, PathRejection>;

/// Takes a statement of this kind to the road.
async fn say(
    door: &Door,
    id: EmergencyId,
    kind: Kind,
    from: Option<Extension<PeerAddress>>,
    bytes: Bytes,
) -> Answer<Said> {
    let envelope: Envelope = body(bytes)?;
    let known = door.road.published().gate().know(envelope, kind)?.from_network(network(from));
    let said = door.road.say(id, known).await.map_err(Told::from);
    door.metrics.said(kind.as_str(), said.as_ref().map_or_else(|told| told.code(), |_| "ok"));
    said
}

/// The road answers each kind of statement in its own way; another answer is a fault of ours.
fn other() -> Told {
    Refusal::from(Internal::Fold("another answer than the statement has".to_owned())).into()
}

/// `POST /v1/emergencies/{id}/seconds`
pub(super) async fn second(
    State(door): State<Arc<Door>>,
    id: Id,
    from: Option<Extension<PeerAddress>>,
    bytes: Bytes,
) -> Answer<Json<Seconded>> {
    let emergency = number(id)?;
    match say(&door, emergency, Kind::Second, from, bytes).await? {
        Said::Seconded { entry } => {
            Ok(Json(Seconded { schema: "fireaxe.seconded/v1".into(), emergency, entry }))
        }
        _ => Err(other()),
    }
}

/// `POST /v1/emergencies/{id}/approvals`
pub(super) async fn approve(
    State(door): State<Arc<Door>>,
    id: Id,
    from: Option<Extension<PeerAddress>>,
    bytes: Bytes,
) -> Answer<Json<Approved>> {
    let emergency = number(id)?;
    match say(&door, emergency, Kind::Approve, from, bytes).await? {
        Said::Approved { of, entry, missing } => {
            Ok(Json(Approved { schema: "fireaxe.approved/v1".into(), emergency, of, entry, missing }))
        }
        _ => Err(other()),
    }
}

/// `POST /v1/emergencies/{id}/refusals`
pub(super) async fn refuse(
    State(door): State<Arc<Door>>,
    id: Id,
    from: Option<Extension<PeerAddress>>,
    bytes: Bytes,
) -> Answer<Json<RequestRefused>> {
    let emergency = number(id)?;
    match say(&door, emergency, Kind::Refuse, from, bytes).await? {
        Said::Refused { of, entry } => {
            Ok(Json(RequestRefused { schema: "fireaxe.refused/v1".into(), emergency, of, entry }))
        }
        _ => Err(other()),
    }
}

/// `POST /v1/emergencies/{id}/extensions`
pub(super) async fn extend(
    State(door): State<Arc<Door>>,
    id: Id,
    from: Option<Extension<PeerAddress>>,
    bytes: Bytes,
) -> Answer<Json<Grant>> {
    let emergency = number(id)?;
    match say(&door, emergency, Kind::Extend, from, bytes).await? {
        // The certificate is signed as for every later reading of it.
        Said::Extended { .. } => Ok(Json(*door.road.grant(emergency).await?)),
        _ => Err(other()),
    }
}

/// `POST /v1/emergencies/{id}/review`
pub(super) async fn review(
    State(door): State<Arc<Door>>,
    id: Id,
    from: Option<Extension<PeerAddress>>,
    bytes: Bytes,
) -> Answer<Json<Reviewed>> {
    let emergency = number(id)?;
    match say(&door, emergency, Kind::Review, from, bytes).await? {
        Said::Reviewed { entry } => {
            Ok(Json(Reviewed { schema: "fireaxe.reviewed/v1".into(), emergency, entry }))
        }
        _ => Err(other()),
    }
}

/// `GET /v1/emergencies/{id}/grant`: for the holder of its fresh key, and for whoever declared it.
pub(super) async fn grant(
    State(door): State<Arc<Door>>,
    id: Id,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Json<Grant>> {
    let id = number(id)?;
    let scope = reading::who(&door, &headers, "GET", &uri).await?;
    reading::about(&scope, id)?;
    let grant = door.road.grant(id).await?;
    // A certificate is good for nothing without its key; what it says of its holder is theirs all the same.
    if let Scope::Person(reader) = &scope {
        let gate = door.road.published().gate();
        if !door.road.is_requester(id, gate.bundle.roster.canonical(reader).clone()).await? {
            return Err(Told::new(
                StatusCode::FORBIDDEN,
                "emergency.not_yours",
                format!("{reader} did not declare {id}"),
            )
            .next(format!("fireaxe approve {id}   (shows what waits)")));
        }
    }
    Ok(Json(*grant))
}

/// `POST /v1/emergencies/{id}/certificates/{host}`: for the holder of its fresh key, nobody else. There is no
/// body and no statement: it gives nothing that the key does not open already.
pub(super) async fn narrow(
    State(door): State<Arc<Door>>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Json<Narrowed>> {
    let (id, host) = match path {
        Ok(Path((id, host))) => (number(Ok(Path(id)))?, host),
        Err(rejection) => (number(Err(rejection))?, String::new()),
    };
    let host: HostName = host.parse().map_err(|wrong: NameError| {
        Told::new(StatusCode::BAD_REQUEST, "host.name", wrong.to_string()).next("fireaxe why HOST")
    })?;
    let scope = reading::who(&door, &headers, "POST", &uri).await?;
    reading::about(&scope, id)?;
    match scope {
        Scope::Emergency(..) => Ok(Json(*door.road.narrow(id, host).await?)),
        Scope::Person(_) => Err(Told::new(
            StatusCode::FORBIDDEN,
            "reader.other_key",
            format!("only the key of {id} itself asks for a certificate over it"),
        )
        .next("fireaxe status")),
    }
}

/// `GET /v1/emergencies/{id}/request`: for every person of the roster.
pub(super) async fn card(
    State(door): State<Arc<Door>>,
    id: Id,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Json<RequestCard>> {
    let id = number(id)?;
    let scope = reading::who(&door, &headers, "GET", &uri).await?;
    reading::about(&scope, id)?;
    Ok(Json(*door.road.card(id, scope.person().clone()).await?))
}

/// `GET /v1/requests`
pub(super) async fn list(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Json<Requests>> {
    match reading::who(&door, &headers, "GET", &uri).await? {
        Scope::Person(reader) => Ok(Json(*door.road.requests(reader).await?)),
        Scope::Emergency(..) => Err(Told::new(
            StatusCode::FORBIDDEN,
            "reader.other_emergency",
            "this key reads its own emergency only",
        )
        .next("fireaxe approve   (logs in by itself)")),
    }
}
