//! What the tests' own hosts promise: they are like a Debian, one touches neither the machine nor another, and
//! one in a network can be cut off.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;
use std::path::Path;

use fireaxe_tests::host::Login;
use fireaxe_tests::keys::KeyPair;
use fireaxe_tests::{Host, OpenSsh, World, clock};

/// Lets a key into `ops` and gives it.
fn key_of_ops(world: &World, host: &Host) -> Login {
    let key = KeyPair::generate(&world.room(&format!("keys-{}", host.name())), "ops");
    host.put("/home/ops/.ssh/authorized_keys", key.public_line());
    Login::Key(key.path().into())
}

/// What a login goes through on this host.
fn a_login_is_as_on_debian(world: &World, mut host: Host) {
    // PAM's hook of the connection: the server package's own stack with one line more.
    host.put_program(
        "/root/hook",
        "#!/bin/sh\necho \"$PAM_TYPE $PAM_USER $PPID ${SSH_AUTH_INFO_0%% *}\" >>/var/log/hook\n\
         logger -t hook \"$PAM_TYPE\"\n",
    );
    let stack = fs::read_to_string(host.file("/etc/pam.d/sshd")).unwrap();
    assert!(stack.contains("session    required     pam_loginuid.so"), "{stack}");
    host.put(
        "/etc/pam.d/sshd",
        format!("{stack}\nsession required pam_exec.so type=open_session /root/hook\n"),
    );
    host.start();
    let login = key_of_ops(world, &host);
    let seen = host.ssh(
        &login,
        "ops",
        "cat /proc/self/loginuid /proc/self/sessionid; echo; tty; env; cat /proc/self/cgroup",
    );
    let seen = seen.ok();
    let mut lines = seen.lines();
    // One line: loginuid and session id end without a break.
    let audit = lines.next().unwrap();
    if Path::new("/proc/self/sessionid").exists() {
        assert!(audit.starts_with("2002") && !audit.ends_with("4294967295"), "{seen}");
    }
    assert!(seen.contains("LANG=C.UTF-8") && seen.contains("not a tty"), "{seen}");
    if host.has_control_groups() {
        assert!(seen.contains("\n0::/\n") || seen.ends_with("\n0::/"), "{seen}");
    }
    let hook = fs::read_to_string(host.file("/var/log/hook")).unwrap();
    assert!(hook.starts_with("open_session ops ") && hook.trim_end().ends_with(" publickey"), "{hook}");
    let logged = clock::wait_for(clock::LIMIT, || host.syslog().contains("hook: open_session").then_some(()));
    assert!(logged.is_some(), "{}", host.syslog());
    // A terminal of its own set, and sftp where the configuration names it.
    assert!(host.ssh_with_terminal(&login, "ops", "tty").ok().contains("/dev/pts/0"));
    let sftp = host.run("test", &["-x", "/usr/lib/openssh/sftp-server"]);
    sftp.ok();
}

#[test]
fn a_host_is_like_a_debian_and_its_login_runs_debians_stack() {
    let world = World::new();
    a_login_is_as_on_debian(&world, world.host("db-3.payments.prod", "payments-db"));
}

#[test]
fn so_is_one_with_the_openssh_of_the_backports() {
    let world = World::new();
    let Some(host) = world.host_with(OpenSsh::Backports, "db-3.payments.prod", "payments-db") else { return };
    assert!(host.run("sshd", &["-V"]).stderr.contains("OpenSSH_10."));
    a_login_is_as_on_debian(&world, host);
}

#[test]
fn nothing_of_the_machine_changes_and_a_reboot_keeps_the_disk_alone() {
    let before = ["/etc/passwd", "/etc/group"].map(|file| fs::read(file).unwrap());
    let world = World::new();
    let mut host = world.host("db-3.payments.prod", "payments-db");
    host.install();
    host.start();
    let login = key_of_ops(&world, &host);
    host.run("useradd", &["--system", "fireaxe-host"]).ok();
    host.run("test", &["-x", "/usr/libexec/fireaxe/session"]).ok();
    host.run("touch", &["/run/gone", "/var/lib/kept"]).ok();
    let mut staying =
        host.command("sh").args(["-c", "touch /var/lib/there && exec sleep 1000"]).spawn().unwrap();
    let there = clock::wait_for(clock::LIMIT, || host.file("/var/lib/there").exists().then_some(()));
    assert!(there.is_some());
    host.reboot();
    assert!(staying.wait().is_ok_and(|status| !status.success()));
    host.run("test", &["-e", "/run/gone"]).fails();
    host.run("test", &["-e", "/var/lib/kept"]).ok();
    host.run("id", &["fireaxe-host"]).ok();
    host.run("/usr/bin/fireaxe-host", &["--version"]).ok();
    assert_eq!(host.ssh(&login, "ops", "id -un").ok(), "ops");
    drop(host);
    assert_eq!(["/etc/passwd", "/etc/group"].map(|file| fs::read(file).unwrap()), before);
    assert!(!Path::new("/usr/libexec/fireaxe").exists() && !Path::new("/usr/bin/fireaxe-host").exists());
}

#[test]
fn a_host_of_a_network_has_an_address_of_its_own_and_can_be_cut_off() {
    let world = World::new();
    let network = world.network();
    let [mut one, mut two] =
        ["db-3.payments.prod", "db-4.payments.prod"].map(|name| network.host(name, "payments-db"));
    assert_ne!(one.address(), two.address());
    one.start();
    two.start();
    let (to_one, to_two) = (key_of_ops(&world, &one), key_of_ops(&world, &two));
    let addresses = one.ssh(&to_one, "ops", "echo $SSH_CONNECTION").ok().to_owned();
    assert_eq!(addresses.split(' ').next(), Some(network.people().to_string().as_str()));
    assert!(addresses.ends_with(&format!("{} 22", one.address())), "{addresses}");
    // The one reaches the other.
    let knock = format!("exec 3<>/dev/tcp/{}/22 && head -c 4 <&3", two.address());
    assert_eq!(one.run("bash", &["-c", &knock]).ok(), "SSH-");
    one.cut_off();
    let quick = ["-o", "ConnectTimeout=1"];
    fireaxe_tests::run(one.ssh_command(&to_one, "ops", &quick).arg("true")).exits(255);
    assert_eq!(two.ssh(&to_two, "ops", "id -un").ok(), "ops");
    one.run("timeout", &["1", "bash", "-c", &knock]).fails();
    one.reconnect();
    assert_eq!(one.ssh(&to_one, "ops", "id -un").ok(), "ops");
    one.reboot();
    assert_eq!(one.ssh(&to_one, "ops", "id -un").ok(), "ops");

    // From the CA alone: people still come in.
    let serving = std::net::TcpListener::bind((network.address(), 0)).unwrap();
    let (ca, port) = (network.address(), serving.local_addr().unwrap().port());
    let reach = format!("exec 3<>/dev/tcp/{ca}/{port}");
    one.run("bash", &["-c", &reach]).ok();
    one.cut_off_from_the_ca();
    one.run("timeout", &["1", "bash", "-c", &reach]).fails();
    assert_eq!(one.ssh(&to_one, "ops", "id -un").ok(), "ops");
    one.reconnect();
    one.run("bash", &["-c", &reach]).ok();
}
