//! Every check of a period: its parts are those of the manifest, each of its entries hashes to its leaf, and all of
//! them in a row lie in the log under its signed head. Entries go by one at a time, however many there are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::check::Told;
use super::check::parts::{beside, check_sums, hash_of};
use super::check::tree::{head, logged};
use super::layout;
use super::manifest::Manifest;
use super::{Parts, range, whole};
use crate::limits;
use crate::log::tree::leaf_hash;
use crate::log::{Entry, Evidence, Hash, NoteKey};

/// A line of `entries.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line<'l> {
    /// The entry's index.
    pub index: u64,
    /// Its leaf.
    pub leaf: Hash,
    /// Its bytes, which are text.
    #[serde(borrow)]
    pub entry: std::borrow::Cow<'l, str>,
}

/// A line: an entry at its limit, escaped.
const LINE: usize = 4 * limits::ENTRY;

/// Checks it.
pub(super) fn check(parts: &mut dyn Parts, manifest: &Manifest, key: &NoteKey, told: &mut Told) {
    let there: BTreeMap<String, u64> = parts.list().into_iter().collect();
    beside(&there, manifest, told);
    let note = whole(parts, layout::CHECKPOINT, limits::NOTE).unwrap_or_default();
    let head = head(&note, manifest, key, told);
    let mut lines = Lines::begin(parts, manifest, told);
    for part in &manifest.parts {
        if !there.contains_key(&part.name) {
            told.note(&part.name, "it is missing");
            continue;
        }
        let read = hash_of(parts, &part.name, &mut |piece| {
            if part.name == layout::ENTRIES
                && let Some(lines) = &mut lines
            {
                lines.take(piece, told);
            }
        });
        match read {
            Err(error) => told.note(&part.name, error),
            Ok((bytes, hash)) if bytes != part.bytes || hash != part.sha256 => {
                told.note(&part.name, "its bytes are not those that the manifest names");
            }
            Ok(_) => {}
        }
    }
    if let Some(lines) = lines {
        lines.end(head.map(|head| head.root), manifest, told);
    }
    let hash = manifest.hash();
    let mut outside = vec![(layout::MANIFEST, hash)];
    let mut get = |name: &'static str| {
        let bytes = there.contains_key(name).then(|| whole(parts, name, limits::ENTRY).ok()).flatten()?;
        outside.push((name, Hash::of(&bytes)));
        Some(bytes)
    };
    let (entry, proof) = (get(layout::MANIFEST_ENTRY), get(layout::MANIFEST_PROOF));
    check_sums(parts, manifest, &outside, told);
    logged((entry.as_deref(), proof.as_deref()), manifest, hash, key, told);
}

/// `entries.jsonl` as it goes by.
struct Lines {
    left: Vec<u8>,
    check: range::Check,
    from: u64,
    to: u64,
    counts: BTreeMap<String, u64>,
    broken: bool,
}

impl Lines {
    fn begin(parts: &mut dyn Parts, manifest: &Manifest, told: &mut Told) -> Option<Lines> {
        let Evidence::Period { from, to } = manifest.of else { return None };
        let proof =
            whole(parts, layout::RANGE, limits::NOTE).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let begun = proof.as_deref().and_then(|proof| {
            let (first, rest) = proof.split_once('\n')?;
            let (first, after) = first.split_once(' ')?;
            range::Check::begin(first.parse().ok()?, after.parse().ok()?, manifest.size, rest)
        });
        let Some(check) = begun else {
            told.note(layout::RANGE, "it is no proof of a range of this log");
            return None;
        };
        Some(Lines { left: Vec::new(), check, from, to, counts: BTreeMap::new(), broken: false })
    }

    fn take(&mut self, piece: &[u8], told: &mut Told) {
        if self.broken {
            return;
        }
        self.left.extend_from_slice(piece);
        let mut done = 0;
        while let Some(end) = self.left.get(done..).and_then(|rest| rest.iter().position(|b| *b == b'\n')) {
            let line = self.left.get(done..done + end).unwrap_or_default();
            if let Err(what) = one(line, &mut self.check, (self.from, self.to), &mut self.counts) {
                told.note(layout::ENTRIES, format!("entry {}: {what}", self.check.next()));
                self.broken = true;
                return;
            }
            told.entries += 1;
            done += end + 1;
        }
        self.left.drain(..done);
        if self.left.len() > LINE {
            told.note(layout::ENTRIES, format!("a line is longer than {LINE} bytes"));
            self.broken = true;
        }
    }

    fn end(self, root: Option<Hash>, manifest: &Manifest, told: &mut Told) {
        if self.broken {
            return;
        }
        if !self.left.is_empty() {
            told.note(layout::ENTRIES, "it ends within a line");
        }
        if root.is_some() && self.check.root() != root {
            told.note(layout::ENTRIES, "its entries are not all of that range, or do not lie in the log");
        }
        if self.counts != manifest.counts {
            told.note(layout::MANIFEST, "it counts other entries than there are");
        }
    }
}

fn one(
    line: &[u8],
    check: &mut range::Check,
    (from, to): (u64, u64),
    counts: &mut BTreeMap<String, u64>,
) -> Result<(), String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let bytes = line.entry.as_bytes();
    let leaf = leaf_hash(bytes);
    if leaf != line.leaf {
        return Err("it does not hash to its leaf".into());
    }
    let entry = Entry::decode(bytes).map_err(|error| error.to_string())?;
    if line.index != check.next() || entry.index != line.index {
        return Err("another one stands there".into());
    }
    if !(from..to).contains(&entry.at) {
        return Err("it is not of this period".into());
    }
    if !check.leaf(leaf) {
        return Err("there are more than the range has".into());
    }
    *counts.entry(entry.kind()).or_default() += 1;
    Ok(())
}
