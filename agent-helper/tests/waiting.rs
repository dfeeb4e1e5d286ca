//! What waits for people: at once where nobody sits, in the foreground where somebody does, and taken up by
//! whoever comes later. And a CA that lies about what it granted.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its helpers too")]

mod world;

use std::fs::File;
use std::io::BufRead;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use fireaxe_protocol::api::Settled;
use fireaxe_protocol::policy::Outcome;
use serde_json::Value;
use world::ca::{FakeCa, decision};
use world::waiting::{DECLARE, ELSEWHERE, EVENTS, Play, Stage, home, look};
use world::{Home, err, on_a_terminal, out, wait_until};

const OPEN: [&str; 4] = ["open", "db-3.payments.prod", "-r", "primary refuses writes"];

fn listed(home: &Home) -> String {
    out(&home.openssh("ssh-add", &["-l"]))
}

fn refused() -> Settled {
    Settled::Refused { by: "ben".parse().unwrap(), reason: "use the replica".parse().unwrap() }
}

/// No follower may take this emergency: what is tested is somebody else's work.
fn no_follower(home: &Home) -> File {
    let lock = File::create(home.socket("follow-EM-42.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

fn spawn(home: &Home, words: &[&str]) -> Child {
    home.fireaxe(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

fn streams(ca: &FakeCa) -> usize {
    ca.requests(EVENTS).len()
}

#[test]
fn where_nobody_sits_the_answer_comes_at_once_and_the_follower_swaps_the_certificate() {
    let play = Play::new(true);
    let ca = play.start();
    let home = home(&ca);
    let done = home.run(&OPEN);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    for part in [
        "tier look now; tier root waits for approval by 1 of",
        "tier root waits for 1 of payments-leads; asked: ben, cleo; next asked: managers at ",
        "certificate in the agent, ends ",
    ] {
        let part = part.replace(" by 1 of", "");
        assert!(err(&done).contains(&part), "{part}\nis missing from\n{}", err(&done));
    }
    assert!(listed(&home).contains("EM-42 look on db-3.payments.prod (serial 1)"), "{}", listed(&home));
    wait_until("the follower listens", || streams(&ca) > 0);
    play.settle(&ca, Settled::Given);
    wait_until("the stronger one is held", || listed(&home).contains("EM-42 root"));
    assert_eq!(listed(&home).lines().count(), 1, "the weaker one is still held: {}", listed(&home));
    assert!(listed(&home).contains("(serial 5)"));
    // Nothing is left to do: it ends, and its lock is free again.
    wait_until("the follower ends", || {
        File::open(home.socket("follow-EM-42.lock")).is_ok_and(|file| file.try_lock().is_ok())
    });
}

#[test]
fn what_was_approved_before_the_answer_came_is_fetched_all_the_same() {
    let play = Play::new(true);
    *play.stage.lock().unwrap() = world::waiting::Stage::Settled(Settled::Given);
    let ca = play.start();
    let home = home(&ca);
    let done = home.run(&OPEN);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    wait_until("the stronger one is held", || listed(&home).contains("EM-42 root"));
}

#[test]
fn with_wait_it_shows_whom_it_waits_for_and_ends_with_the_full_tier() {
    let play = Play::new(true);
    let ca = play.start();
    let home = home(&ca);
    let _lock = no_follower(&home);
    let child = spawn(&home, &[&OPEN[..], &["--wait"]].concat());
    wait_until("it waits", || streams(&ca) > 0);
    assert!(listed(&home).contains("EM-42 look"), "what is given meanwhile is held before the waiting");
    play.settle(&ca, Settled::Given);
    let done = end(child);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert!(err(&done).contains("EM-42  upgraded to tier root until "), "{}", err(&done));
    assert!(listed(&home).contains("EM-42 root") && listed(&home).lines().count() == 1, "{}", listed(&home));
}

#[test]
fn whoever_takes_it_up_first_it_is_said_once_by_the_one_in_front() {
    for _ in 0..4 {
        let play = Play::new(true);
        let ca = play.start();
        let home = home(&ca);
        let child = spawn(&home, &[&OPEN[..], &["--wait"]].concat());
        wait_until("both listen", || streams(&ca) > 1);
        play.settle(&ca, Settled::Given);
        let done = end(child);
        assert_eq!(done.status.code(), Some(0), "{}", err(&done));
        assert_eq!(err(&done).matches("upgraded to tier root until ").count(), 1, "{}", err(&done));
        assert_eq!(listed(&home).lines().count(), 1, "{}", listed(&home));
    }
}

#[test]
fn a_claim_above_the_cap_waits_for_the_other_person_in_the_same_way() {
    let play = Play::new(true);
    let answers = play.clone();
    let ca = FakeCa::start(move |request, _| {
        let (status, mut json) = answers.answer(request)?;
        let claimed = *answers.stage.lock().unwrap() == Stage::Waiting;
        if json["decision"].is_object() {
            let now = if claimed { look() } else { world::ca::terms() };
            json["decision"] = serde_json::to_value(decision(Outcome::Permit(now))).unwrap();
            json["waiting"] = Value::Null;
            if claimed {
                json["decision"]["awaits"] =
                    serde_json::json!({"severity": 1, "more": 1, "from": "payments-oncall"});
            }
        }
        Some((status, json))
    });
    let home = home(&ca);
    let _lock = no_follower(&home);
    let child = spawn(&home, &[&OPEN[..], &["--wait"]].concat());
    wait_until("it waits", || streams(&ca) > 0);
    let status = home.run(&["status"]);
    let line = "severity 1 counts once another person of payments-oncall types   fireaxe second EM-42";
    assert!(out(&status).contains(line), "{}", out(&status));
    play.settle(&ca, Settled::Given);
    let done = end(child);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert!(err(&done).contains(line), "{}", err(&done));
    assert!(err(&done).contains("EM-42  upgraded to tier root until "), "{}", err(&done));
    assert!(listed(&home).contains("EM-42 root") && listed(&home).lines().count() == 1);
}

#[test]
fn the_answer_of_the_people_decides_the_exit_code() {
    for (meanwhile, how, exit, outcome, says) in [
        (true, Settled::Given, 0, "given", "upgraded to tier root"),
        (true, refused(), 77, "refused", "refused by ben: use the replica"),
        (false, refused(), 77, "refused", "nothing is held"),
        (true, Settled::Lapsed, 0, "meanwhile", "lapsed: nobody answered in time"),
        (false, Settled::Lapsed, 75, "lapsed", "next: fireaxe open db-3.payments.prod --want look -r"),
    ] {
        for json in [false, true] {
            let play = Play::new(meanwhile);
            let ca = play.start();
            let home = home(&ca);
            let _lock = no_follower(&home);
            let first: &[&str] = if json { &["--json"] } else { &[] };
            let child = spawn(&home, &[first, &OPEN, &["--wait"]].concat());
            wait_until("it waits", || streams(&ca) > 0);
            play.settle(&ca, how.clone());
            let done = end(child);
            assert_eq!(done.status.code(), Some(exit), "{how:?}: {}", err(&done));
            let held = listed(&home);
            assert_eq!(held.contains("EM-42 look"), meanwhile && how != Settled::Given, "{how:?}: {held}");
            if json {
                let answer: Value = serde_json::from_str(&out(&done)).unwrap();
                let found = (&answer["schema"], &answer["outcome"]);
                assert_eq!(found, (&"fireaxe.open/v1".into(), &outcome.into()), "{answer}");
                assert!(err(&done).is_empty(), "words beside JSON: {}", err(&done));
            } else {
                assert!(err(&done).contains(says), "{how:?}: {}", err(&done));
            }
        }
    }
}

#[test]
fn status_takes_up_what_was_granted_while_nobody_waited() {
    for meanwhile in [true, false] {
        let play = Play::new(meanwhile);
        let ca = play.start();
        let home = home(&ca);
        let _lock = no_follower(&home);
        let done = home.run(&OPEN);
        assert_eq!(done.status.code(), Some(if meanwhile { 0 } else { 75 }), "{}", err(&done));
        let status = home.run(&["status"]);
        assert_eq!(status.status.code(), Some(0), "{}", err(&status));
        let all = out(&status) + &err(&status);
        assert!(all.contains("EM-42") && all.contains("waits for 1 of payments-leads"), "{all}");
        let answer: Value = serde_json::from_slice(&home.run(&["--json", "status"]).stdout).unwrap();
        assert_eq!(answer["waiting"][0]["emergency"], "EM-42", "{answer}");
        assert_eq!(answer["waiting"][0]["waiting"]["called"][0]["people"][1], "cleo");
        play.settle(&ca, Settled::Given);
        let status = home.run(&["status"]);
        assert!(err(&status).contains("EM-42  upgraded to tier root until "), "{}", err(&status));
        assert!(out(&status).contains("EM-42  tier root"), "{}", out(&status));
        assert!(listed(&home).contains("EM-42 root") && listed(&home).lines().count() == 1);
        let answer: Value = serde_json::from_slice(&home.run(&["--json", "status"]).stdout).unwrap();
        assert_eq!(answer["waiting"].as_array().unwrap().len(), 0, "{answer}");
        assert_eq!(answer["held"][0]["tier"], "root");
    }
}

#[test]
fn status_tells_the_end_of_a_request_once() {
    let play = Play::new(false);
    let ca = play.start();
    let home = home(&ca);
    let _lock = no_follower(&home);
    assert_eq!(home.run(&OPEN).status.code(), Some(75));
    play.settle(&ca, refused());
    let status = home.run(&["status"]);
    assert!(err(&status).contains("EM-42  refused by ben: use the replica"), "{}", err(&status));
    let status = home.run(&["status"]);
    assert!(err(&status).contains("nothing is held"), "{}", err(&status));
}

#[test]
fn a_ca_that_lies_about_a_grant_gives_nothing() {
    type Lie = fn(&mut fireaxe_protocol::api::Grant, &mut world::ca::Makes);
    let lies: [(&str, Lie); 6] = [
        ("a certificate of other terms", |g, m| {
            if g.terms.as_ref().is_some_and(|t| t.power == 3) {
                m.terms.lifetime_s += 600;
            }
        }),
        ("a receipt of another entry", |g, m| {
            if g.terms.as_ref().is_some_and(|t| t.power == 3) {
                m.of = ELSEWHERE;
            }
        }),
        ("another log", |_, m| m.log = ed25519_dalek::SigningKey::from_bytes(&[66; 32])),
        ("another emergency", |g, _| g.emergency = fireaxe_protocol::names::EmergencyId(43)),
        ("another host", |g, _| g.host = Some("db-4.payments.prod".parse().unwrap())),
        ("more than was asked for", |g, m| {
            let mut more = look();
            more.power = 9;
            (g.terms, m.terms) = (Some(more.clone()), more);
        }),
    ];
    for (what, lie) in lies {
        let play = Play { lie, ..Play::new(true) };
        let ca = play.start();
        let home = home(&ca);
        let _lock = no_follower(&home);
        assert_eq!(home.run(&OPEN).status.code(), Some(0));
        play.settle(&ca, Settled::Given);
        let status = home.run(&["status"]);
        let said = err(&status);
        assert!(said.contains("thrown away") || said.contains("does not hold together"), "{what}: {said}");
        assert!(
            listed(&home).contains("EM-42 look") && listed(&home).lines().count() == 1,
            "{what} was taken"
        );
    }
}

#[test]
fn ctrl_c_loses_nothing_and_says_so() {
    for (meanwhile, exit) in [(true, 0), (false, 75)] {
        let play = Play::new(meanwhile);
        let ca = play.start();
        let home = home(&ca);
        // The follower and `open` itself both listen.
        let (code, said) = on_a_terminal(&home, &OPEN, || streams(&ca) > 1, b"\x03");
        assert_eq!(code, Some(exit), "{said}");
        for part in ["the request goes on", "next: fireaxe status", "asked: ben, cleo"] {
            assert!(said.contains(part), "{part}\nis missing from\n{said}");
        }
        assert_eq!(said.contains("still held: tier look"), meanwhile, "{said}");
        play.settle(&ca, Settled::Given);
        wait_until("the follower swaps it", || listed(&home).contains("EM-42 root"));
    }
}

#[test]
fn ctrl_c_while_the_declaration_is_on_its_way_waits_for_its_answer() {
    let play = Play::new(true);
    let answers = play.clone();
    let ca = FakeCa::start(move |request, _| {
        if request.line == DECLARE {
            // Long enough for somebody to press it.
            std::thread::sleep(Duration::from_millis(700));
        }
        answers.answer(request)
    });
    let home = home(&ca);
    let (code, said) = on_a_terminal(&home, &OPEN, || !ca.requests(DECLARE).is_empty(), b"\x03");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("still held: tier look") && said.contains("the request goes on"), "{said}");
    assert!(listed(&home).contains("EM-42 look"), "what came back was lost: {}", listed(&home));
}

#[test]
fn what_cannot_be_asked_is_not_sent_and_the_command_is_named() {
    let ca = FakeCa::start(|_, _| None);
    let home = home(&ca);
    let done = home.run(&["open", "db-3.payments.prod", "--action", "restart-payments", "shard=1 2"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(
        err(&done).contains("fireaxe open db-3.payments.prod --action restart-payments 'shard=1 2' -r"),
        "{}",
        err(&done)
    );
    assert!(ca.requests(DECLARE).is_empty());
}

/// A terminal that somebody else sits at, and what is written on it.
struct Terminal {
    child: Child,
    name: String,
    lines: std::io::BufReader<std::process::ChildStdout>,
}

impl Terminal {
    fn new() -> Terminal {
        let mut script = std::process::Command::new("script");
        script.args(["-qec", "tty; cat", "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut name = String::new();
        lines.read_line(&mut name).unwrap();
        Terminal { child, name: name.trim().to_owned(), lines }
    }

    /// The next line that says something.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the terminal has ended");
            if !line.trim().is_empty() {
                return line;
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_terminal_that_opened_it_is_warned_before_the_end_and_told_of_the_upgrade() {
    let play = Play::new(true);
    let ca = play.start();
    let home = home(&ca);
    let mut terminal = Terminal::new();
    // The warning of one minute is due when it has a minute left.
    home.hold(7, 62);
    let mut child = home.fireaxe(&["follow", "EM-42", "--tty", &terminal.name]).spawn().unwrap();
    let warned = terminal.line();
    assert!(
        warned
            .contains("EM-42 (tier root on db-3.payments.prod) ends in 1 min.   next: fireaxe extend EM-42"),
        "{warned}"
    );
    assert!(!warned.contains(['\u{7}', '\u{1b}']), "{warned:?}");
    assert!(home.run(&["agent", "--stop"]).status.success());
    assert!(child.wait().unwrap().success(), "it goes when the agent has gone");
}

#[test]
fn on_a_terminal_everything_that_is_opened_is_followed_for_its_warnings() {
    let ca =
        FakeCa::start(|request, _| Some((201, world::ca::opened(request, &world::ca::Makes::default()))));
    let home = home(&ca);
    let (code, said) = on_a_terminal(&home, &OPEN, || true, b"");
    assert_eq!(code, Some(0), "{said}");
    wait_until("a follower has the lock", || {
        File::open(home.socket("follow-EM-42.lock")).is_ok_and(|file| file.try_lock().is_err())
    });
}
