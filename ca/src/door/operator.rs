//! The operator's local socket: evidence about incidents, the clock, health and metrics.
//!
//! Trusted as far as its file mode: whoever can open it (the CA's own user and root) can record an
//! incident, which can raise a severity, and can confirm the clock. Both are entries that name the uid at
//! the other end of the socket, which the kernel tells (SO_PEERCRED), not the caller.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use fireaxe_protocol::log::IncidentUpdate;
use fireaxe_protocol::names::{IncidentId, ReasonText, Severity, SystemName};
use fireaxe_protocol::policy::IncidentState;
use serde::{Deserialize, Serialize};

use super::emergencies::{Bytes, body};
use super::problem::{Answer, Told};
use super::{Door, FleetCounts};

/// What came of an operator's request: the entry that records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedAnswer {
    /// `fireaxe.recorded/v1`
    pub schema: String,
    /// Index of the entry.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: fireaxe_protocol::log::Hash,
    /// Its time, unix seconds.
    pub at: u64,
}

/// Who is at the other end of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The process's user id.
    pub uid: u32,
}

impl Peer {
    pub(super) fn name(self) -> String {
        format!("operator uid {}", self.uid)
    }
}

/// What the operator says of an incident: an [`IncidentUpdate`] without who says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentReport {
    /// The tracker's id.
    pub incident: IncidentId,
    /// Going on, or over.
    pub state: IncidentState,
    /// How bad.
    pub severity: Severity,
    /// The systems it touches.
    pub systems: Vec<SystemName>,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<ReasonText>,
}

/// Confirms the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockConfirmation {
    /// Why it is right now.
    pub reason: ReasonText,
}

/// `POST /operator/incidents`
pub(super) async fn incident(
    State(door): State<Arc<Door>>,
    Extension(peer): Extension<Peer>,
    bytes: Bytes,
) -> Answer<Json<RecordedAnswer>> {
    let IncidentReport { incident, state, severity, mut systems, title } = body(bytes)?;
    systems.sort();
    systems.dedup();
    if systems.is_empty() {
        return Err(Told::new(
            StatusCode::BAD_REQUEST,
            "incident.no_system",
            "an incident names at least one system",
        ));
    }
    let update = IncidentUpdate { incident, state, severity, systems, title, by: peer.name() };
    Ok(recorded(door.road.incident(update).await?))
}

/// `POST /operator/clock`
pub(super) async fn clock(
    State(door): State<Arc<Door>>,
    Extension(peer): Extension<Peer>,
    bytes: Bytes,
) -> Answer<Json<RecordedAnswer>> {
    let confirmation: ClockConfirmation = body(bytes)?;
    Ok(recorded(door.road.clock_corrected(confirmation.reason, peer.name()).await?))
}

pub(super) fn recorded(recorded: crate::road::Recorded) -> Json<RecordedAnswer> {
    let crate::road::Recorded { index, leaf, at } = recorded;
    Json(RecordedAnswer { schema: "fireaxe.recorded/v1".into(), index, leaf, at })
}

/// `GET /healthz`: 200 when the CA can issue, 503 when not, with why.
pub(super) async fn healthz(State(door): State<Arc<Door>>) -> Response {
    let health = door.road.published().health();
    let status = if health.can_issue() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let told = serde_json::json!({
        "schema": "fireaxe.health/v1",
        "entries": health.entries,
        "open": health.open,
        "log": if health.log_ok { "ok" } else { "cannot be written" },
        "clock": if health.clock_ok { "ok" } else { "jumped" },
        "mirror": if health.mirror_ok { "ok" } else { "cannot be written" },
        "fence": door.road.published().fence().now().map_or_else(|| "open".to_owned(), |why| why.to_string()),
        "witnesses": if health.witnesses_ok { "ok" } else { "ahead of this log" },
    });
    (status, Json(told)).into_response()
}

/// `GET /metrics`: OpenMetrics text.
pub(super) async fn metrics(State(door): State<Arc<Door>>) -> Answer<Response> {
    let health = door.road.published().health();
    let FleetCounts { enrolled, following, confirmed, stale, ahead, missing } = door.fleet.counts(&door);
    door.metrics.fleet([enrolled, following, confirmed, stale, ahead]);
    door.metrics.missing(missing);
    let text = door.metrics.text(&health, door.road.published().shadow()).ok_or_else(|| {
        Told::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the metrics cannot be written")
    })?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(axum::http::header::CONTENT_TYPE, kind)], text).into_response())
}
