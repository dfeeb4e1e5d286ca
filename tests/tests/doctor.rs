//! What `fireaxe-host doctor` promises: a host as it was set up is fine, each thing that is not is named with
//! what to do, every other way in is found, and nothing in a home can mislead or stop it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use fireaxe_tests::scene::Scene;
use fireaxe_tests::{Host, clock};

/// Codes of what doctor finds, with the weight in front.
fn found(host: &Host) -> Vec<String> {
    let ran = host.run("/usr/bin/fireaxe-host", &["doctor", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran}"));
    // Nothing can be said of an sshd that would not start.
    assert!(answer["mode"] == "helper" || answer["mode"] == "neither", "{ran}");
    let findings = answer["findings"].as_array().unwrap();
    let grave = findings.iter().any(|finding| finding["weight"] != "note");
    assert_eq!(ran.code, i32::from(grave), "{ran}");
    let line =
        |f: &serde_json::Value| format!("{} {}", f["weight"].as_str().unwrap(), f["code"].as_str().unwrap());
    findings.iter().map(line).collect()
}

#[test]
fn a_host_as_it_was_set_up_is_fine_and_everything_else_is_said() {
    let scene = Scene::begin_with_helper();
    let host = &scene.db_3;
    let words = &[
        "-ec",
        "printf 'PasswordAuthentication no\\nKbdInteractiveAuthentication no\\n' >/etc/ssh/sshd_config.d/20-site.conf; kill -HUP $(cat /run/sshd.pid)",
    ];
    host.run("sh", words).ok();
    assert_eq!(found(host), [] as [&str; 0], "a host as it was set up");

    // What is not as it was set up, one after the other: what is put in its place, and what is said.
    let list = "/etc/ssh/fireaxe_revoked_keys";
    let drop_in = "/etc/ssh/sshd_config.d/10-fireaxe.conf";
    let site = "/etc/ssh/sshd_config.d/05-site.conf";
    let pam = fs::read_to_string(host.file("/etc/pam.d/sshd")).unwrap();
    let text = fs::read_to_string(host.file(drop_in)).unwrap();
    for (path, bytes, says) in [
        (list, String::new(), "wrong host.list_broken"),
        ("/etc/ssh/fireaxe_user_ca.pub", "x\n".into(), "wrong host.user_ca"),
        ("/etc/pam.d/sshd", pam.replace(" hook\n", " hook debug\n"), "wrong host.hook_missing"),
        (drop_in, text.replace("LogLevel VERBOSE", "LogLevel QUIET"), "wrong host.drop_in_changed"),
        (drop_in, text.replace("HostCertificate", "#"), "wrong host.certificate"),
        (site, "Match User ops\n    RevokedKeys none\n".into(), "wrong sshd.overruled"),
        (site, "AcceptEnv *\n".into(), "wrong sshd.accept_env"),
        (site, "PermitUserEnvironment yes\n".into(), "wrong sshd.user_environment"),
        (site, "UsePAM no\n".into(), "wrong sshd.no_pam"),
        (site, "HostKey /etc/ssh/other\n".into(), "wrong sshd.refuses"),
        (site, "PasswordAuthentication yes\n".into(), "standing standing.password"),
        (
            site,
            "Match User deploy\n    TrustedUserCAKeys /etc/ssh/x\nMatch all\n".into(),
            "standing standing.ca",
        ),
        (
            "/etc/ssh/ssh_known_hosts",
            "@cert-authority * ssh-ed25519 AAAA\n".into(),
            "standing standing.ca_line",
        ),
        ("/home/deploy/.ssh/authorized_keys", "ssh-ed25519 AAAA me\n".into(), "standing standing.key"),
        (
            "/root/.ssh/authorized_keys",
            "cert-authority ssh-ed25519 AAAA\n".into(),
            "standing standing.ca_line",
        ),
    ] {
        let before = fs::read(host.file(path)).ok();
        host.put(path, bytes);
        let said = found(host);
        assert!(said.iter().any(|code| code == says), "{path}: {says} is not in {said:?}");
        match before {
            Some(bytes) => host.put(path, bytes),
            None => fs::remove_file(host.file(path)).unwrap(),
        }
    }
    assert_eq!(found(host), [] as [&str; 0], "everything is back");

    // A CA that shows another certificate is not one that is away.
    let config = fs::read_to_string(host.file("/etc/fireaxe/host.toml")).unwrap();
    host.put(
        "/etc/fireaxe/host.toml",
        config.replace(&scene.ca.pin(), &format!("sha256:{}", "0".repeat(64))),
    );
    let said = found(host);
    assert!(said.contains(&"wrong ca.wrong_pin".to_owned()), "{said:?}");
    assert!(!said.iter().any(|code| code.ends_with("ca.unavailable")), "{said:?}");
    host.put("/etc/fireaxe/host.toml", config);

    // Somebody else can change a file, or a folder above one.
    let folder = host.file("/etc/ssh");
    chown(&folder, Some(2003), None).unwrap();
    assert!(found(host).contains(&"wrong host.owner".to_owned()));
    chown(&folder, Some(0), None).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(found(host).contains(&"wrong host.owner".to_owned()));
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();

    // A home that is set up to mislead: a pipe, a link to what has no end, one out of the home, a name that
    // moves the cursor. Nothing waits, nothing is followed, nothing unescaped is printed.
    let ssh = host.file("/home/deploy/.ssh");
    let keys = ssh.join("authorized_keys");
    fs::create_dir_all(&ssh).unwrap();
    for make in ["mkfifo", "zero", "shadow"] {
        match make {
            "mkfifo" => drop(std::process::Command::new("mkfifo").arg(&keys).status().unwrap()),
            "zero" => symlink("/dev/zero", &keys).unwrap(),
            _ => symlink("/etc/shadow", &keys).unwrap(),
        }
        let ran = host.run("/usr/bin/fireaxe-host", &["doctor", "--offline"]);
        ran.exits(1);
        ran.says("was not read");
        assert!(!ran.stderr.contains("19000"), "a line of shadow: {ran}");
        fs::remove_file(&keys).unwrap();
    }
    // The heartbeat says the same: the CA's view of the fleet has it.
    host.put("/home/deploy/.ssh/authorized_keys", "ssh-ed25519 AAAA \u{1b}[2J\n");
    let ran = host.run("/usr/bin/fireaxe-host", &["doctor"]);
    ran.exits(1);
    ran.says("1 keys in /home/deploy/.ssh/authorized_keys open deploy");
    assert!(!ran.stderr.contains('\u{1b}'));
}

#[test]
fn the_fleets_view_knows_soon_what_apply_has_done_and_says_neither_where_sshd_asks_nobody() {
    let mut scene = Scene::begin_with_helper();
    let name = "db-5.payments.prod";
    let mut host = scene.world.host(name, "payments-db");
    host.enrol(&scene.ca);
    host.start();
    host.daemon();
    let seen = |scene: &Scene| {
        let fleet: serde_json::Value = serde_json::from_str(scene.ca.cmd(&["fleet", "--json"]).ok()).unwrap();
        let hosts = fleet["hosts"].as_array().unwrap().clone();
        hosts.into_iter().find(|host| host["host"] == name).unwrap()
    };
    let comes = |scene: &Scene, mode: &str, drift: bool| {
        // Half a minute, and what a busy machine needs.
        let view = clock::wait_for(clock::LIMIT * 3, || {
            let host = seen(scene);
            (host["mode"] == mode && host.to_string().contains("host.no_drop_in") == drift).then_some(())
        });
        assert!(view.is_some(), "{mode} never came: {}", seen(scene));
    };
    comes(&scene, "neither", true);
    host.apply(&["ops", "root"]);
    // A round of the doctor's is ten minutes.
    comes(&scene, "helper", false);
    host.apply_with(&[], &["--stock"]).ok();
    comes(&scene, "stock", false);
    scene.ca.kill();
}
