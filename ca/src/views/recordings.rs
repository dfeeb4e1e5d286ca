//! What entries say of recordings: what hosts reported when connections ended, and which expired. Whether a
//! recording is there, and is what was reported, is for whoever reads it.

use fireaxe_protocol::host::Recorded;
use fireaxe_protocol::names::{EmergencyId, HostName};
use fireaxe_protocol::statement::Nonce;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{ViewError, Views};
use crate::log::Reader;

/// A recording that the log knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedRecording {
    /// The host it was made on.
    pub host: HostName,
    /// Whose it is.
    pub emergency: Option<EmergencyId>,
    /// What it must come to, with its name.
    pub reported: Recorded,
    /// Whether the log says that it expired.
    pub expired: bool,
}

impl Views {
    /// Those that were reported, by host and name, from the one after `after` on, at most `most`; all or one
    /// emergency's.
    pub fn recordings(
        &self,
        reader: &Reader,
        after: Option<&(HostName, Nonce)>,
        only: Option<EmergencyId>,
        most: usize,
    ) -> Result<Vec<ReportedRecording>, ViewError> {
        let database = self.caught_up(reader)?;
        let mut rows = database.prepare_cached(
            "SELECT host, emergency, json, expired FROM recording
             WHERE (?1 IS NULL OR emergency = ?1) AND (host, name) > (?2, ?3) ORDER BY host, name LIMIT ?4",
        )?;
        let (host, name) = after.map(|(host, name)| (host.as_str(), name.to_string())).unwrap_or_default();
        let only = only.map(|id| id.0.cast_signed());
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut rows = rows.query(params![only, host, name, most])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(row)?);
        }
        Ok(found)
    }

    /// What was reported of one.
    pub fn recording(
        &self,
        reader: &Reader,
        host: &HostName,
        name: Nonce,
    ) -> Result<Option<ReportedRecording>, ViewError> {
        let database = self.caught_up(reader)?;
        let mut rows = database.prepare_cached(
            "SELECT host, emergency, json, expired FROM recording WHERE host = ?1 AND name = ?2",
        )?;
        let mut rows = rows.query(params![host.as_str(), name.to_string()])?;
        rows.next()?.map(read).transpose()
    }

    /// Whose connection it is or was, as its host reported.
    pub fn emergency_of(
        &self,
        reader: &Reader,
        host: &HostName,
        connection: Nonce,
    ) -> Result<Option<EmergencyId>, ViewError> {
        let database = self.caught_up(reader)?;
        let found: Option<Option<i64>> = database
            .prepare_cached("SELECT emergency FROM connection WHERE host = ?1 AND name = ?2")?
            .query_row(params![host.as_str(), connection.to_string()], |row| row.get(0))
            .optional()?;
        Ok(found.flatten().map(|id| EmergencyId(id.cast_unsigned())))
    }
}

/// A connection ended, and these were made of it.
pub(super) fn reported(
    to: &Connection,
    host: &HostName,
    emergency: Option<EmergencyId>,
    recordings: &[Recorded],
) -> Result<(), ViewError> {
    for recorded in recordings {
        let json = serde_json::to_string(recorded).map_err(|_| ViewError::Row)?;
        // What a host said first stands: a later report cannot take its place.
        to.prepare_cached(
            "INSERT OR IGNORE INTO recording (host, name, emergency, json) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            host.as_str(),
            recorded.recording.to_string(),
            emergency.map(|id| id.0.cast_signed()),
            json
        ])?;
    }
    Ok(())
}

/// It is about to be removed.
pub(super) fn expired(to: &Connection, host: &HostName, name: Nonce) -> Result<(), ViewError> {
    to.prepare_cached("UPDATE recording SET expired = 1 WHERE host = ?1 AND name = ?2")?
        .execute(params![host.as_str(), name.to_string()])?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<ReportedRecording, ViewError> {
    let host: String = row.get(0)?;
    let json: String = row.get(2)?;
    Ok(ReportedRecording {
        host: host.parse().map_err(|_| ViewError::Row)?,
        emergency: row.get::<_, Option<i64>>(1)?.map(|id| EmergencyId(id.cast_unsigned())),
        reported: serde_json::from_str(&json).map_err(|_| ViewError::Row)?,
        expired: row.get(3)?,
    })
}
