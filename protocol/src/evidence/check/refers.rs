//! That what entries refer to is here: the entry an answer names, the certificates that a closing revokes, the
//! recordings that a host reported. What nothing refers to cannot be missed here.

use std::collections::{BTreeMap, BTreeSet};

use super::Told;
use super::parts::Held;
use crate::evidence::dossier::Dossier;
use crate::evidence::layout;
use crate::evidence::manifest::Missing;
use crate::host::Recorded;
use crate::log::{Event, Hash};
use crate::names::HostName;
use crate::statement::{Nonce, Statement};

/// Everything that refers.
pub(super) fn check(dossier: &Dossier, held: &Held, told: &mut Told) {
    let leaves: BTreeSet<Hash> = dossier.entries.values().map(|kept| kept.leaf).collect();
    for kept in dossier.entries.values() {
        let place = layout::entry(kept.entry.index);
        if let Some(of) = refers(&kept.entry.event).filter(|of| !leaves.contains(of)) {
            told.note(&place, format!("the entry {of} that it refers to is not here"));
        }
        match &kept.entry.event {
            Event::EmergencyClosed { revoked, .. } => {
                let issued = |serial: &&u64| match dossier.entries.get(serial) {
                    Some(kept) => !matches!(kept.entry.event, Event::CertificateIssued { .. }),
                    None => true,
                };
                for serial in revoked.iter().filter(issued) {
                    told.note(&place, format!("certificate {serial}, which it revokes, is not here"));
                }
            }
            Event::EmergencyReviewed { by, .. } => {
                let of = match Statement::read(&by.said.statement) {
                    Ok(Statement::Review(words)) => Some(words.of),
                    _ => None,
                };
                if of.is_none_or(|of| !leaves.contains(&of)) {
                    told.note(&place, "the declaration that it reviews is not here");
                }
            }
            _ => {}
        }
    }
    recordings(dossier, held, told);
}

fn refers(event: &Event) -> Option<Hash> {
    match event {
        Event::EmergencySeconded { of, .. }
        | Event::EmergencyRedecided { of, .. }
        | Event::ExtensionRequested { of, .. }
        | Event::ExtensionRefused { of, .. }
        | Event::RungCalled { of, .. }
        | Event::ApprovalGiven { of, .. }
        | Event::ApprovalRefused { of, .. }
        | Event::RequestLapsed { of, .. }
        | Event::AnomalyRaised { of, .. }
        | Event::CertificateIssued { of, .. }
        | Event::RecordingExpired { of, .. }
        | Event::HostEnrolled { of, .. } => Some(*of),
        Event::SessionOpened { by, .. }
        | Event::SessionClosed { by, .. }
        | Event::HostConfirmed { by, .. } => Some(by.of),
        _ => None,
    }
}

/// Each recording that is here is what a host reported; each that was reported is here, or said to be missing.
fn recordings(dossier: &Dossier, held: &Held, told: &mut Told) {
    let reported: BTreeMap<(HostName, Nonce), Recorded> =
        dossier.reported().map(|(_, host, one)| ((host.clone(), one.recording), one)).collect();
    for (of, chain) in &held.recordings {
        let place = layout::recording(&of.0, of.1);
        match (reported.get(of), chain.recorded()) {
            (Some(wanted), Some(found)) if *wanted == found => told.recordings += 1,
            (Some(_), _) => {
                told.note(&place, "it is not what the host reported: another head, or other sums")
            }
            (None, _) => {
                let serial = chain.header().map(|header| header.serial);
                match serial.filter(|serial| dossier.entries.contains_key(serial)) {
                    Some(_) => told.remark(format!("{place}: the host has not reported what it comes to")),
                    None => told.note(&place, "it is of no certificate of this emergency"),
                }
            }
        }
    }
    for part in &dossier.recordings {
        let picture = layout::cast(&part.host, part.name);
        let wanted = held.casts.get(&(part.host.clone(), part.name));
        if part.cast && wanted != held.cast_found.get(&(part.host.clone(), part.name)) {
            told.note(&picture, "it is not the picture of its recording");
        }
    }
    let expired: BTreeSet<(&HostName, Nonce)> = dossier
        .entries
        .values()
        .filter_map(|kept| match &kept.entry.event {
            Event::RecordingExpired { host, recording, .. } => Some((host, *recording)),
            _ => None,
        })
        .collect();
    let wanted = reported.keys().filter(|of| !held.recordings.contains_key(*of)).map(|(host, recording)| {
        let why = if expired.contains(&(host, *recording)) { "expired" } else { "absent" };
        Missing { host: host.clone(), recording: *recording, why: why.into() }
    });
    let wanted: Vec<Missing> = wanted.collect();
    if wanted != dossier.missing {
        told.note(
            layout::MANIFEST,
            "the recordings that it says are missing are not those that were reported and are not here",
        );
    }
    for one in &wanted {
        told.remark(format!("{} is not here: {}", layout::recording(&one.host, one.recording), one.why));
    }
}
