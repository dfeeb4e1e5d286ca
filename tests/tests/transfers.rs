//! Files that go through the recorder, by every program that people use for it: they arrive byte for byte, and
//! are recorded. A real ssh on a real host.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fireaxe_protocol::recording::{SessionKind, Stream};
use fireaxe_tests::bench::dice::Dice;
use fireaxe_tests::host::Login;
use fireaxe_tests::run::{Ran, run, run_with_input};
use fireaxe_tests::town::{Recording, Town, terms};

/// More than any buffer on the way, all byte values, and no multiple of anything.
fn bytes() -> Vec<u8> {
    let mut dice = Dice::new(9);
    std::iter::repeat_with(|| dice.bytes32()).take(40_000).flatten().chain(*b"the end").collect()
}

/// A file of the test's own.
fn file(town: &Town, name: &str, bytes: &[u8]) -> PathBuf {
    let path = town.world.room("files").join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// The one recording of this serial, once its session is over.
fn recording(town: &Town, serial: u64) -> Recording {
    let closed = town.closed(serial);
    let mut all = town.recordings(serial);
    assert_eq!((all.len(), closed.recordings.len()), (1, 1), "{closed:?}");
    assert!(all[0].chain.end().is_some() && closed.recordings[0].lost == 0, "{closed:?}");
    all.remove(0)
}

fn asked(recording: &Recording) -> String {
    recording.chain.header().unwrap().asked.clone().unwrap()
}

/// Runs `scp` or `sftp` with the options of an `ssh` to the host, these words, and this input.
fn copies(town: &Town, program: &str, login: &Login, words: &[&str], input: &str) -> Ran {
    let shell = town.host.remote_shell(login);
    let mut command = Command::new(program);
    command.args(shell.split(' ').skip(1)).args(words);
    run_with_input(&mut command, input)
}

#[test]
fn a_file_through_standard_input_and_output_is_recorded_byte_for_byte() {
    let mut town = Town::begin();
    let sent = bytes();
    let (login, serial) = town.key(&terms("ops"), 600);
    let mut command = town.host.ssh_command(&login, "ops", &[]);
    command.arg("cat >/tmp/there").stdin(fs::File::open(file(&town, "sent", &sent)).unwrap());
    assert!(command.status().unwrap().success());
    assert_eq!(fs::read(town.host.file("/tmp/there")).unwrap(), sent);
    assert_eq!(recording(&town, serial).bytes(Stream::Input), sent);

    let (login, serial) = town.key(&terms("ops"), 600);
    let mut command = town.host.ssh_command(&login, "ops", &[]);
    let back = command.arg("cat /tmp/there; echo failed >&2; exit 7").stdin(Stdio::null()).output().unwrap();
    assert_eq!(
        (back.status.code(), back.stdout == sent, back.stderr.as_slice()),
        (Some(7), true, &b"failed\n"[..])
    );
    let recording = recording(&town, serial);
    assert_eq!((recording.bytes(Stream::Output), recording.bytes(Stream::Error)), (sent, b"failed\n".into()));
}

#[test]
fn scp_of_both_kinds_and_sftp_carry_a_file_there_and_back() {
    let mut town = Town::begin();
    let sent = bytes();
    let (from, back) = (file(&town, "sent", &sent), town.world.room("files").join("back"));
    let (first, last) = (&sent[..1024], &sent[sent.len() - 1024..]);
    let there = format!("ops@{}:/tmp/there", town.host.name());
    let [from_word, back_word] = [&from, &back].map(|path| path.display().to_string());
    let put = |mode: &str| vec![mode.to_owned(), from_word.clone(), there.clone()];
    let get = |mode: &str| vec![mode.to_owned(), there.clone(), back_word.clone()];
    let host = format!("ops@{}", town.host.name());
    let batch = vec!["-b".to_owned(), "-".to_owned(), host];
    let ways = [
        ("scp", put("-s"), get("-s"), SessionKind::Subsystem, "sftp-server"),
        ("scp", put("-O"), get("-O"), SessionKind::Exec, "scp -"),
        ("sftp", batch.clone(), batch, SessionKind::Subsystem, "sftp-server"),
    ];
    for (program, to, fro, kind, runs) in ways {
        for (words, input, stream) in [
            (to, format!("put {from_word} /tmp/there\n"), Stream::Input),
            (fro, format!("get /tmp/there {back_word}\n"), Stream::Output),
        ] {
            let (login, serial) = town.key(&terms("ops"), 600);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            copies(&town, program, &login, &words, &input).ok();
            let recording = recording(&town, serial);
            let header = recording.chain.header().unwrap();
            assert!(header.kind == kind && asked(&recording).contains(runs), "{header:?}");
            assert!(recording.holds(stream, first) && recording.holds(stream, last), "{program} {words:?}");
            assert_eq!(fs::read(town.host.file("/tmp/there")).unwrap(), sent, "{program} {words:?}");
        }
        assert_eq!(fs::read(&back).unwrap(), sent, "{program}");
        fs::remove_file(&back).unwrap();
        fs::remove_file(town.host.file("/tmp/there")).unwrap();
    }
}

#[test]
fn rsync_carries_a_tree_there_and_back() {
    let mut town = Town::begin();
    let Some(rsync) = town.world.tool("rsync") else { return };
    assert!(town.host.install_tool("rsync"));
    let (tree, back) = (town.world.room("tree"), town.world.room("back"));
    fs::create_dir(tree.join("a folder")).unwrap();
    fs::write(tree.join("a folder/empty"), "").unwrap();
    fs::write(tree.join("a folder/-name with 'quotes'\u{e9}"), "mark-small").unwrap();
    fs::write(tree.join("large"), bytes()).unwrap();
    std::os::unix::fs::symlink("large", tree.join("link")).unwrap();
    let there = format!("ops@{}:/tmp/tree/", town.host.name());
    for (from, to, stream) in [
        (format!("{}/", tree.display()), there.clone(), Stream::Input),
        (there, format!("{}/", back.display()), Stream::Output),
    ] {
        let (login, serial) = town.key(&terms("ops"), 600);
        let mut command = Command::new(&rsync);
        run(command.args(["-rl", "-e", &town.host.remote_shell(&login), &from, &to])).ok();
        let recording = recording(&town, serial);
        assert!(asked(&recording).starts_with("rsync --server"), "{}", asked(&recording));
        assert!(recording.holds(stream, b"mark-small") && recording.holds(stream, b"the end"), "{stream:?}");
    }
    for other in [&town.host.file("/tmp/tree"), &back] {
        run(Command::new("diff").args(["-r", "--no-dereference"]).args([&tree, other])).ok();
    }
}

#[test]
fn git_pushes_and_clones_and_what_was_pushed_is_in_the_recording() {
    let mut town = Town::begin();
    let Some(git) = town.world.tool("git") else { return };
    let keys = [(); 3].map(|()| town.key(&terms("ops"), 600));
    let [(make, _), (push, pushed), (clone, cloned)] = &keys;
    let git = |dir: &Path, login: &Login, args: &[&str]| {
        let mut command = Command::new(&git);
        command.current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_SSH_COMMAND", town.host.remote_shell(login));
        command.args(["-c", "user.name=ana", "-c", "user.email=ana@example.org"]).args(args);
        command
    };
    let does = |dir: &Path, login: &Login, args: &[&str]| run(&mut git(dir, login, args)).ok().to_owned();
    let [work, copy, found] = ["work", "copy", "found"].map(|name| town.world.room(name));
    does(&work, push, &["init", "-q", "-b", "main"]);
    fs::write(work.join("large"), bytes()).unwrap();
    fs::write(work.join("small"), "mark-small\n").unwrap();
    does(&work, push, &["add", "."]);
    does(&work, push, &["commit", "-q", "-m", "what there is"]);
    let head = does(&work, push, &["rev-parse", "HEAD"]);

    let url = format!("ssh://ops@{}/home/ops/repository.git", town.host.name());
    town.ssh(make, "ops", &[], "git init -q --bare -b main repository.git").ok();
    does(&work, push, &["push", "-q", &url, "main"]);
    does(&copy, clone, &["clone", "-q", &url, "."]);
    assert_eq!(does(&copy, clone, &["rev-parse", "HEAD"]), head);
    run(Command::new("diff").args(["-r", "-x", ".git"]).args([&work, &copy])).ok();

    // Nothing but what was recorded of the push gives the same commit again.
    let recording_of_push = recording(&town, *pushed);
    assert!(asked(&recording_of_push).starts_with("git-receive-pack"), "{}", asked(&recording_of_push));
    let input = recording_of_push.bytes(Stream::Input);
    let pack = input.windows(4).position(|window| window == b"PACK").expect("a pack");
    does(&found, push, &["init", "-q", "--bare", "."]);
    let mut unpack = git(&found, push, &["unpack-objects", "-q"]).stdin(Stdio::piped()).spawn().unwrap();
    unpack.stdin.take().unwrap().write_all(&input[pack..]).unwrap();
    assert!(unpack.wait().unwrap().success());
    assert_eq!(does(&found, push, &["show", &format!("{head}:small")]), "mark-small");
    assert_eq!(
        does(&found, push, &["rev-parse", &format!("{head}:large")]),
        does(&work, push, &["rev-parse", "HEAD:large"])
    );

    let recording_of_clone = recording(&town, *cloned);
    assert!(asked(&recording_of_clone).starts_with("git-upload-pack"), "{}", asked(&recording_of_clone));
    assert!(recording_of_clone.holds(Stream::Output, b"PACK"));
}
