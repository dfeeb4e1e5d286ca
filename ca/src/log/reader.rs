//! Reading the log: for other threads, and for other processes while the service runs.
//!
//! A connection that cannot write. What it reads never changes once written, so no answer is torn by a
//! commit in between. Who may read what is left to the front door.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;

use fireaxe_protocol::evidence::range;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::tiles::{
    TILE_WIDTH, TileKind, TilePath, decode_tile, encode_bundle, encode_tile, subtree,
};
use fireaxe_protocol::log::tree::{Nodes, consistency_proof, inclusion_proof, leaf_hash, verify_inclusion};
use fireaxe_protocol::log::{Checkpoint, Entry, Event, Hash, NoteKey, Receipt, line1};
use fireaxe_protocol::names::Origin;
use rusqlite::Connection;

use super::edge::{Edge, Growth, shifted, tile_hash};
use super::error::LogError;
use super::logged::{Logged, Proof};
use super::mirror::{self, Relation};
use super::store::{self, Pieces};
use super::writer::{first_entry, proof_error};

/// The log, open for reading. One a thread.
///
/// One entry that is read back, and whatever is made of it, is proved first to be in the tree under a head
/// signed by the log's key: it may be signed for, or decided by. What is read in a row ([`Reader::entries`], the
/// bundles of [`Reader::tile`]) is as the file has it.
pub struct Reader {
    connection: Connection,
    origin: Origin,
    key: NoteKey,
    /// The note opened last: a serial's decision and its certificate often lie under one.
    opened: RefCell<Option<(String, Checkpoint)>>,
    /// Leaves of entries at the right end, that no full tile holds yet: each proof near the end is made of up
    /// to 255. Never believed: a proof of a wrong one does not hold. At most [`LEAVES`].
    leaves: RefCell<HashMap<u64, Hash>>,
}

/// The beginning of a log: what [`Reader::replay_after`] takes as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// How many entries it has. At least one.
    pub size: u64,
    /// Head of the tree of those entries.
    pub root: Hash,
    /// Time of the last of them, unix seconds.
    pub last_at: u64,
}

impl Reader {
    /// Opens the log at `path` read-only. Needs no lock; a writer may be at work.
    pub fn open(path: &Path) -> Result<Reader, LogError> {
        let connection = store::open_for_reading(path)?;
        let (origin, key) = first_entry(&Rows(&connection))?;
        Ok(Reader { connection, origin, key, opened: RefCell::default(), leaves: RefCell::default() })
    }

    /// The same log once more, for another thread.
    pub fn another(&self) -> Result<Reader, LogError> {
        Reader::open(Path::new(self.connection.path().ok_or(LogError::Missing)?))
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

    /// The newest checkpoint's note, with the cosignatures of witnesses once enough of them have signed it.
    pub fn latest_checkpoint(&self) -> Result<String, LogError> {
        self.cosigned(self.head()?)
    }

    /// The newest checkpoint over at most `most` entries, its size and note. What is shown of a log at work is
    /// bounded by what its writer has published: a batch is in here before the second copy has it.
    pub fn head_within(&self, most: u64) -> Result<(u64, String), LogError> {
        store::head_within(&self.connection, most)?.ok_or(LogError::OutOfRange)
    }

    /// The same as [`Reader::latest_checkpoint`] has it, with cosignatures.
    pub fn checkpoint_within(&self, most: u64) -> Result<String, LogError> {
        self.cosigned(self.head_within(most)?)
    }

    fn cosigned(&self, (size, note): (u64, String)) -> Result<String, LogError> {
        Ok(match store::newest_cosigned(&self.connection)? {
            Some((of, cosigned)) if of == size => cosigned,
            _ => note,
        })
    }

    /// The newest note that enough witnesses cosigned: its size and text.
    pub fn latest_cosigned(&self) -> Result<Option<(u64, String)>, LogError> {
        store::newest_cosigned(&self.connection)
    }

    /// The first checkpoint that covers entry `index`: its size and note.
    pub fn checkpoint_covering(&self, index: u64) -> Result<(u64, String), LogError> {
        store::checkpoint_after(&self.connection, index)?.ok_or(LogError::OutOfRange)
    }

    /// How many entries lie there, covered by a checkpoint or not; a gap in the middle is not looked for.
    pub fn count(&self) -> Result<u64, LogError> {
        store::count(&self.connection)
    }

    /// The first 1,024 checkpoints over more than `after` and at most `until` entries, the smaller first: size
    /// and note, as they lie there.
    pub fn checkpoints(&self, after: u64, until: u64) -> Result<Vec<(u64, String)>, LogError> {
        let until = until.min(i64::MAX.cast_unsigned());
        store::checkpoints(&self.connection, after, until)
    }

    /// A full hash tile as it lies there, if it does. [`Reader::tile`] is for those who trust the file.
    pub fn stored_tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, LogError> {
        store::tile(&self.connection, level, index)
    }

    /// The bytes of entry `index`, proved to be in the tree.
    pub fn entry_bytes(&self, index: u64) -> Result<Vec<u8>, LogError> {
        Ok(self.proved(index)?.0)
    }

    /// Entry `index`, proved to be in the tree, read strictly.
    pub fn entry(&self, index: u64) -> Result<Entry, LogError> {
        decode(index, &self.entry_bytes(index)?)
    }

    /// The bytes of an entry and its receipt under the first cosigned head that covers it, else under the first
    /// checkpoint, which is checked as whoever gets it would: its signature, the proof from these bytes to its head.
    fn proved(&self, index: u64) -> Result<(Vec<u8>, Receipt), LogError> {
        let (size, checkpoint) = match store::cosigned_after(&self.connection, index)? {
            Some((size, note)) if self.is_head(size, &note) => (size, note),
            // None, or a row that somebody changed: the plain head proves as much as it ever did.
            _ => self.checkpoint_covering(index)?,
        };
        let head = self.signed(&checkpoint)?;
        let bytes = store::entry(&self.connection, index)?.ok_or(LogError::OutOfRange)?;
        let rows = Remembering(Rows(&self.connection), &self.leaves);
        let nodes = StoredNodes::new(&rows, self.size()?);
        let hashes = inclusion_proof(index, size, &nodes).map_err(proof_error)?;
        if verify_inclusion(&leaf_hash(&bytes), index, head.size, &hashes, &head.root).is_err() {
            // One of them may be what was wrong.
            self.leaves.borrow_mut().clear();
            return Err(LogError::Corrupt("an entry is not the one under its signed head"));
        }
        let issued = matches!(decode(index, &bytes)?.event, Event::CertificateIssued { .. });
        let line1 = if issued { line1(&bytes).to_vec() } else { Vec::new() };
        Ok((bytes, Receipt { line1, index, hashes, checkpoint }))
    }

    /// A checkpoint whose signature holds.
    fn signed(&self, note: &str) -> Result<Checkpoint, LogError> {
        if let Some((_, known)) = self.opened.borrow().as_ref().filter(|(text, _)| text == note) {
            return Ok(known.clone());
        }
        let head = Checkpoint::open(note, &self.key, &self.origin)
            .map_err(|_| LogError::Corrupt("a checkpoint does not verify"))?;
        *self.opened.borrow_mut() = Some((note.to_owned(), head.clone()));
        Ok(head)
    }

    /// The bytes of up to `max` entries from `from` on, in order, one in memory at a time, until `each`
    /// breaks. As the file has them, unproved: for lists, copies and checks, never to sign or decide by.
    pub fn entries(
        &self,
        from: u64,
        max: u64,
        mut each: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        // One that is too long is none, and is not read into memory to find that out.
        let sql = "SELECT idx, CASE WHEN length(bytes) > ?3 THEN zeroblob(?3 + 1) ELSE bytes END
                   FROM entry WHERE idx >= ?1 ORDER BY idx LIMIT ?2";
        let mut get = self.connection.prepare_cached(sql)?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let longest = i64::try_from(limits::ENTRY).unwrap_or(i64::MAX);
        let mut rows = get.query([store::number(from)?, max, longest])?;
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
    pub fn replay(&self, each: impl FnMut(u64, Entry, Hash)) -> Result<Checkpoint, LogError> {
        self.replay_from(Edge::empty(), 0, each)
    }

    /// [`Reader::replay`] of the entries after `before` alone. What comes before is not read again: its full
    /// tiles and the entries after them must have the head that `before` names, and the whole tree the one
    /// that is signed. So a changed entry further back than that is not found here; whoever reads one back
    /// proves it.
    pub fn replay_after(
        &self,
        before: &Beginning,
        each: impl FnMut(u64, Entry, Hash),
    ) -> Result<Checkpoint, LogError> {
        if before.size == 0 || before.size > self.size()? {
            return Err(LogError::OutOfRange);
        }
        let edge = Edge::rebuild(before.size, &Rows(&self.connection))?;
        if edge.root()? != before.root {
            return Err(LogError::Corrupt("the log begins otherwise"));
        }
        self.replay_from(edge, before.last_at, each)
    }

    /// Head of the tree of the first `size` entries, from full tiles and the entries after them.
    pub fn root_at(&self, size: u64) -> Result<Hash, LogError> {
        if size == 0 || size > self.size()? {
            return Err(LogError::OutOfRange);
        }
        Edge::rebuild(size, &Rows(&self.connection))?.root()
    }

    fn replay_from(
        &self,
        mut edge: Edge,
        mut last_at: u64,
        mut each: impl FnMut(u64, Entry, Hash),
    ) -> Result<Checkpoint, LogError> {
        let (size, note) = self.head()?;
        let head = Checkpoint::open(&note, &self.key, &self.origin)
            .map_err(|_| LogError::Corrupt("the newest checkpoint does not verify"))?;
        if !store::is_covered(&self.connection)? {
            return Err(LogError::Corrupt("entries and newest checkpoint disagree"));
        }
        while edge.size() < size {
            let mut growth = Growth::after(&edge);
            let mut fault = None;
            // A tile's worth at a time, to its end: memory stays small, and each full tile is met once.
            let width = u64::from(TILE_WIDTH);
            let most = (width - edge.size() % width).min(size - edge.size());
            self.entries(edge.size(), most, |index, bytes| {
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

    /// The receipt of entry `index` under the first cosigned head that covers it, or, as long as there is none,
    /// under the first checkpoint: the same bytes as those made when it was committed, but for what witnesses
    /// said since.
    pub fn receipt(&self, index: u64) -> Result<Receipt, LogError> {
        Ok(self.proved(index)?.1)
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
        let (bytes, receipt) = self.proved(index)?;
        let (leaf, thing) = (leaf_hash(&bytes), make(decode(index, &bytes)?));
        let (line1, receipt) = (line1(&bytes).to_vec(), Box::new(receipt));
        Ok(Logged { index, leaf, thing, proof: Proof::Stored { line1, receipt } })
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

    /// Copies the log as it is at one moment to a new file, while a writer may be at work. Durable when it
    /// returns; not looked at: open it and [`Reader::replay`] it.
    pub fn copy_to(&self, path: &Path) -> Result<(), LogError> {
        if path.try_exists()? {
            return Err(LogError::Exists);
        }
        let name = path.to_str().ok_or(LogError::NotALog)?;
        self.connection.execute("VACUUM INTO ?1", [name])?;
        let file = std::fs::OpenOptions::new().write(true).open(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        Ok(file.sync_all()?)
    }

    /// How a head that the log's key signed stands to the log as it is now.
    pub fn relation(&self, head: &Checkpoint) -> Result<Relation, LogError> {
        mirror::relation(&self.rows(), self.size()?, head.size, head.root)
    }

    pub(super) fn rows(&self) -> Rows<'_> {
        Rows(&self.connection)
    }

    fn head(&self) -> Result<(u64, String), LogError> {
        store::head(&self.connection)?.ok_or(LogError::Unfinished)
    }

    fn is_head(&self, size: u64, note: &str) -> bool {
        let head = Checkpoint::open(note, &self.key, &self.origin);
        head.is_ok_and(|head| head.size == size) && self.size().is_ok_and(|newest| size <= newest)
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
pub(super) struct Rows<'c>(&'c Connection);

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
    fn head_after(&self, size: u64) -> Result<Option<(u64, String)>, LogError> {
        store::checkpoint_after(self.0, size)
    }
    fn count(&self) -> Result<u64, LogError> {
        store::count(self.0)
    }
    fn checkpoint(&self, size: u64) -> Result<Option<String>, LogError> {
        store::checkpoint(self.0, size)
    }
    fn newest_cosigned(&self) -> Result<Option<(u64, String)>, LogError> {
        store::newest_cosigned(self.0)
    }
}

/// A reader's rows, and the leaves of the entries that it read before.
struct Remembering<'c>(Rows<'c>, &'c RefCell<HashMap<u64, Hash>>);

impl Pieces for Remembering<'_> {
    fn entry(&self, index: u64) -> Result<Option<Vec<u8>>, LogError> {
        self.0.entry(index)
    }
    fn leaf(&self, index: u64) -> Result<Hash, LogError> {
        if let Some(leaf) = self.1.borrow().get(&index) {
            return Ok(*leaf);
        }
        let leaf = self.0.leaf(index)?;
        let mut leaves = self.1.borrow_mut();
        if leaves.len() >= LEAVES {
            leaves.clear();
        }
        leaves.insert(index, leaf);
        Ok(leaf)
    }
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, LogError> {
        self.0.tile(level, index)
    }
    fn head(&self) -> Result<Option<(u64, String)>, LogError> {
        self.0.head()
    }
    fn head_after(&self, size: u64) -> Result<Option<(u64, String)>, LogError> {
        self.0.head_after(size)
    }
    fn count(&self) -> Result<u64, LogError> {
        self.0.count()
    }
    fn checkpoint(&self, size: u64) -> Result<Option<String>, LogError> {
        self.0.checkpoint(size)
    }
    fn newest_cosigned(&self) -> Result<Option<(u64, String)>, LogError> {
        self.0.newest_cosigned()
    }
}

/// Leaves kept by one reader: two tiles' worth, 48 bytes each.
const LEAVES: usize = 512;

/// Any node of a tree of `size` leaves, from full tiles and, at the right end, what they are made of.
/// Keeps the tiles one proof touches: two a level.
pub(super) struct StoredNodes<'p, P: ?Sized> {
    pieces: &'p P,
    size: u64,
    tiles: RefCell<HashMap<(u8, u64), Hashes>>,
}

/// One tile's hashes, shared by the nodes made from it.
pub(super) type Hashes = Rc<Vec<Hash>>;

impl<'p, P: Pieces + ?Sized> StoredNodes<'p, P> {
    pub(super) fn new(pieces: &'p P, size: u64) -> StoredNodes<'p, P> {
        StoredNodes { pieces, size, tiles: RefCell::default() }
    }

    /// Drops the tiles that were kept: for who reads a whole log.
    pub(super) fn forget(&self) {
        self.tiles.borrow_mut().clear();
    }

    /// All hashes that tile `index` of `level` has so far.
    pub(super) fn tile(&self, level: u8, index: u64) -> Result<Hashes, LogError> {
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
