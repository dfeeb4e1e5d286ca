//! What one entry adds to the lists.

use fireaxe_protocol::api;
use fireaxe_protocol::certificate::Fields;
use fireaxe_protocol::limits::HOLDS;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Closer, Decided, Entry, Event, Hash, SignedBy};
use fireaxe_protocol::names::{EmergencyId, HostName};
use fireaxe_protocol::policy::Terms;
use fireaxe_protocol::statement::Statement;
use rusqlite::{Connection, OptionalExtension, params};

use super::{ViewError, hosts};

pub(super) fn take(to: &Connection, entry: &Entry, bytes: &[u8]) -> Result<(), ViewError> {
    match &entry.event {
        Event::EmergencyDeclared { until, .. } => declared(to, entry, bytes, *until)?,
        Event::EmergencySeconded { by, emergency, .. } => {
            took_part(to, *emergency, by, "second", None)?;
            decided_anew(to, entry, bytes)?;
        }
        Event::EmergencyRedecided { .. } => decided_anew(to, entry, bytes)?,
        Event::ExtensionRequested { emergency, .. } => {
            set(to, *emergency, "extensions = extensions + 1, state = 'open'")?;
            decided_anew(to, entry, bytes)?;
        }
        Event::ExtensionRefused { emergency, .. } => {
            // One that was closing is held open until what it holds ends; the next closing says otherwise.
            let sql = "UPDATE emergency SET extensions = extensions + 1, state = 'open', until = (
                           SELECT coalesce(max(ends), until) FROM certificate WHERE emergency = ?1)
                       WHERE id = ?1 AND state = 'closing' AND extensions < ?2";
            to.execute(sql, params![emergency.0.cast_signed(), HOLDS])?;
        }
        Event::ApprovalGiven { emergency, by, .. } => took_part(to, *emergency, by, "approve", None)?,
        Event::ApprovalRefused { emergency, .. } | Event::RequestLapsed { emergency, .. } => {
            let sql = "UPDATE emergency SET waiting = NULL, until = (
                           SELECT coalesce(max(ends), ?2) FROM certificate WHERE emergency = ?1) WHERE id = ?1";
            to.execute(sql, params![emergency.0.cast_signed(), entry.at.cast_signed()])?;
        }
        Event::CertificateIssued { of, terms } => issued(to, entry, of, terms)?,
        Event::EmergencyClosing { emergency, until, .. } => {
            to.execute(
                "UPDATE emergency SET state = 'closing', waiting = NULL, until = min(until, ?2) WHERE id = ?1",
                params![emergency.0.cast_signed(), until.cast_signed()],
            )?;
        }
        Event::EmergencyClosed { emergency, by, revoked, review_due } => {
            closed(to, entry, *emergency, by, revoked)?;
            if !revoked.is_empty() {
                reached(to, *emergency, bytes)?;
            }
            to.execute(
                "UPDATE emergency SET due = ?2 WHERE id = ?1",
                params![emergency.0.cast_signed(), review_due.map(u64::cast_signed)],
            )?;
        }
        Event::EmergencyReviewed { emergency, by } => {
            let Ok(Statement::Review(words)) = Statement::read(&by.said.statement) else {
                return Err(ViewError::Row);
            };
            let verdict = serde_json::to_string(&words.verdict).map_err(|_| ViewError::Row)?;
            took_part(to, *emergency, by, "review", Some(&verdict))?;
            set(to, *emergency, "state = 'reviewed'")?;
        }
        Event::HostEnrolled { .. }
        | Event::HostRetired { .. }
        | Event::SessionOpened { .. }
        | Event::SessionClosed { .. }
        | Event::RecordingExpired { .. }
        | Event::HostConfirmed { .. } => hosts::take(to, entry)?,
        _ => {}
    }
    Ok(())
}

/// Updates one emergency. `what` is this file's own text, never a value.
fn set(to: &Connection, id: EmergencyId, what: &str) -> Result<(), ViewError> {
    to.execute(&format!("UPDATE emergency SET {what} WHERE id = ?1"), [id.0.cast_signed()])?;
    Ok(())
}

fn took_part(
    to: &Connection,
    id: EmergencyId,
    by: &SignedBy,
    role: &str,
    verdict: Option<&str>,
) -> Result<(), ViewError> {
    to.prepare_cached(
        "INSERT OR IGNORE INTO part (emergency, person, role, verdict) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![id.0.cast_signed(), by.person.as_str(), role, verdict])?;
    Ok(())
}

fn declared(to: &Connection, entry: &Entry, bytes: &[u8], until: u64) -> Result<(), ViewError> {
    let Event::EmergencyDeclared { emergency, declared, facts, decision, .. } = &entry.event else {
        return Err(ViewError::Row);
    };
    let Ok(Statement::Declare(words)) = Statement::read(&declared.statement) else {
        return Err(ViewError::Row);
    };
    let Some(severity) = decision.severity else { return Err(ViewError::Row) };
    let row = api::Emergency {
        emergency: *emergency,
        state: "open".into(),
        declaration: leaf_hash(bytes),
        person: facts.person.clone(),
        system: facts.target.system.clone(),
        host: facts.target.host.clone(),
        severity,
        tier: None,
        account: None,
        incident: decision.rests_on(facts).map(|i| i.id.clone()),
        reason: words.reason,
        drill: facts.drill,
        declared_at: entry.at,
        until,
        closed_by: None,
        closed_at: None,
        serials: Vec::new(),
        narrowed: 0,
        waiting: None,
        seconds: Vec::new(),
        approved_by: Vec::new(),
        extensions: 0,
        review: None,
        connections: None,
        confirmed: None,
    };
    let json = serde_json::to_string(&row).map_err(|_| ViewError::Row)?;
    to.prepare_cached("INSERT INTO emergency (id, json, state, until) VALUES (?1, ?2, 'open', ?3)")?
        .execute(params![emergency.0.cast_signed(), json, until.cast_signed()])?;
    decided_anew(to, entry, bytes)
}

/// An entry that decided: what waits, until when, and the terms it may come to.
fn decided_anew(to: &Connection, entry: &Entry, bytes: &[u8]) -> Result<(), ViewError> {
    let Decided { emergency, decision, .. } = entry.event.decided().ok_or(ViewError::Row)?;
    let both: Vec<&Terms> = decision.terms_now().into_iter().chain(decision.terms_waiting()).collect();
    let json = serde_json::to_string(&both).map_err(|_| ViewError::Row)?;
    to.prepare_cached("INSERT INTO decision (leaf, emergency, json) VALUES (?1, ?2, ?3)")?
        .execute(params![leaf_hash(bytes).0, emergency.0.cast_signed(), json])?;
    let waiting = decision.terms_waiting().map(|terms| terms.tier.as_str());
    let waits_until = match &decision.outcome {
        fireaxe_protocol::policy::Outcome::NeedsApproval { wait_s, .. } => entry.at + u64::from(*wait_s),
        _ => 0,
    };
    to.prepare_cached("UPDATE emergency SET waiting = ?2, until = max(until, ?3) WHERE id = ?1")?
        .execute(params![emergency.0.cast_signed(), waiting, waits_until.cast_signed()])?;
    Ok(())
}

fn issued(to: &Connection, entry: &Entry, of: &Hash, terms: &Hash) -> Result<(), ViewError> {
    let decision: Option<(i64, String)> = to
        .prepare_cached("SELECT emergency, json FROM decision WHERE leaf = ?1")?
        .query_row([of.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    // A host's self-test rests on no decision and belongs to no emergency.
    let Some((id, json)) = decision else { return Ok(()) };
    let both: Vec<Terms> = serde_json::from_str(&json).map_err(|_| ViewError::Row)?;
    let json: String =
        to.prepare_cached("SELECT json FROM emergency WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
    let emergency: api::Emergency = serde_json::from_str(&json).map_err(|_| ViewError::Row)?;
    let body = entry.body.as_deref().ok_or(ViewError::Row)?;
    let read = Fields::of_unsigned(body).map_err(|_| ViewError::Row)?;
    // As the decision gave it; or made on demand for the one host that the body names.
    let given = both.iter().find(|one| one.hash() == *terms);
    let narrowed_to = if given.is_none() { read.only_host() } else { None };
    let terms = match (given, &narrowed_to) {
        (Some(given), _) => given.clone(),
        (None, Some(host)) => {
            let lifetime_s = u32::try_from(read.valid_before.saturating_sub(entry.at)).unwrap_or(u32::MAX);
            let mut narrow = both.iter().map(|wide| wide.on_host(host, lifetime_s));
            narrow.find(|one| one.hash() == *terms).ok_or(ViewError::Row)?
        }
        (None, None) => return Err(ViewError::Row),
    };
    let row = api::Certificate {
        serial: entry.index,
        emergency: emergency.emergency,
        person: emergency.person,
        tier: terms.tier.clone(),
        principal: read.principals.join(" "),
        narrowed_to: narrowed_to.clone(),
        valid_after: read.valid_after,
        valid_before: read.valid_before,
        revoked_at: None,
    };
    let json = serde_json::to_string(&row).map_err(|_| ViewError::Row)?;
    let ends = read.valid_before.cast_signed();
    let host = narrowed_to.as_ref().map(HostName::as_str);
    to.prepare_cached(
        "INSERT INTO certificate (serial, emergency, json, ends, host) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![entry.index.cast_signed(), id, json, ends, host])?;
    if host.is_some() {
        // It changes nothing of what the emergency holds.
        return Ok(());
    }
    // Once the full tier is there, nothing waits any more.
    to.prepare_cached(
        "UPDATE emergency SET tier = ?2, account = ?3, until = max(until, ?4),
             waiting = CASE WHEN waiting = ?2 THEN NULL ELSE waiting END WHERE id = ?1",
    )?
    .execute(params![id, terms.tier.as_str(), terms.account.as_str(), ends])?;
    Ok(())
}

/// The enrolled hosts that it reached owe a confirmation of its end.
fn reached(to: &Connection, id: EmergencyId, bytes: &[u8]) -> Result<(), ViewError> {
    let json: String = to
        .prepare_cached("SELECT json FROM emergency WHERE id = ?1")?
        .query_row([id.0.cast_signed()], |row| row.get(0))?;
    let one: api::Emergency = serde_json::from_str(&json).map_err(|_| ViewError::Row)?;
    hosts::owe(to, id, leaf_hash(bytes), &one.system, one.host.as_ref())
}

fn closed(
    to: &Connection,
    entry: &Entry,
    id: EmergencyId,
    by: &Closer,
    revoked: &[u64],
) -> Result<(), ViewError> {
    let by = match by {
        Closer::Person { person, .. } => person.to_string(),
        Closer::Deadline => "deadline".into(),
        Closer::Grace => "grace".into(),
        Closer::Unlinked => "unlinked".into(),
        Closer::Removed => "removed".into(),
    };
    to.execute(
        "UPDATE emergency SET state = 'closed', waiting = NULL, closed_by = ?2, closed_at = ?3 WHERE id = ?1",
        params![id.0.cast_signed(), by, entry.at.cast_signed()],
    )?;
    for serial in revoked {
        to.execute(
            "UPDATE certificate SET revoked_at = ?2 WHERE serial = ?1",
            params![serial.cast_signed(), entry.at.cast_signed()],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's own steps may fail it")]

    use super::*;
    use crate::views::Views;

    #[test]
    fn the_certificate_of_a_self_test_is_in_no_list_and_breaks_none() {
        let dir = tempfile::tempdir().unwrap();
        let views = Views::open(&dir.path().join("views.sqlite")).unwrap();
        let database = views.database.lock().unwrap();
        // Of a leaf that decided nothing: that of the entry which granted the test.
        let event = Event::CertificateIssued { of: Hash::of(b"granted"), terms: Hash::of(b"terms") };
        let entry = Entry { index: 7, at: 1_700_000_000, event, body: Some(b"body".to_vec()) };
        take(&database, &entry, b"bytes").unwrap();
        let listed = database.query_row("SELECT count(*) FROM certificate", [], |row| row.get::<_, i64>(0));
        assert_eq!(listed.unwrap(), 0);
    }
}
