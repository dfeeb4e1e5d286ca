//! What an engineer meets at night: copies, a CA that is away, another's closing, two on one host, an
//! agent that is asked to travel. Every login by a real ssh at a real sshd.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;
use std::process::Command;

use fireaxe_tests::scene::Scene;
use fireaxe_tests::{Engineer, Ran, run};
use serde_json::Value;

const DB_3: &str = "db-3.payments.prod";
const DB_4: &str = "db-4.payments.prod";

fn json(ran: &Ran) -> Value {
    serde_json::from_str(ran.stdout.trim()).unwrap_or_else(|error| panic!("no JSON: {error}\n{ran}"))
}

/// One of OpenSSH's programs with the person's own configuration.
fn theirs(person: &Engineer, program: &str) -> Command {
    let mut command = person.command(program);
    command.arg("-F").arg(person.home().join(".ssh/config"));
    command
}

fn status(person: &Engineer) -> Vec<(String, Value)> {
    let status = json(&person.fireaxe(&["status", "--json"]));
    let held = status["held"].as_array().unwrap();
    held.iter().map(|one| (one["emergency"].as_str().unwrap().to_owned(), one["state"].clone())).collect()
}

#[test]
fn files_are_copied_where_the_tier_gives_a_shell_and_nowhere_else() {
    let scene = Scene::begin();
    scene.ana.knows(&[&scene.db_3, &scene.db_4]);
    fs::write(scene.ana.home().join("note"), "copied\n").unwrap();
    let copy = |to: &str| run(theirs(&scene.ana, "scp").args(["note", &format!("{DB_3}:{to}")]));
    let sftp = |to: &str| {
        let batch = scene.ana.home().join("batch");
        fs::write(&batch, format!("put note {to}\n")).unwrap();
        run(theirs(&scene.ana, "sftp").arg("-b").arg(&batch).arg(DB_3))
    };
    scene.ana.open(&[DB_3, "-s", "2", "--want", "look", "-r", "looking"]);
    copy("/tmp/by-scp").fails();
    sftp("/tmp/by-sftp").fails();
    assert!(!scene.db_3.file("/tmp/by-scp").exists() && !scene.db_3.file("/tmp/by-sftp").exists());
    scene.ana.fireaxe(&["close"]).ok();

    scene.ana.open(&[DB_3, "-s", "2", "-r", "fixing"]);
    copy("/tmp/by-scp").ok();
    sftp("/tmp/by-sftp").ok();
    for copied in ["/tmp/by-scp", "/tmp/by-sftp"] {
        assert_eq!(fs::read_to_string(scene.db_3.file(copied)).unwrap(), "copied\n");
    }
}

#[test]
fn the_agent_does_not_travel_with_a_login() {
    let scene = Scene::begin();
    scene.incident("pd:PGR0VU2", 1, "payments-db");
    scene.ana.open(&["payments-db", "-s", "2", "-r", "both hosts"]);
    let login = scene.ana.login();
    let socket = scene.ana.socket().unwrap();
    // The server would allow it, the client asks for it, the certificate does not give it.
    assert!(scene.db_3.effective("ops").contains("allowagentforwarding yes"));
    let mut onwards = scene.db_3.ssh_command(&login, "ops", &["-A"]);
    onwards.env("SSH_AUTH_SOCK", &socket).arg("echo \"agent [$SSH_AUTH_SOCK]\"; ls /tmp");
    let ran = run(&mut onwards);
    assert!(ran.ok().contains("agent []") && !ran.stdout.contains("ssh-"), "{ran}");
    // From where the certificate is good, it opens nothing further: there is nothing there to sign with.
    scene.db_4.ssh(&login, "ops", "true").ok();
}

#[test]
fn another_s_closing_is_seen_and_what_is_dead_stands_in_nobody_s_way() {
    let scene = Scene::begin();
    scene.ana.knows(&[&scene.db_3, &scene.db_4]);
    scene.incident("pd:PGR0VU2", 1, "payments-db");
    let open = |args: &[&str]| scene.ana.open(args)["emergency"].as_str().unwrap().to_owned();

    // Seen by `status`, and gone after it.
    let first = open(&[DB_3, "--incident", "pd:PGR0VU2", "-r", "primary refuses writes"]);
    scene.ben.fireaxe(&["close", &first]).ok();
    let seen = scene.ana.fireaxe(&["status"]);
    assert!(seen.ok().contains("closed by ben"), "{seen}");
    assert!(status(&scene.ana).is_empty());

    // A bare `close` does not ask about the dead.
    let dead = open(&[DB_3, "--incident", "pd:PGR0VU2", "-r", "again"]);
    let alive = open(&[DB_4, "-s", "2", "-r", "the other one"]);
    scene.ben.fireaxe(&["close", &dead]).ok();
    scene.ana.fireaxe(&["close"]).says(&format!("{alive}  closed")).says(&format!("{dead} was closed")).ok();
    assert!(status(&scene.ana).is_empty());

    // ssh takes the most powerful certificate: a dead one does not stand before a live weaker one.
    let dead = open(&[DB_3, "--incident", "pd:PGR0VU2", "-r", "once more"]);
    scene.ben.fireaxe(&["close", &dead]).ok();
    scene.db_3.fireaxe(&["krl"]).ok();
    let alive = open(&[DB_3, "-s", "2", "-r", "a smaller one"]);
    assert_eq!(status(&scene.ana), [(alive, Value::from("open"))]);
    assert_eq!(scene.ana.ssh(&[DB_3, "id -un"]).ok(), "ops");
}

#[test]
fn two_engineers_are_on_one_host_each_as_themselves_and_end_alone() {
    let scene = Scene::begin();
    scene.ana.open(&[DB_3, "-s", "2", "-r", "primary refuses writes"]);
    scene.ben.open(&[DB_3, "-s", "2", "-r", "helping ana"]);
    let (ana, ben) = (scene.ana.login(), scene.ben.login());
    for (who, login) in [("ana", &ana), ("ben", &ben)] {
        assert_eq!(scene.db_3.ssh(login, "ops", "id -un").ok(), "ops");
        let logged = scene.db_3.log();
        assert!(logged.contains(&format!("/{who}/")), "sshd names {who}:\n{logged}");
    }
    scene
        .ana
        .fireaxe(&["close", "EM-2"])
        .exits(77)
        .says("EM-2 is not ana's to close or extend")
        .says("next: whoever declared it");
    scene.ana.fireaxe(&["close"]).ok();
    scene.db_3.fireaxe(&["krl"]).ok();
    scene.db_3.ssh(&ana, "ops", "true").exits(255);
    scene.db_3.ssh(&ben, "ops", "true").ok();
}

#[test]
fn with_the_ca_away_or_another_in_its_place_one_is_told_and_what_is_held_goes_on() {
    let mut scene = Scene::begin();
    scene.ana.open(&[DB_3, "-s", "2", "-r", "primary refuses writes"]);
    let login = scene.ana.login();
    let (url, pin) = (scene.ca.url(), scene.ca.pin());
    scene.ca.kill();
    let open = [DB_3, "-s", "2", "-r", "again"];
    let opened = scene.ana.fireaxe(&[&["open"][..], &open].concat());
    opened.exits(69).says("still works: EM-1 account ops").says("next: fireaxe status");
    let told = scene.ana.fireaxe(&["status"]);
    assert!(told.says("the CA is not running").ok().contains("EM-1  tier fix"), "{told}");
    assert_eq!(scene.db_3.ssh(&login, "ops", "id -un").ok(), "ops");

    scene.ca.start();
    let other = format!("sha256:{}", "00".repeat(32));
    assert_ne!(other, pin);
    scene.ana.fireaxe(&["enrol", "--person", "ana", "--addr", &url, "--pin", &other]).ok();
    let refused = scene.ana.fireaxe(&[&["open"][..], &open].concat());
    refused.exits(78).says("shows another certificate").says("next: ask the CA's operator");
    assert_eq!(scene.db_3.ssh(&login, "ops", "id -un").ok(), "ops");
}

#[test]
fn what_is_mistyped_is_answered_with_the_command_that_was_meant() {
    let scene = Scene::begin();
    let open = |words: &[&str]| scene.ana.fireaxe(&[&["open"], words].concat());
    open(&["db-9.payment.prod", "-s", "2", "-r", "typo"])
        .exits(1)
        .says("next: fireaxe open db-9.payments.prod -s 2 -r typo");
    open(&["payment-db", "-s", "2", "-r", "typo"])
        .exits(1)
        .says("next: fireaxe open payments-db -s 2 -r typo");
    open(&["zzzzzz", "-s", "2", "-r", "typo"]).exits(1).says("next: fireaxe explain --systems");
    let systems = scene.ana.fireaxe(&["explain", "--systems"]);
    assert!(systems.ok().contains("payments-db  db-*.payments.prod"), "{systems}");
    open(&[DB_3, "-s", "2"]).exits(2).says("next: fireaxe open db-3.payments.prod -s 2 -r 'what is wrong'");
    open(&[DB_3, "-s", "2", "--for", "8h", "-r", "x"])
        .exits(77)
        .says("policy.toml:")
        .says("next: fireaxe open db-3.payments.prod -s 2 -r x");
    let claimed = open(&["DB-3.payments.prod", "-s", "2", "--incident", "pd:NOPE", "-r", "x"]);
    claimed.says("severity 2, claimed").says("note: pd:NOPE does not count").ok();
}
