//! The parts of a dossier: entries with their proofs to one head, certificates as they went out, recordings as they
//! lie on disk, and everything that follows from these.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

use fireaxe_protocol::evidence::manifest::DOSSIER;
use fireaxe_protocol::evidence::{
    self as layout, CHECKPOINT, Dossier, Kept, Made, Manifest, Missing, RecordingPart, derived,
};
use fireaxe_protocol::host::Recorded;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Checkpoint, Entry, Event, Evidence, Receipt};
use fireaxe_protocol::names::{EmergencyId, HostName};
use fireaxe_protocol::statement::Nonce;

use super::collect::Collected;
use super::draft::{Draft, Fault, Source};
use crate::log::Reader;
use crate::recordings;

/// Puts it together. `note` is the head that all proofs end in; `certificates` what the running CA gave of
/// [`Collected::serials`].
pub fn dossier<'s>(
    reader: &Reader,
    recordings_at: &Path,
    (id, note): (EmergencyId, &str),
    collected: &Collected,
    certificates: &BTreeMap<u64, String>,
    made: Made,
) -> Result<Draft<'s>, Fault> {
    if !collected.declared {
        return Err(Fault::Nothing(format!("the log has no {id}")));
    }
    let head = Checkpoint::open(note, reader.key(), reader.origin()).map_err(crate::log::LogError::from)?;
    let mut parts: BTreeMap<String, Source<'s>> = BTreeMap::new();
    let mut entries = BTreeMap::new();
    for index in &collected.entries {
        let bytes = reader.entry_bytes(*index)?;
        let hashes = reader.inclusion(*index, head.size)?;
        let proof = Receipt { line1: Vec::new(), index: *index, hashes, checkpoint: note.to_owned() };
        entries.insert(*index, Kept { entry: Entry::decode(&bytes)?, leaf: leaf_hash(&bytes) });
        parts.insert(layout::proof(*index), Source::Bytes(proof.encode()));
        parts.insert(layout::entry(*index), Source::Bytes(bytes));
    }
    parts.insert(CHECKPOINT.into(), Source::Bytes(note.as_bytes().to_vec()));
    for (serial, certificate) in certificates {
        parts.insert(layout::certificate(*serial), Source::Bytes(format!("{certificate}\n").into_bytes()));
    }
    let mut dossier = Dossier {
        emergency: id,
        log_key: reader.key().to_string(),
        head,
        made,
        entries,
        certificates: certificates.keys().copied().collect(),
        recordings: Vec::new(),
        missing: Vec::new(),
    };
    add_recordings(recordings_at, &mut dossier, &mut parts)?;
    let all = derived(&dossier);
    parts.extend(all.exact.into_iter().chain(all.words).map(|(name, bytes)| (name, Source::Bytes(bytes))));
    let manifest = Manifest {
        schema: DOSSIER.into(),
        of: Evidence::Emergency(id),
        origin: dossier.head.origin.clone(),
        log_key: dossier.log_key,
        size: dossier.head.size,
        root: dossier.head.root,
        made: dossier.made,
        missing: dossier.missing,
        counts: BTreeMap::new(),
        parts: Vec::new(),
    };
    Draft::new(id.to_string(), parts, manifest)
}

/// Those that were reported, and those of its certificates that were not yet.
fn add_recordings(
    root: &Path,
    dossier: &mut Dossier,
    parts: &mut BTreeMap<String, Source<'_>>,
) -> Result<(), Fault> {
    let reported: BTreeMap<(HostName, Nonce), Recorded> =
        dossier.reported().map(|(_, host, one)| ((host.clone(), one.recording), one)).collect();
    let mut names: BTreeSet<(HostName, Nonce)> = reported.keys().cloned().collect();
    names.extend(unreported(root, dossier));
    for (host, name) in names {
        let path = root.join(host.as_str()).join(name.to_string());
        // No more than whole chunks: a host may be sending the next.
        let read = recordings::read(&path, |_| ());
        let Ok((chain, good, _)) = read.as_ref() else {
            let expired = dossier.entries.values().any(|kept| match &kept.entry.event {
                Event::RecordingExpired { host: h, recording, .. } => *h == host && *recording == name,
                _ => false,
            });
            let why = if expired { "expired" } else { "absent" }.to_owned();
            dossier.missing.push(Missing { host, recording: name, why });
            continue;
        };
        let file = Source::File(path.clone(), *good);
        let (bytes, sha256) = file.measure()?;
        parts.insert(layout::recording(&host, name), file);
        // One that still grows has no picture yet; one that is sealed has none without an auditor's key.
        let sealed = chain.header().is_none_or(|header| !header.sealed.is_empty());
        let cast = reported.contains_key(&(host.clone(), name)) && !sealed;
        if cast {
            parts.insert(layout::cast(&host, name), Source::Cast(path));
        }
        dossier.recordings.push(RecordingPart { host, name, bytes, sha256, cast });
    }
    dossier.recordings.sort();
    dossier.missing.sort();
    Ok(())
}

/// Recordings on disk of hosts where a certificate of it came in, whose own header names such a certificate.
fn unreported(root: &Path, dossier: &Dossier) -> Vec<(HostName, Nonce)> {
    let spoke = dossier.entries.values().filter_map(|kept| match &kept.entry.event {
        Event::SessionOpened { by, .. } | Event::SessionClosed { by, .. } => Some(&by.host),
        _ => None,
    });
    let spoke: BTreeSet<&HostName> = spoke.collect();
    let mut out = Vec::new();
    for host in spoke {
        for file in std::fs::read_dir(root.join(host.as_str())).into_iter().flatten().flatten() {
            let name = file.file_name().to_str().and_then(|name| name.parse::<Nonce>().ok());
            let header = recordings::opening::header_of(&file.path());
            if let (Some(name), Some(header)) = (name, header)
                && is_issued(dossier, header.serial)
            {
                out.push((host.clone(), name));
            }
        }
    }
    out
}

fn is_issued(dossier: &Dossier, serial: u64) -> bool {
    dossier
        .entries
        .get(&serial)
        .is_some_and(|kept| matches!(kept.entry.event, Event::CertificateIssued { .. }))
}

/// Reads on as long as `each` says so: entries in order, a fault of its own ends it.
pub(super) fn each_entry(
    reader: &Reader,
    (from, to): (u64, u64),
    mut each: impl FnMut(u64, &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut fault = Ok(());
    reader.entries(from, to.saturating_sub(from), |index, bytes| {
        fault = each(index, bytes);
        if fault.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    fault
}
