//! The second copy: the log as a folder of C2SP tlog-tiles on another disk.
//!
//! `checkpoint`, `tile/0/000`, `tile/entries/000.p/7` ...: any static web server can serve it and any client of
//! tlog-tiles can read it. Beside them `checkpoints/000`, which no such client asks for: the signed heads of that
//! tile, so that a log that is rebuilt from here gives the receipts that it gave before.
//!
//! Catching up is one function, from whatever the mirror has to what the log has: at the start, after a fault
//! and after each commit. What a folder is, and how its disk fails, is `shelf.rs`; reading it back into a log
//! is `refill.rs`. Who waits for the mirror is left to the writer.
//!
//! *Trust:* for secrecy only: whoever reads the folder reads every entry. Whoever changes it can keep a CA from
//! starting or a log from being rebuilt, not make it take an entry: all of it is under heads that the log's key
//! signed, and that key is not here.

use std::path::Path;

use fireaxe_protocol::limits;
use fireaxe_protocol::log::tiles::{TILE_WIDTH, TileKind, TilePath, encode_bundle, encode_tile};
use fireaxe_protocol::log::tree::root;
use fireaxe_protocol::log::{Checkpoint, Hash, NoteKey};
use fireaxe_protocol::names::Origin;
use thiserror::Error;

use super::edge::{TILE_LEVELS, shifted};
use super::error::LogError;
use super::reader::{Reader, StoredNodes};
use super::shelf::{Folder, Shelf};
use super::store::Pieces;

/// What is wrong with a mirror, told apart by what an operator does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MirrorError {
    /// The folder is not there. It is never made by `serve`: a disk that is not mounted must not pass for one.
    #[error("there is no such folder")]
    Missing,
    /// Another CA writes it.
    #[error("another CA writes this mirror")]
    Locked,
    /// It cannot be written.
    #[error("it cannot be written: read-only folder or file system")]
    ReadOnly,
    /// No space left.
    #[error("its disk is full")]
    Full,
    /// The operating system failed a read or write: its code.
    #[error("reading or writing it failed (code {0})")]
    Io(i32),
    /// Another log's.
    #[error("it is the mirror of another log, or its checkpoint is not signed by this log's key")]
    Foreign,
    /// It has entries that the log does not have.
    #[error("it has {mirror} entries and this log {log}: the log has lost what came after, or is a copy")]
    Ahead {
        /// The mirror's.
        mirror: u64,
        /// The log's.
        log: u64,
    },
    /// The same log signed another past.
    #[error("its head of {0} entries is not the beginning of this log: there are two logs of one name")]
    Forked(u64),
    /// There is nothing to read back.
    #[error("it has no checkpoint")]
    Empty,
    /// A file is not what its name says.
    #[error("{0}: {1}")]
    Tile(TilePath, &'static str),
    /// The heads of a tile are not.
    #[error("checkpoints of tile {0}: {1}")]
    Heads(u64, &'static str),
    /// An entry is not.
    #[error("entry {0}: {1}")]
    Entry(u64, &'static str),
    /// The entries are not those that the checkpoint was signed over.
    #[error("its entries are not those that its checkpoint of {0} entries was signed over")]
    OtherTree(u64),
}

/// How a mirror stood when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It had nothing.
    New,
    /// It had the head of the log.
    Equal,
    /// It had a head of the log that has been continued since: this size.
    Behind(u64),
}

/// A folder that this process alone writes.
pub struct Mirror {
    shelf: Box<dyn Shelf>,
    /// The size of the checkpoint that is there; nothing: it must be read.
    at: Option<u64>,
    /// Whether answers wait for it from now on, and whether it says so already.
    awaited: Awaited,
}

/// See [`Mirror::answers_wait`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    No,
    ToBeSaid,
    Said,
}

impl Mirror {
    /// Takes the folder for this process.
    pub fn open(folder: &Path) -> Result<Mirror, MirrorError> {
        Ok(Mirror::on(Box::new(Folder::lock(folder)?)))
    }

    pub(super) fn on(shelf: Box<dyn Shelf>) -> Mirror {
        Mirror { shelf, at: None, awaited: Awaited::No }
    }

    /// Whether it says that whatever was answered is in it: see [`Mirror::answers_wait`].
    pub fn has_all_answers(&self) -> Result<bool, MirrorError> {
        says_all(self.shelf.as_ref())
    }

    /// From now on no answer goes out that it lacks: it says so itself, once it is where the log is. A log that is made
    /// from it can then be confirmed by it.
    pub(super) fn answers_wait(&mut self) {
        if self.awaited == Awaited::No {
            self.awaited = Awaited::ToBeSaid;
        }
    }

    /// From now on answers go out that it may lack: it says so before the first of them.
    pub fn answers_go_first(&mut self) -> Result<(), MirrorError> {
        self.awaited = Awaited::No;
        self.shelf.put(MODE, AFTER)?;
        self.shelf.sync()
    }

    /// Brings the mirror to the head that `reader` has. Says how it stood before.
    pub fn keep_up(&mut self, reader: &Reader) -> Result<Standing, LogError> {
        self.catch_up(&reader.rows(), reader.origin(), reader.key())
    }

    /// How the mirror stands to the log, without writing to it. Refuses one that the log is behind.
    pub fn look(&self, reader: &Reader) -> Result<Standing, LogError> {
        self.standing(&reader.rows(), reader.origin(), reader.key())
    }

    pub(super) fn standing<P: Pieces + ?Sized>(
        &self,
        log: &P,
        origin: &Origin,
        key: &NoteKey,
    ) -> Result<Standing, LogError> {
        let (size, _) = log.head()?.ok_or(LogError::Corrupt("there is no checkpoint"))?;
        Ok(standing(fits(self.shelf.as_ref(), log, size, origin, key)?, size))
    }

    /// From whatever the mirror has to what the log has. Says how it stood before.
    ///
    /// Tiles are written before the checkpoint over them, so that whoever reads the folder at any moment, or
    /// after a crash at any line, finds a signed head and all that it covers.
    pub(super) fn catch_up<P: Pieces + ?Sized>(
        &mut self,
        log: &P,
        origin: &Origin,
        key: &NoteKey,
    ) -> Result<Standing, LogError> {
        let (size, note) = log.head()?.ok_or(LogError::Corrupt("there is no checkpoint"))?;
        let known = self.at.take();
        let from = match known {
            Some(at) => at,
            None => fits(self.shelf.as_ref(), log, size, origin, key)?,
        };
        let standing = standing(from, size);
        if known == Some(size) {
            self.say_awaited()?;
            self.at = known;
            return Ok(standing);
        }
        // What was not written by this process is written again at the edge: a crash may have cut it short.
        let edge = Growing { from, size, anew: known.is_none() };
        // A crash in here: files that no checkpoint covers, some cut short under a name of their own. They are
        // written again before the next checkpoint.
        self.put_tiles(log, edge)?;
        self.put_heads(log, edge)?;
        self.shelf.sync()?;
        // A crash in here: the checkpoint before or this one, whole; all that either covers is on the disk.
        self.shelf.put(CHECKPOINT, note.as_bytes())?;
        self.shelf.sync()?;
        self.say_awaited()?;
        self.at = Some(size);
        // A crash or a fault from here on: partial tiles that nobody needs. The next commit removes them.
        self.clear(edge);
        Ok(standing)
    }

    /// A crash in here: it says what it said before, which is true or too little.
    fn say_awaited(&mut self) -> Result<(), MirrorError> {
        if self.awaited == Awaited::ToBeSaid {
            self.shelf.put(MODE, BEFORE)?;
            self.shelf.sync()?;
            self.awaited = Awaited::Said;
        }
        Ok(())
    }

    fn put_tiles<P: Pieces + ?Sized>(&mut self, log: &P, edge: Growing) -> Result<(), LogError> {
        let nodes = StoredNodes::new(log, edge.size);
        for level in 0..TILE_LEVELS as u8 {
            for (index, width) in edge.tiles(level) {
                let hashes = nodes.tile(level, index)?;
                let path = TilePath { kind: TileKind::Hashes(level), index, width };
                self.shelf.put(&path.to_string(), &encode_tile(&hashes))?;
                nodes.forget();
            }
        }
        for (index, width) in edge.tiles(0) {
            let first = index * u64::from(TILE_WIDTH);
            let entries: Vec<Vec<u8>> = (first..first + u64::from(width))
                .map(|index| log.entry(index)?.ok_or(LogError::Corrupt("an entry is missing")))
                .collect::<Result<_, _>>()?;
            let bytes = encode_bundle(entries).ok_or(LogError::Corrupt("an entry is too long"))?;
            let path = TilePath { kind: TileKind::Entries, index, width };
            self.shelf.put(&path.to_string(), &bytes)?;
        }
        Ok(())
    }

    /// The signed heads of each tile of the lowest level: at most 256, one for each of its entries.
    fn put_heads<P: Pieces + ?Sized>(&mut self, log: &P, edge: Growing) -> Result<(), LogError> {
        for (index, width) in edge.tiles(0) {
            let first = index * u64::from(TILE_WIDTH);
            let (mut notes, mut after) = (Vec::new(), first);
            while let Some((size, note)) = log.head_after(after)?
                && size <= first + u64::from(width)
            {
                notes.push(note);
                after = size;
            }
            if !notes.is_empty() {
                let bytes = encode_bundle(notes).ok_or(LogError::Corrupt("a checkpoint is too long"))?;
                self.shelf.put(&heads_path(index), &bytes)?;
            }
        }
        Ok(())
    }

    /// Removes partial tiles that wider ones have replaced, but for a few that a reader with a checkpoint of a
    /// moment ago still asks for. A fault here costs room, nothing else, and is not worth a refusal.
    fn clear(&mut self, edge: Growing) {
        let levels = (0..TILE_LEVELS as u8).map(|level| (TileKind::Hashes(level), level));
        for (kind, level) in levels.chain([(TileKind::Entries, 0)]) {
            for (index, width) in edge.tiles(level) {
                let full = TilePath { kind, index, width: TILE_WIDTH };
                let keep = if width == TILE_WIDTH { 0 } else { PARTIALS };
                let _ = self.shelf.clear(&format!("{full}.p"), keep);
            }
        }
    }
}

/// Whether the mirror in this folder says that whatever was answered is in it. One that says nothing was made by
/// others, or before mirrors said so.
pub(super) fn says_all(shelf: &dyn Shelf) -> Result<bool, MirrorError> {
    Ok(shelf.read(MODE, MODE_BYTES)?.as_deref() == Some(BEFORE))
}

fn standing(from: u64, size: u64) -> Standing {
    match from {
        0 => Standing::New,
        from if from == size => Standing::Equal,
        from => Standing::Behind(from),
    }
}

/// The newest head in a mirror: its size, root and note, if it is this log's.
pub(super) fn head_of(
    shelf: &dyn Shelf,
    origin: &Origin,
    key: &NoteKey,
) -> Result<Option<(Checkpoint, String)>, MirrorError> {
    let Some(bytes) = shelf.read(CHECKPOINT, limits::NOTE)? else { return Ok(None) };
    let note = String::from_utf8(bytes).map_err(|_| MirrorError::Foreign)?;
    let head = Checkpoint::open(&note, key, origin).map_err(|_| MirrorError::Foreign)?;
    Ok(Some((head, note)))
}

/// The size of the mirror's head, which must be one that this log had.
fn fits<P: Pieces + ?Sized>(
    shelf: &dyn Shelf,
    log: &P,
    size: u64,
    origin: &Origin,
    key: &NoteKey,
) -> Result<u64, LogError> {
    let Some((head, _)) = head_of(shelf, origin, key)? else { return Ok(0) };
    match relation(log, size, head.size, head.root)? {
        Relation::Contained => Ok(head.size),
        Relation::Beyond => Err(MirrorError::Ahead { mirror: head.size, log: size }.into()),
        Relation::Other => Err(MirrorError::Forked(head.size).into()),
    }
}

/// How a head that the log's key signed stands to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The log had it.
    Contained,
    /// It has entries that the log does not have.
    Beyond,
    /// The log of that size had another root.
    Other,
}

/// How a head stands to a log of `size` entries.
pub(super) fn relation<P: Pieces + ?Sized>(
    log: &P,
    size: u64,
    head: u64,
    head_root: Hash,
) -> Result<Relation, LogError> {
    if head > size {
        return Ok(Relation::Beyond);
    }
    let ours = root(head, &StoredNodes::new(log, size))?;
    Ok(if ours == head_root { Relation::Contained } else { Relation::Other })
}

/// What a mirror gains.
#[derive(Debug, Clone, Copy)]
struct Growing {
    from: u64,
    size: u64,
    /// The tiles at the edge are written even if they gain nothing.
    anew: bool,
}

impl Growing {
    /// The tiles of a level that gain hashes, each with how many it has then.
    fn tiles(self, level: u8) -> impl Iterator<Item = (u64, u16)> {
        let (before, now) = (shifted(self.from, level), shifted(self.size, level));
        let width = u64::from(TILE_WIDTH);
        let gains = now > before || (self.anew && now > 0);
        // A tile that was full before gains nothing; the last one may be it.
        let first = if now > before { before / width } else { now.saturating_sub(1) / width };
        let end = if gains { now.div_ceil(width) } else { first };
        (first..end).map(move |index| {
            let here = (now - index * width).min(width);
            (index, u16::try_from(here).unwrap_or(TILE_WIDTH))
        })
    }
}

/// Where the heads of a tile are: numbered as tiles are.
pub(super) fn heads_path(index: u64) -> String {
    let tile = TilePath { kind: TileKind::Entries, index, width: TILE_WIDTH }.to_string();
    tile.replacen("tile/entries/", "checkpoints/", 1)
}

pub(super) const CHECKPOINT: &str = "checkpoint";
/// Whether answers wait for the mirror: a line.
const MODE: &str = "mode";
const BEFORE: &[u8] = b"before\n";
const AFTER: &[u8] = b"after\n";
/// Longer than either, bytes.
const MODE_BYTES: usize = 16;
/// Partial tiles that stay beside the newest: a reader fetches a checkpoint, then what it covers; in between
/// there may be some commits.
const PARTIALS: usize = 4;
