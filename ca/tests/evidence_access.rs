//! Access to evidence is evidence: who reads entries and recordings is in the log before the first byte leaves,
//! nobody reads them without the role, and nobody fills the log by trying.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

mod installed;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::{ChunksTaken, RecordingState, Recordings};
use fireaxe_protocol::host::{Recorded, Report};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Entry, Event, Evidence, EvidenceReader};
use fireaxe_protocol::policy::Bundle;
use fireaxe_protocol::recording::{Ended, Header, SessionKind, Stream, Writer};
use fireaxe_protocol::statement::{BundleChange, Kind, Nonce, Statement};
use http_body_util::BodyExt;
use installed::speaking::{DB3, closed, host_key, opened};
use installed::{ANA, BEN, CLEO, DAN, Installed, Told, key, signed};
use rusqlite::Connection;

const NAME: Nonce = Nonce([5; 16]);
const POLICY: &str = include_str!("../../policies/default/policy.toml");
const ENTRIES: &str = "/log/tile/entries/000.p/4";

/// The people of `installed`, with these groups of cleo's; two software keys change the bundle.
fn roster(cleos: &str) -> String {
    let key = |seed| Ed25519Key::from(&key(seed));
    format!(
        r#"version = 1
[person.ana]
groups = ["payments", "payments-oncall", "sre"]
keys = ["{} ana"]
[person.ben]
groups = ["sre", "sre-leads", "security"]
keys = ["{} ben"]
[person.cleo]
groups = ["sre", {cleos}]
keys = ["{} cleo"]
[person.dan]
groups = ["payments-oncall", "audit"]
keys = ["{} dan"]
[role]
policy_admin = {{ group = "security", quorum = 2, presence = "none" }}
auditor = {{ group = "audit" }}
incident_commander = {{ group = "sre-leads" }}
"#,
        key(ANA),
        key(BEN),
        key(CLEO),
        key(DAN)
    )
}

/// Puts another roster in force.
async fn activate(ca: &Installed, roster: &str) {
    let bundle = Bundle::parse(POLICY, roster).unwrap().hash;
    let newest = (0..ca.size())
        .map(|index| ca.reader().entry_bytes(index).unwrap())
        .rfind(|bytes| matches!(Entry::decode(bytes).unwrap().event, Event::BundleActivated { .. }));
    let of = leaf_hash(&newest.unwrap());
    let change =
        |by: u8| signed(by, &Statement::Bundle(BundleChange { header: ca.header(Kind::Bundle), of, bundle }));
    let body =
        serde_json::json!({ "policy": POLICY, "roster": roster, "signed": [change(BEN), change(CLEO)] });
    let told = ca.operator("POST", "/operator/bundle", body).await;
    assert_eq!(told.status, 200, "{}", told.text());
}

/// One of this many bytes of output, and what it comes to.
fn recording(connection: u8, output: usize) -> (Vec<Vec<u8>>, Recorded) {
    let (mut writer, first) = Writer::begin(Header {
        sealed: Vec::new(),
        v: 1,
        recording: NAME,
        connection: Nonce([connection; 16]),
        serial: 7,
        host: DB3.parse().unwrap(),
        account: "ops".parse().unwrap(),
        from: None,
        began_us: 1_700_000_000_000_000,
        kind: SessionKind::Shell,
        command: None,
        asked: None,
        terminal: None,
    });
    let mut chunks = vec![first];
    for n in 0..output.div_ceil(32 * 1024) {
        let bytes = vec![b'x'; (output - n * 32 * 1024).min(32 * 1024)];
        let event = fireaxe_protocol::recording::Event { offset_us: n as u64, stream: Stream::Output, bytes };
        chunks.push(writer.data(vec![event]));
    }
    let (end, recorded) = writer.end(Ended::Exited(0), 1_000_000);
    chunks.push(end);
    (chunks, recorded)
}

/// Sends chunks of the recording, the first of which is number `from`.
async fn send(ca: &Installed, from: u64, chunks: &[Vec<u8>]) {
    let mut next = from;
    for part in chunks.chunks(16) {
        let path = format!("/v1/hosts/{DB3}/recordings/{NAME}?from={next}");
        let told = ca.post_bytes_proved(&path, part.concat(), &ca.proof(&host_key(DB3), "POST", &path)).await;
        next = told.json::<ChunksTaken>().chunks;
    }
}

/// A CA with one recording of ana's emergency, whole and reported; its bytes.
async fn recorded(output: usize) -> (Installed, Vec<u8>) {
    let ca = Installed::with(POLICY, &roster("\"security\", \"audit\""));
    ca.joins(DB3).await;
    let emergency = ca.open_emergency(ANA, &ca.declare(DB3)).await;
    let account = emergency.terms.as_ref().unwrap().account.to_string();
    let serial = ca.size() - 1;
    let now = ca.clock.wall();
    ca.reported(DB3, 1, opened(1, serial, &account, now)).await;
    let (chunks, recorded) = recording(1, output);
    send(&ca, 0, &chunks).await;
    let Report::SessionClosed(mut over) = closed(1, serial, now) else { unreachable!() };
    over.recordings = vec![recorded];
    ca.reported(DB3, 2, Report::SessionClosed(over)).await;
    (ca, chunks.concat())
}

async fn read(ca: &Installed, session: &SigningKey, path: &str) -> Told {
    ca.get(path, Some(&ca.proof(session, "GET", path))).await
}

fn one(from: usize) -> String {
    format!("/v1/recordings/{DB3}/{NAME}?from={from}")
}

/// What the log says of evidence from entry `from` on.
fn accesses(ca: &Installed, from: u64) -> Vec<Event> {
    let all = (from..ca.size()).map(|index| ca.reader().entry(index).unwrap().event);
    all.filter(|e| matches!(e, Event::EvidenceRead { .. } | Event::EvidenceRefused { .. })).collect()
}

fn person(name: &str, seed: u8) -> EvidenceReader {
    let key = Ed25519Key::from(&key(seed)).fingerprint();
    EvidenceReader::Person { person: name.parse().unwrap(), key }
}

fn database(ca: &Installed) -> Connection {
    Connection::open(ca.data().log()).unwrap()
}

#[tokio::test]
async fn an_auditor_lists_and_reads_and_each_is_one_entry_an_hour() {
    let (ca, bytes) = recorded(1000).await;
    let cleo = ca.login(CLEO).await;
    let before = ca.size();
    let listed: Recordings = read(&ca, &cleo, "/v1/recordings").await.json();
    let [line] = &listed.recordings[..] else { panic!("{listed:?}") };
    assert_eq!((line.host.as_str(), line.recording, line.bytes), (DB3, NAME, bytes.len() as u64));
    assert_eq!((line.state, line.emergency.unwrap().0), (RecordingState::Reported, 1));
    assert_eq!((listed.next, line.reported.as_ref().unwrap().recording), (None, NAME));
    let of = async |which: &str| {
        read(&ca, &cleo, &format!("/v1/recordings{which}")).await.json::<Recordings>().recordings.len()
    };
    assert_eq!((of("?emergency=EM-1").await, of("?emergency=EM-2").await), (1, 0));
    assert_eq!(of(&format!("?after={DB3}/{NAME}")).await, 0);
    for wrong in ["?emergency=ana", "?after=x", "?host=x"] {
        read(&ca, &cleo, &format!("/v1/recordings{wrong}")).await.problem(400, "recordings.which");
    }

    // All of it, then as if the connection had broken: the rest, and nothing.
    let whole = read(&ca, &cleo, &one(0)).await;
    assert_eq!((whole.status, &whole.bytes), (200, &bytes));
    assert_eq!(whole.headers["cache-control"], "private, no-store");
    assert_eq!(read(&ca, &cleo, &one(100)).await.bytes, bytes[100..]);
    assert_eq!(read(&ca, &cleo, &one(bytes.len())).await.bytes, b"");
    read(&ca, &cleo, &one(bytes.len() + 1)).await.problem(416, "recording.range");
    assert_eq!(read(&ca, &cleo, ENTRIES).await.status, 200);
    assert_eq!(read(&ca, &cleo, "/log/tile/entries/000.p/3").await.status, 200);

    let by = person("cleo", CLEO);
    let what = Evidence::Recording { host: DB3.parse().unwrap(), recording: NAME };
    let told = |what| Event::EvidenceRead { by: by.clone(), what };
    let expected = [told(Evidence::Recordings), told(what), told(Evidence::Entries)];
    assert_eq!(accesses(&ca, before), expected);
    ca.clock.pass(3599);
    assert_eq!(read(&ca, &cleo, &one(5)).await.status, 200);
    assert_eq!(accesses(&ca, before).len(), 3);
    // Another session of the same key is no other reader; an hour later it is another read.
    let again = ca.login(CLEO).await;
    assert_eq!(read(&ca, &again, &one(5)).await.status, 200);
    assert_eq!(accesses(&ca, before).len(), 3);
    ca.clock.pass(1);
    assert_eq!(read(&ca, &again, &one(5)).await.status, 200);
    assert_eq!(accesses(&ca, before).len(), 4);
}

#[tokio::test]
async fn how_long_a_recording_is_stands_in_the_log_before_it_is_said() {
    let (ca, bytes) = recorded(10).await;
    let cleo = ca.login(CLEO).await;
    let before = ca.size();
    read(&ca, &cleo, &format!("/v1/recordings/{DB3}/{}", Nonce([9; 16])))
        .await
        .problem(404, "recording.unknown");
    assert_eq!(accesses(&ca, before), [], "what is not here was not read");
    read(&ca, &cleo, &one(bytes.len() + 1)).await.problem(416, "recording.range");
    let what = Evidence::Recording { host: DB3.parse().unwrap(), recording: NAME };
    assert_eq!(accesses(&ca, before), [Event::EvidenceRead { by: person("cleo", CLEO), what }]);
}

#[tokio::test]
async fn what_the_writer_has_not_published_is_shown_to_nobody() {
    let (ca, _) = recorded(10).await;
    let cleo = ca.login(CLEO).await;
    assert_eq!(read(&ca, &cleo, ENTRIES).await.status, 200);
    // As while the second copy waits: a further batch is in the file, and nobody has been answered.
    let (size, head) = (ca.size(), ca.get("/log/checkpoint", None).await);
    assert_eq!(head.status, 200);
    database(&ca)
        .execute_batch(&format!(
            "INSERT INTO entry SELECT idx + 1, bytes FROM entry WHERE idx = {size} - 1;
             INSERT INTO checkpoint VALUES ({size} + 1, 'of later');"
        ))
        .unwrap();
    let paths = |size: u64| {
        [
            (format!("/log/consistency?from=1&to={size}"), "consistency.unknown"),
            (format!("/log/tile/0/000.p/{size}"), "tile.unknown"),
            (format!("/log/tile/entries/000.p/{size}"), "tile.unknown"),
        ]
    };
    for (path, code) in paths(size + 1) {
        read(&ca, &cleo, &path).await.problem(404, code);
    }
    for (path, _) in paths(size) {
        assert_eq!(read(&ca, &cleo, &path).await.status, 200, "{path}");
    }
    assert_eq!(ca.get("/log/checkpoint", None).await.bytes, head.bytes);
}

#[tokio::test]
async fn what_the_log_cannot_be_told_is_not_handed_out() {
    let (ca, bytes) = recorded(1000).await;
    let cleo = ca.login(CLEO).await;
    let trigger = "CREATE TRIGGER broken BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'disk'); END";
    database(&ca).execute_batch(trigger).unwrap();
    for path in [&one(0), "/v1/recordings", ENTRIES] {
        let told = read(&ca, &cleo, path).await;
        assert!(!told.bytes.windows(8).any(|part| bytes.windows(8).any(|b| b == part)), "bytes of it left");
        told.problem(503, "log.unavailable");
    }
    let ana = ca.login(ANA).await;
    read(&ca, &ana, &one(0)).await.problem(403, "role.auditor");
    database(&ca).execute_batch("DROP TRIGGER broken").unwrap();
    // What failed is not taken for told.
    let before = ca.size();
    assert_eq!(read(&ca, &cleo, &one(0)).await.bytes, bytes);
    assert_eq!(accesses(&ca, before).len(), 1);
}

#[tokio::test]
async fn many_requests_of_one_session_at_once_are_one_entry() {
    let (ca, _) = recorded(10).await;
    let cleo = ca.login(CLEO).await;
    let before = ca.size();
    let (a, b, c, d) = tokio::join!(
        read(&ca, &cleo, ENTRIES),
        read(&ca, &cleo, "/log/tile/entries/000.p/1"),
        read(&ca, &cleo, "/log/tile/entries/000.p/2"),
        read(&ca, &cleo, "/log/tile/entries/000.p/3"),
    );
    assert!([a, b, c, d].iter().all(|told| told.status == 200));
    assert_eq!(accesses(&ca, before).len(), 1);
}

#[tokio::test]
async fn who_has_not_the_role_gets_403_and_an_entry_and_sixty_of_them_an_hour() {
    let (ca, _) = recorded(10).await;
    let (ana, ben) = (ca.login(ANA).await, ca.login(BEN).await);
    let before = ca.size();
    ca.get(&one(0), None).await.problem(401, "reader.missing");
    let stranger = SigningKey::from_bytes(&[77; 32]);
    read(&ca, &stranger, &one(0)).await.problem(401, "reader.unknown");
    assert_eq!(ca.size(), before, "a stranger leaves no entry");
    // That it is not there says nothing either.
    let nowhere = format!("/v1/recordings/db-9.payments.prod/{NAME}");
    for path in [&one(0), &nowhere, "/v1/recordings", ENTRIES, "/v1/recordings/a/b"] {
        read(&ca, &ana, path).await.problem(403, "role.auditor");
    }
    let [Event::EvidenceRefused { by, what, why }, ..] = &accesses(&ca, before)[..] else { panic!() };
    assert_eq!((by, why.code.as_str()), (&person("ana", ANA), "role.auditor"));
    assert_eq!(*what, Evidence::Recording { host: DB3.parse().unwrap(), recording: NAME });
    for _ in 0..70 {
        read(&ca, &ana, "/v1/recordings").await.problem(403, "role.auditor");
    }
    assert_eq!(accesses(&ca, before).len(), 60);
    read(&ca, &ben, "/v1/recordings").await.problem(403, "role.auditor");
    assert_eq!(accesses(&ca, before).len(), 61, "another's are counted by themselves");
    let metrics = ca.operator("GET", "/metrics", serde_json::json!({})).await.text();
    assert!(
        metrics.contains("fireaxe_evidence_accesses_total{outcome=\"refused_unlogged\"} 15\n"),
        "{metrics}"
    );
    ca.clock.pass(3600);
    let ana = ca.login(ANA).await;
    read(&ca, &ana, "/v1/recordings").await.problem(403, "role.auditor");
    assert_eq!(accesses(&ca, before).len(), 62);
}

#[tokio::test]
async fn a_fresh_key_reads_no_recording_of_its_own_emergency_whoever_holds_it() {
    let (ca, _) = recorded(10).await;
    // The key that `declare` made for the emergency.
    for (by, entries) in [(ANA, 1), (DAN, 0)] {
        let words = ca.declare("db-4.payments.prod");
        let mut seed = [7u8; 32];
        seed[..8].copy_from_slice(&(ca.number() - 2).to_be_bytes());
        let fresh = SigningKey::from_bytes(&seed);
        assert_eq!(words.public_key, Ed25519Key::from(&fresh));
        let told = ca.send(&signed(by, &Statement::Declare(words))).await;
        assert!(told.status < 300, "{}", told.text());
        let before = ca.size();
        read(&ca, &fresh, &one(0)).await.problem(403, "role.auditor");
        // An auditor may read in their own name: the log does not say that they may not.
        assert_eq!(accesses(&ca, before).len(), entries);
    }
}

#[tokio::test]
async fn who_loses_the_role_reads_no_further_byte() {
    let (ca, bytes) = recorded(1 << 20).await;
    let cleo = ca.login(CLEO).await;
    let path = one(0);
    let mut body = ca.stream(&path, &ca.proof(&cleo, "GET", &path)).await.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(bytes.starts_with(&first));
    activate(&ca, &roster("\"security\"")).await;
    let mut got = first.len();
    let cut = loop {
        match body.frame().await {
            Some(Ok(frame)) => got += frame.data_ref().unwrap().len(),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(cut && got < bytes.len(), "{got} of {}", bytes.len());
    for path in [&path, "/v1/recordings", ENTRIES] {
        read(&ca, &cleo, path).await.problem(403, "role.auditor");
    }
}

#[tokio::test]
async fn what_was_reported_and_is_gone_is_said_and_what_was_not_reported_too() {
    let (ca, _) = recorded(10).await;
    let cleo = ca.login(CLEO).await;
    let file = ca.data().recordings().join(DB3).join(NAME.to_string());
    let other = Nonce([6; 16]);
    std::fs::rename(&file, file.with_file_name(other.to_string())).unwrap();
    let listed: Recordings = read(&ca, &cleo, "/v1/recordings").await.json();
    let states: Vec<_> = listed.recordings.iter().map(|line| (line.recording, line.state)).collect();
    assert_eq!(states, [(NAME, RecordingState::Missing), (other, RecordingState::NotReported)]);
    // By the connection that its header names.
    assert_eq!(listed.recordings[1].emergency.unwrap().0, 1);
    read(&ca, &cleo, &one(0)).await.problem(404, "recording.unknown");
    read(&ca, &cleo, "/v1/recordings/a/b").await.problem(404, "recording.unknown");
}
