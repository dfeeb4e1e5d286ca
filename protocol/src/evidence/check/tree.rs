//! That the log's key signed the head, and that each entry is under it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::Told;
use super::parts::Held;
use crate::evidence::dossier::{Dossier, Kept, RecordingPart};
use crate::evidence::layout;
use crate::evidence::manifest::Manifest;
use crate::log::tree::{leaf_hash, verify_inclusion};
use crate::log::{Checkpoint, Entry, Event, Evidence, Hash, NoteKey, Receipt};
use crate::names::EmergencyId;

/// The head, if the log's key signed it and it is the one that the manifest names.
pub(in crate::evidence) fn head(
    note: &[u8],
    manifest: &Manifest,
    key: &NoteKey,
    told: &mut Told,
) -> Option<Checkpoint> {
    let note = std::str::from_utf8(note).unwrap_or_default();
    match Checkpoint::open(note, key, &manifest.origin) {
        Ok(head) if head.size == manifest.size && head.root == manifest.root => Some(head),
        Ok(_) => {
            told.note(layout::CHECKPOINT, "it is another head than the one that the manifest names");
            None
        }
        Err(error) => {
            told.note(layout::CHECKPOINT, error.to_string());
            None
        }
    }
}

/// An entry that is proved to be in the log: read strictly, and under a head that the log's key signed.
pub(in crate::evidence) fn proved(
    index: Option<u64>,
    bytes: &[u8],
    proof: &[u8],
    key: &NoteKey,
    head: Option<(&Checkpoint, &str)>,
) -> Result<Kept, String> {
    let entry = Entry::decode(bytes).map_err(|error| error.to_string())?;
    if index.is_some_and(|index| index != entry.index) {
        return Err(format!("it says that it is entry {}", entry.index));
    }
    let receipt = Receipt::decode(proof).map_err(|error| format!("its proof: {error}"))?;
    if receipt.index != entry.index || !receipt.line1.is_empty() {
        return Err("its proof is another entry's".into());
    }
    let leaf = leaf_hash(bytes);
    let own;
    let checkpoint = match head {
        Some((head, note)) if note == receipt.checkpoint => head,
        Some(_) => return Err("its proof ends in another head than log/checkpoint".into()),
        None => {
            let origin = key.name().parse().map_err(|_| "the log's key has no log's name".to_owned())?;
            own = Checkpoint::open(&receipt.checkpoint, key, &origin)
                .map_err(|error| format!("its proof: {error}"))?;
            &own
        }
    };
    verify_inclusion(&leaf, entry.index, checkpoint.size, &receipt.hashes, &checkpoint.root)
        .map_err(|_| "it is not proved to be in the log".to_owned())?;
    Ok(Kept { entry, leaf })
}

/// What the dossier is made of, as far as it is proved.
pub(super) fn dossier(held: &Held, manifest: &Manifest, key: &NoteKey, told: &mut Told) -> Option<Dossier> {
    let Evidence::Emergency(emergency) = manifest.of else { return None };
    let note = held.bytes.get(layout::CHECKPOINT).map(Vec::as_slice).unwrap_or_default();
    let head = head(note, manifest, key, told)?;
    let note = std::str::from_utf8(note).unwrap_or_default();
    let mut entries = BTreeMap::new();
    for (name, bytes) in &held.bytes {
        let Some(index) = layout::index_of(name, layout::entry) else { continue };
        let proof = layout::proof(index);
        let Some(proof) = held.bytes.get(&proof) else {
            told.note(&proof, "it is missing");
            continue;
        };
        match proved(Some(index), bytes, proof, key, Some((&head, note))) {
            Ok(kept) => {
                entries.insert(index, kept);
                told.entries += 1;
            }
            Err(error) => told.note(name, error),
        }
    }
    first(entries.get(&0), key, told)?;
    about(&entries, emergency, told);
    Some(Dossier {
        emergency,
        log_key: manifest.log_key.clone(),
        head,
        made: manifest.made.clone(),
        certificates: certificates(held),
        recordings: recordings(held, manifest),
        missing: manifest.missing.clone(),
        entries,
    })
}

/// Entry 0 names the log and its key.
fn first(kept: Option<&Kept>, key: &NoteKey, told: &mut Told) -> Option<()> {
    let names = kept.and_then(|kept| match &kept.entry.event {
        Event::LogCreated { origin, keys, .. } => NoteKey::new(origin.as_str(), &keys.log).ok(),
        _ => None,
    });
    if names.as_ref() != Some(key) {
        told.note(layout::entry(0), "the log's first entry does not name the key under which it is signed");
        return None;
    }
    Some(())
}

/// Entries of another emergency have no place here, and without its declaration there is none.
fn about(entries: &BTreeMap<u64, Kept>, emergency: EmergencyId, told: &mut Told) {
    let declared = |kept: &Kept| matches!(&kept.entry.event, Event::EmergencyDeclared { emergency: e, .. } if *e == emergency);
    if !entries.values().any(declared) {
        told.note(layout::MANIFEST, format!("the entry that declares {emergency} is not here"));
    }
    for kept in entries.values() {
        if kept.entry.event.emergency().is_some_and(|other| other != emergency) {
            told.note(layout::entry(kept.entry.index), format!("it is not of {emergency}"));
        }
    }
}

fn certificates(held: &Held) -> BTreeSet<u64> {
    held.bytes.keys().filter_map(|name| layout::index_of(name, layout::certificate)).collect()
}

fn recordings(held: &Held, manifest: &Manifest) -> Vec<RecordingPart> {
    let size = |name: &str| placed(&manifest.parts, |part| part.name.as_str().cmp(name));
    let one = |(host, name): &(crate::names::HostName, crate::statement::Nonce)| {
        let part = size(&layout::recording(host, *name))?;
        let cast = size(&layout::cast(host, *name)).is_some();
        Some(RecordingPart { host: host.clone(), name: *name, bytes: part.bytes, sha256: part.sha256, cast })
    };
    held.recordings.keys().filter_map(one).collect()
}

/// Whether a part that is not derived has its place in a dossier whose recordings are in order, as [`dossier`] puts
/// them.
pub(super) fn is_known(name: &str, dossier: &Dossier) -> bool {
    if name == layout::CHECKPOINT {
        return true;
    }
    let of = |make: fn(u64) -> String| layout::index_of(name, make);
    if let Some(index) = of(layout::entry).or_else(|| of(layout::proof)).or_else(|| of(layout::certificate)) {
        return dossier.entries.contains_key(&index);
    }
    layout::recording_of(name).is_some_and(|(host, name, _)| {
        placed(&dossier.recordings, |one| (&one.host, one.name).cmp(&(&host, name))).is_some()
    })
}

/// The one that `order` calls equal, of many in order. A file may name 200,000 parts: to go through all of them for
/// each would take hours.
fn placed<T>(sorted: &[T], order: impl FnMut(&T) -> Ordering) -> Option<&T> {
    sorted.binary_search_by(order).ok().and_then(|at| sorted.get(at))
}

/// The entry by which the log says that this file was made.
pub(super) fn manifest_entry(held: &Held, manifest: &Manifest, key: &NoteKey, told: &mut Told) {
    let get = |name: &str| held.bytes.get(name).map(Vec::as_slice);
    let both = (get(layout::MANIFEST_ENTRY), get(layout::MANIFEST_PROOF));
    logged(both, manifest, manifest.hash(), key, told);
}

/// The same, for whoever has the two.
pub(in crate::evidence) fn logged(
    both: (Option<&[u8]>, Option<&[u8]>),
    manifest: &Manifest,
    hash: Hash,
    key: &NoteKey,
    told: &mut Told,
) {
    let (entry, proof) = match both {
        (Some(entry), Some(proof)) if manifest.made.logged => (entry, proof),
        (None, None) if !manifest.made.logged => return,
        (_, _) if manifest.made.logged => {
            return told.note(
                layout::MANIFEST_ENTRY,
                "the manifest says that it is logged, and the entry or its proof is missing",
            );
        }
        _ => return told.note(layout::MANIFEST_ENTRY, "the manifest says that it is not logged"),
    };
    let kept = match proved(None, entry, proof, key, None) {
        Ok(kept) => kept,
        Err(error) => return told.note(layout::MANIFEST_ENTRY, error),
    };
    match &kept.entry.event {
        Event::EvidenceExported { manifest: named, what, .. } if *named == hash && *what == manifest.of => {
            if kept.entry.index < manifest.size {
                told.note(layout::MANIFEST_ENTRY, "it is older than the head of the file");
            }
        }
        Event::EvidenceExported { .. } => {
            told.note(
                layout::MANIFEST_ENTRY,
                "the log names another manifest: a part was changed after it was made",
            );
        }
        _ => told.note(layout::MANIFEST_ENTRY, "it does not say that something was exported"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::manifest::{DOSSIER, Made, Part};
    use crate::names::HostName;
    use crate::statement::Nonce;

    #[test]
    fn a_part_among_as_many_as_may_be_is_found_in_few_steps() {
        let many: Vec<usize> = (0..crate::limits::EVIDENCE_PARTS).collect();
        for wanted in [0, 1, 77_777, many.len() - 1, many.len()] {
            let mut steps = 0;
            let found = placed(&many, |one| {
                steps += 1;
                one.cmp(&wanted)
            });
            assert_eq!(found.copied(), Some(wanted).filter(|wanted| *wanted < many.len()));
            assert!(steps <= 20, "{steps} steps to {wanted}");
        }
    }

    fn manifest() -> Manifest {
        Manifest {
            schema: DOSSIER.into(),
            of: Evidence::Emergency("EM-42".parse().unwrap()),
            origin: "ca.fireaxe.test/0123456789abcdef".parse().unwrap(),
            log_key: String::new(),
            size: 0,
            root: Hash([0; 32]),
            made: Made { at: 0, by: "operator uid 0".into(), version: "1".into(), logged: false },
            missing: Vec::new(),
            counts: BTreeMap::new(),
            parts: Vec::new(),
        }
    }

    /// Recordings of two hosts, whose names are in another order than those of their parts.
    #[test]
    fn every_recording_has_its_place_and_no_other() {
        let hosts =
            ["db-3.payments.prod", "db-3.payments.prod-2"].map(|host| host.parse::<HostName>().unwrap());
        let nonces = [1, 2, 3].map(|n| Nonce([n; 16]));
        let mut held = Held::default();
        let mut parts = Vec::new();
        for (n, (host, name)) in hosts.iter().flat_map(|host| nonces.map(|name| (host, name))).enumerate() {
            held.recordings.insert((host.clone(), name), crate::recording::Chain::default());
            let part = |name| Part { name, bytes: n as u64, sha256: Hash([0; 32]) };
            parts.push(part(layout::recording(host, name)));
            parts.extend((n % 2 == 0).then(|| part(layout::cast(host, name))));
        }
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        let manifest = Manifest { parts, ..manifest() };
        let found = recordings(&held, &manifest);
        assert_eq!(found.len(), 6);
        assert_eq!(found.iter().filter(|one| one.cast).count(), 3);
        assert_eq!(found.iter().map(|one| one.bytes).sum::<u64>(), 15);
        let dossier = Dossier {
            emergency: "EM-42".parse().unwrap(),
            log_key: String::new(),
            head: Checkpoint { origin: manifest.origin.clone(), size: 0, root: manifest.root },
            made: manifest.made.clone(),
            certificates: BTreeSet::new(),
            recordings: found,
            missing: Vec::new(),
            entries: BTreeMap::new(),
        };
        for part in &manifest.parts {
            assert!(is_known(&part.name, &dossier), "{}", part.name);
        }
        assert!(!is_known(&layout::recording(&hosts[0], Nonce([4; 16])), &dossier));
        assert!(!is_known(&layout::recording(&"db-4.payments.prod".parse().unwrap(), nonces[0]), &dossier));
    }
}
