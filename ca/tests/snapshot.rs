//! A start from a snapshot decides as one that read the whole log; a snapshot that is not this log's own is set
//! aside; and an entry that was changed on the disk, which such a start does not read, is never signed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

mod installed;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fireaxe_ca::data_dir::DataDir;
use fireaxe_ca::keys::{self, Purpose};
use fireaxe_ca::log::{LogError, Reader};
use fireaxe_ca::snapshot::{self, FoldFailed, Snapshot, Unfit, fold, latest};
use fireaxe_protocol::api::Opened;
use fireaxe_protocol::log::{Event, Hash, NoteError, NoteSigner, SnapshotNote};
use fireaxe_protocol::statement::{Envelope, Statement};
use installed::snapshots::maker;
use installed::{ANA, Installed, signed};

const DB: &str = "db-3.payments.prod";

/// Incidents that nobody's emergency rests on, enough that what was before them lies in full tiles.
async fn fill(ca: &Installed, entries: u64) {
    let until = ca.size() + entries;
    while ca.size() < until {
        let told = ca.incident(&format!("pd:F{}", ca.size()), 4, "open", "build").await;
        assert_eq!(told.status, 200, "{}", told.text());
    }
}

/// A CA with an emergency in full tiles and a snapshot of all of it, on the disk; the words that opened it.
async fn with_snapshot() -> (Installed, Envelope, Opened) {
    let ca = Installed::new();
    let words = signed(ANA, &Statement::Declare(ca.declare(DB)));
    let opened: Opened = ca.send(&words).await.json();
    assert!(opened.certificate.is_some());
    fill(&ca, 300).await;
    maker(&ca.data()).make().unwrap();
    (ca, words, opened)
}

/// Changes the bytes of an entry in the file.
fn edit(data: &DataDir, index: u64, change: impl Fn(&mut Vec<u8>)) {
    let database = rusqlite::Connection::open(data.log()).unwrap();
    let sql = "SELECT bytes FROM entry WHERE idx = ?1";
    let mut bytes: Vec<u8> = database.query_row(sql, [index.cast_signed()], |row| row.get(0)).unwrap();
    let before = bytes.clone();
    change(&mut bytes);
    assert_ne!(bytes, before, "the change changes something");
    let set = "UPDATE entry SET bytes = ?1 WHERE idx = ?2";
    database.execute(set, rusqlite::params![bytes, index.cast_signed()]).unwrap();
}

/// The first place of `from` becomes `to`.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
}

fn aside(data: &DataDir) -> std::path::PathBuf {
    data.path().join("state.snapshot.unfit")
}

#[tokio::test]
async fn a_start_from_a_snapshot_goes_on_where_the_log_ends_and_gives_the_same_bytes() {
    let (ca, words, opened) = with_snapshot().await;
    let later = signed(ANA, &Statement::Declare(ca.declare("ci-7.build.internal")));
    let second: Opened = ca.send(&later).await.json();
    let size = ca.size();
    let (dir, clock) = ca.into_dir();
    let data = DataDir::at(&dir.path().join("data"));
    let mode = fs::metadata(data.snapshot()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let reader = Reader::open(&data.log()).unwrap();
    let from = snapshot::read(&data.snapshot(), &reader).unwrap().unwrap();
    assert!(from.beginning.size < size, "some entries are not in it");
    assert!(latest(&reader, Some(&data.snapshot())).unwrap() == fold(&reader).unwrap().state);
    let ca = Installed::open(dir, clock, 10_000);
    for (words, first) in [(words, opened), (later, second)] {
        assert_eq!(ca.send(&words).await.json::<Opened>(), first);
    }
    assert_eq!(ca.size(), size, "a retry appends nothing");
    assert!(!aside(&ca.data()).exists() && ca.data().snapshot().exists(), "it was used");
}

/// The promise that a start from a snapshot must keep: what it did not read is not believed.
#[tokio::test]
async fn an_old_entry_that_was_edited_is_refused_and_never_signed() {
    for what in ["the certificate", "the decision"] {
        let (ca, words, opened) = with_snapshot().await;
        let is_one = |event: &Event| matches!(event, Event::EmergencyDeclared { .. });
        let declared = installed::forging::place(&installed::forging::entries(&ca), is_one) as u64;
        assert!(declared < 256 && ca.size() > 256, "it lies in a full tile");
        let (dir, clock) = ca.into_dir();
        let data = DataDir::at(&dir.path().join("data"));
        let certificate = declared + 1;
        match what {
            // A byte of the body in its base64.
            "the certificate" => edit(&data, certificate, |bytes| {
                let of_body = bytes.len() - 40;
                assert!(bytes.iter().position(|byte| *byte == b'\n').unwrap() < of_body);
                bytes[of_body] = if bytes[of_body] == b'A' { b'B' } else { b'A' };
            }),
            _ => edit(&data, declared, |bytes| replace(bytes, b"refuses writes", b"refuses wrists")),
        }
        let reader = Reader::open(&data.log()).unwrap();
        let refused = LogError::Corrupt("a tile is not that of its entries");
        assert_eq!(fold(&reader).unwrap_err(), FoldFailed::Log(refused), "a whole fold finds it");
        let ca = Installed::open(dir, clock, 10_000);
        assert!(ca.data().snapshot().exists(), "and this start did not look");
        let told = ca.send(&words).await;
        assert_eq!(told.status, 500, "{what}: {}", told.text());
        let text = told.text();
        assert!(!text.contains("-cert-v01"), "{what}: nothing is signed: {text}");
        assert!(!text.contains(opened.certificate.as_deref().unwrap()));
        // What rests on other entries goes on.
        assert_eq!(ca.incident("pd:G", 4, "open", "build").await.status, 200);
        let read_back = if what == "the certificate" { certificate } else { declared };
        let corrupt = LogError::Corrupt("an entry is not the one under its signed head");
        assert_eq!(ca.reader().entry(read_back).unwrap_err(), corrupt);
        assert_eq!(ca.reader().receipt(read_back).unwrap_err(), corrupt);
        assert_eq!(ca.reader().logged(read_back, |_| ()).unwrap_err(), corrupt);
    }
}

#[tokio::test]
async fn an_entry_after_the_snapshot_that_was_edited_stops_the_start() {
    let (ca, ..) = with_snapshot().await;
    fill(&ca, 5).await;
    let last = ca.size() - 3;
    let (dir, _) = ca.into_dir();
    let data = DataDir::at(&dir.path().join("data"));
    edit(&data, last, |bytes| replace(bytes, b"pd:F", b"pd:H"));
    let reader = Reader::open(&data.log()).unwrap();
    let failed = latest(&reader, Some(&data.snapshot())).unwrap_err();
    assert!(matches!(failed, FoldFailed::Log(LogError::Corrupt(_))), "{failed:?}");
}

#[tokio::test]
async fn whatever_is_not_this_logs_own_snapshot_is_set_aside_and_the_log_is_folded() {
    let (ca, ..) = with_snapshot().await;
    let other = Installed::new();
    fill(&other, 10).await;
    maker(&other.data()).make().unwrap();
    let theirs = fs::read(other.data().snapshot()).unwrap();
    drop(other);
    let (dir, _) = ca.into_dir();
    let data = DataDir::at(&dir.path().join("data"));
    let reader = Reader::open(&data.log()).unwrap();
    let whole = fold(&reader).unwrap();
    let good = fs::read(data.snapshot()).unwrap();
    let end = good.iter().position(|byte| *byte == 0).unwrap();
    let note = std::str::from_utf8(&good[..end]).unwrap().to_owned();
    let state = &good[end + 1..];
    let unsigned = Unfit::Note(NoteError::Unsigned.into());
    let bad_signature = Unfit::Note(NoteError::BadSignature.into());

    let load = |purpose| keys::load(&data.keys(), purpose).unwrap();
    let named = SnapshotNote::key_name(reader.origin());
    let signer = NoteSigner::new(&named, load(Purpose::Log)).unwrap();
    let of_krl = NoteSigner::new(&named, load(Purpose::Krl)).unwrap();
    let opened = SnapshotNote::open(&note, signer.key(), reader.origin()).unwrap();
    let with = |note: SnapshotNote, signer: &NoteSigner, state: &[u8]| {
        [note.sign(signer).unwrap().as_bytes(), &[0], state].concat()
    };
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let beyond = opened.size + 1;
    let surplus = [state, &[0]].concat();
    let cases: Vec<(&str, Vec<u8>, Unfit)> = vec![
        ("empty", Vec::new(), Unfit::Note(NoteError::Malformed.into())),
        ("no state", good[..end].to_vec(), Unfit::Note(NoteError::Malformed.into())),
        ("cut short", good[..good.len() - 1].to_vec(), Unfit::Damaged),
        ("a byte more", [good.as_slice(), b"x"].concat(), Unfit::Damaged),
        ("the first byte of the state", flipped(end + 1), Unfit::Damaged),
        ("the last byte of the state", flipped(good.len() - 1), Unfit::Damaged),
        ("another log's", theirs, unsigned.clone()),
        ("signed by another key", with(opened.clone(), &of_krl, state), unsigned),
        (
            "another size, unsigned",
            [note.replacen(&format!("\n{}\n", opened.size), "\n9\n", 1).as_bytes(), &[0], state].concat(),
            bad_signature,
        ),
        (
            "another version",
            with(
                SnapshotNote { shape: "state/999 fireaxe-ca/9.9.9".into(), ..opened.clone() },
                &signer,
                state,
            ),
            Unfit::Shape,
        ),
        (
            "of more entries than there are",
            with(SnapshotNote { size: beyond, ..opened.clone() }, &signer, state),
            Unfit::Beyond(beyond),
        ),
        ("of none", with(SnapshotNote { size: 0, ..opened.clone() }, &signer, state), Unfit::Beyond(0)),
        (
            "of another tree",
            with(SnapshotNote { root: Hash([9; 32]), ..opened.clone() }, &signer, state),
            Unfit::OtherTree,
        ),
        (
            "of another size than its state",
            with(
                SnapshotNote { size: 7, root: reader.root_at(7).unwrap(), ..opened.clone() },
                &signer,
                state,
            ),
            Unfit::OtherState,
        ),
        (
            "signed, and more than a state",
            with(SnapshotNote { state: Hash::of(&surplus), ..opened.clone() }, &signer, &surplus),
            Unfit::State(fireaxe_ca::state::Unreadable::Surplus(1)),
        ),
    ];
    for (what, bytes, why) in cases {
        fs::write(data.snapshot(), &bytes).unwrap();
        assert_eq!(snapshot::read(&data.snapshot(), &reader).unwrap_err(), why, "{what}");
        assert!(latest(&reader, Some(&data.snapshot())).unwrap() == whole.state, "{what}");
        assert!(!data.snapshot().exists(), "{what}: it is out of the way");
        assert_eq!(fs::read(aside(&data)).unwrap(), bytes, "{what}: and kept");
    }
    // Each byte of the note: none may be another.
    for at in 0..end {
        fs::write(data.snapshot(), flipped(at)).unwrap();
        let read = snapshot::read(&data.snapshot(), &reader);
        assert!(matches!(read, Err(Unfit::Note(_))), "byte {at}: {read:?}");
    }
    fs::remove_file(data.snapshot()).unwrap();
    fs::create_dir(data.snapshot()).unwrap();
    assert!(matches!(snapshot::read(&data.snapshot(), &reader), Err(Unfit::File(_))));
    assert!(latest(&reader, Some(&data.snapshot())).unwrap() == whole.state);
    assert!(latest(&reader, None).unwrap() == whole.state, "and none is needed");
}

#[tokio::test]
async fn an_older_snapshot_put_back_comes_to_the_same_and_half_a_new_one_is_nothing() {
    let (ca, ..) = with_snapshot().await;
    let older = fs::read(ca.data().snapshot()).unwrap();
    fill(&ca, 20).await;
    // What a crash while one is written leaves beside it.
    fs::write(ca.data().path().join("state.snapshot.new"), b"half of o").unwrap();
    let made = maker(&ca.data()).make().unwrap();
    assert_eq!((made.entries, made.whole, made.was_wrong), (ca.size(), false, false));
    assert!(!ca.data().path().join("state.snapshot.new").exists());
    let again = maker(&ca.data()).make().unwrap();
    assert_eq!(again.bytes, None, "nothing came since");
    fs::write(ca.data().snapshot(), older).unwrap();
    installed::snapshots::starts_alike(&ca.data());
    assert!(!aside(&ca.data()).exists());
}

/// Whoever has the log's key and can write the file makes a state that never was. A start believes it; the next
/// reading of the whole log does not.
#[tokio::test]
async fn a_signed_state_that_the_log_does_not_come_to_is_found_when_the_whole_log_is_read() {
    let (ca, ..) = with_snapshot().await;
    ca.incident("pd:TRUE", 1, "open", "payments-db").await;
    let forked = tempfile::tempdir().unwrap();
    copy(ca.data().path(), &forked.path().join("data"));
    // Another past of the same length, by the same keys, on a file that was not known before: a copy is fenced.
    fs::remove_file(forked.path().join("data/log.home")).unwrap();
    let fork = Installed::open(forked, ca.clock.clone(), 50_000);
    ca.incident("pd:NEXT", 4, "open", "build").await;
    fork.incident("pd:FALSE", 1, "open", "payments-db").await;
    assert_eq!(ca.size(), fork.size());
    let never = fold(&fork.reader()).unwrap().state;
    let real = fold(&ca.reader()).unwrap();
    let maker = maker(&ca.data());
    let forged = Snapshot { state: never, beginning: real.beginning, whole_at: 0 };
    snapshot::write(&ca.data().snapshot(), &forged, &maker.signer).unwrap();
    let believed = latest(&ca.reader(), Some(&ca.data().snapshot())).unwrap();
    assert!(believed != real.state, "the key is what says whose it is");
    let made = maker.make().unwrap();
    assert_eq!((made.whole, made.was_wrong), (true, true));
    installed::snapshots::starts_alike(&ca.data());
    let made = maker.make().unwrap();
    assert_eq!((made.whole, made.was_wrong), (false, false), "and the next one is right");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
