//! What happens to an emergency, as it happens: server-sent events (WHATWG HTML, 9.2). Each says that
//! an entry about it is in the log; what changed is read from the grant.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use fireaxe_protocol::api::Progress;
use fireaxe_protocol::names::EmergencyId;
use futures_util::Stream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use super::emergencies::number;
use super::problem::{Answer, Told};
use super::{Door, reading};

/// Watchers at once: each holds one of the CA's connections, and others must find one too.
const WATCHERS: usize = 1024;
/// A comment after so long without an event: a connection that is gone is noticed.
const ALIVE: Duration = Duration::from_secs(10);

/// How many may watch at once.
#[derive(Debug, Clone)]
pub struct Watchers(Arc<Semaphore>);

impl Default for Watchers {
    fn default() -> Watchers {
        Watchers(Arc::new(Semaphore::new(WATCHERS)))
    }
}

/// `GET /v1/emergencies/{id}/events`
pub(super) async fn watch(
    State(door): State<Arc<Door>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let id = number(id)?;
    let scope = reading::who(&door, &headers, "GET", &uri).await?;
    reading::about(&scope, id)?;
    let place = door.watchers.0.clone().try_acquire_owned().map_err(|_| {
        Told::new(StatusCode::SERVICE_UNAVAILABLE, "ca.busy", "too many are watching already")
            .next("ask again from time to time: fireaxe status")
    })?;
    let watching = Watching { id, changes: door.road.published().changes(), _place: place };
    let events = futures_util::stream::unfold(watching, |mut watching| async move {
        let entry = watching.next().await?;
        let progress = Progress { schema: "fireaxe.progress/v1".into(), emergency: watching.id, entry };
        let event = Event::default().json_data(progress).ok()?;
        Some((Ok(event), watching))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)))
}

struct Watching {
    id: EmergencyId,
    changes: broadcast::Receiver<(EmergencyId, u64)>,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    /// The next entry about it. One that fell behind is told that something happened: 0 names no entry.
    async fn next(&mut self) -> Option<u64> {
        loop {
            match self.changes.recv().await {
                Ok((id, entry)) if id == self.id => return Some(entry),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Some(0),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
