//! Views: lists for people, made from the log, in a database of their own that can be deleted.
//!
//! Not trusted: whoever can change `views.sqlite` can make lists lie, and can cause no certificate.
//! They are caught up before each read, so a reader sees what was committed before they asked; a file
//! that is missing, damaged or of another shape is made anew from the log.

mod hosts;
mod recordings;
mod take;

pub use recordings::ReportedRecording;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fireaxe_protocol::api;
use fireaxe_protocol::log::{Entry, EntryError};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use rusqlite::{Connection, OptionalExtension, params};
use thiserror::Error;

use crate::log::{LogError, Reader};

/// Raised with every change of the tables or of what goes into them: another number is made anew.
const SHAPE: i64 = 6;
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
        now: u64,
    ) -> Result<Vec<api::Emergency>, ViewError> {
        let database = self.caught_up(reader)?;
        let mut rows = database.prepare_cached(
            "SELECT json, state, closed_by, closed_at, until, waiting, tier, account, extensions, due FROM emergency
             WHERE ?1 IS NULL OR id = ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let rows = rows.query_map(params![only.map(|id| id.0.cast_signed()), LIST], |row| {
            Ok(Row {
                json: row.get(0)?,
                state: row.get(1)?,
                closed_by: row.get(2)?,
                closed_at: row.get::<_, Option<i64>>(3)?.map(i64::cast_unsigned),
                until: row.get::<_, i64>(4)?.cast_unsigned(),
                waiting: row.get(5)?,
                tier: row.get(6)?,
                account: row.get(7)?,
                extensions: row.get(8)?,
                due: row.get::<_, Option<i64>>(9)?.map(i64::cast_unsigned),
            })
        })?;
        let mut found = Vec::new();
        for row in rows {
            found.push(row?.emergency(&database, now)?);
        }
        Ok(found)
    }

    /// Certificates, newest first, at most 200; or one emergency's. Of those made on demand for one host, the
    /// newest: they are made anew every few minutes, and all of them would hide the rest.
    pub fn certificates(
        &self,
        reader: &Reader,
        only: Option<EmergencyId>,
    ) -> Result<Vec<api::Certificate>, ViewError> {
        let database = self.caught_up(reader)?;
        let mut rows = database.prepare_cached(
            "SELECT json, revoked_at FROM certificate
             WHERE (?1 IS NULL OR emergency = ?1) AND (host IS NULL OR serial = (
                 SELECT max(serial) FROM certificate AS other
                 WHERE other.emergency = certificate.emergency AND other.host = certificate.host))
             ORDER BY serial DESC LIMIT ?2",
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

/// One line of the list, as the database has it.
struct Row {
    json: String,
    state: String,
    closed_by: Option<String>,
    closed_at: Option<u64>,
    until: u64,
    waiting: Option<String>,
    tier: Option<String>,
    account: Option<String>,
    extensions: u8,
    due: Option<u64>,
}

impl Row {
    fn emergency(self, database: &Connection, now: u64) -> Result<api::Emergency, ViewError> {
        let mut one: api::Emergency = serde_json::from_str(&self.json).map_err(|_| ViewError::Row)?;
        one.state = self.state;
        one.closed_by = self.closed_by;
        one.closed_at = self.closed_at;
        one.until = self.until;
        one.waiting = name(self.waiting)?;
        one.tier = name(self.tier)?;
        one.account = name(self.account)?;
        one.extensions = self.extensions;
        one.serials = serials(database, one.emergency)?;
        one.narrowed = database
            .prepare_cached("SELECT count(*) FROM certificate WHERE emergency = ?1 AND host IS NOT NULL")?
            .query_row([one.emergency.0.cast_signed()], |row| row.get(0))?;
        let (mut by, mut verdict) = (None, None);
        let mut parts = database
            .prepare_cached("SELECT person, role, verdict FROM part WHERE emergency = ?1 ORDER BY rowid")?;
        let parts = parts.query_map([one.emergency.0.cast_signed()], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<String>>(2)?))
        })?;
        for part in parts {
            let (person, role, found) = part?;
            let person: PersonName = person.parse().map_err(|_| ViewError::Row)?;
            match role.as_str() {
                "second" => one.seconds.push(person),
                "approve" => one.approved_by.push(person),
                _ => {
                    verdict = found.and_then(|text| serde_json::from_str(&text).ok());
                    by = Some(person);
                }
            }
        }
        one.approved_by.sort();
        (one.connections, one.confirmed) = by_hosts(database, one.emergency)?;
        one.review =
            self.due.map(|due| api::ReviewState { due, overdue: by.is_none() && due < now, by, verdict });
        Ok(one)
    }
}

fn name<T: std::str::FromStr>(text: Option<String>) -> Result<Option<T>, ViewError> {
    text.map(|text| text.parse().map_err(|_| ViewError::Row)).transpose()
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
         CREATE TABLE emergency (id INTEGER PRIMARY KEY, json TEXT NOT NULL, state TEXT NOT NULL,
             until INTEGER NOT NULL, closed_by TEXT, closed_at INTEGER, waiting TEXT, tier TEXT, account TEXT,
             extensions INTEGER NOT NULL DEFAULT 0, due INTEGER);
         CREATE TABLE decision (leaf BLOB PRIMARY KEY, emergency INTEGER NOT NULL, json TEXT NOT NULL);
         CREATE TABLE part (emergency INTEGER NOT NULL, person TEXT NOT NULL, role TEXT NOT NULL, verdict TEXT,
             PRIMARY KEY (emergency, role, person));
         CREATE TABLE certificate (serial INTEGER PRIMARY KEY, emergency INTEGER NOT NULL, json TEXT NOT NULL,
             ends INTEGER NOT NULL, revoked_at INTEGER, host TEXT);
         CREATE INDEX certificate_emergency ON certificate (emergency, host, serial);
         CREATE TABLE host (name TEXT PRIMARY KEY, system TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE connection (host TEXT NOT NULL, name TEXT NOT NULL, emergency INTEGER, live INTEGER NOT NULL,
             unusual INTEGER NOT NULL, PRIMARY KEY (host, name)) WITHOUT ROWID;
         CREATE INDEX connection_emergency ON connection (emergency);
         CREATE TABLE reach (closing BLOB NOT NULL, host TEXT NOT NULL, emergency INTEGER NOT NULL,
             confirmed_at INTEGER, PRIMARY KEY (closing, host)) WITHOUT ROWID;
         CREATE INDEX reach_emergency ON reach (emergency);
         CREATE TABLE recording (host TEXT NOT NULL, name TEXT NOT NULL, emergency INTEGER, json TEXT NOT NULL,
             expired INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (host, name)) WITHOUT ROWID;
         CREATE INDEX recording_emergency ON recording (emergency, host, name);
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
            match taken.and_then(|entry| take::take(&transaction, &entry, bytes)) {
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

/// What hosts said of an emergency: connections, and confirmations of its end.
fn by_hosts(
    from: &Connection,
    id: EmergencyId,
) -> Result<(Option<api::Connections>, Option<api::Confirmations>), ViewError> {
    let connections = from
        .prepare_cached(
            "SELECT count(*), coalesce(sum(live), 0), coalesce(sum(unusual), 0) FROM connection WHERE emergency = ?1",
        )?
        .query_row([id.0.cast_signed()], |row| {
            Ok(api::Connections { all: row.get(0)?, live: row.get(1)?, unusual: row.get(2)? })
        })?;
    let confirmed = from
        .prepare_cached("SELECT count(*), count(confirmed_at) FROM reach WHERE emergency = ?1")?
        .query_row([id.0.cast_signed()], |row| {
            Ok(api::Confirmations { hosts: row.get(0)?, by: row.get(1)? })
        })?;
    Ok(((connections.all > 0).then_some(connections), (confirmed.hosts > 0).then_some(confirmed)))
}

fn serials(from: &Connection, id: EmergencyId) -> Result<Vec<u64>, ViewError> {
    let mut rows = from.prepare_cached(
        "SELECT serial FROM certificate WHERE emergency = ?1 AND host IS NULL ORDER BY serial",
    )?;
    let rows = rows.query_map([id.0.cast_signed()], |row| row.get::<_, i64>(0))?;
    rows.map(|serial| Ok(serial?.cast_unsigned())).collect()
}
