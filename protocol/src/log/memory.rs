//! What whoever remembers a log's newest head makes of the next one that it is shown: hosts and clients alike.
//! Where it is kept, and where a proof comes from, is left to them.

use crate::limits;
use crate::log::{Checkpoint, Hash, tree};

/// How a head that is shown stands to the one that was seen before. Both are the log's own word: their notes were
/// opened under its key and origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beside {
    /// It is that one.
    Same,
    /// As many entries, and another root: no proof can join the two.
    Forked,
    /// One has more entries: only a proof tells.
    Apart(Gap),
}

/// Two heads of different sizes, between which a proof must lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The size of the smaller.
    pub from: u64,
    /// The size of the larger.
    pub to: u64,
    /// Whether the one that is shown is the larger: then it is remembered once the proof holds. An older head of
    /// the same log is no news, and no harm.
    pub is_news: bool,
    old: Hash,
    new: Hash,
}

impl Beside {
    /// Compares them.
    pub fn of(seen: &Checkpoint, shown: &Checkpoint) -> Beside {
        if seen.size == shown.size {
            return if seen.root == shown.root { Beside::Same } else { Beside::Forked };
        }
        let is_news = shown.size > seen.size;
        let (old, new) = if is_news { (seen, shown) } else { (shown, seen) };
        Beside::Apart(Gap { from: old.size, to: new.size, is_news, old: old.root, new: new.root })
    }
}

impl Gap {
    /// Whether this proof (RFC 6962) leads from one to the other.
    pub fn is_closed_by(&self, proof: &[Hash]) -> bool {
        proof.len() <= limits::PROOF
            && tree::verify_consistency(self.from, self.to, proof, &self.old, &self.new).is_ok()
    }

    /// Whether the smaller has this root, as computed from pieces of the tree of the larger.
    pub fn begins_with(&self, root: &Hash) -> bool {
        self.old == *root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Leaves(Vec<Hash>);

    impl tree::Nodes for Leaves {
        type Error = std::convert::Infallible;
        fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
            if level == 0 {
                return Ok(self.0[usize::try_from(index).unwrap()]);
            }
            Ok(tree::node_hash(&self.node(level - 1, index * 2)?, &self.node(level - 1, index * 2 + 1)?))
        }
    }

    fn log(entries: impl IntoIterator<Item = u64>) -> Leaves {
        Leaves(entries.into_iter().map(|n| tree::leaf_hash(&n.to_be_bytes())).collect())
    }

    fn head(log: &Leaves, size: u64) -> Checkpoint {
        let origin = "ca.example/0123456789abcdef".parse().unwrap();
        Checkpoint { origin, size, root: tree::root(size, log).unwrap() }
    }

    #[test]
    fn heads_of_one_log_are_joined_by_their_proof_either_way_and_by_no_other() {
        let log = log(0..40);
        let (old, new) = (head(&log, 7), head(&log, 40));
        assert_eq!(Beside::of(&old, &old), Beside::Same);
        let proof = tree::consistency_proof(7, 40, &log).unwrap();
        for (seen, shown, is_news) in [(&old, &new, true), (&new, &old, false)] {
            let Beside::Apart(gap) = Beside::of(seen, shown) else { panic!("{seen:?}") };
            assert_eq!((gap.from, gap.to, gap.is_news), (7, 40, is_news));
            assert!(gap.is_closed_by(&proof) && gap.begins_with(&old.root));
            assert!(!gap.is_closed_by(&proof[1..]) && !gap.is_closed_by(&[]) && !gap.begins_with(&new.root));
            assert!(!gap.is_closed_by(&vec![old.root; limits::PROOF + 1]));
        }
    }

    #[test]
    fn two_pasts_are_never_joined() {
        let (ours, theirs) = (log(0..40), log((0..5).chain(100..140)));
        assert_eq!(Beside::of(&head(&ours, 7), &head(&theirs, 7)), Beside::Forked);
        assert_eq!(Beside::of(&head(&ours, 5), &head(&theirs, 5)), Beside::Same, "the common beginning");
        let Beside::Apart(gap) = Beside::of(&head(&ours, 7), &head(&theirs, 30)) else { panic!() };
        for log in [&ours, &theirs] {
            assert!(!gap.is_closed_by(&tree::consistency_proof(7, 30, log).unwrap()));
        }
    }
}
