//! A copy of the log as tiles: a folder, a zip, and zips that somebody made to do harm.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;
mod tampered;

use std::io::{Cursor, Write};
use std::process::Command;

use fireaxe_ca::verify::Beforehand;
use fireaxe_ca::verify::source::{Folder, SourceError, TilesLog, Zipped};
use fireaxe_protocol::limits::{ENTRY, ZIP_FILES};
use fireaxe_protocol::log::Event;
use tampered::tiles::{files, write, zipped};
use tampered::{everything, finds, found_by};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

type Files = Vec<(String, Vec<u8>)>;

fn folder(files: &[(String, Vec<u8>)]) -> (tempfile::TempDir, Result<TilesLog<Folder>, SourceError>) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), files);
    let opened = TilesLog::open(Folder::at(folder.path()));
    (folder, opened)
}

fn found(files: &[(String, Vec<u8>)]) -> Vec<(u64, String)> {
    let (_folder, opened) = folder(files);
    found_by(&mut opened.unwrap(), &Beforehand::default())
}

#[tokio::test]
async fn a_folder_and_a_zip_of_it_say_what_the_database_says() {
    let ca = everything().await;
    while ca.size() < 520 {
        ca.incident("pd:MORE", 1, "open", "vault").await;
    }
    let files = files(&ca.reader());
    assert_eq!(found(&files), []);
    let within: Files = files.iter().map(|(name, bytes)| (format!("copy/{name}"), bytes.clone())).collect();
    for files in [&files, &within] {
        let zipped = Zipped::read(Cursor::new(zipped(files))).unwrap();
        assert_eq!(found_by(&mut TilesLog::open(zipped).unwrap(), &Beforehand::default()), []);
    }
    // Without hash tiles: they are made of the entries. With a longer bundle than the head needs: one that went on.
    let mut bare = files.clone();
    bare.retain(|(name, _)| !name.starts_with("tile/0") && !name.starts_with("tile/1"));
    assert_eq!(found(&bare), []);
    let changed = |of: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut files = files.clone();
        files.iter_mut().filter(|(name, _)| name == of).for_each(|(_, bytes)| change(bytes));
        found(&files)
    };
    finds(&changed("tile/0/001", &|tile| tile[9] ^= 1), 256, "tile/0/001 is not that of its entries");
    finds(&changed("tile/entries/001", &|bundle| bundle.truncate(5)), 256, "not a tile's bytes");
    let last = format!("tile/entries/002.p/{}", ca.size() - 512);
    finds(&changed(&last, &|bundle| bundle.truncate(0)), 512, "not a tile's bytes");
    let mut without = files.clone();
    without.retain(|(name, _)| *name != last);
    finds(&found(&without), 512, &format!("there is no file {last}"));
    finds(&changed("checkpoint", &|note| note[3] ^= 1), ca.size(), "is not signed by the log's key");
    assert!(folder(&[]).1.is_err());
    assert!(folder(&[("checkpoint".into(), vec![b'x'; 9000])]).1.is_err());
}

#[tokio::test]
async fn the_command_reads_copies_and_says_what_only_the_database_shows() {
    let ca = everything().await;
    let files = files(&ca.reader());
    let (place, _) = folder(&files);
    let zip = place.path().join("copy.zip");
    std::fs::write(&zip, zipped(&files)).unwrap();
    let since = place.path().join("checkpoint");
    let run = |args: &[&std::ffi::OsStr]| {
        Command::new(env!("CARGO_BIN_EXE_fireaxe-ca")).arg("log").args(args).output().unwrap()
    };
    let data = ca.data().path().to_owned();
    let key = ca.reader().key().to_string();
    let of = |verb: &str, from: &str, path: &std::path::Path, more: &[&str]| {
        let mut args: Vec<std::ffi::OsString> = vec![verb.into(), from.into(), path.into()];
        args.extend(more.iter().map(|arg| (*arg).into()));
        let told = run(&args.iter().map(|arg| arg.as_os_str()).collect::<Vec<_>>());
        (
            told.status.code().unwrap(),
            String::from_utf8(told.stdout).unwrap(),
            String::from_utf8(told.stderr).unwrap(),
        )
    };
    for (from, path, whole) in
        [("--data", data.as_path(), true), ("--tiles", place.path(), false), ("--tiles", &zip, false)]
    {
        let (code, _, told) = of("verify", from, path, &["--key", &key, "--since", since.to_str().unwrap()]);
        assert_eq!(code, 0, "{told}");
        assert!(
            told.contains("the log holds together") && told.contains("signed by the key you gave"),
            "{told}"
        );
        assert_eq!(told.contains("the newest head alone"), !whole, "{told}");
        let (code, _, told) = of("verify", from, path, &[]);
        assert!(code == 0 && told.contains(&format!("compare it with yours: {key}")), "{told}");
        let (code, json, _) = of("verify", from, path, &["--json"]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((code, &json["ok"], &json["all_heads"]), (0, &true.into(), &whole.into()));
        assert_eq!(json["kinds"]["approval.given"], 1);
        let (code, _, told) = of("replay", from, path, &["EM-1"]);
        assert!(code == 0 && told.contains("each the same again") && told.contains("because:"), "{told}");
        let (code, _, told) = of("replay", from, path, &["EM-77"]);
        assert!(code == 1 && told.contains("there is no EM-77"), "{told}");
    }
    let other = key.replacen("ca.", "cb.", 1);
    let other = if other == key { format!("x{key}") } else { other };
    assert_eq!(of("verify", "--data", &data, &["--key", &other]).0, 2, "its id is that of another name");
    let (code, _, told) = of("verify", "--tiles", &place.path().join("nowhere"), &[]);
    assert!(code == 1 && told.contains("next: "), "{told}");
    let bare = Command::new(env!("CARGO_BIN_EXE_fireaxe-ca"))
        .args(["log", "verify"])
        .env_remove("FIREAXE_CA_DATA")
        .output();
    assert_eq!(bare.unwrap().status.code(), Some(2));
}

/// A log that says things to a terminal: nothing of it gets there.
#[tokio::test]
async fn what_a_hostile_log_says_does_not_reach_the_terminal() {
    let ca = everything().await;
    let mut files = files(&ca.reader());
    let hostile = "\u{1b}[2J\u{1b}]52;c;QQ==\u{7}\u{9b}31m\u{202e}";
    for (name, bytes) in &mut files {
        if name.starts_with("tile/entries") {
            let entries = fireaxe_protocol::log::tiles::decode_bundle(bytes).unwrap();
            let mut entries: Vec<Vec<u8>> = entries.iter().map(|entry| entry.to_vec()).collect();
            let last = entries.len() - 1;
            let event = Event::CertificateAbandoned { serial: 1, why: hostile.into() };
            entries[last] = fireaxe_protocol::log::encode_entry(last as u64, 1, &event, None).unwrap();
            let text = String::from_utf8(entries[last - 1].clone()).unwrap();
            entries[last - 1] =
                text.replacen("\"kind\":\"", &format!("\"kind\":\"{hostile}"), 1).into_bytes();
            *bytes = fireaxe_protocol::log::tiles::encode_bundle(&entries).unwrap();
        }
    }
    let (place, _) = folder(&files);
    for (verb, json) in [("verify", false), ("verify", true), ("replay", false), ("replay", true)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fireaxe-ca"));
        command.args(["log", verb, "--tiles"]).arg(place.path());
        if json {
            command.arg("--json");
        }
        let told = command.output().unwrap();
        assert_eq!(told.status.code(), Some(1));
        for text in [told.stdout, told.stderr] {
            assert!(
                text.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')),
                "{}",
                String::from_utf8_lossy(&text)
            );
        }
    }
}

fn refused(zip: Vec<u8>) -> String {
    match Zipped::read(Cursor::new(zip)) {
        Err(what) => what,
        Ok(zipped) => TilesLog::open(zipped).err().map(|error| error.what).unwrap_or_default(),
    }
}

fn zip_of(names: &[&str]) -> Vec<u8> {
    zipped(&names.iter().map(|name| ((*name).to_owned(), b"x".to_vec())).collect::<Files>())
}

#[test]
fn zips_that_were_made_to_do_harm_are_refused_by_name() {
    for name in [
        "../checkpoint",
        "/etc/passwd",
        "a/../../b",
        "tile\\0",
        "C:x",
        "./x",
        "a//b",
        "a\u{202e}b",
        "x\u{1b}[2J",
    ] {
        let what = refused(zip_of(&["checkpoint", name]));
        assert!(what.contains("no tile is called") || what.contains("file 1"), "{name}: {what}");
        assert!(what.chars().all(|c| c.is_ascii_graphic() || c == ' ' || c == '…'), "{what}");
    }
    assert!(refused(zip_of(&["tile/0/000"])).contains("no file checkpoint"));
    assert!(refused(zip_of(&["a/checkpoint", "b/checkpoint"])).contains("more than one"));
    assert!(refused(vec![]).contains("no zip"));
    // One name twice: made different of what a writer would refuse.
    let mut twice = zip_of(&["checkpoint", "checkpoinz"]);
    while let Some(at) = twice.windows(10).position(|bytes| bytes == b"checkpoinz") {
        twice[at + 9] = b't';
    }
    assert!(refused(twice).contains("one name"));
    // A bomb: a bundle of zeroes, a thousand times longer than what it is packed in.
    let bomb =
        zipped(&[("checkpoint".into(), b"x".to_vec()), ("tile/entries/000".into(), vec![0; 200 * ENTRY])]);
    assert!(refused(bomb).contains("is packed"), "a bomb");
    // The same, saying that it is short.
    let mut lying = zipped(&[("checkpoint".into(), vec![b'x'; 4_000_000])]);
    let length = 4_000_000u32.to_le_bytes();
    while let Some(at) = lying.windows(4).position(|bytes| bytes == length) {
        lying[at..at + 4].copy_from_slice(&100u32.to_le_bytes());
    }
    assert!(!refused(lying).is_empty());
    // A list of files that says it is longer than it may be.
    let mut long = zip_of(&["checkpoint"]);
    let end = long.windows(4).rposition(|bytes| bytes == b"PK\x05\x06").unwrap();
    long[end + 12..end + 16].copy_from_slice(&(64u32 << 20).to_le_bytes());
    assert!(refused(long).contains("the list of its files"));
    let mut many = zip_of(&["checkpoint"]);
    let end = many.windows(4).rposition(|bytes| bytes == b"PK\x05\x06").unwrap();
    many[end + 8..end + 12].copy_from_slice(&[0xff; 4]);
    let _ = refused(many);
    const { assert!(ZIP_FILES < 1 << 16) };
}

/// Bytes that look like a zip, and are whatever comes.
#[test]
fn no_bytes_make_the_zip_reader_panic_or_take_long() {
    let mut dice = tampered::dice::Dice(7);
    let good = zip_of(&["checkpoint", "tile/0/000", "tile/entries/000"]);
    for _ in 0..2000 {
        let mut bytes = good.clone();
        for _ in 0..1 + dice.below(12) {
            let at = dice.below(bytes.len());
            bytes[at] = match dice.below(3) {
                0 => 0xff,
                1 => 0,
                _ => dice.next() as u8,
            };
        }
        if dice.below(4) == 0 {
            bytes.truncate(dice.below(bytes.len()));
        }
        let _ = refused(bytes);
    }
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("checkpoint", SimpleFileOptions::default()).unwrap();
    writer.write_all(b"not a checkpoint").unwrap();
    assert!(refused(writer.finish().unwrap().into_inner()).contains("cannot be read"));
}
