//! The log for outsiders: checkpoint and hash tiles for everyone, entry bundles for auditors
//! (C2SP tlog-tiles).

use std::sync::{Arc, PoisonError};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use fireaxe_protocol::log::tiles::{TileKind, TilePath};
use fireaxe_protocol::policy::Role;

use super::problem::{Answer, Told};
use super::reading::Scope;
use super::{Door, reading};
use crate::log::{LogError, Reader};
use crate::road::Refusal;

/// `GET /log/checkpoint`
pub(super) async fn checkpoint(State(door): State<Arc<Door>>) -> Answer<Response> {
    let note = in_log(&door, |reader| reader.latest_checkpoint()).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

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
        let scope = reading::who(&door, &headers, "GET", &uri).await?;
        let bundle = door.road.published().gate().bundle;
        // An emergency's fresh key reads that emergency, whatever else its holder may do.
        let person = matches!(scope, Scope::Person(_));
        if !person || !bundle.roster.has_role(scope.person(), Role::Auditor) {
            return Err(Told::new(
                StatusCode::FORBIDDEN,
                "role.auditor",
                "entries are for people with the role auditor",
            ));
        }
    }
    let bytes = in_log(&door, move |reader| match reader.tile(&path) {
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

async fn in_log<T: Send + 'static>(
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
