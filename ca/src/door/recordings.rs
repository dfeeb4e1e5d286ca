//! Recordings come in as they happen: whole chunks, proved by the host's key, on the disk before the answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use fireaxe_protocol::api::ChunksTaken;
use fireaxe_protocol::limits::RECORDING_BODY;
use fireaxe_protocol::statement::Nonce;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::problem::{Answer, Told};
use super::{Door, HostTurns, reading};
use crate::recordings::RecordingFault;
use crate::road::Refusal;

/// Bodies in memory at once, one of each host: 256 of a mebibyte. Somebody must hold the keys of so many hosts
/// to keep the others out.
const IN_MEMORY: usize = 256;
/// Those of them that are written at once: a disk has no use for more.
const WRITTEN: usize = 16;
/// How long a host waits for either before it is told to come again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Turns: each host's own, those in memory, those at the disk.
#[derive(Debug)]
pub struct RecordingTurns {
    hosts: HostTurns,
    in_memory: Semaphore,
    disk: Semaphore,
}

impl Default for RecordingTurns {
    fn default() -> RecordingTurns {
        RecordingTurns {
            hosts: HostTurns::default(),
            in_memory: Semaphore::new(IN_MEMORY),
            disk: Semaphore::new(WRITTEN),
        }
    }
}

async fn one_of(turns: &Semaphore) -> Result<SemaphorePermit<'_>, Refusal> {
    let turn = tokio::time::timeout(PATIENCE, turns.acquire()).await;
    turn.ok().and_then(Result::ok).ok_or(Refusal::Busy)
}

/// The number of the first chunk.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    from: u64,
}

/// `POST /v1/hosts/{host}/recordings/{recording}?from=N`
pub(super) async fn append(
    State(door): State<Arc<Door>>,
    names: Result<Path<(String, String)>, PathRejection>,
    from: Result<Query<From>, QueryRejection>,
    headers: HeaderMap,
    uri: Uri,
    request: Request,
) -> Answer<Json<ChunksTaken>> {
    let host = reading::host(&door, &headers, "POST", &uri)?;
    let wrong = |code: &str, said: &str| Told::new(StatusCode::BAD_REQUEST, code, said);
    let name = "a recording has a random name of 32 hex digits";
    let Path((named, recording)) = names.map_err(|_| wrong("recording.name", name))?;
    let recording: Nonce = recording.parse().map_err(|_| wrong("recording.name", name))?;
    if named != host.host.as_str() {
        return Err(Refusal::NotThatHost(host.host.clone()).into());
    }
    let Query(From { from }) =
        from.map_err(|_| wrong("recording.from", "this takes the number of the first chunk: ?from=N"))?;
    let turns = &door.recording_turns;
    let _own = turns.hosts.take(&host.host)?;
    let _in_memory = one_of(&turns.in_memory).await?;
    let sent = axum::body::to_bytes(request.into_body(), RECORDING_BODY).await.map_err(|_| {
        Told::new(StatusCode::PAYLOAD_TOO_LARGE, "body.too_large", "at most 1 MiB of chunks is taken at once")
    })?;
    // Only now: a body that comes drop by drop keeps nobody from the disk.
    let _at_disk = one_of(&turns.disk).await?;
    let (store, now_ms) = (door.clone(), door.clock.now().tick_ms);
    let appended = tokio::task::spawn_blocking(move || {
        store.recordings.append(&host.host, recording, from, &sent, now_ms)
    });
    let chunks = appended.await.map_err(|_| Told::from(Refusal::Stopping))?.map_err(told)?;
    Ok(Json(ChunksTaken { schema: "fireaxe.chunks-taken/v1".into(), chunks }))
}

fn told(fault: RecordingFault) -> Told {
    let said = fault.to_string();
    match fault {
        RecordingFault::Gap { expected, .. } => {
            Told::new(StatusCode::CONFLICT, "recording.gap", said).expected(expected)
        }
        RecordingFault::Chunks(_) | RecordingFault::Number(_) | RecordingFault::Named => {
            Told::new(StatusCode::BAD_REQUEST, "recording.chunks", said)
        }
        RecordingFault::TooLarge(_) => {
            Told::new(StatusCode::INSUFFICIENT_STORAGE, "recording.too_large", said)
        }
        RecordingFault::TooMany(_) => {
            Told::new(StatusCode::INSUFFICIENT_STORAGE, "recordings.too_many", said).next(
                "the operator moves old recordings of this host elsewhere; the CA sees it within a minute",
            )
        }
        RecordingFault::Full(_) => {
            tracing::error!(event = "recordings.full", fault = %said);
            Told::new(StatusCode::INSUFFICIENT_STORAGE, "recordings.full", said)
                .next("the operator makes room on the disk of the CA's data folder, or moves old recordings elsewhere; \
                     the CA sees it within a minute")
        }
        RecordingFault::File { .. } => {
            tracing::error!(event = "recordings.failed", fault = %said);
            Told::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "recordings.unavailable",
                "the recording cannot be written now",
            )
        }
    }
}
