//! Damaged words to everything on a host that listens: the daemon's socket, the PAM hook, the principals command
//! and the feed. None brings the daemon down, and none opens a login. Brief, and the same in every run.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::api::{FeedEvent, FeedHead, FeedList};
use fireaxe_tests::bench::dice::Dice;
use fireaxe_tests::holder::{Held, Holder};
use fireaxe_tests::host::Login;
use fireaxe_tests::keys::Authority;
use fireaxe_tests::lists::{Lists, Served};
use fireaxe_tests::running::start;
use fireaxe_tests::scene::Scene;
use fireaxe_transport::{Ca as Transport, Timeouts};

const HOST: &str = "db-3.payments.prod";
const SOCKET: &str = "/run/fireaxe/host.sock";
const PROGRAM: &str = "/usr/bin/fireaxe-host";

/// Some damage: what files, networks and people do to bytes.
fn damaged(dice: &mut Dice, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() as u64 + 1) as usize;
        let end = (at + dice.below(40) as usize).min(bytes.len());
        match dice.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 => drop(bytes.splice(at..end, dice.bytes32())),
            5 => {
                let words: [&[u8]; 8] =
                    [b"\"", b"}", b"\0", b"[[[[[[[[", b"-1", b"18446744073709551616", b"\xff\xfe", b"null"];
                bytes.splice(at..end, dice.of(&words).iter().copied());
            }
            _ => bytes.splice(at..at, std::iter::repeat_n(b'9', 300)).for_each(drop),
        }
    }
    bytes
}

fn scene() -> (Scene, Held) {
    let scene = Scene::begin_with_helper();
    let held = Holder::new(&scene.ana, &scene.ca).open(HOST, None, Some(2));
    (scene, held)
}

/// The certificate in base64, as sshd gives it.
fn certificate(held: &Held) -> String {
    let Login::Files(_, file) = &held.login else { panic!() };
    fs::read_to_string(file).unwrap().split(' ').nth(1).unwrap().trim().to_owned()
}

/// The daemon goes on and does its work: it says how it is, and lets in whoever may come in.
#[track_caller]
fn all_is_well(scene: &mut Scene, held: &Held) {
    assert!(scene.db_3.daemon_goes_on(), "{}", scene.db_3.daemon_log());
    assert!(!scene.db_3.daemon_log().contains("panicked"), "{}", scene.db_3.daemon_log());
    scene.db_3.run(PROGRAM, &["status"]).ok();
    assert_eq!(scene.db_3.ssh(&held.login, "ops", "id -un").ok(), "ops");
}

/// Says each of these to the daemon's socket, over a connection of its own, and gives the answers. From within the
/// host: the daemon does not hear whom it has no process number of.
fn asks(scene: &Scene, said: &[Vec<u8>]) -> Vec<String> {
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    scene.db_3.put("/tmp/said", said.iter().map(hex).collect::<String>());
    let ran = scene.db_3.run("perl", &["-MIO::Socket::UNIX", "-ne", ASKS, "/tmp/said"]);
    ran.ok();
    ran.stdout.lines().map(str::to_owned).collect()
}

/// A line of hex digits a connection; a line for what is answered, which is one, within a fifth of a second.
const ASKS: &str = r#"BEGIN { $SIG{PIPE} = "IGNORE" }
    chomp; my $s = IO::Socket::UNIX->new(Peer => "/run/fireaxe/host.sock") or die "no socket";
    my ($all, $at, $answer) = (pack("H*", $_), 0, "");
    while ($at < length $all) { $at += syswrite($s, $all, length($all) - $at, $at) || last }
    shutdown $s, 1;
    vec(my $ready = "", fileno $s, 1) = 1;
    1 while select(my $r = $ready, undef, undef, 0.2) > 0 && sysread $s, $answer, 65536, length $answer;
    $answer =~ tr/\n//d; print "$answer\n";"#;

/// Fifty connections that say nothing.
const SAYS_NOTHING: &str = r#"$| = 1; my @all = map { IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "no socket" } 1 .. 50;
    print "connected\n"; sleep 60;"#;

#[test]
fn damaged_words_to_the_daemon_and_to_what_sshd_runs_open_nothing_and_end_nothing() {
    let (mut scene, held) = scene();
    let (mut dice, good) = (Dice::new(4), certificate(&held));

    // The socket, as root and from outside of any connection.
    let opened =
        format!("{{\"opened\":{{\"account\":\"ops\",\"from\":\"127.0.0.1\",\"certificate\":\"{good}\"}}}}\n");
    let seeds = [
        opened.as_str(),
        "{\"considered\":{\"monitor\":1,\"account\":\"ops\",\"serial\":4,\"refused\":null}}\n",
        "\"applied\"\n",
        "{\"begin\":{\"terminal\":{\"term\":\"xterm\",\"columns\":80,\"rows\":24},\"asked\":\"id\"}}\n",
        "\"status\"\n",
    ];
    let mut said: Vec<Vec<u8>> =
        (0..200).map(|round| damaged(&mut dice, seeds[round % seeds.len()].as_bytes())).collect();
    said.extend([vec![b'x'; 1024 * 1024], b"[".repeat(60_000), seeds[4].as_bytes().to_vec()]);
    let answers = asks(&scene, &said);
    assert_eq!(answers.len(), said.len());
    for answer in &answers {
        assert!(!answer.contains("registered") && !answer.contains("\"run\""), "{answer}");
    }
    // It heard them: the last is a good question.
    assert!(answers.last().unwrap().contains("sessions"), "{answers:?}");
    // Those that say nothing hold nobody up.
    let mut silent = scene.db_3.command("perl");
    let silent = start(silent.args(["-MIO::Socket::UNIX", "-e", SAYS_NOTHING, SOCKET]));
    silent.shows("connected");
    all_is_well(&mut scene, &held);
    drop(silent);

    // The hook, by somebody who is no sshd.
    for round in 0..40 {
        let info = format!("publickey ssh-ed25519-cert-v01@openssh.com {good}");
        let mut environment = [
            ("PAM_TYPE", "open_session".to_owned()),
            ("PAM_SERVICE", "sshd".to_owned()),
            ("PAM_USER", "ops".to_owned()),
            ("PAM_RHOST", "127.0.0.1".to_owned()),
            ("SSH_AUTH_INFO_0", info),
        ];
        let one = &mut environment[round % 5].1;
        *one = String::from_utf8_lossy(&damaged(&mut dice, one.as_bytes())).replace('\0', "");
        let mut hook = scene.db_3.command(PROGRAM);
        let ran = fireaxe_tests::run(hook.arg("hook").envs(environment));
        assert!([0, 1].contains(&ran.code) && ran.stdout.is_empty(), "{ran}");
    }
    let status = scene.db_3.status();
    assert_eq!(status["daemon"]["sessions"].as_u64(), Some(0), "{status}");
    all_is_well(&mut scene, &held);

    // The principals command: nothing is printed, and it never fails.
    let principals = |account: &str, certificate: &str, id: &str| {
        let mut command = scene.db_3.command("setpriv");
        command.args([
            "--reuid=fireaxe-host",
            "--regid=nogroup",
            "--clear-groups",
            "--",
            PROGRAM,
            "principals",
        ]);
        command.args(["--account", account, "--certificate", certificate, &format!("--key-id={id}")]);
        fireaxe_tests::run(&mut command)
    };
    assert!(principals("ops", &good, "x").ok().contains("ops:"), "what is good is not even printed");
    let raw = STANDARD.decode(&good).unwrap();
    for round in 0..60 {
        let words = match round % 3 {
            0 => STANDARD.encode(damaged(&mut dice, &raw)),
            1 => String::from_utf8_lossy(&damaged(&mut dice, good.as_bytes())).replace('\0', ""),
            // Any one bit of it.
            _ => {
                let mut bytes = raw.clone();
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << dice.below(8);
                STANDARD.encode(bytes)
            }
        };
        if words == good {
            continue;
        }
        let ran = principals("ops", &words, "--help");
        assert!(ran.code == 0 && ran.stdout.is_empty(), "{ran}");
    }
    for account in ["root", "", "ops,root", "../ops", "-x", "ops\n"] {
        let ran = principals(account, &good, "");
        assert!(ran.code == 0 && ran.stdout.is_empty(), "{ran}");
    }
    all_is_well(&mut scene, &held);
    scene.ca.verifies();
}

#[test]
fn a_feed_that_is_damaged_changes_no_list_and_the_next_good_one_counts() {
    let (mut scene, held) = scene();
    let mut dice = Dice::new(5);
    let transport =
        Transport::new(scene.ca.url().parse().unwrap(), scene.ca.pin().parse().unwrap(), Timeouts::default());
    let transport = transport.unwrap();
    let list = transport.get_raw("/v1/krl", None, 1 << 20).unwrap();
    let head = transport.get_raw("/log/checkpoint", None, 1 << 16).unwrap();
    let event = FeedEvent {
        schema: "fireaxe.feed/v1".into(),
        krl: Some(FeedList {
            version: scene.db_3.list_version().unwrap(),
            note: list.header("fireaxe-krl-note").unwrap().to_owned(),
            krl: Some(STANDARD.encode(&list.body)),
        }),
        head: Some(FeedHead {
            checkpoint: String::from_utf8(head.body).unwrap(),
            from: 0,
            proof: Vec::new(),
        }),
        closing: Some(Vec::new()),
        ..FeedEvent::default()
    };
    let good = serde_json::to_vec(&event).unwrap();

    let evil = Lists::serve(&Authority::new(&scene.world, "evil"));
    let config = fs::read_to_string(scene.db_3.file("/etc/fireaxe/host.toml")).unwrap();
    let file = scene.db_3.file("/etc/ssh/fireaxe_revoked_keys");
    let before = fs::read(&file).unwrap();
    scene.db_3.put("/etc/fireaxe/host.toml", evil.instead_of(&config));
    for round in 0..12 {
        let mut body = Vec::new();
        for _ in 0..=round {
            body.extend_from_slice(b"data: ");
            body.extend_from_slice(&damaged(&mut dice, &good));
            body.extend_from_slice(b"\n\n");
        }
        let damaged_whole = damaged(&mut dice, &body);
        evil.set(Served { list: if round % 2 == 0 { body } else { damaged_whole }, ..Served::default() });
        scene.db_3.stop_daemon();
        let asked = evil.requests().len();
        scene.db_3.daemon();
        let read = fireaxe_tests::clock::wait_for(fireaxe_tests::clock::LIMIT, || {
            (evil.requests().len() > asked).then_some(())
        });
        assert!(read.is_some(), "it never asked");
    }
    assert_eq!(fs::read(&file).unwrap(), before);
    all_is_well(&mut scene, &held);

    // Back at the real one it hears what it missed.
    let version = Holder::new(&scene.ana, &scene.ca).close(&held);
    scene.db_3.put("/etc/fireaxe/host.toml", config);
    scene.db_3.stop_daemon();
    scene.db_3.daemon();
    scene.db_3.comes_to_have_list(version);
    assert_eq!(scene.db_3.ssh(&held.login, "ops", "true").code, 255);
}
