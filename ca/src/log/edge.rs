//! The right edge of the tree in memory: what a new entry's hashes are joined to.
//!
//! [`Edge`] is the state after a commit: the head of each complete subtree (one per set bit of the size)
//! and the hashes of the rightmost, partial tile of each level; at most 64 + 8 * 255 hashes, 67 KiB, at any
//! size. [`Growth`] is what a batch adds to it; it alone proves every entry of that batch. Neither knows
//! the disk: both are values.

use fireaxe_protocol::log::Hash;
use fireaxe_protocol::log::tiles::{decode_tile, encode_tile, subtree};
use fireaxe_protocol::log::tree::{Nodes, node_hash, root};

use super::error::LogError;
use super::store::Pieces;

/// A full tile that a batch completes.
pub(super) struct NewTile {
    pub(super) level: u8,
    pub(super) index: u64,
    pub(super) bytes: Vec<u8>,
}

/// The tree's right edge at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    size: u64,
    /// By level: the last complete subtree of 2^level leaves, where that bit of the size is set.
    peaks: Vec<Option<Hash>>,
    /// By tile level: the hashes of the partial tile, fewer than 256.
    partial: Vec<Vec<Hash>>,
}

impl Edge {
    pub(super) fn empty() -> Edge {
        Edge { size: 0, peaks: vec![None; 64], partial: vec![Vec::new(); TILE_LEVELS] }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The tree's head.
    pub(super) fn root(&self) -> Result<Hash, LogError> {
        root(self.size, &Growth::after(self))
    }

    /// The edge of the first `size` entries, from full tiles and the entries after them: at most 255
    /// entries, and 255 tiles a level.
    pub(super) fn rebuild<P: Pieces + ?Sized>(size: u64, pieces: &P) -> Result<Edge, LogError> {
        let mut edge = Edge { size, ..Edge::empty() };
        for (level, partial) in (0u8..).zip(&mut edge.partial) {
            let complete = shifted(size, level);
            for index in complete & !255..complete {
                partial.push(tile_hash(pieces, level, index)?);
            }
        }
        for (level, peak) in (0u32..).zip(&mut edge.peaks) {
            if size >> level & 1 == 0 {
                continue;
            }
            // The peak lies in the partial tile of its level, below which it is 2^within hashes wide.
            let (tile_level, within) = (level / 8, level % 8);
            let start = (((size >> level) - 1) << within) & 255;
            let hashes = usize::try_from(tile_level).ok().and_then(|level| edge.partial.get(level));
            let start = start as usize;
            let part = hashes.and_then(|hashes| hashes.get(start..start + (1 << within)));
            *peak = part.and_then(subtree);
            if peak.is_none() {
                return Err(LogError::Corrupt("the tree's edge"));
            }
        }
        Ok(edge)
    }

    /// The tiles that `growth` completes.
    pub(super) fn completed(&self, growth: &Growth) -> Vec<NewTile> {
        let mut tiles = Vec::new();
        for level in 0u8..TILE_LEVELS as u8 {
            let hashes = self.tile_row(growth, level);
            let first = shifted(self.size, level) / 256;
            for (index, full) in (first..).zip(hashes.chunks_exact(256)) {
                tiles.push(NewTile { level, index, bytes: encode_tile(full) });
            }
        }
        tiles
    }

    /// The edge after `growth`.
    pub(super) fn grown(&self, growth: &Growth) -> Result<Edge, LogError> {
        let mut next = Edge { size: growth.size, ..Edge::empty() };
        for (level, partial) in (0u8..).zip(&mut next.partial) {
            *partial = self.tile_row(growth, level).chunks_exact(256).remainder().to_vec();
        }
        for (level, peak) in (0u8..).zip(&mut next.peaks) {
            let complete = growth.size >> level;
            if complete & 1 == 1 {
                *peak = Some(growth.node(level, complete - 1)?);
            }
        }
        Ok(next)
    }

    /// All hashes of a tile level from the start of its partial tile on.
    fn tile_row(&self, growth: &Growth, level: u8) -> Vec<Hash> {
        let level = usize::from(level);
        let row = |rows: &[Vec<Hash>], level: usize| rows.get(level).cloned().unwrap_or_default();
        let mut hashes = row(&self.partial, level);
        hashes.extend(row(&growth.added, level * 8));
        hashes
    }
}

/// What a batch adds to an edge: every subtree it completes, by level.
#[derive(Debug, Clone)]
pub(super) struct Growth {
    from: u64,
    size: u64,
    peaks: Vec<Option<Hash>>,
    added: Vec<Vec<Hash>>,
}

impl Growth {
    /// Nothing yet.
    pub(super) fn after(edge: &Edge) -> Growth {
        Growth { from: edge.size, size: edge.size, peaks: edge.peaks.clone(), added: Vec::new() }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf: two hashes on average.
    pub(super) fn push(&mut self, leaf: Hash) -> Result<(), LogError> {
        let (mut hash, mut level, mut index) = (leaf, 0u8, self.size);
        loop {
            let at = usize::from(level);
            if self.added.len() <= at {
                self.added.push(Vec::new());
            }
            let added = self.added.get_mut(at).ok_or(LogError::OutOfRange)?;
            added.push(hash);
            if index & 1 == 0 {
                break;
            }
            hash = node_hash(&self.node(level, index - 1)?, &hash);
            (level, index) = (level + 1, index >> 1);
        }
        self.size += 1;
        Ok(())
    }
}

impl Nodes for Growth {
    type Error = LogError;

    /// Knows what the batch completed, and to the left of it the peaks it joins. That is all a proof of
    /// an entry of the batch asks for: a left sibling that is wholly old has a parent that is not, so it
    /// is a peak of the old tree.
    fn node(&self, level: u8, index: u64) -> Result<Hash, LogError> {
        let first = self.from >> level;
        let at = usize::from(level);
        let found = match index.checked_sub(first) {
            Some(place) => self.added.get(at).and_then(|row| row.get(usize::try_from(place).ok()?)).copied(),
            None if index + 1 == first => self.peaks.get(at).copied().flatten(),
            None => None,
        };
        found.ok_or(LogError::OutOfRange)
    }
}

/// Hash `index` of tile level `level`: a leaf, or the head of a full tile one level down.
pub(super) fn tile_hash<P: Pieces + ?Sized>(pieces: &P, level: u8, index: u64) -> Result<Hash, LogError> {
    let Some(below) = level.checked_sub(1) else {
        return pieces.leaf(index);
    };
    let bytes = pieces.tile(below, index)?.ok_or(LogError::Corrupt("a tile is missing"))?;
    decode_tile(&bytes)
        .ok()
        .filter(|hashes| hashes.len() == 256)
        .and_then(|hashes| subtree(&hashes))
        .ok_or(LogError::Corrupt("a tile is not full"))
}

/// How many hashes tile level `level` has in a tree of `size` leaves.
pub(super) fn shifted(size: u64, level: u8) -> u64 {
    size.checked_shr(u32::from(level) * 8).unwrap_or(0)
}

/// 256^8 leaves are all there can be.
pub(super) const TILE_LEVELS: usize = 8;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use fireaxe_protocol::log::tree::{
        consistency_proof, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion,
    };
    use proptest::prelude::*;

    use super::super::reader::StoredNodes;
    use super::*;

    /// A disk: entry n is the eight bytes of n.
    #[derive(Default)]
    struct Disk {
        size: u64,
        tiles: RefCell<HashMap<(u8, u64), Vec<u8>>>,
    }

    impl Pieces for Disk {
        fn checkpoint(&self, _: u64) -> Result<Option<String>, LogError> {
            Ok(None)
        }
        fn newest_cosigned(&self) -> Result<Option<(u64, String)>, LogError> {
            Ok(None)
        }
        fn entry(&self, index: u64) -> Result<Option<Vec<u8>>, LogError> {
            Ok((index < self.size).then(|| index.to_be_bytes().to_vec()))
        }
        fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, LogError> {
            Ok(self.tiles.borrow().get(&(level, index)).cloned())
        }
        fn head(&self) -> Result<Option<(u64, String)>, LogError> {
            Ok(None)
        }
        fn head_after(&self, _: u64) -> Result<Option<(u64, String)>, LogError> {
            Ok(None)
        }
        fn count(&self) -> Result<u64, LogError> {
            Ok(self.size)
        }
    }

    impl Disk {
        fn grow(&mut self, edge: &Edge, by: u64) -> (Edge, Growth) {
            let mut growth = Growth::after(edge);
            for n in edge.size()..edge.size() + by {
                growth.push(leaf_hash(&n.to_be_bytes())).unwrap();
            }
            for tile in edge.completed(&growth) {
                let fresh = self.tiles.borrow_mut().insert((tile.level, tile.index), tile.bytes);
                assert!(fresh.is_none(), "a tile completed twice");
            }
            self.size = growth.size();
            (edge.grown(&growth).unwrap(), growth)
        }
    }

    /// RFC 6962's definition.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::of(&[]),
            [one] => *one,
            many => {
                let (l, r) = many.split_at(many.len().next_power_of_two() / 2);
                node_hash(&mth(l), &mth(r))
            }
        }
    }

    fn leaves(size: u64) -> Vec<Hash> {
        (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    #[test]
    fn past_two_tile_levels_the_edge_is_the_one_rebuilt_from_disk() {
        let (mut disk, mut edge) = (Disk::default(), Edge::empty());
        for by in [1, 254, 1, 1, 255, 256, 257, 511, 60_000, 4_000, 254, 2, 1, 700, 65_000] {
            (edge, _) = disk.grow(&edge, by);
            assert_eq!(Edge::rebuild(edge.size(), &disk), Ok(edge.clone()), "size {}", edge.size());
            if edge.size() < 2000 {
                assert_eq!(edge.root(), Ok(mth(&leaves(edge.size()))), "size {}", edge.size());
            }
        }
        let size = edge.size();
        assert_eq!(disk.tiles.borrow().len() as u64, size / 256 + size / 65_536);
        // Any proof comes from the disk alone.
        let (nodes, leaves) = (StoredNodes::new(&disk, size), leaves(size));
        let places = [1, 255, 256, 65_535, 65_536, 66_000, 131_071, size - 1];
        let head_of: HashMap<u64, Hash> =
            places.into_iter().chain([size]).map(|of| (of, mth(&leaves[..of as usize]))).collect();
        assert_eq!(edge.root().as_ref(), Ok(&head_of[&size]));
        for (index, old) in head_of.iter().filter(|(index, _)| **index < size) {
            for (of, head) in head_of.iter().filter(|(of, _)| *of > index) {
                let proof = inclusion_proof(*index, *of, &nodes).unwrap();
                assert_eq!(verify_inclusion(&leaves[*index as usize], *index, *of, &proof, head), Ok(()));
                let proof = consistency_proof(*index, *of, &nodes).unwrap();
                assert_eq!(verify_consistency(*index, *of, &proof, old, head), Ok(()));
            }
        }
    }

    #[test]
    fn a_missing_or_short_tile_is_damage_and_not_a_wrong_edge() {
        let mut disk = Disk::default();
        let (edge, _) = disk.grow(&Edge::empty(), 600);
        let tile = disk.tiles.borrow_mut().remove(&(0, 1)).unwrap();
        assert_eq!(Edge::rebuild(edge.size(), &disk), Err(LogError::Corrupt("a tile is missing")));
        disk.tiles.borrow_mut().insert((0, 1), tile[..32].to_vec());
        assert_eq!(Edge::rebuild(edge.size(), &disk), Err(LogError::Corrupt("a tile is not full")));
        disk.size = 599;
        assert_eq!(Edge::rebuild(edge.size(), &disk), Err(LogError::Corrupt("an entry is missing")));
    }

    #[test]
    fn at_ten_million_entries_the_edge_is_small() {
        let hashes = 64 + TILE_LEVELS * 255;
        assert!(hashes * size_of::<Option<Hash>>() < 128 * 1024);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_batch_proves_each_of_its_entries(batches in proptest::collection::vec(1u64..400, 1..6)) {
            let (mut disk, mut edge) = (Disk::default(), Edge::empty());
            for by in batches {
                let before = edge.size();
                let (next, growth) = disk.grow(&edge, by);
                let head = next.root().unwrap();
                prop_assert_eq!(head, mth(&leaves(next.size())));
                let stored = StoredNodes::new(&disk, next.size());
                for index in before..next.size() {
                    let proof = inclusion_proof(index, next.size(), &growth).unwrap();
                    // From disk is slow without optimisation: some of them.
                    if index % 31 == 0 || index == before {
                        prop_assert_eq!(&proof, &inclusion_proof(index, next.size(), &stored).unwrap());
                    }
                    let leaf = leaf_hash(&index.to_be_bytes());
                    verify_inclusion(&leaf, index, next.size(), &proof, &head).unwrap();
                }
                edge = next;
            }
        }
    }
}
