//! The steps of a fetch, in order: prove the new head by what is to be its copy, hold it against the one that is here,
//! bring what is missing, and only then take the head.
//!
//! A crash anywhere leaves a copy of the old head, and tiles of the new one that the next fetch finds: they are proved
//! again before they count.

use fireaxe_protocol::log::tiles::{TILE_WIDTH, TileKind, TilePath, encode_tile};
use fireaxe_protocol::log::{Beside, Checkpoint, NoteKey};
use fireaxe_protocol::names::Origin;

use super::tree::{Source, Tree, edges, many};
use super::{CopyError, Folder};
use crate::failure::Failure;
use crate::heads;

/// What a fetch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetched {
    /// Entries before.
    pub(crate) before: u64,
    /// The head that the copy has now.
    pub(crate) head: Checkpoint,
    /// Tiles and bundles that were brought.
    pub(crate) tiles: u64,
}

/// The head of the copy.
const HEAD: &str = "checkpoint";
/// The head towards which a fetch was under way that did not come to its end.
const TOWARDS: &str = ".checkpoint-under-way";

/// Brings the copy in `folder` to the head that `note` is, of the log `origin` with this key.
pub(crate) fn fetch<S: Source>(
    folder: &Folder,
    (key, origin): (&NoteKey, &Origin),
    note: &str,
    source: &mut S,
) -> Result<Fetched, Failure> {
    let open = |name: &str, note: &str| {
        let path = folder.path(name).display().to_string();
        Checkpoint::open(note, key, origin).map_err(|e| CopyError::Foreign { path, why: e.to_string() })
    };
    let head =
        Checkpoint::open(note, key, origin).map_err(|_| Failure::Answer("its head is not its log's"))?;
    let here = folder.text(HEAD)?.map(|note| Ok::<_, CopyError>((open(HEAD, &note)?, note))).transpose()?;
    let towards = folder.text(TOWARDS)?.and_then(|note| Some((open(TOWARDS, &note).ok()?, note)));
    let before = here.as_ref().map_or(0, |(head, _)| head.size);
    if let Some((seen, seen_note)) = &here
        && head.size < seen.size
    {
        return Err(older(folder, (seen, seen_note), (&head, note), source)?.into());
    }
    if let Some((seen, _)) = &towards
        && head.size < seen.size
    {
        return Err(CopyError::Behind { seen: seen.size, shown: head.size }.into());
    }
    for (seen, seen_note) in here.iter().chain(&towards) {
        if Beside::of(seen, &head) == Beside::Forked {
            return Err(forked(folder, (seen, seen_note), (&head, note))?.into());
        }
    }
    let tree = Tree::of(&head, folder, source)?;
    for (seen, seen_note) in here.iter().chain(&towards) {
        if let Beside::Apart(gap) = Beside::of(seen, &head)
            && !gap.begins_with(&tree.root_at(gap.from)?)
        {
            return Err(forked(folder, (seen, seen_note), (&head, note))?.into());
        }
    }
    tree.keep()?;
    folder.replace(TOWARDS, note.as_bytes())?;
    bring(&tree, folder, &head, before)?;
    let tiles = *tree.fetched.borrow();
    folder.settle()?;
    folder.replace(HEAD, note.as_bytes())?;
    folder.settle()?;
    folder.remove(TOWARDS);
    for old in here.iter().chain(&towards) {
        clear(folder, old.0.size, head.size);
    }
    Ok(Fetched { before, head, tiles })
}

/// Everything of the new tree that is not here, from the top down, and the edge. What is within the head that is
/// here was proved when it came.
fn bring<S: Source>(
    tree: &Tree<'_, S>,
    folder: &Folder,
    head: &Checkpoint,
    before: u64,
) -> Result<(), Failure> {
    let wide = u64::from(TILE_WIDTH);
    let old = |kind, index| {
        let path = TilePath { kind, index, width: TILE_WIDTH };
        path.is_within(before) && folder.has(&path)
    };
    for level in (0..8u8).rev() {
        for index in 0..many(head.size, level) / wide {
            if !old(TileKind::Hashes(level), index) {
                tree.tile(level, index)?;
            }
        }
    }
    for edge in edges(head.size) {
        let TileKind::Hashes(level) = edge.kind else { continue };
        folder.keep(&edge, &encode_tile(&tree.tile(level, edge.index)?))?;
    }
    let bundles = head.size.div_ceil(wide);
    for index in 0..bundles {
        if !old(TileKind::Entries, index) {
            tree.bundle(index)?;
        }
        tree.progress(index + 1, bundles);
    }
    Ok(())
}

/// The edge of the old head is no edge any more.
fn clear(folder: &Folder, before: u64, now: u64) {
    let entries = |tiles: Vec<TilePath>| {
        let lowest = tiles.first().filter(|tile| tile.kind == TileKind::Hashes(0)).copied();
        let bundle = lowest.map(|tile| TilePath { kind: TileKind::Entries, ..tile });
        tiles.into_iter().chain(bundle).collect::<Vec<_>>()
    };
    let new = entries(edges(now));
    for tile in entries(edges(before)).iter().filter(|tile| !new.contains(tile)) {
        folder.drop(tile);
    }
}

/// The CA shows a head with fewer entries than the copy has: the beginning of it, or another past.
fn older<S: Source>(
    folder: &Folder,
    (seen, seen_note): (&Checkpoint, &str),
    (shown, note): (&Checkpoint, &str),
    source: &mut S,
) -> Result<CopyError, Failure> {
    let tree = Tree::of(seen, folder, source)?;
    match tree.root_at(shown.size)? == shown.root {
        true => Ok(CopyError::Behind { seen: seen.size, shown: shown.size }),
        false => forked(folder, (seen, seen_note), (shown, note)),
    }
}

fn forked(
    folder: &Folder,
    seen: (&Checkpoint, &str),
    shown: (&Checkpoint, &str),
) -> Result<CopyError, Failure> {
    let kept = folder.path("evidence");
    heads::keep(&kept, seen, shown)?;
    Ok(CopyError::Forked(heads::sentence(seen.0, shown.0, "one is not the beginning of the other", &kept)))
}
