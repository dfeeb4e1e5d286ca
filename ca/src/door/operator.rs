//! The operator's local socket: evidence about incidents, the clock, health and metrics.
//!
//! Trusted as far as its file mode: whoever can open it (the CA's own user and root) can record an
//! incident, which can raise a severity, and can confirm the clock. Both are entries that name them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fireaxe_protocol::log::IncidentUpdate;
use fireaxe_protocol::names::ReasonText;
use serde::{Deserialize, Serialize};

use super::Door;
use super::emergencies::{Bytes, body};
use super::problem::{Answer, Told};

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

/// `operator uid 4294967295` or a tracker's name.
const BY: usize = 64;

/// Confirms the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockConfirmation {
    /// Why it is right now.
    pub reason: ReasonText,
}

/// `POST /operator/incidents`
pub(super) async fn incident(State(door): State<Arc<Door>>, bytes: Bytes) -> Answer<Json<RecordedAnswer>> {
    let mut update: IncidentUpdate = body(bytes)?;
    update.systems.sort();
    update.systems.dedup();
    if update.systems.is_empty() {
        return Err(Told::new(
            StatusCode::BAD_REQUEST,
            "incident.no_system",
            "an incident names at least one system",
        ));
    }
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    if update.by.is_empty() || update.by.len() > BY || !update.by.chars().all(plain) {
        return Err(Told::new(
            StatusCode::BAD_REQUEST,
            "incident.by",
            format!("who reports an incident is 1 to {BY} printable ASCII characters"),
        ));
    }
    Ok(recorded(door.road.incident(update).await?))
}

/// `POST /operator/clock`
pub(super) async fn clock(State(door): State<Arc<Door>>, bytes: Bytes) -> Answer<Json<RecordedAnswer>> {
    let confirmation: ClockConfirmation = body(bytes)?;
    Ok(recorded(door.road.clock_corrected(confirmation.reason).await?))
}

fn recorded(recorded: crate::road::Recorded) -> Json<RecordedAnswer> {
    let crate::road::Recorded { index, leaf, at } = recorded;
    Json(RecordedAnswer { schema: "fireaxe.recorded/v1".into(), index, leaf, at })
}

/// `GET /healthz`: 200 when the CA can issue, 503 when not, with why.
pub(super) async fn healthz(State(door): State<Arc<Door>>) -> Response {
    let health = door.road.published().health();
    let status =
        if health.log_ok && health.clock_ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let told = serde_json::json!({
        "schema": "fireaxe.health/v1",
        "entries": health.entries,
        "open": health.open,
        "log": if health.log_ok { "ok" } else { "cannot be written" },
        "clock": if health.clock_ok { "ok" } else { "jumped" },
    });
    (status, Json(told)).into_response()
}

/// `GET /metrics`: OpenMetrics text.
pub(super) async fn metrics(State(door): State<Arc<Door>>) -> Answer<Response> {
    let health = door.road.published().health();
    let text = door.metrics.text(&health).ok_or_else(|| {
        Told::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the metrics cannot be written")
    })?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(axum::http::header::CONTENT_TYPE, kind)], text).into_response())
}
