//! `run`: one action, once, and closed whatever happens. `ssh` is a script that notes how it was called.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its helpers too")]

mod world;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use fireaxe_protocol::policy::{Outcome, Terms};
use fireaxe_protocol::statement::Statement;
use serde_json::{Value, json};
use world::ca::{FakeCa, Makes, decision, declared, opened, terms};
use world::people::said;
use world::waiting::{DECLARE, home, waiting};
use world::{Home, err, out, wait_until};

const CLOSE: &str = "POST /v1/emergencies/EM-42/closure";
const RUN: [&str; 8] =
    ["run", "db-3.payments.prod", "--action", "restart-payments", "shard=12", "-s", "2", "-r=stuck"];

fn action() -> Terms {
    let mut terms = terms();
    terms.action = Some("restart-payments".parse().unwrap());
    terms.force_command = Some("/usr/bin/restart 12".into());
    terms.extensions.clear();
    terms
}

fn ca(waits: bool) -> FakeCa {
    FakeCa::start(move |request, _| match request.line.as_str() {
        DECLARE => {
            let makes = Makes { terms: action(), ..Makes::default() };
            let mut answer = opened(request, &makes);
            let decided = match waits {
                false => decision(Outcome::Permit(action())),
                true => decision(Outcome::NeedsApproval {
                    full: action(),
                    meanwhile: None,
                    smaller: None,
                    ladder: vec![],
                    wait_s: 600,
                }),
            };
            answer["decision"] = serde_json::to_value(decided).unwrap();
            answer["terms"] = if waits { Value::Null } else { serde_json::to_value(action()).unwrap() };
            if waits {
                answer["certificate"] = Value::Null;
                answer["waiting"] = serde_json::to_value(waiting()).unwrap();
            }
            Some((201, answer))
        }
        CLOSE => Some((
            200,
            json!({"schema": "fireaxe.closed/v1", "emergency": "EM-42", "revoked": [1], "entry": 9}),
        )),
        _ => None,
    })
}

/// An `ssh` that notes its words and its certificate, says something, and ends as told.
fn ssh(home: &Home, then: &str) -> PathBuf {
    let bin = home.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let noted = home.dir.path().join("called");
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > {0}\ncat \"$XDG_RUNTIME_DIR\"/fireaxe/run-EM-42.pub >> {0}\necho restarted\necho a word >&2\ncat\n{then}\n",
        noted.display()
    );
    std::fs::write(bin.join("ssh"), script).unwrap();
    std::fs::set_permissions(bin.join("ssh"), PermissionsExt::from_mode(0o755)).unwrap();
    bin
}

fn fireaxe(home: &Home, bin: &std::path::Path, words: &[&str]) -> Command {
    let mut command = home.fireaxe(words);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", bin.display()));
    command
}

#[test]
fn it_runs_ssh_once_with_exactly_that_certificate_passes_its_end_through_and_closes() {
    let ca = ca(false);
    let home = home(&ca);
    let bin = ssh(&home, "exit 7");
    let done = fireaxe(&home, &bin, &RUN).output().unwrap();
    assert_eq!(done.status.code(), Some(7), "{}", err(&done));
    assert_eq!(out(&done), "restarted\n");
    for part in [
        "a word",
        "action restart-payments (tier root)",
        "only the command /usr/bin/restart 12",
        "EM-42 is closed",
    ] {
        assert!(err(&done).contains(part), "{part}\nis missing from\n{}", err(&done));
    }
    let called = std::fs::read_to_string(home.dir.path().join("called")).unwrap();
    let run = home.dir.path().join("run/fireaxe");
    for line in [
        format!("IdentityAgent=\"{}\"", run.join("agent.sock").display()),
        format!("IdentityFile=\"{}\"", run.join("run-EM-42.pub").display()),
        "IdentitiesOnly=yes".into(),
        "BatchMode=yes".into(),
        "RequestTTY=no".into(),
        "root".into(),
        "db-3.payments.prod".into(),
    ] {
        assert!(called.lines().any(|l| l == line), "{line} is missing from\n{called}");
    }
    assert!(called.contains("ssh-ed25519-cert-v01@openssh.com "), "no certificate was there: {called}");
    assert!(!run.join("run-EM-42.pub").exists(), "the certificate's file was left behind");
    let declared = declared(&ca.requests(DECLARE)[0]);
    assert_eq!(declared.action.unwrap().as_str(), "restart-payments");
    assert_eq!(declared.params.iter().collect::<Vec<_>>(), [("shard", "12")]);
    assert!(matches!(said(&ca.requests(CLOSE)[0]), Statement::Close(c) if c.uses == Some(0)));
    assert_eq!(ca.requests(CLOSE).len(), 1, "it was closed twice");
    assert!(out(&home.openssh("ssh-add", &["-l"])).contains("no identities"));
    let words = [&["--json"], &RUN[..]].concat();
    let done = fireaxe(&home, &bin, &words).output().unwrap();
    let json: Value = serde_json::from_str(&out(&done)).unwrap();
    let found = (&json["schema"], &json["exit"], &json["stdout"], &json["closed"]);
    assert_eq!(found, (&"fireaxe.run/v1".into(), &7.into(), &"restarted\n".into(), &9.into()), "{json}");
}

#[test]
fn whatever_ends_it_the_emergency_is_closed() {
    let ca = ca(false);
    let home = home(&ca);
    let bin = ssh(&home, "exec sleep 5");
    let mut child = fireaxe(&home, &bin, &RUN).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("ssh runs", || home.dir.path().join("called").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("it is closed", || !ca.requests(CLOSE).is_empty());
    wait_until("nothing is held", || out(&home.openssh("ssh-add", &["-l"])).contains("no identities"));
}

#[test]
fn what_must_be_approved_first_does_not_run_and_is_not_left_open() {
    let ca = ca(true);
    let home = home(&ca);
    let bin = ssh(&home, "exit 0");
    let done = fireaxe(&home, &bin, &RUN).output().unwrap();
    assert_eq!(done.status.code(), Some(75), "{}", err(&done));
    assert!(err(&done).contains("asked: ben, cleo") && err(&done).contains("--wait"), "{}", err(&done));
    assert!(!home.dir.path().join("called").exists(), "ssh ran");
    assert_eq!(ca.requests(CLOSE).len(), 1);
}

#[test]
fn run_is_for_actions() {
    let ca = ca(false);
    let home = home(&ca);
    let done = home.run(&["run", "db-3.payments.prod", "-r", "x"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(err(&done).contains("--action NAME"), "{}", err(&done));
    let done = home.run(&["run", "db-3.payments.prod", "--action", "restart-payments", "shard", "-r", "x"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(err(&done).contains("NAME=VALUE"), "{}", err(&done));
    assert!(ca.requests(DECLARE).is_empty());
}
