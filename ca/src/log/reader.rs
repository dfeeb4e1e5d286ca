//! Reading the log: for other threads, and for other processes while the service runs.
//!
//! A connection that cannot write. What it reads never changes once written, so no answer is torn by a
//! commit in between. Who may read what is left to the front door.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;

use fireaxe_protocol::evidence::range;
use fireaxe_protocol::log::tiles::{
    TILE_WIDTH, TileKind, TilePath, decode_tile, encode_bundle, encode_tile, subtree,
};
use fireaxe_protocol::log::tree::{Nodes, consistency_proof, inclusion_proof, leaf_hash};
use fireaxe_protocol::log::{Checkpoint, Entry, Event, Hash, NoteKey, Receipt, line1};
use fireaxe_protocol::names::Origin;
use rusqlite::Connection;

use super::edge::{Edge, Growth, shifted, tile_hash};
use super::error::LogError;
use super::logged::{Logged, Proof};
use super::store::{self, Pieces};
use super::writer::{first_entry, proof_error};

/// The log, open for reading. One a thread.
pub struct Reader {
    connection: Connection,
    origin: Origin,
    key: NoteKey,
}

impl Reader {
    /// Opens the log at `path` read-only. Needs no lock; a writer may be at work.
    pub fn open(path: &Path) -> Result<Reader, LogError> {
        let connection = store::open_for_reading(path)?;
        let (origin, key) = first_entry(&Rows(&connection))?;
        Ok(Reader { connection, origin, key })
    }

    /// The log's name.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key that signs this log's checkpoints, as entry 0 names it.
    pub fn key(&self) -> &NoteKey {
        &self.key
    }

    /// How many entries the newest checkpoint covers.
    pub fn size(&self) -> Result<u64, LogError> {
        Ok(self.head()?.0)
    }

    /// The newest checkpoint's note.
    pub fn latest_checkpoint(&self) -> Result<String, LogError> {
        Ok(self.head()?.1)
    }

    /// The first checkpoint that covers entry `index`: its size and note.
    pub fn checkpoint_covering(&self, index: u64) -> Result<(u64, String), LogError> {
        store::checkpoint_after(&self.connection, index)?.ok_or(LogError::OutOfRange)
    }

    /// The bytes of entry `index`.
    pub fn entry_bytes(&self, index: u64) -> Result<Vec<u8>, LogError> {
        store::entry(&self.connection, index)?.ok_or(LogError::OutOfRange)
    }

    /// Entry `index`, read strictly. Not proved to be in the tree: [`Reader::receipt`] or
    /// [`Reader::replay`] do that.
    pub fn entry(&self, index: u64) -> Result<Entry, LogError> {
        decode(index, &self.entry_bytes(index)?)
    }

    /// The bytes of up to `max` entries from `from` on, in order, one in memory at a time, until `each`
    /// breaks.
    pub fn entries(
        &self,
        from: u64,
        max: u64,
        mut each: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let sql = "SELECT idx, bytes FROM entry WHERE idx >= ?1 ORDER BY idx LIMIT ?2";
        let mut get = self.connection.prepare_cached(sql)?;
        let mut rows = get.query([store::number(from)?, i64::try_from(max).unwrap_or(i64::MAX)])?;
        let mut expected = from;
        while let Some(row) = rows.next()? {
            let index = store::unsigned(row.get(0)?)?;
            if index != expected {
                return Err(LogError::Corrupt("an entry is missing"));
            }
            let bytes = row.get_ref(1)?.as_blob().map_err(|_| LogError::Corrupt("a row of another shape"))?;
            if each(index, bytes).is_break() {
                return Ok(());
            }
            expected += 1;
        }
        Ok(())
    }

    /// Reads every entry under the newest checkpoint in order, strictly, and recomputes the tree from the
    /// bytes. Returns that checkpoint only if all fits: no gap, no step back in time, every full tile as
    /// stored, the head as signed. Until it has returned, what `each` was given is unproved.
    pub fn replay(&self, mut each: impl FnMut(u64, Entry, Hash)) -> Result<Checkpoint, LogError> {
        let (size, note) = self.head()?;
        let head = Checkpoint::open(&note, &self.key, &self.origin)
            .map_err(|_| LogError::Corrupt("the newest checkpoint does not verify"))?;
        if !store::is_covered(&self.connection)? {
            return Err(LogError::Corrupt("entries and newest checkpoint disagree"));
        }
        let (mut edge, mut last_at) = (Edge::empty(), 0);
        while edge.size() < size {
            let mut growth = Growth::after(&edge);
            let mut fault = None;
            // A tile's worth at a time: memory stays small, and each full tile is met once.
            self.entries(edge.size(), u64::from(TILE_WIDTH).min(size - edge.size()), |index, bytes| {
                match decode(index, bytes).and_then(|entry| grow(&mut growth, &mut last_at, entry, bytes)) {
                    Ok((entry, leaf)) => each(index, entry, leaf),
                    Err(error) => fault = Some(error),
                }
                if fault.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if let Some(error) = fault {
                return Err(error);
            }
            if growth.size() == edge.size() {
                return Err(LogError::Corrupt("entries are missing at the end"));
            }
            for tile in edge.completed(&growth) {
                if store::tile(&self.connection, tile.level, tile.index)?.as_deref() != Some(&tile.bytes) {
                    return Err(LogError::Corrupt("a tile is not that of its entries"));
                }
            }
            edge = edge.grown(&growth)?;
        }
        if head.size != size || edge.root()? != head.root {
            return Err(LogError::Corrupt("the newest checkpoint is of another tree"));
        }
        Ok(head)
    }

    /// The receipt of entry `index` under the first checkpoint that covers it: the same bytes as those
    /// made when it was committed.
    pub fn receipt(&self, index: u64) -> Result<Receipt, LogError> {
        let (size, checkpoint) = self.checkpoint_covering(index)?;
        let bytes = self.entry_bytes(index)?;
        let issued = matches!(decode(index, &bytes)?.event, Event::CertificateIssued { .. });
        let rows = Rows(&self.connection);
        let nodes = StoredNodes::new(&rows, self.size()?);
        let hashes = inclusion_proof(index, size, &nodes).map_err(proof_error)?;
        let line1 = if issued { line1(&bytes).to_vec() } else { Vec::new() };
        Ok(Receipt { line1, index, hashes, checkpoint })
    }

    /// The proof that entry `index` is in the log of `size` entries.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, LogError> {
        let rows = Rows(&self.connection);
        let nodes = StoredNodes::new(&rows, self.size()?.max(size));
        inclusion_proof(index, size, &nodes).map_err(proof_error)
    }

    /// The proof that entries `from..to` are in the log of `size` entries.
    pub fn range(&self, from: u64, to: u64, size: u64) -> Result<String, LogError> {
        if from > to || to > size || size > self.size()? {
            return Err(LogError::OutOfRange);
        }
        let rows = Rows(&self.connection);
        range::prove(from, to, size, &StoredNodes::new(&rows, self.size()?))
    }

    /// What is durable already, as [`Logged`]: for the retry of a statement whose entry was found. `make`
    /// turns the entry into the thing that the next step takes.
    pub fn logged<T>(&self, index: u64, make: impl FnOnce(Entry) -> T) -> Result<Logged<T>, LogError> {
        let bytes = self.entry_bytes(index)?;
        let receipt = Box::new(self.receipt(index)?);
        let (leaf, thing) = (leaf_hash(&bytes), make(decode(index, &bytes)?));
        Ok(Logged { index, leaf, thing, proof: Proof::Stored { line1: line1(&bytes).to_vec(), receipt } })
    }

    /// The bytes of a tile or entry bundle, full or partial (C2SP tlog-tiles).
    pub fn tile(&self, path: &TilePath) -> Result<Vec<u8>, LogError> {
        let size = self.size()?;
        if !path.is_within(size) || !(1..=TILE_WIDTH).contains(&path.width) {
            return Err(LogError::OutOfRange);
        }
        match path.kind {
            TileKind::Entries => self.entry_bundle(path.index, path.width),
            TileKind::Hashes(level) => {
                let hashes = StoredNodes::new(&Rows(&self.connection), size).tile(level, path.index)?;
                let part = hashes.get(..usize::from(path.width)).ok_or(LogError::OutOfRange)?;
                Ok(encode_tile(part))
            }
        }
    }

    /// The bytes of the first `width` entries of level-0 tile `index`, as a C2SP entry bundle.
    pub fn entry_bundle(&self, index: u64, width: u16) -> Result<Vec<u8>, LogError> {
        let path = TilePath { kind: TileKind::Entries, index, width };
        if !path.is_within(self.size()?) || !(1..=TILE_WIDTH).contains(&width) {
            return Err(LogError::OutOfRange);
        }
        let mut entries = Vec::with_capacity(width.into());
        self.entries(index * u64::from(TILE_WIDTH), width.into(), |_, bytes| {
            entries.push(bytes.to_vec());
            ControlFlow::Continue(())
        })?;
        encode_bundle(entries).ok_or(LogError::Corrupt("an entry is too long"))
    }

    /// The proof that the log of `from` entries is the beginning of the log of `to` entries.
    pub fn consistency(&self, from: u64, to: u64) -> Result<Vec<Hash>, LogError> {
        let size = self.size()?;
        if to > size {
            return Err(LogError::OutOfRange);
        }
        consistency_proof(from, to, &StoredNodes::new(&Rows(&self.connection), size)).map_err(proof_error)
    }

    fn head(&self) -> Result<(u64, String), LogError> {
        store::head(&self.connection)?.ok_or(LogError::Unfinished)
    }
}

fn decode(index: u64, bytes: &[u8]) -> Result<Entry, LogError> {
    let entry = Entry::decode(bytes)?;
    if entry.index == index { Ok(entry) } else { Err(LogError::Corrupt("an entry at another's place")) }
}

fn grow(
    growth: &mut Growth,
    last_at: &mut u64,
    entry: Entry,
    bytes: &[u8],
) -> Result<(Entry, Hash), LogError> {
    if entry.at < *last_at {
        return Err(LogError::Corrupt("an entry is older than the one before it"));
    }
    if (entry.index == 0) != matches!(entry.event, Event::LogCreated { .. }) {
        return Err(LogError::Misplaced);
    }
    *last_at = entry.at;
    let leaf = leaf_hash(bytes);
    growth.push(leaf)?;
    Ok((entry, leaf))
}

/// A reader's rows as the tree reads them.
struct Rows<'c>(&'c Connection);

impl Pieces for Rows<'_> {
    fn entry(&self, index: u64) -> Result<Option<Vec<u8>>, LogError> {
        store::entry(self.0, index)
    }
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, LogError> {
        store::tile(self.0, level, index)
    }
    fn head(&self) -> Result<Option<(u64, String)>, LogError> {
        store::head(self.0)
    }
    fn count(&self) -> Result<u64, LogError> {
        store::count(self.0)
    }
}

/// Any node of a tree of `size` leaves, from full tiles and, at the right end, what they are made of.
/// Keeps the tiles one proof touches: two a level.
pub(super) struct StoredNodes<'p, P: ?Sized> {
    pieces: &'p P,
    size: u64,
    tiles: RefCell<HashMap<(u8, u64), Hashes>>,
}

/// One tile's hashes, shared by the nodes made from it.
type Hashes = Rc<Vec<Hash>>;

impl<'p, P: Pieces + ?Sized> StoredNodes<'p, P> {
    pub(super) fn new(pieces: &'p P, size: u64) -> StoredNodes<'p, P> {
        StoredNodes { pieces, size, tiles: RefCell::default() }
    }

    /// All hashes that tile `index` of `level` has so far.
    fn tile(&self, level: u8, index: u64) -> Result<Hashes, LogError> {
        if let Some(known) = self.tiles.borrow().get(&(level, index)) {
            return Ok(Rc::clone(known));
        }
        let first = index.checked_mul(u64::from(TILE_WIDTH)).ok_or(LogError::OutOfRange)?;
        let width = shifted(self.size, level).saturating_sub(first).min(u64::from(TILE_WIDTH));
        let hashes = if width == u64::from(TILE_WIDTH) {
            let bytes = self.pieces.tile(level, index)?.ok_or(LogError::Corrupt("a tile is missing"))?;
            decode_tile(&bytes).map_err(|_| LogError::Corrupt("a tile is not full"))?
        } else {
            (first..first + width).map(|n| tile_hash(self.pieces, level, n)).collect::<Result<_, _>>()?
        };
        let hashes = Rc::new(hashes);
        self.tiles.borrow_mut().insert((level, index), Rc::clone(&hashes));
        Ok(hashes)
    }
}

impl<P: Pieces + ?Sized> Nodes for StoredNodes<'_, P> {
    type Error = LogError;

    fn node(&self, level: u8, index: u64) -> Result<Hash, LogError> {
        // 2^within hashes of one tile, which never crosses the tile's end.
        let (tile_level, within) = (level / 8, level % 8);
        let first = index.checked_shl(within.into()).ok_or(LogError::OutOfRange)?;
        let tile = self.tile(tile_level, first / u64::from(TILE_WIDTH))?;
        let start = usize::try_from(first % u64::from(TILE_WIDTH)).map_err(|_| LogError::OutOfRange)?;
        tile.get(start..start + (1 << within)).and_then(subtree).ok_or(LogError::OutOfRange)
    }
}
