//! That the parts are those of the manifest, bit for bit, and nothing beside them. One pass over all bytes: what is
//! small is held, recordings go by.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::Told;
use crate::evidence::manifest::{Manifest, sums};
use crate::evidence::{Parts, layout, whole};
use crate::limits;
use crate::log::Hash;
use crate::names::HostName;
use crate::recording::{Cast, Chain};
use crate::statement::Nonce;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Everything but recordings.
    pub(super) bytes: BTreeMap<String, Vec<u8>>,
    /// What each recording's chunks come to.
    pub(super) recordings: BTreeMap<(HostName, Nonce), Chain>,
    /// What each picture must be, if there is to be one.
    pub(super) casts: BTreeMap<(HostName, Nonce), Hash>,
    /// What each picture is.
    pub(super) cast_found: BTreeMap<(HostName, Nonce), Hash>,
}

/// Reads everything once. None if it does not fit in memory.
pub(super) fn read(parts: &mut dyn Parts, manifest: &Manifest, told: &mut Told) -> Option<Held> {
    let there: BTreeMap<String, u64> = parts.list().into_iter().collect();
    beside(&there, manifest, told);
    let mut held = Held::default();
    let mut room = limits::EVIDENCE_HELD;
    for part in &manifest.parts {
        if !there.contains_key(&part.name) {
            told.note(&part.name, "it is missing");
            continue;
        }
        let recording = layout::recording_of(&part.name);
        let hash = match &recording {
            Some((host, name, false)) => one_recording(parts, &part.name, (host, *name), &mut held, told),
            Some((host, name, true)) => {
                let hash = hash_of(parts, &part.name, &mut |_| ());
                held.cast_found.extend(hash.as_ref().ok().map(|(_, hash)| ((host.clone(), *name), *hash)));
                hash
            }
            None => {
                let mut bytes = Vec::new();
                let hash = hash_of(parts, &part.name, &mut |piece| {
                    if bytes.len() + piece.len() <= room {
                        bytes.extend_from_slice(piece);
                    }
                });
                if part.bytes > room as u64 {
                    let most = limits::EVIDENCE_HELD >> 20;
                    told.note(&part.name, format!("more than {most} MiB beside recordings are not checked"));
                    return None;
                }
                room = room.saturating_sub(bytes.len());
                held.bytes.insert(part.name.clone(), bytes);
                hash
            }
        };
        match hash {
            Err(error) => told.note(&part.name, error),
            Ok((bytes, hash)) if bytes != part.bytes || hash != part.sha256 => {
                told.note(&part.name, "its bytes are not those that the manifest names");
            }
            Ok(_) => {}
        }
    }
    outside(parts, &there, manifest, &mut held, told);
    Some(held)
}

/// Names that the manifest does not have.
pub(in crate::evidence) fn beside(there: &BTreeMap<String, u64>, manifest: &Manifest, told: &mut Told) {
    let listed: BTreeSet<&str> = manifest.parts.iter().map(|part| part.name.as_str()).collect();
    let surplus = there
        .keys()
        .filter(|name| !listed.contains(name.as_str()) && !layout::OUTSIDE.contains(&name.as_str()));
    surplus.for_each(|name| told.note(name, "it is here and not in the manifest"));
}

/// `SHA256SUMS`, and the manifest's entry and proof.
fn outside(
    parts: &mut dyn Parts,
    there: &BTreeMap<String, u64>,
    manifest: &Manifest,
    held: &mut Held,
    told: &mut Told,
) {
    let mut all = vec![(layout::MANIFEST, manifest.hash())];
    for name in [layout::MANIFEST_ENTRY, layout::MANIFEST_PROOF] {
        if there.contains_key(name)
            && let Ok(bytes) = whole(parts, name, limits::ENTRY)
        {
            all.push((name, Hash::of(&bytes)));
            held.bytes.insert(name.to_owned(), bytes);
        }
    }
    check_sums(parts, manifest, &all, told);
}

/// That `SHA256SUMS` says the same as the manifest.
pub(in crate::evidence) fn check_sums(
    parts: &mut dyn Parts,
    manifest: &Manifest,
    outside: &[(&str, Hash)],
    told: &mut Told,
) {
    match whole(parts, layout::SUMS, limits::EVIDENCE_MANIFEST) {
        Ok(found) if found == sums(manifest, outside).into_bytes() => {}
        Ok(_) => told.note(layout::SUMS, "it is not what the parts come to"),
        Err(error) => told.note(layout::SUMS, error),
    }
}

/// Size and SHA-256 of a part, whose bytes go by.
pub(in crate::evidence) fn hash_of(
    parts: &mut dyn Parts,
    name: &str,
    each: &mut dyn FnMut(&[u8]),
) -> Result<(u64, Hash), String> {
    let (mut sha, mut bytes) = (Sha256::new(), 0u64);
    parts.pieces(name, &mut |piece| {
        sha.update(piece);
        bytes += piece.len() as u64;
        each(piece);
    })?;
    Ok((bytes, Hash(sha.finalize().into())))
}

/// A recording: its chunks hang together, as far as they go; what its picture must be.
fn one_recording(
    parts: &mut dyn Parts,
    part: &str,
    of: (&HostName, Nonce),
    held: &mut Held,
    told: &mut Told,
) -> Result<(u64, Hash), String> {
    let (mut chain, mut left, mut wrong) = (Chain::default(), Vec::new(), None);
    let (mut cast, mut picture, mut line) = (Cast::default(), Sha256::new(), String::new());
    let read = hash_of(parts, part, &mut |piece| {
        if wrong.is_some() {
            return;
        }
        left.extend_from_slice(piece);
        let mut taken_all = 0;
        loop {
            match chain.next(left.get(taken_all..).unwrap_or_default()) {
                Ok(Some((chunk, taken))) => {
                    cast.chunk(&chunk, &mut line);
                    picture.update(line.as_bytes());
                    line.clear();
                    taken_all += taken;
                }
                Ok(None) => break,
                Err(error) => {
                    wrong = Some(error.to_string());
                    break;
                }
            }
        }
        left.drain(..taken_all.min(left.len()));
    })?;
    if let Some(wrong) = wrong {
        told.note(part, wrong);
    } else if !left.is_empty() {
        told.note(part, "the recording is cut off within a chunk");
    }
    let (host, name) = of;
    if chain.header().is_none_or(|header| header.host != *host || header.recording != name) {
        told.note(part, "its own header names another host or another recording");
    }
    held.casts.insert((host.clone(), name), Hash(picture.finalize().into()));
    held.recordings.insert((host.clone(), name), chain);
    Ok(read)
}
