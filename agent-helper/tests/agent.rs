//! The agent as OpenSSH's own tools meet it: the real program, its real sockets.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its helpers too")]

mod world;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde_json::{Value, json};
use world::{Home, err, out, wait_until};

#[test]
fn ssh_add_lists_certificates_only_and_can_change_nothing() {
    let home = Home::with_agent();
    let empty = home.openssh("ssh-add", &["-l"]);
    assert_eq!(empty.status.code(), Some(1), "{}", out(&empty));
    let certificate = home.hold(7, 600);
    let listed = home.openssh("ssh-add", &["-L"]);
    assert_eq!(out(&listed).lines().count(), 1);
    assert!(out(&listed).starts_with(certificate.split(' ').next().unwrap()));
    let listed = out(&home.openssh("ssh-add", &["-l"]));
    assert!(listed.contains("EM-42 root on db-3.payments.prod (serial 7) (ED25519-CERT)"), "{listed}");
    assert!(home.openssh("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "mine"]).status.success());
    for words in [&["mine"][..], &["-D"], &["-x"]] {
        let changed = home.openssh("ssh-add", words);
        assert!(!changed.status.success(), "ssh-add {words:?} succeeded");
    }
    assert_eq!(out(&home.openssh("ssh-add", &["-L"])).lines().count(), 1);
}

#[test]
fn openssh_cannot_have_anything_signed_that_is_not_a_login() {
    let home = Home::with_agent();
    let certificate = home.hold(7, 600);
    std::fs::write(home.dir.path().join("id-cert.pub"), &certificate).unwrap();
    std::fs::write(home.dir.path().join("data"), "declare").unwrap();
    let signed =
        home.openssh("ssh-keygen", &["-Y", "sign", "-n", "declare.v1@fireaxe", "-f", "id-cert.pub", "data"]);
    assert!(!signed.status.success());
    assert!(!home.dir.path().join("data.sig").exists());
    assert!(!home.openssh("ssh-add", &["-T", "id-cert.pub"]).status.success());
}

#[test]
fn status_and_match_tell_what_is_held_without_network_or_configuration() {
    let home = Home::with_agent();
    assert_eq!(home.run(&["match", "db-3.payments.prod", "root"]).status.code(), Some(1));
    home.hold(7, 600);
    assert_eq!(home.run(&["match", "--", "db-3.payments.prod", "root"]).status.code(), Some(0));
    for (host, account) in
        [("db-3.payments.prod", "look"), ("db-4.payments.prod", "root"), ("db-3", "root"), ("-x", "root")]
    {
        let no = home.run(&["match", "--hint", "--", host, account]);
        assert_eq!(no.status.code(), Some(1), "{host} {account}");
        assert!(no.stderr.is_empty() && no.stdout.is_empty(), "spoke without a terminal: {}", err(&no));
    }
    let status = home.run(&["--json", "status"]);
    let answer: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(answer["schema"], "fireaxe.status/v1");
    assert_eq!(answer["held"][0]["emergency"], "EM-42");
    assert_eq!(answer["held"][0]["serial"], 7);
    assert!(
        out(&home.run(&["status"]))
            .starts_with("EM-42  tier root  account root on db-3.payments.prod  ends ")
    );
}

/// What an ssh that forwards the agent says first (`session-bind@openssh.com`, OpenSSH 8.9): the far end's
/// host key over the session's id, and that it forwards.
fn forwarding_bind() -> Vec<u8> {
    use ed25519_dalek::Signer;
    let key = ed25519_dalek::SigningKey::from_bytes(&[4; 32]);
    let text = |parts: &[&[u8]]| {
        let mut out = Vec::new();
        parts.iter().for_each(|part| fireaxe_protocol::wire::put_string(&mut out, part));
        out
    };
    let host_key = text(&[b"ssh-ed25519", &key.verifying_key().to_bytes()]);
    let signature = text(&[b"ssh-ed25519", &key.sign(&[7; 32]).to_bytes()]);
    let mut extension = vec![27];
    extension.extend(text(&[b"session-bind@openssh.com", &host_key, &[7; 32], &signature]));
    extension.push(1);
    extension
}

#[test]
fn whoever_the_agent_is_forwarded_to_sees_nothing_and_can_mint_nothing() {
    let home = Home::with_agent();
    home.hold(7, 600);
    let mut stream = UnixStream::connect(home.socket("agent.sock")).unwrap();
    let mut ask = |frame: &[u8]| {
        stream.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
        stream.write_all(frame).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).unwrap();
        answer
    };
    let listed = |answer: &[u8]| u32::from_be_bytes(answer[1..5].try_into().unwrap());
    let before = ask(&[11]);
    assert_eq!((before[0], listed(&before)), (12, 1), "without a bind it is listed");
    let length = u32::from_be_bytes(before[5..9].try_into().unwrap()) as usize;
    let blob = before[9..9 + length].to_vec();
    assert_eq!(ask(&forwarding_bind()), [6], "the bind is heard");
    let after = ask(&[11]);
    assert_eq!((after[0], listed(&after)), (12, 0));
    let mut sign = vec![13];
    fireaxe_protocol::wire::put_string(&mut sign, &blob);
    fireaxe_protocol::wire::put_string(&mut sign, b"anything");
    sign.extend([0; 4]);
    assert_eq!(ask(&sign), [5]);
    // What the verbs ask of the agent is not understood on the socket that can be forwarded.
    assert_eq!(ask(br#"{"ask":"fresh_key"}"#), [5]);
    assert_eq!(ask(br#"{"ask":"list"}"#), [5]);
}

#[test]
fn a_certificate_is_gone_at_its_end_without_anybody_asking() {
    let home = Home::with_agent();
    home.hold(7, 2);
    wait_until("the certificate is gone", || home.openssh("ssh-add", &["-l"]).status.code() == Some(1));
}

#[test]
fn a_second_agent_says_so_and_a_dead_one_leaves_nothing_in_the_way() {
    let mut home = Home::with_agent();
    let second = home.run(&["agent"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(err(&second).contains("an agent is running already"), "{}", err(&second));
    let mut child = home.agent.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(home.socket("agent.sock").exists(), "the dead agent's socket is what this test is about");
    home.agent = Some(home.fireaxe(&["agent"]).stderr(Stdio::null()).spawn().unwrap());
    home.wait_for("agent.sock");
    let stopped = home.run(&["agent", "--stop"]);
    assert!(stopped.status.success(), "{}", err(&stopped));
    assert!(home.agent.take().unwrap().wait().unwrap().success());
    assert!(!home.socket("agent.sock").exists() && !home.socket("control.sock").exists());
}

#[test]
fn the_sockets_are_in_a_directory_of_the_user_alone_and_the_process_cannot_be_looked_into() {
    let home = Home::with_agent();
    let mode = std::fs::metadata(home.dir.path().join("run/fireaxe")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let pid = home.ask(json!({"ask": "ping"}))["pid"].as_u64().unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    assert!(core.split_whitespace().skip(4).take(2).all(|v| v == "0"), "{core}");
}

#[test]
fn hostile_bytes_end_their_own_connection_and_nothing_else() {
    let home = Home::with_agent();
    home.hold(7, 600);
    for bytes in
        [&[0xff; 64][..], &[0, 0, 0, 0], &[0, 0, 0, 5, 13, 255, 255, 255, 255], b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut stream = UnixStream::connect(home.socket("agent.sock")).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        // It may be closed with bytes unread, which the system reports as a reset.
        let _ = stream.read_to_end(&mut rest);
    }
    for line in [
        "\n",
        "{}\n",
        "[[[[\n",
        "{\"ask\":\"drop\",\"emergency\":\"EM-42\",\"x\":1}\n",
        "{\"ask\":\"read_proof\"}\n",
    ] {
        let mut stream = UnixStream::connect(home.socket("control.sock")).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert!(answer.contains("\"refused\""), "{line:?}: {answer}");
    }
    assert_eq!(out(&home.openssh("ssh-add", &["-l"])).lines().count(), 1);
}

#[test]
fn without_a_terminal_nothing_is_asked_and_each_ending_has_its_code() {
    let home = Home::new();
    for (words, exit, says) in [
        (&["open", "db-3.payments.prod"][..], 78, "there is no configuration"),
        (&["open", "a,b"], 2, "a system is a short lower-case name"),
        (&["frobnicate"], 2, "unrecognized"),
        (&["close"], 78, "there is no configuration"),
        (&["status"], 0, "nothing is held"),
        (&["agent", "--stop"], 0, "no agent is running"),
        (&["enrol", "--person", "Ana"], 2, "lower-case"),
    ] {
        let ended = home.run(words);
        assert_eq!(ended.status.code(), Some(exit), "{words:?}: {}", err(&ended));
        assert!(err(&ended).contains(says), "{words:?}: {}", err(&ended));
        assert!(exit == 0 || err(&ended).contains("  next: fireaxe "), "{words:?}: {}", err(&ended));
    }
    let error = home.run(&["--json", "close"]);
    let answer: Value = serde_json::from_slice(&error.stdout).unwrap();
    assert_eq!((answer["schema"].as_str(), answer["exit"].as_u64()), (Some("fireaxe.error/v1"), Some(78)));
    assert!(answer["next"].as_str().unwrap().starts_with("fireaxe enrol"));
}

#[test]
fn enrol_makes_a_key_once_prints_its_roster_lines_and_never_overwrites() {
    let home = Home::new();
    let pin = format!("sha256:{}", "ab".repeat(32));
    let first = home.run(&["enrol", "--person", "ana", "--addr", "https://127.0.0.1:1", "--pin", &pin]);
    assert!(first.status.success(), "{}", err(&first));
    let lines = out(&first);
    assert!(lines.starts_with("[person.ana]\ngroups = []\nkeys = [\"ssh-ed25519 AAAA"), "{lines}");
    let key = home.dir.path().join(".ssh/id_fireaxe");
    let made = std::fs::read(&key).unwrap();
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let again = home.run(&["enrol", "--person", "ana"]);
    assert_eq!(out(&again), lines);
    assert_eq!(std::fs::read(&key).unwrap(), made);
    let config = std::fs::read_to_string(home.dir.path().join(".config/fireaxe/config.toml")).unwrap();
    assert!(config.contains("https://127.0.0.1:1") && config.contains(&pin), "{config}");
    std::fs::remove_file(key.with_extension("pub")).unwrap();
    let half = home.run(&["enrol", "--person", "ana"]);
    assert_eq!(half.status.code(), Some(1));
    assert!(err(&half).contains("ssh-keygen -y -f"), "{}", err(&half));
    assert_eq!(std::fs::read(&key).unwrap(), made);
}

#[test]
fn a_ca_that_is_not_running_is_told_with_what_still_works() {
    let home = Home::with_agent();
    home.hold(7, 600);
    let pin = format!("sha256:{}", "ab".repeat(32));
    assert!(
        home.run(&["enrol", "--person", "ana", "--addr", "https://127.0.0.1:1", "--pin", &pin])
            .status
            .success()
    );
    let open = home.run(&["open", "db-3.payments.prod", "-r", "x"]);
    assert_eq!(open.status.code(), Some(69), "{}", err(&open));
    assert!(err(&open).contains("still works: EM-42 account root on db-3.payments.prod"), "{}", err(&open));
    let needs_reason = home.run(&["open", "db-3.payments.prod"]);
    assert_eq!(needs_reason.status.code(), Some(2), "{}", err(&needs_reason));
    assert!(err(&needs_reason).contains("-r"));
    let doctor = home.run(&["--json", "doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let ca = answer["checks"].as_array().unwrap().iter().find(|c| c["check"] == "CA").unwrap();
    assert_eq!(ca["verdict"], "fail");
}
