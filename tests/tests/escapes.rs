//! Ways past the recorder and the deadline, each tried by a real ssh on a real host: recorded, blocked, ended or
//! reported. What is none of these stands in `docs/LIMITS.md`, under its name here.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use fireaxe_protocol::host::{EndReason, PlantedKind};
use fireaxe_protocol::policy::{Extension, Record, Terms};
use fireaxe_protocol::recording::{SessionKind, Stream, cast};
use fireaxe_tests::bench::recorder::flood;
use fireaxe_tests::clock;
use fireaxe_tests::host::Login;
use fireaxe_tests::run::{Ran, run_with_input};
use fireaxe_tests::running::start;
use fireaxe_tests::town::{Town, terms};

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// What it showed or was given is in a recording.
    Recorded,
    /// It did not work.
    Blocked,
    /// What it left behind ended with its connection.
    Ended,
    /// It is in what the host reports.
    Reported,
    /// None of these: `docs/LIMITS.md` says so.
    Missed,
}

use Fate::{Blocked, Ended, Missed, Recorded, Reported};

/// A way, and how it is tried; `None`: another fate than the table says.
type Way = (&'static str, Fate, fn(&mut Town) -> bool);

const WAYS: &[Way] = &[
    ("a command instead of a shell", Recorded, |t| shown(t, "echo mark-$((1+1))", "mark-2")),
    ("a shell without a terminal", Recorded, |t| {
        let (login, serial) = t.key(&terms("ops"), 600);
        let ran = run_with_input(
            t.host.ssh_command(&login, "ops", &["-T"]).stdin(Stdio::piped()),
            "echo mark-$((1+1))\n",
        );
        ran.stdout.contains("mark-2")
            && t.recorded(serial, Stream::Output, "mark-2")
            && t.recorded(serial, Stream::Input, "echo mark-")
    }),
    ("a terminal for a command", Recorded, |t| {
        shown_with(t, &["-tt"], "echo mark-$((1+1)); tty", "mark-2\r\n/dev/pts/")
    }),
    ("the account's own .bashrc", Recorded, |t| {
        t.host.put("/home/ops/.bashrc", "echo mark-from-rc\n");
        let recorded = shown(t, "true", "mark-from-rc");
        fs::remove_file(t.host.file("/home/ops/.bashrc")).unwrap();
        recorded
    }),
    ("~/.ssh/rc", Blocked, |t| {
        t.host.put("/home/ops/.ssh/rc", "touch /tmp/mark-ssh-rc\n");
        ok(t, "ops", "true") && !t.host.file("/tmp/mark-ssh-rc").exists()
    }),
    ("~/.ssh/environment", Blocked, |t| {
        t.host.put("/home/ops/.ssh/environment", "MARK=mark-environment\n");
        let (login, _) = t.key(&terms("ops"), 600);
        !t.ssh(&login, "ops", &[], "env").ok().contains("mark-environment")
    }),
    ("BASH_ENV by ~/.pam_environment", Blocked, |t| {
        t.host.put("/home/ops/evil", "echo mark-bash-env\n");
        t.host.put("/home/ops/.pam_environment", "BASH_ENV DEFAULT=/home/ops/evil\n");
        let (login, _) = t.key(&terms("ops"), 600);
        // Within, since bash does not read it for what sshd runs.
        let ran = t.ssh(&login, "ops", &[], "bash -c env");
        fs::remove_file(t.host.file("/home/ops/.pam_environment")).unwrap();
        ran.code == 0 && !ran.stdout.contains("mark-bash-env") && !ran.stdout.contains("BASH_ENV")
    }),
    ("variables that the client sends", Blocked, |t| {
        let (login, _) = t.key(&terms("ops"), 600);
        let sent = ["-o", "SetEnv=LD_PRELOAD=/home/ops/x.so BASH_ENV=/home/ops/evil LC_MARK=kept"];
        let ran = t.ssh(&login, "ops", &sent, "env");
        ran.code == 0 && !ran.stdout.contains("LD_PRELOAD") && !ran.stdout.contains("BASH_ENV")
    }),
    ("SSH_ORIGINAL_COMMAND that the client sends", Blocked, |t| {
        let forced = Terms { force_command: Some("echo mark-forced".into()), ..terms("ops") };
        let (login, serial) = t.key(&forced, 600);
        let sent = ["-o", "SetEnv=SSH_ORIGINAL_COMMAND=id"];
        let ran = t.ssh(&login, "ops", &sent, "echo as-asked");
        ran.ok() == "mark-forced"
            && t.recordings(serial)[0].chain.header().unwrap().asked.as_deref() == Some("echo as-asked")
    }),
    ("another command than the certificate's", Blocked, |t| {
        let forced = Terms { force_command: Some("echo mark-forced".into()), ..terms("ops") };
        let (login, _) = t.key(&forced, 600);
        let shell = t.ssh(&login, "ops", &[], "");
        shell.ok() == "mark-forced" && t.ssh(&login, "ops", &["-s"], "sftp").stdout.starts_with("mark-forced")
    }),
    ("a command whose end no header shows", Recorded, |t| {
        let long = format!("true {} ; echo mark-$((1+1))", "x".repeat(20_000));
        let (login, serial) = t.key(&terms("ops"), 600);
        let ran = t.ssh(&login, "ops", &[], &long);
        ran.ok() == "mark-2" && t.recorded(serial, Stream::Asked, " ; echo mark-$((1+1))")
    }),
    ("-W", Blocked, |t| {
        let (login, _) = t.key(&terms("ops"), 600);
        let port = t.host.port();
        t.host.tunnel(&login, "ops", port).code != 0
    }),
    ("-R", Blocked, |t| {
        let (login, _) = t.key(&terms("ops"), 600);
        t.host.reverse_tunnel(&login, "ops").code != 0
    }),
    ("-N -L where the tier allows forwarding", Ended, |t| {
        let allowed = Terms { extensions: vec![Extension::PortForwarding], ..terms("ops") };
        let (login, serial) = t.key(&allowed, 600);
        let forward = format!("0:127.0.0.1:{}", t.host.port());
        let mut ssh = start(&mut t.host.ssh_command(&login, "ops", &["-N", "-R", &forward]));
        ssh.shows("Allocated port");
        let there = ssh.goes_on();
        t.revoke(&[serial]);
        there && t.closed(serial).why == EndReason::Revoked && ssh.ends_by_itself().code == 255
    }),
    ("sftp", Recorded, |t| {
        let (login, serial) = t.key(&terms("ops"), 600);
        let from = t.world.room("sent").join("file");
        fs::write(&from, "mark-sftp").unwrap();
        let ran = copies(t, "sftp", &login, &["-b", "-"], &format!("put {} /tmp/sftp\n", from.display()));
        ran.code == 0
            && t.recorded(serial, Stream::Input, "mark-sftp")
            && t.recordings(serial)[0].chain.header().unwrap().kind == SessionKind::Subsystem
            && fs::read(t.host.file("/tmp/sftp")).unwrap() == b"mark-sftp"
    }),
    ("scp", Recorded, |t| scp(t, &[])),
    ("scp -O", Recorded, |t| scp(t, &["-O"])),
    ("a file through standard input", Recorded, |t| {
        let (login, serial) = t.key(&terms("ops"), 600);
        let mut command = t.host.ssh_command(&login, "ops", &[]);
        let ran = run_with_input(command.arg("cat > /tmp/through-stdin"), "mark-stdin");
        ran.code == 0
            && t.recorded(serial, Stream::Input, "mark-stdin")
            && t.host.file("/tmp/through-stdin").exists()
    }),
    ("exec into a program that is no shell", Recorded, |t| shown(t, "exec /bin/echo mark-exec", "mark-exec")),
    ("exec into another shell", Recorded, |t| shown(t, "exec sh -c 'echo mark-$((1+1))'", "mark-2")),
    ("the login shell by its name", Recorded, |t| {
        shown(t, "/usr/libexec/fireaxe/session -c 'echo mark-$((1+1))'", "mark-2")
    }),
    ("script within", Recorded, |t| {
        shown_with(t, &["-tt"], "script -qc 'echo mark-$((1+1))' /dev/null", "mark-2")
    }),
    ("closing its descriptors", Recorded, |t| {
        let (login, serial) = t.key(&terms("ops"), 600);
        t.ssh(&login, "ops", &[], "exec <&- >&- 2>&-; touch /tmp/mark-closed").ok();
        t.recordings(serial)[0].chain.header().unwrap().asked.as_deref().unwrap().contains("mark-closed")
    }),
    ("setsid", Ended, |t| {
        outlives(t, "setsid sleep 8001 >/dev/null 2>&1 </dev/null & echo started", "sleep 8001")
    }),
    ("nohup", Ended, |t| {
        outlives(t, "nohup sleep 8002 >/dev/null 2>&1 </dev/null & echo started", "sleep 8002")
    }),
    ("disown", Ended, |t| {
        outlives(t, "sleep 8003 >/dev/null 2>&1 </dev/null & disown; echo started", "sleep 8003")
    }),
    ("a double fork", Ended, |t| {
        outlives(
            t,
            "(setsid sh -c '(sleep 8004 >/dev/null 2>&1 </dev/null &)' &) ; echo started",
            "sleep 8004",
        )
    }),
    ("deaf to every signal that can be", Ended, |t| {
        let deaf = "setsid sh -c 'trap \"\" TERM HUP INT QUIT USR1; while :; do sleep 8005; done' >/dev/null 2>&1 </dev/null & echo started";
        outlives(t, deaf, "sleep 8005")
    }),
    ("tmux", Ended, |t| {
        if !t.host.install_tool("tmux") {
            // What it does to stay: a second fork, a session of its own.
            return outlives(t, "setsid -f sleep 8006 >/dev/null 2>&1; echo started", "sleep 8006");
        }
        outlives(t, "tmux new -d 'sleep 8006'; echo started", "sleep 8006")
    }),
    ("kill -9 of the recorder", Reported, |t| {
        let (login, serial) = t.key(&terms("ops"), 600);
        let ran = t.ssh(&login, "ops", &[], "echo mark-before; sleep 0.2; kill -9 $PPID; echo mark-after");
        let closed = t.closed(serial);
        ran.code != 0
            && !ran.stdout.contains("mark-after")
            && t.recorded(serial, Stream::Output, "mark-before")
            && closed.recordings.len() == 1
            && t.recordings(serial)[0].chain.end().is_some()
    }),
    ("kill -9 of the recorder, going on behind its back", Ended, |t| {
        let line = "setsid sleep 8007 >/dev/null 2>&1 </dev/null & sleep 0.2; kill -9 $PPID";
        let (login, serial) = t.key(&terms("ops"), 600);
        let _ = t.ssh(&login, "ops", &[], line);
        t.closed(serial);
        t.comes_to_end("sleep 8007")
    }),
    ("kill -STOP of the recorder", Blocked, |t| {
        let (login, serial) = t.key(&terms("ops"), 600);
        let mut command = t.host.ssh_command(&login, "ops", &[]);
        let mut ssh =
            start(command.arg("echo mark-before; sleep 0.3; kill -STOP $PPID; echo mark-after; sleep 8008"));
        ssh.shows("mark-before");
        clock::wait_for(clock::LIMIT, || (t.running("sleep 8008") > 0).then_some(())).unwrap();
        let (shown, there) = (ssh.said(), ssh.goes_on());
        t.revoke(&[serial]);
        t.closed(serial);
        there && !shown.contains("mark-after") && t.comes_to_end("sleep 8008")
    }),
    ("looking into the recorder and its descriptors", Blocked, |t| {
        let (login, _) = t.key(&terms("ops"), 600);
        let line = "cat /proc/$PPID/environ || ls -l /proc/$PPID/fd/ || cat /proc/$PPID/mem || echo nothing; \
                    : </proc/$PPID/fd/0 || : >/proc/$PPID/fd/1 || echo neither";
        let ran = t.ssh(&login, "ops", &[], line);
        ran.stdout == "nothing\nneither\n"
    }),
    ("ptrace of the recorder", Blocked, |t| {
        let (login, _) = t.key(&terms("ops"), 600);
        let line = "command -v gdb >/dev/null || { echo 'ptrace: no gdb, Operation not permitted'; exit; }; \
                    gdb -p $PPID -batch -ex 'info registers' 2>&1 </dev/null; true";
        let ran = t.ssh(&login, "ops", &[], line);
        ran.stdout.contains("not permitted") && !ran.stdout.contains("rip ")
    }),
    ("writing to the outer terminal, TIOCSTI into it", Blocked, |t| {
        // Neither can be done without opening it.
        let (login, _) = t.key(&terms("ops"), 600);
        let line = "for p in /dev/pts/[0-9]*; do (exec 3<>$p) 2>/dev/null && [ $p != $(tty) ] && echo opens $p; done; echo looked";
        let ran = t.ssh(&login, "ops", &["-tt"], line);
        ran.stdout.contains("looked") && !ran.stdout.contains("opens")
    }),
    ("forged events on the daemon's socket", Recorded, |t| {
        let (login, serial) = t.key(&terms("ops"), 600);
        let ran = t.ssh(&login, "ops", &[], &format!("echo mark-true; {FORGES}; echo mark-too"));
        let all = t.recordings(serial);
        ran.stdout.contains("mark-too") && t.recorded(serial, Stream::Output, "mark-true\n")
            && t.recorded(serial, Stream::Output, "mark-too")
            // The forger has a recording of its own, under another name, and it is reported too.
            && all.iter().filter(|r| r.holds(Stream::Output, b"mark-forged")).count() == 1
            && all.iter().all(|r| !(r.holds(Stream::Output, b"mark-forged") && r.holds(Stream::Output, b"mark-true")))
            && t.closed(serial).recordings.len() == 2
    }),
    ("the daemon's socket from outside any session", Blocked, |t| {
        let ran =
            t.host.run("setpriv", &["--reuid=2003", "--regid=2003", "--clear-groups", "sh", "-c", FORGES]);
        ran.stdout.contains("session.unknown")
    }),
    ("reading, changing or removing recordings", Blocked, |t| {
        let (login, _) = t.key(&terms("ops"), 600);
        let line = "ls /var/lib/fireaxe/recordings || rm -rf /var/lib/fireaxe/recordings || : >/var/lib/fireaxe/x || echo nothing";
        t.ssh(&login, "ops", &[], line).stdout == "nothing\n"
    }),
    ("a second session on one connection", Recorded, |t| {
        let (login, serial) = t.key(&terms("ops"), 600);
        let path = t.world.dir().join("m").display().to_string();
        let master = ["-o", "ControlMaster=yes", "-o", &format!("ControlPath={path}"), "-N"];
        let ssh = start(&mut t.host.ssh_command(&login, "ops", &master));
        clock::wait_for(clock::LIMIT, || fs::exists(&path).unwrap().then_some(())).unwrap();
        let by = ["-o", &format!("ControlPath={path}")];
        let first = t.ssh(&login, "ops", &by, "echo mark-first");
        let second = t.ssh(&login, "ops", &by, "echo mark-second");
        drop(ssh);
        first.ok() == "mark-first"
            && second.ok() == "mark-second"
            && t.recorded(serial, Stream::Output, "mark-first")
            && t.recorded(serial, Stream::Output, "mark-second")
            && t.recordings(serial).len() == 2
    }),
    ("a flood of what need not be recorded", Recorded, |t| {
        let flood = flood(t, Record::BestEffort, 20_000_000);
        flood.recorded + flood.lost == 20_000_000
    }),
    ("a flood", Recorded, |t| {
        let flood = flood(t, Record::Required, 50_000_000);
        println!("a recorded session carried {:.0} MB/s", flood.rate());
        (flood.recorded, flood.lost) == (50_000_000, 0)
    }),
    ("control sequences meant for the auditor", Blocked, |t| {
        let (login, serial) = t.key(&terms("ops"), 600);
        t.ssh(&login, "ops", &[], r"printf '\033]52;c;bWFyaw==\007\033[2J\302\233'").ok();
        t.closed(serial);
        let text = cast(&t.recordings(serial)[0].chunks);
        text.contains(r"\u001b]52;c;")
            && text.contains(r"\u009b")
            && !text.lines().any(|l| l.contains(char::is_control))
    }),
    ("chsh", Blocked, |t| {
        let (login, _) = t.key(&terms("ops"), 600);
        let _ = t.ssh(&login, "ops", &[], "chsh -s /bin/sh </dev/null");
        fs::read_to_string(t.host.file("/etc/passwd"))
            .unwrap()
            .contains("/home/ops:/usr/libexec/fireaxe/session")
    }),
    ("authorized_keys of one's own", Reported, |t| {
        plants(
            t,
            "ops",
            "mv .ssh .old; mkdir .ssh; echo 'ssh-ed25519 AAAA mallory' > .ssh/authorized_keys",
            PlantedKind::AuthorizedKeys,
        )
    }),
    ("authorized_keys of another, as root", Reported, |t| {
        plants(
            t,
            "root",
            "mkdir -p /home/deploy/.ssh; echo 'ssh-ed25519 AAAA m' >> /home/deploy/.ssh/authorized_keys",
            PlantedKind::AuthorizedKeys,
        )
    }),
    ("cron", Reported, |t| {
        plants(t, "root", "echo '* * * * * root id' > /etc/cron.d/mark", PlantedKind::Cron)
    }),
    ("at", Reported, |t| {
        plants(
            t,
            "root",
            "mkdir -p /var/spool/cron/atjobs; echo id > /var/spool/cron/atjobs/a0001",
            PlantedKind::At,
        )
    }),
    ("a systemd unit", Reported, |t| {
        plants(t, "root", "echo '[Service]' > /etc/systemd/system/mark.service", PlantedKind::SystemdUnit)
    }),
    ("systemd-run, as root", Reported, |t| {
        // There is no systemd here: what it would leave for as long as its unit lives.
        plants(
            t,
            "root",
            "mkdir -p /run/systemd/transient; echo > /run/systemd/transient/run-u1.service",
            PlantedKind::SystemdUnit,
        )
    }),
    ("sudoers", Reported, |t| {
        plants(t, "root", "echo 'deploy ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/mark", PlantedKind::Sudoers)
    }),
    ("a setuid file", Reported, |t| {
        plants(t, "root", "cp /bin/true /var/tmp/mark; chmod 4755 /var/tmp/mark", PlantedKind::Setuid)
    }),
    ("planting root's .bashrc", Reported, |t| {
        let planted = plants(t, "root", "echo id > .bashrc", PlantedKind::Preload);
        fs::remove_file(t.host.file("/root/.bashrc")).unwrap();
        planted
    }),
    ("another account, as root", Reported, |t| {
        plants(t, "root", "echo 'm:x:0:0::/:/bin/sh' >> /etc/passwd", PlantedKind::Account)
    }),
    ("ld.so.preload, as root", Reported, |t| {
        plants(t, "root", "echo > /etc/ld.so.preload", PlantedKind::Preload)
    }),
    ("a login while the daemon is away", Blocked, |t| {
        t.kill_daemon();
        let (login, _) = t.key(&terms("ops"), 600);
        let ran = t.ssh(&login, "ops", &[], "echo mark-unrecorded");
        t.start_daemon();
        ran.code != 0 && !ran.stdout.contains("mark-unrecorded")
    }),
    ("LD_PRELOAD by ~/.pam_environment", Missed, |t| {
        t.host.put("/home/ops/.pam_environment", "LD_PRELOAD DEFAULT=/home/ops/mark-preloaded.so\n");
        let (login, _) = t.key(&terms("ops"), 600);
        // The loader complains of a library that is not there: it would have loaded one that is.
        let ran = t.ssh(&login, "ops", &[], "true");
        fs::remove_file(t.host.file("/home/ops/.pam_environment")).unwrap();
        ran.stderr.contains("mark-preloaded.so")
    }),
    ("root's own .bashrc", Missed, |t| {
        t.host.put("/root/.bashrc", "echo mark-from-rc\n");
        let (login, serial) = t.key(&terms("root"), 600);
        let ran = t.ssh(&login, "root", &[], "echo mark-$((1+1))");
        fs::remove_file(t.host.file("/root/.bashrc")).unwrap();
        // Bash reads it before it runs the recorder, and again within; the first is not recorded.
        let count = |text: &str| text.matches("mark-from-rc").count();
        let recorded = t.recordings(serial)[0].bytes(Stream::Output);
        count(&ran.stdout) > count(&String::from_utf8_lossy(&recorded))
    }),
];

/// Opens the daemon's socket as a recorder would, shows the answer, and says an event of its own making.
const FORGES: &str = r#"perl -MIO::Socket::UNIX -e '
    $| = 1;
    my $s = IO::Socket::UNIX->new(Peer => "/run/fireaxe/host.sock") or die "no socket";
    syswrite $s, "{\"begin\":{\"terminal\":null,\"asked\":\"forged\"}}\n";
    my $answer = <$s>; print $answer;
    syswrite $s, pack("C Q> N a*", 1, 0, 11, "mark-forged") . pack("CCC", 255, 1, 0);
    '"#;

#[test]
fn every_way_past_the_recorder_and_the_deadline_is_recorded_blocked_ended_or_reported() {
    let mut town = Town::begin();
    let only = std::env::var("ONLY").unwrap_or_default();
    let wrong: Vec<&str> = WAYS
        .iter()
        .filter(|(name, _, _)| name.contains(&only))
        .filter(|(name, fate, try_it)| {
            let held = try_it(&mut town);
            if !held {
                println!("not {fate:?}: {name}");
            }
            !held
        })
        .map(|(name, _, _)| *name)
        .collect();
    assert!(wrong.is_empty(), "another fate than the table says: {wrong:#?}");
}

#[test]
fn there_are_thirty_ways_and_more_and_what_is_missed_is_published() {
    let limits = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/LIMITS.md");
    let limits = fs::read_to_string(limits).unwrap();
    let missed = |fate: &Fate| *fate == Missed;
    assert!(WAYS.iter().filter(|(_, fate, _)| !missed(fate)).count() >= 30);
    for (name, _, _) in WAYS.iter().filter(|(_, fate, _)| missed(fate)) {
        assert!(limits.contains(name), "docs/LIMITS.md does not name {name:?}");
    }
}

/// Whether what a command shows is shown to the client and recorded.
fn shown(town: &mut Town, line: &str, mark: &str) -> bool {
    shown_with(town, &[], line, mark)
}

fn shown_with(town: &mut Town, options: &[&str], line: &str, mark: &str) -> bool {
    let (login, serial) = town.key(&terms("ops"), 600);
    let ran = town.ssh(&login, "ops", options, line);
    ran.stdout.contains(mark) && town.recorded(serial, Stream::Output, mark)
}

fn ok(town: &mut Town, account: &str, line: &str) -> bool {
    let (login, _) = town.key(&terms(account), 600);
    town.ssh(&login, account, &[], line).code == 0
}

/// Whether something that was started runs after its session, and ends with its connection.
fn outlives(town: &mut Town, line: &str, what: &str) -> bool {
    let (login, serial) = town.key(&terms("ops"), 600);
    let mut command = town.host.ssh_command(&login, "ops", &[]);
    let ssh = start(command.arg(format!("{line}; sleep 60")));
    ssh.shows("started");
    let ran = clock::wait_for(Duration::from_secs(5), || (town.running(what) > 0).then_some(())).is_some();
    town.revoke(&[serial]);
    let closed = town.closed(serial);
    let _ = ssh.ends_by_itself();
    ran && closed.swept.left == 0 && town.comes_to_end(what)
}

/// Whether what a session plants is in the report of its end.
fn plants(town: &mut Town, account: &str, line: &str, kind: PlantedKind) -> bool {
    let (login, serial) = town.key(&terms(account), 600);
    let ran = town.ssh(&login, account, &[], line);
    if ran.code != 0 {
        println!("{ran}");
        return false;
    }
    town.closed(serial).planted.iter().any(|planted| planted.kind == kind)
}

fn scp(town: &mut Town, options: &[&str]) -> bool {
    let (login, serial) = town.key(&terms("ops"), 600);
    let from = town.world.room("sent").join("scp");
    let mark = format!("mark-scp{}", options.concat());
    fs::write(&from, &mark).unwrap();
    let to = format!("ops@{}:/tmp/scp", town.host.name());
    let from = from.display().to_string();
    let words = [options, &[from.as_str(), to.as_str()]].concat();
    copies(town, "scp", &login, &words, "").code == 0 && town.recorded(serial, Stream::Input, &mark)
}

/// Runs `sftp` or `scp` with what `ssh` would be given.
fn copies(town: &Town, program: &str, login: &Login, words: &[&str], input: &str) -> Ran {
    let ssh = town.host.ssh_command(login, "ops", &[]);
    let given: Vec<_> = ssh.get_args().map(|arg| arg.to_owned()).collect();
    let mut command = Command::new(program);
    // All but the last, which is where to.
    command.args(&given[..given.len() - 1]).args(words);
    if program == "sftp" {
        command.arg(given.last().unwrap());
    }
    run_with_input(&mut command, input)
}
