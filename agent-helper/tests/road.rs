//! The verbs against a CA that does well or badly: what is taken, what is thrown away, what is said.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its helpers too")]

mod world;

use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::{
    Closed, Emergency, Explained, LoggedIn, PolicySurface, Problem, ReadProof, SystemSurface,
};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::{Outcome, Smaller};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{Claimed, Envelope, Statement};
use serde_json::{Value, json};
use world::ca::{DECLARATION, FakeCa, Makes, Request, decision, declared, opened, origin, terms};
use world::{Home, err, out, wait_until};

const DECLARE: &str = "POST /v1/emergencies";

/// A home that knows the CA, with an agent that dies with it.
fn home(ca: &FakeCa) -> Home {
    let home = Home::with_agent();
    let enrolled = home.run(&["enrol", "--person", "ana", "--addr", &ca.address, "--pin", &ca.pin]);
    assert!(enrolled.status.success(), "{}", err(&enrolled));
    home
}

fn open(home: &Home) -> Output {
    home.run(&["open", "db-3.payments.prod", "--incident", "pd:PGR0VU2", "-r", "primary refuses writes"])
}

fn listed(home: &Home) -> String {
    out(&home.openssh("ssh-add", &["-l"]))
}

fn problem(status: u16, code: &str, decided: Option<Outcome>) -> Value {
    let reasons = vec![Reason::new(code, "it \u{1b}[2J is so").at("policy.toml:14")];
    serde_json::to_value(Problem {
        kind: String::new(),
        title: "no".into(),
        status,
        code: code.into(),
        reasons,
        next: Some("fireaxe ls".into()),
        nearest: Vec::new(),
        changed: Vec::new(),
        decision: decided.map(|o| Box::new(decision(o))),
        entry: None,
        index: Some(9),
        expected: None,
        logged: Vec::new(),
    })
    .unwrap()
}

#[test]
fn open_puts_exactly_the_agreed_certificate_into_the_agent_and_says_what_next() {
    let ca = FakeCa::start(|request, _| Some((201, opened(request, &Makes::default()))));
    let home = home(&ca);
    let done = open(&home);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    let said = err(&done);
    for part in [
        "EM-42  payments-db, one host (sensitivity 4 x blast 2: medium), severity 1 from pd:PGR0VU2 (2 min old)  ->  tier root",
        "  account root on db-3.payments.prod, any command, with a terminal, 45 min, not recorded; owner: team payments",
        "certificate in the agent, ends ",
        "fireaxe close EM-42",
    ] {
        assert!(said.contains(part), "{part}\nis missing from\n{said}");
    }
    assert!(out(&done).is_empty(), "words on stdout: {}", out(&done));
    assert!(listed(&home).contains("EM-42 root on db-3.payments.prod (serial 1)"), "{}", listed(&home));
    assert!(home.run(&["match", "db-3.payments.prod", "root"]).status.success());
    let sent: Envelope = serde_json::from_str(&ca.requests(DECLARE)[0].body).unwrap();
    let claimed = Claimed::read(sent).unwrap();
    assert_eq!(*claimed.statement().header().to.as_str(), *origin().as_str());
    let why = home.run(&["why", "db-3.payments.prod"]);
    assert!(err(&why).contains("ssh would log in as root with EM-42"), "{}", err(&why));
}

#[test]
fn open_starts_an_agent_of_its_own_that_outlives_it() {
    let ca = FakeCa::start(|request, _| Some((201, opened(request, &Makes::default()))));
    let home = Home::new();
    let enrolled = home.run(&["enrol", "--person", "ana", "--addr", &ca.address, "--pin", &ca.pin]);
    assert!(enrolled.status.success(), "{}", err(&enrolled));
    let mut both: Vec<_> = (0..2)
        .map(|_| home.fireaxe(&["open", "db-3.payments.prod", "-r", "x"]))
        .map(|mut open| open.stderr(Stdio::null()).spawn().unwrap())
        .collect();
    assert!(both.iter_mut().all(|child| child.wait().unwrap().success()));
    assert_eq!(listed(&home).lines().count(), 2, "two at once, one agent: {}", listed(&home));
    assert!(home.run(&["agent", "--stop"]).status.success());
    assert!(!home.socket("agent.sock").exists());
}

#[test]
fn a_key_that_only_an_ssh_agent_holds_signs() {
    let ca = FakeCa::start(|request, _| Some((201, opened(request, &Makes::default()))));
    let home = Home::new();
    let (socket, key) = (home.dir.path().join("user.sock"), home.dir.path().join("id"));
    let mut user = Command::new("ssh-agent");
    let mut user = user.args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    wait_until("ssh-agent listens", || UnixStream::connect(&socket).is_ok());
    let key = key.to_str().unwrap();
    assert!(home.openssh("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key]).status.success());
    let added = Command::new("ssh-add").args(["-q", key]).env("SSH_AUTH_SOCK", &socket).status();
    assert!(added.unwrap().success());
    std::fs::remove_file(key).unwrap();
    let public = format!("{key}.pub");
    let enrol = ["enrol", "--person", "ana", "--key", &public, "--addr", &ca.address, "--pin", &ca.pin];
    assert!(home.run(&enrol).status.success());
    let words = ["open", "db-3.payments.prod", "-r", "x"];
    let done = home.fireaxe(&words).env("SSH_AUTH_SOCK", &socket).output().unwrap();
    assert!(done.status.success(), "{}", err(&done));
    user.kill().unwrap();
    user.wait().unwrap();
    let done = home.fireaxe(&words).env("SSH_AUTH_SOCK", &socket).output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(err(&done).contains("nothing here holds the private half"), "{}", err(&done));
}

#[test]
fn a_dry_run_explains_and_declares_nothing() {
    let ca = FakeCa::start(|request, _| match request.line.as_str() {
        "POST /v1/sessions" => Some((201, session())),
        "POST /v1/policy/explain" => {
            let mut decision = decision(Outcome::Permit(terms()));
            decision.because =
                vec![Reason::new("table.cell", "row medium, severity 1: root").at("policy.toml:20")];
            let explained = Explained {
                schema: "fireaxe.explained/v1".into(),
                system: "payments-db".parse().unwrap(),
                host: Some("db-3.payments.prod".parse().unwrap()),
                hosts: vec!["db-3.payments.prod".into()],
                owner: None,
                incident: None,
                decision,
            };
            Some((200, serde_json::to_value(explained).unwrap()))
        }
        other => panic!("{other}"),
    });
    let home = home(&ca);
    let done = home.run(&["open", "db-3.payments.prod", "-s", "1", "--dry-run"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert!(err(&done).contains("would be: payments-db, one host"), "{}", err(&done));
    assert!(err(&done).contains("because: row medium, severity 1: root  (policy.toml:20)"), "{}", err(&done));
    assert!(ca.requests(DECLARE).is_empty());
    let why = err(&home.run(&["why", "db-3.payments.prod"]));
    assert!(
        why.contains("would not use a certificate; nothing is held")
            && why.contains("next: fireaxe open db-3"),
        "{why}"
    );
    assert_eq!(ca.requests("POST /v1/sessions").len(), 1);
}

#[test]
fn status_asks_for_no_passphrase_and_does_not_drop_what_nobody_said_is_closed() {
    let ca = FakeCa::start(|request, _| match request.line.as_str() {
        "GET /v1/emergencies/EM-42" => Some((401, problem(401, "reader.unknown", None))),
        other => panic!("{other}"),
    });
    let home = Home::with_agent();
    let key = home.dir.path().join("locked").display().to_string();
    let made = home.openssh("ssh-keygen", &["-q", "-t", "ed25519", "-N", "a passphrase", "-f", &key]);
    assert!(made.status.success(), "{}", err(&made));
    let words = ["enrol", "--person", "ana", "--addr", &ca.address, "--pin", &ca.pin, "--key", &key];
    assert!(home.run(&words).status.success());
    home.hold(7, 600);
    let status = home.run(&["status"]);
    assert_eq!(status.status.code(), Some(0), "{}", err(&status));
    assert!(out(&status).contains("unknown to the CA"), "{}", out(&status));
    assert!(err(&status).contains("next: fireaxe ls"), "{}", err(&status));
    let again: Value = serde_json::from_str(&out(&home.run(&["--json", "status"]))).unwrap();
    assert_eq!(again["held"][0]["state"], "unknown");
}

#[test]
fn doctor_is_content_with_a_world_that_works() {
    let ca = FakeCa::start(|request, _| match request.line.as_str() {
        "GET /log/checkpoint" => world::ca::bytes(world::log::Entries::new(0..3).note(3).as_bytes()),
        other => panic!("{other}"),
    });
    let home = home(&ca);
    let doctor = home.run(&["--json", "doctor"]);
    assert_eq!(doctor.status.code(), Some(0), "{}", out(&doctor));
    let answer: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    for check in answer["checks"].as_array().unwrap() {
        assert_ne!(check["verdict"], "fail", "{check}");
        if ["CA", "clock", "log", "ssh", "configuration"].contains(&check["check"].as_str().unwrap()) {
            assert_eq!(check["verdict"], "ok", "{check}");
        }
    }
    let words = home.run(&["doctor"]);
    assert!(
        err(&words).contains("answers under its pin as fireaxe.prod/0123456789abcdef"),
        "{}",
        err(&words)
    );
}

#[test]
fn a_certificate_that_is_not_what_was_agreed_never_reaches_the_agent() {
    let wider = |change: fn(&mut Makes)| {
        let mut makes = Makes::default();
        change(&mut makes);
        makes
    };
    for (what, makes, says) in [
        ("a longer life", wider(|m| m.terms.lifetime_s += 60), "valid before"),
        ("a force-command of its own", wider(|m| m.terms.force_command = Some("id".into())), "force-command"),
        (
            "forwarding",
            wider(|m| m.terms.extensions.insert(0, fireaxe_protocol::policy::Extension::PortForwarding)),
            "permit-port-forwarding",
        ),
        (
            "another host too",
            wider(|m| m.terms.principals.push("root:db-4.payments.prod".parse().unwrap())),
            "principals",
        ),
        ("another declaration's entry", wider(|m| m.of = Hash([6; 32])), "another declaration"),
        ("another log", wider(|m| m.log = SigningKey::from_bytes(&[66; 32])), "thrown away"),
    ] {
        let ca = FakeCa::start(move |request, _| Some((201, opened(request, &makes))));
        let home = home(&ca);
        let done = open(&home);
        assert_eq!(done.status.code(), Some(1), "{what}: {}", err(&done));
        assert!(err(&done).contains(says), "{what}: {}", err(&done));
        assert!(listed(&home).contains("no identities"), "{what} was taken");
    }
}

#[test]
fn an_answer_that_is_not_about_what_was_asked_gives_nothing() {
    let ca = FakeCa::start(|request, _| Some((201, opened(request, &Makes::default()))));
    let home = home(&ca);
    for words in [
        &["open", "db-4.payments.prod", "-r", "x"][..],
        &["open", "payments-db", "-r", "x"],
        &["open", "db-3.payments.prod", "-r", "x", "--for", "10m"],
        &["open", "db-3.payments.prod", "-r", "x", "--want", "look"],
    ] {
        let done = home.run(words);
        assert_eq!(done.status.code(), Some(1), "{words:?}: {}", err(&done));
        assert!(err(&done).contains("does not hold together"), "{words:?}: {}", err(&done));
    }
    assert!(listed(&home).contains("no identities"));
}

#[test]
fn a_declaration_without_an_answer_is_sent_again_word_for_word() {
    let ca = FakeCa::start(|request, before| match before {
        0 | 1 => None,
        _ => Some((201, opened(request, &Makes::default()))),
    });
    let home = home(&ca);
    let done = open(&home);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    let sent = ca.requests(DECLARE);
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|r| r.body == sent[0].body), "another statement was sent");
}

#[test]
fn a_refusal_shows_every_reason_its_line_and_the_smaller_request() {
    let ca = FakeCa::start(|_, _| {
        let mut smaller = terms();
        smaller.tier = "look".parse().unwrap();
        let refused = Outcome::Refuse {
            reasons: vec![
                Reason::new("severity.above_cap", "a bare claim is at most severity 2").at("policy.toml:9"),
                Reason::new("table.deny", "the cell says deny").at("policy.toml:30"),
            ],
            smaller: Some(Smaller {
                severity: Some(2.try_into().unwrap()),
                want: Some("look".parse().unwrap()),
                terms: smaller,
            }),
        };
        Some((403, problem(403, "policy.denied", Some(refused))))
    });
    let home = home(&ca);
    let words = ["open", "db-3.payments.prod", "-s", "1", "-r", "it's down"];
    let done = home.run(&words);
    assert_eq!(done.status.code(), Some(77), "{}", err(&done));
    for part in [
        "->  refused",
        "a bare claim is at most severity 2  (policy.toml:9)  [severity.above_cap]",
        "the cell says deny  (policy.toml:30)",
        r"next: fireaxe open db-3.payments.prod -s 2 --want look -r 'it'\''s down'",
        "entry 9 of the log",
    ] {
        assert!(err(&done).contains(part), "{part}\nis missing from\n{}", err(&done));
    }
    let answer = home.run(&[&["--json"], &words[..]].concat());
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(
        (answer["schema"].as_str(), answer["outcome"].as_str()),
        (Some("fireaxe.open/v1"), Some("refused"))
    );
}

#[test]
fn each_other_no_has_its_exit_code_and_is_printed_harmlessly() {
    for (status, code, exit) in [(401, "key.unknown", 4), (409, "nonce.reused", 1), (503, "log.full", 69)] {
        let ca = FakeCa::start(move |_, _| Some((status, problem(status, code, None))));
        let home = home(&ca);
        let done = open(&home);
        assert_eq!(done.status.code(), Some(exit), "{}", err(&done));
        assert!(err(&done).contains(code) && !err(&done).contains('\u{1b}'), "{}", err(&done));
        assert!(err(&done).contains("next: fireaxe ls"), "{}", err(&done));
    }
}

#[test]
fn when_all_of_it_waits_nothing_is_held_and_the_exit_code_says_so() {
    let ca = FakeCa::start(|request, _| {
        let mut answer = opened(request, &Makes::default());
        let waits = decision(Outcome::NeedsApproval {
            full: terms(),
            meanwhile: None,
            smaller: None,
            ladder: vec![],
            wait_s: 600,
        });
        answer["decision"] = serde_json::to_value(waits).unwrap();
        answer["terms"] = Value::Null;
        answer["certificate"] = Value::Null;
        Some((202, answer))
    });
    let home = home(&ca);
    let done = open(&home);
    assert_eq!(done.status.code(), Some(75), "{}", err(&done));
    assert!(listed(&home).contains("no identities"));
}

#[test]
fn a_ca_whose_keys_changed_is_not_believed() {
    let ca = FakeCa::start(|request, _| Some((201, opened(request, &Makes::default()))));
    let home = home(&ca);
    assert!(open(&home).status.success());
    let known = home.dir.path().join(".local/state/fireaxe/ca.json");
    let text = std::fs::read_to_string(&known).unwrap();
    std::fs::write(&known, text.replace("0123456789abcdef", "fedcba9876543210")).unwrap();
    let doctor = home.run(&["doctor"]);
    assert!(err(&doctor).contains("log's name is not the one remembered"), "{}", err(&doctor));
    assert_eq!(doctor.status.code(), Some(1));
    assert_eq!(open(&home).status.code(), Some(1));
}

#[test]
fn close_signs_for_what_is_held_and_drops_it() {
    let ca = FakeCa::start(|request, _| match request.line.as_str() {
        DECLARE => Some((201, opened(request, &Makes::default()))),
        "POST /v1/emergencies/EM-42/closure" => {
            let envelope: Envelope = serde_json::from_str(&request.body).unwrap();
            match Statement::read(&envelope.statement).unwrap() {
                Statement::Close(close) => {
                    assert_eq!((close.of, close.emergency), (DECLARATION, EmergencyId(42)));
                }
                other => panic!("{other:?}"),
            }
            let closed = Closed {
                schema: "fireaxe.closed/v1".into(),
                emergency: EmergencyId(42),
                revoked: vec![1],
                entry: 2,
            };
            Some((200, serde_json::to_value(closed).unwrap()))
        }
        other => panic!("{other}"),
    });
    let home = home(&ca);
    assert!(open(&home).status.success());
    let done = home.run(&["close"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert!(
        err(&done).contains("EM-42  closed; revoked: serial 1 (revocation list 2 or newer)"),
        "{}",
        err(&done)
    );
    assert!(listed(&home).contains("no identities"));
    assert_eq!(home.run(&["close"]).status.code(), Some(1));
}

/// Which of `keys` proved this read. A proof for another request is none.
fn reader(request: &Request, keys: &[Ed25519Key]) -> usize {
    let proof = ReadProof::read(&request.authorization.clone().unwrap()).unwrap();
    let (method, path) = request.line.split_once(' ').unwrap();
    keys.iter().position(|key| proof.verify(key, &origin(), method, path).is_ok()).unwrap()
}

/// The session keys that were sent, in order.
fn session_keys(ca: &FakeCa) -> Vec<Ed25519Key> {
    let sent = ca.requests("POST /v1/sessions").into_iter().map(|request| {
        let envelope: Envelope = serde_json::from_str(&request.body).unwrap();
        match Statement::read(&envelope.statement).unwrap() {
            Statement::Login(login) => login.session_key,
            other => panic!("{other:?}"),
        }
    });
    sent.collect()
}

fn session() -> Value {
    let person = "ana".parse().unwrap();
    serde_json::to_value(LoggedIn { schema: "fireaxe.session/v1".into(), person, until: u64::MAX }).unwrap()
}

fn emergency(state: &str) -> Value {
    serde_json::to_value(Emergency {
        emergency: EmergencyId(42),
        state: state.into(),
        declaration: DECLARATION,
        person: "ana".parse().unwrap(),
        system: "payments-db".parse().unwrap(),
        host: None,
        severity: 1.try_into().unwrap(),
        tier: None,
        account: None,
        incident: None,
        reason: "primary refuses writes".parse().unwrap(),
        drill: false,
        declared_at: 1,
        until: 2,
        closed_by: Some("ben".into()),
        closed_at: None,
        serials: vec![1],
        narrowed: 0,
        waiting: None,
        seconds: Vec::new(),
        approved_by: Vec::new(),
        extensions: 0,
        review: None,
        connections: None,
        confirmed: None,
    })
    .unwrap()
}

#[test]
fn reads_sign_in_once_and_again_once_when_the_session_is_not_taken_any_more() {
    let ca = FakeCa::start(|request, before| match request.line.as_str() {
        "POST /v1/sessions" => Some((201, session())),
        "GET /v1/emergencies" if before == 1 => Some((401, problem(401, "session.unknown", None))),
        "GET /v1/emergencies" => {
            Some((200, json!({"schema": "fireaxe.emergencies/v1", "emergencies": [emergency("open")]})))
        }
        "GET /v1/policy" => {
            let surface = PolicySurface {
                schema: "fireaxe.policy/v1".into(),
                bundle: Hash([0; 32]),
                systems: vec![SystemSurface {
                    system: "payments-db".parse().unwrap(),
                    hosts: vec!["db-*.payments.prod".into()],
                }],
                accounts: vec!["root".parse().unwrap()],
                actions: Vec::new(),
            };
            Some((200, serde_json::to_value(surface).unwrap()))
        }
        other => panic!("{other}"),
    });
    let home = home(&ca);
    for _ in 0..2 {
        let ls = home.run(&["ls"]);
        assert!(ls.status.success(), "{}", err(&ls));
        assert!(out(&ls).starts_with("EM-42  ana  payments-db  severity 1"), "{}", out(&ls));
    }
    assert_eq!(ca.requests("POST /v1/sessions").len(), 2, "signed in at the start and after the 401");
    let keys = session_keys(&ca);
    let readers: Vec<usize> = ca.requests("GET /v1/emergencies").iter().map(|r| reader(r, &keys)).collect();
    assert_eq!(readers, [0, 0, 1]);
    let config = home.run(&["ssh-config"]);
    assert!(
        out(&config).contains("Match host db-*.payments.prod exec \""),
        "{} {}",
        out(&config),
        err(&config)
    );
    assert_eq!(ca.requests("POST /v1/sessions").len(), 2);
}

#[test]
fn status_reads_with_the_emergencys_own_key_and_drops_what_the_ca_says_is_over() {
    let ca = FakeCa::start(|request, _| match request.line.as_str() {
        DECLARE => Some((201, opened(request, &Makes::default()))),
        "GET /v1/emergencies/EM-42" => Some((200, emergency("closed"))),
        other => panic!("{other}"),
    });
    let home = home(&ca);
    assert!(open(&home).status.success());
    let status = home.run(&["status"]);
    assert!(out(&status).contains("EM-42") && out(&status).contains("closed by ben"), "{}", out(&status));
    let fresh = declared(&ca.requests(DECLARE)[0]).public_key;
    assert_eq!(reader(&ca.requests("GET /v1/emergencies/EM-42")[0], &[fresh]), 0);
    assert!(listed(&home).contains("no identities"));
}
