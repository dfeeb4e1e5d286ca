//! How an emergency ends, by every way of the table in docs/ISSUANCE.md; and what a jump of the clock
//! does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use base64::Engine;
use fireaxe_protocol::api::{Closed, Keys, Opened};
use fireaxe_protocol::krl::RevocationList;
use fireaxe_protocol::log::{Entry, Event, Hash, KrlNote};
use fireaxe_protocol::statement::Statement;
use installed::{ANA, Installed, signed};

const DB: &str = "db-3.payments.prod";

fn serial(opened: &Opened) -> u64 {
    ssh_key::Certificate::from_openssh(opened.certificate.as_ref().unwrap()).unwrap().serial()
}

/// Reads the revocation list and checks its note.
async fn list(ca: &Installed) -> (RevocationList, KrlNote, Keys) {
    let keys: Keys = ca.get("/v1/keys", None).await.json();
    let told = ca.get("/v1/krl", None).await;
    let note = told.headers["fireaxe-krl-note"].to_str().unwrap();
    let note = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(note).unwrap()).unwrap();
    let note = KrlNote::open(&note, &keys.krl.parse().unwrap(), &keys.origin).unwrap();
    assert_eq!(note.krl, Hash::of(&told.bytes));
    (RevocationList::read(&told.bytes).unwrap(), note, keys)
}

#[tokio::test]
async fn closing_revokes_what_is_alive_and_a_retry_gets_nothing_more() {
    let ca = Installed::new();
    let words = ca.declare(DB);
    let opened = ca.open_emergency(ANA, &words).await;
    let (before, note, keys) = list(&ca).await;
    assert!(!before.is_revoked(&keys.user_ca, serial(&opened)));
    assert!(before.is_revoked(&keys.user_ca, fireaxe_protocol::limits::CANARY_SERIAL));

    let envelope = ca.closing(ANA, &opened);
    let path = format!("/v1/emergencies/{}/closure", opened.emergency);
    let closed: Closed = ca.post(&path, &envelope).await.json();
    assert_eq!(closed.revoked, [serial(&opened)]);
    let (after, newer, _) = list(&ca).await;
    assert!(after.is_revoked(&keys.user_ca, serial(&opened)));
    assert!(newer.version > note.version && newer.version >= closed.entry);
    assert_eq!(ca.post(&path, &envelope).await.json::<Closed>(), closed, "the same words, the same answer");

    let retry = signed(ANA, &Statement::Declare(words));
    let size = ca.size();
    ca.send(&retry).await.problem(409, "emergency.closed");
    ca.send(&retry).await.problem(409, "emergency.closed");
    let last = Entry::decode(&ca.reader().entry_bytes(size).unwrap()).unwrap();
    assert!(matches!(last.event, Event::CertificateAbandoned { serial: s, .. } if s == serial(&opened)));
    assert_eq!(ca.size(), size + 1, "abandoned once");
}

#[tokio::test]
async fn a_list_that_did_not_change_is_not_sent_again() {
    let ca = Installed::new();
    let told = ca.get("/v1/krl", None).await;
    assert_eq!(told.status, 200);
    let again = ca.get("/v1/krl", None).await;
    assert_eq!(told.bytes, again.bytes);
    assert_eq!(told.headers["etag"], again.headers["etag"]);
    ca.clock.pass(60);
    let (_, note, _) = list(&ca).await;
    assert_eq!(note.time, ca.clock.wall(), "its note is dated anew, so that hosts see how fresh it is");
    let later = ca.get("/v1/krl", None).await;
    assert_eq!(later.headers["etag"], told.headers["etag"], "the list itself did not change");
}

#[tokio::test]
async fn the_clock_closes_at_the_end_of_the_last_certificate() {
    let ca = Installed::new();
    ca.incident("pd:A", 2, "open", "payments-db").await;
    let opened = ca.open_emergency(ANA, &ca.declare(DB)).await;
    let lifetime = u64::from(opened.terms.as_ref().unwrap().lifetime_s);
    ca.clock.pass(lifetime - 1);
    ca.incident("pd:B", 4, "open", "build").await;
    assert_eq!(ca.state_of(opened.emergency).await.state, "open");
    ca.clock.pass(1);
    ca.incident("pd:B", 4, "open", "build").await;
    let ended = ca.state_of(opened.emergency).await;
    assert_eq!((ended.state.as_str(), ended.closed_by.as_deref()), ("closed", Some("deadline")));
}

#[tokio::test]
async fn a_bare_claim_that_is_never_tied_to_an_incident_closes_itself_flagged() {
    let ca = Installed::new();
    let mut words = ca.declare("payments-db");
    words.severity = Some(3.try_into().unwrap());
    let opened = ca.open_emergency(ANA, &words).await;
    let link_by = opened.link_by.expect("a bare claim must be tied");
    ca.clock.pass(link_by - ca.clock.wall());
    ca.incident("pd:B", 4, "open", "build").await;
    let ended = ca.state_of(opened.emergency).await;
    // The default policy's claim ends with its 30 minutes of life or its 30 minutes to be tied, whichever
    // the table names first.
    assert_eq!(ended.state, "closed");
    assert!(["unlinked", "deadline"].contains(&ended.closed_by.as_deref().unwrap()));
}

#[tokio::test]
async fn a_resolved_incident_starts_the_countdown_and_the_countdown_closes() {
    let ca = Installed::new();
    ca.incident("pd:PGR0VU2", 1, "open", "payments-db").await;
    let mut words = ca.declare(DB);
    words.severity = None;
    words.incident = Some("pd:PGR0VU2".parse().unwrap());
    let opened = ca.open_emergency(ANA, &words).await;
    assert_eq!(opened.terms.as_ref().unwrap().tier.as_str(), "root");
    assert_eq!(opened.link_by, None);

    ca.incident("pd:PGR0VU2", 1, "resolved", "payments-db").await;
    let closing = ca.state_of(opened.emergency).await;
    assert_eq!(closing.state, "closing");
    assert_eq!(closing.until, ca.clock.wall() + 600);
    let (krl, _, keys) = list(&ca).await;
    assert!(!krl.is_revoked(&keys.user_ca, serial(&opened)), "what is alive goes on for the countdown");
    ca.send(&signed(ANA, &Statement::Declare(words))).await.problem(409, "emergency.closing");

    ca.clock.pass(600);
    ca.incident("pd:B", 4, "open", "build").await;
    let ended = ca.state_of(opened.emergency).await;
    assert_eq!((ended.state.as_str(), ended.closed_by.as_deref()), ("closed", Some("grace")));
    let (krl, ..) = list(&ca).await;
    assert!(krl.is_revoked(&keys.user_ca, serial(&opened)));
}

#[tokio::test]
async fn a_second_host_of_the_system_counts_as_the_whole_system() {
    let ca = Installed::new();
    ca.incident("pd:PGR0VU2", 1, "open", "payments-db").await;
    let with_incident = |host: &str| {
        let mut words = ca.declare(host);
        words.severity = None;
        words.incident = Some("pd:PGR0VU2".parse().unwrap());
        words
    };
    let first = ca.open_emergency(ANA, &with_incident("db-3.payments.prod")).await;
    assert_eq!(first.decision.band, "medium");
    let told = ca.send(&signed(ANA, &Statement::Declare(with_incident("db-4.payments.prod")))).await;
    let problem = told.problem(403, "policy.denied");
    assert_eq!(problem.decision.unwrap().band, "high");
    assert_eq!(ca.close_emergency(ANA, &first).await.status, 200);
    let second = ca.open_emergency(ANA, &with_incident("db-4.payments.prod")).await;
    assert_eq!(second.decision.band, "medium", "one host alone again");
}

#[tokio::test]
async fn a_jump_of_the_clock_stops_signing_until_an_operator_confirms() {
    for jump in [301i64, -301] {
        let ca = Installed::new();
        ca.clock.jump(jump);
        ca.send(&signed(ANA, &Statement::Declare(ca.declare(DB)))).await.problem(503, "clock.stopped");
        let health = ca.operator("GET", "/healthz", serde_json::json!(null)).await;
        assert_eq!(health.status, 503);
        let body = serde_json::json!({"reason": "ntp was wrong"});
        assert_eq!(ca.operator("POST", "/operator/clock", body).await.status, 200);
        if jump < 0 {
            // A certificate would begin in the hosts' future: wait until the wall is near the log again.
            ca.send(&signed(ANA, &Statement::Declare(ca.declare(DB)))).await.problem(503, "clock.stopped");
            ca.clock.pass(301 - 60);
        }
        ca.open_emergency(ANA, &ca.declare(DB)).await;
    }
}

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let ca = Installed::new();
    let opened = ca.open_emergency(ANA, &ca.declare(DB)).await;
    let ca = ca.restart();
    assert_eq!(ca.state_of(opened.emergency).await.state, "open");
    assert_eq!(ca.close_emergency(ANA, &opened).await.status, 200);
    let ca = ca.restart();
    let (krl, _, keys) = list(&ca).await;
    assert!(krl.is_revoked(&keys.user_ca, serial(&opened)));
    ca.close_emergency(ANA, &opened).await.problem(409, "emergency.closed");
    let next = ca.open_emergency(ANA, &ca.declare(DB)).await;
    assert_eq!(next.emergency.0, opened.emergency.0 + 1, "numbers go on without a gap");
}

#[tokio::test]
async fn lists_are_made_anew_when_their_file_is_gone_or_broken() {
    let ca = Installed::new();
    let opened = ca.open_emergency(ANA, &ca.declare(DB)).await;
    assert_eq!(ca.state_of(opened.emergency).await.state, "open");
    let views = ca.data().views();
    std::fs::write(&views, b"not a database").unwrap();
    let ca = ca.restart();
    assert_eq!(ca.state_of(opened.emergency).await.serials, [serial(&opened)]);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", views.display()));
    }
    let ca = ca.restart();
    assert_eq!(ca.state_of(opened.emergency).await.state, "open");
}

#[tokio::test]
async fn the_whole_log_verifies_and_a_changed_entry_is_named() {
    let ca = Installed::new();
    ca.incident("pd:PGR0VU2", 1, "open", "payments-db").await;
    let opened = ca.open_emergency(ANA, &ca.declare(DB)).await;
    ca.close_emergency(ANA, &opened).await;
    let (tally, found) = fireaxe_ca::verify::verify(&ca.reader(), &mut |_| {}).unwrap();
    assert_eq!(found, []);
    assert_eq!((tally.statements, tally.decisions, tally.certificates), (2, 1, 1));
    assert_eq!(tally.entries, ca.size());

    let database = rusqlite::Connection::open(ca.data().log()).unwrap();
    let index = serial(&opened).cast_signed() - 1;
    let bytes: Vec<u8> =
        database.query_row("SELECT bytes FROM entry WHERE idx = ?1", [index], |row| row.get(0)).unwrap();
    let text = String::from_utf8(bytes).unwrap().replace("refuses writes", "refuses wrItes");
    database
        .execute("UPDATE entry SET bytes = ?2 WHERE idx = ?1", rusqlite::params![index, text.as_bytes()])
        .unwrap();
    let (_, found) = fireaxe_ca::verify::verify(&ca.reader(), &mut |_| {}).unwrap();
    assert!(
        found.iter().any(|f| f.entry == index.cast_unsigned() && f.what.contains("does not match")),
        "{found:?}"
    );
    assert!(found.iter().any(|f| f.what.contains("not over these entries")), "{found:?}");
}

/// Opens what is there with a wall that is off by `seconds`, as a machine with a broken clock does at boot.
fn restart_with_wall_off(ca: Installed, seconds: i64) -> Installed {
    ca.clock.jump(seconds);
    ca.restart()
}

#[tokio::test]
async fn a_wall_that_is_wrong_at_start_empties_no_list_and_forgets_no_statement() {
    let ca = Installed::new();
    let words = signed(ANA, &Statement::Declare(ca.declare(DB)));
    let opened: Opened = ca.send(&words).await.json();
    assert_eq!(ca.close_emergency(ANA, &opened).await.status, 200);
    let ca = restart_with_wall_off(ca, 30 * 86_400);
    let (krl, _, keys) = list(&ca).await;
    assert!(krl.is_revoked(&keys.user_ca, serial(&opened)), "a month passed, says the wall alone");
    // The wall is put right; nothing was appended meanwhile.
    let ca = restart_with_wall_off(ca, -30 * 86_400);
    let (krl, ..) = list(&ca).await;
    assert!(krl.is_revoked(&keys.user_ca, serial(&opened)));
    ca.send(&words).await.problem(409, "emergency.closed");
    assert_eq!(fireaxe_ca::verify::verify(&ca.reader(), &mut |_| {}).unwrap().1, []);
}

#[tokio::test]
async fn whoever_is_told_of_a_closing_finds_it_in_the_list_at_once() {
    let ca = Installed::new();
    for _ in 0..50 {
        let opened = ca.open_emergency(ANA, &ca.declare(DB)).await;
        let closed: Closed = ca.close_emergency(ANA, &opened).await.json();
        assert_eq!(ca.road.published().revocations().version, closed.entry);
        // No more within an hour than one person may declare.
        ca.clock.pass(600);
    }
}

#[tokio::test]
async fn a_log_whose_facts_are_not_its_signed_words_is_found_out() {
    let ca = Installed::new();
    ca.incident("pd:PGR0VU2", 2, "open", "payments-db").await;
    let mut words = ca.declare(DB);
    words.incident = Some("pd:PGR0VU2".parse().unwrap());
    ca.open_emergency(ANA, &words).await;
    let (_, found) = fireaxe_ca::verify::verify(&ca.reader(), &mut |_| {}).unwrap();
    assert_eq!(found, []);
    let database = rusqlite::Connection::open(ca.data().log()).unwrap();
    for (from, to, says) in [
        ("\"on_call\":true", "\"on_call\":false", "its facts are not those"),
        ("\"person\":\"ana\"", "\"person\":\"ben\"", "does not give that key to ben"),
        ("\"until\":", "\"until\":1", "do not follow"),
    ] {
        let sql = "UPDATE entry SET bytes = CAST(replace(CAST(bytes AS TEXT), ?1, ?2) AS BLOB) WHERE idx = 5";
        let changed = |a: &str, b: &str| database.execute(sql, [a, b]).unwrap();
        let before: Vec<u8> =
            database.query_row("SELECT bytes FROM entry WHERE idx = 5", [], |row| row.get(0)).unwrap();
        assert!(String::from_utf8_lossy(&before).contains(from), "{from}");
        changed(from, to);
        let (_, found) = fireaxe_ca::verify::verify(&ca.reader(), &mut |_| {}).unwrap();
        assert!(found.iter().any(|f| f.entry == 5 && f.what.contains(says)), "{to}: {found:?}");
        database.execute("UPDATE entry SET bytes = ?1 WHERE idx = 5", [before]).unwrap();
    }
}

#[tokio::test]
async fn a_rehearsal_that_gave_a_certificate_is_owed_a_review() {
    let ca = Installed::new();
    let mut words = ca.declare(DB);
    words.drill = true;
    let opened = ca.open_emergency(ANA, &words).await;
    assert_eq!(ca.close_emergency(ANA, &opened).await.status, 200);
    let ended = ca.state_of(opened.emergency).await;
    assert!(ended.drill);
    assert_eq!(ended.review.map(|review| review.due), Some(ca.clock.wall() + 72 * 3600));
    ca.verifies();
}

#[tokio::test]
async fn more_time_on_a_bare_claim_alone_must_be_tied_too() {
    let ca = Installed::new();
    ca.incident("pd:A", 2, "open", "payments-db").await;
    let mut words = ca.declare(DB);
    words.severity = Some(2.try_into().unwrap());
    let opened = ca.open_emergency(ANA, &words).await;
    assert_eq!(opened.link_by, None, "tied at once");
    ca.incident("pd:A", 2, "resolved", "payments-db").await;
    ca.clock.pass(60);
    let extend = |of| {
        let header = ca.header(fireaxe_protocol::statement::Kind::Extend);
        let id = opened.emergency;
        Statement::Extend(fireaxe_protocol::statement::Extend {
            header,
            of,
            emergency: id,
            severity: None,
            incident: None,
            for_s: None,
            reason: None,
        })
    };
    let path = format!("/v1/emergencies/{}/extensions", opened.emergency);
    let told = ca.post(&path, &signed(ANA, &extend(opened.declaration))).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let due = ca.clock.wall() + 1800;
    // Asking once more does not put it off.
    ca.clock.pass(900);
    let told = ca.post(&path, &signed(ANA, &extend(opened.declaration))).await;
    assert_eq!(told.status, 200, "{}", told.text());
    ca.clock.pass(due - ca.clock.wall() - 1);
    ca.incident("pd:B", 4, "open", "build").await;
    assert_eq!(ca.state_of(opened.emergency).await.state, "open");
    ca.clock.pass(1);
    ca.incident("pd:B", 4, "open", "build").await;
    let ended = ca.state_of(opened.emergency).await;
    assert_eq!((ended.state.as_str(), ended.closed_by.as_deref()), ("closed", Some("unlinked")));
    ca.verifies();
}
