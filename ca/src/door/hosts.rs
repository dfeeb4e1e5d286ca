//! What hosts fetch: the keys, and the revocation list with its signed note. Open to everyone.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use fireaxe_protocol::api::Keys;
use fireaxe_protocol::log::{Hash, KrlNote, NoteKey, NoteSigner};

use super::Door;
use super::problem::{Answer, Told};
use crate::road::RevocationView;

/// The header that carries the list's note, base64.
const NOTE: &str = "fireaxe-krl-note";

/// How old the note's time may become before it is signed anew, seconds. Hosts measure freshness by it.
const RENEW_S: u64 = 30;

/// The revocation list as last made, and the key that signs its note.
pub struct RevocationList {
    signer: NoteSigner,
    made: Mutex<Option<Made>>,
}

/// A list with its note.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) view: Arc<RevocationView>,
    at: u64,
    pub(super) krl: axum::body::Bytes,
    /// Base64.
    pub(super) note: HeaderValue,
    etag: HeaderValue,
}

impl RevocationList {
    /// `signer` signs the notes, under the name `<origin>/krl`.
    pub fn new(signer: NoteSigner) -> RevocationList {
        RevocationList { signer, made: Mutex::new(None) }
    }

    /// The newest, with a note that is not older than [`RENEW_S`].
    pub(super) fn current(&self, door: &Door) -> Option<Made> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: whoever waited for it must not put an older list in a newer one's place.
        let view = door.road.published().revocations();
        let now = door.clock.now().wall_s;
        if let Some(made) = &*made
            && made.view == view
            && now.saturating_sub(made.at) < RENEW_S
        {
            return Some(made.clone());
        }
        // Time may step back a little; a list never does.
        let at = made.as_ref().map_or(now, |made| made.at.max(now));
        let gate = door.road.published().gate();
        let user_ca = door.road.published().keys().user_ca;
        let krl = view.list(user_ca);
        let hash = Hash::of(&krl);
        let note = KrlNote { origin: gate.origin, krl: hash, version: view.version, time: at }
            .sign(&self.signer)
            .ok()?;
        let note = base64::engine::general_purpose::STANDARD.encode(note);
        let fresh = Made {
            etag: HeaderValue::try_from(format!("\"{hash}\"")).ok()?,
            note: HeaderValue::try_from(note).ok()?,
            krl: krl.into(),
            view,
            at,
        };
        *made = Some(fresh.clone());
        Some(fresh)
    }
}

/// `GET /v1/krl`. An unchanged list is not sent again, but its note is: it says how fresh the list is.
pub(super) async fn krl(State(door): State<Arc<Door>>, headers: HeaderMap) -> Answer<Response> {
    let made = door.revocation_list.current(&door).ok_or_else(|| {
        Told::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the revocation list cannot be made")
    })?;
    let held = headers.get(header::IF_NONE_MATCH);
    let mut response = if held == Some(&made.etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        made.krl.into_response()
    };
    response.headers_mut().insert(header::ETAG, made.etag);
    response.headers_mut().insert(NOTE, made.note);
    Ok(response)
}

/// `GET /v1/keys`
pub(super) async fn keys(State(door): State<Arc<Door>>) -> Answer<Json<Keys>> {
    let published = door.road.published();
    let origin = published.gate().origin;
    let pinned = published.keys();
    let text = |name: &str, key| NoteKey::new(name, key).map(|key| key.to_string());
    match (text(origin.as_str(), &pinned.log), text(&KrlNote::key_name(&origin), &pinned.krl)) {
        (Ok(log), Ok(krl)) => Ok(Json(Keys {
            schema: "fireaxe.keys/v1".into(),
            user_ca: pinned.user_ca,
            host_ca: pinned.host_ca,
            log,
            krl,
            origin,
            now: door.clock.now().wall_s,
        })),
        _ => Err(Told::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a key of this log is not usable")),
    }
}
