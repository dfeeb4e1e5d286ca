//! The Merkle tree of RFC 6962: hashes, heads, proofs and their checks.
//!
//! Generators read complete subtrees through [`Nodes`] and follow the recursive definition of RFC 6962,
//! section 2.1; the checks follow the iterative algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2, and
//! share nothing with the generators but the two hash functions. Where hashes are kept is left to others.

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::log::Hash;

/// The hash of a leaf: SHA-256(0x00 || entry bytes).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// The hash of an inner node: SHA-256(0x01 || left || right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut both = [1u8; 65];
    let (_, children) = both.split_at_mut(1);
    let (l, r) = children.split_at_mut(32);
    l.copy_from_slice(&left.0);
    r.copy_from_slice(&right.0);
    Hash::of(&both)
}

/// The head of a tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Hash::of(&[])
}

/// Where the hashes of complete subtrees come from.
pub trait Nodes {
    /// Why one could not be had.
    type Error;
    /// The hash of the complete subtree of 2^`level` leaves whose first leaf is `index` * 2^`level`.
    /// Level 0 is the leaves. Asked only for subtrees that lie wholly in the tree.
    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// Why there is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProofError<E> {
    /// The leaf is not in a tree of that size, or the older tree is larger than the newer.
    #[error("there is no such proof: the index or size lies beyond the tree")]
    OutOfRange,
    /// A hash could not be had.
    #[error(transparent)]
    Nodes(#[from] E),
}

/// A proof that does not hold. Says nothing of why: no caller may treat one failure as milder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the Merkle proof does not hold")]
pub struct BadProof;

/// The head of the tree of the first `size` leaves.
pub fn root<N: Nodes>(size: u64, nodes: &N) -> Result<Hash, N::Error> {
    if size == 0 { Ok(empty_root()) } else { range(0, size, nodes) }
}

/// The inclusion proof of leaf `index` in the tree of `size` leaves, the leaf's sibling first
/// (RFC 6962, section 2.1.1).
pub fn inclusion_proof<N: Nodes>(
    index: u64,
    size: u64,
    nodes: &N,
) -> Result<Vec<Hash>, ProofError<N::Error>> {
    if index >= size {
        return Err(ProofError::OutOfRange);
    }
    // From the head down, so the proof is collected backwards.
    let (mut start, mut end, mut proof) = (0, size, Vec::new());
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(range(middle, end, nodes)?);
            end = middle;
        } else {
            proof.push(range(start, middle, nodes)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `from` leaves is the beginning of the tree of `to` leaves
/// (RFC 6962, section 2.1.2). Empty when the sizes are equal or `from` is 0.
pub fn consistency_proof<N: Nodes>(from: u64, to: u64, nodes: &N) -> Result<Vec<Hash>, ProofError<N::Error>> {
    if from > to {
        return Err(ProofError::OutOfRange);
    }
    if from == 0 || from == to {
        return Ok(Vec::new());
    }
    let (mut start, mut end, mut proof) = (0, to, Vec::new());
    // `from` as seen from `start`; ends when the subtree is exactly the older tree's rest.
    while from != end {
        let middle = start + split(end - start);
        if from <= middle {
            proof.push(range(middle, end, nodes)?);
            end = middle;
        } else {
            proof.push(range(start, middle, nodes)?);
            start = middle;
        }
    }
    // The checker has the older head already when it is a whole subtree from leaf 0.
    if start != 0 {
        proof.push(range(start, end, nodes)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Checks that `leaf` is leaf `index` of the tree of `size` leaves with this head.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), BadProof> {
    if index >= size {
        return Err(BadProof);
    }
    let (mut place, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(BadProof);
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(BadProof) }
}

/// Checks that the tree of `from` leaves with head `old` is the beginning of the tree of `to` leaves with
/// head `new`. The empty tree is the beginning of every tree.
pub fn verify_consistency(
    from: u64,
    to: u64,
    proof: &[Hash],
    old: &Hash,
    new: &Hash,
) -> Result<(), BadProof> {
    if from == to || from == 0 {
        let heads_fit = if from == to { old == new } else { *old == empty_root() };
        let empty_fits = to != 0 || *new == empty_root();
        return if from <= to && proof.is_empty() && heads_fit && empty_fits {
            Ok(())
        } else {
            Err(BadProof)
        };
    }
    if from > to {
        return Err(BadProof);
    }
    // Step 2: an older tree that is a whole subtree proves itself.
    let (first, path) = match from.is_power_of_two() {
        true => (old, proof),
        false => proof.split_first().ok_or(BadProof)?,
    };
    let (mut place, mut last) = (from - 1, to - 1);
    while place & 1 == 1 {
        place >>= 1;
        last >>= 1;
    }
    let (mut older, mut newer) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return Err(BadProof);
        }
        if place & 1 == 1 || place == last {
            older = node_hash(sibling, &older);
            newer = node_hash(sibling, &newer);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            newer = node_hash(&newer, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    if last == 0 && older == *old && newer == *new && !path.is_empty() { Ok(()) } else { Err(BadProof) }
}

/// MTH(D[start:end]) for the ranges that occur: `start` is a multiple of the power of two at or above
/// the length, so each left part is one complete subtree. At most 64 steps.
fn range<N: Nodes>(start: u64, end: u64, nodes: &N) -> Result<Hash, N::Error> {
    let length = end - start;
    if length.is_power_of_two() {
        let level = length.trailing_zeros();
        return nodes.node(level as u8, start >> level);
    }
    let middle = start + split(length);
    let left = range(start, middle, nodes)?;
    let right = range(middle, end, nodes)?;
    Ok(node_hash(&left, &right))
}

/// The largest power of two below `length`, which is at least 2.
fn split(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// RFC 6962's definitions, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            many => {
                let (l, r) = many.split_at(many.len().next_power_of_two() / 2);
                node_hash(&mth(l), &mth(r))
            }
        }
    }

    fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (l, r) = leaves.split_at(k);
        let mut proof = if m < k { path(m, l) } else { path(m - k, r) };
        proof.push(if m < k { mth(r) } else { mth(l) });
        proof
    }

    fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if whole { Vec::new() } else { vec![mth(leaves)] };
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (l, r) = leaves.split_at(k);
        let mut proof = if m <= k { subproof(m, l, whole) } else { subproof(m - k, r, false) };
        proof.push(if m <= k { mth(r) } else { mth(l) });
        proof
    }

    struct Leaves(Vec<Hash>);

    impl Nodes for Leaves {
        type Error = Infallible;
        fn node(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
            let width = 1usize << level;
            Ok(mth(&self.0[index as usize * width..][..width]))
        }
    }

    fn leaves(n: u64) -> Leaves {
        Leaves((0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect())
    }

    #[test]
    fn the_known_vectors_of_rfc_6962_hold() {
        // Inputs and heads as in certificate-transparency's reference tests.
        let inputs: [&[u8]; 8] = [
            &[],
            &[0],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let heads = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let nodes = Leaves(inputs.iter().map(|input| leaf_hash(input)).collect());
        for (size, head) in heads.iter().enumerate() {
            assert_eq!(root(size as u64, &nodes), Ok(head.parse().unwrap()), "size {size}");
        }
    }

    #[test]
    fn every_proof_up_to_70_leaves_is_the_recursive_definition_and_verifies() {
        let nodes = leaves(70);
        for size in 1..=70u64 {
            let part = &nodes.0[..size as usize];
            let head = mth(part);
            assert_eq!(root(size, &nodes), Ok(head));
            for index in 0..size {
                let proof = inclusion_proof(index, size, &nodes).unwrap();
                assert_eq!(proof, path(index as usize, part));
                let leaf = part[index as usize];
                assert_eq!(verify_inclusion(&leaf, index, size, &proof, &head), Ok(()));
                for wrong in (0..=size).filter(|other| *other != index) {
                    assert!(verify_inclusion(&leaf, wrong, size, &proof, &head).is_err());
                }
            }
            for from in 1..=size {
                let proof = consistency_proof(from, size, &nodes).unwrap();
                assert_eq!(proof, subproof(from as usize, part, true));
                let old = mth(&part[..from as usize]);
                assert_eq!(verify_consistency(from, size, &proof, &old, &head), Ok(()), "{from} {size}");
                for wrong in (0..=size + 1).filter(|other| *other != from) {
                    assert!(verify_consistency(wrong, size, &proof, &old, &head).is_err());
                }
            }
        }
    }

    #[test]
    fn the_edges_have_one_answer_each() {
        let nodes = leaves(4);
        let (head, empty) = (root(4, &nodes).unwrap(), empty_root());
        assert_eq!(inclusion_proof(4, 4, &nodes), Err(ProofError::OutOfRange));
        assert_eq!(consistency_proof(5, 4, &nodes), Err(ProofError::OutOfRange));
        assert_eq!(verify_inclusion(&head, 0, 0, &[], &head), Err(BadProof));
        assert_eq!(verify_consistency(0, 4, &[], &empty, &head), Ok(()));
        assert_eq!(verify_consistency(0, 4, &[], &head, &head), Err(BadProof));
        assert_eq!(verify_consistency(0, 4, &[head], &empty, &head), Err(BadProof));
        assert_eq!(verify_consistency(0, 0, &[], &empty, &empty), Ok(()));
        assert_eq!(verify_consistency(0, 0, &[], &head, &head), Err(BadProof));
        assert_eq!(verify_consistency(4, 4, &[], &head, &head), Ok(()));
        assert_eq!(verify_consistency(4, 4, &[], &empty, &head), Err(BadProof));
        assert_eq!(verify_consistency(5, 4, &[], &head, &head), Err(BadProof));
        assert_eq!(verify_consistency(2, 4, &[], &head, &head), Err(BadProof));
        let long = vec![head; 10_000];
        assert_eq!(verify_inclusion(&head, u64::MAX - 1, u64::MAX, &long, &head), Err(BadProof));
        assert_eq!(verify_consistency(3, u64::MAX, &long, &head, &head), Err(BadProof));
    }

    fn oracle_hashes(n: u64) -> Stored {
        let mut stored = Stored(Vec::new());
        for i in 0..n {
            let more = tlog_tiles::stored_hashes(i, &i.to_be_bytes(), &stored).unwrap();
            stored.0.extend(more);
        }
        stored
    }

    struct Stored(Vec<tlog_tiles::Hash>);

    impl tlog_tiles::HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
            Ok(indexes.iter().map(|i| self.0[*i as usize]).collect())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn another_implementation_makes_and_takes_the_same_proofs(size in 1u64..1200, a: u64, b: u64) {
            let (nodes, oracle) = (leaves(size), oracle_hashes(size));
            let (index, from) = (a % size, 1 + b % size);
            let head = root(size, &nodes).unwrap();
            prop_assert_eq!(head.0, tlog_tiles::tree_hash(size, &oracle).unwrap().0);

            let proof = inclusion_proof(index, size, &nodes).unwrap();
            let theirs = tlog_tiles::prove_record(size, index, &oracle).unwrap();
            prop_assert_eq!(&proof, &theirs.iter().map(|h| Hash(h.0)).collect::<Vec<_>>());
            tlog_tiles::check_record(&theirs, size, tlog_tiles::Hash(head.0), index,
                tlog_tiles::Hash(nodes.0[index as usize].0)).unwrap();

            let proof = consistency_proof(from, size, &nodes).unwrap();
            let theirs = tlog_tiles::prove_tree(size, from, &oracle).unwrap();
            prop_assert_eq!(&proof, &theirs.iter().map(|h| Hash(h.0)).collect::<Vec<_>>());
        }

        #[test]
        fn a_proof_with_anything_changed_is_refused(size in 2u64..300, a: u64, b: u64, at: usize, bit in 0usize..256) {
            let nodes = leaves(size);
            let (index, from) = (a % size, 1 + b % (size - 1));
            let head = root(size, &nodes).unwrap();
            let old = root(from, &nodes).unwrap();
            let flip = |hash: Hash| { let mut h = hash; h.0[bit / 8] ^= 1 << (bit % 8); h };
            let leaf = nodes.0[index as usize];

            let proof = inclusion_proof(index, size, &nodes).unwrap();
            let mut changed = proof.clone();
            let place = at % changed.len();
            changed[place] = flip(changed[place]);
            prop_assert!(verify_inclusion(&leaf, index, size, &changed, &head).is_err());
            prop_assert!(verify_inclusion(&flip(leaf), index, size, &proof, &head).is_err());
            prop_assert!(verify_inclusion(&leaf, index, size, &proof, &flip(head)).is_err());
            prop_assert!(verify_inclusion(&leaf, index, size, &proof[1..], &head).is_err());
            prop_assert!(verify_inclusion(&leaf, index, size, &[&proof[..], &[head]].concat(), &head).is_err());

            let proof = consistency_proof(from, size, &nodes).unwrap();
            let mut changed = proof.clone();
            let place = at % changed.len();
            changed[place] = flip(changed[place]);
            prop_assert!(verify_consistency(from, size, &changed, &old, &head).is_err());
            prop_assert!(verify_consistency(from, size, &proof, &flip(old), &head).is_err());
            prop_assert!(verify_consistency(from, size, &proof, &old, &flip(head)).is_err());
            prop_assert!(verify_consistency(from, size, &proof[1..], &old, &head).is_err());
            prop_assert!(verify_consistency(from, size, &[&proof[..], &[head]].concat(), &old, &head).is_err());
        }
    }
}
