//! Recordings at rest: sealed ones that only an auditor reads, found by their words, removed when the policy keeps
//! them no longer.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

mod installed;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use age::x25519::Identity;
use fireaxe_ca::recordings::expiry::Expiry;
use fireaxe_ca::recordings::opening::{Identities, NotOpened, open};
use fireaxe_ca::recordings::{Recordings, catalog};
use fireaxe_protocol::api::ChunksTaken;
use fireaxe_protocol::host::{Recorded, Report};
use fireaxe_protocol::log::Event as Logged;
use fireaxe_protocol::policy::Keep;
use fireaxe_protocol::recording::{
    AuditorKey, Body, Chain, Chunk, Ended, Event, Header, RecordingError, SessionKind, Size, Stream, Writer,
};
use fireaxe_protocol::statement::Nonce;
use installed::speaking::{DB3, closed, host_key, opened, with_hosts};
use installed::{ANA, Installed};

const MARKER: &str = "restart payments@7";
const DAY: u64 = 86_400;

fn header(n: u8, to: &[&Identity]) -> Header {
    Header {
        v: 1,
        recording: Nonce([n; 16]),
        connection: Nonce([n; 16]),
        serial: 7,
        host: DB3.parse().unwrap(),
        account: "ops".parse().unwrap(),
        from: None,
        began_us: 1_700_000_000_000_000,
        kind: SessionKind::Shell,
        command: None,
        asked: None,
        terminal: Some(Size { term: "xterm".into(), columns: 80, rows: 24 }),
        sealed: to.iter().map(|to| AuditorKey::try_from(to.to_public().to_string()).unwrap()).collect(),
    }
}

fn seal(plain: &[u8], to: &[&Identity]) -> Vec<u8> {
    let recipients: Vec<_> = to.iter().map(|identity| identity.to_public()).collect();
    let all = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let (encryptor, mut out) = (age::Encryptor::with_recipients(all).unwrap(), Vec::new());
    let mut writer = encryptor.wrap_output(&mut out).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap();
    out
}

/// The chunks of a recording in which a terminal showed each of these, in a chunk each.
fn recorded(n: u8, shown: &[&str], to: &[&Identity]) -> (Vec<Vec<u8>>, Recorded) {
    let (mut writer, first) = Writer::begin(header(n, to));
    let mut chunks = vec![first];
    for (at, text) in shown.iter().enumerate() {
        let bytes = text.as_bytes().to_vec();
        let events = vec![Event { offset_us: (at as u64 + 1) * 1_000_000, stream: Stream::Output, bytes }];
        chunks.push(match to {
            [] => writer.data(events),
            _ => writer.sealed(events, |plain| Ok::<_, ()>(seal(plain, to))).unwrap(),
        });
    }
    let (last, recorded) = writer.end(Ended::Exited(3), 9_000_000);
    chunks.push(last);
    (chunks, recorded)
}

fn put(root: &Path, n: u8, chunks: &[Vec<u8>]) -> PathBuf {
    let folder = root.join(DB3);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(Nonce([n; 16]).to_string());
    std::fs::write(&path, chunks.concat()).unwrap();
    path
}

fn identity_file(dir: &Path, identity: &Identity, mode: u32) -> PathBuf {
    use age::secrecy::ExposeSecret;
    let path = dir.join("identity");
    std::fs::write(&path, format!("# ana\n{}\n", identity.to_string().expose_secret())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// What an auditor with this identity reads: the texts of events, and why not all of them.
fn read(path: &Path, identity: &Identity) -> (Vec<String>, Option<NotOpened>, Option<RecordingError>) {
    let mut texts = Vec::new();
    let opening = open(path, Some(&Identities::of(vec![identity.clone()])), |chunk| {
        if let Body::Data(events) = &chunk.body {
            texts.extend(events.iter().map(|event| String::from_utf8_lossy(&event.bytes).into_owned()));
        }
    });
    let opening = opening.unwrap();
    (texts, opening.unopened, opening.wrong)
}

#[test]
fn what_is_sealed_opens_for_each_auditor_and_for_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (ana, ben, other) = (Identity::generate(), Identity::generate(), Identity::generate());
    let (chunks, expected) = recorded(1, &[MARKER, "two"], &[&ana, &ben]);
    let path = put(dir.path(), 1, &chunks);
    for auditor in [&ana, &ben] {
        assert_eq!(read(&path, auditor), (vec![MARKER.to_owned(), "two".to_owned()], None, None));
    }
    assert_eq!(read(&path, &other), (vec![], Some(NotOpened::NoKey), None));
    let mut chain = Chain::default();
    chain.all(&chunks.concat()).unwrap();
    assert_eq!(chain.recorded(), Some(expected), "checked without any key");
}

#[test]
fn ciphertext_that_was_moved_changed_or_lied_about_is_named_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let ana = Identity::generate();
    // Chains are made anew around each: as a host could, and nobody after it.
    let chained = |bodies: Vec<Body>| {
        let (mut before, mut out) = (fireaxe_protocol::log::Hash([0; 32]), Vec::new());
        for (seq, body) in bodies.into_iter().enumerate() {
            let bytes = Chunk { seq: seq as u64, before, body }.write();
            before = Chunk::hash(&bytes);
            out.push(bytes);
        }
        out
    };
    let bodies = |n: u8| -> Vec<Body> {
        let (chunks, _) = recorded(n, &["one", "two"], &[&ana]);
        Chain::default().all(&chunks.concat()).unwrap().into_iter().map(|chunk| chunk.body).collect()
    };
    let sealed = |body: &Body| match body {
        Body::Sealed(sealed) => sealed.clone(),
        _ => panic!("not sealed"),
    };
    let check = |bodies: Vec<Body>| read(&put(dir.path(), 1, &chained(bodies)), &ana).1;
    assert_eq!(check(bodies(1)), None);

    let mut moved = bodies(1);
    let (mut first, mut second) = (sealed(&moved[1]), sealed(&moved[2]));
    std::mem::swap(&mut first.age, &mut second.age);
    (moved[1], moved[2]) = (Body::Sealed(first), Body::Sealed(second));
    assert_eq!(check(moved), Some(NotOpened::Within(RecordingError::Displaced(1))));

    let (mut foreign, mut one) = (bodies(1), sealed(&bodies(1)[1]));
    one.age = sealed(&bodies(2)[1]).age;
    foreign[1] = Body::Sealed(one);
    assert_eq!(check(foreign), Some(NotOpened::Within(RecordingError::Displaced(1))));

    let (mut lied, mut one) = (bodies(1), sealed(&bodies(1)[1]));
    one.totals.output += 1;
    let mut two = sealed(&lied[2]);
    two.totals.output += 1;
    (lied[1], lied[2]) = (Body::Sealed(one), Body::Sealed(two));
    lied.pop();
    assert_eq!(check(lied), Some(NotOpened::Within(RecordingError::SealedTotals(1))));

    for change in [0usize, 30, usize::MAX] {
        let (mut cut, mut one) = (bodies(1), sealed(&bodies(1)[1]));
        let at = change.min(one.age.len() - 1);
        one.age[at] ^= 1;
        cut[1] = Body::Sealed(one.clone());
        assert!(matches!(check(cut.clone()), Some(NotOpened::Damaged(1, _) | NotOpened::NoKey)));
        one.age.truncate(at.max(1));
        cut[1] = Body::Sealed(one);
        assert!(matches!(check(cut), Some(NotOpened::Damaged(1, _))));
    }

    // In clear within a sealed one, and sealed within one in clear: refused without any key.
    let clear: Vec<Body> = {
        let (chunks, _) = recorded(1, &["one", "two"], &[]);
        Chain::default().all(&chunks.concat()).unwrap().into_iter().map(|chunk| chunk.body).collect()
    };
    for (mut into, from) in [(bodies(1), clear.clone()), (clear, bodies(1))] {
        into[1] = from[1].clone();
        let path = put(dir.path(), 1, &chained(into));
        assert_eq!(read(&path, &ana).2, Some(RecordingError::Mixed(1)));
    }
}

#[test]
fn an_identity_that_others_can_read_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let ana = Identity::generate();
    assert!(Identities::read(&identity_file(dir.path(), &ana, 0o600)).is_ok());
    let exposed = Identities::read(&identity_file(dir.path(), &ana, 0o640)).unwrap_err().to_string();
    assert!(exposed.contains("640") && !exposed.contains("AGE-SECRET"), "{exposed}");
    let path = identity_file(dir.path(), &ana, 0o600);
    std::fs::write(&path, "AGE-SECRET-KEY-1NONSENSE\n").unwrap();
    let wrong = Identities::read(&path).unwrap_err().to_string();
    assert!(wrong.contains("line 1") && !wrong.contains("NONSENSE"), "{wrong}");
}

fn rec(words: &[&str]) -> (Option<i32>, String, String) {
    let ran =
        std::process::Command::new(env!("CARGO_BIN_EXE_fireaxe-ca")).arg("rec").args(words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
}

#[tokio::test]
async fn words_are_found_in_what_was_shown_and_sealed_ones_by_their_auditor() {
    let ca = with_hosts(&[DB3]).await;
    let data = ca.data();
    let (data, root) = (data.path().to_str().unwrap().to_owned(), data.recordings());
    let ana = Identity::generate();
    let page = format!("\x1b[H{MARKER}\x1b[K\r\n\x1b]0;title\x07load 99\x1b[2J\x1b[1;1Hgone \u{202e}over");
    put(&root, 1, &recorded(1, &["$ top\r\n", &page, "\r\n日本語 wide\r\n"], &[]).0);
    put(&root, 2, &recorded(2, &[MARKER, "\r\nonly-sealed here\r\n"], &[&ana]).0);
    let grep =
        |words: &str, more: &[&str]| rec(&[&["grep", words, "--data", &data, "--unlogged"], more].concat());
    let (code, _, said) = rec(&["grep", "payments", "--data", &data]);
    assert!(code == Some(69) && said.contains("--unlogged"), "not logged, not read: {said}");
    let (code, found, said) = grep("restart payments", &[]);
    assert_eq!(found.lines().count(), 1, "{found}{said}");
    assert!(code == Some(0) && found.contains(MARKER) && found.contains(DB3), "{found}");
    assert!(said.contains("1 recordings were not searched"), "{said}");
    let (_, found, _) = grep("\"日本語\"", &[]);
    assert!(found.contains("日本語 wide"), "{found}");
    let (_, found, _) = grep("gone", &["--json"]);
    assert!(!found.contains('\u{1b}') && found.contains("\"offset_us\":"), "{found}");
    let (_, found, _) = grep("gone", &[]);
    assert!(found.contains("gone \\u{202e}over") || found.contains("gone over"), "{found:?}");
    assert!(grep("title", &[]).1.is_empty(), "what names a window was on no screen");
    for (more, many) in [(["--exit", "3"], 1), (["--exit", "0"], 0), (["--host", "db-4.payments.prod"], 0)] {
        assert_eq!(grep("payments", &more).1.lines().count(), many, "{more:?}");
    }
    let (code, _, said) = grep("payments-db", &[]);
    assert!(code == Some(2) && said.contains("not a search") && said.contains("double quotes"), "{said}");

    // An index that is gone or damaged comes back; nothing of what is sealed is ever in it.
    let index = ca.data().search();
    let before = std::fs::read(&index).unwrap();
    assert!(!before.windows(11).any(|part| part == b"only-sealed"));
    assert_eq!(std::fs::metadata(&index).unwrap().permissions().mode() & 0o777, 0o600);
    for damage in [None, Some(Vec::new()), Some(before[..before.len() / 2].to_vec())] {
        match damage {
            None => std::fs::remove_file(&index).unwrap(),
            Some(bytes) => std::fs::write(&index, bytes).unwrap(),
        }
        assert_eq!(grep("restart payments", &[]).1.lines().count(), 1);
    }

    // The auditor, with a key: into an index of their own, and never beside the CA's data.
    let own = tempfile::tempdir().unwrap();
    let key = identity_file(own.path(), &ana, 0o600);
    // A file that is named by mistake stays, and an index of one's own is in the log first.
    let (named, secret) = (key.to_str().unwrap(), std::fs::read(&key).unwrap());
    let (code, _, said) = grep("payments", &["--index", named]);
    assert!(code == Some(1) && said.contains("is no index of recordings"), "{said}");
    let log = std::fs::read(ca.data().log()).unwrap();
    assert_eq!(grep("payments", &["--index", ca.data().log().to_str().unwrap()]).0, Some(1));
    assert_eq!((std::fs::read(&key).unwrap(), std::fs::read(ca.data().log()).unwrap()), (secret, log));
    let theirs = own.path().join("theirs.sqlite");
    for more in [["--index", theirs.to_str().unwrap()], ["--identity", named]] {
        let (code, _, said) = rec(&[&["index", "--data", &data], &more[..]].concat());
        assert!(code == Some(69) && said.contains("--unlogged") && !theirs.exists(), "{said}");
    }
    assert_eq!(rec(&["index", "--data", &data]).0, Some(0));
    let (code, _, said) = rec(&["index", "--data", &data, "--unlogged", "--index", theirs.to_str().unwrap()]);
    assert!(code == Some(0) && theirs.exists(), "{said}");
    let key = ["--identity", key.to_str().unwrap()];
    let (code, _, said) = grep("payments", &key);
    assert!(code == Some(2) && said.contains("--index"), "{said}");
    let index = own.path().join("mine.sqlite");
    let (code, found, said) =
        grep("\"only-sealed\"", &[&key[..], &["--index", index.to_str().unwrap()]].concat());
    assert!(code == Some(0) && found.contains("only-sealed here"), "{found}{said}");
    assert!(!said.contains("not searched"), "{said}");

    // Played as text, exported, checked: with the key, and a clear word without.
    let name = Nonce([2; 16]).to_string();
    let (code, _, said) = rec(&["export", &name, "--data", &data, "--unlogged"]);
    assert!(code == Some(1) && said.contains("--identity"), "{said}");
    let (code, cast, _) = rec(&["export", &name, "--data", &data, "--unlogged", key[0], key[1]]);
    assert!(code == Some(0) && cast.contains(MARKER), "{cast}");
    let (code, text, said) =
        rec(&["play", &name, "--to-text", "--data", &data, "--unlogged", key[0], key[1]]);
    assert!(code == Some(0) && text.contains("only-sealed here"), "{text}{said}");
    let (_, _, said) = rec(&["verify", &name, "--data", &data]);
    assert!(said.contains("sealed and not opened"), "{said}");
    let (_, _, said) = rec(&["verify", &name, "--data", &data, key[0], key[1]]);
    assert!(said.contains("was opened"), "{said}");
}

async fn reported(ca: &Installed, n: u8) -> PathBuf {
    let (chunks, recorded) = recorded(n, &[MARKER], &[]);
    let path = format!("/v1/hosts/{DB3}/recordings/{}?from=0", Nonce([n; 16]));
    let told = ca.post_bytes_proved(&path, chunks.concat(), &ca.proof(&host_key(DB3), "POST", &path)).await;
    assert_eq!(told.json::<ChunksTaken>().chunks, 3);
    let (now, number) = (ca.clock.wall(), u64::from(n));
    ca.reported(DB3, 2 * number - 1, opened(n, 7, "ops", now)).await;
    let Report::SessionClosed(mut over) = closed(n, 7, now) else { unreachable!() };
    over.recordings = vec![recorded];
    ca.reported(DB3, 2 * number, Report::SessionClosed(over)).await;
    ca.data().recordings().join(DB3).join(Nonce([n; 16]).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_goes_when_its_time_is_over_and_never_before_the_log_says_so() {
    let ca = with_hosts(&[DB3]).await;
    let _ = ca.open_emergency(ANA, &ca.declare("payments-db")).await;
    let (first, second) = (reported(&ca, 1).await, reported(&ca, 2).await);
    ca.clock.pass(10 * DAY);
    let third = reported(&ca, 3).await;
    let unreported = put(&ca.data().recordings(), 4, &recorded(4, &["x"], &[]).0);
    let recordings = Recordings::at(&ca.data().recordings());
    let keep = Keep { line: 1, recordings_s: u32::try_from(30 * DAY).unwrap() };
    let mut expiry = Expiry::default();
    let mut gone = Vec::new();
    // Logged through the road, from a thread that may block, as `serve` does.
    let look = |expiry: &mut Expiry, gone: &mut Vec<catalog::Name>, stop: bool| {
        let (road, now, reader) = (ca.road.clone(), ca.clock.wall(), ca.reader());
        tokio::task::block_in_place(|| {
            let runtime = tokio::runtime::Handle::current();
            let log = |of, name: &catalog::Name| {
                let logged = runtime.block_on(road.recording_expired(of, name.0.clone(), name.1));
                logged.map_err(|refusal| refusal.to_string())?;
                if stop { Err("crashed".into()) } else { Ok(()) }
            };
            expiry.look(&reader, &recordings, &keep, now, log, gone)
        })
    };
    let at_rest = || [&first, &second, &third, &unreported].map(|path| path.exists());
    ca.clock.pass(20 * DAY - 60);
    assert_eq!(look(&mut expiry, &mut gone, false).unwrap().expired, 0, "a minute too early");
    ca.clock.pass(120);

    // A crash after the entry and before the removal.
    assert!(look(&mut expiry, &mut gone, true).is_err());
    assert_eq!(at_rest(), [true; 4]);
    let data = ca.data();
    let data = data.path().to_str().unwrap();
    let (_, listed, _) = rec(&["ls", "--data", data]);
    assert!(listed.contains("about to be removed"), "{listed}");
    let mut expiry = Expiry::default();
    let looked = look(&mut expiry, &mut gone, false).unwrap();
    assert_eq!((looked.expired, looked.removed), (1, 2), "the first is not logged twice");
    assert_eq!(at_rest(), [false, false, true, true]);
    assert_eq!(look(&mut expiry, &mut gone, false).unwrap().removed, 0);
    assert_eq!(gone.len(), 2);
    let entries: Vec<_> = (0..ca.size()).map(|index| ca.reader().entry(index).unwrap().event).collect();
    let expired = entries.iter().filter(|event| matches!(event, Logged::RecordingExpired { .. }));
    assert_eq!(expired.count(), 2);

    // What is gone by policy is not missing.
    let (_, listed, _) = rec(&["ls", "--data", data]);
    assert_eq!(listed.matches("expired by policy on 20").count(), 2, "{listed}");
    assert!(!listed.contains("missing"), "{listed}");
    let (code, _, said) = rec(&["verify", "--data", data]);
    assert!(code == Some(0) && said.contains("1 verified, 1 not reported yet, 2 expired"), "{said}");
    let (code, _, said) = rec(&["export", &Nonce([1; 16]).to_string(), "--data", data, "--unlogged"]);
    assert!(code == Some(1) && said.contains("expired by policy on"), "{said}");
    assert_eq!(ca.road.published().gate().bundle.policy.keep().unwrap().recordings_s, 400 * 86_400);
}
