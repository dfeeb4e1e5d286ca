//! What the outside meets while the log cannot be written or takes long: a plain refusal, nothing signed,
//! nothing half-told; and that it goes on by itself afterwards.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use fireaxe_ca::log::Reader;
use fireaxe_protocol::api::Opened;
use fireaxe_protocol::statement::Statement;
use installed::{ANA, BEN, Installed, signed};
use rusqlite::Connection;

const DB: &str = "db-3.payments.prod";

fn database(ca: &Installed) -> Connection {
    Connection::open(ca.data().log()).unwrap()
}

fn verify(reader: &Reader) -> u64 {
    let (tally, found) = fireaxe_ca::verify::verify(reader, &mut |_| {}).unwrap();
    assert_eq!(found, []);
    tally.entries
}

#[tokio::test]
async fn while_the_log_cannot_be_written_nothing_is_signed_or_closed_and_then_it_goes_on() {
    let ca = Installed::new();
    let first = signed(ANA, &Statement::Declare(ca.declare(DB)));
    let opened: Opened = ca.send(&first).await.json();
    let before = ca.size();
    database(&ca)
        .execute_batch("CREATE TRIGGER broken BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'disk'); END")
        .unwrap();

    let second = signed(ANA, &Statement::Declare(ca.declare("db-4.payments.prod")));
    let problem = ca.send(&second).await.problem(503, "log.unavailable");
    assert!(problem.next.is_some_and(|next| next.contains("same statement again")));
    // Several in one batch: none may read "closed" off what the others tried.
    let closings: Vec<_> = (0..12).map(|n| ca.closing(if n % 2 == 0 { ANA } else { BEN }, &opened)).collect();
    let path = format!("/v1/emergencies/{}/closure", opened.emergency);
    let (a, b, c, d, e, f, g, h) = tokio::join!(
        ca.post(&path, &closings[0]),
        ca.post(&path, &closings[1]),
        ca.post(&path, &closings[2]),
        ca.post(&path, &closings[3]),
        ca.post(&path, &closings[4]),
        ca.post(&path, &closings[5]),
        ca.post(&path, &closings[6]),
        ca.post(&path, &closings[7]),
    );
    for told in [a, b, c, d, e, f, g, h] {
        told.problem(503, "log.unavailable");
    }
    assert_eq!(ca.size(), before);
    let again: Opened = ca.send(&first).await.json();
    assert_eq!(again, opened, "what is in the log already is still answered");

    database(&ca).execute_batch("DROP TRIGGER broken").unwrap();
    let later: Opened = ca.send(&second).await.json();
    assert_eq!(later.emergency.0, opened.emergency.0 + 1, "no number was lost");
    assert_eq!(ca.post(&path, &closings[0]).await.status, 200);
    assert_eq!(verify(&ca.reader()), ca.size());
}

#[tokio::test]
async fn a_database_that_another_program_locks_is_waited_for_and_then_refused() {
    let ca = Installed::new();
    let words = signed(ANA, &Statement::Declare(ca.declare(DB)));
    let other = database(&ca);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    ca.send(&words).await.problem(503, "log.unavailable");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(ca.send(&words).await.status, 201);
    verify(&ca.reader());
}

#[tokio::test]
async fn a_writer_that_takes_too_long_is_not_waited_for_and_the_retry_finds_out() {
    let ca = Installed::new();
    let words = signed(ANA, &Statement::Declare(ca.declare(DB)));
    let other = database(&ca);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    tokio::time::pause();
    ca.send(&words).await.problem(503, "ca.slow");
    other.execute_batch("ROLLBACK").unwrap();
    tokio::time::resume();
    let opened: Opened = ca.send(&words).await.json();
    assert_eq!(opened.emergency.0, 1, "one emergency, however often it was asked for");
    verify(&ca.reader());
}

/// A body that never comes.
struct Never;

impl hyper::body::Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_holds_nothing_for_long() {
    let ca = Installed::new();
    let told = ca.post_body("/v1/emergencies", Body::new(Never)).await;
    told.problem(408, "request.timeout");
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_said_and_no_list_is_made_anew() {
    let ca = Installed::new();
    let opened = ca.open_emergency(ANA, &ca.declare(DB)).await;
    assert_eq!(ca.state_of(opened.emergency).await.state, "open");
    let session = ca.login(BEN).await;
    database(&ca).execute_batch("ALTER TABLE checkpoint RENAME TO elsewhere").unwrap();
    ca.get("/log/checkpoint", None).await.problem(503, "log.unreadable");
    let proof = ca.proof(&session, "GET", "/v1/emergencies");
    ca.get("/v1/emergencies", Some(&proof)).await.problem(503, "views.unavailable");
    database(&ca).execute_batch("ALTER TABLE elsewhere RENAME TO checkpoint").unwrap();
    assert_eq!(ca.state_of(opened.emergency).await.state, "open");
}

#[tokio::test]
async fn a_ca_that_stops_says_so() {
    let ca = Installed::new();
    ca.road.stop();
    for _ in 0..1000 {
        if ca.road.is_stopped() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let words = signed(ANA, &Statement::Declare(ca.declare(DB)));
    ca.send(&words).await.problem(503, "ca.stopping");
}
