//! The log through its public face: what is written, read back, proved and refused.

#![allow(clippy::unwrap_used, reason = "a test's own steps may fail it")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use fireaxe_ca::log::{Log, LogError, Reader, WalKeeper};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::tiles::{TILE_BYTES, TileKind, TilePath, decode_bundle};
use fireaxe_protocol::log::tree::{leaf_hash, verify_consistency, verify_inclusion};
use fireaxe_protocol::log::{Checkpoint, Cosigner, EntryError, Event, Hash, NoteSigner, PinnedKeys, receipt};
use fireaxe_protocol::names::Origin;
use rusqlite::Connection;

fn origin() -> Origin {
    "ca.payments/0123456789abcdef".parse().unwrap()
}

fn signer() -> NoteSigner {
    NoteSigner::new(origin().as_str(), SigningKey::from_bytes(&[5; 32])).unwrap()
}

/// The right name, another key.
fn stranger() -> NoteSigner {
    NoteSigner::new(origin().as_str(), SigningKey::from_bytes(&[6; 32])).unwrap()
}

fn keys() -> PinnedKeys {
    let log = signer().key().key();
    PinnedKeys { user_ca: Ed25519Key([1; 32]), log, krl: log, host_ca: log }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    (folder, path)
}

fn create(path: &Path) -> Log {
    Log::create(path, origin(), keys(), 100, &signer()).unwrap()
}

fn issued() -> Event {
    Event::CertificateIssued { of: Hash([1; 32]), terms: Hash([2; 32]) }
}

fn abandoned() -> Event {
    Event::CertificateAbandoned { serial: 1, why: "certificate.revoked".into() }
}

fn body(index: u64) -> Vec<u8> {
    format!("body {index}").into_bytes()
}

/// Appends `count` entries, every third no certificate; gives their receipts.
fn grow(log: &mut Log, count: u64) -> Vec<Vec<u8>> {
    let mut batch = log.batch().unwrap();
    let mut pending = Vec::new();
    for _ in 0..count {
        let index = batch.next_index();
        pending.push(match index % 3 {
            0 => batch.append(100 + index, &abandoned(), None, index).unwrap(),
            _ => batch.append(100 + index, &issued(), Some(&body(index)), index).unwrap(),
        });
    }
    let committed = batch.commit(&signer()).unwrap();
    pending
        .into_iter()
        .map(|one| {
            let (index, leaf) = (one.index(), one.leaf());
            let logged = committed.settle(one).unwrap();
            assert_eq!((logged.index(), logged.leaf(), *logged.thing()), (index, leaf, index));
            let receipt = logged.receipt().unwrap();
            assert_eq!(receipt.line1.is_empty(), index % 3 == 0);
            receipt.encode()
        })
        .collect()
}

#[test]
fn receipts_are_the_same_bytes_for_ever_and_prove_their_entries() {
    let (_folder, path) = place();
    let mut receipts = vec![Vec::new()];
    let mut log = create(&path);
    for count in [1, 1, 2, 60, 191, 1, 3, 64, 130] {
        receipts.extend(grow(&mut log, count));
        drop(log);
        log = Log::open(&path).unwrap();
    }
    assert_eq!((log.size(), log.last_at()), (454, 100 + 453));
    assert_eq!((log.origin(), log.key()), (&origin(), signer().key()));
    let reader = Reader::open(&path).unwrap();
    for (index, made) in (0u64..).zip(&receipts).skip(1) {
        assert_eq!(&reader.receipt(index).unwrap().encode(), made, "entry {index}");
        let proof = receipt::Receipt::decode(made).unwrap();
        let head = Checkpoint::open(&proof.checkpoint, signer().key(), &origin()).unwrap();
        let leaf = leaf_hash(&reader.entry_bytes(index).unwrap());
        verify_inclusion(&leaf, index, head.size, &proof.hashes, &head.root).unwrap();
        if index % 3 != 0 {
            let proved = receipt::check(&body(index), index, made, signer().key(), &origin()).unwrap();
            assert_eq!((proved.leaf, proved.at), (leaf, 100 + index));
        }
    }
    assert_eq!(reader.receipt(454), Err(LogError::OutOfRange));
}

fn cosigned(note: &str) -> String {
    let witness = Cosigner::new("witness.example/w1", SigningKey::from_bytes(&[8; 32])).unwrap();
    let (head, _) = note.split_once("\n\n").unwrap();
    note.to_owned() + &witness.cosign(&format!("{head}\n"), 7)
}

#[test]
fn what_witnesses_said_of_a_head_is_in_the_receipts_of_what_it_is_the_first_to_cover() {
    let (_folder, path) = place();
    let mut log = create(&path);
    let plain = grow(&mut log, 4);
    let reader = Reader::open(&path).unwrap();
    let five = reader.latest_checkpoint().unwrap();
    grow(&mut log, 4);
    let nine = cosigned(&reader.latest_checkpoint().unwrap());
    assert_eq!(reader.receipt(2).unwrap().encode(), plain[1], "nobody has cosigned anything");

    let kept = log.keep_cosigned(&nine).unwrap().unwrap();
    assert_eq!((kept.size(), kept.note()), (9, nine.as_str()));
    assert_eq!(reader.latest_checkpoint().unwrap(), nine);
    // Of entries before too, with another path; the body and the entry are the same.
    let receipt = reader.receipt(2).unwrap();
    assert_eq!(receipt.checkpoint, nine);
    assert_eq!(receipt.line1, receipt::Receipt::decode(&plain[1]).unwrap().line1);
    receipt::check(&body(2), 2, &receipt.encode(), signer().key(), &origin()).unwrap();

    // What is settled stays: another note of that size, or of a smaller one, changes nothing.
    assert_eq!(log.keep_cosigned(&reader.checkpoint_covering(8).unwrap().1).unwrap(), Some(kept));
    assert_eq!(log.keep_cosigned(&cosigned(&five)).unwrap(), None);
    grow(&mut log, 1);
    assert!(!reader.latest_checkpoint().unwrap().contains("witness.example"), "nobody saw the newest yet");
    log.keep_cosigned(&cosigned(&reader.latest_checkpoint().unwrap())).unwrap().unwrap();
    assert_eq!(reader.receipt(2).unwrap(), receipt, "the first that covers it, for ever");

    // A head that is not the log's own is not kept, and the log goes on once it has looked at its disk.
    let root = Hash([7; 32]);
    for size in [9, 500] {
        let other = Checkpoint { origin: origin(), size, root }.sign(&signer()).unwrap();
        assert!(log.keep_cosigned(&cosigned(&other)).is_err());
        assert_eq!(log.batch().err(), Some(LogError::Poisoned));
        log.recover().unwrap();
    }
    let long = nine.clone() + &"x".repeat(limits::COSIGNED_NOTE + 1 - nine.len());
    assert!(matches!(log.keep_cosigned(&long), Err(LogError::Checkpoint(_))));
    assert!(log.batch().is_ok());
    // A row that somebody changed is passed over.
    Connection::open(&path).unwrap().execute("UPDATE cosigned SET note = 'x' WHERE size = 9", []).unwrap();
    assert_eq!(reader.receipt(2).unwrap().encode(), plain[1]);
}

#[test]
fn a_log_of_schema_1_is_read_as_it_is_and_taken_over_by_its_writer() {
    let (_folder, path) = place();
    let receipts = grow(&mut create(&path), 2);
    Connection::open(&path).unwrap().execute_batch("DROP TABLE cosigned; PRAGMA user_version = 1").unwrap();
    let reader = Reader::open(&path).unwrap();
    let same = |reader: &Reader| {
        assert_eq!(reader.receipt(1).unwrap().encode(), receipts[0]);
        assert_eq!(reader.replay(|_, _, _| ()).unwrap().size, 3);
        assert_eq!(reader.latest_cosigned().unwrap(), None);
    };
    same(&reader);
    let mut log = Log::open(&path).unwrap();
    same(&reader);
    let note = cosigned(&reader.latest_checkpoint().unwrap());
    log.keep_cosigned(&note).unwrap().unwrap();
    assert_eq!(reader.receipt(1).unwrap().checkpoint, note);
    let version: i64 =
        Connection::open(&path).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 2);
}

#[test]
fn a_reader_on_another_thread_sees_only_whole_batches() {
    let (_folder, path) = place();
    let mut log = create(&path);
    let reader = Reader::open(&path).unwrap();
    let watcher = std::thread::spawn(move || {
        let mut sizes = vec![reader.size().unwrap()];
        while *sizes.last().unwrap() < 201 {
            let size = reader.size().unwrap();
            assert_eq!(size % 10, 1, "a batch seen in part");
            assert_eq!(reader.replay(|_, _, _| ()).unwrap().size % 10, 1);
            if size != *sizes.last().unwrap() {
                sizes.push(size);
            }
        }
        sizes
    });
    for _ in 0..20 {
        grow(&mut log, 10);
    }
    assert!(watcher.join().unwrap().is_sorted());
}

#[test]
fn tiles_bundles_and_consistency_proofs_are_those_of_the_entries() {
    let (_folder, path) = place();
    let mut log = create(&path);
    grow(&mut log, 300);
    grow(&mut log, 299);
    let reader = Reader::open(&path).unwrap();
    let tile = |kind, index, width| reader.tile(&TilePath { kind, index, width });
    let bytes = |index| reader.entry_bytes(index).unwrap();
    for (index, width) in [(0, 256u16), (1, 256), (2, 88), (2, 1), (1, 45), (0, 1)] {
        let range = index * 256..index * 256 + u64::from(width);
        let hashes = tile(TileKind::Hashes(0), index, width).unwrap();
        let expected: Vec<u8> = range.clone().flat_map(|n| leaf_hash(&bytes(n)).0).collect();
        assert_eq!(hashes, expected);
        let bundle = tile(TileKind::Entries, index, width).unwrap();
        assert_eq!(bundle, reader.entry_bundle(index, width).unwrap());
        let entries: Vec<Vec<u8>> = range.map(bytes).collect();
        assert_eq!(decode_bundle(&bundle).unwrap(), entries);
    }
    assert_eq!(tile(TileKind::Hashes(0), 0, 256).unwrap().len(), TILE_BYTES);
    assert_eq!(tile(TileKind::Hashes(1), 0, 2).unwrap().len(), 64);
    for (kind, index, width) in [
        (TileKind::Hashes(0), 2, 89),
        (TileKind::Hashes(0), 3, 1),
        (TileKind::Hashes(1), 0, 3),
        (TileKind::Hashes(2), 0, 1),
        (TileKind::Hashes(63), u64::MAX, 1),
        (TileKind::Hashes(0), 0, 0),
        (TileKind::Hashes(0), 0, 257),
        (TileKind::Entries, 2, 89),
        (TileKind::Entries, u64::MAX, 256),
        (TileKind::Entries, 0, 0),
    ] {
        assert_eq!(tile(kind, index, width), Err(LogError::OutOfRange), "{kind:?} {index} {width}");
    }

    let head = |covering| {
        let (size, note) = reader.checkpoint_covering(covering).unwrap();
        let head = Checkpoint::open(&note, signer().key(), &origin()).unwrap();
        assert_eq!(head.size, size);
        head
    };
    let heads = [head(0), head(1), head(301)];
    assert_eq!(heads.each_ref().map(|head| head.size), [1, 301, 600]);
    for (old, new) in [(0, 1), (0, 2), (1, 2), (2, 2)] {
        let (old, new) = (&heads[old], &heads[new]);
        let proof = reader.consistency(old.size, new.size).unwrap();
        verify_consistency(old.size, new.size, &proof, &old.root, &new.root).unwrap();
    }
    assert_eq!(reader.consistency(2, 601), Err(LogError::OutOfRange));
    assert_eq!(reader.consistency(2, 1), Err(LogError::OutOfRange));
}

#[test]
fn entries_come_in_order_and_stop_when_told() {
    let (_folder, path) = place();
    grow(&mut create(&path), 9);
    let reader = Reader::open(&path).unwrap();
    let take = |from, max, stop| {
        let mut seen: Vec<u64> = Vec::new();
        let each = |index, _: &[u8]| {
            seen.push(index);
            if index == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        reader.entries(from, max, each).unwrap();
        seen
    };
    assert_eq!(take(0, 100, 100), (0..10).collect::<Vec<_>>());
    assert_eq!(take(3, 2, 100), [3, 4]);
    assert_eq!(take(3, 100, 5), [3, 4, 5]);
    assert!(take(10, 100, 100).is_empty());
    assert_eq!(reader.entry(4).unwrap().body, Some(body(4)));
    assert_eq!(reader.entry(10), Err(LogError::OutOfRange));
    assert_eq!(reader.entry(u64::MAX), Err(LogError::OutOfRange));
}

#[test]
fn what_waits_for_another_batch_never_settles() {
    let (_folder, path) = place();
    let (_other_folder, other_path) = place();
    let (mut log, mut other) = (create(&path), create(&other_path));
    let mut dropped = log.batch().unwrap();
    let never = dropped.append(100, &abandoned(), None, "never written").unwrap();
    drop(dropped);
    let mut batch = log.batch().unwrap();
    let now = batch.append(100, &abandoned(), None, "written").unwrap();
    let committed = batch.commit(&signer()).unwrap();
    assert_eq!(never.index(), now.index());
    assert_eq!(committed.settle(never).err(), Some(LogError::OtherBatch));
    assert_eq!(committed.settle(now).map(|logged| logged.into_thing()), Ok("written"));
    let mut elsewhere = other.batch().unwrap();
    let foreign = elsewhere.append(100, &abandoned(), None, "elsewhere").unwrap();
    elsewhere.commit(&signer()).unwrap();
    assert_eq!(committed.settle(foreign).err(), Some(LogError::OtherBatch));
    assert_eq!(committed.receipt(0).err(), Some(LogError::OutOfRange));
}

#[test]
fn what_may_not_stand_in_the_log_is_refused_and_the_batch_goes_on() {
    let (_folder, path) = place();
    let mut log = create(&path);
    assert_eq!(log.batch().unwrap().commit(&signer()).err(), Some(LogError::EmptyBatch));
    let mut batch = log.batch().unwrap();
    let refused = [
        batch.append(99, &abandoned(), None, ()),
        batch.append(100, &Event::LogCreated { origin: origin(), keys: keys(), succeeds: None }, None, ()),
        batch.append(100, &issued(), None, ()),
        batch.append(100, &abandoned(), Some(b"body"), ()),
    ];
    assert_eq!(
        refused.map(|one| one.err().unwrap()),
        [
            LogError::TimeWentBack { last: 100, at: 99 },
            LogError::Misplaced,
            LogError::Entry(EntryError::Body),
            LogError::Entry(EntryError::Body),
        ]
    );
    let long = batch.append(100, &issued(), Some(&[0; 60 * 1024]), ()).err();
    assert!(matches!(long, Some(LogError::Entry(EntryError::TooLong(_)))));
    assert!(batch.is_empty());
    let _ = batch.append(105, &abandoned(), None, ()).unwrap();
    let back = batch.append(104, &abandoned(), None, ()).err();
    assert_eq!(back, Some(LogError::TimeWentBack { last: 105, at: 104 }));
    assert_eq!((batch.len(), batch.next_index()), (1, 2));
    assert_eq!(batch.commit(&stranger()).err(), Some(LogError::WrongSigner));
    assert_eq!((log.size(), log.last_at()), (1, 100));
    grow(&mut log, 1);
    drop(log);
    assert_eq!(Reader::open(&path).unwrap().replay(|_, _, _| ()).unwrap().size, 2);
}

#[test]
fn whatever_is_wrong_with_the_file_has_its_own_name() {
    let (folder, path) = place();
    assert_eq!(Log::open(&path).err(), Some(LogError::Missing));
    assert_eq!(Reader::open(&path).err(), Some(LogError::Missing));
    assert_eq!(WalKeeper::open(&path).err(), Some(LogError::Missing));
    let nowhere = folder.path().join("no/folder/log.sqlite");
    assert_eq!(Log::create(&nowhere, origin(), keys(), 0, &signer()).err(), Some(LogError::Missing));

    let log = create(&path);
    assert_eq!(Log::open(&path).err(), Some(LogError::Locked));
    assert_eq!(Log::create(&path, origin(), keys(), 0, &signer()).err(), Some(LogError::Locked));
    drop(log);
    assert_eq!(Log::create(&path, origin(), keys(), 0, &signer()).err(), Some(LogError::Exists));
    assert!(Log::open(&path).is_ok());

    let change = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    change("PRAGMA user_version = 3");
    assert_eq!(Log::open(&path).err(), Some(LogError::NewerSchema { found: 3, known: 2 }));
    assert_eq!(Reader::open(&path).err(), Some(LogError::NewerSchema { found: 3, known: 2 }));
    change("PRAGMA user_version = 2; PRAGMA application_id = 7");
    assert_eq!(Log::open(&path).err(), Some(LogError::NotALog));

    let text = folder.path().join("text");
    std::fs::write(&text, "not a database, but long enough to be looked at as one ".repeat(100)).unwrap();
    assert_eq!(Log::open(&text).err(), Some(LogError::NotALog));
    let foreign = folder.path().join("foreign.sqlite");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert_eq!(Log::open(&foreign).err(), Some(LogError::NotALog));
    assert_eq!(Log::create(&foreign, origin(), keys(), 0, &signer()).err(), Some(LogError::NotALog));
}

#[test]
fn a_creation_that_was_cut_short_is_taken_over() {
    let (_folder, path) = place();
    std::fs::write(&path, "").unwrap();
    assert_eq!(Log::open(&path).err(), Some(LogError::Unfinished));
    // The wrong key leaves the file with its schema and without an entry.
    assert_eq!(Log::create(&path, origin(), keys(), 0, &stranger()).err(), Some(LogError::WrongSigner));
    assert_eq!(Log::open(&path).err(), Some(LogError::Unfinished));
    assert_eq!(Reader::open(&path).err(), Some(LogError::Unfinished));
    assert_eq!(create(&path).size(), 1);
    assert_eq!(Log::open(&path).map(|log| log.size()), Ok(1));
}

#[test]
fn damage_is_found_and_never_built_upon() {
    let damage = |sql: &str| {
        let (_folder, path) = place();
        let mut log = create(&path);
        grow(&mut log, 299);
        grow(&mut log, 10);
        drop(log);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let opened = Log::open(&path).map(|log| log.size());
        let replayed = Reader::open(&path).and_then(|reader| reader.replay(|_, _, _| ()));
        (opened, replayed.map(|head| head.size))
    };
    assert_eq!(damage(""), (Ok(310), Ok(310)));
    // The tail, the newest head and its tiles are checked at every opening, all entries by a replay.
    for (sql, opens) in [
        ("UPDATE entry SET bytes = (SELECT bytes FROM entry WHERE idx = 301) WHERE idx = 302", false),
        ("DELETE FROM entry WHERE idx = 309", false),
        ("DELETE FROM checkpoint WHERE size = 310", false),
        ("DELETE FROM checkpoint", false),
        ("UPDATE checkpoint SET note = replace(note, 'ca.pay', 'ca.play') WHERE size = 310", false),
        (
            "UPDATE checkpoint SET note = (SELECT note FROM checkpoint WHERE size = 300) WHERE size = 310",
            false,
        ),
        ("UPDATE tile SET bytes = zeroblob(8192)", false),
        ("UPDATE tile SET bytes = zeroblob(32)", false),
        ("DELETE FROM tile", false),
        ("UPDATE entry SET bytes = x'00' WHERE idx = 0", false),
        ("DELETE FROM entry WHERE idx = 0", false),
        ("INSERT INTO entry (idx, bytes) VALUES (310, x'00')", false),
        ("INSERT INTO entry (idx, bytes) VALUES (-1, x'00')", false),
        (
            "UPDATE entry SET bytes = CAST(replace(CAST(bytes AS TEXT), 'revoked', 'expired') AS BLOB) WHERE idx = 9",
            true,
        ),
        ("UPDATE entry SET bytes = x'00' WHERE idx = 9", true),
        ("UPDATE entry SET bytes = x'' WHERE idx = 9", true),
        ("DELETE FROM entry WHERE idx = 9", true),
    ] {
        let (opened, replayed) = damage(sql);
        assert_eq!(opened.is_ok(), opens, "{sql}: {opened:?}");
        assert!(replayed.is_err(), "{sql}: {replayed:?}");
    }
}

#[test]
fn the_write_ahead_log_stays_small_when_it_is_kept() {
    let (folder, path) = place();
    let mut log = create(&path);
    let keeper = WalKeeper::open(&path).unwrap();
    let wal = || std::fs::metadata(folder.path().join("log.sqlite-wal")).unwrap().len();
    grow(&mut log, 100);
    assert_eq!(keeper.checkpoint_wal(), Ok(0));
    let kept = wal();
    for _ in 0..50 {
        grow(&mut log, 1);
        assert_eq!(keeper.checkpoint_wal(), Ok(0));
    }
    assert_eq!(wal(), kept, "the file is reused, not grown");
    for _ in 0..50 {
        grow(&mut log, 1);
    }
    drop(log);
    assert_eq!(Log::open(&path).map(|log| log.size()), Ok(201));
}
