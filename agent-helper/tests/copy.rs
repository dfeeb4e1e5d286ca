//! An auditor's copy: what is kept is what the log's signed head proves, a fetch that broke off goes on, and another
//! past is refused with both notes kept.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its helpers too")]

mod world;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fireaxe_protocol::api::{RecordingLine, RecordingState, Recordings};
use fireaxe_protocol::log::tiles::{TileKind, TilePath};
use fireaxe_protocol::recording::{Ended, Event, Header, SessionKind, Stream, Writer};
use fireaxe_protocol::statement::Nonce;
use serde_json::{Value, json};
use world::ca::{FakeCa, bytes};
use world::log::{Entries, Shown, serve};
use world::waiting::home;
use world::{Home, err, out};

fn fetch(home: &Home, dir: &Path) -> (Option<i32>, String) {
    let done = home.run(&["log", "fetch", dir.to_str().unwrap()]);
    (done.status.code(), err(&done))
}

/// Every file below, by its path.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        assert_eq!(
            fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
            0o700,
            "{}",
            folder.display()
        );
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600,
                "{}",
                path.display()
            );
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found.remove(".lock");
    found
}

/// What a copy of this head has in it: the specification's tiles, and nothing else.
fn expected(log: &Entries, size: u64) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::from([("checkpoint".to_owned(), log.note(size).into_bytes())]);
    for (kind, level) in (0..8u8).map(|l| (TileKind::Hashes(l), l)).chain([(TileKind::Entries, 0)]) {
        let many = size >> (8 * u32::from(level));
        for index in 0..many.div_ceil(256) {
            let width = u16::try_from((many - index * 256).min(256)).unwrap();
            let path = TilePath { kind, index, width };
            all.insert(path.to_string(), log.tile(&path));
        }
    }
    all
}

#[test]
fn a_copy_is_the_specifications_tiles_and_grows_by_what_is_missing() {
    let log = Entries::new(0..1400);
    let shown = Shown::of(log.clone(), 700);
    let ca = serve(&shown);
    let home = home(&ca);
    let dir = home.dir.path().join("copy");
    for (size, tiles) in [(700, 7), (700, 0), (1024, 5), (1300, 5)] {
        shown.lock().unwrap().size = size;
        let done = home.run(&["--json", "log", "fetch", dir.to_str().unwrap()]);
        assert!(done.status.success(), "{size}: {}", err(&done));
        assert_eq!(files(&dir), expected(&log, size), "{size}");
        let told: Value = serde_json::from_str(&out(&done)).unwrap();
        assert_eq!((&told["schema"], &told["entries"]), (&json!("fireaxe.log-fetched/v1"), &json!(size)));
        assert_eq!(told["tiles"], json!(tiles), "{size}: {told}");
    }
    // What somebody took away comes back.
    fs::remove_file(dir.join("tile/entries/001")).unwrap();
    assert_eq!(fetch(&home, &dir).0, Some(0));
    assert_eq!(files(&dir), expected(&log, 1300));
}

#[test]
fn whatever_is_tampered_with_on_the_way_is_refused_with_its_place_and_not_kept() {
    let log = Entries::new(0..700);
    let shown = Shown::of(log.clone(), 700);
    let ca = serve(&shown);
    let home = home(&ca);
    fn flipped(mut bytes: Vec<u8>) -> Vec<u8> {
        let at = bytes.len() - 1;
        bytes[at] ^= 1;
        bytes
    }
    type Lie = fn(&TilePath, Vec<u8>) -> Option<Vec<u8>>;
    let lies: [(&str, Lie); 7] = [
        ("tile/entries/001 ", |tile, bytes| {
            Some(if tile.to_string() == "tile/entries/001" { flipped(bytes) } else { bytes })
        }),
        ("tile/entries/002.p/188", |tile, bytes| {
            Some(if tile.to_string() == "tile/entries/002.p/188" { flipped(bytes) } else { bytes })
        }),
        ("tile/0/000", |tile, bytes| {
            Some(if tile.to_string() == "tile/0/000" { flipped(bytes) } else { bytes })
        }),
        ("right edge", |tile, bytes| {
            Some(if tile.to_string() == "tile/0/002.p/188" { flipped(bytes) } else { bytes })
        }),
        ("right edge", |tile, bytes| {
            Some(if tile.to_string() == "tile/1/000.p/2" { flipped(bytes) } else { bytes })
        }),
        // Cut, and empty.
        ("tile/entries/000", |tile, bytes| {
            Some(if tile.to_string() == "tile/entries/000" {
                bytes[..bytes.len() - 3].to_vec()
            } else {
                bytes
            })
        }),
        ("tile/0/001", |tile, bytes| Some(if tile.to_string() == "tile/0/001" { Vec::new() } else { bytes })),
    ];
    for (n, (place, lie)) in lies.into_iter().enumerate() {
        shown.lock().unwrap().lie = lie;
        let dir = home.dir.path().join(format!("copy-{n}"));
        let (code, said) = fetch(&home, &dir);
        assert_eq!(code, Some(1), "{place}: {said}");
        assert!(
            said.contains(place) && said.contains("copy.refused") || said.contains(place),
            "{place}: {said}"
        );
        let (kept, right) = (files(&dir), expected(&log, 700));
        for (name, bytes) in kept.iter().filter(|(name, _)| !name.starts_with('.')) {
            assert_eq!(right.get(name), Some(bytes), "{place}: {name} was kept");
        }
        assert!(!kept.contains_key("checkpoint"), "{place}: the head was taken");
        // Once nobody tampers any more, it goes on.
        shown.lock().unwrap().lie = |_, bytes| Some(bytes);
        assert_eq!(fetch(&home, &dir).0, Some(0), "{place}");
        assert_eq!(files(&dir), right, "{place}");
    }
}

#[test]
fn a_fetch_that_broke_off_goes_on_where_it_was() {
    let log = Entries::new(0..900);
    let shown = Shown::of(log.clone(), 800);
    // The connection is cut at the third bundle.
    shown.lock().unwrap().lie =
        |tile, bytes| (tile.kind != TileKind::Entries || tile.index < 2).then_some(bytes);
    let ca = serve(&shown);
    let home = home(&ca);
    let dir = home.dir.path().join("copy");
    let (code, said) = fetch(&home, &dir);
    assert_eq!(code, Some(69), "{said}");
    assert!(dir.join("tile/entries/001").exists() && !dir.join("checkpoint").exists());
    shown.lock().unwrap().lie = |_, bytes| Some(bytes);
    shown.lock().unwrap().size = 850;
    let before = ca.seen.lock().unwrap().len();
    assert_eq!(fetch(&home, &dir).0, Some(0));
    assert_eq!(files(&dir), expected(&log, 850));
    let asked: Vec<String> = ca.seen.lock().unwrap()[before..].iter().map(|r| r.line.clone()).collect();
    for had in ["tile/entries/000", "tile/entries/001", "tile/0/000", "tile/0/002"] {
        assert!(!asked.iter().any(|line| line.ends_with(had)), "{had} was asked for again");
    }
}

#[test]
fn another_past_is_refused_both_notes_are_kept_and_the_copy_stays() {
    let log = Entries::new(0..900);
    let fork = Entries::new((0..600).chain(5000..5400));
    let shown = Shown::of(log.clone(), 700);
    let ca = serve(&shown);
    let home = home(&ca);
    let dir = home.dir.path().join("copy");
    assert_eq!(fetch(&home, &dir).0, Some(0));
    for size in [900, 700, 650] {
        *shown.lock().unwrap() = Shown::of(fork.clone(), size).lock().unwrap().clone();
        let (code, said) = fetch(&home, &dir);
        assert_eq!(code, Some(1), "{size}: {said}");
        assert!(said.contains("does not fit") && said.contains("evidence"), "{size}: {said}");
        let mut kept = files(&dir);
        kept.retain(|name, _| !name.starts_with("evidence/"));
        assert_eq!(kept.get("checkpoint"), Some(&log.note(700).into_bytes()));
        let (seen, theirs) = (log.note(700), fork.note(size));
        let all: Vec<String> = fs::read_dir(dir.join("evidence"))
            .unwrap()
            .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
            .collect();
        assert!(all.contains(&seen) && all.contains(&theirs), "{size}");
    }
    // Before the fork: the CA was put back. Nothing is taken back here.
    shown.lock().unwrap().size = 600;
    let (code, said) = fetch(&home, &dir);
    assert!(code == Some(1) && said.contains("was put back"), "{said}");
    *shown.lock().unwrap() = Shown::of(log.clone(), 900).lock().unwrap().clone();
    assert_eq!(fetch(&home, &dir).0, Some(0), "the log itself goes on");
    let mut kept = files(&dir);
    kept.retain(|name, _| !name.starts_with("evidence/"));
    assert_eq!(kept, expected(&log, 900));
}

#[test]
fn a_folder_of_another_log_and_one_in_use_are_left_alone() {
    let log = Entries::new(0..10);
    let shown = Shown::of(log, 10);
    let ca = serve(&shown);
    let home = home(&ca);
    let dir = home.dir.path().join("copy");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("checkpoint"), "another/0123456789abcdef\n3\nx\n").unwrap();
    let (code, said) = fetch(&home, &dir);
    assert!(code == Some(1) && said.contains("another folder"), "{said}");
    let lock = fs::File::options().write(true).open(dir.join(".lock")).unwrap();
    lock.lock().unwrap();
    let (code, said) = fetch(&home, &dir);
    assert!(code == Some(1) && said.contains("another fetch is at work"), "{said}");
}

const HOST: &str = "db-3.payments.prod";
const NAME: Nonce = Nonce([5; 16]);

/// Four chunks, and the line that a list has of it.
fn recording() -> (Vec<Vec<u8>>, RecordingLine) {
    let (mut writer, first) = Writer::begin(Header {
        sealed: Vec::new(),
        v: 1,
        recording: NAME,
        connection: Nonce([1; 16]),
        serial: 7,
        host: HOST.parse().unwrap(),
        account: "ops".parse().unwrap(),
        from: None,
        began_us: 0,
        kind: SessionKind::Shell,
        command: None,
        asked: None,
        terminal: None,
    });
    let event = |offset_us| Event { offset_us, stream: Stream::Output, bytes: vec![b'x'; 9000] };
    let (second, third) = (writer.data(vec![event(1)]), writer.data(vec![event(2)]));
    let (last, reported) = writer.end(Ended::Exited(0), 3);
    let chunks = vec![first, second, third, last];
    let line = RecordingLine {
        host: HOST.parse().unwrap(),
        recording: NAME,
        state: RecordingState::Reported,
        emergency: None,
        bytes: chunks.concat().len() as u64,
        reported: Some(reported),
    };
    (chunks, line)
}

/// A CA that has these bytes of it, and this list.
fn keeps(stored: Vec<u8>, line: RecordingLine) -> FakeCa {
    FakeCa::start(move |request, _| {
        let asked = format!("GET /v1/recordings/{HOST}/{NAME}?from=");
        if let Some(from) = request.line.strip_prefix(&asked) {
            return bytes(&stored[from.parse::<usize>().unwrap()..]);
        }
        let list =
            Recordings { schema: "fireaxe.recordings/v1".into(), recordings: vec![line.clone()], next: None };
        match request.line.as_str() {
            "POST /v1/sessions" => {
                Some((200, json!({"schema": "fireaxe.session/v1", "person": "ana", "until": u64::MAX})))
            }
            "GET /v1/recordings" | "GET /v1/recordings?emergency=EM-42" => {
                Some((200, serde_json::to_value(list).unwrap()))
            }
            other => panic!("{other}"),
        }
    })
}

#[test]
fn a_recording_is_fetched_once_gone_on_with_and_held_against_what_its_host_signed() {
    let (chunks, line) = recording();
    let whole = chunks.concat();
    let ca = keeps(whole.clone(), line.clone());
    let home = home(&ca);
    let dir = home.dir.path().join("copy");
    let fetch = |words: &[&str]| {
        let done = home.run(&[&["rec", "fetch"], words, &[dir.to_str().unwrap()]].concat());
        (done.status.code(), err(&done))
    };
    let file = dir.join("recordings").join(HOST).join(NAME.to_string());
    assert_eq!(fetch(&[]).0, Some(0));
    assert_eq!(fs::read(&file).unwrap(), whole);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let asked = |from: usize| ca.requests(&format!("GET /v1/recordings/{HOST}/{NAME}?from={from}")).len();
    assert_eq!(fetch(&[HOST]).0, Some(0));
    assert_eq!(asked(0), 1, "what is here is not asked for again");
    // It broke off within the third chunk: from there on.
    let two = chunks[0].len() + chunks[1].len();
    fs::write(&file, &whole[..two + 100]).unwrap();
    assert_eq!(fetch(&["EM-42"]).0, Some(0), "of another emergency");
    assert_eq!(asked(two), 0);
    assert_eq!(fetch(&[]).0, Some(0));
    assert_eq!((fs::read(&file).unwrap(), asked(two)), (whole.clone(), 1));
    // Changed here, whole: all of it again.
    let mut changed = whole.clone();
    changed[two - 1] ^= 1;
    fs::write(&file, &changed).unwrap();
    assert_eq!(fetch(&[]).0, Some(0));
    assert_eq!(fs::read(&file).unwrap(), whole);
}

#[test]
fn a_recording_that_is_not_what_its_host_signed_is_said() {
    let (chunks, line) = recording();
    let whole = chunks.concat();
    let mut changed = whole.clone();
    changed[chunks[0].len() + 60] ^= 1;
    let mut newest = line.clone();
    newest.reported.as_mut().unwrap().head = fireaxe_protocol::log::Hash([1; 32]);
    let cut = whole[..whole.len() - chunks[3].len()].to_vec();
    for (stored, line, why) in [
        (changed, line.clone(), "does not continue"),
        (whole, newest, "is not what the host reported"),
        (cut, line, "1 of its 4 chunks are missing"),
    ] {
        let line = RecordingLine { bytes: stored.len() as u64, ..line };
        let ca = keeps(stored, line);
        let home = home(&ca);
        let dir = home.dir.path().join("copy");
        let done = home.run(&["rec", "fetch", dir.to_str().unwrap()]);
        assert!(done.status.code() == Some(1) && err(&done).contains(why), "{why}: {}", err(&done));
    }
}

#[test]
fn a_client_remembers_the_newest_head_and_says_a_fork_aloud() {
    let log = Entries::new(0..40);
    let shown = Shown::of(log.clone(), 20);
    let ca = serve(&shown);
    let home = home(&ca);
    let doctor = || {
        let told: Value = serde_json::from_str(&out(&home.run(&["--json", "doctor"]))).unwrap();
        let checks = told["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|check| check["check"] == "log").unwrap()
    };
    assert_eq!(doctor()["verdict"], "ok");
    shown.lock().unwrap().size = 30;
    let found = doctor();
    assert!(found["found"].as_str().unwrap().contains("30 entries"), "{found}");
    let fork = Entries::new((0..10).chain(100..140));
    *shown.lock().unwrap() = Shown::of(fork.clone(), 35).lock().unwrap().clone();
    let found = doctor();
    assert_eq!(found["verdict"], "fail", "{found}");
    *shown.lock().unwrap() = Shown::of(log, 40).lock().unwrap().clone();
    let found = doctor();
    assert!(found["verdict"] == "fail" && found["found"].as_str().unwrap().contains("evidence"), "{found}");
}
