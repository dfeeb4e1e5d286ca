//! Logins with certificates through `principals` and the PAM hook, on a real sshd, without a CA, since what is
//! shown is what a host does by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test; its functions too")]

use std::fs;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::host::EndReason;
use fireaxe_protocol::log::NoteSigner;
use fireaxe_tests::clock;
use fireaxe_tests::host::Login;
use fireaxe_tests::keys::KeyPair;
use fireaxe_tests::town::{Town, terms, unrecorded};

#[test]
fn a_certificate_opens_its_account_and_is_told_to_the_ca_with_its_end() {
    let mut town = Town::registered();
    let key = town.numbered(6, &unrecorded("ops"), 600);
    assert_eq!(town.ssh(&key, "ops", &[], "id -un").ok(), "ops");
    let closed = town.closed(6);
    assert_eq!((closed.why, closed.swept.left, town.opened(6)), (EndReason::Left, 0, 1));
    assert_eq!(closed.swept.killed, 0);
    // Another account, another CA.
    town.ssh(&key, "look", &[], "id -un").fails();
    town.ca = SigningKey::from_bytes(&[6; 32]);
    let other = town.numbered(7, &unrecorded("ops"), 600);
    town.ssh(&other, "ops", &[], "true").fails();
    let syslog = town.host.syslog();
    assert!(syslog.contains("considered verdict=admitted account=ops serial=6"), "{syslog}");
    assert!(syslog.contains("considered verdict=refused account=look serial=6"), "{syslog}");
}

#[test]
fn a_certificate_that_is_not_in_the_log_opens_nothing_although_the_ca_key_signed_it() {
    let mut town = Town::registered();
    town.log = NoteSigner::new(town.log.key().name(), SigningKey::from_bytes(&[8; 32])).unwrap();
    let key = town.numbered(6, &unrecorded("ops"), 600);
    town.ssh(&key, "ops", &[], "true").fails();
    assert!(town.host.syslog().contains("reason=login.receipt"), "{}", town.host.syslog());
}

#[test]
fn a_daemon_that_comes_back_finds_its_connections_and_those_that_came_meanwhile() {
    let mut town = Town::registered();
    let before = town.numbered(21, &unrecorded("ops"), 25);
    let first = town.starts(&before, "ops", &[], "setsid sleep 7021 & sleep 7022");
    town.comes_open(21);
    town.comes_to_run("sleep 7021");
    let left = town.numbered(23, &unrecorded("ops"), 3000);
    let gone = town.starts(&left, "ops", &[], "setsid sleep 7024 & sleep 7023");
    town.comes_open(23);
    town.comes_to_run("sleep 7024");
    town.kill_daemon();
    // Away: one leaves, one comes; one that must be recorded does not.
    drop(gone);
    let meanwhile = town.numbered(22, &unrecorded("ops"), 25);
    let second = town.starts(&meanwhile, "ops", &[], "setsid sleep 7031 & sleep 7032");
    town.comes_to_run("sleep 7031");
    let required = town.numbered(24, &terms("ops"), 3000);
    town.ssh(&required, "ops", &[], "true").fails();
    town.start_daemon();
    town.comes_open(22);
    assert_eq!(town.closed(23).why, EndReason::Left);
    for (serial, client) in [(21, first), (22, second)] {
        let closed = town.closed(serial);
        assert_eq!((closed.why, closed.swept.left, town.opened(serial)), (EndReason::Expired, 0, 1));
        assert_eq!(client.ends_by_itself().code, 255);
    }
    assert_eq!(town.running("sleep 70"), 0);
}

#[test]
fn a_daemon_that_hangs_refuses_what_must_be_recorded_and_keeps_nobody_else_out() {
    let mut town = Town::registered();
    town.signal_daemon("STOP");
    let standing = KeyPair::generate(&town.world.room("keys"), "standing");
    town.host.put("/root/.ssh/authorized_keys", standing.public_line());
    let plain = clock::now();
    assert_eq!(town.host.ssh(&Login::Key(standing.path().into()), "root", "id -un").ok(), "root");
    let plain = plain.elapsed();
    let required = town.numbered(21, &terms("ops"), 3000);
    let asked = clock::now();
    town.ssh(&required, "ops", &[], "true").fails();
    // Forwards alone are cut off as well: the connection does not stay behind the refusal.
    let tunnel = town.starts(&required, "ops", &["-N", "-o", "ExitOnForwardFailure=yes"], "");
    assert_eq!(tunnel.ends_by_itself().code, 255);
    let asked = asked.elapsed();
    assert!(asked > Duration::from_secs(3), "the hook waits 2 s each time: {asked:?}");
    assert!(
        asked < Duration::from_secs(4) + 4 * plain.max(Duration::from_secs(1)),
        "{asked:?} beside {plain:?}"
    );
    let other = town.numbered(22, &unrecorded("ops"), 3000);
    assert_eq!(town.ssh(&other, "ops", &[], "id -un").ok(), "ops");
    let session = town.starts(&other, "ops", &[], "sleep 7022");
    town.comes_to_run("sleep 7022");
    town.signal_daemon("CONT");
    town.comes_open(22);
    town.revoke(&[22]);
    assert_eq!(session.ends_by_itself().code, 255);
    assert!(town.host.syslog().contains("reason=login.daemon_away"), "{}", town.host.syslog());
}

#[test]
fn a_users_own_files_cannot_make_root_run_what_they_say() {
    let town = Town::registered();
    // Debian's pam_env reads this file of the user's, and PAM hands on what it says to programs that it runs as
    // root: the loader would load LD_PRELOAD; this makes it leave a file by which it can be seen.
    town.host.put("/home/ops/.pam_environment", "LD_DEBUG=libs\nLD_DEBUG_OUTPUT=/tmp/ld\n");
    let key = town.numbered(21, &unrecorded("ops"), 600);
    town.ssh(&key, "ops", &[], "true").ok();
    assert_eq!(town.closed(21).why, EndReason::Left);
    let left_by = |user: &str| town.host.run("find", &["/tmp", "-name", "ld.*", "-user", user]).stdout;
    assert!(!left_by("ops").is_empty(), "the file has no effect here: nothing is shown");
    assert_eq!(left_by("root"), "");
    let pam = fs::read_to_string(town.host.file("/etc/pam.d/sshd")).unwrap();
    assert!(pam.contains("pam_env.so") && pam.find("fireaxe-host hook") < pam.find("pam_env.so"), "{pam}");
}
