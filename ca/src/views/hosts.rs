//! What entries about hosts add to the lists: which there are, the connections that they reported, and which of
//! them confirmed the end of what reached them.

use fireaxe_protocol::host::Report;
use fireaxe_protocol::log::{Entry, Event, Hash, HostSaid};
use fireaxe_protocol::names::{EmergencyId, HostName, SystemName};
use fireaxe_protocol::statement::Statement;
use rusqlite::{Connection, params};

use super::{ViewError, recordings};

pub(super) fn take(to: &Connection, entry: &Entry) -> Result<(), ViewError> {
    match &entry.event {
        Event::HostEnrolled { host, system, .. } => {
            gone(to, host)?;
            to.prepare_cached("INSERT OR REPLACE INTO host (name, system) VALUES (?1, ?2)")?
                .execute(params![host.as_str(), system.as_str()])?;
        }
        Event::HostRetired { host, .. } => {
            gone(to, host)?;
            to.prepare_cached("DELETE FROM host WHERE name = ?1")?.execute([host.as_str()])?;
        }
        Event::SessionOpened { emergency, unusual, by } => {
            let Report::SessionOpened(said) = words(by)? else { return Err(ViewError::Row) };
            to.prepare_cached(
                "INSERT OR REPLACE INTO connection (host, name, emergency, live, unusual) VALUES (?1, ?2, ?3, 1, ?4)",
            )?
            .execute(params![
                by.host.as_str(),
                said.connection.to_string(),
                emergency.map(|id| id.0.cast_signed()),
                !unusual.is_empty()
            ])?;
        }
        Event::RecordingExpired { host, recording, .. } => recordings::expired(to, host, *recording)?,
        Event::SessionClosed { unusual, by, emergency } => {
            let Report::SessionClosed(said) = words(by)? else { return Err(ViewError::Row) };
            recordings::reported(to, &by.host, *emergency, &said.recordings)?;
            to.prepare_cached(
                "UPDATE connection SET live = 0, unusual = max(unusual, ?3) WHERE host = ?1 AND name = ?2",
            )?
            .execute(params![
                by.host.as_str(),
                said.connection.to_string(),
                !unusual.is_empty()
            ])?;
        }
        Event::HostConfirmed { closed, by } => {
            for leaf in closed {
                to.prepare_cached("UPDATE reach SET confirmed_at = ?3 WHERE closing = ?1 AND host = ?2")?
                    .execute(params![leaf.0, by.host.as_str(), entry.at.cast_signed()])?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// An emergency that opened `system`, or `host` alone, was closed by the entry of this leaf.
pub(super) fn owe(
    to: &Connection,
    id: EmergencyId,
    leaf: Hash,
    system: &SystemName,
    host: Option<&HostName>,
) -> Result<(), ViewError> {
    let which = if host.is_some() { "name = ?3" } else { "system = ?3" };
    let scope = host.map_or(system.as_str(), HostName::as_str);
    to.prepare_cached(&format!(
        "INSERT INTO reach (closing, host, emergency) SELECT ?1, name, ?2 FROM host WHERE {which}"
    ))?
    .execute(params![leaf.0, id.0.cast_signed(), scope])?;
    Ok(())
}

/// It is enrolled anew, or ours no more: what it had open it cannot speak for.
fn gone(to: &Connection, host: &HostName) -> Result<(), ViewError> {
    to.prepare_cached("UPDATE connection SET live = 0 WHERE host = ?1")?.execute([host.as_str()])?;
    Ok(())
}

fn words(by: &HostSaid) -> Result<Report, ViewError> {
    match Statement::read(&by.said.statement) {
        Ok(Statement::Report(words)) => Ok(words.report),
        _ => Err(ViewError::Row),
    }
}
