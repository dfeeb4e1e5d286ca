//! RFC 6962, from leaves alone; and the hash tiles that come of it, to hold those that lie there against.

use std::collections::HashMap;

use fireaxe_protocol::log::Hash;
use fireaxe_protocol::log::tiles::{TILE_WIDTH, TileKind, TilePath, encode_tile, subtree};
use fireaxe_protocol::log::tree::node_hash;

/// Complete subtrees on a stack, the largest first; and of each eighth level the hashes since its last full tile.
#[derive(Default)]
pub(super) struct Tree {
    size: u64,
    stack: Vec<(u64, Hash)>,
    /// By tile level.
    rows: Vec<Vec<Hash>>,
    /// Full tiles that were completed and not compared yet.
    full: HashMap<(u8, u64), Vec<u8>>,
}

impl Tree {
    pub(super) fn push(&mut self, leaf: Hash) {
        self.size += 1;
        let mut top = (1, leaf);
        while let Some((size, left)) = self.stack.pop_if(|(size, _)| *size == top.0) {
            top = (size * 2, node_hash(&left, &top.1));
        }
        self.stack.push(top);
        self.tile(0, leaf);
    }

    fn tile(&mut self, level: u8, hash: Hash) {
        let at = usize::from(level);
        if self.rows.len() <= at {
            self.rows.push(Vec::new());
        }
        let Some(row) = self.rows.get_mut(at) else { return };
        row.push(hash);
        if row.len() < usize::from(TILE_WIDTH) {
            return;
        }
        let hashes = std::mem::take(row);
        let index = (self.size >> (8 * (u32::from(level) + 1))).saturating_sub(1);
        self.full.insert((level, index), encode_tile(&hashes));
        if let (Some(above), Some(head)) = (level.checked_add(1), subtree(&hashes)) {
            self.tile(above, head);
        }
    }

    /// Whether these are the bytes of that tile; full ones are asked for once, soon after they are complete.
    pub(super) fn is_tile(&mut self, path: &TilePath, bytes: &[u8]) -> bool {
        let TileKind::Hashes(level) = path.kind else { return false };
        if path.width == TILE_WIDTH {
            return self.full.remove(&(level, path.index)).is_some_and(|tile| tile == bytes);
        }
        let row = self.rows.get(usize::from(level)).and_then(|row| row.get(..path.width.into()));
        row.is_some_and(|row| encode_tile(row) == bytes)
    }

    /// Forgets the full tiles that nobody asked for.
    pub(super) fn compared(&mut self) {
        self.full.clear();
    }

    pub(super) fn root(&self) -> Option<Hash> {
        let (last, before) = self.stack.split_last()?;
        Some(before.iter().rev().fold(last.1, |right, (_, left)| node_hash(left, &right)))
    }
}

#[cfg(test)]
mod tests {
    use fireaxe_protocol::log::tree::leaf_hash;

    use super::*;

    #[test]
    fn tiles_of_two_levels_are_those_of_their_leaves() {
        let mut tree = Tree::default();
        let leaf = |n: u64| leaf_hash(&n.to_be_bytes());
        let tile = |level, index, width| TilePath { kind: TileKind::Hashes(level), index, width };
        let of = |from: u64, width: u64| encode_tile(&(from..from + width).map(leaf).collect::<Vec<_>>());
        (0..600).for_each(|n| tree.push(leaf(n)));
        assert!(tree.is_tile(&tile(0, 0, 256), &of(0, 256)));
        assert!(tree.is_tile(&tile(0, 1, 256), &of(256, 256)));
        assert!(!tree.is_tile(&tile(0, 1, 256), &of(256, 256)), "asked once");
        assert!(tree.is_tile(&tile(0, 2, 88), &of(512, 88)));
        assert!(!tree.is_tile(&tile(0, 2, 88), &of(511, 88)) && !tree.is_tile(&tile(0, 2, 89), &of(512, 89)));
        let heads = [0, 256].map(|from| subtree(&(from..from + 256).map(leaf).collect::<Vec<_>>()).unwrap());
        assert!(tree.is_tile(&tile(1, 0, 2), &encode_tile(&heads)));
        (600..65_536).for_each(|n| tree.push(leaf(n)));
        let row: Vec<Hash> = (0..256)
            .map(|tile| subtree(&(tile * 256..tile * 256 + 256).map(leaf).collect::<Vec<_>>()).unwrap())
            .collect();
        assert!(tree.is_tile(&tile(1, 0, 256), &encode_tile(&row)));
        assert_eq!(tree.root(), subtree(&row));
    }
}
