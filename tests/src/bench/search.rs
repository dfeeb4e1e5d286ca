//! Search: recordings of realistic sizes, indexed and asked for words, without anything around it.
//!
//! What is generated: shells that list, read logs and restart services (lines of 20 to 90 characters, most of them
//! scrolling by), a tenth of them with a full-screen monitor that redraws each second; a median of 30 KB, a
//! twentieth of 1 MB. Words are drawn from 400; a query has one or two of them, half of the queries a condition.

use std::fs;
use std::path::{Path, PathBuf};

use fireaxe_ca::recordings::catalog::{Name, Told};
use fireaxe_ca::recordings::search::{Index, Query};
use fireaxe_protocol::recording::{Ended, Event, Header, SessionKind, Size, Stream, Writer};
use fireaxe_protocol::statement::Nonce;

use super::dice::Dice;
use super::process;
use super::summary::{Summary, quantile};
use crate::clock;

/// Recordings.
const RECORDINGS: u64 = 1000;
/// Queries.
const QUERIES: usize = 200;
/// Words that are shown.
const WORDS: u64 = 400;

/// Records `search.index_s`, `search.ms.p50`, `search.ms.p95`, `search.index_mb` and `search.memory_mib`, the peak
/// of this process while it indexed and searched.
pub fn measure(summary: &mut Summary, folder: &Path) {
    let mut dice = Dice::new(30);
    let (mut files, mut bytes) = (Vec::new(), 0u64);
    for n in 0..RECORDINGS {
        let (name, path, size) = generate(&mut dice, folder, n);
        files.push((name, path));
        bytes += size;
    }
    eprintln!("  generated: {RECORDINGS} recordings, {} MB in all, words of {WORDS}", bytes / 1_000_000);
    let path = folder.join("search.sqlite");
    let start = clock::now();
    let mut index = Index::open(&path).expect("an index");
    let updated = index.update(&files, None, |_, _| Told::default()).expect("indexed");
    summary.put("search.index_s", start.elapsed().as_secs_f64());
    assert_eq!((updated.read, updated.cut), (files.len(), 0));
    summary.put("search.index_mb", fs::metadata(&path).map_or(0.0, |known| known.len() as f64 / 1e6));
    let (mut samples, mut found) = (Vec::with_capacity(QUERIES), 0usize);
    for n in 0..QUERIES {
        let words = match n % 2 {
            0 => word(&mut dice),
            _ => format!("{} {}", word(&mut dice), word(&mut dice)),
        };
        let host = (n % 4 < 2).then(|| format!("db-{}.payments.prod", dice.below(20)));
        let query = Query { words, host, most: 1000, ..Query::default() };
        let start = clock::now();
        found += index.find(&query).expect("found").len();
        samples.push(start.elapsed().as_secs_f64() * 1e3);
    }
    eprintln!("  {QUERIES} queries found {found} lines");
    summary.put("search.ms.p50", quantile(&mut samples, 0.5));
    summary.put("search.ms.p95", quantile(&mut samples, 0.95));
    summary.put("search.memory_mib", process::memory(std::process::id(), "VmHWM"));
}

fn word(dice: &mut Dice) -> String {
    // Some words are on every screen, most are on few.
    let n = dice.below(WORDS).min(dice.below(WORDS));
    format!("word{n}")
}

fn line(dice: &mut Dice) -> String {
    let words: Vec<String> = (0..2 + dice.below(8)).map(|_| word(dice)).collect();
    format!("{} {:08x}", words.join(" "), dice.draw() & 0xffff_ffff)
}

fn generate(dice: &mut Dice, folder: &Path, n: u64) -> (Name, PathBuf, u64) {
    let host = format!("db-{}.payments.prod", n % 20).parse().expect("a host");
    let mut id = [0; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    let recording = Nonce(id);
    let header = Header {
        v: 1,
        recording,
        connection: recording,
        serial: n,
        host,
        account: "ops".parse().expect("an account"),
        from: None,
        began_us: 1_790_000_000_000_000 + n * 60_000_000,
        kind: SessionKind::Shell,
        command: None,
        asked: None,
        terminal: Some(Size { term: "xterm".into(), columns: 120, rows: 40 }),
        sealed: Vec::new(),
    };
    let name = (header.host.clone(), recording);
    let (mut writer, mut bytes) = Writer::begin(header);
    let target = if dice.chance(5) { 1_000_000 } else { 10_000 + dice.below(40_000) };
    let redraws = dice.chance(10);
    let mut offset_us = 0;
    while (bytes.len() as u64) < target {
        offset_us += 250_000;
        let shown = match redraws {
            true => (1..30).map(|row| format!("\x1b[{row};1H{}\x1b[K", line(dice))).collect::<String>(),
            false => (0..5 + dice.below(30)).map(|_| line(dice) + "\r\n").collect(),
        };
        let event = Event { offset_us, stream: Stream::Output, bytes: shown.into_bytes() };
        bytes.extend(writer.data(vec![event]));
    }
    bytes.extend(writer.end(Ended::Exited(0), offset_us).0);
    let path = folder.join(recording.to_string());
    fs::write(&path, &bytes).expect("written");
    (name, path, bytes.len() as u64)
}
