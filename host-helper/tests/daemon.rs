//! The daemon as a process, against a stand-in CA over real TLS: joining, the feed, the list, the log's heads,
//! what waits for the CA; and what is left when the CA, or the daemon, goes away in the middle.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test; its CA too"
)]

mod stand_in;

use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use fireaxe_protocol::host::{JoinToken, Report};
use fireaxe_protocol::recording::{Ended, Event, Header, SessionKind, Stream, Writer};
use fireaxe_protocol::statement::Nonce;
use stand_in::{Daemon, Files, HOST, List, Log, StandIn, all, list, noted, until};

fn token() -> String {
    JoinToken::from_random(&[9; 32]).reveal().to_owned()
}

fn world() -> (StandIn, Files) {
    let (ca, files) = (StandIn::start(&token()), Files::new(&token()));
    let output = files.enrol(&ca);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    (ca, files)
}

/// Runs it once more, until it follows the feed: what is said before that, the CA says to the one before it.
fn again(ca: &StandIn, files: &Files) -> Daemon {
    let before = ca.change(|state| state.followed);
    let daemon = files.run();
    ca.until("that it follows", |state| state.followed > before);
    daemon
}

fn alarms(reports: &[Report], code: &str) -> usize {
    reports.iter().filter(|report| matches!(report, Report::Alarmed(r) if r.code == code)).count()
}

fn in_force(files: &Files, list: &List) -> bool {
    files.read("ssh/revoked_keys") == list.bytes
}

#[test]
fn a_host_joins_with_its_token_also_when_the_first_answer_was_lost() {
    let (ca, files) = (StandIn::start(&token()), Files::new(&token()));
    ca.change(|state| state.answers_lost = 1);
    assert!(!files.enrol(&ca).status.success());
    assert!(!files.path("etc/host.toml").exists());
    let output = files.enrol(&ca);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["host"], &told["krl_version"]), (&HOST.into(), &5.into()));
    assert!(in_force(&files, &ca.change(|state| noted(state.list.bytes.clone(), 5, 2))));
    let certificate = String::from_utf8(files.read("host_key-cert.pub")).unwrap();
    assert!(certificate.starts_with("ssh-ed25519-cert-v01@openssh.com "));
    assert_eq!(files.status()["enrolled"]["host"], HOST);
    // Once more is once too often for nobody.
    let before = all(&files.path("etc"));
    assert!(files.enrol(&ca).status.success());
    assert_eq!(all(&files.path("etc")), before);
    // The token is nowhere but where it was given.
    for (path, bytes) in all(&files.path("")) {
        let held = bytes.windows(token().len()).any(|part| part == token().as_bytes());
        assert_eq!(held, path.ends_with("token"), "{path:?}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_not_enrolled_over_and_the_token_is_not_spent() {
    let (ca, files) = world();
    let config = files.path("etc/host.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}auditors = \n")).unwrap();
    // A CA that is asked would lose its answer.
    ca.change(|state| state.answers_lost = 1);
    for words in [&[][..], &["--witness-policy", "/nowhere"]] {
        let told: serde_json::Value = serde_json::from_slice(&files.enrol_told(&ca, words).stdout).unwrap();
        assert_eq!(told["code"], "config.invalid", "{told}");
    }
    assert_eq!(ca.change(|state| state.answers_lost), 1);
    // Moved away, it says nothing any more.
    ca.change(|state| state.answers_lost = 0);
    std::fs::rename(&config, files.path("etc/host.toml.old")).unwrap();
    assert!(files.enrol(&ca).status.success());
    assert_eq!(std::fs::read_to_string(&config).unwrap(), text);
}

#[test]
fn a_certificate_for_another_name_a_wrong_token_and_another_pin_leave_nothing_behind() {
    let (ca, mut files) = (StandIn::start(&token()), Files::new(&token()));
    ca.change(|state| state.certify = "db-4.payments.prod".into());
    let output = files.enrol(&ca);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["code"], "host.certificate");
    assert!(all(&files.path("ssh")).is_empty() && !files.path("host_key-cert.pub").exists());
    ca.change(|state| state.certify = HOST.into());
    files = Files::new(JoinToken::from_random(&[8; 32]).reveal());
    let told: serde_json::Value = serde_json::from_slice(&files.enrol(&ca).stdout).unwrap();
    assert_eq!(told["code"], "host.refused");
    let other = StandIn { pin: format!("sha256:{}", "ab".repeat(32)), ..ca };
    let told: serde_json::Value = serde_json::from_slice(&files.enrol(&other).stdout).unwrap();
    assert_eq!(told["code"], "ca.wrong_pin");
    assert!(all(&files.path("ssh")).is_empty() && !files.path("etc").exists());
}

#[test]
fn a_list_on_the_feed_is_in_force_at_once_is_confirmed_and_its_note_alone_renews_it() {
    let (ca, files) = world();
    let _daemon = files.run();
    ca.until("a heartbeat", |state| {
        state.news.iter().any(|report| matches!(report, Report::Heartbeat(beat) if beat.krl_version == 5))
    });
    let next = list(6, 2);
    ca.change(|state| state.confirm = Some(6));
    ca.say(&next.event(true));
    until("list 6", || in_force(&files, &next));
    let confirmed = |reports: &[Report]| {
        reports.iter().any(|report| matches!(report, Report::Confirmed(confirmed) if confirmed.version == 6))
    };
    ca.until("the confirmation", |state| confirmed(&state.news));
    ca.until("it once more, with its number, since the CA asked", |state| confirmed(&state.taken));
    let signed = |files: &Files| {
        let state: serde_json::Value = serde_json::from_slice(&files.read("state/krl.json")).unwrap();
        state["signed_at"].as_u64().unwrap()
    };
    let before = signed(&files);
    until("another second", || stand_in::now() > before + 1);
    ca.say(&noted(next.bytes.clone(), 6, 2).event(false));
    until("the note", || signed(&files) > before);
    // A note about bytes that are not on the feed: they are fetched.
    let third = list(7, 2);
    let event = third.event(false);
    ca.change(|state| state.list = third);
    ca.say(&event);
    until("list 7", || files.status()["version"] == 7);
    assert!(files.status()["daemon"]["feed_since"].is_u64());
}

#[test]
fn an_older_a_cut_and_a_wrongly_noted_list_leave_the_last_good_one_and_are_told() {
    let (ca, files) = world();
    let _daemon = files.run();
    let good = list(8, 2);
    ca.say(&good.event(true));
    until("list 8", || in_force(&files, &good));
    let whole = list(9, 2);
    for wrong in [
        list(7, 2),
        noted(whole.bytes[..whole.bytes.len() / 2].to_vec(), 9, 2),
        noted(Vec::new(), 9, 2),
        List { note: list(10, 2).note, ..list(9, 2) },
        list(9, 6),
    ] {
        ca.say(&wrong.event(true));
    }
    ca.until("five alarms", |state| alarms(&state.taken, "krl.refused") == 5);
    assert!(in_force(&files, &good));
    ca.say(&whole.event(true));
    until("list 9", || in_force(&files, &whole));
}

#[test]
fn a_forked_log_is_told_once_with_both_notes_and_the_host_goes_on() {
    let (ca, files) = world();
    let mut daemon = files.run();
    let (log, fork) = (Log::of(0..40), Log::of((0..9).chain(100..140)));
    ca.say(&log.event(10, 0));
    until("the head", || files.status()["daemon"]["head"] == 10);
    ca.say(&fork.event(12, 10));
    ca.say(&fork.event(10, 0));
    ca.until("two alarms", |state| alarms(&state.taken, "log.forked") == 2);
    drop(daemon);
    // After a restart it remembers what it saw, and what it told.
    daemon = again(&ca, &files);
    ca.say(&fork.event(12, 0));
    ca.say(&log.event(20, 15));
    until("the log goes on", || files.status()["daemon"]["head"] == 20);
    assert_eq!(ca.change(|state| alarms(&state.taken, "log.forked")), 2);
    assert!(files.status()["log_forked"].as_bool().unwrap());
    assert_eq!(all(&files.path("state/evidence")).len(), 4);
    let next = list(6, 2);
    ca.say(&next.event(true));
    until("a list all the same", || in_force(&files, &next));
    assert!(daemon.runs());
}

#[test]
fn what_was_said_while_the_ca_was_away_survives_kills_and_arrives_once_and_in_order() {
    let (ca, files) = world();
    ca.change(|state| state.busy = true);
    let fork = |n: u64| Log::of((0..9).chain(n..n + 40));
    let daemon = files.run();
    ca.say(&Log::of(0..40).event(10, 0));
    until("the head", || files.status()["daemon"]["head"] == 10);
    for n in 1..=3 {
        ca.say(&fork(n * 1000).event(10, 0));
    }
    until("three reports", || files.status()["daemon"]["spool"]["reports"] == 3);
    drop(daemon);
    // Half of one more, as a crash in the middle leaves it.
    std::fs::write(files.path("state/spool/00000000000000000009.json"), "{\"nonce\":\"0").unwrap();
    ca.change(|state| state.away = true);
    let daemon = files.run();
    until("its socket", || files.path("run/host.sock").exists());
    ca.change(|state| (state.away, state.busy, state.answers_lost) = (false, false, 2));
    ca.until("all four", |state| state.taken.len() == 4);
    drop(daemon);
    let _daemon = again(&ca, &files);
    ca.say(&fork(9000).event(10, 0));
    ca.until("one more", |state| state.taken.len() == 5);
    ca.change(|state| {
        assert_eq!(alarms(&state.taken[..3], "log.forked"), 3);
        assert_eq!(alarms(&state.taken[3..4], "spool.damaged"), 1);
        assert_eq!(alarms(&state.taken[4..], "log.forked"), 1);
    });
}

#[test]
fn the_feed_is_followed_again_after_the_ca_was_away_and_after_any_nonsense_on_it() {
    let (ca, files) = world();
    let mut daemon = files.run();
    until("the feed", || files.status()["daemon"]["feed_since"].is_u64());
    ca.change(|state| state.away = true);
    until("its end", || files.status()["daemon"]["feed_since"].is_null());
    ca.change(|state| state.away = false);
    let next = list(6, 2);
    ca.say(&next.event(true));
    until("list 6", || in_force(&files, &next));
    let harmless = [
        "{\"schema\":\"fireaxe.feed/v1\",\"krl\":{\"version\":9,\"note\":\"AAAA\",\"krl\":\"!\"}}".to_owned(),
        "{\"schema\":\"x\",\"head\":{\"checkpoint\":\"\\u0000\",\"from\":18446744073709551615,\"proof\":[]}}"
            .into(),
    ];
    harmless.into_iter().for_each(|text| ca.say_text(text));
    for nonsense in ["nonsense".to_owned(), "[".repeat(100_000), "x".repeat(300_000)] {
        let before = ca.change(|state| state.followed);
        ca.say_text(nonsense);
        ca.until("that it is followed again", |state| state.followed > before);
    }
    let last = list(7, 2);
    ca.say(&last.event(true));
    until("list 7", || in_force(&files, &last));
    assert!(daemon.runs());
}

#[test]
fn nonsense_on_the_socket_brings_nothing_down_and_others_are_answered() {
    let (_ca, files) = world();
    let mut daemon = files.run();
    let socket = files.path("run/host.sock");
    until("the socket", || UnixStream::connect(&socket).is_ok());
    let mut state = 88172645463325252u64;
    for round in 0..200 {
        let mut bytes = Vec::new();
        for _ in 0..round * 7 {
            // xorshift: the same bytes in every run.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.push(state as u8);
        }
        bytes.push(b'\n');
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let _ = stream.write_all(&bytes);
        let _ = stream.read(&mut [0u8; 16]);
    }
    assert!(files.status()["daemon"]["spool"]["reports"].is_u64());
    assert!(daemon.runs());
}

/// In the place of systemd, which was not tried.
#[test]
fn who_started_it_is_told_once_it_can_be_asked() {
    let (_ca, files) = world();
    let told = UnixDatagram::bind(files.path("notify")).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _daemon = files.run_told(&files.path("notify"));
    let mut said = [0; 64];
    let length = told.recv(&mut said).unwrap();
    assert_eq!(&said[..length], b"READY=1\n");
    // No waiting for that: whoever connects from then on is waited for.
    UnixStream::connect(files.path("run/host.sock")).unwrap();
    until("an answer", || files.status()["daemon"].is_object());
}

#[test]
fn only_one_daemon_has_the_state() {
    let (_ca, files) = world();
    let _daemon = files.run();
    until("the socket", || files.path("run/host.sock").exists());
    let mut second = files.run();
    until("the second's end", || !second.runs());
    assert!(files.status()["daemon"]["spool"]["reports"].is_u64());
}

#[test]
fn a_recording_goes_to_the_ca_in_whole_chunks_also_after_an_outage_and_is_gone_then() {
    let (ca, files) = world();
    let recording = Nonce([5; 16]);
    let header = Header {
        v: 1,
        recording,
        connection: Nonce([6; 16]),
        serial: 7,
        host: HOST.parse().unwrap(),
        account: "ops".parse().unwrap(),
        from: None,
        began_us: 1,
        kind: SessionKind::Shell,
        command: None,
        asked: None,
        terminal: None,
        sealed: Vec::new(),
    };
    let (mut writer, mut bytes) = Writer::begin(header);
    for n in 0..40 {
        bytes.extend(writer.data(vec![Event {
            offset_us: n,
            stream: Stream::Output,
            bytes: vec![b'x'; 9000],
        }]));
    }
    let (last, recorded) = writer.end(Ended::Exited(0), 99);
    bytes.extend(last);
    let folder = files.path("state/recordings");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(recording.to_string()), &bytes).unwrap();
    let mark = serde_json::to_vec(&recorded).unwrap();
    std::fs::write(folder.join(format!("{recording}.end")), mark).unwrap();
    ca.change(|state| state.away = true);
    let _daemon = files.run();
    ca.until("a try", |state| state.seen.iter().any(|line| line.contains("/recordings/")));
    ca.change(|state| state.away = false);
    until("it is gone", || all(&folder).is_empty());
    assert_eq!(ca.change(|state| state.recording.recorded()), Some(recorded));
}
