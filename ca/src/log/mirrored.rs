//! Every call to the mirror's folder is broken once, three ways: *failed*, *failed but kept*, and *dead* (that
//! call and all after it fail, as for a process that was killed there). The calls are counted here. After each
//! run a checker that shares no code with the mirror reads the folder and recomputes all; after a death also
//! at that moment, before anybody has mended anything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ed25519_dalek::SigningKey;
use fireaxe_protocol::log::tiles::decode_bundle;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Checkpoint, Hash, NoteSigner, Receipt};

use super::faults::{Answered, commit, hasten, keys, mth, origin, seed, signer};
use super::mirror::{Mirror, MirrorError, Standing};
use super::refill::Mirrored;
use super::shelf::{Folder, Shelf};
use super::store::SqliteStore;
use super::{Log, LogError, Reader};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Failed,
    Kept,
    Dead,
}

/// Which call fails, how, and which calls there were.
#[derive(Default)]
struct Plan {
    fail: Option<(usize, How)>,
    dead: AtomicBool,
    next: AtomicUsize,
    calls: Mutex<Vec<&'static str>>,
}

const INJECTED: MirrorError = MirrorError::Io(5);

impl Plan {
    fn call<T>(
        &self,
        name: &'static str,
        run: impl FnOnce() -> Result<T, MirrorError>,
    ) -> Result<T, MirrorError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.calls.lock().unwrap().push(name);
        if self.dead.load(Ordering::Relaxed) {
            return Err(INJECTED);
        }
        match self.fail {
            Some((at, How::Kept)) if at == number => run().and(Err(INJECTED)),
            Some((at, how)) if at == number => {
                self.dead.store(how == How::Dead, Ordering::Relaxed);
                Err(INJECTED)
            }
            _ => run(),
        }
    }
}

struct Faulty {
    folder: Folder,
    plan: Arc<Plan>,
}

impl Shelf for Faulty {
    fn read(&self, path: &str, most: usize) -> Result<Option<Vec<u8>>, MirrorError> {
        self.plan.call("read", || self.folder.read(path, most))
    }
    fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), MirrorError> {
        self.plan.call("put", || self.folder.put(path, bytes))
    }
    fn sync(&mut self) -> Result<(), MirrorError> {
        self.plan.call("sync", || self.folder.sync())
    }
    fn clear(&mut self, folder: &str, keep: usize) -> Result<(), MirrorError> {
        self.plan.call("clear", || self.folder.clear(folder, keep))
    }
}

fn open(path: &Path) -> Log {
    let store = SqliteStore::open(path).unwrap();
    hasten(&store);
    Log::from_store(Box::new(store)).unwrap()
}

fn entries(path: &Path) -> Vec<Vec<u8>> {
    let reader = Reader::open(path).unwrap();
    (0..reader.size().unwrap()).map(|index| reader.entry_bytes(index).unwrap()).collect()
}

/// What a client of tlog-tiles sees: a signed head, and all that it covers. Gives the entries.
fn read_as_a_client(mirror: &Path) -> Vec<Vec<u8>> {
    let Ok(note) = fs::read_to_string(mirror.join("checkpoint")) else { return Vec::new() };
    let head = Checkpoint::open(&note, signer().key(), &origin()).unwrap();
    let size = usize::try_from(head.size).unwrap();
    let tile = |kind: &str, index: usize, width: usize| {
        let name = if width == 256 { format!("{index:03}") } else { format!("{index:03}.p/{width}") };
        let path = mirror.join("tile").join(kind).join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::read(path).unwrap()
    };
    let mut found: Vec<Vec<u8>> = Vec::new();
    for first in (0..size).step_by(256) {
        let width = (size - first).min(256);
        let bundle = tile("entries", first / 256, width);
        found.extend(decode_bundle(&bundle).unwrap().into_iter().map(<[u8]>::to_vec));
        let leaves: Vec<Hash> = found[first..].iter().map(|bytes| leaf_hash(bytes)).collect();
        assert_eq!(tile("0", first / 256, width), leaves.iter().flat_map(|h| h.0).collect::<Vec<u8>>());
        if width == 256 {
            let row = tile("1", 0, size / 256);
            assert_eq!(row[first / 8..first / 8 + 32], mth(&leaves).0);
        }
    }
    let leaves: Vec<Hash> = found.iter().map(|bytes| leaf_hash(bytes)).collect();
    assert_eq!((found.len(), mth(&leaves)), (size, head.root));
    found
}

/// The heads beside the tiles are those that the log has, once the mirror is where the log is.
fn check(path: &Path, mirror: &Path) {
    assert_eq!(read_as_a_client(mirror), entries(path));
    let reader = Reader::open(path).unwrap();
    let mut notes = Vec::new();
    let mut names: Vec<_> =
        fs::read_dir(mirror.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for name in names.iter().filter(|name| name.extension().is_none()) {
        let bytes = fs::read(name).unwrap();
        notes.extend(
            decode_bundle(&bytes).unwrap().into_iter().map(|n| String::from_utf8(n.to_vec()).unwrap()),
        );
    }
    let (mut size, mut expected) = (0, Vec::new());
    while let Ok((next, note)) = reader.checkpoint_covering(size) {
        expected.push(note);
        size = next;
    }
    assert_eq!(notes, expected);
}

/// Commits around the end of a tile; whatever fails is recovered from. Gives up when the plan is dead.
fn run(path: &Path, mirror: &Path, plan: &Arc<Plan>) -> Vec<Answered> {
    let shelf = || Faulty { folder: Folder::lock(mirror).unwrap(), plan: Arc::clone(plan) };
    let mut log = open(path);
    let mut answered = Vec::new();
    while let Err(error) = log.mirrored(Mirror::on(Box::new(shelf())), false) {
        assert_eq!(error, LogError::Mirror(INJECTED));
        if plan.dead.load(Ordering::Relaxed) {
            return answered;
        }
    }
    for (number, count) in [1usize, 2, 8, 1].into_iter().enumerate() {
        let words: Vec<String> = (0..count).map(|n| format!("word {number}.{n}")).collect();
        match commit(&mut log, &words) {
            Ok(more) => {
                // What was answered is in the mirror.
                let note = fs::read_to_string(mirror.join("checkpoint")).unwrap();
                let head = Checkpoint::open(&note, signer().key(), &crate::log::faults::origin()).unwrap();
                assert_eq!(head.size, log.size());
                answered.extend(more);
            }
            Err(error) => {
                assert_eq!(error, LogError::Mirror(INJECTED));
                assert_eq!(log.batch().err(), Some(LogError::Poisoned), "nothing goes on top of it");
                if plan.dead.load(Ordering::Relaxed) {
                    return answered;
                }
                // It is in the log already, and stands.
                let recovery = log.recover().or_else(|_| log.recover()).unwrap();
                assert!(recovery.kept());
            }
        }
    }
    answered
}

#[test]
fn whichever_call_fails_nothing_is_answered_that_the_mirror_lacks_and_it_is_readable_at_every_moment() {
    let folder = tempfile::tempdir().unwrap();
    let origin = folder.path().join("seed");
    seed(&origin);
    let once = |fail: Option<(usize, How)>| {
        let (path, mirror) = (folder.path().join("log.sqlite"), folder.path().join("mirror"));
        fs::copy(&origin, &path).unwrap();
        fs::create_dir(&mirror).unwrap();
        let plan = Arc::new(Plan { fail, ..Plan::default() });
        let answered = run(&path, &mirror, &plan);
        if fail.is_some_and(|(_, how)| how == How::Dead) {
            // At the moment of death: a head, and all that it covers, and all that was answered.
            let there = read_as_a_client(&mirror);
            assert!(answered.iter().all(|one| (one.index as usize) < there.len()));
            assert!(entries(&path).starts_with(&there));
            open(&path).mirrored(Mirror::open(&mirror).unwrap(), false).unwrap();
        }
        check(&path, &mirror);
        fs::remove_file(&path).unwrap();
        fs::remove_dir_all(&mirror).unwrap();
        plan.calls.lock().unwrap().clone()
    };
    let calls = once(None);
    for name in ["read", "put", "sync", "clear"] {
        assert!(calls.contains(&name), "the run never calls {name}");
    }
    for number in 0..calls.len() {
        for how in [How::Failed, How::Kept, How::Dead] {
            once(Some((number, how)));
        }
    }
}

/// A log of 250 entries and its mirror; the log has `more` commits since.
fn pair(folder: &Path, more: usize) -> (std::path::PathBuf, std::path::PathBuf) {
    let (path, mirror) = (folder.join("log.sqlite"), folder.join("mirror"));
    seed(&path);
    fs::create_dir(&mirror).unwrap();
    let mut log = open(&path);
    assert_eq!(log.mirrored(Mirror::open(&mirror).unwrap(), false), Ok(Standing::New));
    for n in 0..more {
        commit(&mut log, &[format!("one {n}"), format!("two {n}")]).unwrap();
    }
    (path, mirror)
}

#[test]
fn old_partial_tiles_go_and_the_last_few_stay_for_who_reads_now() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mirror) = pair(folder.path(), 20);
    let names = |name: &str| {
        let mut found: Vec<String> = fs::read_dir(mirror.join(name))
            .map(|all| all.map(|e| e.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        found.sort();
        found
    };
    for kind in ["tile/entries", "tile/0"] {
        assert_eq!(names(kind), ["000", "001.p"]);
        assert_eq!(names(&format!("{kind}/001.p")), ["28", "30", "32", "34"]);
    }
    check(&path, &mirror);
}

#[test]
fn a_log_that_is_behind_or_beside_its_mirror_is_refused_with_both_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mirror) = pair(folder.path(), 0);
    let yesterday = folder.path().join("yesterday");
    Reader::open(&path).unwrap().copy_to(&yesterday).unwrap();
    let mut log = open(&path);
    assert_eq!(log.mirrored(Mirror::open(&mirror).unwrap(), false), Ok(Standing::Equal));
    // One CA writes one mirror.
    assert_eq!(Mirror::open(&mirror).err(), Some(MirrorError::Locked));
    commit(&mut log, &["today".into()]).unwrap();
    drop(log);
    let opened = || Mirror::open(&mirror).unwrap();
    let ahead = LogError::Mirror(MirrorError::Ahead { mirror: 251, log: 250 });
    assert_eq!(open(&yesterday).mirrored(opened(), false).err(), Some(ahead));
    let mut other = open(&yesterday);
    commit(&mut other, &["another today".into()]).unwrap();
    assert_eq!(other.mirrored(opened(), false).err(), Some(LogError::Mirror(MirrorError::Forked(251))));
    commit(&mut other, &["and more".into()]).unwrap();
    assert_eq!(other.mirrored(opened(), false).err(), Some(LogError::Mirror(MirrorError::Forked(251))));
    // Another log, and what is no checkpoint at all.
    let foreign = folder.path().join("foreign");
    let theirs = NoteSigner::new("other/0123456789abcdef", SigningKey::from_bytes(&[6; 32])).unwrap();
    let pinned = fireaxe_protocol::log::PinnedKeys { log: theirs.key().key(), ..keys() };
    let mut foreign =
        Log::create(&foreign, "other/0123456789abcdef".parse().unwrap(), pinned, 0, &theirs).unwrap();
    assert_eq!(foreign.mirrored(opened(), false).err(), Some(LogError::Mirror(MirrorError::Foreign)));
    fs::write(mirror.join("checkpoint"), "garbage").unwrap();
    assert_eq!(open(&path).mirrored(opened(), false).err(), Some(LogError::Mirror(MirrorError::Foreign)));
    fs::remove_dir_all(&mirror).unwrap();
    assert_eq!(Mirror::open(&mirror).err(), Some(MirrorError::Missing));
}

#[test]
fn a_log_in_doubt_leaves_its_mirror_as_it_is_until_it_commits() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mirror) = pair(folder.path(), 0);
    let mut log = open(&path);
    commit(&mut log, &["not mirrored yet".into()]).unwrap();
    assert_eq!(log.mirrored(Mirror::open(&mirror).unwrap(), true), Ok(Standing::Behind(250)));
    assert_eq!(read_as_a_client(&mirror).len(), 250);
    // Nor does a fault make it write there.
    log.recover().unwrap();
    assert_eq!(read_as_a_client(&mirror).len(), 250);
    commit(&mut log, &["confirmed".into()]).unwrap();
    drop(log);
    check(&path, &mirror);
}

#[test]
fn a_mirror_says_that_it_has_every_answer_only_while_answers_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mirror) = pair(folder.path(), 0);
    let says = || Mirrored::open(&mirror).unwrap().has_all_answers();
    assert_eq!(says(), Ok(true));
    Mirror::open(&mirror).unwrap().answers_go_first().unwrap();
    assert_eq!(says(), Ok(false));
    // Where it is equal a log in doubt does not make it say so, and the first commit after does.
    let mut log = open(&path);
    assert_eq!(log.mirrored(Mirror::open(&mirror).unwrap(), true), Ok(Standing::Equal));
    log.recover().unwrap();
    assert_eq!(says(), Ok(false));
    commit(&mut log, &["confirmed".into()]).unwrap();
    assert_eq!(says(), Ok(true));
    fs::remove_file(mirror.join("mode")).unwrap();
    assert_eq!(says(), Ok(false), "one made before mirrors said so");
}

#[test]
fn a_mirror_whose_folder_goes_stops_the_log_and_is_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mirror) = pair(folder.path(), 0);
    let mut log = open(&path);
    log.mirrored(Mirror::open(&mirror).unwrap(), false).unwrap();
    let away = folder.path().join("unmounted");
    fs::rename(&mirror, &away).unwrap();
    let missing = LogError::Mirror(MirrorError::Missing);
    assert_eq!(commit(&mut log, &["word".into()]).err(), Some(missing));
    assert_eq!(log.recover().err(), Some(missing));
    assert!(!mirror.exists());
    fs::rename(&away, &mirror).unwrap();
    assert_eq!(log.recover().map(|found| (found.before, found.size)), Ok((250, 251)));
    commit(&mut log, &["again".into()]).unwrap();
    drop(log);
    check(&path, &mirror);
}

#[test]
fn a_log_comes_back_from_its_mirror_byte_for_byte_with_its_receipts_from_nothing_or_from_a_backup() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mirror) = pair(folder.path(), 1);
    let backup = folder.path().join("backup");
    Reader::open(&path).unwrap().copy_to(&backup).unwrap();
    let mut log = open(&path);
    log.mirrored(Mirror::open(&mirror).unwrap(), false).unwrap();
    for n in 0..30 {
        commit(&mut log, &(0..=n % 4).map(|m| format!("later {n}.{m}")).collect::<Vec<_>>()).unwrap();
    }
    drop(log);
    let from_nothing = folder.path().join("anew");
    let read = Mirrored::open(&mirror).unwrap();
    let anew = read.rebuild(&from_nothing).unwrap();
    let filled = read.refill(&backup).unwrap();
    let before = Reader::open(&path).unwrap();
    let size = before.size().unwrap();
    assert_eq!((anew.had, anew.size, filled.had, filled.size), (0, size, 252, size));
    for other in [&from_nothing, &backup] {
        assert_eq!(entries(other), entries(&path));
        let reader = Reader::open(other).unwrap();
        assert_eq!(reader.replay(|_, _, _| ()).unwrap(), before.replay(|_, _, _| ()).unwrap());
        // Those of the seed are under one head, and the cosigned one over them is in no mirror: a log made from
        // that alone has them cosigned anew.
        for index in [0, 7, 248] {
            assert_eq!(reader.checkpoint_covering(index), before.checkpoint_covering(index));
            let plain =
                reader.receipt(index).unwrap().checkpoint == reader.checkpoint_covering(index).unwrap().1;
            assert_eq!(plain, *other == from_nothing);
        }
        for index in 252..size {
            let (ours, theirs) = (reader.receipt(index).unwrap(), before.receipt(index).unwrap());
            assert!(
                theirs.checkpoint.starts_with(&ours.checkpoint),
                "the same head, but for what witnesses said"
            );
            assert_eq!(Receipt { checkpoint: theirs.checkpoint.clone(), ..ours }, theirs);
        }
        // It goes on where the other ended, and the mirror with it.
        assert_eq!(open(other).mirrored(Mirror::open(&mirror).unwrap(), false), Ok(Standing::Equal));
    }
    assert_eq!(read.refill(&path).map(|found| found.had == found.size), Ok(true));
}

#[test]
fn damage_in_a_mirror_is_named_and_gives_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mirror) = pair(folder.path(), 20);
    let found = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = mirror.join(name);
        let before = fs::read(&path).unwrap();
        let mut bytes = before.clone();
        change(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let anew = folder.path().join("anew");
        let told = Mirrored::open(&mirror).unwrap().rebuild(&anew);
        for end in ["", ".lock", "-wal", "-shm"] {
            let _ = fs::remove_file(folder.path().join(format!("anew{end}")));
        }
        fs::write(&path, before).unwrap();
        match told {
            Err(LogError::Mirror(error)) => error,
            other => panic!("{name}: {other:?}"),
        }
    };
    assert!(matches!(found("tile/entries/000", &|b| b.truncate(100)), MirrorError::Tile(..)));
    assert!(matches!(found("tile/entries/001.p/34", &|b| b.extend([0, 1, 7])), MirrorError::Tile(..)));
    // A digit of an entry's certificate body: the entry can be read, the tree cannot be.
    let flipped = found("tile/entries/000", &|b| {
        let at = b.windows(6).rposition(|w| w == b"Ym9keS").unwrap();
        b[at] = b'Z';
    });
    assert_eq!(flipped, MirrorError::OtherTree(256));
    let swapped = found("tile/entries/000", &|b| {
        let entries: Vec<Vec<u8>> = decode_bundle(b).unwrap().into_iter().map(<[u8]>::to_vec).collect();
        let mut entries = entries;
        entries.swap(5, 6);
        *b = fireaxe_protocol::log::tiles::encode_bundle(entries).unwrap();
    });
    assert_eq!(swapped, MirrorError::Entry(5, "it is another entry"));
    assert!(matches!(found("checkpoints/001", &|b| b[10] ^= 1), MirrorError::Heads(1, _)));
    assert!(matches!(found("checkpoint", &|b| b[30] ^= 1), MirrorError::Foreign));
    assert!(matches!(found("checkpoint", &|b| b.clear()), MirrorError::Foreign));
    fs::remove_file(mirror.join("tile/entries/001.p/34")).unwrap();
    let told = Mirrored::open(&mirror).unwrap().rebuild(&folder.path().join("anew"));
    assert!(matches!(told, Err(LogError::Mirror(MirrorError::Tile(_, "it is missing")))), "{told:?}");
}
