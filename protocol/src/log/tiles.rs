//! Tiles (C2SP tlog-tiles): the tree and its entries as a finite set of immutable pieces with paths.
//!
//! A tile holds up to 256 consecutive hashes of every eighth level of the tree; an entry bundle holds the
//! entries of a level-0 tile. Where the bytes come from is left to the store.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::limits;
use crate::log::{Hash, tree};

/// Hashes in a full tile.
pub const TILE_WIDTH: u16 = 256;
/// Bytes of a full hash tile.
pub const TILE_BYTES: usize = 256 * 32;

/// Why a path or a bundle is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TileError {
    /// Not `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]` in its one spelling.
    #[error("not a tile's path")]
    Path,
    /// The bytes are not 1 to 256 length-prefixed entries, or not a tile's hashes.
    #[error("not a tile's bytes")]
    Bytes,
}

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of level 8 * L of the tree; L is 0 to 63.
    Hashes(u8),
    /// Entries.
    Entries,
}

/// One tile's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    /// Hashes of a level, or entries.
    pub kind: TileKind,
    /// Which tile of that level, from 0.
    pub index: u64,
    /// How many hashes or entries: 1 to 256. 256 is full.
    pub width: u16,
}

impl TilePath {
    /// Whether a tree of `size` leaves has all that this tile holds.
    pub fn is_within(&self, size: u64) -> bool {
        let level = match self.kind {
            TileKind::Hashes(level) => u32::from(level) * 8,
            TileKind::Entries => 0,
        };
        let complete = size.checked_shr(level).unwrap_or(0);
        let end =
            self.index.checked_mul(u64::from(TILE_WIDTH)).and_then(|n| n.checked_add(self.width.into()));
        end.is_some_and(|end| end <= complete)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}")?,
            TileKind::Entries => f.write_str("tile/entries")?,
        }
        // u64::MAX has seven groups of three digits; leading groups are marked, the last is not.
        let mut divisor = 1_000_000_000_000_000_000u64;
        while divisor > 1 {
            if self.index >= divisor {
                write!(f, "/x{:03}", self.index / divisor % 1000)?;
            }
            divisor /= 1000;
        }
        write!(f, "/{:03}", self.index % 1000)?;
        if self.width == TILE_WIDTH { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for TilePath {
    type Err = TileError;
    fn from_str(text: &str) -> Result<TilePath, TileError> {
        if text.len() > PATH {
            return Err(TileError::Path);
        }
        let path = parse_path(text).ok_or(TileError::Path)?;
        // One check for all that has a second spelling: zeroes, signs, a width of 256.
        if path.to_string() == text { Ok(path) } else { Err(TileError::Path) }
    }
}

fn parse_path(text: &str) -> Option<TilePath> {
    let (kind, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(level.parse().ok().filter(|level| *level <= 63)?),
    };
    let (number, width) = match rest.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok().filter(|w| (1..TILE_WIDTH).contains(w))?),
        None => (rest, TILE_WIDTH),
    };
    let index = number.split('/').try_fold(0u64, |sum, group| {
        let digits: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok().filter(|n| *n < 1000)?;
        sum.checked_mul(1000)?.checked_add(digits)
    })?;
    Some(TilePath { kind, index, width })
}

/// The bytes of an entry bundle: each entry with its length before it, 16 bits, big-endian.
/// `None` if an entry is longer than [`limits::ENTRY`].
pub fn encode_bundle<E: AsRef<[u8]>>(entries: impl IntoIterator<Item = E>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.as_ref();
        let length = u16::try_from(entry.len()).ok().filter(|_| entry.len() <= limits::ENTRY)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(entry);
    }
    Some(out)
}

/// The entries of a bundle: 1 to 256, nothing after them. Their spelling is not looked at.
pub fn decode_bundle(bytes: &[u8]) -> Result<Vec<&[u8]>, TileError> {
    let (mut entries, mut rest) = (Vec::new(), bytes);
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, tail) = tail.split_at_checked(length).ok_or(TileError::Bytes)?;
        if length > limits::ENTRY || entries.len() == usize::from(TILE_WIDTH) {
            return Err(TileError::Bytes);
        }
        entries.push(entry);
        rest = tail;
    }
    if rest.is_empty() && !entries.is_empty() { Ok(entries) } else { Err(TileError::Bytes) }
}

/// The bytes of a hash tile.
pub fn encode_tile(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a hash tile: 1 to 256.
pub fn decode_tile(bytes: &[u8]) -> Result<Vec<Hash>, TileError> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || !(1..=usize::from(TILE_WIDTH)).contains(&hashes.len()) {
        return Err(TileError::Bytes);
    }
    Ok(hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// The head of a complete subtree from its lowest hashes, whose number is a power of two.
/// `None` for any other number.
pub fn subtree(hashes: &[Hash]) -> Option<Hash> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        level = level.as_chunks::<2>().0.iter().map(|[left, right]| tree::node_hash(left, right)).collect();
    }
    level.first().copied()
}

/// The longest path: `tile/entries/`, six groups with their marks, one without, and `.p/255`.
const PATH: usize = 13 + 6 * 5 + 3 + 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let path = |kind, index, width| TilePath { kind, index, width };
        for (text, expected) in [
            ("tile/0/000", path(TileKind::Hashes(0), 0, 256)),
            ("tile/3/x001/x234/067", path(TileKind::Hashes(3), 1_234_067, 256)),
            ("tile/63/999.p/255", path(TileKind::Hashes(63), 999, 255)),
            ("tile/entries/x001/000.p/1", path(TileKind::Entries, 1000, 1)),
            ("tile/entries/x018/x446/x744/x073/x709/x551/615.p/255", path(TileKind::Entries, u64::MAX, 255)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(expected.to_string(), text);
            assert!(text.len() <= PATH);
        }
    }

    #[test]
    fn other_spellings_of_a_path_are_refused() {
        for bad in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "/tile/0/000",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/001",
            "tile/0/001/001",
            "tile/0/x001",
            "tile/0/xx01/001",
            "tile/0/+01",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/data/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p/1/",
            "tile/0/000/",
            "tile/0/..",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(bad.parse::<TilePath>(), Err(TileError::Path), "{bad}");
        }
        assert!("x001/".repeat(1_000_000).parse::<TilePath>().is_err());
    }

    #[test]
    fn a_tile_is_within_a_tree_that_has_all_its_hashes() {
        let tile = |level, index, width| TilePath { kind: TileKind::Hashes(level), index, width };
        // The specification's example: 70,000 leaves.
        for (path, within) in [
            (tile(0, 272, 256), true),
            (tile(0, 273, 112), true),
            (tile(0, 273, 113), false),
            (tile(1, 0, 256), true),
            (tile(1, 1, 17), true),
            (tile(1, 1, 18), false),
            (tile(2, 0, 1), true),
            (tile(2, 0, 2), false),
            (tile(8, 0, 1), false),
            (tile(63, u64::MAX, 255), false),
        ] {
            assert_eq!(path.is_within(70_000), within, "{path}");
        }
    }

    #[test]
    fn a_bundle_holds_1_to_256_entries_of_at_most_60_kib() {
        let entries = vec![vec![7u8; limits::ENTRY], Vec::new(), b"x".to_vec()];
        let bytes = encode_bundle(&entries).unwrap();
        assert_eq!(bytes[..2], (limits::ENTRY as u16).to_be_bytes());
        assert_eq!(decode_bundle(&bytes).unwrap(), entries);
        assert_eq!(encode_bundle([vec![0u8; limits::ENTRY + 1]]), None);
        assert_eq!(decode_bundle(&[&[0xff, 0xff][..], &[0; 0xffff]].concat()), Err(TileError::Bytes));
        assert!(decode_bundle(&[0; 512]).is_ok());
        for bad in [&[][..], &[0], &[0, 1], &[0, 0, 0], &[0; 514]] {
            assert_eq!(decode_bundle(bad), Err(TileError::Bytes));
        }
    }

    #[test]
    fn a_tile_holds_1_to_256_hashes() {
        let hashes: Vec<Hash> = (0..=255).map(|n| Hash([n; 32])).collect();
        let bytes = encode_tile(&hashes);
        assert_eq!(bytes.len(), TILE_BYTES);
        assert_eq!(decode_tile(&bytes), Ok(hashes.clone()));
        assert!(decode_tile(&bytes[..32]).is_ok());
        for bad in [&bytes[..0], &bytes[..31], &bytes[..33], &[&bytes[..], &bytes[..32]].concat()] {
            assert_eq!(decode_tile(bad), Err(TileError::Bytes));
        }
        let theirs = tlog_tiles::Tile::subtree_hash(&bytes);
        assert_eq!(subtree(&hashes).unwrap().0, theirs.0);
        assert_eq!(subtree(&hashes[..1]), Some(hashes[0]));
        assert_eq!((subtree(&[]), subtree(&hashes[..3])), (None, None));
    }

    proptest! {
        #[test]
        fn every_path_comes_back_and_is_the_oracles(level in 0u8..=63, index: u64, width in 1u16..=256, shift in 0u32..64) {
            let index = index >> shift;
            let path = TilePath { kind: TileKind::Hashes(level), index, width };
            prop_assert_eq!(path.to_string().parse(), Ok(path));
            let theirs = tlog_tiles::Tile::new(8, level, index, width.into(), false).path();
            prop_assert_eq!(path.to_string(), theirs.replacen("tile/8/", "tile/", 1));
            let entries = TilePath { kind: TileKind::Entries, ..path };
            prop_assert_eq!(entries.to_string().parse(), Ok(entries));
        }

        #[test]
        fn no_text_and_no_bytes_make_it_panic(text in "(tile/|entries/|0|x001|/|.p/|.){0,12}", bytes: Vec<u8>) {
            let _ = text.parse::<TilePath>();
            let _ = decode_bundle(&bytes);
            let _ = decode_tile(&bytes);
        }
    }
}
