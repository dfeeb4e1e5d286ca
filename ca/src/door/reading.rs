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
use super::evidence::Accesses;
use super::problem::{Answer, Told};
use crate::road::{FreshReader, KnownHost, Refusal, check_time};
use tokio::sync::Semaphore;

/// Sessions a CA holds at once; the oldest to end makes room.
const SESSIONS: usize = 10_000;

/// Lookups of fresh keys at the writer at once: a stranger who makes up keys must not fill its queue.
const LOOKUPS: usize = 16;

/// Session keys that may read, until when, and in whose name.
#[derive(Debug)]
pub struct Sessions {
    held: Mutex<HashMap<Fingerprint, Session>>,
    lookups: Semaphore,
    /// What of the evidence they read.
    pub(super) accesses: Accesses,
}

#[derive(Debug, Clone)]
struct Session {
    person: PersonName,
    /// The enrolled key that signed the login: taken out of the roster, its sessions end.
    enrolled: Fingerprint,
    key: Ed25519Key,
    until: u64,
}

impl Default for Sessions {
    fn default() -> Sessions {
        Sessions { held: Mutex::default(), lookups: Semaphore::new(LOOKUPS), accesses: Accesses::default() }
    }
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

/// A fresh key reads its own emergency, a person any.
pub(super) fn about(scope: &Scope, id: EmergencyId) -> Answer<()> {
    match scope {
        Scope::Emergency(_, own) if *own != id => Err(Told::new(
            StatusCode::FORBIDDEN,
            "reader.other_emergency",
            "this key reads its own emergency only",
        )),
        Scope::Person(_) | Scope::Emergency(..) => Ok(()),
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
    held.retain(|_, session| session.until > now);
    // The key's holder has not been asked: nobody may put another's key under their own name.
    let taken = held.get(&session).is_some_and(|held| held.person != person);
    if taken || door.road.published().gate().bundle.roster.by_key(&session).is_some() {
        return Err(Told::new(
            StatusCode::BAD_REQUEST,
            "session_key.not_fresh",
            "the session key is enrolled or another person's",
        )
        .next("fireaxe ls   (makes a fresh one)"));
    }
    if held.len() >= SESSIONS
        && let Some(first) = held.iter().min_by_key(|(_, session)| session.until).map(|(key, _)| *key)
    {
        held.remove(&first);
    }
    let enrolled = known.signed().fingerprint;
    held.insert(session, Session { person: person.clone(), enrolled, key: words.session_key, until });
    Ok(Json(LoggedIn { schema: "fireaxe.session/v1".into(), person, until }))
}

/// The key that a read is signed with, as its header says.
pub(super) fn key_of(headers: &HeaderMap) -> Option<Fingerprint> {
    let header = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    ReadProof::read(header).ok().map(|proof| proof.key)
}

/// Whether whoever [`who`] let read with `key` still may: their session runs, and they are in the roster.
pub(super) fn still(door: &Door, key: &Fingerprint, scope: &Scope) -> bool {
    let gate = door.road.published().gate();
    let in_roster = gate.bundle.roster.person(scope.person()).is_some();
    let session = match scope {
        Scope::Emergency(..) => true,
        Scope::Person(person) => {
            let now = door.clock.now().wall_s;
            let held = door.sessions.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.get(key).filter(|session| session.until > now).is_some_and(|session| {
                let still = gate.bundle.roster.by_key(&session.enrolled);
                still.is_some_and(|(enrolled, _)| enrolled.name == *person)
            })
        }
    };
    in_roster && session
}

/// The enrolled host whose key signed this request. The same answer for a key that is unknown and for one that
/// did not sign: nobody learns which hosts there are.
pub(super) fn host(door: &Door, headers: &HeaderMap, method: &str, uri: &Uri) -> Answer<Arc<KnownHost>> {
    let unauthorized = |code: &str, words: &str| {
        Told::new(StatusCode::UNAUTHORIZED, code, words).next("fireaxe-host status")
    };
    let header =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(|| {
            unauthorized("reader.missing", "this needs a proof signed by an enrolled host's key")
        })?;
    let proof = ReadProof::read(header)
        .map_err(|_| unauthorized("reader.unreadable", "the Authorization header is not a read proof"))?;
    if door.clock.now().wall_s.abs_diff(proof.at) > STATEMENT_WINDOW_S {
        let said = "the proof's time is too far from the CA's";
        return Err(unauthorized("reader.stale", said).next("fireaxe-host doctor   (compares the clocks)"));
    }
    let published = door.road.published();
    let unknown =
        || unauthorized("host.not_enrolled", "no enrolled host has that key, or it did not sign this");
    let known = published.speakers().by_key(&proof.key).ok_or_else(unknown)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let origin = published.gate().origin;
    proof.verify(&known.public_key, &origin, method, path).map_err(|_| unknown())?;
    Ok(known)
}

/// Who signed a read, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proved {
    /// What they may see.
    pub(super) scope: Scope,
    /// The key that signed it.
    pub(super) key: Fingerprint,
    /// The enrolled key behind that one: it signed the login, or the declaration.
    pub(super) enrolled: Fingerprint,
}

/// Whoever signed this read. Nothing is read for the caller before the proof is checked.
pub(super) async fn who(door: &Door, headers: &HeaderMap, method: &str, uri: &Uri) -> Answer<Scope> {
    Ok(proved(door, headers, method, uri).await?.scope)
}

/// The same, with the keys.
pub(super) async fn proved(door: &Door, headers: &HeaderMap, method: &str, uri: &Uri) -> Answer<Proved> {
    let unauthorized = |code: &str, words: &str| {
        Told::new(StatusCode::UNAUTHORIZED, code, words).next("fireaxe ls   (logs in by itself)")
    };
    let unknown = || Told::from(Refusal::UnknownReader);
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
        held.get(&proof.key).filter(|session| session.until > now).cloned()
    };
    let gate = door.road.published().gate();
    let (scope, key, enrolled) = match session {
        Some(session) => {
            let still = gate.bundle.roster.by_key(&session.enrolled);
            if still.is_none_or(|(person, _)| person.name != session.person) {
                return Err(unknown());
            }
            (Scope::Person(session.person), session.key, session.enrolled)
        }
        None => {
            let Ok(_place) = door.sessions.lookups.try_acquire() else { return Err(Refusal::Busy.into()) };
            let FreshReader { person, enrolled, emergency, key } = door.road.reader(proof.key).await?;
            (Scope::Emergency(person, emergency), key, enrolled)
        }
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if proof.verify(&key, &gate.origin, method, path).is_err() {
        // The same answer as for an unknown key: nobody learns which keys are live.
        return Err(unknown());
    }
    // A person removed from the roster reads no more, whatever key they hold.
    if gate.bundle.roster.person(scope.person()).is_none() {
        return Err(unknown());
    }
    Ok(Proved { scope, key: proof.key, enrolled })
}
