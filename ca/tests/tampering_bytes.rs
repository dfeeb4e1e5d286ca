//! Corruption as it falls: 1,000 times something in the database's file or its write-ahead log, 500 times
//! something in a copy of tiles, each from a seed that is printed.
//!
//! *Undetected* is a corrupted log that `verify`, with a head that was known before, calls good, and whose
//! entries are not byte for byte those that they were. None may be; none may panic, and none may take longer
//! than a minute, which is ten thousand times what it should.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

mod installed;
mod tampered;

use std::io::Cursor;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use fireaxe_ca::verify::Beforehand;
use fireaxe_ca::verify::source::{Folder, Source, SourceError, TilesLog, Zipped};
use tampered::dice::Dice;
use tampered::{entries_in, everything, found_by, found_in};

const SEED: u64 = 20_261_128;

/// What came of one corruption: what was found, and the entries as they can be read.
type Outcome = (Vec<(u64, String)>, Vec<Vec<u8>>);

/// Waits for it, but not for ever. A panic is one.
fn in_time(what: &str, run: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    let (sent, came) = channel();
    std::thread::spawn(move || sent.send(run()));
    came.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("it hung, or panicked: {what}"))
}

#[track_caller]
fn is_detected(what: &str, (found, entries): &Outcome, original: &[Vec<u8>]) -> bool {
    let failed = found.iter().find(|(_, what)| what.contains("fireaxe-ca itself failed"));
    assert_eq!(failed, None, "{what}");
    let differs = original.iter().zip(entries).position(|(one, other)| one != other);
    let (was, is) = (original.len(), entries.len());
    assert!(
        !found.is_empty() || entries == original,
        "undetected: {what}: {was} entries were there, {is} are, and differ at {differs:?}"
    );
    !found.is_empty()
}

/// Spoils bytes in one of the ways in which files are spoiled, and says which.
fn spoil(dice: &mut Dice, files: &mut [(String, Vec<u8>)]) -> String {
    let which = dice.below(files.len());
    let (name, file) = &mut files[which];
    if file.is_empty() {
        return format!("{name} is empty");
    }
    let (at, length, page) = (dice.below(file.len()), file.len(), 4096);
    let pages = length / page;
    match dice.below(9) {
        0 => {
            file[at] ^= 1 << dice.below(8);
            format!("a bit of byte {at} of {name}")
        }
        1 => {
            let many = 1 + dice.below(16);
            for byte in file.iter_mut().skip(at).take(many) {
                *byte = dice.next() as u8;
            }
            format!("{many} bytes from {at} of {name}")
        }
        2 => {
            file.truncate(at);
            format!("{name} ends at {at}")
        }
        3 if pages > 1 => {
            let (one, other) = (dice.below(pages), dice.below(pages));
            for n in 0..page {
                file.swap(one * page + n, other * page + n);
            }
            format!("pages {one} and {other} of {name} change places")
        }
        4 if pages > 0 => {
            let zero = dice.below(pages);
            file[zero * page..(zero + 1) * page].fill(0);
            format!("page {zero} of {name} is empty")
        }
        5 if pages > 1 => {
            let (from, to) = (dice.below(pages), dice.below(pages));
            file.copy_within(from * page..(from + 1) * page, to * page);
            format!("page {from} of {name} stands at {to} too")
        }
        6 => {
            // Where the file says how it is built: its header and those of its pages.
            let at = (dice.below(pages.max(1)) * page + dice.below(108)).min(length - 1);
            file[at] = dice.next() as u8;
            format!("byte {at} of {name}, in a header")
        }
        7 => {
            let many = 1 + dice.below(64);
            file.drain(at..length.min(at + many));
            format!("{many} bytes from {at} of {name} are gone")
        }
        _ => {
            let more: Vec<u8> = (0..1 + dice.below(64)).map(|_| dice.next() as u8).collect();
            file.splice(at..at, more.iter().copied());
            format!("{} bytes come in at {at} of {name}", more.len())
        }
    }
}

fn put(folder: &Path, files: &[(String, Vec<u8>)]) {
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

#[tokio::test]
async fn of_a_thousand_corruptions_of_the_database_none_is_undetected_and_none_crashes() {
    let ca = everything().await;
    // A head that is known, and entries in both files: in the database proper, and in its write-ahead log.
    let log = ca.data().log();
    rusqlite::Connection::open(&log)
        .unwrap()
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    for n in 0..4 {
        ca.incident(&format!("pd:WAL-{n}"), 1, "open", "vault").await;
    }
    let original = entries_in(&log);
    let before = Beforehand { key: None, since: Some(ca.reader().latest_checkpoint().unwrap()) };
    let wal = log.with_file_name("log.sqlite-wal");
    let files: Vec<(String, Vec<u8>)> = [&log, &wal]
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap()))
        .to_vec();
    assert!(files[1].1.len() > 4096 && original.len() as u64 == ca.size());
    eprintln!("seed {SEED}, {} and {} bytes", files[0].1.len(), files[1].1.len());
    let (mut dice, mut detected) = (Dice(SEED), 0);
    let rounds = 1000;
    for round in 0..rounds {
        let mut spoiled = files.clone();
        let what = format!("seed {SEED}, round {round}: {}", spoil(&mut dice, &mut spoiled));
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), &spoiled);
        let (path, before) = (folder.path().join("log.sqlite"), before.clone());
        let outcome = in_time(&what, move || (found_in(&path, &before), entries_in(&path)));
        detected += u32::from(is_detected(&what, &outcome, &original));
    }
    eprintln!("{detected} of {rounds} corruptions changed something and were found");
    assert!(detected > rounds / 2, "most corruptions change something");
}

fn outcome<P: fireaxe_ca::verify::source::Place>(
    opened: Result<TilesLog<P>, SourceError>,
    before: &Beforehand,
) -> Outcome {
    let mut source = match opened {
        Ok(source) => source,
        Err(error) => return (vec![(error.entry, error.what)], Vec::new()),
    };
    let found = found_by(&mut source, before);
    let mut entries = Vec::new();
    while let Ok(more) = source.entries(entries.len() as u64)
        && !more.is_empty()
    {
        entries.extend(more);
    }
    (found, entries)
}

#[tokio::test]
async fn of_five_hundred_corruptions_of_a_copy_of_tiles_none_is_undetected_and_none_crashes() {
    let ca = everything().await;
    let original = entries_in(&ca.data().log());
    let before = Beforehand { key: None, since: Some(ca.reader().latest_checkpoint().unwrap()) };
    let files = tampered::tiles::files(&ca.reader());
    let zip = tampered::tiles::zipped(&files);
    let honest = outcome(TilesLog::open(Zipped::read(Cursor::new(zip.clone())).unwrap()), &before);
    assert_eq!(honest, (Vec::new(), original.clone()));
    eprintln!("seed {SEED}");
    let (mut dice, mut detected) = (Dice(SEED), 0);
    for round in 0..500 {
        let said = |what: String| format!("seed {SEED}, round {round}: {what}");
        let before = before.clone();
        let (what, outcome) = if round % 2 == 0 {
            let mut spoiled = files.clone();
            let what = said(match dice.below(8) {
                0 => {
                    let (one, other) = (dice.below(files.len()), dice.below(files.len()));
                    spoiled[one].1 = files[other].1.clone();
                    format!("{} is what {} is", files[one].0, files[other].0)
                }
                1 => format!("there is no {}", spoiled.remove(dice.below(files.len())).0),
                _ => spoil(&mut dice, &mut spoiled),
            });
            let folder = tempfile::tempdir().unwrap();
            tampered::tiles::write(folder.path(), &spoiled);
            let run = move || outcome(TilesLog::open(Folder::at(folder.path())), &before);
            let outcome = in_time(&what, run);
            (what, outcome)
        } else {
            let mut spoiled = [("the zip".to_owned(), zip.clone())];
            let what = said(spoil(&mut dice, &mut spoiled));
            let [(_, bytes)] = spoiled;
            let outcome = in_time(&what, move || match Zipped::read(Cursor::new(bytes)) {
                Ok(zipped) => outcome(TilesLog::open(zipped), &before),
                Err(what) => (vec![(0, what)], Vec::new()),
            });
            (what, outcome)
        };
        detected += u32::from(is_detected(&what, &outcome, &original));
    }
    eprintln!("{detected} of 500 corruptions changed something and were found");
    assert!(detected > 250, "most corruptions change something");
}
