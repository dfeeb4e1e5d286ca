//! That entries `from..to` lie in the log: the complete subtrees before and after them, in order, with which their
//! leaves come to the signed root. A few dozen hashes for any number of entries; the reader keeps a stack of them.

use crate::log::tree::{Nodes, node_hash};
use crate::log::{Hash, tree};

/// The complete subtrees that together cover leaves `from..to`, in order: level and index of each, the largest that
/// fit. At most 2 for each level.
fn cover(from: u64, to: u64) -> Vec<(u8, u64)> {
    let (mut at, mut out) = (from, Vec::new());
    while at < to {
        let aligned = if at == 0 { 63 } else { at.trailing_zeros() };
        let fits = 63 - (to - at).leading_zeros();
        let level = aligned.min(fits).min(62);
        out.push((level as u8, at >> level));
        at += 1 << level;
    }
    out
}

/// The proof's text: one hash a line, those before the range, then those after it.
pub fn prove<N: Nodes>(from: u64, to: u64, size: u64, nodes: &N) -> Result<String, N::Error> {
    let mut out = String::new();
    for (level, index) in cover(0, from).into_iter().chain(cover(to, size)) {
        out.push_str(&format!("{}\n", nodes.node(level, index)?));
    }
    Ok(out)
}

/// Takes the leaves of a range, in order, and says which root they come to with the rest.
#[derive(Debug)]
pub struct Check {
    to: u64,
    next: u64,
    size: u64,
    rest: Vec<Hash>,
    stack: Vec<(u8, Hash)>,
}

impl Check {
    /// Begins with the proof's text; none if that is no proof for this range.
    pub fn begin(from: u64, to: u64, size: u64, proof: &str) -> Option<Check> {
        if from > to || to > size || (!proof.is_empty() && !proof.ends_with('\n')) {
            return None;
        }
        let hashes = proof.lines().map(|line| line.parse().ok()).collect::<Option<Vec<Hash>>>()?;
        let before = cover(0, from);
        if hashes.len() != before.len() + cover(to, size).len() {
            return None;
        }
        let (left, rest) = hashes.split_at_checked(before.len())?;
        let mut check = Check { to, next: from, size, rest: rest.to_vec(), stack: Vec::new() };
        before.iter().zip(left).for_each(|((level, _), hash)| check.push(*level, *hash));
        Some(check)
    }

    /// The index that the next leaf must have.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Takes the next leaf; false if there must be none.
    pub fn leaf(&mut self, leaf: Hash) -> bool {
        if self.next >= self.to {
            return false;
        }
        self.next += 1;
        self.push(0, leaf);
        true
    }

    /// The root, once all leaves were taken.
    pub fn root(mut self) -> Option<Hash> {
        if self.next != self.to {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        cover(self.to, self.size).iter().zip(rest).for_each(|((level, _), hash)| self.push(*level, hash));
        let (last, before) =
            self.stack.split_last().map_or((None, &[][..]), |(last, before)| (Some(last.1), before));
        match last {
            None => Some(tree::empty_root()),
            Some(last) => Some(before.iter().rev().fold(last, |right, (_, left)| node_hash(left, &right))),
        }
    }

    /// What is pushed begins where the stack ends, at a multiple of its own size: so equal neighbours are halves of
    /// one subtree.
    fn push(&mut self, level: u8, hash: Hash) {
        let mut top = (level, hash);
        while let Some((_, left)) = self.stack.pop_if(|(level, _)| *level == top.0) {
            top = (level_above(top.0), node_hash(&left, &top.1));
        }
        self.stack.push(top);
    }
}

fn level_above(level: u8) -> u8 {
    level.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::log::tree::leaf_hash;

    struct Leaves(Vec<Hash>);

    impl Nodes for Leaves {
        type Error = Infallible;
        fn node(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
            if level == 0 {
                return Ok(self.0[index as usize]);
            }
            let (Ok(l), Ok(r)) = (self.node(level - 1, index * 2), self.node(level - 1, index * 2 + 1));
            Ok(node_hash(&l, &r))
        }
    }

    #[test]
    fn every_range_of_every_small_log_comes_to_its_root_and_to_no_other() {
        for size in 0..20u64 {
            let leaves = Leaves((0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect());
            let Ok(root) = tree::root(size, &leaves);
            for from in 0..=size {
                for to in from..=size {
                    let Ok(proof) = prove(from, to, size, &leaves);
                    let come_to = |spoil: Option<u64>| {
                        let mut check = Check::begin(from, to, size, &proof).unwrap();
                        for index in from..to {
                            assert_eq!(check.next(), index);
                            let leaf = leaves.0[index as usize];
                            assert!(check.leaf(if spoil == Some(index) { Hash([0; 32]) } else { leaf }));
                        }
                        assert!(!check.leaf(Hash([0; 32])), "one leaf more is refused");
                        check.root()
                    };
                    assert_eq!(come_to(None), Some(root), "{from}..{to} of {size}");
                    if from < to {
                        assert_ne!(come_to(Some(to - 1)), Some(root));
                        assert_eq!(
                            Check::begin(from, to, size, &proof).unwrap().root(),
                            None,
                            "leaves are missing"
                        );
                    }
                    assert!(Check::begin(from, to, size, &format!("{proof}{root}\n")).is_none());
                }
            }
        }
        assert!(Check::begin(2, 1, 3, "").is_none());
        assert!(Check::begin(0, 4, 3, "").is_none());
    }

    #[test]
    fn the_largest_sizes_do_not_overflow() {
        assert!(cover(0, u64::MAX).len() <= 130);
        assert!(cover(u64::MAX - 1, u64::MAX).len() == 1);
        assert!(Check::begin(0, 0, u64::MAX, "").is_none());
    }
}
