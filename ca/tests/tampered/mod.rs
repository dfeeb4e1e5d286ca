//! A small log with some of everything, copies of it that a test may spoil, and what is found in them.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

pub mod dice;
pub mod tiles;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use fireaxe_ca::log::Reader;
use fireaxe_ca::road::{Access, AccessOutcome};
use fireaxe_ca::verify::source::{Database, Source};
use fireaxe_ca::verify::{Beforehand, verify_source};
use fireaxe_protocol::host::{EndReason, Recorded, Report, SessionClosed, Swept};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Evidence, EvidenceReader, Hash};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Nonce;
use rusqlite::Connection;

use crate::installed::people::{EVE, POLICY, roster};
use crate::installed::speaking::{DB3, confirmed, host_key, opened};
use crate::installed::{ANA, BEN, CLEO, DAN, Installed, key};

/// The name of the recording in it.
pub const RECORDING: Nonce = Nonce([9; 16]);

/// Declared, refused, waiting, approved, refused by somebody, extended, closed, reviewed; a host that joined and
/// spoke; evidence that was read, exported and refused; a recording that expired.
pub async fn everything() -> Installed {
    let roster = roster().replace("[role]\n", "[role]\nauditor = { group = \"security\" }\n");
    let ca = Installed::with(&format!("{POLICY}\n[recordings]\nkeep = \"30d\"\n"), &roster);
    ca.joins(DB3).await;
    let (waits, _) = ca.waits("payments-db").await;
    ca.clock.pass(30);
    ca.approved(BEN, waits.emergency).await;
    let serial = ca.size() - 1;
    let now = ca.clock.wall();
    ca.reported(DB3, 1, opened(1, serial, "root", now)).await;
    ca.clock.pass(30);
    let extended = ca.extend(ANA, waits.declaration, waits.emergency).await;
    assert_eq!(extended.status, 200, "{}", extended.text());
    let refused = ca.refuse(BEN, waits.emergency).await;
    assert_eq!(refused.status, 200, "{}", refused.text());
    let mut small = ca.declare("vault");
    small.severity = Some(4.try_into().unwrap());
    let words = crate::installed::signed(EVE, &fireaxe_protocol::statement::Statement::Declare(small));
    let answer = ca.send(&words).await;
    assert!(answer.status < 500, "{}", answer.text());
    ca.clock.pass(30);
    let closing = ca.close_emergency(ANA, &waits).await;
    assert_eq!(closing.status, 200, "{}", closing.text());
    let closing: fireaxe_protocol::api::Closed = closing.json();
    ca.reported(DB3, 2, recorded(serial, ca.clock.wall())).await;
    let reported = Hash(leaf_hash(&ca.reader().entry_bytes(ca.size() - 1).unwrap()).0);
    ca.reported(DB3, 3, confirmed(closing.entry, ca.clock.wall())).await;
    assert_eq!(ca.review(CLEO, waits.declaration, waits.emergency).await.status, 200);
    evidence(&ca, CLEO, "cleo", AccessOutcome::Read).await;
    evidence(&ca, DAN, "dan", AccessOutcome::Exported(Hash::of(b"manifest"))).await;
    evidence(&ca, ANA, "ana", AccessOutcome::Refused(Reason::new("evidence.role", "ana is no auditor")))
        .await;
    ca.clock.pass(30 * 24 * 3600);
    ca.road.recording_expired(reported, DB3.parse().unwrap(), RECORDING).await.unwrap();
    let _ = host_key;
    ca
}

pub async fn evidence(ca: &Installed, seed: u8, person: &str, outcome: AccessOutcome) {
    let key = Ed25519Key::from(&key(seed)).fingerprint();
    let by = EvidenceReader::Person { person: person.parse().unwrap(), key };
    ca.road.evidence_accessed(Access { by, what: Evidence::Entries, outcome }).await.unwrap();
}

fn recorded(serial: u64, at: u64) -> Report {
    Report::SessionClosed(SessionClosed {
        connection: Nonce([1; 16]),
        serial,
        at,
        why: EndReason::Revoked,
        swept: Swept::default(),
        recordings: vec![Recorded {
            recording: RECORDING,
            chunks: 3,
            bytes: 1000,
            head: Hash::of(b"head"),
            lost: 0,
        }],
        planted: Vec::new(),
        more: 0,
    })
}

/// A copy of a log, in a folder of its own.
pub struct Copy {
    pub folder: tempfile::TempDir,
}

impl Copy {
    /// All that is in the log of `ca` now, in one file.
    pub fn of(ca: &Installed) -> Copy {
        let copy = Copy { folder: tempfile::tempdir().unwrap() };
        let from = Connection::open(ca.data().log()).unwrap();
        from.execute("VACUUM INTO ?1", [copy.path().to_str().unwrap()]).unwrap();
        copy
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("log.sqlite")
    }

    /// Changes rows.
    pub fn sql(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }

    /// Puts these bytes in the place of an entry's.
    pub fn put(&self, index: u64, bytes: &[u8]) {
        let database = Connection::open(self.path()).unwrap();
        let put = "INSERT OR REPLACE INTO entry (idx, bytes) VALUES (?1, ?2)";
        database.execute(put, rusqlite::params![index.cast_signed(), bytes]).unwrap();
    }

    pub fn found(&self, before: &Beforehand) -> Vec<(u64, String)> {
        found_in(&self.path(), before)
    }
}

/// What is found in the database at `path`; one that cannot be opened is a finding at entry 0.
pub fn found_in(path: &Path, before: &Beforehand) -> Vec<(u64, String)> {
    match Reader::open(path).and_then(Database::of) {
        Ok(mut source) => found_by(&mut source, before),
        Err(error) => vec![(0, error.to_string())],
    }
}

pub fn found_by(source: &mut dyn Source, before: &Beforehand) -> Vec<(u64, String)> {
    let (_, found) = verify_source(source, before, &mut |_| {});
    found.into_iter().map(|found| (found.entry, found.what)).collect()
}

/// Every entry's bytes, as far as they can be had.
pub fn entries_in(path: &Path) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    if let Ok(reader) = Reader::open(path) {
        let _ = reader.entries(0, u64::MAX, |_, bytes| {
            entries.push(bytes.to_vec());
            ControlFlow::Continue(())
        });
    }
    entries
}

#[track_caller]
pub fn finds(found: &[(u64, String)], entry: u64, says: &str) {
    let is = |(at, what): &(u64, String)| *at == entry && what.contains(says);
    assert!(found.iter().any(is), "entry {entry}, {says}: {found:?}");
}
