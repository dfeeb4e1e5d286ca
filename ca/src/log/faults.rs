//! Every store call is broken once, both ways: *failed* (the call did nothing) and *failed but kept* (it
//! did everything and said it failed). The calls are counted here, so a new one is covered on its first
//! day. After each run a checker that shares no code with the store reads the file and recomputes all.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ed25519_dalek::SigningKey;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::cosignature::cosigned;
use fireaxe_protocol::log::tree::{leaf_hash, node_hash};
use fireaxe_protocol::log::{
    Checkpoint, Cosigner, Entry, Event, Hash, NoteSigner, PinnedKeys, Receipt, receipt, with_body,
};
use fireaxe_protocol::names::Origin;
use rusqlite::Connection;

use super::store::{Pieces, SqliteStore, Store};
use super::{Batch, Log, LogError, Pending, Reader};

pub(super) fn origin() -> Origin {
    "ca.payments/0123456789abcdef".parse().unwrap()
}

pub(super) fn signer() -> NoteSigner {
    NoteSigner::new(origin().as_str(), SigningKey::from_bytes(&[5; 32])).unwrap()
}

fn witness() -> Cosigner {
    Cosigner::new("witness.example/w1", SigningKey::from_bytes(&[6; 32])).unwrap()
}

pub(super) fn keys() -> PinnedKeys {
    let log = signer().key().key();
    PinnedKeys { user_ca: Ed25519Key([1; 32]), log, krl: log, host_ca: log }
}

/// Which call fails, how, and which calls there were.
#[derive(Default)]
struct Plan {
    fail: Option<usize>,
    kept: bool,
    next: AtomicUsize,
    calls: Mutex<Vec<&'static str>>,
}

impl Plan {
    fn call<T>(&self, name: &'static str, run: impl FnOnce() -> Result<T, LogError>) -> Result<T, LogError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.calls.lock().unwrap().push(name);
        match self.fail == Some(number) {
            false => run(),
            true if self.kept => run().and(Err(INJECTED)),
            true => Err(INJECTED),
        }
    }
}

pub(super) const INJECTED: LogError = LogError::Io(5);

struct Faulty {
    store: SqliteStore,
    plan: Arc<Plan>,
}

impl Faulty {
    fn open(path: &Path, plan: &Arc<Plan>) -> Result<Log, LogError> {
        let store = SqliteStore::open(path)?;
        hasten(&store);
        Log::from_store(Box::new(Faulty { store, plan: Arc::clone(plan) }))
    }
}

/// Faults are injected, power is not cut: no need to wait for the disk some hundred times.
pub(super) fn hasten(store: &SqliteStore) {
    store.connection().pragma_update(None, "synchronous", "OFF").unwrap();
}

impl Pieces for Faulty {
    fn entry(&self, index: u64) -> Result<Option<Vec<u8>>, LogError> {
        self.plan.call("entry", || self.store.entry(index))
    }
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, LogError> {
        self.plan.call("tile", || self.store.tile(level, index))
    }
    fn head(&self) -> Result<Option<(u64, String)>, LogError> {
        self.plan.call("head", || self.store.head())
    }
    fn head_after(&self, size: u64) -> Result<Option<(u64, String)>, LogError> {
        self.plan.call("head_after", || self.store.head_after(size))
    }
    fn count(&self) -> Result<u64, LogError> {
        self.plan.call("count", || self.store.count())
    }
    fn checkpoint(&self, size: u64) -> Result<Option<String>, LogError> {
        self.plan.call("checkpoint", || self.store.checkpoint(size))
    }
    fn newest_cosigned(&self) -> Result<Option<(u64, String)>, LogError> {
        self.plan.call("newest_cosigned", || self.store.newest_cosigned())
    }
}

impl Store for Faulty {
    fn begin(&mut self) -> Result<(), LogError> {
        self.plan.call("begin", || self.store.begin())
    }
    fn put_entry(&mut self, index: u64, bytes: &[u8]) -> Result<(), LogError> {
        self.plan.call("put_entry", || self.store.put_entry(index, bytes))
    }
    fn put_tile(&mut self, level: u8, index: u64, bytes: &[u8]) -> Result<(), LogError> {
        self.plan.call("put_tile", || self.store.put_tile(level, index, bytes))
    }
    fn put_checkpoint(&mut self, size: u64, note: &str) -> Result<(), LogError> {
        self.plan.call("put_checkpoint", || self.store.put_checkpoint(size, note))
    }
    fn put_cosigned(&mut self, size: u64, note: &str) -> Result<(), LogError> {
        self.plan.call("put_cosigned", || self.store.put_cosigned(size, note))
    }
    fn commit(&mut self) -> Result<(), LogError> {
        self.plan.call("commit", || self.store.commit())
    }
    fn reopen(&mut self) -> Result<(), LogError> {
        self.plan.call("reopen", || {
            self.store.reopen()?;
            hasten(&self.store);
            Ok(())
        })
    }
}

/// What somebody was told: their word, where it is, and its receipt.
pub(super) struct Answered {
    word: String,
    pub(super) index: u64,
    leaf: Hash,
    pub(super) receipt: Vec<u8>,
}

const BODY: &[u8] = b"certificate body of ";

fn append(batch: &mut Batch<'_>, word: &str) -> Pending<String> {
    let event = Event::CertificateIssued { of: Hash([1; 32]), terms: Hash([2; 32]) };
    let body = [BODY, word.as_bytes()].concat();
    batch.append(batch.next_index(), &event, Some(&body), word.into()).unwrap()
}

pub(super) fn commit(log: &mut Log, words: &[String]) -> Result<Vec<Answered>, LogError> {
    let mut batch = log.batch()?;
    let pending: Vec<_> = words.iter().map(|word| append(&mut batch, word)).collect();
    let committed = batch.commit(&signer())?;
    if !words.iter().any(|word| word.starts_with("seed")) {
        // As the road does: witnesses first, and what they said is kept before any receipt carries it.
        let (head, _) = committed.note().split_once("\n\n").unwrap();
        let line = witness().cosign(&format!("{head}\n"), 7);
        let kept = log.keep_cosigned(&(committed.note().to_owned() + &line))?;
        committed.carry(&kept.unwrap());
    }
    pending
        .into_iter()
        .map(|one| {
            let logged = committed.settle(one)?;
            let receipt = logged.receipt()?.encode();
            Ok(Answered { word: logged.thing().clone(), index: logged.index(), leaf: logged.leaf(), receipt })
        })
        .collect()
}

/// Batches around the end of a tile. After each failure: recover, and what was kept is read back and
/// answered, what was not is appended anew, as the road does with a retried statement.
fn run(path: &Path, plan: &Arc<Plan>) -> Vec<Answered> {
    let mut answered = Vec::new();
    let mut log = Faulty::open(path, plan).or_else(|_| Faulty::open(path, plan)).unwrap();
    for (number, count) in [1usize, 2, 8, 1].into_iter().enumerate() {
        let words: Vec<String> = (0..count).map(|n| format!("word {number}.{n}")).collect();
        let before = log.size();
        loop {
            match commit(&mut log, &words) {
                Ok(more) => break answered.extend(more),
                Err(error) => assert_eq!(error, INJECTED),
            }
            assert_eq!(log.batch().err(), Some(LogError::Poisoned), "nothing goes on top of a failed write");
            let recovery = log.recover().or_else(|_| log.recover()).unwrap();
            assert_eq!(recovery.size, log.size());
            // The batch was kept, or stood already when what witnesses said of it could not be.
            if recovery.size > before {
                let reader = Reader::open(path).unwrap();
                for (word, index) in words.iter().zip(before..recovery.size) {
                    let logged = reader.logged(index, |entry| entry.body).unwrap();
                    assert_eq!(logged.thing().as_deref(), Some(&*[BODY, word.as_bytes()].concat()));
                    let receipt = logged.receipt().unwrap().encode();
                    answered.push(Answered { word: word.clone(), index, leaf: logged.leaf(), receipt });
                }
                break;
            }
        }
    }
    answered
}

pub(super) fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(&[]),
        [one] => *one,
        many => {
            let (l, r) = many.split_at(many.len().next_power_of_two() / 2);
            node_hash(&mth(l), &mth(r))
        }
    }
}

/// Recomputes everything from the rows.
fn check(path: &Path, answered: &[Answered]) {
    let db = Connection::open(path).unwrap();
    let mut query = db.prepare("SELECT idx, bytes FROM entry ORDER BY idx").unwrap();
    let rows: Vec<(u64, Vec<u8>)> = query
        .query_map([], |row| Ok((u64::from(row.get::<_, u32>(0)?), row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let leaves: Vec<Hash> = rows.iter().map(|(_, bytes)| leaf_hash(bytes)).collect();
    let mut words: HashMap<Vec<u8>, usize> = HashMap::new();
    for (place, (index, bytes)) in rows.iter().enumerate() {
        let entry = Entry::decode(bytes).unwrap();
        assert_eq!((*index, entry.index), (place as u64, place as u64), "indices are gapless");
        *words.entry(entry.body.unwrap_or_default()).or_default() += 1;
    }

    let mut query = db.prepare("SELECT size, note FROM checkpoint ORDER BY size").unwrap();
    let notes: Vec<(u64, String)> = query
        .query_map([], |row| Ok((u64::from(row.get::<_, u32>(0)?), row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (size, note) in &notes {
        let head = Checkpoint::open(note, signer().key(), &origin()).unwrap();
        assert_eq!((head.size, head.root), (*size, mth(&leaves[..*size as usize])));
    }
    assert_eq!(notes.last().unwrap().0, rows.len() as u64, "the newest checkpoint covers all");

    let mut query = db.prepare("SELECT size, note FROM cosigned").unwrap();
    let kept = query.query_map([], |row| Ok((u64::from(row.get::<_, u32>(0)?), row.get(1)?))).unwrap();
    for (size, note) in kept.map(Result::<(u64, String), _>::unwrap) {
        let head = Checkpoint::open(&note, signer().key(), &origin()).unwrap();
        assert_eq!((head.size, head.root), (size, mth(&leaves[..size as usize])));
        assert_eq!(cosigned(&note, [witness().key()]).unwrap().len(), 1);
    }

    let mut query = db.prepare("SELECT level, idx, bytes FROM tile").unwrap();
    let tiles: Vec<(u8, u64, Vec<u8>)> = query
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, u32>(1)?.into(), row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let first: Vec<u8> = leaves[..256].iter().flat_map(|hash| hash.0).collect();
    assert_eq!(tiles, [(0, 0, first)]);

    let reader = Reader::open(path).unwrap();
    assert_eq!(reader.replay(|_, _, _| ()).unwrap().size, rows.len() as u64);
    for one in answered {
        let body = [BODY, one.word.as_bytes()].concat();
        assert_eq!(leaves[one.index as usize], one.leaf);
        assert_eq!(words.get(&body), Some(&1), "{} stands once", one.word);
        let proved = receipt::check(&body, one.index, &one.receipt, signer().key(), &origin()).unwrap();
        assert_eq!(proved.leaf, one.leaf);
        let again = reader.receipt(one.index).unwrap();
        assert_eq!(with_body(&again.line1, &body), rows[one.index as usize].1);
        // One receipt for ever, but that of a plain head gives way to one that witnesses cosigned.
        let first = Receipt::decode(&one.receipt).unwrap();
        let by = |receipt: &Receipt| cosigned(&receipt.checkpoint, [witness().key()]).unwrap().len();
        assert!(again == first || (by(&first), by(&again)) == (0, 1), "{again:?}\n{first:?}");
        assert_eq!(again.line1, first.line1);
        let proved = receipt::check(&body, one.index, &again.encode(), signer().key(), &origin()).unwrap();
        assert_eq!(proved.leaf, one.leaf);
    }
}

/// A log of 250 entries, closed and whole in one file.
pub(super) fn seed(path: &Path) {
    let mut log = Log::create(path, origin(), keys(), 0, &signer()).unwrap();
    let words: Vec<String> = (1..250).map(|n| format!("seed {n}")).collect();
    commit(&mut log, &words).unwrap();
}

#[test]
fn whichever_store_call_fails_nothing_answered_is_lost_and_nothing_stands_twice() {
    let folder = tempfile::tempdir().unwrap();
    let origin = folder.path().join("seed");
    seed(&origin);
    let once = |fail, kept| {
        let path = folder.path().join("log.sqlite");
        std::fs::copy(&origin, &path).unwrap();
        let plan = Arc::new(Plan { fail, kept, ..Plan::default() });
        let answered = run(&path, &plan);
        assert_eq!(answered.len(), 12);
        check(&path, &answered);
        std::fs::remove_file(&path).unwrap();
        plan.calls.lock().unwrap().clone()
    };
    let calls = once(None, false);
    for name in [
        "begin",
        "put_entry",
        "put_tile",
        "put_checkpoint",
        "put_cosigned",
        "commit",
        "entry",
        "head",
        "count",
    ] {
        assert!(calls.contains(&name), "the run never calls {name}");
    }
    // Of a long row of like calls (reading a tile's 250 entries) the ends and some between.
    let distinct = |n: usize| {
        let same = |other: Option<usize>| other.and_then(|n| calls.get(n)) == calls.get(n);
        calls[n] != "entry" || !same(n.checked_sub(1)) || !same(n.checked_add(1)) || n.is_multiple_of(50)
    };
    for number in (0..calls.len()).filter(|n| distinct(*n)) {
        for kept in [false, true] {
            once(Some(number), kept);
        }
    }
}

#[test]
fn recovery_itself_may_fail_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    seed(&path);
    let calls = {
        let plan = Arc::new(Plan::default());
        let mut log = Faulty::open(&path, &plan).unwrap();
        let before = plan.calls.lock().unwrap().len();
        log.recover().unwrap();
        before..plan.calls.lock().unwrap().len()
    };
    for number in calls.clone().filter(|n| *n < calls.start + 8 || *n > calls.end - 8) {
        for kept in [false, true] {
            let plan = Arc::new(Plan { fail: Some(number), kept, ..Plan::default() });
            let mut log = Faulty::open(&path, &plan).unwrap();
            assert_eq!(log.recover(), Err(INJECTED));
            assert_eq!(log.batch().err(), Some(LogError::Poisoned));
            assert_eq!(log.recover().map(|found| found.kept()), Ok(false));
            assert!(log.batch().is_ok());
        }
    }
}

#[test]
fn recovery_refuses_a_disk_that_lost_or_changed_what_was_durable() {
    for (sql, expected) in [
        (
            "DELETE FROM entry WHERE idx > 248; DELETE FROM checkpoint WHERE size > 1",
            "entries and newest checkpoint disagree",
        ),
        (
            "DELETE FROM entry WHERE idx > 0; DELETE FROM checkpoint WHERE size > 1",
            "durable entries are gone",
        ),
        ("DELETE FROM entry WHERE idx = 249", "entries and newest checkpoint disagree"),
        (
            "UPDATE entry SET bytes = (SELECT bytes FROM entry WHERE idx = 7) WHERE idx = 8",
            "the newest checkpoint is of another tree",
        ),
        ("DELETE FROM entry WHERE idx = 0", "the first entry is missing"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.sqlite");
        seed(&path);
        let mut log = Log::open(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let found = log.recover();
        assert_eq!(found, Err(LogError::Corrupt(expected)), "{sql}");
        assert_eq!(log.batch().err(), Some(LogError::Poisoned));
    }
}

#[test]
fn a_full_disk_is_told_and_the_log_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    seed(&path);
    let store = SqliteStore::open(&path).unwrap();
    let pages: i64 = store.connection().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let limit = format!("PRAGMA max_page_count = {pages}");
    store.connection().query_row(&limit, [], |_| Ok(())).unwrap();
    let mut log = Log::from_store(Box::new(store)).unwrap();
    let words: Vec<String> = (0..100).map(|n| format!("word {n}")).collect();
    assert_eq!(commit(&mut log, &words).err(), Some(LogError::Full));
    // A new connection knows no such limit: there is room again.
    assert_eq!(log.recover().map(|found| (found.before, found.size)), Ok((250, 250)));
    let answered = commit(&mut log, &words).unwrap();
    drop(log);
    check(&path, &answered);
}

#[test]
fn a_store_that_cannot_be_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    seed(&path);
    let store = SqliteStore::open(&path).unwrap();
    store.connection().pragma_update(None, "query_only", true).unwrap();
    let mut log = Log::from_store(Box::new(store)).unwrap();
    assert_eq!(commit(&mut log, &["word".into()]).err(), Some(LogError::ReadOnly));
}
