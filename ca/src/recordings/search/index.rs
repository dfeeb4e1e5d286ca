//! The database of lines: one recording in or out at a time, whole. FTS5 holds the text; a row's number says whose
//! line it is (recording in the upper 32 bits), so that one recording goes without reading the others.
//!
//! What is taken out is overwritten (`secure_delete`): a recording that has expired leaves no text behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fireaxe_protocol::recording::Ended;
use fireaxe_protocol::statement::Nonce;
use rusqlite::{Connection, OptionalExtension, params};
use thiserror::Error;

use super::file;
use super::text::{Line, Text};
use crate::recordings::catalog::{Name, Told};
use crate::recordings::opening::{self, Identities};

/// Why a search, or its index, fails.
#[derive(Debug, Error)]
pub enum SearchFault {
    /// The words are not a query.
    #[error("these words are not a search: {0}")]
    Query(String),
    /// The index's own database.
    #[error("the index: {0}")]
    Database(#[from] rusqlite::Error),
    /// A file.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, std::io::Error),
    /// A file that something else made.
    #[error("{} is no index of recordings; it was left as it is", .0.display())]
    NoIndex(PathBuf),
}

/// What is in the index of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    id: i64,
    /// Bytes of its file when it was read.
    pub bytes: u64,
    /// Whether its text is in it: not of one that is sealed and could not be opened.
    pub searched: bool,
    told: i64,
}

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Updated {
    /// Recordings read.
    pub read: usize,
    /// That are gone, and out of the index.
    pub gone: usize,
    /// In the index, by what is known of them only: sealed, and there was no key.
    pub sealed: usize,
    /// Read up to a limit, or to where the file is damaged.
    pub cut: usize,
}

/// The index.
pub struct Index {
    pub(super) database: Connection,
}

impl Index {
    /// Opens it; one that is missing, damaged or of another shape is made anew. A file that is no index is refused
    /// and stays as it is.
    pub fn open(path: &Path) -> Result<Index, SearchFault> {
        file::open(path).map(|database| Index { database })
    }

    /// All that is in it.
    pub fn known(&self) -> Result<BTreeMap<Name, Known>, SearchFault> {
        let mut rows =
            self.database.prepare("SELECT host, name, id, bytes, searched, told FROM recording")?;
        let rows = rows.query_map([], |row| {
            let (host, name): (String, String) = (row.get(0)?, row.get(1)?);
            let (id, bytes, told): (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(5)?);
            Ok((host, name, Known { id, bytes: bytes.cast_unsigned(), searched: row.get(4)?, told }))
        })?;
        let mut known = BTreeMap::new();
        for row in rows {
            let (host, name, there) = row?;
            if let (Ok(host), Ok(name)) = (host.parse(), name.parse()) {
                known.insert((host, name), there);
            }
        }
        Ok(known)
    }

    /// Brings it up to what is in `files`: reads what is new or has grown, takes out what is gone. `told` says what
    /// the log knows of one.
    pub fn update(
        &mut self,
        files: &[(Name, PathBuf)],
        identities: Option<&Identities>,
        told: impl Fn(&Name, Option<Nonce>) -> Told,
    ) -> Result<Updated, SearchFault> {
        let mut known = self.known()?;
        let mut updated = Updated::default();
        for (name, path) in files {
            let bytes = match std::fs::metadata(path) {
                Ok(metadata) => metadata.len(),
                // It expired meanwhile.
                Err(_) => continue,
            };
            let before = known.remove(name);
            let of_it = told(name, None);
            let says = i64::from(of_it.reported.is_some());
            let as_before = |there: &Known| {
                there.bytes == bytes && there.told == says && (there.searched || identities.is_none())
            };
            if let Some(there) = before.filter(as_before) {
                updated.sealed += usize::from(!there.searched);
                continue;
            }
            let header = opening::header_of(path);
            let of_it = told(name, header.map(|header| header.connection));
            let (searched, cut) = match self.take(name, path, bytes, before, &of_it, identities) {
                Err(SearchFault::File(_, error)) if error.kind() == std::io::ErrorKind::NotFound => continue,
                taken => taken?,
            };
            updated.read += 1;
            updated.sealed += usize::from(!searched);
            updated.cut += usize::from(cut);
        }
        for there in known.into_values() {
            self.forget(there.id)?;
            updated.gone += 1;
        }
        Ok(updated)
    }

    /// Takes recordings out.
    pub fn drop(&mut self, names: &[Name]) -> Result<(), SearchFault> {
        let known = self.known()?;
        for there in names.iter().filter_map(|name| known.get(name)) {
            self.forget(there.id)?;
        }
        Ok(())
    }

    fn forget(&mut self, id: i64) -> Result<(), SearchFault> {
        let change = self.database.transaction()?;
        change.execute(
            "DELETE FROM line WHERE rowid BETWEEN ?1 AND ?2",
            [id << 32, (id << 32) | 0xffff_ffff],
        )?;
        change.execute("DELETE FROM recording WHERE id = ?1", [id])?;
        change.commit()?;
        Ok(())
    }

    /// Reads one and puts it in, in place of what there was. Says whether its text is in, and whether it was cut.
    fn take(
        &mut self,
        name: &Name,
        path: &Path,
        bytes: u64,
        before: Option<Known>,
        told: &Told,
        identities: Option<&Identities>,
    ) -> Result<(bool, bool), SearchFault> {
        if let Some(before) = before {
            self.forget(before.id)?;
        }
        let change = self.database.transaction()?;
        let last: Option<i64> =
            change.query_row("SELECT max(id) FROM recording", [], |row| row.get(0)).optional()?.flatten();
        let id = last.unwrap_or(0) + 1;
        let (mut text, mut lines, mut written, mut failed) = (Text::default(), Vec::new(), 0u32, None);
        let mut insert = change.prepare("INSERT INTO line(rowid, text, at_us) VALUES (?1, ?2, ?3)")?;
        let mut put = |lines: &mut Vec<Line>, failed: &mut Option<rusqlite::Error>| {
            for Line { at_us, text } in lines.drain(..) {
                if failed.is_none() && written < u32::MAX {
                    let row = (id << 32) | i64::from(written);
                    *failed = insert.execute(params![row, text, at_us.cast_signed()]).err();
                    written += 1;
                }
            }
        };
        let opening = opening::open(path, identities, |chunk| {
            text.chunk(chunk, &mut lines);
            put(&mut lines, &mut failed);
        });
        let opening = match opening {
            Ok(opening) => opening,
            Err(error) => return Err(SearchFault::File(path.to_owned(), error)),
        };
        text.finish(&mut lines);
        put(&mut lines, &mut failed);
        drop(insert);
        if let Some(error) = failed {
            return Err(error.into());
        }
        let cut = text.is_cut() || opening.wrong.is_some();
        let searched = !opening.sealed || opening.unopened.is_none();
        let header = opening.chain.header();
        let asked = String::from_utf8_lossy(&text.asked).into_owned();
        change.execute(
            "INSERT INTO recording(id, host, name, emergency, person, account, tier, serial, began_us, command, asked,
                 exit, bytes, searched, told, cut)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            params![
                id,
                name.0.as_str(),
                name.1.to_string(),
                told.emergency.map(|id| id.0.cast_signed()),
                told.person.as_ref().map(|person| person.as_str()),
                header.map(|header| header.account.as_str()),
                told.tier.as_ref().map(|tier| tier.as_str()),
                header.map(|header| header.serial.cast_signed()),
                header.map_or(0, |header| header.began_us).cast_signed(),
                header.and_then(|header| header.command.as_deref()),
                (!asked.is_empty()).then_some(asked),
                text.ended.and_then(exit),
                bytes.cast_signed(),
                searched,
                i64::from(told.reported.is_some()),
                cut,
            ],
        )?;
        change.commit()?;
        Ok((searched, cut))
    }
}

/// As a shell says it; nothing: nobody knows.
fn exit(how: Ended) -> Option<u16> {
    match how {
        Ended::Exited(code) => Some(code.into()),
        Ended::Signalled(signal) => Some(128 + u16::from(signal)),
        Ended::Broken | Ended::Restarted | Ended::Full => None,
    }
}
