//! The index as a file. Whoever names one may name the wrong one: an index is known by a number in its header, read
//! before SQLite touches it, and only a file that carries it, or is empty, is ever written or removed.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::SearchFault;

/// Opens an index. One that is missing or empty is made, one that is damaged or of another shape is made anew;
/// any other file is refused. That it is in use, or cannot be read now, does not make it damaged.
pub(super) fn open(path: &Path) -> Result<Connection, SearchFault> {
    if whose(path)? == Whose::Index {
        match connect(path).and_then(|database| is_whole(&database).map(|whole| (database, whole))) {
            Ok((database, true)) => return Ok(database),
            Ok((_, false)) => {}
            Err(SearchFault::Database(error)) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
        remove(path)?;
    }
    make(path)
}

/// Who made a file.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    /// There is none, or nothing in it.
    Nobody,
    /// An index, whole or not.
    Index,
}

fn whose(path: &Path) -> Result<Whose, SearchFault> {
    let fault = |error| SearchFault::File(path.to_owned(), error);
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Whose::Nobody),
        Err(error) => return Err(fault(error)),
        // Nothing else is opened: a pipe would wait for ever.
        Ok(found) if !found.is_file() => return Err(SearchFault::NoIndex(path.to_owned())),
        Ok(_) => {}
    }
    let mut header = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEADER).read_to_end(&mut header));
    read.map_err(fault)?;
    if header.is_empty() {
        return Ok(Whose::Nobody);
    }
    match header.starts_with(SQLITE) && header.ends_with(&APPLICATION.to_be_bytes()) {
        true if header.len() as u64 == HEADER => Ok(Whose::Index),
        _ => Err(SearchFault::NoIndex(path.to_owned())),
    }
}

fn connect(path: &Path) -> Result<Connection, SearchFault> {
    // What was typed and shown: its owner's alone.
    let made = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    made.map_err(|error| SearchFault::File(path.to_owned(), error))?;
    let database = Connection::open(path)?;
    database.busy_timeout(BUSY)?;
    database.execute_batch(
        "PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY;",
    )?;
    Ok(database)
}

fn is_whole(database: &Connection) -> Result<bool, SearchFault> {
    let whole: String = database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(shape(database)? == SHAPE && whole == "ok")
}

fn shape(database: &Connection) -> Result<i64, rusqlite::Error> {
    database.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Removes an index and what SQLite keeps beside it.
fn remove(path: &Path) -> Result<(), SearchFault> {
    for end in ["", "-journal", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(SearchFault::File(name.into(), error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn make(path: &Path) -> Result<Connection, SearchFault> {
    let mut database = connect(path)?;
    let change = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another search may have made it meanwhile.
    if shape(&change)? != SHAPE {
        change.execute_batch(&format!(
            "CREATE TABLE recording(id INTEGER PRIMARY KEY, host TEXT NOT NULL, name TEXT NOT NULL, emergency INTEGER,
                 person TEXT, account TEXT, tier TEXT, serial INTEGER, began_us INTEGER NOT NULL, command TEXT,
                 asked TEXT, exit INTEGER, bytes INTEGER NOT NULL, searched INTEGER NOT NULL, told INTEGER NOT NULL,
                 cut INTEGER NOT NULL, UNIQUE(host, name));
             CREATE VIRTUAL TABLE line USING fts5(text, at_us UNINDEXED);
             INSERT INTO line(line, rank) VALUES ('secure-delete', 1);
             PRAGMA application_id = {APPLICATION};
             PRAGMA user_version = {SHAPE};"
        ))?;
    }
    change.commit()?;
    Ok(database)
}

/// Raised with every change of the tables or of what goes into them: another number is made anew.
const SHAPE: i64 = 1;
/// In the header of every index, and of nothing else that Fireaxe writes: `FxSr`. Never changed.
const APPLICATION: i32 = 0x4678_5372;
/// What SQLite's files begin with (its file format, section 1.3).
const SQLITE: &[u8] = b"SQLite format 3\0";
/// Up to the end of the application's number.
const HEADER: u64 = 72;
/// How long another one who writes it is waited for.
const BUSY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn room() -> (tempfile::TempDir, PathBuf) {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("index");
        (room, path)
    }

    fn rows(database: &Connection) -> i64 {
        database.query_row("SELECT count(*) FROM line", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_file_that_is_no_index_is_refused_and_stays_byte_for_byte() {
        let (room, path) = room();
        let other = room.path().join("log.sqlite");
        Connection::open(&other)
            .and_then(|database| {
                database.execute_batch(
                    "PRAGMA journal_mode = WAL; PRAGMA application_id = 7; CREATE TABLE entry(bytes BLOB);",
                )
            })
            .unwrap();
        let mut cut = [SQLITE, &[0; 20]].concat();
        cut.extend(APPLICATION.to_be_bytes());
        for bytes in [b"AGE-SECRET-KEY-1".to_vec(), vec![0], cut, std::fs::read(&other).unwrap()] {
            std::fs::write(&path, &bytes).unwrap();
            for end in ["-journal", "-wal", "-shm"] {
                std::fs::write(room.path().join(format!("index{end}")), "beside").unwrap();
            }
            assert!(matches!(open(&path), Err(SearchFault::NoIndex(_))));
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
            for end in ["-journal", "-wal", "-shm"] {
                assert_eq!(std::fs::read(room.path().join(format!("index{end}"))).unwrap(), b"beside");
            }
        }
        assert!(matches!(open(room.path()), Err(SearchFault::NoIndex(_))), "a folder");
    }

    #[test]
    fn one_that_is_missing_or_empty_is_made_and_is_known_again() {
        let (_room, path) = room();
        for empty in [false, true] {
            if empty {
                std::fs::write(&path, "").unwrap();
            }
            let database = open(&path).unwrap();
            database.execute("INSERT INTO line(text, at_us) VALUES ('restart', 1)", []).unwrap();
            drop(database);
            assert_eq!(rows(&open(&path).unwrap()), 1);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn an_index_that_is_damaged_or_of_another_shape_is_made_anew() {
        let (_room, path) = room();
        let spoil: [fn(&Path); 3] = [
            |path| {
                let mut bytes = std::fs::read(path).unwrap();
                bytes[100..].fill(0xff);
                std::fs::write(path, bytes).unwrap();
            },
            |path| File::options().write(true).open(path).unwrap().set_len(HEADER).unwrap(),
            |path| Connection::open(path).unwrap().execute_batch("PRAGMA user_version = 9").unwrap(),
        ];
        for spoil in spoil {
            let database = open(&path).unwrap();
            database.execute("INSERT INTO line(text, at_us) VALUES ('restart', 1)", []).unwrap();
            drop(database);
            spoil(&path);
            assert_eq!(rows(&open(&path).unwrap()), 0);
        }
    }

    #[test]
    fn one_that_is_in_use_is_an_error_and_stays() {
        assert!(!is_damage(&rusqlite::Error::QueryReturnedNoRows));
        for (code, damage) in [
            (rusqlite::ffi::SQLITE_BUSY, false),
            (rusqlite::ffi::SQLITE_IOERR, false),
            (rusqlite::ffi::SQLITE_FULL, false),
            (rusqlite::ffi::SQLITE_CORRUPT, true),
            (rusqlite::ffi::SQLITE_NOTADB, true),
        ] {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            assert_eq!(is_damage(&error), damage, "{error}");
        }
    }
}
