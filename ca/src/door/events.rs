//! What happens to an emergency, as it happens: server-sent events (WHATWG HTML, 9.2). Each says that
//! an entry about it is in the log; what changed is read from the grant.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use fireaxe_protocol::api::Progress;
use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::names::{EmergencyId, PersonName};
use futures_util::Stream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::{Interval, MissedTickBehavior};

use super::emergencies::number;
use super::places::ConnectionPlace;
use super::problem::{Answer, Told};
use super::reading::Scope;
use super::{Door, reading};
use crate::road::{Change, Refusal};

/// Watchers at once: each holds one of the CA's connections, and others must find one too.
const WATCHERS: usize = 1024;
/// Of one person: a client, a console and a few more on the night's emergencies.
const EACH: usize = 8;
/// A comment after so long without an event: a connection that is gone is noticed. As often it is asked whether
/// its reader still may.
const ALIVE: Duration = Duration::from_secs(10);

/// How many may watch at once, all and each person.
#[derive(Debug, Clone)]
pub struct Watchers {
    all: Arc<Semaphore>,
    by_person: Arc<Mutex<HashMap<PersonName, usize>>>,
}

impl Default for Watchers {
    fn default() -> Watchers {
        Watchers { all: Arc::new(Semaphore::new(WATCHERS)), by_person: Arc::default() }
    }
}

/// A place of a person among those who watch, free again when it is dropped.
#[derive(Debug)]
struct Place {
    _one_of_all: OwnedSemaphorePermit,
    person: PersonName,
    by_person: Arc<Mutex<HashMap<PersonName, usize>>>,
}

impl Watchers {
    /// A place for `person`, a canonical name: nobody takes two people's.
    fn take(&self, person: PersonName) -> Answer<Place> {
        let one_of_all = self.all.clone().try_acquire_owned().map_err(|_| {
            Told::new(StatusCode::SERVICE_UNAVAILABLE, "ca.busy", "too many are watching already")
                .next("ask again from time to time: fireaxe status")
        })?;
        let mut by_person = self.by_person.lock().unwrap_or_else(PoisonError::into_inner);
        let held = by_person.entry(person.clone()).or_insert(0);
        if *held >= EACH {
            let sentence =
                format!("{person} watches {EACH} emergencies already, which is all that one person may");
            return Err(Told::new(StatusCode::TOO_MANY_REQUESTS, "reader.too_many", sentence)
                .next("end one that you watch, or ask from time to time: fireaxe status"));
        }
        *held = held.saturating_add(1);
        Ok(Place { _one_of_all: one_of_all, person, by_person: self.by_person.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_person = self.by_person.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = by_person.get_mut(&self.person) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                by_person.remove(&self.person);
            }
        }
    }
}

/// `GET /v1/emergencies/{id}/events`
pub(super) async fn watch(
    State(door): State<Arc<Door>>,
    id: Result<Path<String>, PathRejection>,
    connection: Option<Extension<ConnectionPlace>>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let id = number(id)?;
    let scope = reading::who(&door, &headers, "GET", &uri).await?;
    reading::about(&scope, id)?;
    let key = reading::key_of(&headers).ok_or(Refusal::UnknownReader)?;
    let person = door.road.published().gate().bundle.roster.canonical(scope.person()).clone();
    let place = door.watchers.take(person)?;
    if let Some(Extension(connection)) = connection {
        connection.watched();
    }
    // Before it is asked whether there is something to watch: what ends it in between is not missed.
    let changes = door.road.published().changes();
    door.road.is_live(id).await?;
    let mut look = tokio::time::interval(ALIVE);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watching = Watching { door, key, scope, id, changes, look, over: false, _place: place };
    let events = futures_util::stream::unfold(watching, |mut watching| async move {
        let entry = watching.next().await?;
        let progress = Progress { schema: "fireaxe.progress/v1".into(), emergency: watching.id, entry };
        let event = Event::default().json_data(progress).ok()?;
        Some((Ok(event), watching))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)))
}

struct Watching {
    door: Arc<Door>,
    key: Fingerprint,
    scope: Scope,
    id: EmergencyId,
    changes: broadcast::Receiver<Change>,
    look: Interval,
    over: bool,
    _place: Place,
}

impl Watching {
    /// The next entry about it. One that fell behind is told that something happened: 0 names no entry. The
    /// end comes after the entry that ended it, and once its reader may read no more.
    async fn next(&mut self) -> Option<u64> {
        while !self.over {
            let change = tokio::select! {
                change = self.changes.recv() => Some(change),
                _ = self.look.tick() => None,
            };
            if matches!(change, Some(Ok(change)) if change.emergency != self.id) {
                continue;
            }
            if !reading::still(&self.door, &self.key, &self.scope) {
                return None;
            }
            match change {
                Some(Ok(change)) => {
                    self.over = change.over;
                    return Some(change.entry);
                }
                None => {}
                Some(Err(RecvError::Lagged(_))) => {
                    let live = self.door.road.is_live(self.id).await;
                    self.over = matches!(live, Err(Refusal::Closed(_)));
                    return Some(0);
                }
                Some(Err(RecvError::Closed)) => return None,
            }
        }
        None
    }
}
