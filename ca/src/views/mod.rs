//! Views: lists for people, made from the log, in a database of their own that can be deleted.
//!
//! Not trusted: whoever can change `views.sqlite` can make lists lie, and can cause no certificate.
//! They are caught up before each read, so a reader sees what was committed before they asked; a file
//! that is missing, damaged or of another shape is made anew from the log.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fireaxe_protocol::api;
use fireaxe_protocol::certificate::Fields;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Closer, Entry, EntryError, Event};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::statement::Statement;
use rusqlite::{Connection, OptionalExtension, params};
use thiserror::Error;

use crate::log::{LogError, Reader};

/// Raised with every change of the tables or of what goes into them: another number is made anew.
const SHAPE: i64 = 2;
/// How many a list shows.
const LIST: u32 = 200;
/// Entries taken in one transaction.
const CHUNK: u64 = 4096;

/// Why a list cannot be had.
#[derive(Debug, Error)]
pub enum ViewError {
    /// The views' own database.
    #[error("views: {0}")]
    Database(#[from] rusqlite::Error),
    /// The log below them.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An entry.
    #[error("entry {0}: {1}")]
    Entry(u64, EntryError),
    /// A row that is not what this program writes.
    #[error("a row of the views cannot be read")]
    Row,
    /// The file.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
}

/// The lists.
pub struct Views {
    path: PathBuf,
    database: Mutex<Connection>,
}

impl Views {
    /// Opens them, or makes them anew when they are not as they should be.
    pub fn open(path: &Path) -> Result<Views, ViewError> {
        let database = match connect(path).and_then(|db| checked(&db).map(|()| db)) {
            Ok(database) => database,
            Err(_) => anew(path)?,
        };
        Ok(Views { path: path.to_owned(), database: Mutex::new(database) })
    }

    /// Emergencies, newest first, at most 200; or one.
    pub fn emergencies(
        &self,
        reader: &Reader,
        only: Option<EmergencyId>,
    ) -> Result<Vec<api::Emergency>, ViewError> {
        let database = self.caught_up(reader)?;
        let mut rows = database.prepare_cached(
            "SELECT json, state, closed_by, closed_at, until FROM emergency
             WHERE ?1 IS NULL OR id = ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let rows = rows.query_map(params![only.map(|id| id.0.cast_signed()), LIST], |row| {
            let json: String = row.get(0)?;
            let state: String = row.get(1)?;
            let closed_by: Option<String> = row.get(2)?;
            let closed_at: Option<i64> = row.get(3)?;
            let until: i64 = row.get(4)?;
            Ok((json, state, closed_by, closed_at, until))
        })?;
        let mut found = Vec::new();
        for row in rows {
            let (json, state, closed_by, closed_at, until) = row?;
            let mut one: api::Emergency = serde_json::from_str(&json).map_err(|_| ViewError::Row)?;
            one.state = state;
            one.closed_by = closed_by;
            one.closed_at = closed_at.map(i64::cast_unsigned);
            one.until = until.cast_unsigned();
            one.serials = serials(&database, one.emergency)?;
            found.push(one);
        }
        Ok(found)
    }

    /// Certificates, newest first, at most 200; or one emergency's.
    pub fn certificates(
        &self,
        reader: &Reader,
        only: Option<EmergencyId>,
    ) -> Result<Vec<api::Certificate>, ViewError> {
        let database = self.caught_up(reader)?;
        let mut rows = database.prepare_cached(
            "SELECT json, revoked_at FROM certificate
             WHERE ?1 IS NULL OR emergency = ?1 ORDER BY serial DESC LIMIT ?2",
        )?;
        let rows = rows.query_map(params![only.map(|id| id.0.cast_signed()), LIST], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?))
        })?;
        let mut found = Vec::new();
        for row in rows {
            let (json, revoked_at) = row?;
            let mut one: api::Certificate = serde_json::from_str(&json).map_err(|_| ViewError::Row)?;
            one.revoked_at = revoked_at.map(i64::cast_unsigned);
            found.push(one);
        }
        Ok(found)
    }

    /// Takes in what the log has and the views do not; makes them anew when they disagree.
    fn caught_up(&self, reader: &Reader) -> Result<std::sync::MutexGuard<'_, Connection>, ViewError> {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        match catch_up(&mut database, reader) {
            Ok(()) => {}
            // The log's fault: views made anew would only meet it again.
            Err(error @ ViewError::Log(_)) => return Err(error),
            Err(error) => {
                tracing::warn!(event = "views.rebuilt", %error);
                *database = anew(&self.path)?;
                catch_up(&mut database, reader)?;
            }
        }
        Ok(database)
    }
}

fn connect(path: &Path) -> Result<Connection, ViewError> {
    let database = Connection::open(path)?;
    // Nothing here needs to survive a power cut: it is made anew.
    database.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;")?;
    Ok(database)
}

fn checked(database: &Connection) -> Result<(), ViewError> {
    let shape: i64 = database.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let next: Option<i64> = database.query_row("SELECT next FROM head", [], |row| row.get(0)).optional()?;
    if shape == SHAPE && next.is_some() { Ok(()) } else { Err(ViewError::Row) }
}

fn anew(path: &Path) -> Result<Connection, ViewError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(ViewError::File(name.into(), e));
            }
            _ => {}
        }
    }
    let database = connect(path)?;
    database.execute_batch(&format!(
        "BEGIN;
         CREATE TABLE head (next INTEGER NOT NULL);
         INSERT INTO head VALUES (0);
         CREATE TABLE emergency (id INTEGER PRIMARY KEY, leaf BLOB NOT NULL, json TEXT NOT NULL, state TEXT NOT NULL,
             until INTEGER NOT NULL, closed_by TEXT, closed_at INTEGER);
         CREATE INDEX emergency_leaf ON emergency (leaf);
         CREATE TABLE certificate (serial INTEGER PRIMARY KEY, emergency INTEGER NOT NULL, json TEXT NOT NULL,
             revoked_at INTEGER);
         CREATE INDEX certificate_emergency ON certificate (emergency);
         PRAGMA user_version = {SHAPE};
         COMMIT;"
    ))?;
    Ok(database)
}

fn catch_up(database: &mut Connection, reader: &Reader) -> Result<(), ViewError> {
    loop {
        let next: i64 = database.query_row("SELECT next FROM head", [], |row| row.get(0))?;
        let mut next = next.cast_unsigned();
        if next > reader.size()? {
            // Views of another log, or of one that was rolled back.
            return Err(ViewError::Row);
        }
        if next == reader.size()? {
            return Ok(());
        }
        let transaction = database.transaction()?;
        let mut fault = None;
        reader.entries(next, CHUNK, |index, bytes| {
            let taken = Entry::decode(bytes).map_err(|e| ViewError::Entry(index, e));
            match taken.and_then(|entry| take(&transaction, &entry, bytes)) {
                Ok(()) => {
                    next = index + 1;
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    fault = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = fault {
            return Err(error);
        }
        transaction.execute("UPDATE head SET next = ?1", [next.cast_signed()])?;
        transaction.commit()?;
    }
}

fn take(to: &Connection, entry: &Entry, bytes: &[u8]) -> Result<(), ViewError> {
    match &entry.event {
        Event::EmergencyDeclared { emergency, declared, facts, decision, until, .. } => {
            let Ok(Statement::Declare(words)) = Statement::read(&declared.statement) else {
                return Err(ViewError::Row);
            };
            let Some(severity) = decision.severity else { return Err(ViewError::Row) };
            let leaf = leaf_hash(bytes);
            let terms = decision.terms_now();
            let row = api::Emergency {
                emergency: *emergency,
                state: "open".into(),
                declaration: leaf,
                person: facts.person.clone(),
                system: facts.target.system.clone(),
                host: facts.target.host.clone(),
                severity,
                tier: terms.map(|t| t.tier.clone()),
                account: terms.map(|t| t.account.clone()),
                incident: decision.rests_on(facts).map(|i| i.id.clone()),
                reason: words.reason,
                drill: facts.drill,
                declared_at: entry.at,
                until: *until,
                closed_by: None,
                closed_at: None,
                serials: Vec::new(),
                waiting: None,
                seconds: Vec::new(),
                approved_by: Vec::new(),
                extensions: 0,
                review: None,
            };
            let json = serde_json::to_string(&row).map_err(|_| ViewError::Row)?;
            to.prepare_cached(
                "INSERT INTO emergency (id, leaf, json, state, until) VALUES (?1, ?2, ?3, 'open', ?4)",
            )?
            .execute(params![emergency.0.cast_signed(), leaf.0, json, until.cast_signed()])?;
        }
        Event::CertificateIssued { of, .. } => issued(to, entry, of)?,
        Event::EmergencyClosing { emergency, until, .. } => {
            to.execute(
                "UPDATE emergency SET state = 'closing', until = min(until, ?2) WHERE id = ?1",
                params![emergency.0.cast_signed(), until.cast_signed()],
            )?;
        }
        Event::EmergencyClosed { emergency, by, revoked } => {
            let by = match by {
                Closer::Person { person, .. } => person.to_string(),
                Closer::Deadline => "deadline".into(),
                Closer::Grace => "grace".into(),
                Closer::Unlinked => "unlinked".into(),
                Closer::Removed => "removed".into(),
            };
            to.execute(
                "UPDATE emergency SET state = 'closed', closed_by = ?2, closed_at = ?3 WHERE id = ?1",
                params![emergency.0.cast_signed(), by, entry.at.cast_signed()],
            )?;
            for serial in revoked {
                to.execute(
                    "UPDATE certificate SET revoked_at = ?2 WHERE serial = ?1",
                    params![serial.cast_signed(), entry.at.cast_signed()],
                )?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn issued(to: &Connection, entry: &Entry, of: &fireaxe_protocol::log::Hash) -> Result<(), ViewError> {
    let json: String = to
        .prepare_cached("SELECT json FROM emergency WHERE leaf = ?1")?
        .query_row([of.0], |row| row.get(0))?;
    let emergency: api::Emergency = serde_json::from_str(&json).map_err(|_| ViewError::Row)?;
    let body = entry.body.as_deref().ok_or(ViewError::Row)?;
    let read = Fields::of_unsigned(body).map_err(|_| ViewError::Row)?;
    let row = api::Certificate {
        serial: entry.index,
        emergency: emergency.emergency,
        person: emergency.person,
        tier: emergency.tier.ok_or(ViewError::Row)?,
        principal: read.principals.join(" "),
        valid_after: read.valid_after,
        valid_before: read.valid_before,
        revoked_at: None,
    };
    let json = serde_json::to_string(&row).map_err(|_| ViewError::Row)?;
    to.prepare_cached("INSERT INTO certificate (serial, emergency, json) VALUES (?1, ?2, ?3)")?
        .execute(params![entry.index.cast_signed(), row.emergency.0.cast_signed(), json])?;
    Ok(())
}

fn serials(from: &Connection, id: EmergencyId) -> Result<Vec<u64>, ViewError> {
    let mut rows =
        from.prepare_cached("SELECT serial FROM certificate WHERE emergency = ?1 ORDER BY serial")?;
    let rows = rows.query_map([id.0.cast_signed()], |row| row.get::<_, i64>(0))?;
    rows.map(|serial| Ok(serial?.cast_unsigned())).collect()
}
