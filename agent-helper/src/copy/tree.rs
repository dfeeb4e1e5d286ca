//! The tree of one signed head, read tile by tile, each held against what the head says before anybody sees it.
//!
//! The tiles at the right edge, which are not full, are proved by the root alone: it is computed from them and
//! nothing else. A full tile is proved by its hash in the tile above it, and so on up to the edge.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use fireaxe_protocol::log::tiles::{
    TILE_WIDTH, TileKind, TilePath, decode_bundle, decode_tile, encode_tile, subtree,
};
use fireaxe_protocol::log::tree::{self, Nodes, leaf_hash};
use fireaxe_protocol::log::{Checkpoint, Hash};

use super::{CopyError, Folder};
use crate::failure::Failure;

/// Where what is missing comes from.
pub(crate) trait Source {
    /// The bytes of a tile or a bundle, whatever they are; bounded.
    fn tile(&mut self, path: &TilePath) -> Result<Vec<u8>, Failure>;
    /// So many of so many bundles are here.
    fn progress(&mut self, have: u64, of: u64);
}

/// Tiles in memory: 256 of 8 KiB. A copy of ten million entries needs 155 of the levels above the leaves.
const KEPT: usize = 256;

/// A tile's hashes.
type Hashes = Rc<Vec<Hash>>;

/// See the file's top.
pub(super) struct Tree<'a, S> {
    head: &'a Checkpoint,
    folder: &'a Folder,
    source: RefCell<&'a mut S>,
    kept: RefCell<HashMap<(u8, u64), Hashes>>,
    /// Tiles and bundles that were not here.
    pub(super) fetched: RefCell<u64>,
    /// Whether what is here of the edge is looked at.
    edges_here: Cell<bool>,
    /// Whether what is brought is kept.
    keeps: Cell<bool>,
}

impl<'a, S: Source> Tree<'a, S> {
    /// Reads the edge and holds it against the head's root.
    pub(super) fn of(
        head: &'a Checkpoint,
        folder: &'a Folder,
        source: &'a mut S,
    ) -> Result<Tree<'a, S>, Failure> {
        let (source, fetched) = (RefCell::new(source), RefCell::default());
        let (edges_here, keeps) = (Cell::new(true), Cell::new(false));
        let tree = Tree { head, folder, source, kept: RefCell::default(), fetched, edges_here, keeps };
        if tree::root(head.size, &tree)? == head.root {
            return Ok(tree);
        }
        // Whatever of the edge lies here is no better than what was served.
        tree.edges_here.set(false);
        tree.kept.borrow_mut().clear();
        if tree::root(head.size, &tree)? != head.root {
            return Err(tree.refused("the tiles at the right edge of the tree".into()));
        }
        Ok(tree)
    }

    /// The head continues what is here: from now on what is brought is kept, and what was brought to find that out.
    pub(super) fn keep(&self) -> Result<(), Failure> {
        self.keeps.set(true);
        for ((level, index), hashes) in self.kept.borrow().iter() {
            let path = TilePath { kind: TileKind::Hashes(*level), index: *index, width: TILE_WIDTH };
            if hashes.len() == usize::from(TILE_WIDTH) {
                self.folder.keep(&path, &encode_tile(hashes))?;
            }
        }
        Ok(())
    }

    pub(super) fn root_at(&self, size: u64) -> Result<Hash, Failure> {
        tree::root(size, self)
    }

    fn refused(&self, place: String) -> Failure {
        CopyError::Refused { place, size: self.head.size }.into()
    }

    /// Tile `index` of `level`, as far as the head's tree has it, proved and kept.
    pub(super) fn tile(&self, level: u8, index: u64) -> Result<Hashes, Failure> {
        if let Some(known) = self.kept.borrow().get(&(level, index)) {
            return Ok(known.clone());
        }
        let width = width(self.head.size, level, index);
        let path = TilePath { kind: TileKind::Hashes(level), index, width };
        let proved = |bytes: &[u8]| {
            let hashes = decode_tile(bytes).ok().filter(|hashes| hashes.len() == usize::from(width));
            let Some(hashes) = hashes else { return Ok(None) };
            if width < TILE_WIDTH {
                // By the root: see `of`.
                return Ok(Some(hashes));
            }
            let above = self.tile(level.saturating_add(1), index / u64::from(TILE_WIDTH))?;
            let expected =
                usize::try_from(index % u64::from(TILE_WIDTH)).ok().and_then(|n| above.get(n).copied());
            Ok(subtree(&hashes).filter(|found| Some(*found) == expected).map(|_| hashes))
        };
        let hashes = Rc::new(self.proved(&path, proved)?);
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert((level, index), hashes.clone());
        Ok(hashes)
    }

    /// Bundle `index`, each entry held against its leaf, kept.
    pub(super) fn bundle(&self, index: u64) -> Result<(), Failure> {
        let leaves = self.tile(0, index)?;
        let width = width(self.head.size, 0, index);
        let path = TilePath { kind: TileKind::Entries, index, width };
        let proved = |bytes: &[u8]| {
            let entries = decode_bundle(bytes).unwrap_or_default();
            let fits = entries.len() == leaves.len();
            Ok((fits && entries.iter().zip(leaves.iter()).all(|(entry, leaf)| leaf_hash(entry) == *leaf))
                .then_some(()))
        };
        self.proved(&path, proved)
    }

    /// What is here, if it is proved; else what the source gives, which must be.
    fn proved<T>(
        &self,
        path: &TilePath,
        proved: impl Fn(&[u8]) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let is_edge = path.width < TILE_WIDTH && path.kind != TileKind::Entries;
        if (!is_edge || self.edges_here.get())
            && let Some(bytes) = self.folder.tile(path)
            && let Some(found) = proved(&bytes)?
        {
            return Ok(found);
        }
        let bytes = self.source.borrow_mut().tile(path)?;
        let found = proved(&bytes)?.ok_or_else(|| self.refused(path.to_string()))?;
        // At the edge only the root proves them: `fetch` keeps them when it has.
        if self.keeps.get() && !is_edge {
            self.folder.keep(path, &bytes)?;
        }
        *self.fetched.borrow_mut() += 1;
        Ok(found)
    }

    /// Bundles that are here.
    pub(super) fn progress(&self, have: u64, of: u64) {
        self.source.borrow_mut().progress(have, of);
    }
}

impl<S: Source> Nodes for Tree<'_, S> {
    type Error = Failure;

    fn node(&self, level: u8, index: u64) -> Result<Hash, Failure> {
        // 2^within hashes of one tile, which never crosses the tile's end.
        let (tile_level, within) = (level / 8, level % 8);
        let beyond = || Failure::Answer("a part of the tree was asked for that it does not have");
        let first = index.checked_shl(within.into()).ok_or_else(beyond)?;
        let tile = self.tile(tile_level, first / u64::from(TILE_WIDTH))?;
        let start = usize::try_from(first % u64::from(TILE_WIDTH)).map_err(|_| beyond())?;
        tile.get(start..start + (1 << within)).and_then(subtree).ok_or_else(beyond)
    }
}

/// How many hashes of `level` a tree of `size` leaves has.
pub(super) fn many(size: u64, level: u8) -> u64 {
    size.checked_shr(u32::from(level) * 8).unwrap_or(0)
}

/// How many hashes tile `index` of `level` has in it.
fn width(size: u64, level: u8, index: u64) -> u16 {
    let first = index.saturating_mul(u64::from(TILE_WIDTH));
    let left = many(size, level).saturating_sub(first).min(u64::from(TILE_WIDTH));
    u16::try_from(left).unwrap_or(TILE_WIDTH)
}

/// The hash tiles that are not full, the lowest first.
pub(super) fn edges(size: u64) -> Vec<TilePath> {
    let edge = |level: u8| {
        let index = many(size, level) / u64::from(TILE_WIDTH);
        let width = width(size, level, index);
        (width > 0).then_some(TilePath { kind: TileKind::Hashes(level), index, width })
    };
    (0..8).filter_map(edge).collect()
}
