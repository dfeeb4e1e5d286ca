//! The durable store: entries, full hash tiles, checkpoints and their cosigned notes in one SQLite file, behind a
//! small port.
//!
//! The port is what the writer needs and no more, so that a test can fail each of its calls. What the
//! rows mean is left to the writer and the reader.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fireaxe_protocol::log::Hash;
use fireaxe_protocol::log::tree::leaf_hash;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::error::LogError;

/// What trees and readers are made from. Rows never change once written.
pub(super) trait Pieces {
    /// The bytes of one entry.
    fn entry(&self, index: u64) -> Result<Option<Vec<u8>>, LogError>;
    /// The leaf hash of one entry.
    fn leaf(&self, index: u64) -> Result<Hash, LogError> {
        let entry = self.entry(index)?.ok_or(LogError::Corrupt("an entry is missing"))?;
        Ok(leaf_hash(&entry))
    }
    /// The bytes of one *full* hash tile.
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, LogError>;
    /// The newest checkpoint: size and note.
    fn head(&self) -> Result<Option<(u64, String)>, LogError>;
    /// The first checkpoint that covers more than `size` entries.
    fn head_after(&self, size: u64) -> Result<Option<(u64, String)>, LogError>;
    /// How many entries there are, if they are gapless from 0; else [`LogError::Corrupt`].
    fn count(&self) -> Result<u64, LogError>;
    /// The checkpoint of exactly this size.
    fn checkpoint(&self, size: u64) -> Result<Option<String>, LogError>;
    /// The newest cosigned note: size and note.
    fn newest_cosigned(&self) -> Result<Option<(u64, String)>, LogError>;
}

/// What the writer does. Between `begin` and `commit` nothing is durable; after `commit` everything is.
pub(super) trait Store: Pieces + Send {
    /// Opens a transaction.
    fn begin(&mut self) -> Result<(), LogError>;
    /// Adds an entry; fails if the index is taken.
    fn put_entry(&mut self, index: u64, bytes: &[u8]) -> Result<(), LogError>;
    /// Adds a full tile; fails if it is there.
    fn put_tile(&mut self, level: u8, index: u64, bytes: &[u8]) -> Result<(), LogError>;
    /// Adds a checkpoint; fails if there is one of that size.
    fn put_checkpoint(&mut self, size: u64, note: &str) -> Result<(), LogError>;
    /// Adds a cosigned note; fails if there is one of that size.
    fn put_cosigned(&mut self, size: u64, note: &str) -> Result<(), LogError>;
    /// Ends the transaction: returns after the bytes have reached the disk.
    fn commit(&mut self) -> Result<(), LogError>;
    /// Drops whatever was begun and reads the file afresh. Keeps the writer's lock.
    fn reopen(&mut self) -> Result<(), LogError>;
}

/// The file, open for writing by this process alone.
///
/// *Trust:* the file is trusted for order and secrecy, not for truth. Whoever can change it can read every
/// entry, make the log unreadable, or put back an older state, on which the CA would sign a second entry
/// for the same index: that is what hosts, witnesses and a second copy of the head are for. They cannot
/// make an entry, a receipt or a head that verifies: heads are signed by a key that is not in the file.
pub(super) struct SqliteStore {
    path: PathBuf,
    connection: Connection,
    _lock: File,
}

impl SqliteStore {
    /// Makes the file. A file whose making was cut short (no entry yet) is taken over.
    pub(super) fn create(path: &Path) -> Result<SqliteStore, LogError> {
        let lock = lock(path)?;
        let flags = OpenFlags::SQLITE_OPEN_CREATE | WRITE_FLAGS;
        let mut connection = connect(path, flags)?;
        if identity(&connection)? == (0, 0) {
            let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
            if tables != 0 {
                return Err(LogError::NotALog);
            }
            // One transaction: a crash leaves an empty database, which the next `create` takes over.
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.execute_batch(COSIGNED)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            transaction.commit()?;
        }
        check_identity(&connection)?;
        for_writing(&connection)?;
        // The name of a new file is durable only once its folder is.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        let store = SqliteStore { path: path.into(), connection, _lock: lock };
        if store.head()?.is_some() || store.count()? != 0 { Err(LogError::Exists) } else { Ok(store) }
    }

    /// Opens the file as its only writer.
    pub(super) fn open(path: &Path) -> Result<SqliteStore, LogError> {
        if !path.try_exists()? {
            return Err(LogError::Missing);
        }
        let lock = lock(path)?;
        Ok(SqliteStore { path: path.into(), connection: open_for_writing(path)?, _lock: lock })
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Pieces for SqliteStore {
    fn entry(&self, index: u64) -> Result<Option<Vec<u8>>, LogError> {
        entry(&self.connection, index)
    }
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, LogError> {
        tile(&self.connection, level, index)
    }
    fn head(&self) -> Result<Option<(u64, String)>, LogError> {
        head(&self.connection)
    }
    fn head_after(&self, size: u64) -> Result<Option<(u64, String)>, LogError> {
        checkpoint_after(&self.connection, size)
    }
    fn count(&self) -> Result<u64, LogError> {
        count(&self.connection)
    }
    fn checkpoint(&self, size: u64) -> Result<Option<String>, LogError> {
        checkpoint(&self.connection, size)
    }
    fn newest_cosigned(&self) -> Result<Option<(u64, String)>, LogError> {
        newest_cosigned(&self.connection)
    }
}

impl Store for SqliteStore {
    fn begin(&mut self) -> Result<(), LogError> {
        // IMMEDIATE: takes the write lock now, so that no later step can fail for want of it.
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(())
    }

    fn put_entry(&mut self, index: u64, bytes: &[u8]) -> Result<(), LogError> {
        let mut put = self.connection.prepare_cached("INSERT INTO entry (idx, bytes) VALUES (?1, ?2)")?;
        put.execute(params![number(index)?, bytes])?;
        Ok(())
    }

    fn put_tile(&mut self, level: u8, index: u64, bytes: &[u8]) -> Result<(), LogError> {
        let sql = "INSERT INTO tile (level, idx, bytes) VALUES (?1, ?2, ?3)";
        self.connection.prepare_cached(sql)?.execute(params![level, number(index)?, bytes])?;
        Ok(())
    }

    fn put_checkpoint(&mut self, size: u64, note: &str) -> Result<(), LogError> {
        let mut put =
            self.connection.prepare_cached("INSERT INTO checkpoint (size, note) VALUES (?1, ?2)")?;
        put.execute(params![number(size)?, note])?;
        Ok(())
    }

    fn put_cosigned(&mut self, size: u64, note: &str) -> Result<(), LogError> {
        let mut put = self.connection.prepare_cached("INSERT INTO cosigned (size, note) VALUES (?1, ?2)")?;
        put.execute(params![number(size)?, note])?;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), LogError> {
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), LogError> {
        // Closing the old connection (by the assignment) rolls back whatever it had begun.
        self.connection = open_for_writing(&self.path)?;
        Ok(())
    }
}

/// Moves what the write-ahead log holds into the file proper, so that the former stays small and is
/// reused. Meant for a thread of its own: the writer never waits for it.
pub struct WalKeeper {
    connection: Connection,
}

impl WalKeeper {
    /// A connection of its own to the log at `path`.
    pub fn open(path: &Path) -> Result<WalKeeper, LogError> {
        if !path.try_exists()? {
            return Err(LogError::Missing);
        }
        let connection = connect(path, WRITE_FLAGS)?;
        check_identity(&connection)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(WalKeeper { connection })
    }

    /// Moves what no reader still needs. Returns how many pages the write-ahead log holds that are not
    /// moved yet. A crash in between loses nothing: the pages are in both or only in the write-ahead log.
    pub fn checkpoint_wal(&self) -> Result<u64, LogError> {
        let (pages, moved): (i64, i64) =
            self.connection
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        Ok(u64::try_from(pages - moved).unwrap_or(0))
    }
}

/// A connection that cannot write, for a [`super::Reader`].
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, LogError> {
    if !path.try_exists()? {
        return Err(LogError::Missing);
    }
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    check_identity(&connection)?;
    Ok(connection)
}

pub(super) fn entry(connection: &Connection, index: u64) -> Result<Option<Vec<u8>>, LogError> {
    let mut get = connection.prepare_cached("SELECT bytes FROM entry WHERE idx = ?1")?;
    Ok(get.query_row([number(index)?], |row| row.get(0)).optional()?)
}

pub(super) fn tile(connection: &Connection, level: u8, index: u64) -> Result<Option<Vec<u8>>, LogError> {
    let mut get = connection.prepare_cached("SELECT bytes FROM tile WHERE level = ?1 AND idx = ?2")?;
    Ok(get.query_row(params![level, number(index)?], |row| row.get(0)).optional()?)
}

pub(super) fn head(connection: &Connection) -> Result<Option<(u64, String)>, LogError> {
    let sql = "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1";
    let row =
        connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    row.map(|(size, note)| Ok((unsigned(size)?, note))).transpose()
}

/// The newest checkpoint over at most `most` entries.
pub(super) fn head_within(connection: &Connection, most: u64) -> Result<Option<(u64, String)>, LogError> {
    let sql = "SELECT size, note FROM checkpoint WHERE size <= ?1 ORDER BY size DESC LIMIT 1";
    let mut get = connection.prepare_cached(sql)?;
    let row = get.query_row([number(most)?], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    row.map(|(size, note)| Ok((unsigned(size)?, note))).transpose()
}

/// The first checkpoint that covers entry `index`.
pub(super) fn checkpoint_after(
    connection: &Connection,
    index: u64,
) -> Result<Option<(u64, String)>, LogError> {
    let sql = "SELECT size, note FROM checkpoint WHERE size > ?1 ORDER BY size LIMIT 1";
    let mut get = connection.prepare_cached(sql)?;
    let row = get.query_row([number(index)?], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    row.map(|(size, note)| Ok((unsigned(size)?, note))).transpose()
}

/// The first 1,024 checkpoints over more than `after` and at most `until` entries.
pub(super) fn checkpoints(
    connection: &Connection,
    after: u64,
    until: u64,
) -> Result<Vec<(u64, String)>, LogError> {
    let sql = "SELECT size, note FROM checkpoint WHERE size > ?1 AND size <= ?2 ORDER BY size LIMIT 1024";
    let mut get = connection.prepare_cached(sql)?;
    let mut rows = get.query([number(after)?, number(until)?])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((unsigned(row.get(0)?)?, row.get(1)?));
    }
    Ok(found)
}

/// The checkpoint of exactly this size.
pub(super) fn checkpoint(connection: &Connection, size: u64) -> Result<Option<String>, LogError> {
    let mut get = connection.prepare_cached("SELECT note FROM checkpoint WHERE size = ?1")?;
    Ok(get.query_row([number(size)?], |row| row.get(0)).optional()?)
}

/// The first cosigned note that covers entry `index`.
pub(super) fn cosigned_after(connection: &Connection, index: u64) -> Result<Option<(u64, String)>, LogError> {
    let sql = "SELECT size, note FROM cosigned WHERE size > ?1 ORDER BY size LIMIT 1";
    cosigned(connection, sql, number(index)?)
}

/// The newest cosigned note.
pub(super) fn newest_cosigned(connection: &Connection) -> Result<Option<(u64, String)>, LogError> {
    cosigned(connection, "SELECT size, note FROM cosigned WHERE size > ?1 ORDER BY size DESC LIMIT 1", -1)
}

/// A file of schema 1 that only readers have opened since has no such table, hence no such note.
fn cosigned(connection: &Connection, sql: &str, above: i64) -> Result<Option<(u64, String)>, LogError> {
    let has = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'cosigned')";
    if !connection.prepare_cached(has)?.query_row([], |row| row.get::<_, bool>(0))? {
        return Ok(None);
    }
    let mut get = connection.prepare_cached(sql)?;
    let row = get.query_row([above], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    row.map(|(size, note)| Ok((unsigned(size)?, note))).transpose()
}

pub(super) fn count(connection: &Connection) -> Result<u64, LogError> {
    // The two ends, each one step down the tree. With a unique index, equal span and number would prove
    // there is no gap, but counting reads every page: a gap in the middle is found by replaying.
    let sql = "SELECT (SELECT min(idx) FROM entry), (SELECT max(idx) FROM entry)";
    let ends: (Option<i64>, Option<i64>) =
        connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    match ends {
        (None, None) => Ok(0),
        (Some(0), Some(last)) => Ok(unsigned(last)? + 1),
        _ => Err(LogError::Corrupt("the first entries are missing")),
    }
}

/// Whether entries begin at 0 and end where the newest checkpoint says. One statement: one moment.
pub(super) fn is_covered(connection: &Connection) -> Result<bool, LogError> {
    let sql = "SELECT ifnull((SELECT max(size) FROM checkpoint) = (SELECT max(idx) + 1 FROM entry)
                             AND (SELECT min(idx) FROM entry) = 0, 0)";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// SQLite's integers are signed.
pub(super) fn number(value: u64) -> Result<i64, LogError> {
    i64::try_from(value).map_err(|_| LogError::OutOfRange)
}

pub(super) fn unsigned(value: i64) -> Result<u64, LogError> {
    u64::try_from(value).map_err(|_| LogError::Corrupt("a negative index"))
}

/// An exclusive lock that ends with the process, however it ends. On a file of its own: closing *any*
/// handle of the database file would drop the locks that SQLite itself holds on it.
fn lock(path: &Path) -> Result<File, LogError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(name)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn open_for_writing(path: &Path) -> Result<Connection, LogError> {
    let connection = connect(path, WRITE_FLAGS)?;
    if connection.is_readonly("main")? {
        return Err(LogError::ReadOnly);
    }
    check_identity(&connection)?;
    for_writing(&connection)?;
    if identity(&connection)? == (APPLICATION_ID, 1) {
        // A crash before its end: the file is of schema 1 still, and the next opening does the same. After: it is
        // of schema 2, and nothing that was there has changed.
        connection.execute_batch(&format!("BEGIN IMMEDIATE;{COSIGNED}PRAGMA user_version = 2;COMMIT"))?;
    }
    Ok(connection)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, LogError> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(24);
    Ok(connection)
}

fn for_writing(connection: &Connection) -> Result<(), LogError> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(LogError::Database(0));
    }
    // FULL: every commit waits for the disk. An answer given is never lost to a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // A net, never the way: the keeper empties the write-ahead log long before. 64 MiB.
    connection.pragma_update(None, "wal_autocheckpoint", 16_384)?;
    connection.query_row("PRAGMA journal_size_limit = 16777216", [], |_| Ok(()))?;
    Ok(())
}

fn identity(connection: &Connection) -> Result<(i64, i64), LogError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((pragma("application_id")?, pragma("user_version")?))
}

fn check_identity(connection: &Connection) -> Result<(), LogError> {
    match identity(connection)? {
        (0, 0) => {
            let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
            Err(if tables == 0 { LogError::Unfinished } else { LogError::NotALog })
        }
        (APPLICATION_ID, 1..=SCHEMA_VERSION) => Ok(()),
        (APPLICATION_ID, found) if found > SCHEMA_VERSION => {
            Err(LogError::NewerSchema { found, known: SCHEMA_VERSION })
        }
        _ => Err(LogError::NotALog),
    }
}

const WRITE_FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// `FIRE` in ASCII, so that `file` and a stray `sqlite3` tell this database from others.
const APPLICATION_ID: i64 = 0x4649_5245;
/// 2 has `cosigned` beside what 1 had.
const SCHEMA_VERSION: i64 = 2;
/// Rows are only ever added. Partial tiles are not kept: they are made from what is here.
const SCHEMA: &str = "
CREATE TABLE entry (idx INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE tile (level INTEGER NOT NULL, idx INTEGER NOT NULL, bytes BLOB NOT NULL,
                   PRIMARY KEY (level, idx)) STRICT;
CREATE TABLE checkpoint (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
";
/// Notes that enough witnesses cosigned, of sizes that only grow: what receipts then carry.
const COSIGNED: &str = "
CREATE TABLE cosigned (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
";
