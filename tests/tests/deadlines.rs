//! When a session ends, on a real sshd, without a CA: by a countdown, by a later certificate, by the one that its
//! own was made of, and a minute after it could not be recorded any more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test; its functions too")]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::api::FeedClosing;
use fireaxe_protocol::certificate::Within;
use fireaxe_protocol::host::{EndReason, Report};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::Terms;
use fireaxe_protocol::recording::Stream;
use fireaxe_tests::clock;
use fireaxe_tests::running::Running;
use fireaxe_tests::town::{Town, Wanted, terms, unrecorded};

#[test]
fn a_countdown_ends_a_session_by_the_grace_of_its_terms_and_one_that_is_held_does_not() {
    let town = Town::registered();
    let (held, ended) =
        (town.numbered(20, &unrecorded("ops"), 3000), town.numbered(21, &unrecorded("ops"), 3000));
    let patient = Terms { grace_s: 600, ..unrecorded("ops") };
    let patient = town.numbered(22, &patient, 3000);
    let mut goes_on =
        [town.starts(&held, "ops", &[], "sleep 7020"), town.starts(&patient, "ops", &[], "sleep 7022")];
    let cut = town.starts(&ended, "ops", &[], "sleep 7021");
    for serial in [20, 21, 22] {
        town.comes_open(serial);
    }
    let put = |serials: &[u64]| {
        let closing =
            [FeedClosing { emergency: EmergencyId(7), serials: serials.into(), until: clock::unix() + 600 }];
        let text = serde_json::to_string(&closing).unwrap();
        town.host
            .run(
                "sh",
                &["-c", &format!("echo '{text}' >/run/closing.new && mv /run/closing.new /run/closing.json")],
            )
            .ok();
    };
    put(&[20, 21, 22]);
    put(&[21, 22]);
    assert_eq!(town.closed(21).why, EndReason::Closing);
    assert_eq!(cut.ends_by_itself().code, 255);
    assert!(goes_on.iter_mut().all(Running::goes_on));
}

#[test]
fn a_later_certificate_of_the_same_key_lets_a_session_go_on_and_ends_it_too() {
    let mut town = Town::registered();
    let (terms, pair) = (unrecorded("ops"), town.pair(21));
    let wanted = |serial, lives| Wanted { serial, terms: &terms, lives, within: None };
    let key = town.certified(&pair, &wanted(21, 8));
    let mut session = town.starts(&key, "ops", &[], "sleep 7021");
    let other = town.numbered(22, &unrecorded("ops"), 8);
    let cut = town.starts(&other, "ops", &[], "sleep 7022");
    town.comes_open(21);
    town.comes_open(22);
    let later = STANDARD.encode(town.certificate(&pair, &wanted(30, 3000)));
    town.host
        .run(
            "sh",
            &["-c", &format!("echo -n {later} >/run/extended.new && mv /run/extended.new /run/extended")],
        )
        .ok();
    // Of another key: it ends at its time, and by then the first would have, too.
    assert_eq!(town.closed(22).why, EndReason::Expired);
    assert_eq!(cut.ends_by_itself().code, 255);
    std::thread::sleep(Duration::from_secs(1));
    assert!(session.goes_on());
    town.revoke(&[30]);
    assert_eq!(town.closed(21).why, EndReason::Revoked);
}

#[test]
fn a_session_of_a_certificate_for_one_host_goes_on_to_the_end_of_the_one_it_was_made_of() {
    let town = Town::registered();
    let principals = vec!["ops:db-3.payments.prod".parse().unwrap()];
    // Ten minutes for one host, as the CA makes them, and the last of them run: nobody here waits for ten.
    let terms = Terms { principals, lifetime_s: 600, ..unrecorded("ops") };
    let (narrow_ends, wide_ends) = (clock::unix() + 20, clock::unix() + 40);
    let within = Some(Within { serial: 20, until: wide_ends });
    let key = town.certified(&town.pair(21), &Wanted { serial: 21, terms: &terms, lives: 20, within });
    let mut shell = town.starts(&key, "ops", &[], "setsid sleep 7022 & sleep 7021");
    let mut tunnel = town.starts(&key, "ops", &["-N"], "");
    town.comes_to_run("sleep 7022");
    clock::wait_for(clock::LIMIT, || (town.opened(21) == 2).then_some(())).expect("both came in");

    // Its own end has passed: it opens nothing new, and ends nothing.
    clock::wait_for(clock::LIMIT, || (clock::unix() > narrow_ends + 1).then_some(())).unwrap();
    town.ssh(&key, "ops", &[], "true").exits(255);
    let syslog = town.host.syslog();
    assert!(syslog.contains("verdict=refused account=ops serial=21"), "{syslog}");
    assert!(shell.goes_on() && tunnel.goes_on() && town.running("sleep 702") == 3, "{:?}", town.reports());

    // The wide one's has.
    let closed = town.closed(21);
    assert_eq!((closed.why, closed.swept.left), (EndReason::Expired, 0), "{closed:?}");
    assert!(closed.at >= wide_ends, "{} s early", wide_ends.saturating_sub(closed.at));
    assert_eq!([shell, tunnel].map(|client| client.ends_by_itself().code), [255, 255]);
    assert_eq!(town.running("sleep 702"), 0);
}

#[test]
fn a_minute_after_a_session_could_not_be_recorded_any_more_its_connection_is_ended() {
    let mut town = Town::begin();
    // Little room for recordings: one session fills it.
    town.kill_daemon();
    town.host.run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", "/var/lib/fireaxe/recordings"]).ok();
    town.start_daemon();

    // The recorder of one is killed. Its connection is there without it, what it left too.
    let (killed, killed_serial) = town.key(&terms("ops"), 600);
    let path = town.world.dir().join("master").display().to_string();
    let mut master = town.starts(&killed, "ops", &["-M", "-S", &path, "-N"], "");
    clock::wait_for(clock::LIMIT, || std::fs::exists(&path).unwrap().then_some(())).unwrap();
    let line = "setsid sleep 7041 >/dev/null 2>&1 </dev/null & echo mark-before; sleep 0.3; kill -9 $PPID";
    let _ = town.ssh(&killed, "ops", &["-S", &path], line);
    assert!(town.recorded(killed_serial, Stream::Output, "mark-before"));
    let lost_at = clock::unix();

    // The other's recorder is there, and the daemon cannot write what it says.
    let (refused, refused_serial) = town.key(&terms("ops"), 600);
    let flood = "head -c 2000000 /dev/zero | tr '\\0' x; echo mark-after; exec sleep 7042";
    let full = town.starts(&refused, "ops", &[], flood);
    full.shows("mark-after");
    let full_at = clock::unix();
    assert!(master.goes_on() && town.running("sleep 7041") == 1, "at once instead of after a minute");

    let minute = |serial, since: u64| {
        let closed = town.closed_within(Duration::from_secs(120), serial);
        assert_eq!(closed.swept.left, 0, "{closed:?}");
        assert!(closed.at >= since + 55, "after {} s", closed.at.saturating_sub(since));
        closed
    };
    assert_eq!(minute(killed_serial, lost_at).why, EndReason::Unrecorded);
    // A recorder that is there ends its session by itself, if the daemon does not come first. What is in no
    // recording is counted, and an alarm says why.
    let ended = minute(refused_serial, full_at);
    assert!(matches!(ended.why, EndReason::Left | EndReason::Unrecorded), "{ended:?}");
    let (kept, lost) =
        ended.recordings.iter().fold((0, 0), |(kept, lost), one| (kept + one.bytes, lost + one.lost));
    assert!(lost > 0 && kept + lost >= 2_000_000, "{ended:?}");
    let alarmed =
        |report: &Report| matches!(report, Report::Alarmed(why) if why.code == "recording.not_written");
    assert!(town.reports().iter().any(alarmed), "{:?}", town.reports());
    assert_eq!(master.ends_by_itself().code, 255);
    assert_ne!(full.ends_by_itself().code, 0);
    assert_eq!(town.running("sleep 704"), 0);
}
