//! The way back: a log from its mirror, byte for byte.
//!
//! A log that lacks its newest entries (a backup), or all of them, gets them from the mirror's entry bundles
//! until it stands at the mirror's newest signed head: the same bytes at the same indices, so that no serial
//! that was given out can be given out again; with the heads that were signed between them, so that receipts
//! are the same too. What is read is hostile until the tree over all of it has the root that the log's key
//! signed. Meant for a file that nobody uses yet: after an error it is worth nothing.

use std::path::Path;

use fireaxe_protocol::limits;
use fireaxe_protocol::log::tiles::{TILE_WIDTH, TileKind, TilePath, decode_bundle};
use fireaxe_protocol::log::tree::{leaf_hash, root};
use fireaxe_protocol::log::{Checkpoint, Entry, Event, NoteKey};
use fireaxe_protocol::names::Origin;

use super::edge::{Edge, Growth};
use super::error::LogError;
use super::mirror::{MirrorError, Relation, head_of, heads_path, relation, says_all};
use super::shelf::{Folder, Shelf};
use super::store::{SqliteStore, Store};
use super::writer::{first_entry, load, note_key};

/// A mirror, for reading.
pub struct Mirrored {
    shelf: Box<dyn Shelf>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refilled {
    /// Entries that the log had.
    pub had: u64,
    /// Entries that it has now.
    pub size: u64,
    /// Signed heads that came with them. None: receipts of what came are under the newest head.
    pub heads: u64,
}

impl Mirrored {
    /// The mirror in this folder. Who writes it meanwhile does no harm: the head that is read first decides.
    pub fn open(folder: &Path) -> Result<Mirrored, MirrorError> {
        Ok(Mirrored { shelf: Box::new(Folder::look(folder)?) })
    }

    /// Whether it says that whatever was answered is in it.
    pub fn has_all_answers(&self) -> Result<bool, MirrorError> {
        says_all(self.shelf.as_ref())
    }

    /// Makes the log at `path`, which must not be there, from nothing but the mirror. The key that its first
    /// entry names is all that its heads are held against: compare that with one's own.
    pub fn rebuild(&self, path: &Path) -> Result<Refilled, LogError> {
        let first = self.bundle(0, self.newest_size()?)?;
        let bytes = first.first().ok_or(MirrorError::Empty)?;
        let entry = Entry::decode(bytes).map_err(|_| MirrorError::Entry(0, NO_ENTRY))?;
        let Event::LogCreated { origin, keys, .. } = entry.event else {
            return Err(MirrorError::Entry(0, "it is not log.created").into());
        };
        let key = note_key(&origin, &keys)?;
        let mut store = SqliteStore::create(path)?;
        Filling { store: &mut store, mirror: self, origin: &origin, key: &key, heads: 0 }
            .fill(Edge::empty(), 0)
    }

    /// Brings the log at `path` up to the mirror's head. Refuses a mirror that this log is not the beginning of;
    /// one that is behind the log adds nothing.
    pub fn refill(&self, path: &Path) -> Result<Refilled, LogError> {
        let mut store = SqliteStore::open(path)?;
        let (origin, key) = first_entry(&store)?;
        let (edge, last_at) = load(&store, &origin, &key)?;
        Filling { store: &mut store, mirror: self, origin: &origin, key: &key, heads: 0 }.fill(edge, last_at)
    }

    /// The size that the newest checkpoint names, before anybody has looked at its signature.
    fn newest_size(&self) -> Result<u64, MirrorError> {
        let bytes = self.shelf.read(super::mirror::CHECKPOINT, limits::NOTE)?.ok_or(MirrorError::Empty)?;
        let text = String::from_utf8(bytes).map_err(|_| MirrorError::Foreign)?;
        let text = text.split_once("\n\n").map_or(text.as_str(), |(text, _)| text);
        Checkpoint::parse(&format!("{text}\n")).map(|head| head.size).map_err(|_| MirrorError::Foreign)
    }

    /// The entries of tile `index` in a log of `size` entries.
    fn bundle(&self, index: u64, size: u64) -> Result<Vec<Vec<u8>>, MirrorError> {
        let width = u64::from(TILE_WIDTH);
        let here = size.saturating_sub(index.saturating_mul(width)).min(width);
        let path =
            TilePath { kind: TileKind::Entries, index, width: u16::try_from(here).unwrap_or(TILE_WIDTH) };
        let wrong = |why| MirrorError::Tile(path, why);
        let read = self.shelf.read(&path.to_string(), BUNDLE).map_err(|error| match error {
            MirrorError::Foreign => wrong("it is no file of that size"),
            other => other,
        })?;
        let bytes = read.ok_or(wrong("it is missing"))?;
        let entries = decode_bundle(&bytes).map_err(|_| wrong("it is no entry bundle"))?;
        if entries.len() as u64 != here {
            return Err(wrong("it has another number of entries than its name says"));
        }
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// The signed heads of tile `index`, ascending. A mirror made by others has none.
    fn heads(
        &self,
        index: u64,
        origin: &Origin,
        key: &NoteKey,
    ) -> Result<Vec<(Checkpoint, String)>, LogError> {
        let wrong = |why| MirrorError::Heads(index, why);
        let read = self.shelf.read(&heads_path(index), HEADS).map_err(|error| match error {
            MirrorError::Foreign => wrong("it is no file of that size"),
            other => other,
        })?;
        let Some(bytes) = read else { return Ok(Vec::new()) };
        let notes = decode_bundle(&bytes).map_err(|_| wrong("it is no bundle of notes"))?;
        let (first, mut before) = (index * u64::from(TILE_WIDTH), index * u64::from(TILE_WIDTH));
        let mut heads = Vec::with_capacity(notes.len());
        for note in notes {
            let note = String::from_utf8(note.to_vec()).map_err(|_| wrong("it is no text"))?;
            let head =
                Checkpoint::open(&note, key, origin).map_err(|_| wrong("one is not signed by the log"))?;
            if head.size <= before || head.size > first + u64::from(TILE_WIDTH) {
                return Err(wrong("they are not those of this tile, in order").into());
            }
            before = head.size;
            heads.push((head, note));
        }
        Ok(heads)
    }
}

/// One filling, from an edge on.
struct Filling<'a> {
    store: &'a mut SqliteStore,
    mirror: &'a Mirrored,
    origin: &'a Origin,
    key: &'a NoteKey,
    heads: u64,
}

impl Filling<'_> {
    fn fill(&mut self, mut edge: Edge, mut last_at: u64) -> Result<Refilled, LogError> {
        let shelf = self.mirror.shelf.as_ref();
        let (head, note) = head_of(shelf, self.origin, self.key)?.ok_or(MirrorError::Empty)?;
        let had = edge.size();
        if head.size <= had {
            return match relation(self.store, had, head.size, head.root)? {
                Relation::Contained => Ok(Refilled { had, size: had, heads: 0 }),
                _ => Err(MirrorError::Forked(head.size).into()),
            };
        }
        let width = u64::from(TILE_WIDTH);
        self.store.begin()?;
        for index in had / width..head.size.div_ceil(width) {
            let entries = self.mirror.bundle(index, head.size)?;
            let mut heads = self.mirror.heads(index, self.origin, self.key)?;
            heads.retain(|(one, _)| one.size > had && one.size < head.size);
            let mut growth = Growth::after(&edge);
            let skip = usize::try_from(edge.size() - index * width).unwrap_or(usize::MAX);
            let mut heads = heads.into_iter().peekable();
            for bytes in entries.iter().skip(skip) {
                self.entry(bytes, growth.size(), &mut last_at)?;
                growth.push(leaf_hash(bytes))?;
                if let Some((one, note)) = heads.next_if(|(one, _)| one.size == growth.size()) {
                    self.head(&one, &note, &growth)?;
                }
            }
            for tile in edge.completed(&growth) {
                self.store.put_tile(tile.level, tile.index, &tile.bytes)?;
            }
            edge = edge.grown(&growth)?;
            // The write-ahead log stays small; the file is nobody's yet, so that nothing need be whole.
            if index % TILES == TILES - 1 && edge.size() < head.size {
                self.store.commit()?;
                self.store.begin()?;
            }
        }
        if edge.root()? != head.root {
            return Err(MirrorError::OtherTree(head.size).into());
        }
        self.store.put_checkpoint(head.size, &note)?;
        self.store.commit()?;
        Ok(Refilled { had, size: head.size, heads: self.heads })
    }

    /// An entry as it was: at its own place, not before the one before it.
    fn entry(&mut self, bytes: &[u8], index: u64, last_at: &mut u64) -> Result<(), LogError> {
        let wrong = |why| MirrorError::Entry(index, why);
        let entry = Entry::decode(bytes).map_err(|_| wrong(NO_ENTRY))?;
        if entry.index != index {
            return Err(wrong("it is another entry").into());
        }
        if entry.at < *last_at {
            return Err(wrong("it is older than the one before it").into());
        }
        if (index == 0) != matches!(entry.event, Event::LogCreated { .. }) {
            return Err(wrong("log.created is the first, and only the first").into());
        }
        *last_at = entry.at;
        self.store.put_entry(index, bytes)
    }

    fn head(&mut self, head: &Checkpoint, note: &str, growth: &Growth) -> Result<(), LogError> {
        if root(head.size, growth)? != head.root {
            return Err(MirrorError::OtherTree(head.size).into());
        }
        self.heads += 1;
        self.store.put_checkpoint(head.size, note)
    }
}

const NO_ENTRY: &str = "it is no entry of a log";
/// An entry bundle: 256 entries at their limit, each with its length.
const BUNDLE: usize = 256 * (2 + limits::ENTRY);
/// The heads of a tile, each a note at its limit, with its length.
const HEADS: usize = 256 * (2 + limits::NOTE);
/// Tiles of one transaction.
const TILES: u64 = 64;
