//! The fence: a CA that may have lost entries signs nothing, and goes on reading; what raises it, what does not,
//! and what ends it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

mod installed;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::Opened;
use fireaxe_protocol::host::Report;
use fireaxe_protocol::log::{Checkpoint, Hash, NoteSigner};
use fireaxe_protocol::statement::Statement;
use installed::speaking::{DB3, DB4, heartbeat, with_hosts};
use installed::{ANA, BEN, Installed, signed};

const DB5: &str = "db-5.payments.prod";

/// The log's files as they are now.
fn kept(ca: &Installed) -> Vec<u8> {
    let copy = ca.folder().join("kept");
    let _ = std::fs::remove_file(&copy);
    ca.reader().copy_to(&copy).unwrap();
    std::fs::read(copy).unwrap()
}

/// Stops the CA, puts these bytes into the log's very file, as a virtual machine's snapshot does, and starts it.
fn put_back(ca: Installed, bytes: &[u8]) -> Installed {
    ca.restart_after(|data| {
        for end in ["-wal", "-shm"] {
            let mut name = data.log().into_os_string();
            name.push(end);
            let _ = std::fs::remove_file(name);
        }
        std::fs::write(data.log(), bytes).unwrap();
    })
}

/// Stops the CA, replaces the log by a copy of itself that was made by hand, and starts it.
fn copied(ca: Installed) -> Installed {
    ca.restart_after(|data| {
        let copy = data.path().join("copy");
        std::fs::copy(data.log(), &copy).unwrap();
        std::fs::rename(&copy, data.log()).unwrap();
    })
}

fn note(ca: &Installed) -> String {
    ca.reader().latest_checkpoint().unwrap()
}

/// A heartbeat with this head, and this note of a head that the CA does not show.
fn beat(head: Option<(u64, Hash)>, ahead: Option<String>) -> Report {
    let Report::Heartbeat(mut beat) = heartbeat(0) else { unreachable!() };
    (beat.head, beat.ahead) = (head, ahead);
    Report::Heartbeat(beat)
}

fn head(ca: &Installed) -> (u64, Hash) {
    let head = Checkpoint::open(&note(ca), ca.reader().key(), &ca.origin).unwrap();
    (head.size, head.root)
}

async fn says(ca: &Installed, host: &str, head: Option<(u64, Hash)>, ahead: Option<String>) {
    let said = ca.host_says(host, 0, beat(head, ahead));
    let told = ca.report(host, vec![said]).await;
    assert_eq!(told.status, 200, "{}", told.text());
}

/// Everything that would append is refused, and appends nothing; what is read goes on.
async fn signs_nothing(ca: &Installed, opened: &Opened) {
    let before = ca.size();
    let words = signed(ANA, &Statement::Declare(ca.declare(DB4)));
    let problem = ca.send(&words).await.problem(503, "ca.fenced");
    assert!(problem.next.is_some_and(|next| next.contains("doctor")));
    ca.close_emergency(ANA, opened).await.problem(503, "ca.fenced");
    ca.incident("pd:X1", 1, "open", "payments-db").await.problem(503, "ca.fenced");
    let path = format!("/operator/hosts/{DB3}/retirement");
    let retired = ca.operator("POST", &path, serde_json::json!({})).await;
    retired.problem(503, "ca.fenced");
    // Time passes behind the fence too; nothing that the clock owes is appended.
    ca.clock.pass(200);
    let session = ca.login(BEN).await;
    let path = "/v1/requests";
    assert_eq!(ca.get(path, Some(&ca.proof(&session, "GET", path))).await.status, 200);
    assert_eq!(ca.get("/v1/krl", None).await.status, 200);
    assert_eq!(ca.get("/log/checkpoint", None).await.status, 200);
    assert!(ca.feed(DB3).await.next().await.unwrap().head.is_some());
    let health = ca.operator("GET", "/healthz", serde_json::json!({})).await;
    assert_eq!(health.status, 503);
    assert!(health.json::<serde_json::Value>()["fence"].as_str().unwrap() != "open");
    assert_eq!(ca.size(), before);
}

#[tokio::test]
async fn a_head_that_its_own_key_signed_and_that_it_lost_fences_a_ca_until_its_log_has_it_again() {
    let ca = with_hosts(&[DB3]).await;
    let opened = ca.open_emergency(ANA, &ca.declare(DB3)).await;
    let yesterday = kept(&ca);
    let later = ca.open_emergency(BEN, &ca.declare("web")).await;
    let (newest, today) = (note(&ca), kept(&ca));
    // A snapshot of the machine is put back: same file, same machine. Nothing here can tell.
    let ca = put_back(ca, &yesterday);
    assert_eq!(ca.operator("GET", "/healthz", serde_json::json!({})).await.status, 200);
    says(&ca, DB3, None, Some(newest.clone())).await;
    signs_nothing(&ca, &opened).await;
    // At once after a restart too: the note was kept.
    let ca = ca.restart();
    signs_nothing(&ca, &opened).await;
    assert_eq!(std::fs::read_to_string(ca.data().fence_note()).unwrap(), newest);
    // It ends by itself once the log contains that head.
    let ca = put_back(ca, &today);
    assert_eq!(ca.operator("GET", "/healthz", serde_json::json!({})).await.status, 200);
    let next = ca.open_emergency(ANA, &ca.declare(DB4)).await;
    assert_eq!(next.emergency.0, later.emergency.0 + 1, "no number is given twice");
}

#[tokio::test]
async fn two_logs_of_one_name_are_found_by_the_first_host_that_saw_the_other() {
    let ca = with_hosts(&[DB3]).await;
    let opened = ca.open_emergency(ANA, &ca.declare(DB3)).await;
    let before = kept(&ca);
    ca.open_emergency(BEN, &ca.declare("web")).await;
    let other = note(&ca);
    let ca = put_back(ca, &before);
    for _ in 0..3 {
        ca.incident("pd:X1", 1, "open", "payments-db").await;
        ca.incident("pd:X1", 2, "open", "payments-db").await;
    }
    says(&ca, DB3, None, Some(other)).await;
    signs_nothing(&ca, &opened).await;
    let health = ca.operator("GET", "/healthz", serde_json::json!({})).await;
    assert!(health.text().contains("there are two of it"), "{}", health.text());
}

#[tokio::test]
async fn the_word_of_hosts_that_lie_stops_no_ca() {
    let ca = with_hosts(&[DB3, DB4]).await;
    ca.open_emergency(ANA, &ca.declare(DB3)).await;
    let (size, root) = head(&ca);
    let forger = SigningKey::from_bytes(&[66; 32]);
    let forger = NoteSigner::new(ca.origin.as_str(), forger).unwrap();
    let forged = Checkpoint { origin: ca.origin.clone(), size: size + 1000, root }.sign(&forger).unwrap();
    let ours = note(&ca);
    for (said, ahead) in [
        (Some((size + 1000, root)), None),
        (Some((size, Hash([9; 32]))), None),
        (Some((u64::MAX, root)), Some(forged)),
        (None, Some("garbage".into())),
        (None, Some(ours.replacen(&format!("\n{size}\n"), &format!("\n{}\n", size + 1), 1))),
        // A head of ours that we have: an old one, said again.
        (None, Some(ours)),
    ] {
        says(&ca, DB3, said, ahead).await;
        says(&ca, DB4, said, None).await;
    }
    assert_eq!(ca.operator("GET", "/healthz", serde_json::json!({})).await.status, 200);
    ca.open_emergency(ANA, &ca.declare(DB4)).await;
}

#[tokio::test]
async fn a_log_that_was_copied_by_hand_signs_nothing_until_its_hosts_have_confirmed_its_head() {
    let ca = with_hosts(&[DB3, DB4, DB5]).await;
    let opened = ca.open_emergency(ANA, &ca.declare(DB3)).await;
    // Started again where it is: no question is asked.
    let ca = ca.restart();
    assert_eq!(ca.operator("GET", "/healthz", serde_json::json!({})).await.status, 200);
    let ca = copied(ca).restart();
    signs_nothing(&ca, &opened).await;
    let (size, root) = head(&ca);
    let all = [DB3, DB4, DB5];
    let health = || ca.operator("GET", "/healthz", serde_json::json!({}));
    // One of them knows more, without a note: it is not confirmed.
    for host in all {
        says(&ca, host, Some((size, root)), None).await;
    }
    says(&ca, DB4, Some((size + 1, root)), None).await;
    ca.clock.pass(150);
    for host in [DB3, DB5] {
        says(&ca, host, Some((size, root)), None).await;
    }
    assert_eq!(health().await.status, 503);
    // Nor by a root of another log, nor by hosts that saw no head.
    says(&ca, DB4, Some((size, Hash([1; 32]))), None).await;
    says(&ca, DB4, None, None).await;
    assert_eq!(health().await.status, 503);
    says(&ca, DB4, Some((size, root)), None).await;
    assert_eq!(health().await.status, 200);
    let ca = ca.restart();
    ca.open_emergency(ANA, &ca.declare(DB4)).await;
}

#[tokio::test]
async fn two_of_three_hosts_or_all_of_them_too_soon_confirm_nothing() {
    let ca = copied(with_hosts(&[DB3, DB4, DB5]).await);
    let here = Some(head(&ca));
    for host in [DB3, DB4, DB5] {
        says(&ca, host, here, None).await;
    }
    assert_eq!(ca.operator("GET", "/healthz", serde_json::json!({})).await.status, 503);
    let ca = ca.restart();
    for _ in 0..3 {
        says(&ca, DB3, here, None).await;
        says(&ca, DB4, here, None).await;
        ca.clock.pass(150);
    }
    assert_eq!(ca.operator("GET", "/healthz", serde_json::json!({})).await.status, 503);
}

#[tokio::test]
async fn one_host_that_says_it_knows_more_and_shows_nothing_does_not_hold_a_copied_log_up_for_ever() {
    let ca = copied(with_hosts(&[DB3, DB4, DB5]).await);
    let (size, root) = head(&ca);
    let health = || ca.operator("GET", "/healthz", serde_json::json!({}));
    for waited in [150, 149, 0] {
        says(&ca, DB4, Some((size + 1000, root)), None).await;
        for host in [DB3, DB5] {
            says(&ca, host, Some((size, root)), None).await;
        }
        assert_eq!(health().await.status, 503);
        ca.clock.pass(waited);
    }
    ca.clock.pass(1);
    says(&ca, DB4, Some((size + 1000, root)), None).await;
    assert_eq!(health().await.status, 200);
    ca.open_emergency(ANA, &ca.declare(DB4)).await;
}

#[tokio::test]
async fn a_note_that_could_not_be_kept_is_kept_as_soon_as_it_can_be_and_no_smaller_one_takes_its_place() {
    let ca = with_hosts(&[DB3]).await;
    let before = kept(&ca);
    ca.open_emergency(ANA, &ca.declare(DB3)).await;
    let smaller = note(&ca);
    ca.open_emergency(BEN, &ca.declare("web")).await;
    let newest = note(&ca);
    let ca = put_back(ca, &before);
    // Where the file would be written first there is something in the way.
    let in_the_way = ca.data().path().join("fence.note.new");
    std::fs::create_dir(&in_the_way).unwrap();
    says(&ca, DB3, None, Some(newest.clone())).await;
    ca.incident("pd:X1", 1, "open", "payments-db").await.problem(503, "ca.fenced");
    assert!(!ca.data().fence_note().exists());
    std::fs::remove_dir(&in_the_way).unwrap();
    says(&ca, DB3, None, Some(smaller)).await;
    ca.incident("pd:X1", 1, "open", "payments-db").await.problem(503, "ca.fenced");
    assert_eq!(std::fs::read_to_string(ca.data().fence_note()).unwrap(), newest);
}
