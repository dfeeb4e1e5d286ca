//! A certificate for one host, on demand: plain `ssh` to a real sshd that shows a host certificate, with what is
//! held of a whole system.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::process::Command;

use fireaxe_ca::log::Reader;
use fireaxe_protocol::certificate::Body;
use fireaxe_protocol::log::Event;
use fireaxe_tests::scene::Scene;
use fireaxe_tests::{Ca, Host, Ran, run};

const DB_3: &str = "db-3.payments.prod";
const DB_4: &str = "db-4.payments.prod";

/// The host shows a certificate of its key that the CA's host key signs, for this name; clients go by that.
fn certify(ca: &Ca, host: &mut Host, name: &str) {
    let key = host.file("/etc/ssh/ssh_host_ed25519_key.pub");
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-h", "-I", "host", "-n", name, "-V", "-5m:+1h", "-s"]);
    run(sign.arg(ca.data().join("keys/host-ca")).arg(key)).ok();
    let shows =
        "HostKey /etc/ssh/ssh_host_ed25519_key\nHostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub\n";
    host.put("/etc/ssh/sshd_config.d/05-host.conf", shows);
    host.is_known_by(&ca.told("host_ca"));
    host.restart();
}

/// Serial and principals of every certificate in the log.
fn certificates(scene: &Scene) -> Vec<(u64, String)> {
    let reader = Reader::open(&scene.ca.data().join("log.sqlite")).unwrap();
    let mut found = Vec::new();
    reader
        .replay(|index, entry, _| {
            if let (Event::CertificateIssued { .. }, Some(body)) = (&entry.event, &entry.body) {
                let body = Body::read(body).unwrap();
                found.push((index, body.fields().unwrap().principals.join(" ")));
            }
        })
        .unwrap();
    found
}

/// The serial of the newest certificate for this principal.
fn newest(scene: &Scene, principal: &str) -> u64 {
    let all = certificates(scene);
    all.iter().rfind(|(_, p)| p == principal).unwrap_or_else(|| panic!("{principal}: {all:?}")).0
}

/// Ana holds the whole system; both hosts show certificates.
fn begin() -> Scene {
    let mut scene = Scene::begin();
    certify(&scene.ca, &mut scene.db_3, DB_3);
    certify(&scene.ca, &mut scene.db_4, DB_4);
    scene.ana.open(&["payments-db", "-s", "2", "-r", "both hosts"]);
    scene.ana.knows(&[&scene.db_3, &scene.db_4]);
    scene
}

fn logs_in(scene: &Scene, host: &str) -> Ran {
    scene.ana.ssh(&[host, "id -un"])
}

#[test]
fn a_login_uses_a_certificate_for_its_host_alone_and_the_next_one_the_same() {
    let scene = begin();
    let wide = newest(&scene, "ops:payments-db");
    assert_eq!(logs_in(&scene, DB_3).ok(), "ops");
    let narrow = newest(&scene, &format!("ops:{DB_3}"));
    scene.db_3.logs(&format!("(serial {narrow})"));
    assert!(!scene.db_3.log().contains(&format!("(serial {wide})")), "the wide one was shown to it");
    let made = certificates(&scene).len();
    assert_eq!(logs_in(&scene, DB_3).ok(), "ops");
    assert_eq!(certificates(&scene).len(), made, "an entry for a login that needed none");

    // What the host trusts of the system is not needed for it.
    scene.db_3.put("/etc/ssh/fireaxe_principals/ops", format!("ops:{DB_3}\n"));
    assert_eq!(logs_in(&scene, DB_3).ok(), "ops");
    // Neither a list of keys nor of what is held asks for one.
    assert_eq!(scene.ana.certificates().len(), 1);
    assert_eq!(scene.ana.asks(&["status"])["held"].as_array().unwrap().len(), 1);
    assert_eq!(certificates(&scene).len(), made);
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn a_certificate_for_one_host_opens_no_other() {
    let mut scene = begin();
    logs_in(&scene, DB_3).ok();
    let narrow = newest(&scene, &format!("ops:{DB_3}"));
    // db-4 takes the place of db-3: it shows a certificate of its own key with that name.
    certify(&scene.ca, &mut scene.db_4, DB_3);
    let db_4 = &scene.db_4;
    let known = scene.world.room("known").join("hosts");
    std::fs::write(&known, format!("@cert-authority {DB_3} {}\n", scene.ca.told("host_ca"))).unwrap();
    let (name, known) = (format!("HostKeyAlias={DB_3}"), format!("UserKnownHostsFile={}", known.display()));
    let mut ssh = db_4.ssh_command(&scene.ana.login(), "ops", &["-o", &name, "-o", &known]);
    let refused = run(ssh.arg("true"));
    refused.fails().says("Permission denied");
    db_4.logs(&format!("serial {narrow}"));
    assert!(!db_4.log().contains("Accepted publickey for ops"), "{}", db_4.log());
}

#[test]
fn a_ca_that_is_away_stops_nobody_and_the_wide_certificate_works() {
    let mut scene = begin();
    let wide = newest(&scene, "ops:payments-db");
    scene.ca.kill();
    assert_eq!(logs_in(&scene, DB_3).ok(), "ops");
    scene.db_3.logs(&format!("(serial {wide})"));
    assert_eq!(logs_in(&scene, DB_4).ok(), "ops");
}

#[test]
fn what_is_closed_opens_nothing_wide_or_narrow() {
    let scene = begin();
    logs_in(&scene, DB_3).ok();
    let (wide, narrow) = (newest(&scene, "ops:payments-db"), newest(&scene, &format!("ops:{DB_3}")));
    scene.ben.fireaxe(&["close", "EM-1"]).ok();
    for host in [&scene.db_3, &scene.db_4] {
        host.fireaxe(&["krl"]).ok();
    }
    // Ana's agent does not know yet: it shows what it has, and asks for what it will not get.
    logs_in(&scene, DB_3).fails();
    logs_in(&scene, DB_4).fails();
    scene.db_3.logs("revoked");
    let logs = (scene.db_3.log(), scene.db_4.log());
    assert!(logs.0.contains(&format!("serial {narrow}")) && logs.1.contains(&format!("serial {wide}")));
    assert!(!certificates(&scene).iter().any(|(_, p)| *p == format!("ops:{DB_4}")));
}

#[test]
fn whoever_the_agent_is_forwarded_to_gets_nothing_and_asks_for_nothing() {
    let scene = begin();
    scene.db_3.put("/root/.ssh/authorized_keys", scene.ana.key().public_line());
    let made = certificates(&scene).len();
    let config = scene.ana.home().join("plain");
    std::fs::write(&config, scene.db_3.client_config()).unwrap();
    let mut ssh = scene.ana.command("ssh");
    ssh.env("SSH_AUTH_SOCK", scene.ana.socket().unwrap()).arg("-F").arg(config);
    ssh.arg("-i").arg(scene.ana.key().path()).args(["-A", "-o", "IdentitiesOnly=yes"]);
    ssh.arg(format!("root@{DB_3}"));
    let onward = format!(
        "ssh-add -L; ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
         -p {} ops@{} id -un || echo refused",
        scene.db_4.port(),
        scene.db_4.address()
    );
    let ran = run(ssh.arg(onward));
    assert!(ran.ok().contains("The agent has no identities") && ran.stdout.contains("refused"), "{ran}");
    // Ana's own ssh asked for db-3, before it forwarded anything; the one on db-3 was given nothing for db-4.
    let of = |host: &str| certificates(&scene).iter().filter(|(_, p)| *p == format!("ops:{host}")).count();
    assert_eq!((of(DB_4), certificates(&scene).len()), (0, made + of(DB_3)));
    assert_eq!(logs_in(&scene, DB_4).ok(), "ops");
    assert_eq!(of(DB_4), 1, "by her own hand");
}
