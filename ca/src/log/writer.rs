//! The writer: one process, one thread. Appends batches; each becomes durable whole or not at all.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use fireaxe_protocol::limits;
use fireaxe_protocol::log::tree::{ProofError, consistency_proof};
use fireaxe_protocol::log::tree::{inclusion_proof, leaf_hash, root, verify_consistency};
use fireaxe_protocol::log::{
    Checkpoint, Entry, Event, NoteError, NoteKey, NoteSigner, PinnedKeys, Receipt, Succeeded, encode_entry,
    line1,
};
use fireaxe_protocol::names::Origin;

use super::edge::{Edge, Growth, NewTile};
use super::error::LogError;
use super::logged::{Logged, Pending, Proof};
use super::mirror::{Mirror, Standing};
use super::reader::StoredNodes;
use super::store::{Pieces, SqliteStore, Store};

/// The log, open for writing. There is one per file: a second is refused with [`LogError::Locked`].
pub struct Log {
    store: Box<dyn Store>,
    key: NoteKey,
    origin: Origin,
    edge: Edge,
    last_at: u64,
    /// Set by a failed write: then the edge in memory may lag behind the disk's.
    poisoned: bool,
    /// The second copy, if answers wait for it.
    mirror: Option<Mirror>,
    /// Whether the mirror is left as it is: this log is in doubt.
    hold: bool,
}

/// What [`Log::recover`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Entries before the write that failed.
    pub before: u64,
    /// Entries on disk. More than `before`: the write failed but was kept. Those entries stand; nobody
    /// has been answered about them, and they must be read back and taken into account.
    pub size: u64,
}

impl Recovery {
    /// Whether the failed write is on disk all the same.
    pub fn kept(&self) -> bool {
        self.size > self.before
    }
}

impl Log {
    /// Makes the file at `path` with its first entry, `log.created`, and the first checkpoint. Refuses a
    /// file that has entries. A crash before the end leaves a file that `open` calls
    /// [`LogError::Unfinished`] and the next `create` takes over.
    pub fn create(
        path: &Path,
        origin: Origin,
        keys: PinnedKeys,
        at: u64,
        signer: &NoteSigner,
    ) -> Result<Log, LogError> {
        Log::begin(Box::new(SqliteStore::create(path)?), origin, keys, None, at, signer)
    }

    /// [`Log::create`], for a log that goes on from another.
    pub fn create_after(
        path: &Path,
        origin: Origin,
        keys: PinnedKeys,
        succeeds: Succeeded,
        at: u64,
        signer: &NoteSigner,
    ) -> Result<Log, LogError> {
        Log::begin(Box::new(SqliteStore::create(path)?), origin, keys, Some(succeeds), at, signer)
    }

    /// Opens the log at `path` and rebuilds the tree's edge from the newest checkpoint, full tiles and the
    /// entries after them: up to 255 entries and 1,000 tiles, whatever the size. Checks them against the
    /// checkpoint, and its signature against the key that entry 0 names. Older entries are not read:
    /// [`super::Reader::replay`] does.
    pub fn open(path: &Path) -> Result<Log, LogError> {
        Log::from_store(Box::new(SqliteStore::open(path)?))
    }

    pub(super) fn begin(
        store: Box<dyn Store>,
        origin: Origin,
        keys: PinnedKeys,
        succeeds: Option<Succeeded>,
        at: u64,
        signer: &NoteSigner,
    ) -> Result<Log, LogError> {
        let key = note_key(&origin, &keys)?;
        let edge = Edge::empty();
        let mut log = Log {
            store,
            key,
            origin: origin.clone(),
            edge,
            last_at: 0,
            poisoned: false,
            mirror: None,
            hold: false,
        };
        let mut batch = log.batch()?;
        let _created = batch.append(at, &Event::LogCreated { origin, keys, succeeds }, None, ())?;
        batch.commit(signer)?;
        Ok(log)
    }

    pub(super) fn from_store(store: Box<dyn Store>) -> Result<Log, LogError> {
        let (origin, key) = first_entry(&*store)?;
        let (edge, last_at) = load(&*store, &origin, &key)?;
        Ok(Log { store, key, origin, edge, last_at, poisoned: false, mirror: None, hold: false })
    }

    /// How many entries are durable, as far as this process knows.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// When the last entry was appended, unix seconds.
    pub fn last_at(&self) -> u64 {
        self.last_at
    }

    /// The log's name.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key that signs this log's checkpoints, as entry 0 names it.
    pub fn key(&self) -> &NoteKey {
        &self.key
    }

    /// From now on a batch is committed once `mirror` has it too: until then nothing is signed or answered.
    /// Brings it to where the log is, and says how it stood before. Refuses one that the log is behind.
    ///
    /// `hold`: leaves one that is not where the log is as it was, until the next commit, whatever faults there are
    /// before it. A log that is in doubt must not write what is later to confirm it.
    pub fn mirrored(&mut self, mut mirror: Mirror, hold: bool) -> Result<Standing, LogError> {
        let standing = mirror.standing(&*self.store, &self.origin, &self.key)?;
        if !hold {
            mirror.answers_wait();
        }
        if standing == Standing::Equal || !hold {
            mirror.catch_up(&*self.store, &self.origin, &self.key)?;
        }
        (self.mirror, self.hold) = (Some(mirror), hold);
        Ok(standing)
    }

    /// Begins a batch. Dropping it without a commit leaves no trace.
    pub fn batch(&mut self) -> Result<Batch<'_>, LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned);
        }
        let growth = Growth::after(&self.edge);
        let (id, last_at) = (NEXT_BATCH.fetch_add(1, Ordering::Relaxed), self.last_at);
        Ok(Batch { log: self, id, growth, rows: Vec::new(), last_at })
    }

    /// Keeps a checkpoint's note with the cosignatures of witnesses: from now on receipts of the entries that it is
    /// the first such note to cover carry it. The head must be one of this log's; that enough witnesses cosigned
    /// it is the caller's word. Gives what is kept of that size, which may be the note of an earlier call; nothing
    /// when a larger head has one: what a receipt carries is settled then. An error of the store poisons the log,
    /// as that of a batch does.
    pub fn keep_cosigned(&mut self, note: &str) -> Result<Option<Kept>, LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned);
        }
        if note.len() > limits::COSIGNED_NOTE {
            return Err(LogError::Checkpoint(NoteError::TooLong(note.len()).into()));
        }
        let head = Checkpoint::open(note, &self.key, &self.origin)?;
        let kept = self.put_cosigned(&head, note);
        self.poisoned = kept.is_err();
        kept
    }

    fn put_cosigned(&mut self, head: &Checkpoint, note: &str) -> Result<Option<Kept>, LogError> {
        let plain = self.store.checkpoint(head.size)?.ok_or(LogError::OutOfRange)?;
        if Checkpoint::open(&plain, &self.key, &self.origin)? != *head {
            return Err(LogError::Corrupt("the head that witnesses cosigned is not the one of that size"));
        }
        match self.store.newest_cosigned()? {
            Some((size, note)) if size == head.size => return Ok(Some(Kept { size, note })),
            Some((size, _)) if size > head.size => return Ok(None),
            _ => {}
        }
        // A crash in here: receipts carry the plain head, as they did before, and the witnesses are asked again.
        self.store.begin()?;
        self.store.put_cosigned(head.size, note)?;
        // A crash within the commit: the note is kept or is not; entries and heads are as they were.
        self.store.commit()?;
        // A crash from here on: receipts carry this note, whoever makes them. Nobody was given one yet.
        Ok(Some(Kept { size: head.size, note: note.to_owned() }))
    }

    /// After a failed write: the head on disk decides. Reopens the file, and takes over what it finds if
    /// it is this log, ends in a signed checkpoint and begins with all that was durable before. Until it
    /// succeeds, nothing is appended; it may be called again.
    pub fn recover(&mut self) -> Result<Recovery, LogError> {
        self.poisoned = true;
        self.store.reopen()?;
        let (origin, key) = first_entry(&*self.store)?;
        if self.edge.size() != 0 && (origin != self.origin || key != self.key) {
            return Err(LogError::Corrupt("the first entry is another"));
        }
        let (edge, last_at) = load(&*self.store, &origin, &key)?;
        let (before, size) = (self.edge.size(), edge.size());
        let nodes = StoredNodes::new(&*self.store, size);
        let proof = consistency_proof(before, size, &nodes).map_err(|error| match error {
            ProofError::OutOfRange => LogError::Corrupt("durable entries are gone"),
            ProofError::Nodes(error) => error,
        })?;
        verify_consistency(before, size, &proof, &self.edge.root()?, &edge.root()?)
            .map_err(|_| LogError::Corrupt("durable entries have changed"))?;
        // What the disk kept of the failed write nobody was told of. It stands, and so it must in both copies.
        if let Some(mirror) = self.mirror.as_mut().filter(|_| !self.hold) {
            mirror.catch_up(&*self.store, &self.origin, &self.key)?;
        }
        (self.edge, self.last_at) = (edge, last_at);
        self.poisoned = false;
        Ok(Recovery { before, size })
    }
}

/// A cosigned note that is durable: only then may a receipt carry it. Made by [`Log::keep_cosigned`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    size: u64,
    note: String,
}

impl Kept {
    /// How many entries its head has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The note.
    pub fn note(&self) -> &str {
        &self.note
    }
}

/// Entries that become durable together. Holds the log: there is one at a time.
pub struct Batch<'log> {
    log: &'log mut Log,
    id: u64,
    growth: Growth,
    rows: Vec<Row>,
    last_at: u64,
}

#[derive(Debug)]
struct Row {
    bytes: Vec<u8>,
    issued: bool,
}

impl<'log> Batch<'log> {
    /// The index that the next entry will have.
    pub fn next_index(&self) -> u64 {
        self.growth.size()
    }

    /// Adds an entry. `at` is unix seconds and must not lie before the last entry's; `body` is the
    /// certificate body, for `certificate.issued` only. On an error nothing was added and the batch goes
    /// on without it.
    pub fn append<T>(
        &mut self,
        at: u64,
        event: &Event,
        body: Option<&[u8]>,
        thing: T,
    ) -> Result<Pending<T>, LogError> {
        let index = self.growth.size();
        if (index == 0) != matches!(event, Event::LogCreated { .. }) {
            return Err(LogError::Misplaced);
        }
        if at < self.last_at {
            return Err(LogError::TimeWentBack { last: self.last_at, at });
        }
        let bytes = encode_entry(index, at, event, body)?;
        let leaf = leaf_hash(&bytes);
        self.growth.push(leaf)?;
        self.rows.push(Row { bytes, issued: body.is_some() });
        self.last_at = at;
        Ok(Pending { batch: self.id, index, leaf, thing })
    }

    /// How many entries have been added.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Signs the head over the batch, then makes entries, full tiles and checkpoint durable in one
    /// transaction. On an error of the store the log is poisoned, and whether the batch is on disk is
    /// known only after [`Log::recover`].
    pub fn commit(self, signer: &NoteSigner) -> Result<Committed, LogError> {
        self.commit_and(signer).map(|(committed, _)| committed)
    }

    /// [`Batch::commit`], giving the log back: for what witnesses say of the new head.
    pub fn commit_and(self, signer: &NoteSigner) -> Result<(Committed, &'log mut Log), LogError> {
        let Batch { log, id, growth, rows, last_at } = self;
        if rows.is_empty() {
            return Err(LogError::EmptyBatch);
        }
        if *signer.key() != log.key {
            return Err(LogError::WrongSigner);
        }
        // Nobody commits in doubt. From here on the mirror follows, also if this very write fails.
        log.hold = false;
        // The new state, in locals. A crash up to the transaction's end: the disk is as before, the signed
        // head exists only in this process, and nobody has been answered.
        let (from, size) = (log.edge.size(), growth.size());
        let head = Checkpoint { origin: log.origin.clone(), size, root: root(size, &growth)? };
        let note = head.sign(signer)?;
        let tiles = log.edge.completed(&growth);
        let next = log.edge.grown(&growth)?;

        // A crash in here: the transaction is rolled back by whoever opens the file next. A crash within
        // the commit itself: all of it is on disk or nothing; either way indices stay gapless and the
        // newest checkpoint covers the last entry.
        if let Err(error) = write(&mut *log.store, from, &rows, &tiles, size, &note) {
            // Not known to be on disk and not known not to be: sign nothing on top of it.
            log.poisoned = true;
            return Err(error);
        }
        // A crash from here on: the entries stand and were not answered. The same statements, sent again,
        // meet their entries and get the same bytes. A mirror that answers wait for is behind by this batch until
        // the next start brings it up.
        if let Some(mirror) = &mut log.mirror {
            mirror.answers_wait();
        }
        if let Some(mirror) = &mut log.mirror
            && let Err(error) = mirror.catch_up(&*log.store, &log.origin, &log.key)
        {
            // Durable, but in one copy only: nobody is told until it is in both.
            log.poisoned = true;
            return Err(error);
        }
        log.edge = next;
        log.last_at = last_at;
        let done = Done { batch: id, from, rows, growth, note, cosigned: OnceLock::new() };
        Ok((Committed { done: Arc::new(done) }, log))
    }
}

/// A batch that is durable. Cheap to copy; keeps the batch's entries in memory while it lives.
#[derive(Debug, Clone)]
pub struct Committed {
    done: Arc<Done>,
}

impl Committed {
    /// How many entries the log has with this batch.
    pub fn size(&self) -> u64 {
        self.done.growth.size()
    }

    /// The plain note of its head.
    pub fn note(&self) -> &str {
        &self.done.note
    }

    /// Whether a certificate's body is among its entries.
    pub fn issues(&self) -> bool {
        self.done.rows.iter().any(|row| row.issued)
    }

    /// From now on its receipts carry this note, if it is of this very head.
    pub fn carry(&self, kept: &Kept) {
        if kept.size == self.size() {
            // Set before: the same note, since there is one of each size.
            let _ = self.done.cosigned.set(kept.note.clone());
        }
    }

    /// Turns what waited for this batch into what is logged. Refuses what waited for another.
    pub fn settle<T>(&self, pending: Pending<T>) -> Result<Logged<T>, LogError> {
        let Pending { batch, index, leaf, thing } = pending;
        if batch != self.done.batch {
            return Err(LogError::OtherBatch);
        }
        Ok(Logged { index, leaf, thing, proof: Proof::Batch(Arc::clone(&self.done)) })
    }

    /// The receipt of an entry of this batch.
    pub fn receipt(&self, index: u64) -> Result<Receipt, LogError> {
        self.done.receipt(index)
    }
}

/// What a committed batch leaves behind for its receipts.
#[derive(Debug)]
pub(super) struct Done {
    batch: u64,
    from: u64,
    rows: Vec<Row>,
    growth: Growth,
    note: String,
    cosigned: OnceLock<String>,
}

impl Done {
    fn row(&self, index: u64) -> Option<&Row> {
        self.rows.get(usize::try_from(index.checked_sub(self.from)?).ok()?)
    }

    pub(super) fn line1(&self, index: u64) -> &[u8] {
        self.row(index).map_or(&[], |row| line1(&row.bytes))
    }

    pub(super) fn receipt(&self, index: u64) -> Result<Receipt, LogError> {
        let row = self.row(index).ok_or(LogError::OutOfRange)?;
        let hashes = inclusion_proof(index, self.growth.size(), &self.growth).map_err(proof_error)?;
        let line1 = if row.issued { line1(&row.bytes).to_vec() } else { Vec::new() };
        let checkpoint = self.cosigned.get().unwrap_or(&self.note).clone();
        Ok(Receipt { line1, index, hashes, checkpoint })
    }
}

/// A proof asked for beyond the tree, or a hash that could not be had.
pub(super) fn proof_error(error: ProofError<LogError>) -> LogError {
    match error {
        ProofError::OutOfRange => LogError::OutOfRange,
        ProofError::Nodes(error) => error,
    }
}

/// The key that signs checkpoints, from what entry 0 pins.
pub(super) fn note_key(origin: &Origin, keys: &PinnedKeys) -> Result<NoteKey, LogError> {
    NoteKey::new(origin.as_str(), &keys.log).map_err(|error| LogError::Checkpoint(error.into()))
}

/// The log's name and key, from its first entry.
pub(super) fn first_entry<P: Pieces + ?Sized>(pieces: &P) -> Result<(Origin, NoteKey), LogError> {
    let bytes = match pieces.entry(0)? {
        Some(bytes) => bytes,
        None if pieces.head()?.is_none() && pieces.count()? == 0 => return Err(LogError::Unfinished),
        None => return Err(LogError::Corrupt("the first entry is missing")),
    };
    match Entry::decode(&bytes)?.event {
        Event::LogCreated { origin, keys, .. } => Ok((origin.clone(), note_key(&origin, &keys)?)),
        _ => Err(LogError::Corrupt("the first entry is not log.created")),
    }
}

/// The edge under the newest checkpoint, checked against it, and the last entry's time.
pub(super) fn load<P: Pieces + ?Sized>(
    pieces: &P,
    origin: &Origin,
    key: &NoteKey,
) -> Result<(Edge, u64), LogError> {
    let (size, note) = pieces.head()?.ok_or(LogError::Corrupt("there is no checkpoint"))?;
    let head = Checkpoint::open(&note, key, origin)
        .map_err(|_| LogError::Corrupt("the newest checkpoint does not verify"))?;
    if head.size != size || pieces.count()? != size || size == 0 {
        return Err(LogError::Corrupt("entries and newest checkpoint disagree"));
    }
    let edge = Edge::rebuild(size, pieces)?;
    if edge.root()? != head.root {
        return Err(LogError::Corrupt("the newest checkpoint is of another tree"));
    }
    let last = pieces.entry(size - 1)?.ok_or(LogError::Corrupt("the last entry is missing"))?;
    Ok((edge, Entry::decode(&last)?.at))
}

fn write(
    store: &mut dyn Store,
    from: u64,
    rows: &[Row],
    tiles: &[NewTile],
    size: u64,
    note: &str,
) -> Result<(), LogError> {
    store.begin()?;
    for (index, row) in (from..).zip(rows) {
        store.put_entry(index, &row.bytes)?;
    }
    for tile in tiles {
        store.put_tile(tile.level, tile.index, &tile.bytes)?;
    }
    store.put_checkpoint(size, note)?;
    store.commit()
}

/// Names batches apart across all logs of the process, so that a [`Pending`] fits one batch only.
static NEXT_BATCH: AtomicU64 = AtomicU64::new(0);
