//! What ends on a host with everything of ours, enrolled and applied, and what its CA is told: whatever a session
//! does to outlive its emergency, and a host that loses power.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::process::Command;

use fireaxe_protocol::host::{EndReason, PlantedKind, Report, SessionClosed};
use fireaxe_tests::holder::{Held, Holder};
use fireaxe_tests::running::{Running, start, start_on_a_terminal};
use fireaxe_tests::scene::{Scene, default_policy};
use fireaxe_tests::{Ca, Host, clock};

const HOST: &str = "db-3.payments.prod";

/// The default policy; its tier fix is recorded, and allows forwarding.
fn policy() -> String {
    let fix = "account = \"ops\"\nextensions = [\"pty\"]\nttl = \"30m\"\n";
    let policy = default_policy();
    assert!(policy.contains(fix), "{policy}");
    let policy = policy.replacen(
        fix,
        "account = \"ops\"\nextensions = [\"port-forwarding\", \"pty\"]\nttl = \"30m\"\nrecord = \"required\"\n",
        1,
    );
    let (rules, _) = policy.split_once("# --- Worked examples").unwrap();
    rules.to_owned()
}

fn begin() -> Scene {
    Scene::begin_with_helper_and(|setting| setting.policy = policy())
}

/// What the CA was told of the ends of what came in with this serial.
fn closed(ca: &Ca, serial: u64) -> Vec<SessionClosed> {
    let reports = ca.reports().into_iter().filter_map(|report| match report {
        Report::SessionClosed(closed) if closed.serial == serial => Some(closed),
        _ => None,
    });
    reports.collect()
}

fn opened(ca: &Ca, serial: u64) -> usize {
    let of = |report: &&Report| matches!(report, Report::SessionOpened(opened) if opened.serial == serial);
    ca.reports().iter().filter(of).count()
}

/// Waits until as many have ended as came in.
#[track_caller]
fn all_closed(scene: &Scene, held: &Held, came: usize) -> Vec<SessionClosed> {
    let all = || Some(closed(&scene.ca, held.serial)).filter(|closed| closed.len() == came);
    let all = clock::wait_for(clock::LIMIT * 2, all);
    all.unwrap_or_else(|| panic!("not {came}: {:#?}\n{}", scene.ca.reports(), scene.db_3.daemon_log()))
}

fn running(host: &Host, text: &str) -> usize {
    host.run("ps", &["-eo", "args"]).stdout.lines().filter(|line| line.contains(text)).count()
}

#[track_caller]
fn comes_to_run(host: &Host, text: &str) {
    let there = clock::wait_for(clock::LIMIT, || (running(host, text) > 0).then_some(()));
    assert!(there.is_some(), "{text} never ran:\n{}", host.run("ps", &["-eo", "pid,ppid,args"]));
}

/// What a session starts to be there after its end; each leaves a process that is found by its number.
const STAYING: &[(&str, &str)] = &[
    ("setsid", "setsid sleep 9001 >/dev/null 2>&1 </dev/null &"),
    ("nohup", "nohup sleep 9002 >/dev/null 2>&1 </dev/null &"),
    ("a double fork", "(setsid sh -c '(sleep 9003 >/dev/null 2>&1 </dev/null &)' &)"),
    (
        "deaf to every signal that can be",
        "setsid sh -c 'trap \"\" TERM HUP INT QUIT USR1; while :; do sleep 9004; done' >/dev/null 2>&1 </dev/null &",
    ),
    ("stopped", "setsid sh -c 'kill -STOP $$; sleep 9005' >/dev/null 2>&1 </dev/null &"),
    ("a second terminal", "setsid -f script -qc 'sleep 9006' /dev/null >/dev/null 2>&1 </dev/null"),
    ("tmux", "tmux new -d 'sleep 9007' || setsid -f sleep 9007 >/dev/null 2>&1 </dev/null"),
    (
        "a bomb",
        "(ulimit -u 100; perl -MPOSIX -e '$SIG{TERM} = \"IGNORE\"; for (;;) { my $p = fork; \
         if (!defined $p) { select undef, undef, undef, 0.1 } elsif (!$p) { setsid } elsif (rand() < 0.2) { exit } }' \
         9008 >/dev/null 2>&1 </dev/null &)",
    ),
];

/// The same as root, and what it plants for later.
const OF_ROOT: &[(&str, &str)] = &[
    ("namespaces of its own", "setsid unshare --fork --pid --mount sleep 9011 >/dev/null 2>&1 </dev/null &"),
    ("another account", "setsid setpriv --reuid=2003 --clear-groups sleep 9012 >/dev/null 2>&1 </dev/null &"),
    ("cron", "echo '* * * * * root sleep 9' >/etc/cron.d/mark; sleep 9013 &"),
    ("at", "mkdir -p /var/spool/cron/atjobs; echo id >/var/spool/cron/atjobs/a0001; sleep 9014 &"),
    ("a unit", "echo '[Service]' >/etc/systemd/system/mark.service; sleep 9015 &"),
];

#[test]
fn whatever_a_session_does_to_stay_it_ends_with_its_emergency_and_the_log_proves_it() {
    let scene = begin();
    let host = &scene.db_3;
    host.install_tool("tmux");
    scene.incident("pd:PGR0VU2", 1, "payments-db");
    let holder = Holder::new(&scene.ana, &scene.ca);
    let ops = holder.open(HOST, None, Some(2));
    let root = holder.open(HOST, Some("pd:PGR0VU2"), None);
    assert_eq!((ops.account.as_str(), root.account.as_str()), ("ops", "root"));
    let ssh = |held: &Held, options: &[&str], line: &str| {
        let mut command = host.ssh_command(&held.login, &held.account, options);
        if !line.is_empty() {
            command.arg(line);
        }
        command
    };
    let mut live: Vec<Running> = Vec::new();

    // A connection each, one after the other: sshd refuses many that have not logged in yet.
    for (of, ways) in [(&ops, STAYING), (&root, OF_ROOT)] {
        for (_, line) in ways {
            let session = start(&mut ssh(of, &[], &format!("{line}\necho started; exec sleep 9100")));
            session.shows("started");
            live.push(session);
        }
    }
    // A shell on a terminal; a file transfer; a forward that no session goes with; a shared connection.
    let mut shell = start_on_a_terminal(&ssh(&ops, &["-tt"], ""));
    shell.types("trap '' HUP; setsid nohup sleep 9021 >/dev/null 2>&1 </dev/null &\n");
    live.push(shell);
    let mut transfer = Command::new("sftp");
    transfer.args(host.remote_shell(&ops.login).split(' ').skip(1)).arg(format!("ops@{HOST}"));
    let mut transfer = start(&mut transfer);
    transfer.types("pwd\n");
    transfer.shows("Remote working directory");
    let socket = |name: &str| scene.world.dir().join(name);
    let forward = format!("{}:127.0.0.1:{}", socket("forward").display(), host.port());
    live.push(start(&mut ssh(&ops, &["-N", "-L", &forward], "")));
    let shared = socket("shared").display().to_string();
    live.push(start(&mut ssh(&ops, &["-N", "-M", "-S", &shared], "")));
    let there = || (socket("forward").exists() && socket("shared").exists()).then_some(());
    clock::wait_for(clock::LIMIT, there).expect("both are up");
    // On that one a recorder is stopped, and another is killed: what they recorded goes on without them.
    live.push(start(&mut ssh(&ops, &["-S", &shared], "kill -STOP $PPID; exec sleep 9022")));
    let line = "setsid sleep 9023 >/dev/null 2>&1 </dev/null & sleep 0.2; kill -9 $PPID";
    fireaxe_tests::run(&mut ssh(&ops, &["-S", &shared], line)).fails();
    // A monitor that is killed takes its session with it at once.
    let monitor = "setsid sleep 9024 >/dev/null 2>&1 </dev/null & sleep 0.2; \
        p=$$; while [ $p -gt 1 ]; do n=$(ps -o ppid= -p $p); case $(ps -o args= -p $p) in sshd*) kill -9 $p;; esac; p=$n; done";
    let monitor = start(&mut ssh(&root, &[], monitor));

    let numbers = (9001..=9008).chain(9011..=9015).chain(9021..=9023);
    numbers.for_each(|number| comes_to_run(host, &number.to_string()));
    let left = clock::wait_for(clock::LIMIT, || {
        closed(&scene.ca, root.serial).into_iter().find(|closed| closed.why == EndReason::Left)
    });
    assert!(left.is_some_and(|left| left.swept.left == 0) && running(host, "sleep 9024") == 0);
    let _ = monitor.ends_by_itself();
    let staying = live.iter_mut().position(|client| !client.goes_on());
    assert_eq!(staying, None, "ended before its time");
    let came = [STAYING.len() + 4, OF_ROOT.len() + 1];
    let [of_ops, of_root] = [&ops, &root].map(|held| opened(&scene.ca, held.serial));
    assert_eq!([of_ops, of_root], came);

    // It is over.
    let version = [&ops, &root].map(|held| holder.close(held))[1];
    host.comes_to_have_list(version);
    let ends = [all_closed(&scene, &ops, came[0]), all_closed(&scene, &root, came[1])].concat();
    for end in &ends {
        assert!(end.swept.left == 0 && matches!(end.why, EndReason::Revoked | EndReason::Left), "{end:?}");
    }
    assert_eq!(ends.iter().filter(|end| end.why == EndReason::Left).count(), 1, "{ends:#?}");
    assert_eq!(running(host, " 90"), 0, "{}", host.run("ps", &["-eo", "pid,ppid,user,args"]));
    assert_eq!(running(host, "9100") + running(host, "/sftp-server"), 0);
    for client in live {
        assert_ne!(client.ends_by_itself().code, 0);
    }
    transfer.shows("Connection closed");
    for held in [&ops, &root] {
        assert_eq!(host.ssh(&held.login, &held.account, "true").code, 255);
    }
    // What was planted for later is told, and stays for people to look at.
    for kind in [PlantedKind::Cron, PlantedKind::At, PlantedKind::SystemdUnit] {
        assert!(ends.iter().any(|end| end.planted.iter().any(|planted| planted.kind == kind)), "{kind:?}");
    }
    let confirmed = clock::wait_for(clock::LIMIT, || {
        let confirmed = |report: &Report| matches!(report, Report::Confirmed(c) if c.version >= version);
        scene.ca.reports().iter().any(confirmed).then_some(())
    });
    assert!(confirmed.is_some(), "{}", host.daemon_log());
    scene.ca.verifies();
}

#[test]
fn a_host_that_loses_power_tells_the_ca_at_its_next_boot_which_sessions_that_ended() {
    let mut scene = begin();
    let held = Holder::new(&scene.ana, &scene.ca).open(HOST, None, Some(2));
    let mut ssh = scene.db_3.ssh_command(&held.login, "ops", &[]);
    let live = start(ssh.arg("echo mark-before; exec sleep 9031"));
    live.shows("mark-before");
    clock::wait_for(clock::LIMIT, || (opened(&scene.ca, held.serial) == 1).then_some(()))
        .expect("it is told");
    let before = scene.db_3.run("cat", &["/proc/sys/kernel/random/boot_id"]);
    scene.db_3.reboot();
    assert_ne!(scene.db_3.run("cat", &["/proc/sys/kernel/random/boot_id"]).ok(), before.ok());
    assert_eq!(live.ends_by_itself().code, 255);
    let ends = all_closed(&scene, &held, 1);
    assert_eq!(ends[0].why, EndReason::Restarted, "{ends:?}");

    // The next is told as any other, and the one before not again.
    assert_eq!(scene.db_3.ssh(&held.login, "ops", "id -un").ok(), "ops");
    let ends = all_closed(&scene, &held, 2);
    assert_eq!(ends[1].why, EndReason::Left, "{ends:?}");
    scene.db_3.stop_daemon();
    scene.db_3.daemon();
    assert_eq!(scene.db_3.ssh(&held.login, "ops", "id -un").ok(), "ops");
    let ends = all_closed(&scene, &held, 3);
    assert_eq!(ends.iter().filter(|end| end.why == EndReason::Restarted).count(), 1, "{ends:?}");
    assert_eq!(opened(&scene.ca, held.serial), 3);
    scene.ca.verifies();
}
