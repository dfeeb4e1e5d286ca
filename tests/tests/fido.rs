//! A FIDO key end to end: enrolled, touched or not, counted. The token is software (`tests/sk-provider`);
//! ssh-keygen, ssh-sk-helper and sshd are the real ones.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;
use std::fs::File;
use std::path::PathBuf;

use fireaxe_ca::log::Reader;
use fireaxe_protocol::log::{Entry, Event};
use fireaxe_protocol::policy::Presence;
use fireaxe_protocol::statement::Envelope;
use fireaxe_tests::scene::Scene;

const WHOLE: [&str; 5] = ["payments-db", "--incident", "pd:PGR0VU2", "-r", "primary refuses writes"];

fn begin() -> Scene {
    let scene = Scene::begin_with_security_keys();
    scene.incident("pd:PGR0VU2", 1, "payments-db");
    scene
}

fn open(extra: &[&'static str]) -> Vec<&'static str> {
    [&["open"], &WHOLE[..], extra].concat()
}

fn entries(scene: &Scene) -> Vec<Entry> {
    let reader = Reader::open(&scene.ca.data().join("log.sqlite")).unwrap();
    let mut found = Vec::new();
    reader.replay(|_, entry, _| found.push(entry)).unwrap();
    found
}

/// As `docs/PROTOCOL.formats.md` tells a reader of the log to do it: with OpenSSH alone.
fn verify_with_ssh_keygen(scene: &Scene, envelope: &Envelope) {
    let dir = scene.world.room("verify");
    let write = |name: &str, text: &str| -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let line = scene.ana.key().public_line();
    let allowed = write("allowed_signers", &format!("ana namespaces=\"declare.v1@fireaxe\" {line}\n"));
    let signature = write("statement.sig", &envelope.signature);
    for (text, good) in [(envelope.statement.clone(), true), (format!("{} ", envelope.statement), false)] {
        let statement = write("statement", &text);
        let mut command = scene.ana.command("ssh-keygen");
        command.args(["-Y", "verify", "-I", "ana", "-n", "declare.v1@fireaxe"]);
        command.arg("-f").arg(&allowed).arg("-s").arg(&signature);
        let out = command.stdin(File::open(&statement).unwrap()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert_eq!(out.status.success(), good, "{out:?}");
        assert_eq!(said.contains("Good \"declare.v1@fireaxe\" signature for ana with ED25519-SK"), good);
    }
}

/// Ana declares and ben approves, each with a touch: guarded is in her agent.
fn open_guarded(scene: &Scene) -> String {
    let opened = scene.ana.open(&WHOLE);
    assert_eq!((&opened["terms"]["tier"], &opened["waiting"]["tier"]), (&"fix".into(), &"guarded".into()));
    let emergency = opened["emergency"].as_str().unwrap();
    scene.ben.fireaxe(&["approve", emergency, "--yes"]).says("ana has it now").ok();
    scene.ana.comes_to_hold("db-3.payments.prod", "root");
    emergency.to_owned()
}

#[test]
fn a_touch_of_each_opens_guarded_and_the_log_holds_what_openssh_verifies() {
    let scene = begin();
    assert!(scene.ana.key().public_line().starts_with("sk-ssh-ed25519@openssh.com "));
    open_guarded(&scene);
    let held = scene.ana.asks(&["status"])["held"][0].clone();
    assert_eq!((&held["tier"], &held["account"]), (&"guarded".into(), &"root".into()));
    let login = scene.ana.login();
    for host in [&scene.db_3, &scene.db_4] {
        assert_eq!(host.ssh(&login, "root", "id -un").ok(), "root");
    }

    let entries = entries(&scene);
    let declared = entries.iter().find_map(|entry| match &entry.event {
        Event::EmergencyDeclared { declared, counter, facts, .. } => Some((declared, counter, facts)),
        _ => None,
    });
    let (envelope, counter, facts) = declared.unwrap();
    assert_eq!(facts.presence, Presence::Touch);
    assert!(counter.is_some_and(|counter| counter >= 1 && counter <= scene.ana.counter()));
    verify_with_ssh_keygen(&scene, envelope);

    // The same key closes it, and the certificate is worth nothing.
    scene.ana.fireaxe(&["close"]).ok();
    scene.db_3.fireaxe(&["krl"]).ok();
    scene.db_3.ssh(&login, "root", "true").exits(255);
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn an_approval_without_a_touch_is_none() {
    let mut scene = begin();
    scene.ana.open(&WHOLE);
    scene.ben.set_env("FIREAXE_TEST_SK_FLAGS", "0");
    let refused = scene.ben.fireaxe(&["--json", "approve", "EM-1", "--yes"]);
    refused.exits(77);
    assert!(refused.stdout.contains("approval.presence"), "{refused}");
    assert_eq!(scene.ana.asks(&["status"])["waiting"][0]["waiting"]["tier"], "guarded");
    scene.db_3.ssh(&scene.ana.login(), "root", "true").exits(255);
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn without_a_touch_guarded_is_refused_and_what_needs_none_is_named() {
    let mut scene = begin();
    scene.ana.set_env("FIREAXE_TEST_SK_FLAGS", "0");
    let refused = scene.ana.fireaxe(&open(&["--json"]));
    refused.exits(77);
    assert!(refused.stdout.contains("presence.insufficient"), "{refused}");
    let refused = scene.ana.fireaxe(&open(&[]));
    refused.exits(77).says("fireaxe open").says("--want fix");
    let event = entries(&scene).pop().unwrap().event;
    let Event::DeclarationRefused { declared, facts, .. } = event else { panic!("{event:?}") };
    assert_eq!(facts.presence, Presence::None);
    // OpenSSH calls it good all the same: the flags are for the CA to read.
    verify_with_ssh_keygen(&scene, &declared);

    // What is named works, untouched as the key is.
    let opened = scene.ana.open(&[&WHOLE[..], &["--want", "fix"]].concat());
    assert_eq!(opened["terms"]["tier"], "fix");
    assert_eq!(scene.db_3.ssh(&scene.ana.login(), "ops", "id -un").ok(), "ops");
    scene.db_3.ssh(&scene.ana.login(), "root", "true").exits(255);
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn a_counter_that_goes_back_is_refused_and_one_that_goes_on_is_not() {
    let scene = begin();
    scene.ana.set_counter(40);
    let fix = [&WHOLE[..], &["--want", "fix"]].concat();
    scene.ana.open(&fix);
    scene.ana.set_counter(60);
    scene.ana.fireaxe(&["close"]).ok();
    let before = entries(&scene).len();

    // A clone that was made after the declaration and before the closing: what closes counts too.
    scene.ana.set_counter(50);
    let refused = scene.ana.fireaxe(&open(&["--json"]));
    refused.exits(77);
    assert!(refused.stdout.contains("key.counter_back"), "{refused}");
    assert_eq!(entries(&scene).len(), before);

    scene.ana.set_counter(90);
    open_guarded(&scene);
    assert_eq!(scene.db_3.ssh(&scene.ana.login(), "root", "id -un").ok(), "root");
    scene.ca.cmd(&["log", "verify"]).ok();
}
