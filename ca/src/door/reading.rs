//! Who may read: a session key that a person's `login` named, or the fresh key of a live emergency.
//! There is no bearer token: each read is signed over method, path and time (`api::ReadProof`).
//!
//! Sessions live in memory: a restarted CA has none, and the client logs in again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use fireaxe_protocol::api::{LoggedIn, ReadProof};
use fireaxe_protocol::keys::{Ed25519Key, Fingerprint};
use fireaxe_protocol::limits::{LOGIN_MAX_S, STATEMENT_WINDOW_S};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::statement::{Envelope, Kind, Statement};

use super::Door;
use super::emergencies::{Bytes, body};
use super::problem::{Answer, Told};
use crate::road::check_time;

/// Sessions a CA holds at once; the oldest to end makes room.
const SESSIONS: usize = 10_000;

/// Session keys that may read, until when, and in whose name.
#[derive(Debug, Default)]
pub struct Sessions {
    held: Mutex<HashMap<Fingerprint, (PersonName, Ed25519Key, u64)>>,
}

/// What a reader may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// A person of the roster: all emergencies.
    Person(PersonName),
    /// The holder of an emergency's fresh key: that emergency.
    Emergency(PersonName, EmergencyId),
}

impl Scope {
    pub(super) fn person(&self) -> &PersonName {
        match self {
            Scope::Person(person) | Scope::Emergency(person, _) => person,
        }
    }
}

/// `POST /v1/sessions`
pub(super) async fn login(State(door): State<Arc<Door>>, bytes: Bytes) -> Answer<Json<LoggedIn>> {
    let envelope: Envelope = body(bytes)?;
    let known = door.road.published().gate().know(envelope, Kind::Login)?;
    let now = door.clock.now().wall_s;
    check_time(&known, now)?;
    let Statement::Login(words) = &known.signed().statement else {
        return Err(Told::new(StatusCode::BAD_REQUEST, "statement.kind", "this takes a login"));
    };
    let until = now + u64::from(words.for_s).min(LOGIN_MAX_S);
    let person = known.person().clone();
    let session = words.session_key.fingerprint();
    let mut held = door.sessions.held.lock().unwrap_or_else(PoisonError::into_inner);
    held.retain(|_, (.., until)| *until > now);
    // The key's holder has not been asked: nobody may put another's key under their own name.
    let taken = held.get(&session).is_some_and(|(whose, ..)| *whose != person);
    if taken || door.road.published().gate().bundle.roster.by_key(&session).is_some() {
        return Err(Told::new(
            StatusCode::BAD_REQUEST,
            "session_key.not_fresh",
            "the session key is enrolled or another person's",
        )
        .next("fireaxe ls   (makes a fresh one)"));
    }
    if held.len() >= SESSIONS
        && let Some(first) = held.iter().min_by_key(|(_, (.., until))| *until).map(|(key, _)| *key)
    {
        held.remove(&first);
    }
    held.insert(session, (person.clone(), words.session_key, until));
    Ok(Json(LoggedIn { schema: "fireaxe.session/v1".into(), person, until }))
}

/// Whoever signed this read. Nothing is read for the caller before the proof is checked.
pub(super) async fn who(door: &Door, headers: &HeaderMap, method: &str, uri: &Uri) -> Answer<Scope> {
    let unauthorized = |code: &str, words: &str| {
        Told::new(StatusCode::UNAUTHORIZED, code, words).next("fireaxe ls   (logs in by itself)")
    };
    let header = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| unauthorized("reader.missing", "this read needs a signed proof of who reads"))?;
    let proof = ReadProof::read(header)
        .map_err(|_| unauthorized("reader.unreadable", "the Authorization header is not a read proof"))?;
    let now = door.clock.now().wall_s;
    if now.abs_diff(proof.at) > STATEMENT_WINDOW_S {
        return Err(unauthorized("reader.stale", "the read proof's time is too far from the CA's"));
    }
    let session = {
        let held = door.sessions.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&proof.key).filter(|(.., until)| *until > now).cloned()
    };
    let (scope, key) = match session {
        Some((person, key, _)) => (Scope::Person(person), key),
        None => {
            let (person, id, key) = door.road.reader(proof.key).await?;
            (Scope::Emergency(person, id), key)
        }
    };
    let gate = door.road.published().gate();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if proof.verify(&key, &gate.origin, method, path).is_err() {
        return Err(unauthorized("reader.mismatch", "the read proof does not match this read"));
    }
    // A person removed from the roster reads no more, whatever key they hold.
    if gate.bundle.roster.person(scope.person()).is_none() {
        return Err(unauthorized("reader.unknown", "that person is not of the roster any more"));
    }
    Ok(scope)
}
