//! Where a log's bytes come from: the database, a folder of tiles, a zip of one. Everything behind the port is
//! taken for hostile; what it gives is believed only once the checks have gone over it.
//!
//! A database has every signed head that the CA ever made, a tiles folder only its newest: what is asked where a
//! batch ends can be asked of the first alone.

mod database;
mod folder;
mod tiles;
mod zipped;

use fireaxe_protocol::log::tiles::{TILE_WIDTH, TileKind, TilePath};
use thiserror::Error;

pub use database::Database;
pub use folder::Folder;
pub use tiles::{Place, TilesLog};
pub use zipped::Zipped;

/// What cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("entry {entry}: {what}")]
pub struct SourceError {
    /// Index of the first entry that cannot be had.
    pub entry: u64,
    /// Why. Escaped.
    pub what: String,
}

/// A log's bytes, in order.
pub trait Source: Send {
    /// How many entries there are said to be: for a bar that moves, and to know where a copy ends.
    fn size(&self) -> u64;

    /// Whether it has every signed head, and not the newest alone.
    fn has_all_heads(&self) -> bool;

    /// Whether a full hash tile that is not there is missing.
    fn owes_tiles(&self) -> bool;

    /// Entries from `from` on, at least one unless the log ends there, at most [`PIECE_ENTRIES`] or somewhat
    /// over [`PIECE_BYTES`].
    fn entries(&mut self, from: u64) -> Result<Vec<Vec<u8>>, SourceError>;

    /// The heads over more than `after` and at most `until` entries: size and note, the smaller first.
    fn heads(&mut self, after: u64, until: u64) -> Result<Vec<(u64, String)>, SourceError>;

    /// The bytes of a tile, if it is there.
    fn tile(&mut self, path: &TilePath) -> Result<Option<Vec<u8>>, SourceError>;
}

/// Entries in one piece.
pub const PIECE_ENTRIES: usize = 512;
/// Bytes after which a piece ends: with one entry more it is as long as this and [`fireaxe_protocol::limits::ENTRY`].
pub const PIECE_BYTES: usize = 1024 * 1024;

/// Consecutive entries, and what else the source has about them.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// Index of the first.
    pub(crate) from: u64,
    pub(crate) entries: Vec<Vec<u8>>,
    /// Heads whose last entry is one of these.
    pub(crate) heads: Vec<(u64, String)>,
    /// Tiles that these entries complete; and with the last piece the partial ones.
    pub(crate) tiles: Vec<(TilePath, Option<Vec<u8>>)>,
}

impl Piece {
    /// The next piece; without entries where the log ends.
    pub(crate) fn read(source: &mut dyn Source, from: u64) -> Result<Piece, SourceError> {
        let entries = source.entries(from)?;
        let until = from.saturating_add(entries.len() as u64);
        if entries.is_empty() {
            let heads = source.heads(from, u64::MAX)?;
            return Ok(Piece { from, heads, ..Piece::default() });
        }
        let heads = source.heads(from, until)?;
        let mut paths = completed(from, until);
        if until == source.size() {
            paths.extend(partial(until));
        }
        let with = |path| Ok((path, source.tile(&path)?));
        let tiles = paths.into_iter().map(with).collect::<Result<_, _>>()?;
        Ok(Piece { from, entries, heads, tiles })
    }
}

/// The full hash tiles of a tree of `until` leaves that one of `from` leaves has not.
fn completed(from: u64, until: u64) -> Vec<TilePath> {
    let mut paths = Vec::new();
    for level in 0u8..8 {
        let full = |size: u64| size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
        let new = full(from)..full(until);
        paths.extend(new.map(|index| TilePath { kind: TileKind::Hashes(level), index, width: TILE_WIDTH }));
    }
    paths
}

/// The hash tiles at the right edge of a tree of `size` leaves.
fn partial(size: u64) -> Vec<TilePath> {
    let mut paths = Vec::new();
    for level in 0u8..8 {
        let hashes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        let (index, width) = (hashes / u64::from(TILE_WIDTH), hashes % u64::from(TILE_WIDTH));
        let width = u16::try_from(width).unwrap_or(0);
        if width > 0 {
            paths.push(TilePath { kind: TileKind::Hashes(level), index, width });
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tile_is_looked_at_once_and_the_partial_ones_at_the_end() {
        let names = |paths: Vec<TilePath>| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(completed(0, 255)), Vec::<String>::new());
        assert_eq!(names(completed(0, 256)), ["tile/0/000"]);
        assert_eq!(names(completed(256, 700)), ["tile/0/001"]);
        assert_eq!(names(completed(65_300, 65_536)), ["tile/0/255", "tile/1/000"]);
        assert_eq!(names(partial(256)), ["tile/1/000.p/1"]);
        assert_eq!(names(partial(70_000)), ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
        assert_eq!(names(partial(0)), Vec::<String>::new());
    }
}
