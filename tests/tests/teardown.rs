//! What ends with a certificate, on a real sshd, without a CA: everything that came in with it, whatever it did to
//! stay; and what it left behind in files is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test; its functions too")]

use std::path::PathBuf;
use std::process::Command;

use fireaxe_protocol::host::{Change, EndReason, PlantedKind, Report, SessionClosed};
use fireaxe_tests::clock;
use fireaxe_tests::host::Login;
use fireaxe_tests::running::{Running, start, start_on_a_terminal};
use fireaxe_tests::town::{Town, unrecorded};

/// Everything that tries to outlive its session: each with a name to be found by.
const ESCAPES: &str = "setsid sleep 7001 & nohup sleep 7002 >/dev/null 2>&1 & \
    (setsid sh -c 'sleep 7003 & sleep 7004 &' &) & sh -c 'trap \"\" TERM HUP; while :; do sleep 7005; done' & \
    setsid sh -c 'trap \"\" TERM HUP INT; setsid sh -c \"trap \\\"\\\" TERM HUP; while :; do sleep 7006; done\"' & \
    sleep 7007";

/// Sessions of all kinds, of one certificate, and what they leave running.
struct Sessions {
    exec: Running,
    tunnel: Running,
    master: Running,
    channel: Running,
    shell: Running,
    transfer: Running,
}

impl Sessions {
    const CONNECTIONS: usize = 5;

    fn of(town: &Town, key: &Login, serial: u64) -> Sessions {
        let socket = |name: &str| town.world.room("sockets").join(format!("{name}-{}", serial));
        let (forward, control) = (socket("forward"), socket("control"));
        let exec = town.starts(key, "ops", &[], ESCAPES);
        let forwarded = format!("{}:127.0.0.1:{}", forward.display(), town.host.port());
        let tunnel = town.starts(key, "ops", &["-N", "-L", &forwarded], "");
        let path = format!("ControlPath={}", control.display());
        let master = town.starts(key, "ops", &["-N", "-o", "ControlMaster=yes", "-o", &path], "");
        let there =
            |path: PathBuf| clock::wait_for(clock::LIMIT, || path.exists().then_some(())).expect("a socket");
        there(control);
        there(forward);
        let channel = town.starts(key, "ops", &["-o", &path], "sleep 7010");
        let mut shell = start_on_a_terminal(&town.host.ssh_command(key, "ops", &["-tt"]));
        shell.types("setsid sleep 7011 &\n");
        // Its server is a daemon with a session and a terminal of its own; so is what stands in for it.
        let multiplexer = match town.host.install_tool("tmux") {
            true => "tmux new -d 'sleep 7012'\n",
            false => "setsid -f script -qc 'sleep 7012' /dev/null >/dev/null 2>&1 </dev/null\n",
        };
        shell.types(multiplexer);
        let options = town.host.remote_shell(key);
        let mut transfer = Command::new("sftp");
        transfer.args(options.split(' ').skip(1)).arg(format!("ops@{}", town.host.name()));
        let mut transfer = start(&mut transfer);
        transfer.types("pwd\n");
        transfer.shows("Remote working directory");
        for n in [7001, 7002, 7003, 7004, 7005, 7006, 7007, 7010, 7011, 7012] {
            town.comes_to_run(&format!("sleep {n}"));
        }
        Sessions { exec, tunnel, master, channel, shell, transfer }
    }

    /// All clients were cut off, and nothing is left.
    #[track_caller]
    fn are_over(self, town: &Town, serial: u64, why: EndReason) {
        let ended = || {
            let closed: Vec<SessionClosed> = town
                .reports()
                .into_iter()
                .filter_map(|report| match report {
                    Report::SessionClosed(closed) if closed.serial == serial => Some(closed),
                    _ => None,
                })
                .collect();
            (closed.len() == Sessions::CONNECTIONS).then_some(closed)
        };
        let closed = clock::wait_for(clock::LIMIT * 3, ended)
            .unwrap_or_else(|| panic!("not all are closed: {:?}\n{}", town.reports(), town.host.syslog()));
        assert!(closed.iter().all(|closed| closed.why == why && closed.swept.left == 0), "{closed:?}");
        assert_eq!(town.running("sleep 70"), 0, "{}", town.host.run("ps", &["-eo", "pid,ppid,args"]));
        for client in [self.exec, self.tunnel, self.master, self.channel, self.shell] {
            assert_eq!(client.ends_by_itself().code, 255);
        }
        assert_eq!(town.running("/sftp-server"), 0);
        self.transfer.shows("Connection closed");
    }
}

/// Another connection of the same account, with what it left in the background.
fn bystander(town: &Town, serial: u64) -> Running {
    let key = town.numbered(serial, &unrecorded("ops"), 3000);
    let running = town.starts(&key, "ops", &[], "setsid sleep 8002 & sleep 8001");
    town.comes_to_run("sleep 8001");
    town.comes_to_run("sleep 8002");
    running
}

#[test]
fn at_its_end_everything_that_came_in_with_a_certificate_is_gone_and_nothing_else() {
    ends_all_and_nothing_else(&Town::registered());
}

#[test]
fn so_it_is_without_control_groups() {
    let mut town = Town::without_daemon();
    town.host.run("touch", &["/run/no-cgroups"]).ok();
    town.start_daemon();
    ends_all_and_nothing_else(&town);
}

fn ends_all_and_nothing_else(town: &Town) {
    let mut other = bystander(town, 20);
    // Long enough for all of them to come in on a busy machine.
    let key = town.numbered(21, &unrecorded("ops"), 40);
    let sessions = Sessions::of(town, &key, 21);
    sessions.are_over(town, 21, EndReason::Expired);
    assert!(other.goes_on());
    assert_eq!(town.running("sleep 800"), 3, "{}", town.host.run("ps", &["-eo", "pid,ppid,args"]));
    town.ssh(&key, "ops", &[], "true").fails();
}

#[test]
fn a_revocation_ends_what_is_there_and_is_confirmed_once_nothing_is() {
    let mut town = Town::registered();
    let mut other = bystander(&town, 20);
    let key = town.numbered(21, &unrecorded("ops"), 3000);
    let sessions = Sessions::of(&town, &key, 21);
    town.revoke(&[21]);
    let confirmed = || {
        town.reports().into_iter().find_map(|report| match report {
            Report::Confirmed(confirmed) if confirmed.version == 101 => Some(confirmed),
            _ => None,
        })
    };
    let confirmed = clock::wait_for(clock::LIMIT, confirmed).expect("confirmed");
    assert_eq!(confirmed.ended as usize, Sessions::CONNECTIONS);
    assert_eq!(town.running("sleep 70"), 0);
    sessions.are_over(&town, 21, EndReason::Revoked);
    assert!(other.goes_on());
    town.ssh(&key, "ops", &[], "true").fails();
}

/// Each forks for as long as it may, and now and then goes on as its child alone: whoever looks for them one by one
/// comes late. At most as many as a host bears.
const BOMB: &str = "ulimit -u 200; exec perl -MPOSIX -e '$SIG{TERM} = $SIG{HUP} = \"IGNORE\"; for (;;) { \
    my $p = fork; if (!defined $p) { select undef, undef, undef, 0.1 } elsif (!$p) { setsid } \
    elsif (rand() < 0.2) { exit } }' bomb-7014";

#[test]
fn a_fork_bomb_is_caught_and_told() {
    let mut town = Town::registered();
    if !town.host.has_control_groups() {
        eprintln!("SKIPPED: without control groups of its own a host does not promise it");
        return;
    }
    let mut other = bystander(&town, 20);
    let key = town.numbered(21, &unrecorded("ops"), 3000);
    let bomb = town.starts(&key, "ops", &[], BOMB);
    let many = || (town.running("bomb-7014") > 50).then_some(());
    clock::wait_for(clock::LIMIT, many).expect("it goes off");
    town.revoke(&[21]);
    let closed = town.closed(21);
    assert_eq!((closed.why, closed.swept.left), (EndReason::Revoked, 0), "{closed:?}");
    assert!(closed.swept.killed > 50, "{closed:?}");
    assert_eq!(town.running("bomb-7014"), 0);
    assert!(other.goes_on());
    let _ = bomb.ends_by_itself();
}

#[test]
fn killing_the_monitor_does_not_save_a_session() {
    let town = Town::registered();
    for (serial, account) in [(21, "ops"), (22, "root")] {
        let key = town.numbered(serial, &unrecorded(account), 3000);
        let session = town.starts(&key, account, &[], "setsid sleep 7021 & sleep 7022");
        town.comes_open(serial);
        town.comes_to_run("sleep 7021");
        let record = "f=$(ls /run/fireaxe/connections/*.json); sed 's/.*\"monitor\":{\"pid\":\\([0-9]*\\).*/\\1/' $f | xargs kill -9";
        town.host.run("sh", &["-c", record]).ok();
        let closed = town.closed(serial);
        assert_eq!((closed.why, closed.swept.left), (EndReason::Left, 0));
        assert_eq!(town.running("sleep 70"), 0);
        let _ = session.ends_by_itself();
    }
}

#[test]
fn a_server_that_a_root_session_started_again_is_left_and_told() {
    let town = Town::registered();
    let key = town.numbered(21, &unrecorded("root"), 3000);
    let sshd = town.host.sshd_path();
    // As on a host without a supervisor: root puts the server up again by hand.
    let line = format!(
        "setsid {sshd} -p 2299 -o PidFile=/run/other.pid >/dev/null 2>&1; sleep 1; setsid sleep 7021 >/dev/null 2>&1 &"
    );
    town.ssh(&key, "root", &[], &line).ok();
    let closed = town.closed(21);
    assert_eq!((closed.swept.left, town.running("sleep 7021")), (1, 0), "{closed:?}");
    assert_eq!(town.running("-p 2299"), 1);
}

#[test]
fn what_a_session_leaves_behind_is_told_and_stays() {
    let town = Town::registered();
    let key = town.numbered(21, &unrecorded("root"), 3000);
    // The kernel's times are told by the second: what was there before is not of the session's.
    let a_second_passes = || {
        let before = clock::unix() + 1;
        clock::wait_for(clock::LIMIT, || (clock::unix() > before).then_some(()));
    };
    a_second_passes();
    let line = "mkdir -p ~/.ssh && echo key >>~/.ssh/authorized_keys && echo x >/etc/cron.d/back && \
        cp /bin/true /tmp/sh && chmod 4755 /tmp/sh && echo '[Unit]' >/etc/systemd/system/back.service && \
        mkdir -p /etc/sudoers.d && echo x >/etc/sudoers.d/back && echo >>/etc/ssh/sshd_config && \
        echo x >/etc/profile.d/\"$(printf 'a\\033b')\".sh";
    town.ssh(&key, "root", &[], line).ok();
    let closed = town.closed(21);
    let found: Vec<(PlantedKind, &str, Change)> =
        closed.planted.iter().map(|p| (p.kind, p.path.as_str(), p.change)).collect();
    for expected in [
        (PlantedKind::AuthorizedKeys, "/root/.ssh/authorized_keys", Change::Appeared),
        (PlantedKind::LoginConfiguration, "/etc/ssh/sshd_config", Change::Changed),
        (PlantedKind::Cron, "/etc/cron.d/back", Change::Appeared),
        (PlantedKind::SystemdUnit, "/etc/systemd/system/back.service", Change::Appeared),
        (PlantedKind::Sudoers, "/etc/sudoers.d/back", Change::Appeared),
        (PlantedKind::Setuid, "/tmp/sh", Change::Appeared),
        (PlantedKind::Preload, "/etc/profile.d/a\\x1bb.sh", Change::Appeared),
    ] {
        assert!(found.contains(&expected), "{expected:?} in {found:?}");
    }
    assert_eq!(found.len(), 7, "{found:?}");
    assert!(town.host.file("/etc/cron.d/back").exists());
    // Nothing but a login: nothing is told.
    a_second_passes();
    let quiet = town.numbered(22, &unrecorded("ops"), 3000);
    town.ssh(&quiet, "ops", &[], "true").ok();
    assert_eq!(town.closed(22).planted, []);
}
