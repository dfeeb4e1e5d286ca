//! Recordings as auditors read them: the list, and the bytes of one as its host sent them. Who may is `evidence.rs`.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use fireaxe_protocol::api::{RecordingLine, RecordingState, Recordings};
use fireaxe_protocol::limits::RECORDINGS_LISTED;
use fireaxe_protocol::log::Evidence;
use fireaxe_protocol::names::{EmergencyId, HostName};
use fireaxe_protocol::statement::Nonce;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::problem::{Answer, Told};
use super::{Door, evidence};
use crate::road::Refusal;
use crate::views::{ReportedRecording, ViewError};

/// Recordings of one answer that are looked at; of those that are not of the emergency asked for, none is shown.
const LOOKED_AT: usize = 4 * RECORDINGS_LISTED;
/// Bytes of a recording in memory for each that is read.
const PIECE: u64 = 64 * 1024;

/// Which.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    emergency: Option<String>,
    after: Option<String>,
}

/// A recording's host and its own name.
type Name = (HostName, Nonce);

/// `GET /v1/recordings?emergency=EM-42&after=HOST/NAME`
pub(super) async fn list(
    State(door): State<Arc<Door>>,
    which: Result<Query<Which>, QueryRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Json<Recordings>> {
    let auditor = evidence::auditor(&door, &headers, &uri, Evidence::Recordings).await?;
    let wrong = || {
        let said = "this takes ?emergency=EM-42 and ?after=HOST/NAME, both or either or none";
        Told::new(StatusCode::BAD_REQUEST, "recordings.which", said)
    };
    let Query(Which { emergency, after }) = which.map_err(|_| wrong())?;
    let only: Option<EmergencyId> = emergency.map(|id| id.parse().map_err(|_| wrong())).transpose()?;
    let after = after.map(|after| name_of(&after).ok_or_else(wrong)).transpose()?;
    auditor.tell_the_log(&door).await?;
    let here = door.clone();
    let page = tokio::task::spawn_blocking(move || page(&here, only, after.as_ref()));
    match page.await {
        Ok(Ok((recordings, next))) => {
            let next = next.map(|(host, name)| format!("{host}/{name}"));
            Ok(Json(Recordings { schema: "fireaxe.recordings/v1".into(), recordings, next }))
        }
        Ok(Err(error)) => {
            tracing::error!(event = "views.failed", %error);
            let said = "the lists cannot be read now";
            Err(Told::new(StatusCode::SERVICE_UNAVAILABLE, "views.unavailable", said))
        }
        Err(_) => Err(Refusal::Stopping.into()),
    }
}

fn name_of(text: &str) -> Option<Name> {
    let (host, name) = text.split_once('/')?;
    Some((host.parse().ok()?, name.parse().ok()?))
}

/// One page of what was reported or is on disk, in order, and where the next begins.
fn page(
    door: &Door,
    only: Option<EmergencyId>,
    after: Option<&Name>,
) -> Result<(Vec<RecordingLine>, Option<Name>), ViewError> {
    let mut reported = BTreeMap::new();
    let known = {
        let reader = door.reader.lock().unwrap_or_else(PoisonError::into_inner);
        door.views.recordings(&reader, after, only, RECORDINGS_LISTED)?
    };
    // Beyond the last of a full answer there may be others that belong before what is on disk.
    let mut horizon = known.last().filter(|_| known.len() == RECORDINGS_LISTED).map(name);
    for one in known {
        reported.insert(name(&one), one);
    }
    let on_disk = door.recordings.names(after, LOOKED_AT);
    if on_disk.len() == LOOKED_AT
        && let Some(last) = on_disk.last()
    {
        horizon = Some(horizon.map_or(last.clone(), |horizon| horizon.min(last.clone())));
    }
    let mut all: BTreeMap<Name, Option<ReportedRecording>> =
        on_disk.into_iter().map(|name| (name, None)).collect();
    all.extend(reported.into_iter().map(|(name, one)| (name, Some(one))));
    let mut lines = Vec::new();
    for (name, known) in all {
        if horizon.as_ref().is_some_and(|horizon| name > *horizon) {
            break;
        }
        let line = line(door, &name, known)?;
        if only.is_none() || line.emergency == only {
            lines.push(line);
        }
        if lines.len() == RECORDINGS_LISTED {
            return Ok((lines, Some(name)));
        }
    }
    Ok((lines, horizon))
}

fn name(of: &ReportedRecording) -> Name {
    (of.host.clone(), of.reported.recording)
}

fn line(
    door: &Door,
    (host, name): &Name,
    known: Option<ReportedRecording>,
) -> Result<RecordingLine, ViewError> {
    let bytes = door.recordings.bytes(host, *name);
    let known = match known {
        Some(known) => Some(known),
        // One of another emergency, or one that nobody has reported.
        None => {
            let reader = door.reader.lock().unwrap_or_else(PoisonError::into_inner);
            door.views.recording(&reader, host, *name)?
        }
    };
    let emergency = match &known {
        Some(known) => known.emergency,
        None => match door.recordings.header(host, *name) {
            Some(header) => {
                let reader = door.reader.lock().unwrap_or_else(PoisonError::into_inner);
                door.views.emergency_of(&reader, host, header.connection)?
            }
            None => None,
        },
    };
    let state = match (&known, bytes) {
        (Some(known), _) if known.expired => RecordingState::Expired,
        (Some(_), Some(_)) => RecordingState::Reported,
        (Some(_), None) => RecordingState::Missing,
        (None, _) => RecordingState::NotReported,
    };
    let reported = known.map(|known| known.reported);
    let (host, recording) = (host.clone(), *name);
    Ok(RecordingLine { host, recording, state, emergency, bytes: bytes.unwrap_or(0), reported })
}

/// From which byte on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    #[serde(default)]
    from: u64,
}

/// `GET /v1/recordings/{host}/{recording}?from=BYTE`
pub(super) async fn one(
    State(door): State<Arc<Door>>,
    names: Result<Path<(String, String)>, PathRejection>,
    from: Result<Query<From>, QueryRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Response> {
    let unknown = || Told::new(StatusCode::NOT_FOUND, "recording.unknown", "there is no such recording here");
    let named = names.ok().and_then(|Path((host, name))| name_of(&format!("{host}/{name}")));
    // Who may not read learns nothing of names, and the log says what they asked for only if it has a name.
    let what = named
        .clone()
        .map_or(Evidence::Recordings, |(host, recording)| Evidence::Recording { host, recording });
    let auditor = evidence::auditor(&door, &headers, &uri, what).await?;
    let (host, name) = named.ok_or_else(unknown)?;
    let Query(From { from }) = from.map_err(|_| {
        Told::new(StatusCode::BAD_REQUEST, "recording.from", "this takes the first byte: ?from=N")
    })?;
    let place = door.sessions.accesses.place()?;
    let here = door.clone();
    let opened = tokio::task::spawn_blocking(move || match here.recordings.open(&host, name)? {
        Some(file) => file.metadata().map(|found| Some((file, found.len()))),
        None => Ok(None),
    });
    let opened = opened.await.map_err(|_| Told::from(Refusal::Stopping))?;
    // Of what is not here nothing is told but that: there is nothing to read. Of what is here its length is
    // already something, and the log has it first.
    let (file, size) = opened.map_err(unavailable)?.ok_or_else(unknown)?;
    let told = auditor.tell_the_log(&door).await?;
    if from > size {
        let said = format!("the recording has {size} bytes so far");
        return Err(Told::new(StatusCode::RANGE_NOT_SATISFIABLE, "recording.range", said));
    }
    let pieces = Pieces { door, told, file: Arc::new(file), at: from, end: size, _place: place };
    let mut response = Body::from_stream(stream::try_unfold(pieces, Pieces::next)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size - from));
    Ok(response)
}

fn unavailable(error: std::io::Error) -> Told {
    tracing::error!(event = "recordings.failed", fault = %error);
    Told::new(StatusCode::SERVICE_UNAVAILABLE, "recordings.unavailable", "the recording cannot be read now")
}

/// A recording that is being handed out, up to where it came when it was asked for.
struct Pieces {
    door: Arc<Door>,
    told: evidence::Told,
    file: Arc<File>,
    at: u64,
    end: u64,
    _place: OwnedSemaphorePermit,
}

impl Pieces {
    /// The next one; an error cuts the connection, so that nobody takes a part for the whole.
    async fn next(mut self) -> Result<Option<(Bytes, Pieces)>, std::io::Error> {
        if self.at >= self.end {
            return Ok(None);
        }
        if !self.told.still(&self.door) {
            return Err(std::io::Error::other("they may not read it any longer"));
        }
        let (file, at) = (self.file.clone(), self.at);
        let length = usize::try_from(PIECE.min(self.end - at)).unwrap_or(0);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at).map(|()| bytes)
        });
        let bytes = read.await.map_err(std::io::Error::other)??;
        self.at += length as u64;
        Ok(Some((bytes.into(), self)))
    }
}
