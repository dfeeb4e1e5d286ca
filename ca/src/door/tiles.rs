//! The log for outsiders: checkpoint and hash tiles for everyone, entry bundles for auditors
//! (C2SP tlog-tiles). Of the newest batch nothing is shown before the writer has published it, which is after the
//! second copy has it: a head that was shown and then lost with the disk would look like a fork.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use fireaxe_protocol::api::Consistency;
use fireaxe_protocol::log::tiles::{TileKind, TilePath};
use fireaxe_protocol::log::{Evidence, Hash};

use serde::Deserialize;
use tokio::sync::Semaphore;

use super::problem::{Answer, Told};
use super::{Door, evidence};
use crate::log::{LogError, Reader};
use crate::road::Refusal;

/// `GET /log/checkpoint`
pub(super) async fn checkpoint(State(door): State<Arc<Door>>) -> Answer<Response> {
    let most = published(&door);
    let note = in_log(&door, move |reader| reader.checkpoint_within(most)).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

/// Proofs that were asked for lately, and how many may be made at once. After a restart every host of a fleet
/// asks for the same one.
#[derive(Debug)]
pub struct Proofs {
    lately: Mutex<VecDeque<Proved>>,
    making: Semaphore,
}

/// Two sizes, and the proof between them.
type Proved = ((u64, u64), Arc<Vec<Hash>>);

impl Default for Proofs {
    fn default() -> Proofs {
        Proofs { lately: Mutex::default(), making: Semaphore::new(MAKING) }
    }
}

/// Proofs that are kept: 64 of at most 4 KiB.
const LATELY: usize = 64;
/// Proofs that are made at once. Each reads up to 255 entries; whoever asks at random must not keep others from
/// the log.
const MAKING: usize = 2;

impl Proofs {
    fn find(&self, of: (u64, u64)) -> Option<Arc<Vec<Hash>>> {
        let lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        lately.iter().find(|(sizes, _)| *sizes == of).map(|(_, proof)| proof.clone())
    }

    fn keep(&self, of: (u64, u64), proof: Arc<Vec<Hash>>) {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.len() >= LATELY {
            lately.pop_front();
        }
        lately.push_back((of, proof));
    }
}

/// The two sizes of a consistency proof.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sizes {
    from: u64,
    to: u64,
}

/// `GET /log/consistency?from=&to=`
pub(super) async fn consistency(
    State(door): State<Arc<Door>>,
    sizes: Result<Query<Sizes>, QueryRejection>,
) -> Answer<Json<Consistency>> {
    let Query(Sizes { from, to }) = sizes.map_err(|_| {
        Told::new(StatusCode::BAD_REQUEST, "consistency.sizes", "this takes two sizes: ?from=N&to=M")
    })?;
    let told = |proof: &Vec<Hash>| {
        Json(Consistency { schema: "fireaxe.consistency/v1".into(), from, to, proof: proof.clone() })
    };
    if let Some(proof) = door.proofs.find((from, to)) {
        return Ok(told(&proof));
    }
    // Whoever waits here finds, most often, that it was made meanwhile.
    let waited = tokio::time::timeout(PATIENCE, door.proofs.making.acquire()).await;
    let Ok(Ok(_making)) = waited else { return Err(Refusal::Busy.into()) };
    if let Some(proof) = door.proofs.find((from, to)) {
        return Ok(told(&proof));
    }
    let most = published(&door);
    let proof = in_log(&door, move |reader| match reader.consistency(from, to) {
        Ok(_) if to > most => Ok(None),
        Ok(proof) => Ok(Some(proof)),
        Err(LogError::OutOfRange) => Ok(None),
        Err(error) => Err(error),
    })
    .await?;
    let proof = Arc::new(proof.ok_or_else(|| {
        let sentence = format!("the log has no two heads of {from} and {to} entries, the smaller first");
        Told::new(StatusCode::NOT_FOUND, "consistency.unknown", sentence)
    })?);
    door.proofs.keep((from, to), proof.clone());
    Ok(told(&proof))
}

/// How long a proof is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// `GET /log/tile/...`
pub(super) async fn tile(
    State(door): State<Arc<Door>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Response> {
    let unknown = || Told::new(StatusCode::NOT_FOUND, "tile.unknown", "there is no such tile");
    let Path(path) = path.map_err(|_| unknown())?;
    let path: TilePath = format!("tile/{path}").parse().map_err(|_| unknown())?;
    if path.kind == TileKind::Entries {
        evidence::auditor(&door, &headers, &uri, Evidence::Entries).await?.tell_the_log(&door).await?;
    }
    let most = published(&door);
    let bytes = in_log(&door, move |reader| match reader.tile(&path) {
        Ok(_) if !path.is_within(most) => Ok(None),
        Ok(bytes) => Ok(Some(bytes)),
        Err(LogError::OutOfRange) => Ok(None),
        Err(error) => Err(error),
    })
    .await?;
    let mut response = bytes.ok_or_else(unknown)?.into_response();
    // A shared cache must not hand an auditor's entries to somebody else.
    let forever = HeaderValue::from_static(match path.kind {
        TileKind::Hashes(_) => "public, max-age=31536000, immutable",
        TileKind::Entries => "private, max-age=31536000, immutable",
    });
    response.headers_mut().insert(header::CACHE_CONTROL, forever);
    Ok(response)
}

/// Entries that may be shown.
fn published(door: &Door) -> u64 {
    door.road.published().health().entries
}

pub(super) async fn in_log<T: Send + 'static>(
    door: &Arc<Door>,
    read: impl FnOnce(&Reader) -> Result<T, LogError> + Send + 'static,
) -> Answer<T> {
    let door = door.clone();
    let read = tokio::task::spawn_blocking(move || {
        read(&door.reader.lock().unwrap_or_else(PoisonError::into_inner))
    });
    match read.await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            tracing::error!(event = "log.unreadable", %error);
            Err(Told::new(StatusCode::SERVICE_UNAVAILABLE, "log.unreadable", "the log cannot be read now"))
        }
        Err(_) => Err(Refusal::Stopping.into()),
    }
}
