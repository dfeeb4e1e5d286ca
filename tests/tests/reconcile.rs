//! What is missing is found: real logins at a real sshd, as its log has them, against what the CA issued and what
//! hosts reported; and the log as a stream of events, whole.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use fireaxe_protocol::host::Report;
use fireaxe_tests::clock;
use fireaxe_tests::holder::{Held, Holder};
use fireaxe_tests::host::{Host, Login};
use fireaxe_tests::keys::KeyPair;
use fireaxe_tests::running::start;
use fireaxe_tests::scene::{Scene, default_policy};
use fireaxe_tests::{Ca, run};
use serde_json::Value;

const HOST: &str = "db-3.payments.prod";
const STOCK: &str = "db-5.payments.prod";

/// The default policy; its tier fix must be recorded.
fn policy() -> String {
    let fix = "account = \"ops\"\nextensions = [\"pty\"]\nttl = \"30m\"\n";
    let policy = default_policy();
    assert!(policy.contains(fix), "{policy}");
    let policy = policy.replacen(fix, &format!("{fix}record = \"required\"\n"), 1);
    let (rules, _) = policy.split_once("# --- Worked examples").unwrap();
    rules.to_owned()
}

/// sshd's own words as syslog would have written them: the test's sshd logs to a file, without time and name.
fn syslog(scene: &Scene, host: &Host) -> PathBuf {
    let stamp = run(Command::new("date").args(["-u", "+%b %e %H:%M:%S"])).ok().to_owned();
    let name = host.name().split('.').next().unwrap().to_owned();
    let lines: Vec<String> =
        host.log().lines().map(|line| format!("{stamp} {name} sshd[7]: {line}\n")).collect();
    let path = scene.world.dir().join(format!("{name}.log"));
    fs::write(&path, lines.concat()).unwrap();
    path
}

/// The codes that are found, each with its sentence, and the whole answer.
fn reconciled(ca: &Ca, words: &[&str], code: i32) -> (Vec<(String, String)>, Value) {
    let ran = ca.cmd(&[&["log", "reconcile", "--json"], words].concat());
    ran.exits(code);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran}"));
    assert_eq!(told["schema"], "fireaxe.reconciled/v1");
    let wrong = told["findings"].as_array().unwrap().iter().filter(|one| one["weight"] == "wrong");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (wrong.map(|one| (text(&one["code"]), text(&one["sentence"]))).collect(), told)
}

fn ended(ca: &Ca, serial: u64) -> usize {
    let of = |report: &&Report| matches!(report, Report::SessionClosed(closed) if closed.serial == serial);
    ca.reports().iter().filter(of).count()
}

#[track_caller]
fn comes_to_end(ca: &Ca, held: &Held, times: usize) {
    let there = clock::wait_for(clock::LIMIT * 2, || (ended(ca, held.serial) == times).then_some(()));
    assert!(there.is_some(), "{:#?}", ca.reports());
}

#[test]
fn what_the_ca_did_not_issue_the_host_did_not_report_or_nobody_recorded_is_found() {
    let scene = Scene::begin_with_helper_and(|setting| setting.policy = policy());
    let host = &scene.db_3;
    let holder = Holder::new(&scene.ana, &scene.ca);
    let ops = holder.open(HOST, None, Some(2));
    assert_eq!(host.ssh(&ops.login, "ops", "id -un").ok(), "ops");
    comes_to_end(&scene.ca, &ops, 1);

    // All fits: the login of the self-test that `apply` made is one of ours, too.
    let log = syslog(&scene, host).display().to_string();
    let recorded = || scene.ca.cmd(&["rec", "verify", "EM-1"]).stderr.contains("1 verified, 0 not");
    assert!(clock::wait_for(clock::LIMIT, || recorded().then_some(())).is_some());
    let (found, told) = reconciled(&scene.ca, &["--sshd-log", &log], 0);
    assert_eq!(found, [], "{told}");
    let sum = &told["summary"];
    assert_eq!((&sum["standing"], &sum["as_reported"]), (&Value::from(0), &Value::from(1)), "{told}");
    assert_eq!(sum["logins"], sum["matched"], "{told}");
    // Without a log: the same, as far as hosts say.
    let (found, _) = reconciled(&scene.ca, &[], 0);
    assert_eq!(found, []);

    // A session that nobody recorded: it opened nothing that could be.
    let mut tunnel = host.ssh_command(&ops.login, "ops", &["-N"]);
    let tunnel = start(&mut tunnel);
    let came =
        |report: &Report| matches!(report, Report::SessionOpened(opened) if opened.serial == ops.serial);
    let twice = || scene.ca.reports().iter().filter(|report| came(report)).count() == 2;
    assert!(clock::wait_for(clock::LIMIT, || twice().then_some(())).is_some(), "{:#?}", scene.ca.reports());
    drop(tunnel);
    comes_to_end(&scene.ca, &ops, 2);
    // A plain key.
    let standing = KeyPair::generate(&scene.world.room("keys"), "standing");
    host.put("/root/.ssh/authorized_keys", standing.public_line());
    assert_eq!(host.ssh(&Login::Key(standing.path().into()), "root", "id -un").ok(), "root");
    let log = syslog(&scene, host).display().to_string();
    let (found, told) = reconciled(&scene.ca, &["--sshd-log", &log], 1);
    let codes: Vec<&str> = found.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, ["login.standing", "session.unrecorded"], "{told}");
    assert!(found[0].1.contains("root") && found[0].1.contains("SHA256:"), "{found:?}");
    // What the service counts by itself says the same.
    let fleet = scene.ca.cmd(&["fleet"]);
    fleet.says("missing: 1 session(s) without their recording");
    let mut metrics = Command::new("curl");
    metrics.args(["-sS", "--unix-socket"]).arg(scene.ca.data().join("operator.sock"));
    let metrics = run(metrics.arg("http://localhost/metrics"));
    let counted = |name: &str| metrics.stdout.lines().any(|line| line == name);
    assert!(counted("fireaxe_sessions_unrecorded 1") && counted("fireaxe_sessions_unusual 0"), "{metrics}");
    assert!(counted("fireaxe_reviews_overdue 0") && counted("fireaxe_closings_unconfirmed 0"), "{metrics}");

    // A log that somebody took the logins out of.
    let kept: Vec<String> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .filter(|line| !line.contains("Accepted"))
        .map(Into::into)
        .collect();
    let at = |year: &str| format!("{year}-01-01T00:00:00Z {HOST} sshd[7]: a line\n");
    let (first, last) = (at("2020"), at("2099"));
    fs::write(&log, format!("{first}{}\n{last}", kept.join("\n"))).unwrap();
    let (found, told) = reconciled(&scene.ca, &["--sshd-log", &log], 1);
    assert!(found.iter().filter(|(code, _)| code == "session.not_in_log").count() >= 2, "{told}");

    // The CA's own key, used behind the log's back: a host that checks receipts lets nobody in; one with files only
    // does, and its log shows it.
    let mut stock = scene.world.host(STOCK, "payments-db");
    stock.join_ca(&scene.ca, &["look", "ops", "root"]);
    stock.start();
    let minted = KeyPair::generate(&scene.world.room("keys"), "minted");
    let mut sign = Command::new("ssh-keygen");
    sign.args([
        "-q",
        "-I",
        "fireaxe/EM-1/ana/7777",
        "-z",
        "7777",
        "-V",
        "-2m:+10m",
        "-n",
        "root:payments-db",
    ]);
    run(sign.arg("-s").arg(scene.ca.data().join("keys/user-ca")).arg(minted.public_path())).ok();
    host.ssh(&Login::certified(&minted), "root", "true").fails();
    assert_eq!(stock.ssh(&Login::certified(&minted), "root", "id -un").ok(), "root");
    let log = syslog(&scene, &stock).display().to_string();
    let (found, told) = reconciled(&scene.ca, &["--sshd-log", &log, "--host", STOCK], 1);
    let never = found.iter().find(|(code, _)| code == "login.never_issued");
    assert!(never.is_some_and(|(_, sentence)| sentence.contains("7777")), "{told}");
    // Whose log it is, the lines do not say in a way that the CA knows.
    let (found, told) = reconciled(&scene.ca, &["--sshd-log", &log], 1);
    assert!(found.iter().any(|(code, _)| code == "log.other_host"), "{told}");
    scene.ca.cmd(&["log", "verify"]).ok();
    streamed(&scene);
}

/// The whole log as events: each kind whole, each entry once, and from a position on.
fn streamed(scene: &Scene) {
    let ca = &scene.ca;
    let entries = ca.entries().len();
    let ran = ca.cmd(&["log", "stream", "--to", "stdout"]);
    ran.ok();
    let events: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), entries);
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["metadata"]["sequence"], index, "{event}");
        let number = |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("no {name}: {event}"));
        assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"));
        let about = if number("class_uid") == 3004 { &event["entity"] } else { &event["user"]["name"] };
        assert!(!about.is_null() && *about != "", "{event}");
    }
    let of = |kind: &str| events.iter().find(|event| event["metadata"]["event_code"] == kind).unwrap();
    assert_eq!(of("emergency.declared")["user"]["name"], "ana");
    assert_eq!(of("emergency.declared")["unmapped"]["reason"], "kept in a file");
    assert_eq!(of("host.enrolled")["entity"]["type"], "host");
    assert!(of("session.opened")["src_endpoint"]["ip"].is_string());

    // To a file, from where it stood.
    let (file, state) = (scene.world.dir().join("events.jsonl"), scene.world.dir().join("position"));
    let (to, state) = (format!("file:{}", file.display()), state.display().to_string());
    let stream = ["log", "stream", "--to", &to, "--format", "jsonl", "--state", &state];
    let lines = || fs::read_to_string(&file).unwrap().lines().count();
    ca.cmd(&stream).ok();
    assert_eq!(lines(), entries);
    ca.cmd(&stream).says("0 events have arrived");
    scene.incident("pd:LATER1", 3, "payments-db");
    ca.cmd(&stream).says("1 events have arrived");
    assert_eq!(lines(), ca.entries().len());
    let text = fs::read_to_string(&file).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let leaf = fireaxe_protocol::log::tree::leaf_hash(last["entry"].as_str().unwrap().as_bytes());
    assert_eq!(last["leaf"], leaf.to_string());
    // A position is of one log and one target.
    ca.cmd(&["log", "stream", "--to", "stdout", "--state", &state])
        .exits(1)
        .says("is the position of the stream to");
    ca.cmd(&["log", "stream", "--to", "tls://siem.example:6514"]).exits(2).says("--ca");
}
