//! The recorder, as a program, against the real sink behind a real socket; who is connected is made up. Each
//! session runs in a mount namespace of its own, where `/run/fireaxe` is the test's: it needs root.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fireaxe_host::clock::{Deadline, now};
use fireaxe_host::daemon::socket::{Handler, Peer, bind, serve};
use fireaxe_host::daemon::words::{Answer, Notice, Run, Terminal};
use fireaxe_host::daemon::{Beginning, Begun, Connections, Considering, InForce, Opening, Rooms, Sink, Took};
use fireaxe_host::error::HostError;
use fireaxe_host::reports::Reports;
use fireaxe_host::sink::{Limits, Recordings, Sealing};
use fireaxe_protocol::api::FeedClosing;
use fireaxe_protocol::host::{Recorded, Report};
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::recording::{Body, Chain, Chunk, Ended, Event, SessionKind, Stream, cast};
use fireaxe_protocol::statement::Nonce;

const LIMIT: Duration = Duration::from_secs(30);

#[track_caller]
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(LIMIT);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(deadline.left().is_some(), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

struct Silent;

impl Reports for Silent {
    fn say(&self, _: Report) -> Result<(), HostError> {
        Ok(())
    }
}

/// Everybody is connected, and may do what the test says.
struct Everybody {
    record: Mutex<Record>,
    command: Mutex<Option<String>>,
    refuses: AtomicBool,
    until: Mutex<u64>,
    number: AtomicU8,
    notices: Mutex<Vec<Sender<Notice>>>,
    ended: Mutex<VecDeque<Took>>,
    peers: Mutex<Vec<Peer>>,
}

impl Connections for Everybody {
    fn considered(&self, _: Peer, _: Considering) {}
    fn opened(&self, _: Peer, _: Opening) -> Answer {
        Answer::Noted
    }
    fn begin(&self, peer: Peer, _: Option<&Terminal>, _: Option<&str>) -> Result<Begun, Reason> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(Reason::new("test.refused", "this serial was revoked at 03:01"));
        }
        self.peers.lock().unwrap().push(peer);
        let (say, notices) = channel();
        self.notices.lock().unwrap().push(say);
        let run = Run {
            recording: Nonce([self.number.fetch_add(1, Ordering::Relaxed); 16]),
            command: self.command.lock().unwrap().clone(),
            shell: "/bin/bash".into(),
            record: *self.record.lock().unwrap(),
            emergency: Some("EM-42".parse().unwrap()),
            tier: "root".parse().unwrap(),
            until: *self.until.lock().unwrap(),
        };
        let account = "root".parse().unwrap();
        let person = Some("ana".parse().unwrap());
        Ok(Begun { connection: Nonce([200; 16]), serial: 7, account, person, from: None, run, notices })
    }
    fn ended(&self, _: Nonce, took: Took) {
        self.ended.lock().unwrap().push_back(took);
    }
    fn left_open(&self, _: Nonce, _: Recorded) {}
    fn listed(&self, _: InForce<'_>) {}
    fn closing(&self, _: Vec<FeedClosing>) {}
    fn extended(&self, _: &[Vec<u8>]) {}
    fn unrecorded(&self, _: Nonce) {}
    fn count(&self) -> u32 {
        0
    }
    fn keep(&self) {}
}

/// The real sink, which a test can make slow or hang up on everybody.
struct Steered {
    sink: Recordings,
    streams: Mutex<Vec<UnixStream>>,
    slow: AtomicBool,
    /// How long the next session waits for its answer.
    late: Mutex<Duration>,
}

impl Sink for Steered {
    fn record(&self, begun: Begun, beginning: Beginning, stream: UnixStream) -> Took {
        self.streams.lock().unwrap().push(stream.try_clone().unwrap());
        std::thread::sleep(std::mem::take(&mut *self.late.lock().unwrap()));
        if !self.slow.load(Ordering::Relaxed) {
            return self.sink.record(begun, beginning, stream);
        }
        // A disk of 4 MB/s: what the recorder says goes through here, slowly.
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut from, mut into) = (stream.try_clone().unwrap(), ours.try_clone().unwrap());
        let forth = std::thread::spawn(move || {
            let mut buffer = [0u8; 20_000];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                std::thread::sleep(Duration::from_millis(5));
                if into.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            let _ = into.shutdown(std::net::Shutdown::Write);
        });
        let (mut from, mut into) = (ours, stream);
        let back = std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut into);
        });
        let took = self.sink.record(begun, beginning, theirs);
        let _ = (forth.join(), back.join());
        took
    }
}

struct Stack {
    dir: tempfile::TempDir,
    who: Arc<Everybody>,
    sink: Arc<Steered>,
}

fn stack(record: Record) -> Stack {
    assert!(rustix::process::getuid().is_root(), "run as root: each session gets a /run of its own");
    let dir = tempfile::tempdir().unwrap();
    symlink(env!("CARGO_BIN_EXE_fireaxe-host"), dir.path().join("session")).unwrap();
    let who = Arc::new(Everybody {
        record: Mutex::new(record),
        command: Mutex::new(None),
        refuses: AtomicBool::new(false),
        until: Mutex::new(now() + 3600),
        number: AtomicU8::new(1),
        notices: Mutex::default(),
        ended: Mutex::default(),
        peers: Mutex::default(),
    });
    let host = "db-3.payments.prod".parse().unwrap();
    let limits = Limits { reserve: 0, ..Limits::default() };
    let (sink, _) = Recordings::open(
        &dir.path().join("recordings"),
        host,
        Sealing::default(),
        limits,
        Arc::new(Silent),
        || (),
    )
    .unwrap();
    let sink = Arc::new(Steered {
        sink,
        streams: Mutex::default(),
        slow: AtomicBool::new(false),
        late: Mutex::default(),
    });
    let stack = Stack { dir, who, sink };
    let listener = bind(&stack.dir.path().join("run/host.sock")).unwrap();
    let rooms = Rooms::new(stack.who.clone(), stack.sink.clone(), || serde_json::Value::Null);
    let rooms: Arc<dyn Handler> = Arc::new(rooms);
    std::thread::spawn(move || serve(&listener, &rooms));
    stack
}

impl Stack {
    /// The recorder, called as sshd calls it.
    fn session(&self, words: &[&str]) -> Command {
        let line = "mount -t tmpfs tmpfs /run && mkdir /run/fireaxe && \
                    mount --bind \"$0\" /run/fireaxe && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", line]).arg(self.dir.path().join("run"));
        command.arg(self.dir.path().join("session")).args(words);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("USER", "root");
        command.env("HOME", self.dir.path()).env("LANG", "C.UTF-8").env("TERM", "dumb");
        command
    }

    /// Runs what a client asks, with nothing on standard input.
    fn runs(&self, asked: &str) -> Output {
        self.session(&["-c", asked]).stdin(Stdio::null()).output().unwrap()
    }

    #[track_caller]
    fn took(&self) -> Took {
        wait_for("a session's end", || self.who.ended.lock().unwrap().pop_front())
    }

    fn path(&self, n: u8) -> PathBuf {
        self.dir.path().join("recordings").join(Nonce([n; 16]).to_string())
    }

    fn chunks(&self, n: u8) -> (Chain, Vec<Chunk>) {
        let bytes = fs::read(self.path(n)).unwrap();
        let (mut chain, mut chunks, mut at) = (Chain::default(), Vec::new(), 0);
        while let Some((chunk, taken)) = chain.next(&bytes[at..]).unwrap() {
            at += taken;
            chunks.push(chunk);
        }
        (chain, chunks)
    }

    /// What recording `n` holds of a stream so far.
    fn recorded(&self, n: u8, stream: Stream) -> Vec<u8> {
        let data = |chunk: &Chunk| match &chunk.body {
            Body::Data(events) => events.clone(),
            _ => Vec::new(),
        };
        let events: Vec<Event> = self.chunks(n).1.iter().flat_map(data).collect();
        events.into_iter().filter(|event| event.stream == stream).flat_map(|event| event.bytes).collect()
    }

    /// A client on a terminal, as sshd makes it: the recorder is its first process.
    fn on_a_terminal(&self, words: &[&str]) -> Client {
        let (pty, pts) = pty_process::blocking::open().unwrap();
        pty.resize(pty_process::Size::new(24, 80)).unwrap();
        let child = pty_process::blocking::Command::from(self.session(words)).spawn(pts).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        let mut from = fs::File::from(pty.as_fd().try_clone_to_owned().unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                into.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Client { pty, child, seen }
    }
}

struct Client {
    pty: pty_process::blocking::Pty,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Client {
    fn types(&mut self, text: &str) {
        self.pty.write_all(text.as_bytes()).unwrap();
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    #[track_caller]
    fn sees(&self, text: &str) {
        let deadline = Deadline::after(LIMIT);
        while !self.seen().contains(text) {
            assert!(deadline.left().is_some(), "never saw {text:?}:\n{}", self.seen());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn ends(mut self) -> ExitStatus {
        wait_for("the recorder's end", || self.child.try_wait().unwrap())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_command_has_its_outputs_and_its_exit_code_and_they_are_recorded() {
    let stack = stack(Record::Required);
    let ran = stack.runs("echo out; echo err >&2; exit 3");
    assert_eq!((ran.stdout, ran.stderr, ran.status.code()), (b"out\n".into(), b"err\n".into(), Some(3)));
    let took = stack.took();
    assert!(!took.unrecorded);
    let (chain, chunks) = stack.chunks(1);
    assert_eq!((chain.recorded(), chain.end().unwrap().how), (took.recorded, Ended::Exited(3)));
    let header = chain.header().unwrap();
    assert_eq!(header.kind, SessionKind::Exec);
    assert_eq!(header.asked.as_deref(), Some("echo out; echo err >&2; exit 3"));
    assert_eq!(stack.recorded(1, Stream::Output), b"out\n");
    assert_eq!(stack.recorded(1, Stream::Error), b"err\n");
    assert!(cast(&chunks).contains("\"x\", \"3\""));
    let killed = stack.runs("kill -9 $$");
    assert_eq!(killed.status.signal(), Some(9), "sshd tells its client the signal, as ever");
    let terminated = stack.runs("kill $$");
    assert_eq!(terminated.status.signal(), Some(15));
    assert_eq!(stack.runs("exit 255").status.code(), Some(255));
    assert_eq!(stack.runs("/nonexistent/x").status.code(), Some(127));
}

#[test]
fn input_reaches_the_program_with_its_end_and_is_recorded_as_data() {
    let stack = stack(Record::Required);
    let data: Vec<u8> = (0..3_000_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let file = stack.dir.path().join("f");
    let mut child = stack
        .session(&["-c", &format!("tee {} | cat; echo done >&2", file.display())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = data.clone();
    let feeds = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let ran = child.wait_with_output().unwrap();
    feeds.join().unwrap();
    assert!(ran.status.success());
    assert!(ran.stdout == data && fs::read(&file).unwrap() == data);
    assert_eq!(ran.stderr, b"done\n");
    let recorded = stack.took().recorded.unwrap();
    assert_eq!((recorded.bytes, recorded.lost), (data.len() as u64 * 2 + 5, 0));
    assert!(stack.recorded(1, Stream::Input) == data && stack.recorded(1, Stream::Output) == data);
}

#[test]
fn a_reader_that_goes_ends_the_writer_as_a_pipe_would() {
    let stack = stack(Record::Required);
    let mut child =
        stack.session(&["-c", "yes"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut two = [0u8; 2];
    child.stdout.take().unwrap().read_exact(&mut two).unwrap();
    let status = wait_for("yes to end", || child.try_wait().unwrap());
    assert_eq!((two, status.signal()), (*b"y\n", Some(13)));
    assert!(!stack.took().unrecorded);
}

#[test]
fn what_stays_in_the_background_with_the_outputs_is_recorded_until_it_closes_them() {
    let stack = stack(Record::Required);
    let ran = stack.runs("(sleep 0.3; echo late) & echo early");
    assert_eq!(ran.stdout, b"early\nlate\n");
    assert!(stack.took().recorded.is_some());
    assert_eq!(stack.recorded(1, Stream::Output), b"early\nlate\n");
    let detached = stack.runs("setsid sleep 300 >/dev/null 2>&1 </dev/null & echo $!");
    let pid = String::from_utf8(detached.stdout).unwrap().trim().to_owned();
    let _ = Command::new("kill").arg(&pid).status();
    assert!(detached.status.success(), "what has let go of the session holds nobody up");
}

#[test]
fn the_certificates_command_runs_whatever_the_client_asks() {
    let stack = stack(Record::Required);
    *stack.who.command.lock().unwrap() = Some("echo only this".into());
    for words in [&["-c", "id"][..], &["shell"], &[], &["-c", "/usr/libexec/fireaxe/session shell"]] {
        let mut session = stack.session(words);
        let ran = session.env("SSH_ORIGINAL_COMMAND", "rm -rf /").stdin(Stdio::null()).output().unwrap();
        assert_eq!(ran.stdout, b"only this\n", "{words:?}");
    }
    assert_eq!(stack.chunks(2).0.header().unwrap().command.as_deref(), Some("echo only this"));
    assert_eq!(stack.chunks(2).0.header().unwrap().asked.as_deref(), Some("rm -rf /"));
}

#[test]
fn nothing_of_the_environment_runs_before_the_session() {
    let stack = stack(Record::Required);
    let evil = stack.dir.path().join("evil");
    fs::write(&evil, "echo evil\n").unwrap();
    let mut session = stack.session(&["-c", "env; echo $0"]);
    session.env("BASH_ENV", &evil).env("ENV", &evil).env("PROMPT_COMMAND", "echo evil");
    session.env("SSH_CONNECTION", "192.0.2.7 1 192.0.2.8 22").env("SHELL", "/usr/libexec/fireaxe/session");
    let out = String::from_utf8(session.stdin(Stdio::null()).output().unwrap().stdout).unwrap();
    assert!(!out.contains("evil"), "{out}");
    for line in ["SHELL=/bin/bash", "LANG=C.UTF-8", "SSH_CONNECTION=192.0.2.7 1 192.0.2.8 22", "bash"] {
        assert!(out.lines().any(|l| l == line), "{line}:\n{out}");
    }
}

#[test]
fn who_is_refused_or_cannot_ask_is_told_why_and_what_to_do_and_runs_nothing() {
    let stack = stack(Record::Required);
    stack.who.refuses.store(true, Ordering::Relaxed);
    let ran = stack.runs("echo ran");
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!((ran.stdout, ran.status.code()), (vec![], Some(77)));
    assert!(said.contains("this serial was revoked at 03:01") && said.contains("next: "), "{said}");
    fs::remove_file(stack.dir.path().join("run/host.sock")).unwrap();
    for words in
        [&["shell"][..], &["run", "echo ran"], &["-c", "/usr/libexec/fireaxe/session run 'echo ran'"]]
    {
        let ran = stack.session(words).env("SSH_ORIGINAL_COMMAND", "echo ran").output().unwrap();
        assert_eq!((ran.stdout, ran.status.code()), (vec![], Some(75)), "{words:?}");
        assert!(String::from_utf8(ran.stderr).unwrap().contains("systemctl start fireaxe-host"));
    }
    // A certificate that names no recorder need not be recorded: a daemon that is gone locks nobody out.
    let ran = stack.runs("echo $0 $SHELL $LD_PRELOAD");
    assert_eq!((&ran.stdout[..], ran.stderr, ran.status.code()), (&b"bash /bin/bash\n"[..], vec![], Some(0)));
}

#[test]
fn a_terminal_within_the_terminal_shows_takes_and_resizes_as_one_would() {
    let stack = stack(Record::Required);
    let mut client = stack.on_a_terminal(&["-session"]);
    client.sees("EM-42  root on ");
    client.sees("recorded   extend: fireaxe extend  close: fireaxe close");
    client.types("PS1=; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three\n");
    client.sees("\r\nall three");
    client.types("stty size\n");
    client.sees("\r\n24 80");
    client.pty.resize(pty_process::Size::new(30, 101)).unwrap();
    // The kernel tells the foreground; the size is there when the recorder has passed it on.
    wait_for("the new size", || stack.recorded(1, Stream::Resize).ends_with(&[0, 101, 0, 30]).then_some(()));
    client.types("stty size\n");
    client.sees("\r\n30 101");
    // A password is typed without an echo.
    client.types("read -rsp 'Password: ' p\n");
    client.sees("\r\nPassword: ");
    client.types("hunter2\n");
    client.types("echo; echo length ${#p}\n");
    client.sees("\r\nlength 7");
    client.types("echo sleeping; sleep 100\n");
    client.sees("\r\nsleeping");
    client.types("\u{3}");
    client.types("echo after $?\n");
    client.sees("\r\nafter 130");
    client.types("exit 5\n");
    assert_eq!(client.ends().code(), Some(5));
    let took = stack.took();
    assert!(!took.unrecorded);
    let (chain, chunks) = stack.chunks(1);
    assert_eq!(chain.end().unwrap().how, Ended::Exited(5));
    assert_eq!(chain.header().unwrap().kind, SessionKind::Shell);
    let text = cast(&chunks);
    assert!(text.contains("\"r\", \"101x30\"") && text.contains("all three") && text.contains("EM-42"));
    let raw = fs::read(stack.path(1)).unwrap();
    let holds = |what: &[u8]| raw.windows(what.len()).any(|w| w == what);
    assert!(holds(b"Password: ") && !holds(b"hunter2"), "what is typed is never recorded");
}

#[test]
fn warnings_and_the_end_come_on_the_terminal_and_not_into_a_programs_data() {
    let stack = stack(Record::Required);
    let client = stack.on_a_terminal(&["-session"]);
    client.sees("EM-42");
    let say = |notice: Notice| stack.who.notices.lock().unwrap().last().unwrap().send(notice).unwrap();
    say(Notice::Goes { until: now() + 7210 });
    client.sees("(in 120 min)");
    say(Notice::Ends { at: now() + 3, why: "EM-42 was closed by ben\u{1b}[2J".into() });
    client.sees("EM-42 was closed by ben\\u{1b}[2J");
    let status = client.ends();
    assert_eq!(status.signal(), Some(1), "hung up");
    assert!(!stack.took().unrecorded);
    let notices = String::from_utf8(stack.recorded(1, Stream::Notice)).unwrap();
    assert!(notices.contains("EM-42 was closed by ben"), "{notices}");

    let session = stack
        .session(&["-c", "sleep 2; echo data"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("its begin", || (stack.who.notices.lock().unwrap().len() == 2).then_some(()));
    say(Notice::Goes { until: now() + 7200 });
    let ran = session.wait_with_output().unwrap();
    assert_eq!((ran.stdout, ran.stderr), (b"data\n".into(), vec![]));
    // The recorder is gone before the daemon has done with what it said.
    wait_for("what it came to", || stack.took().recorded.map(drop));
    assert!(!stack.recorded(2, Stream::Notice).is_empty());
}

#[test]
fn a_client_that_hangs_up_ends_what_is_on_its_terminal() {
    let stack = stack(Record::Required);
    let mut client = stack.on_a_terminal(&["-session"]);
    client.types("PS1=; sleep 1000 & echo its pid is $!.\n");
    client.sees("\r\nits pid is ");
    let seen = client.seen();
    let pid: String =
        seen.split("\r\nits pid is ").nth(1).unwrap().chars().take_while(|c| *c != '.').collect();
    // The test reads the terminal in a thread and so keeps it open: the kernel's word is sent in its place.
    let peer = stack.who.peers.lock().unwrap()[0];
    assert!(Command::new("kill").args(["-HUP", &peer.process.pid.to_string()]).status().unwrap().success());
    assert!(!stack.took().unrecorded, "the recorder said how it ended");
    wait_for("the end of what was on it", || (!Path::new("/proc").join(&pid).exists()).then_some(()));
}

#[test]
fn who_kills_the_recorder_has_seen_nothing_that_is_not_recorded() {
    let stack = stack(Record::Required);
    let line = "i=0; while :; do i=$((i+1)); echo line $i; [ $i = 3000 ] && kill -9 $PPID; done";
    let ran = stack.runs(line);
    assert_eq!(ran.status.signal(), Some(9));
    let took = stack.took();
    assert!(took.unrecorded, "its connection is to be ended");
    assert_eq!(stack.chunks(1).0.end().unwrap().how, Ended::Broken);
    let recorded = stack.recorded(1, Stream::Output);
    assert!(ran.stdout.len() > 1000 && recorded.starts_with(&ran.stdout));

    // Before it said a word.
    assert_eq!(stack.runs("kill -9 $PPID; sleep 0.1").status.signal(), Some(9));
    assert!(stack.took().unrecorded, "what it began may go on");

    // With a disk that is slower than the program: what the recorder still holds was not shown.
    stack.sink.slow.store(true, Ordering::Relaxed);
    let ran = stack.runs("(while head -c 100000 /dev/zero; do :; done) & sleep 0.5; kill -9 $PPID");
    assert!(stack.took().unrecorded);
    let recorded = stack.recorded(3, Stream::Output).len();
    let shown = ran.stdout.len();
    assert!(shown > 100_000 && shown <= recorded, "{shown} bytes were shown and {recorded} are recorded");
}

#[test]
fn a_slow_disk_slows_a_session_that_must_be_recorded_and_marks_what_another_loses() {
    for record in [Record::Required, Record::BestEffort] {
        let stack = stack(record);
        stack.sink.slow.store(true, Ordering::Relaxed);
        let ran = stack.runs("head -c 6000000 /dev/zero");
        assert_eq!((ran.stdout.len(), ran.status.code()), (6_000_000, Some(0)));
        let recorded = stack.took().recorded.unwrap();
        assert_eq!(recorded.bytes + recorded.lost, 6_000_000, "{record:?}: recorded or marked");
        match record {
            Record::Required => assert_eq!(recorded.lost, 0),
            _ => assert!(recorded.lost > 0, "a program that need not wait does not"),
        }
    }
}

#[test]
fn a_daemon_that_is_restarted_finds_the_session_again_and_nothing_is_missing() {
    let stack = stack(Record::Required);
    let line = "for i in $(seq 400); do echo line $i; sleep 0.01; done";
    let session = stack.session(&["-c", line]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    wait_for("some output", || {
        stack.path(1).exists().then(|| stack.recorded(1, Stream::Output)).filter(|out| out.len() > 200)
    });
    // As the kernel does when a daemon dies.
    let _ = stack.sink.streams.lock().unwrap()[0].shutdown(std::net::Shutdown::Both);
    assert!(stack.took().unrecorded);
    let ran = session.wait_with_output().unwrap();
    assert!(ran.status.success());
    assert!(!stack.took().unrecorded);
    let both = [stack.recorded(1, Stream::Output), stack.recorded(2, Stream::Output)].concat();
    let (text, shown) = (String::from_utf8(both).unwrap(), String::from_utf8(ran.stdout).unwrap());
    assert_eq!(shown.lines().count(), 400);
    for line in shown.lines() {
        assert!(text.lines().any(|l| l == line), "{line} was shown and is in neither recording");
    }
}

#[test]
fn an_answer_that_is_late_is_waited_for_and_one_that_nobody_waits_for_ends_nothing() {
    for (late, finds) in [(500, 2), (2500, 3)] {
        let stack = stack(Record::Required);
        let mut session = stack.session(&["-c", "cat"]);
        let mut session = session.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = session.stdin.take().unwrap();
        stdin.write_all(b"before\n").unwrap();
        let has = |n, line: &[u8]| stack.path(n).exists() && stack.recorded(n, Stream::Output) == line;
        wait_for("its first line", || has(1, b"before\n").then_some(()));
        *stack.sink.late.lock().unwrap() = Duration::from_millis(late);
        let _ = stack.sink.streams.lock().unwrap()[0].shutdown(std::net::Shutdown::Both);
        assert!(stack.took().unrecorded);
        stdin.write_all(b"after\n").unwrap();
        wait_for("its second line", || has(finds, b"after\n").then_some(()));
        drop(stdin);
        assert!(session.wait_with_output().unwrap().status.success());
        if finds == 3 {
            assert_eq!((stack.took(), stack.path(2).exists()), (Took::default(), false), "too late");
        }
        let took = stack.took();
        assert!(!took.unrecorded && took.recorded.is_some(), "{late} ms: {took:?}");
    }
}

#[test]
fn a_session_whose_daemon_stays_away_ends_by_itself_in_its_time() {
    let stack = stack(Record::BestEffort);
    *stack.who.until.lock().unwrap() = now() + 2;
    let mut client = stack.on_a_terminal(&["-session"]);
    client.types("PS1=; echo a; echo b\n");
    client.sees("a\r\nb");
    fs::remove_file(stack.dir.path().join("run/host.sock")).unwrap();
    let _ = stack.sink.streams.lock().unwrap()[0].shutdown(std::net::Shutdown::Both);
    assert_eq!(client.ends().signal(), Some(1));
}

#[test]
fn sftp_by_sshds_own_word_for_it_is_the_program() {
    if !Path::new("/usr/lib/openssh/sftp-server").exists() {
        return;
    }
    let stack = stack(Record::Required);
    let mut session = stack.session(&["shell"]);
    session.env("SSH_ORIGINAL_COMMAND", "internal-sftp").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = session.spawn().unwrap();
    // SSH_FXP_INIT, version 3; answered by SSH_FXP_VERSION.
    child.stdin.as_mut().unwrap().write_all(&[0, 0, 0, 5, 1, 0, 0, 0, 3]).unwrap();
    let mut head = [0u8; 9];
    child.stdout.as_mut().unwrap().read_exact(&mut head).unwrap();
    assert_eq!((head[4], &head[5..]), (2, &[0, 0, 0, 3][..]));
    drop(child.stdin.take());
    drop(child.stdout.take());
    assert!(child.wait().unwrap().code().is_some());
    assert_eq!(stack.chunks(1).0.header().unwrap().kind, SessionKind::Subsystem);
}

#[test]
fn a_flood_is_recorded_to_the_last_byte() {
    let stack = stack(Record::Required);
    let mut child = stack
        .session(&["-c", "head -c 50000000 /dev/zero"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let read = std::io::copy(child.stdout.as_mut().unwrap(), &mut std::io::sink()).unwrap();
    assert!(child.wait().unwrap().success());
    let recorded = stack.took().recorded.unwrap();
    assert_eq!((read, recorded.bytes, recorded.lost), (50_000_000, 50_000_000, 0));
}
