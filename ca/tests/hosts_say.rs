//! What hosts follow and what they say: the feed, reports and their numbers, confirmations, the fleet.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

mod installed;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::api::{ChunksTaken, Consistency, Emergency, FeedEvent, Fleet, Reports};
use fireaxe_protocol::host::{Report, SelfTest};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::tree::verify_consistency;
use fireaxe_protocol::log::{Checkpoint, Entry, Event, Hash, KrlNote, NoteKey};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::recording::{Ended, Header, SessionKind, Stream, Writer};
use fireaxe_protocol::statement::{Enrol, HostReport, Kind, Nonce, Statement, sign_ed25519};
use installed::speaking::{DB3, DB4, closed, confirmed, heartbeat, host_key, opened, with_hosts};
use installed::{ANA, BEN, CLEO, DAN, Installed};

fn entries(ca: &Installed) -> Vec<Entry> {
    (0..ca.size()).map(|index| ca.reader().entry(index).unwrap()).collect()
}

fn last(ca: &Installed) -> Event {
    entries(ca).pop().unwrap().event
}

fn head(ca: &Installed, event: &FeedEvent) -> Checkpoint {
    let pinned = ca.road.published().keys().log;
    let key = NoteKey::new(ca.origin.as_str(), &pinned).unwrap();
    Checkpoint::open(&event.head.as_ref().unwrap().checkpoint, &key, &ca.origin).unwrap()
}

fn note(ca: &Installed, event: &FeedEvent) -> KrlNote {
    let pinned = ca.road.published().keys().krl;
    let key = NoteKey::new(&KrlNote::key_name(&ca.origin), &pinned).unwrap();
    let list = event.krl.as_ref().unwrap();
    let text = String::from_utf8(STANDARD.decode(&list.note).unwrap()).unwrap();
    KrlNote::open(&text, &key, &ca.origin).unwrap()
}

#[tokio::test]
async fn a_feed_begins_with_everything_and_goes_on_with_what_is_new() {
    let ca = with_hosts(&[DB3, DB4]).await;
    let mut feed = ca.feed(DB3).await;
    let first = feed.next().await.unwrap();
    assert_eq!(first.schema, "fireaxe.feed/v1");
    let list = STANDARD.decode(first.krl.as_ref().unwrap().krl.as_ref().unwrap()).unwrap();
    assert_eq!(note(&ca, &first).krl, Hash::of(&list));
    assert_eq!(first.head.as_ref().unwrap().from, 0);
    assert_eq!(first.closing, Some(Vec::new()));
    let told = head(&ca, &first);
    assert!(told.size <= ca.size(), "the newest that was told: at most ten seconds old");

    // Revoked: the list with its bytes, and the head over it, which continues the one before it.
    let emergency = ca.open_emergency(ANA, &ca.declare("payments-db")).await;
    ca.close_emergency(ANA, &emergency).await;
    let event = feed.until(|event| event.krl.is_some()).await;
    let list = STANDARD.decode(event.krl.as_ref().unwrap().krl.as_ref().unwrap()).unwrap();
    assert_eq!(note(&ca, &event).krl, Hash::of(&list));
    assert!(list.starts_with(b"SSHKRL"));
    let (next, proved) = (head(&ca, &event), event.head.clone().unwrap());
    assert!(next.size > event.krl.unwrap().version, "the head covers the entry that revoked");
    assert_eq!(proved.from, told.size);
    verify_consistency(told.size, next.size, &proved.proof, &told.root, &next.root).unwrap();

    // A note that is made anew comes without the bytes.
    ca.clock.pass(31);
    let event = feed.until(|event| event.krl.is_some()).await;
    assert_eq!(event.krl.as_ref().unwrap().krl, None);
    assert_eq!(note(&ca, &event).time, ca.clock.wall());

    // A countdown, and that it is held.
    let words = fireaxe_protocol::statement::Declare {
        incident: Some("pd:P1".parse().unwrap()),
        ..ca.declare("payments-db")
    };
    ca.incident("pd:P1", 1, "open", "payments-db").await;
    let emergency = ca.open_emergency(ANA, &words).await;
    ca.incident("pd:P1", 1, "resolved", "payments-db").await;
    let event = feed.until(|event| event.closing.is_some()).await;
    let closing = event.closing.unwrap();
    assert_eq!((closing.len(), closing[0].emergency), (1, emergency.emergency));
    assert_eq!(closing[0].serials.len(), 1);
    ca.close_emergency(ANA, &emergency).await;
    let event = feed.until(|event| event.closing.is_some()).await;
    assert_eq!(event.closing, Some(Vec::new()));
}

#[tokio::test]
async fn heads_alone_are_told_each_ten_seconds_and_prove_each_other() {
    let ca = with_hosts(&[DB3]).await;
    let mut feed = ca.feed(DB3).await;
    let mut before = head(&ca, &feed.next().await.unwrap());
    for _ in 0..3 {
        ca.open_emergency(ANA, &ca.declare("payments-db")).await;
        ca.open_emergency(ANA, &ca.declare("db-4.payments.prod")).await;
        ca.clock.pass(10);
        let event = feed.until(|event| event.head.is_some()).await;
        let next = head(&ca, &event);
        let proved = event.head.unwrap();
        assert_eq!(proved.from, before.size);
        verify_consistency(before.size, next.size, &proved.proof, &before.root, &next.root).unwrap();
        before = next;
    }
    // Whoever missed some asks for what is between, openly.
    let path = format!("/log/consistency?from=2&to={}", before.size);
    let told: Consistency = ca.get(&path, None).await.json();
    let again: Consistency = ca.get(&path, None).await.json();
    assert_eq!(told, again);
    assert_eq!(told.proof, ca.reader().consistency(2, before.size).unwrap());
    ca.get("/log/consistency?from=9&to=2", None).await.problem(404, "consistency.unknown");
    ca.get("/log/consistency?from=1&to=99999", None).await.problem(404, "consistency.unknown");
    ca.get("/log/consistency?from=1", None).await.problem(400, "consistency.sizes");
}

#[tokio::test]
async fn a_feed_is_for_an_enrolled_host_and_its_newest_one_only() {
    let ca = with_hosts(&[DB3]).await;
    ca.get("/v1/feed", None).await.problem(401, "reader.missing");
    let stranger = host_key("db-9.payments.prod");
    ca.get("/v1/feed", Some(&ca.proof(&stranger, "GET", "/v1/feed"))).await.problem(401, "host.not_enrolled");
    let other = ca.proof(&host_key(DB3), "GET", "/v1/krl");
    ca.get("/v1/feed", Some(&other)).await.problem(401, "host.not_enrolled");
    let old = ca.proof(&host_key(DB3), "GET", "/v1/feed");
    ca.clock.pass(301);
    ca.get("/v1/feed", Some(&old)).await.problem(401, "reader.stale");

    let mut first = ca.feed(DB3).await;
    first.next().await.unwrap();
    let mut second = ca.feed(DB3).await;
    second.next().await.unwrap();
    while let Some(event) = first.next().await {
        assert_eq!(event.schema, "fireaxe.feed/v1");
    }
    let fleet: Fleet = ca.operator("GET", "/operator/fleet", serde_json::json!({})).await.json();
    assert!(fleet.hosts[0].following, "the end of the older is not that of the newer");
    drop(second);
    let fleet: Fleet = ca.operator("GET", "/operator/fleet", serde_json::json!({})).await.json();
    assert!(!fleet.hosts[0].following);
}

#[tokio::test]
async fn what_has_a_number_is_logged_once_in_order_and_survives_a_restart() {
    let ca = with_hosts(&[DB3, DB4]).await;
    let emergency = ca.open_emergency(ANA, &ca.declare("payments-db")).await;
    let account = emergency.terms.as_ref().unwrap().account.to_string();
    let serial = entries(&ca).iter().rfind(|e| e.body.is_some()).unwrap().index;
    let now = ca.clock.wall();
    let size = ca.size();
    let first = ca.host_says(DB3, 1, opened(1, serial, &account, now));
    for _ in 0..2 {
        let told = ca.report(DB3, vec![first.clone()]).await;
        assert_eq!(told.json::<fireaxe_protocol::api::ReportsTaken>().seq, 1);
    }
    assert_eq!(ca.size(), size + 1, "a repeat is answered and not logged again");
    let Event::SessionOpened { emergency: of, unusual, by } = last(&ca) else { panic!("{:?}", last(&ca)) };
    assert_eq!((of, unusual, by.said), (Some(emergency.emergency), vec![], first.clone()));

    // Its number with other words is no repeat.
    let other = ca.host_says(DB3, 1, opened(2, serial, &account, now));
    let told = ca.report(DB3, vec![other]).await.problem(409, "report.other_words");
    assert_eq!((told.expected, ca.size()), (Some(2), size + 1));

    // A gap is refused with the number that is next.
    let third = ca.host_says(DB3, 3, closed(1, serial, now));
    let told = ca.report(DB3, vec![third.clone()]).await.problem(409, "report.gap");
    assert_eq!(told.expected, Some(2));
    let told = ca.report(DB3, vec![first.clone(), third.clone()]).await.problem(409, "report.gap");
    assert_eq!(told.expected, Some(2));

    // Old words are taken: a host's spool outlives the CA's absence.
    let late = ca.host_says(DB3, 2, Report::Alarmed(Reason::new("spool.full", "full")));
    ca.clock.pass(40 * 60);
    let told = ca.report(DB3, vec![first.clone(), late, third.clone()]).await;
    assert_eq!(told.json::<fireaxe_protocol::api::ReportsTaken>().seq, 3);
    assert!(matches!(last(&ca), Event::SessionClosed { unusual, .. } if unusual.is_empty()));

    let ca = ca.restart();
    let size = ca.size();
    assert_eq!(ca.report(DB3, vec![third]).await.json::<fireaxe_protocol::api::ReportsTaken>().seq, 3);
    assert_eq!(ca.size(), size);
    let fifth = ca.host_says(DB3, 5, Report::Alarmed(Reason::new("x", "y")));
    assert_eq!(ca.report(DB3, vec![fifth]).await.problem(409, "report.gap").expected, Some(4));
    assert_eq!(
        ca.reported(DB4, 1, Report::Alarmed(Reason::new("x", "y"))).await.seq,
        1,
        "each counts for itself"
    );
}

#[tokio::test]
async fn only_what_the_last_request_held_is_a_repeat_also_after_a_restart() {
    let mut ca = with_hosts(&[DB3]).await;
    let alarm = |n: u64| Report::Alarmed(Reason::new("x", n.to_string()));
    let said: Vec<_> = (1..=5).map(|seq| ca.host_says(DB3, seq, alarm(seq))).collect();
    for batch in said.chunks(Reports::MOST) {
        ca.report(DB3, batch.to_vec()).await.json::<fireaxe_protocol::api::ReportsTaken>();
    }
    let size = ca.size();
    for _ in 0..2 {
        let told = ca.report(DB3, said[1..].to_vec()).await;
        assert_eq!(told.json::<fireaxe_protocol::api::ReportsTaken>().seq, 5);
        let told = ca.report(DB3, said[..1].to_vec()).await.problem(409, "report.gap");
        assert_eq!(told.expected, Some(6));
        // One that is the same and one that is not: nothing of it is taken, and the same is named.
        let other = vec![said[3].clone(), ca.host_says(DB3, 5, alarm(6)), ca.host_says(DB3, 6, alarm(7))];
        let told = ca.report(DB3, other).await.problem(409, "report.other_words");
        assert_eq!((told.expected, told.logged, ca.size()), (Some(6), vec![4], size));
        let other = vec![ca.host_says(DB3, 2, alarm(8)), said[2].clone(), said[3].clone()];
        let told = ca.report(DB3, other).await.problem(409, "report.other_words");
        assert_eq!((told.expected, told.logged), (Some(6), vec![3, 4]), "also behind what is not the same");
        let told = ca.report(DB3, said[..4].to_vec()).await.problem(409, "report.gap");
        assert_eq!(told.logged, [2, 3, 4], "the first is too long ago to be compared");
        ca = ca.restart();
    }
    ca.verifies();
}

#[tokio::test]
async fn the_feed_asks_those_whom_a_closing_reached_and_nobody_else() {
    let ca = with_hosts(&[DB3, DB4]).await;
    let (mut db_3, mut db_4) = (ca.feed(DB3).await, ca.feed(DB4).await);
    for (declared, reaches_db_4) in [("db-3.payments.prod", false), ("payments-db", true)] {
        let emergency = ca.open_emergency(ANA, &ca.declare(declared)).await;
        let closing: fireaxe_protocol::api::Closed = ca.close_emergency(ANA, &emergency).await.json();
        let list = |event: &FeedEvent| event.krl.as_ref().is_some_and(|list| list.version >= closing.entry);
        let (asked, other) = (db_3.until(list).await, db_4.until(list).await);
        assert_eq!(asked.confirm, Some(closing.entry));
        assert_eq!(other.confirm, reaches_db_4.then_some(closing.entry));
        assert_eq!((asked.krl, asked.head), (other.krl, other.head), "the same news for all");
        let said = ca.reported(DB3, 1 + u64::from(reaches_db_4), confirmed(closing.entry, ca.clock.wall()));
        assert_eq!(said.await.confirm, None, "nothing is asked for twice");
    }
    // A note that is made anew asks for nothing.
    ca.clock.pass(31);
    let event = db_3.until(|event| event.krl.as_ref().is_some_and(|list| list.krl.is_none())).await;
    assert_eq!(event.confirm, None);
}

#[tokio::test]
async fn what_a_host_said_before_it_joined_anew_is_not_taken_again() {
    let ca = with_hosts(&[DB3]).await;
    let alarm = || Report::Alarmed(Reason::new("x", "y"));
    let first = ca.host_says(DB3, 1, alarm());
    ca.report(DB3, vec![first.clone()]).await.json::<fireaxe_protocol::api::ReportsTaken>();
    ca.clock.pass(301);
    ca.joins(DB3).await;
    let size = ca.size();
    ca.report(DB3, vec![first]).await.problem(409, "report.before_enrolment");
    assert_eq!(ca.size(), size, "nothing of it is in the log");
    assert_eq!(ca.reported(DB3, 1, alarm()).await.seq, 1);
    ca.verifies();
}

#[tokio::test]
async fn what_is_repeated_or_old_says_nothing_of_how_its_host_is() {
    let ca = with_hosts(&[DB3]).await;
    let first = ca.host_says(DB3, 1, Report::Alarmed(Reason::new("x", "y")));
    ca.report(DB3, vec![first.clone()]).await.json::<fireaxe_protocol::api::ReportsTaken>();
    let ca = ca.restart();
    let seen = async || {
        let fleet: Fleet = ca.operator("GET", "/operator/fleet", serde_json::json!({})).await.json();
        fleet.hosts[0].clone()
    };
    ca.report(DB3, vec![first]).await.json::<fireaxe_protocol::api::ReportsTaken>();
    assert_eq!(seen().await.seen_at, None, "anybody can send that");
    let old = ca.host_says(DB3, 0, heartbeat(1));
    ca.clock.pass(301);
    ca.report(DB3, vec![old]).await.json::<fireaxe_protocol::api::ReportsTaken>();
    let host = seen().await;
    assert_eq!((host.mode, host.krl_version, host.krl_age_s), (None, None, None));
    assert_eq!(host.clock_ahead_s, Some(-301), "a clock that is wrong is seen all the same");
    ca.reported(DB3, 0, heartbeat(1)).await;
    assert_eq!(seen().await.krl_age_s, Some(3));
}

#[tokio::test]
async fn nobody_speaks_for_another_host_and_nothing_stands_where_it_does_not_belong() {
    let ca = with_hosts(&[DB3, DB4]).await;
    let size = ca.size();
    let words = ca.host_says(DB3, 1, Report::Alarmed(Reason::new("x", "y")));
    ca.report(DB4, vec![words.clone()]).await.problem(401, "host.other_key");
    ca.report("db-9.payments.prod", vec![words.clone()]).await.problem(401, "host.not_enrolled");
    ca.report("..", vec![words.clone()]).await.problem(400, "host.name");
    ca.report(DB3, vec![]).await.problem(400, "report.count");
    ca.report(DB3, vec![words.clone(); 5]).await.problem(400, "report.count");
    let forged = fireaxe_protocol::statement::Envelope {
        statement: words.statement.replace("\"x\"", "\"z\""),
        ..words.clone()
    };
    ca.report(DB3, vec![forged]).await.problem(400, "signature.mismatch");
    ca.report(DB3, vec![ca.host_says(DB3, 1, heartbeat(1))]).await.problem(403, "report.numbered");
    ca.report(DB3, vec![ca.host_says(DB3, 0, opened(1, 1, "ops", 1))])
        .await
        .problem(403, "report.unnumbered");
    // Of another host by its own key, for another log, of another kind, or what is asked for elsewhere.
    let signs = |words: &HostReport| {
        sign_ed25519(&host_key(DB3), Kind::Report, &Statement::Report(Box::new(words.clone())).write())
    };
    let own = HostReport {
        header: ca.header(Kind::Report),
        host: DB3.parse().unwrap(),
        seq: 1,
        report: Report::Alarmed(Reason::new("x", "y")),
    };
    let of_other = HostReport { host: DB4.parse().unwrap(), ..own.clone() };
    ca.report(DB3, vec![signs(&of_other)]).await.problem(401, "host.other_key");
    let mut elsewhere = own.clone();
    elsewhere.header.to = "elsewhere.example/0011223344556677".parse().unwrap();
    ca.report(DB3, vec![signs(&elsewhere)]).await.problem(400, "statement.other_log");
    let (header, host) = (ca.header(Kind::Enrol), own.host.clone());
    let public_key = Ed25519Key::from(&host_key(DB3));
    let enrol = Statement::Enrol(Enrol { header, host, token: Hash::of(b"token"), public_key }).write();
    let enrol = sign_ed25519(&host_key(DB3), Kind::Enrol, &enrol);
    ca.report(DB3, vec![enrol]).await.problem(400, "statement.kind");
    let account = "ops".parse().unwrap();
    let test = HostReport { report: Report::SelfTest(SelfTest { account, public_key }), ..own };
    let told = ca.report(DB3, vec![signs(&HostReport { seq: 0, ..test })]).await;
    told.problem(403, "report.self_test");
    assert_eq!(ca.size(), size, "nothing of it is in the log");
}

#[tokio::test]
async fn what_cannot_be_is_taken_and_shown_as_such() {
    let ca = with_hosts(&[DB3]).await;
    let emergency = ca.open_emergency(ANA, &ca.declare("db-4.payments.prod")).await;
    let account = emergency.terms.as_ref().unwrap().account.to_string();
    let serial = entries(&ca).iter().rfind(|e| e.body.is_some()).unwrap().index;
    let now = ca.clock.wall();
    let codes = |event: &Event| match event {
        Event::SessionOpened { unusual, .. } | Event::SessionClosed { unusual, .. } => {
            unusual.iter().map(|reason| reason.code.clone()).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    // Never issued: an entry of another kind, and one that is not there yet.
    for (n, serial) in [0, 999_999, u64::MAX].into_iter().enumerate() {
        ca.reported(DB3, n as u64 + 1, opened(n as u8, serial, "ops", now)).await;
        assert_eq!(codes(&last(&ca)), ["session.unknown_serial"]);
    }
    // For another host.
    ca.reported(DB3, 4, opened(9, serial, &account, now)).await;
    assert_eq!(codes(&last(&ca)), ["session.out_of_reach"]);
    assert_eq!(last(&ca).emergency(), Some(emergency.emergency), "it is that emergency's all the same");
    ca.reported(DB3, 5, closed(9, serial, now)).await;
    assert_eq!(codes(&last(&ca)), [""; 0]);
    ca.reported(DB3, 6, closed(9, serial, now)).await;
    assert_eq!(codes(&last(&ca)), ["session.not_open"]);
    // Long before it was made, and long after its end.
    ca.reported(DB3, 7, opened(10, serial, &account, now - 3600)).await;
    assert_eq!(codes(&last(&ca)), ["session.out_of_reach", "session.out_of_time"]);
    ca.close_emergency(ANA, &emergency).await;
    ca.reported(DB3, 8, opened(11, serial, &account, now + 301)).await;
    assert_eq!(codes(&last(&ca)), ["session.out_of_reach", "session.after_end"]);
    ca.verifies();
}

#[tokio::test]
async fn a_closing_is_confirmed_by_every_host_that_it_reached_and_asked_for_until_then() {
    let ca = with_hosts(&[DB3, DB4]).await;
    let now = ca.clock.wall();
    let one = ca.open_emergency(ANA, &ca.declare("db-3.payments.prod")).await;
    assert_eq!(ca.reported(DB3, 0, heartbeat(0)).await.confirm, None, "nothing is closed yet");
    let closing: fireaxe_protocol::api::Closed = ca.close_emergency(ANA, &one).await.json();
    let size = ca.size();
    assert_eq!(
        ca.reported(DB4, 0, confirmed(closing.entry, now)).await.confirm,
        None,
        "it did not reach that"
    );
    assert_eq!(ca.reported(DB3, 0, confirmed(closing.entry, now)).await.confirm, Some(closing.entry));
    assert_eq!(ca.size(), size, "nothing of it is in the log");
    let ca = ca.restart();
    assert_eq!(ca.reported(DB3, 0, heartbeat(closing.entry)).await.confirm, Some(closing.entry));
    assert_eq!(ca.reported(DB3, 1, confirmed(closing.entry, now)).await.confirm, None);
    let Event::HostConfirmed { closed, .. } = last(&ca) else { panic!("{:?}", last(&ca)) };
    let leaf = fireaxe_protocol::log::tree::leaf_hash(&ca.reader().entry_bytes(closing.entry).unwrap());
    assert_eq!(closed, [leaf]);
    assert_eq!(ca.reported(DB3, 0, heartbeat(closing.entry)).await.confirm, None);

    // A whole system: both owe it. A list that is older confirms nothing of it.
    let whole = ca.open_emergency(ANA, &ca.declare("payments-db")).await;
    let second: fireaxe_protocol::api::Closed = ca.close_emergency(ANA, &whole).await.json();
    assert_eq!(ca.reported(DB3, 2, confirmed(closing.entry, now)).await.confirm, Some(second.entry));
    assert!(matches!(last(&ca), Event::HostConfirmed { closed, .. } if closed.is_empty()));
    let told: Emergency = ca.state_of(whole.emergency).await;
    assert_eq!(told.confirmed.map(|c| (c.by, c.hosts)), Some((0, 2)));
    assert_eq!(ca.reported(DB3, 3, confirmed(u64::MAX, now)).await.confirm, None);
    let told: Emergency = ca.state_of(whole.emergency).await;
    assert_eq!(told.confirmed.map(|c| (c.by, c.hosts)), Some((1, 2)));
    assert_eq!(ca.reported(DB4, 0, heartbeat(1)).await.confirm, Some(second.entry));

    // One that confirmed what is to come owes it all the same once it is there.
    let next = ca.open_emergency(ANA, &ca.declare("payments-db")).await;
    let third: fireaxe_protocol::api::Closed = ca.close_emergency(ANA, &next).await.json();
    assert_eq!(ca.reported(DB3, 0, heartbeat(1)).await.confirm, Some(third.entry));
    assert_eq!(ca.reported(DB4, 1, confirmed(third.entry, now)).await.confirm, None, "both at once");
    assert!(matches!(last(&ca), Event::HostConfirmed { closed, .. } if closed.len() == 2));
    ca.verifies();
}

#[tokio::test]
async fn the_list_of_emergencies_counts_connections() {
    let ca = with_hosts(&[DB3]).await;
    let emergency = ca.open_emergency(ANA, &ca.declare("payments-db")).await;
    let account = emergency.terms.as_ref().unwrap().account.to_string();
    let serial = entries(&ca).iter().rfind(|e| e.body.is_some()).unwrap().index;
    let now = ca.clock.wall();
    let counted = async || {
        let told = ca.state_of(emergency.emergency).await.connections;
        told.map(|counted| (counted.live, counted.all, counted.unusual))
    };
    assert_eq!(counted().await, None);
    ca.reported(DB3, 1, opened(1, serial, &account, now)).await;
    ca.reported(DB3, 2, opened(2, serial, "nobody", now)).await;
    assert_eq!(counted().await, Some((2, 2, 1)));
    ca.reported(DB3, 3, closed(1, serial, now)).await;
    assert_eq!(counted().await, Some((1, 2, 1)));
}

#[tokio::test]
async fn the_fleet_says_how_far_a_revocation_got_and_who_may_see_it() {
    let ca = with_hosts(&[DB3, DB4]).await;
    let emergency = ca.open_emergency(ANA, &ca.declare("payments-db")).await;
    let now = ca.clock.wall();
    let closing: fireaxe_protocol::api::Closed = ca.close_emergency(ANA, &emergency).await.json();
    // Told by the herald's thread, which hosts follow.
    ca.feed(DB3)
        .await
        .until(|event| event.krl.as_ref().is_some_and(|krl| krl.version == closing.entry))
        .await;
    ca.clock.pass(2);
    ca.reported(DB3, 0, confirmed(closing.entry, now)).await;
    ca.reported(DB4, 0, confirmed(closing.entry + 100, now)).await;
    ca.reported(DB4, 0, heartbeat(1)).await;
    let read = async |by: u8| {
        let session = ca.login(by).await;
        ca.get("/v1/fleet", Some(&ca.proof(&session, "GET", "/v1/fleet"))).await
    };
    let fleet: Fleet = read(CLEO).await.json();
    assert_eq!(fleet.krl_version, closing.entry);
    let reach = fleet.revocation.unwrap();
    assert_eq!((reach.hosts, reach.confirmed, reach.stale), (2, 1, vec![DB4.parse().unwrap()]));
    assert_eq!(reach.last_at_ms.unwrap() - reach.revoked_at_ms, 2000);
    assert_eq!(fleet.hosts[0].krl_version, Some(closing.entry));
    assert_eq!(fleet.hosts[1].krl_version, Some(1));
    assert_eq!(fleet.hosts[1].clock_ahead_s, Some(0));
    assert_eq!(read(DAN).await.json::<Fleet>().hosts.len(), 2, "who is on call for it");
    let bens: Fleet = read(BEN).await.json();
    assert_eq!((bens.hosts.len(), bens.revocation.map(|reach| reach.hosts)), (0, Some(0)), "not his system");
    let metrics = ca.operator("GET", "/metrics", serde_json::json!({})).await.text();
    assert!(metrics.contains("fireaxe_hosts_enrolled 2\n"), "{metrics}");
    assert!(metrics.contains("fireaxe_hosts_krl_confirmed 1\n"), "{metrics}");
}

fn recording() -> (Nonce, Vec<Vec<u8>>, fireaxe_protocol::host::Recorded) {
    let name = Nonce([5; 16]);
    let (mut writer, first) = Writer::begin(Header {
        v: 1,
        recording: name,
        connection: Nonce([1; 16]),
        serial: 7,
        host: DB3.parse().unwrap(),
        account: "ops".parse().unwrap(),
        from: None,
        began_us: 1_700_000_000_000_000,
        kind: SessionKind::Shell,
        command: None,
        asked: None,
        terminal: None,
        sealed: Vec::new(),
    });
    let said = b"uid=0(root)\r\n".to_vec();
    let second = writer.data(vec![fireaxe_protocol::recording::Event {
        offset_us: 9,
        stream: Stream::Output,
        bytes: said,
    }]);
    let (third, recorded) = writer.end(Ended::Exited(0), 10);
    (name, vec![first, second, third], recorded)
}

#[tokio::test]
async fn a_recording_is_kept_as_it_comes_and_held_against_what_was_reported() {
    let ca = with_hosts(&[DB3, DB4]).await;
    let emergency = ca.open_emergency(ANA, &ca.declare("payments-db")).await;
    let account = emergency.terms.as_ref().unwrap().account.to_string();
    let serial = entries(&ca).iter().rfind(|e| e.body.is_some()).unwrap().index;
    let now = ca.clock.wall();
    let (name, chunks, recorded) = recording();
    let send = async |by: &str, from: u64, bytes: Vec<u8>| {
        let path = format!("/v1/hosts/{DB3}/recordings/{name}?from={from}");
        ca.post_bytes_proved(&path, bytes, &ca.proof(&host_key(by), "POST", &path)).await
    };
    send(DB4, 0, chunks[0].clone()).await.problem(401, "host.other_key");
    assert_eq!(send(DB3, 0, chunks[0].clone()).await.json::<ChunksTaken>().chunks, 1);
    assert_eq!(send(DB3, 2, chunks[2].clone()).await.problem(409, "recording.gap").expected, Some(1));
    send(DB3, 1, b"nonsense".to_vec()).await.problem(400, "recording.chunks");
    send(DB3, 1, vec![0; 1024 * 1024 + 1]).await.problem(413, "body.too_large");
    ca.reported(DB3, 1, opened(1, serial, &account, now)).await;
    assert_eq!(send(DB3, 1, chunks[1].clone()).await.json::<ChunksTaken>().chunks, 2);

    let tool = |words: &[&str]| {
        let data = ca.data().path().to_owned();
        let ran = std::process::Command::new(env!("CARGO_BIN_EXE_fireaxe-ca"))
            .arg("rec")
            .args(words)
            .arg("--data")
            .arg(data)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
    };
    for (words, none) in [
        (["ls", "EM-99"], "there is no recording of EM-99"),
        (["verify", "EM-99"], "there is no recording of EM-99"),
        (["export", "EM-99"], "there is no recording of EM-99"),
        (["verify", "ffff"], "there is no recording \"ffff\""),
    ] {
        let (code, out, said) = tool(&words);
        assert!(code == Some(1) && out.is_empty() && said.contains(none), "{out}{said}");
    }
    let (_, listed, _) = tool(&["ls", "EM-1"]);
    assert!(listed.contains(&name.to_string()) && listed.contains("not reported yet"), "{listed}");
    let (code, _, said) = tool(&["verify", "EM-1"]);
    assert!(code == Some(0) && said.contains("holds together so far"), "{said}");
    assert!(said.ends_with("0 verified, 1 not reported yet\n"), "{said}");

    // Closed: what is missing by then is missing, until it comes.
    let Report::SessionClosed(mut over) = closed(1, serial, now) else { unreachable!() };
    over.recordings = vec![recorded];
    ca.reported(DB3, 2, Report::SessionClosed(over)).await;
    let (code, _, said) = tool(&["verify"]);
    assert!(code == Some(1) && said.contains("1 of its 3 chunks are missing"), "{said}");
    assert_eq!(send(DB3, 2, chunks[2].clone()).await.json::<ChunksTaken>().chunks, 3);
    let (code, _, said) = tool(&["verify", "EM-1"]);
    assert!(code == Some(0) && said.contains("is what the host reported"), "{said}");
    let (code, cast, said) = tool(&["export", "EM-1"]);
    assert!(code == Some(69) && cast.is_empty() && said.contains("--unlogged"), "{cast}{said}");
    let (code, cast, said) = tool(&["export", "EM-1", "--unlogged"]);
    assert!(code == Some(0) && cast.contains("uid=0(root)"), "{cast}{said}");

    // Somebody changes a byte of the file.
    let path = ca.data().recordings().join(DB3).join(name.to_string());
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|part| part == b"uid=").unwrap();
    bytes[at] = b'U';
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(tool(&["verify", "EM-1"]).0, Some(1));
    std::fs::remove_file(&path).unwrap();
    let (code, _, said) = tool(&["verify"]);
    assert!(code == Some(1) && said.contains("cannot be read"), "{said}");
}

#[tokio::test]
async fn chunks_that_come_drop_by_drop_keep_their_own_host_waiting_and_no_other() {
    let ca = with_hosts(&[DB3, DB4]).await;
    let (name, chunks, _) = recording();
    let path = |host: &str, name: Nonce| format!("/v1/hosts/{host}/recordings/{name}?from=0");
    let drops = futures_util::stream::pending::<Result<Vec<u8>, std::convert::Infallible>>();
    let slow = path(DB3, Nonce([6; 16]));
    let proof = ca.proof(&host_key(DB3), "POST", &slow);
    let mut slow = Box::pin(ca.post_body_proved(&slow, axum::body::Body::from_stream(drops), &proof));
    tokio::select! {
        biased;
        told = &mut slow => panic!("{}", told.text()),
        () = std::future::ready(()) => {}
    }
    let send = async |host: &str, bytes: Vec<u8>| {
        let path = path(host, name);
        ca.post_bytes_proved(&path, bytes, &ca.proof(&host_key(host), "POST", &path)).await
    };
    send(DB3, chunks[0].clone()).await.problem(503, "ca.busy");
    send(DB4, b"nonsense".to_vec()).await.problem(400, "recording.chunks");
    drop(slow);
    assert_eq!(send(DB3, chunks[0].clone()).await.json::<ChunksTaken>().chunks, 1);
}

#[tokio::test]
async fn more_time_is_told_to_the_hosts_that_it_opens() {
    let db5 = "db-5.payments.prod";
    let ca = with_hosts(&[DB3, DB4, db5]).await;
    let emergency = ca.open_emergency(ANA, &ca.declare("db-3.payments.prod")).await;
    let mut here = ca.feed(DB3).await;
    let mut elsewhere = ca.feed(DB4).await;
    assert!(here.next().await.unwrap().extended.is_empty());
    elsewhere.next().await.unwrap();
    let words = fireaxe_protocol::statement::Extend {
        header: ca.header(fireaxe_protocol::statement::Kind::Extend),
        of: emergency.declaration,
        emergency: emergency.emergency,
        severity: None,
        incident: None,
        for_s: None,
        reason: None,
    };
    let words = installed::signed(ANA, &fireaxe_protocol::statement::Statement::Extend(words));
    let told = ca.post(&format!("/v1/emergencies/{}/extensions", emergency.emergency), &words).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let event = here.until(|event| !event.extended.is_empty()).await;
    let bytes = STANDARD.decode(&event.extended[0]).unwrap();
    let (fields, _) = fireaxe_protocol::certificate::Fields::of_signed(&bytes).unwrap();
    let newest = entries(&ca).iter().rfind(|e| e.body.is_some()).unwrap().index;
    assert_eq!((event.extended.len(), fields.serial), (1, newest));
    // One that begins to follow now is told it, too; one that it does not open never is.
    let mut again = ca.feed(DB3).await;
    again.next().await.unwrap();
    assert_eq!(again.next().await.unwrap().extended, event.extended);
    let mut late = ca.feed(db5).await;
    late.next().await.unwrap();
    ca.close_emergency(ANA, &emergency).await;
    for mut other in [elsewhere, late] {
        other
            .until(|event| {
                assert!(event.extended.is_empty());
                event.krl.is_some()
            })
            .await;
    }
    let mut after = ca.feed(DB3).await;
    assert!(after.next().await.unwrap().extended.is_empty());
    ca.clock.pass(1);
    ca.open_emergency(ANA, &ca.declare("payments-db")).await;
    ca.clock.pass(10);
    assert!(after.next().await.unwrap().extended.is_empty());
}

#[tokio::test]
async fn a_host_that_is_retired_or_joins_anew_has_no_feed_and_no_word_of_before() {
    let ca = with_hosts(&[DB3, DB4]).await;
    let (mut retired, mut anew) = (ca.feed(DB3).await, ca.feed(DB4).await);
    let alarm = || Report::Alarmed(Reason::new("x", "y"));
    ca.reported(DB3, 1, alarm()).await;
    ca.reported(DB4, 1, alarm()).await;
    ca.retires(DB3).await;
    ca.clock.pass(1);
    ca.joins(DB4).await;
    // Whatever is told next ends them.
    ca.clock.pass(10);
    ca.open_emergency(ANA, &ca.declare("payments-db")).await;
    while retired.next().await.is_some() {}
    while anew.next().await.is_some() {}
    ca.report(DB3, vec![ca.host_says(DB3, 2, alarm())]).await.problem(401, "host.not_enrolled");
    ca.get("/v1/feed", Some(&ca.proof(&host_key(DB3), "GET", "/v1/feed")))
        .await
        .problem(401, "host.not_enrolled");
    let told = ca.report(DB4, vec![ca.host_says(DB4, 2, alarm())]).await.problem(409, "report.gap");
    assert_eq!(told.expected, Some(1), "it counts anew");
    assert_eq!(ca.reported(DB4, 1, alarm()).await.seq, 1);
    ca.verifies();
}
