//! A revocation ends everything: the next login, and whatever came in before with that serial. The host proves it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use fireaxe_protocol::host::{EndReason, Report};
use fireaxe_tests::holder::Holder;
use fireaxe_tests::running::{start, start_on_a_terminal};
use fireaxe_tests::scene::Scene;
use fireaxe_tests::{Host, clock};

const HOST: &str = "db-3.payments.prod";

/// Root with forwarding: what the default policy gives nobody.
fn with_forwarding(policy: &str) -> String {
    let root = "extensions = [\"pty\"]\nttl = \"45m\"";
    assert!(policy.contains(root), "{policy}");
    policy.replacen(root, "extensions = [\"pty\", \"port-forwarding\"]\nttl = \"45m\"", 1).replacen(
        "extensions = [\"pty\"], ttl = \"45m\"",
        "ttl = \"45m\"",
        1,
    )
}

fn runs(host: &Host, what: &str) -> bool {
    host.run("pgrep", &["-f", what]).code == 0
}

#[test]
fn a_revocation_ends_whatever_came_in_with_the_certificate_and_the_log_proves_it() {
    let scene = Scene::begin_with_helper_and(|setting| setting.policy = with_forwarding(&setting.policy));
    let host = &scene.db_3;
    scene.incident("pd:PGR0VU2", 1, "payments-db");
    let holder = Holder::new(&scene.ana, &scene.ca);
    let held = holder.open(HOST, Some("pd:PGR0VU2"), None);
    assert_eq!(held.account, "root");
    let ssh = |options: &[&str]| host.ssh_command(&held.login, "root", options);

    // A shell on a terminal, a command, a file transfer, a forward that no session goes with, and a connection
    // that is shared; and something that stays behind.
    let mut shell = start_on_a_terminal(&ssh(&["-tt"]));
    shell.types("echo shell-$((40+2))\n");
    shell.shows("shell-42");
    let mut command = start(ssh(&[]).arg("echo command-$((40+2)); exec sleep 86401"));
    command.shows("command-42");
    shell.types("setsid nohup sleep 86402 >/dev/null 2>&1 </dev/null & echo away-$((40+2))\n");
    shell.shows("away-42");
    let config = scene.world.dir().join("hosts").join(HOST).join("client_config");
    let mut transfer = std::process::Command::new("sftp");
    transfer.arg("-F").arg(&config).args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]);
    let fireaxe_tests::host::Login::Files(key, certificate) = &held.login else { panic!() };
    transfer.arg("-i").arg(key).arg("-o").arg(format!("CertificateFile={}", certificate.display()));
    let mut transfer = start(transfer.arg(format!("root@{HOST}")));
    transfer.types("pwd\n");
    transfer.shows("Remote working directory");

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let line = format!("{free}:127.0.0.1:{}", host.port());
    let mut forward = start(&mut ssh(&["-N", "-o", "ExitOnForwardFailure=yes", "-L", &line]));
    let mut through = clock::wait_for(clock::LIMIT, || TcpStream::connect(("127.0.0.1", free)).ok()).unwrap();
    let mut banner = [0; 4];
    through.read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-");

    let path = scene.world.dir().join("shared").display().to_string();
    let mut master = start(&mut ssh(&["-N", "-M", "-S", &path]));
    let shared = || fireaxe_tests::run(ssh(&["-S", &path]).arg("echo shared"));
    let up = clock::wait_for(clock::LIMIT, || std::path::Path::new(&path).exists().then_some(()));
    assert!(up.is_some(), "{}", master.said());
    assert_eq!(shared().ok(), "shared");
    for live in [&mut shell, &mut command, &mut transfer, &mut forward, &mut master] {
        assert!(live.goes_on(), "{}", live.said());
    }
    assert!(runs(host, "sleep 8640[1]") && runs(host, "sleep 8640[2]"));

    // It is over.
    let version = holder.close(&held);
    for live in [shell, command, forward, master] {
        assert_ne!(live.ends_by_itself().code, 0);
    }
    // It would wait for its user to notice.
    transfer.shows("Connection closed");
    transfer.ends();
    host.comes_to_have_list(version);
    assert_eq!(shared().code, 255);
    assert_eq!(host.ssh(&held.login, "root", "true").code, 255);
    host.logs("revoked by file /etc/ssh/fireaxe_revoked_keys");
    let gone = clock::wait_for(clock::LIMIT, || {
        (!runs(host, "sleep 8640[1]") && !runs(host, "sleep 8640[2]")).then_some(())
    });
    assert!(gone.is_some(), "{}", host.run("ps", &["-ef"]));
    let rest = through.read_to_end(&mut Vec::new());
    assert!(rest.is_ok() || rest.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));

    // The host says so under its key, and the log holds together.
    let proved = clock::wait_for(clock::LIMIT, || {
        let reports = scene.ca.reports();
        let confirmed =
            reports.iter().any(|report| matches!(report, Report::Confirmed(c) if c.version >= version));
        confirmed.then_some(reports)
    });
    let reports = proved.unwrap_or_else(|| panic!("no confirmation:\n{}", host.daemon_log()));
    // Its self-tests came in with other certificates.
    let closed = reports.iter().filter_map(|report| match report {
        Report::SessionClosed(closed) if closed.serial == held.serial => Some(closed),
        _ => None,
    });
    let closed: Vec<_> = closed.collect();
    assert!(closed.len() >= 5, "{reports:#?}");
    for one in closed {
        assert_eq!((one.why, one.swept.left), (EndReason::Revoked, 0), "{one:?}");
    }
    scene.ca.verifies();

    // Others go on, and another emergency opens.
    let again = holder.open(HOST, Some("pd:PGR0VU2"), None);
    assert_eq!(host.ssh(&again.login, "root", "id -un").ok(), "root");
}
