//! One command instead of a shell, on a real sshd: what of a parameter reaches the command, by what the command
//! itself was called with; and that its certificate is good for nothing else.
//!
//! The policy here is careless on purpose: its pattern takes everything. The other lock must hold alone.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;

use fireaxe_tests::Ran;
use fireaxe_tests::scene::{Scene, policy_without_examples, without_limits};

const DB_3: &str = "db-3.payments.prod";

/// What the action runs: it notes its words, each ended by a NUL, and a byte 1 after the last.
const RECORD: &str = "/var/lib/record/record";
const RECORD_TEXT: &str = "#!/bin/sh\n\
     { printf '%s\\0' \"$@\"; printf '\\001'; } >>/home/ops/ran\n\
     echo done; echo a word >&2\n\
     exit \"$(cat /home/ops/code 2>/dev/null || echo 0)\"\n";

/// Words that the policy itself writes: they too arrive as they stand.
const WRITTEN: [&str; 8] =
    ["two words", "it's", "$(touch /home/ops/pwned)", "`id`;&|<>", "!!", "*", "~/x\\n", "=ls"];

fn action(name: &str, words: &[&str], pattern: &str) -> String {
    let words = [&[RECORD], words].concat();
    format!(
        "[action.{name}]\nsystems = [\"payments-db\"]\naccount = \"ops\"\nforce_command = {words:?}\n\
         params = {{ value = {pattern:?} }}\npower = 2\n\n"
    )
}

fn begin() -> Scene {
    let mut scene = Scene::begin_with(|setting| {
        let word = action("record", &["before", "{value}", "after"], "(?s).*");
        let option = action("option", &["--shard={value}"], "(?s).*");
        let written = action("written", &[&WRITTEN[..], &["{value}"]].concat(), "[a-z]+");
        let policy = without_limits(&policy_without_examples());
        let (tiers, rules) = policy.split_once("# --- What makes it tighter").unwrap();
        setting.policy = format!("{tiers}{word}{option}{written}# --- What makes it tighter{rules}");
    });
    scene.db_3.put_program(RECORD, RECORD_TEXT);
    scene.ana.knows(&[&scene.db_3, &scene.db_4]);
    scene.ana.finds_own_ssh_config();
    scene
}

/// What ran since the last time this was asked: the words of each call.
fn ran(scene: &Scene) -> Vec<Vec<Vec<u8>>> {
    let file = scene.db_3.file("/home/ops/ran");
    let bytes = fs::read(&file).unwrap_or_default();
    let _ = fs::remove_file(&file);
    let mut calls: Vec<&[u8]> = bytes.split(|b| *b == 1).collect();
    assert_eq!(calls.pop(), Some(&b""[..]), "a call that was cut");
    let words = |call: &[u8]| {
        let mut words: Vec<Vec<u8>> = call.split(|b| *b == 0).map(<[u8]>::to_vec).collect();
        assert_eq!(words.pop(), Some(vec![]));
        words
    };
    calls.into_iter().map(words).collect()
}

fn run_action(scene: &Scene, name: &str, value: &str) -> Ran {
    let value = format!("value={value}");
    scene.ana.fireaxe(&["run", DB_3, "--action", name, &value, "-s", "2", "-r", "shard is stuck"])
}

fn open_action(scene: &Scene, name: &str, value: &str) {
    scene.ana.open(&[DB_3, "--action", name, &format!("value={value}"), "-s", "2", "-r", "shard is stuck"]);
}

#[test]
fn what_a_shell_could_read_otherwise_is_refused_with_its_reason_and_nothing_runs() {
    let scene = begin();
    let longer = "a".repeat(254);
    for value in [
        "",
        "a b",
        "'",
        "\"",
        "a'b",
        "'; touch /home/ops/pwned; '",
        "\"; id; \"",
        "a;id",
        "a|id",
        "a&id",
        "a&&id",
        "$(id)",
        "${IFS}",
        "$HOME",
        "`id`",
        "a\nid",
        "a\rid",
        "a\tb",
        "\n",
        "a\\",
        "\\n",
        "*",
        "a*",
        "?",
        "[a]",
        "{a,b}",
        "~",
        "~root",
        "a~",
        "!",
        "!!",
        "#",
        "a#",
        "%",
        "%s",
        "^",
        "<",
        ">/tmp/x",
        "(",
        ")",
        "-",
        "-rf",
        "--help",
        "=x",
        "=ls",
        "ü",
        "1２",
        "日本",
        "a\u{200b}b",
        "\u{202e}",
        "\u{1b}[2J",
        "a\u{7f}",
        &longer,
    ] {
        let refused = run_action(&scene, "record", value);
        refused.fails();
        assert!(matches!(refused.code, 2 | 77), "{refused}");
        let said = &refused.stderr;
        assert!(said.contains("value") && said.contains("next: "), "no reason or no way on: {refused}");
        assert!(said.contains("[param.") || refused.code == 2, "{refused}");
        assert!(!said.contains(['\u{1b}', '\u{202e}']), "{refused}");
        assert_eq!(ran(&scene), Vec::<Vec<Vec<u8>>>::new(), "{value:?} ran");
    }
    assert!(!scene.db_3.file("/home/ops/pwned").exists());
    assert!(scene.ana.certificates().is_empty());
    // An unknown name lists what there is.
    let unknown = scene.ana.fireaxe(&["run", DB_3, "--action", "record", "valeu=1", "-s", "2", "-r", "x"]);
    unknown.exits(77).says("did you mean `value`?");
    let unknown = scene.ana.fireaxe(&["run", DB_3, "--action", "recrod", "value=1", "-s", "2", "-r", "x"]);
    unknown.exits(77).says("did you mean `record`?").says("restart-payments");
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn what_is_taken_arrives_as_one_word_byte_for_byte_whatever_the_login_shell() {
    let scene = begin();
    let longest = "a".repeat(253);
    let shells = scene.world.shells();
    assert!(shells.len() >= 2, "bash and dash are everywhere: {shells:?}");
    let login = scene.ana.login();
    let check = |name: &str, value: &str, expected: &[&str]| {
        open_action(&scene, name, value);
        for shell in &shells {
            scene.db_3.set_shell("ops", shell);
            assert_eq!(scene.db_3.ssh(&login, "ops", "ignored").ok(), "done", "{shell}");
            let expected: Vec<Vec<u8>> = expected.iter().map(|word| word.as_bytes().to_vec()).collect();
            assert_eq!(ran(&scene), [expected], "{value:?} by {shell}");
        }
        scene.ana.fireaxe(&["close"]).ok();
    };
    for value in ["12", "a.b_c:d/e@f+g=h,i-j", "x==ls", "/etc/passwd", "A-", &longest] {
        check("record", value, &["before", value, "after"]);
    }
    check("option", "-rf", &["--shard=-rf"]);
    check("option", "=ls", &["--shard==ls"]);
    check("written", "x", &[&WRITTEN[..], &["x"]].concat());
    assert!(!scene.db_3.file("/home/ops/pwned").exists());
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn an_action_s_certificate_is_good_for_its_command_and_nothing_else() {
    let scene = begin();
    open_action(&scene, "record", "12");
    let login = scene.ana.login();
    let once: Vec<Vec<u8>> = vec![b"before".to_vec(), b"12".to_vec(), b"after".to_vec()];
    // Whatever is asked for, a shell and a subsystem too, the command runs in its place.
    scene.db_3.ssh(&login, "ops", "touch /home/ops/other").ok();
    assert_eq!(ran(&scene), std::slice::from_ref(&once));
    let sftp = fireaxe_tests::run(scene.db_3.ssh_command(&login, "ops", &["-s"]).arg("sftp"));
    assert_eq!(sftp.stdout, "done\n", "{sftp}");
    assert_eq!(ran(&scene), std::slice::from_ref(&once));
    let shell = scene.db_3.ssh_with_terminal(&login, "ops", "sh");
    shell.says("PTY allocation request failed");
    // A client that insists on a terminal goes away; if the command ran before that, it was this one.
    assert!(ran(&scene).iter().all(|words| *words == once));
    assert!(!scene.db_3.file("/home/ops/other").exists());
    // No way through the host or back.
    scene.db_3.tunnel(&login, "ops", scene.db_3.port()).fails().says("administratively prohibited");
    scene.db_3.reverse_tunnel(&login, "ops").fails();
    // No other account, no other host.
    for account in ["root", "look", "deploy"] {
        scene.db_3.ssh(&login, account, "true").exits(255);
    }
    scene.db_4.ssh(&login, "ops", "true").exits(255);
    // What sshd itself read from it.
    let file = scene.ana.home().join("held-cert.pub");
    fs::write(&file, scene.ana.certificates().join("\n") + "\n").unwrap();
    let read = fireaxe_tests::run(scene.ana.command("ssh-keygen").arg("-Lf").arg(&file));
    assert!(read.ok().contains("force-command") && !read.stdout.contains("permit-"), "{read}");
}

#[test]
fn run_opens_runs_once_gives_the_exit_code_and_closes_whatever_becomes_of_it() {
    let mut scene = begin();
    let is_closed = |scene: &Scene, emergency: &str| {
        let all = scene.ana.asks(&["ls"]);
        let all = all["emergencies"].as_array().unwrap();
        let one = all.iter().find(|one| one["emergency"] == emergency).unwrap_or_else(|| panic!("{all:?}"));
        assert_eq!((&one["state"], &one["closed_by"]), (&"closed".into(), &"ana".into()), "{one}");
        assert!(scene.ana.certificates().is_empty(), "{emergency} is held still");
    };
    let done = run_action(&scene, "record", "12");
    assert_eq!(done.exits(0).stdout, "done\n");
    done.says("a word").says("EM-1 is closed");
    assert_eq!(ran(&scene).len(), 1);
    is_closed(&scene, "EM-1");

    // The command fails.
    fs::write(scene.db_3.file("/home/ops/code"), "7").unwrap();
    run_action(&scene, "record", "12").exits(7).says("EM-2 is closed");
    assert_eq!(ran(&scene).len(), 1);
    is_closed(&scene, "EM-2");
    let run = ["run", DB_3, "--action", "record", "value=12", "-s", "2", "-r", "again"];
    let told = scene.ana.asks(&run);
    assert_eq!((&told["ran"], &told["exit"]), (&true.into(), &7.into()), "{told}");
    assert_eq!((&told["stdout"], &told["uses"]), (&"done\n".into(), &1.into()), "{told}");
    assert_eq!(ran(&scene).len(), 1);
    is_closed(&scene, "EM-3");

    // Nobody answers at the host.
    scene.db_3.stop();
    run_action(&scene, "record", "12").exits(255).says("EM-4 is closed");
    assert_eq!(ran(&scene), Vec::<Vec<Vec<u8>>>::new());
    is_closed(&scene, "EM-4");

    // The CA is away: nothing begins.
    scene.ca.kill();
    run_action(&scene, "record", "12").exits(69);
    scene.ca.start();
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn a_run_that_is_killed_is_closed_by_who_stands_by() {
    let scene = begin();
    // The command goes on until the test lets it end.
    scene.db_3.put_program(RECORD, &RECORD_TEXT.replace("echo done;", "echo begun; cat; echo done;"));
    let command = ["run", DB_3, "--action", "record", "value=12", "-s", "2", "-r", "shard is stuck"];
    let running = fireaxe_tests::running::start(&mut scene.ana.fireaxe_command(&command));
    running.shows("begun");
    running.interrupt();
    running.ends_by_itself().fails();
    let closed = fireaxe_tests::clock::wait_for(fireaxe_tests::clock::LIMIT, || {
        let all = scene.ana.asks(&["ls"]);
        (all["emergencies"][0]["state"] == "closed").then_some(())
    });
    assert!(closed.is_some(), "it is open still: {}", scene.ana.asks(&["ls"]));
    assert!(scene.ana.certificates().is_empty());
}
