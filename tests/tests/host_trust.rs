//! Whom a client takes for a host: whoever the host CA vouches for under that very name, or the person's own
//! files; and nobody on first use. A real ssh at real sshds, with nothing but what `fireaxe ssh-config` prints.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;

use fireaxe_tests::host::Host;
use fireaxe_tests::scene::Scene;

const CERTIFICATE: &str = "/etc/ssh/ssh_host_ed25519_key-cert.pub";
const KEY: &str = "/etc/ssh/ssh_host_ed25519_key";

/// sshd shows the certificate that enrolment left.
fn shows_certificate(host: &mut Host) {
    host.put("/etc/ssh/sshd_config.d/05-host-certificate.conf", format!("HostCertificate {CERTIFICATE}\n"));
    host.restart();
}

/// ana's configuration: the blocks of `ssh-config`, and an ssh that would take any new host, but for them.
fn configure(scene: &Scene, own_known_hosts: &str) {
    let mut config = scene.ana.fireaxe(&["ssh-config"]).ok().to_owned();
    assert!(
        config.contains("GlobalKnownHostsFile") && config.contains("StrictHostKeyChecking yes"),
        "{config}"
    );
    config.push_str("\nMatch all\n");
    let own = scene.ana.home().join("own_known_hosts");
    fs::write(&own, own_known_hosts).unwrap();
    for host in [&scene.db_3, &scene.db_4] {
        for line in host.client_config().lines() {
            match line.trim().split(' ').next() {
                Some("UserKnownHostsFile") => {
                    config.push_str(&format!("    UserKnownHostsFile {}\n", own.display()));
                }
                Some("GlobalKnownHostsFile") => {}
                Some("StrictHostKeyChecking") => config.push_str("    StrictHostKeyChecking accept-new\n"),
                _ => config.push_str(&format!("{line}\n")),
            }
        }
    }
    fs::write(scene.ana.home().join(".ssh/config"), config).unwrap();
}

#[test]
fn a_host_is_known_by_its_certificate_alone_and_nobody_is_on_first_use() {
    let mut scene = Scene::begin();
    scene.db_3.enrol(&scene.ca);
    shows_certificate(&mut scene.db_3);
    scene.incident("pd:PGR0VU2", 2, "payments-db");
    scene.ana.open(&["payments-db", "--incident", "pd:PGR0VU2", "-r", "primary refuses writes"]);
    configure(&scene, "");

    scene.ana.ssh(&["db-3.payments.prod", "true"]).ok();
    let vouched = scene.ana.ssh(&["-v", "db-3.payments.prod", "true"]);
    vouched.says("Host 'db-3.payments.prod' is known and matches the ED25519-CERT host certificate.");

    // One without a certificate: in OpenSSH's words, and not learnt.
    let unknown = scene.ana.ssh(&["db-4.payments.prod", "true"]);
    unknown
        .exits(255)
        .says("No ED25519 host key is known for db-4.payments.prod and you have requested strict");
    assert_eq!(fs::read_to_string(scene.ana.home().join("own_known_hosts")).unwrap(), "");

    // With the key and certificate of another host of the same system.
    let (real_key, own) =
        (fs::read(scene.db_4.file(KEY)).unwrap(), scene.db_4.file(KEY).with_extension("pub"));
    let public = fs::read_to_string(own).unwrap();
    for file in [KEY, CERTIFICATE] {
        scene.db_4.put(file, fs::read(scene.db_3.file(file)).unwrap());
    }
    shows_certificate(&mut scene.db_4);
    let stolen = scene.ana.ssh(&["db-4.payments.prod", "true"]);
    stolen.exits(255).says("name is not a listed principal");

    // What the person's own file knows goes on counting.
    fs::remove_file(scene.db_4.file(CERTIFICATE)).unwrap();
    fs::remove_file(scene.db_4.file("/etc/ssh/sshd_config.d/05-host-certificate.conf")).unwrap();
    scene.db_4.put(KEY, real_key);
    scene.db_4.restart();
    configure(&scene, &format!("db-4.payments.prod {public}"));
    scene.ana.ssh(&["db-4.payments.prod", "true"]).ok();
    scene.ana.ssh(&["db-3.payments.prod", "true"]).ok();
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn the_operator_invites_lists_and_retires_hosts() {
    let scene = Scene::begin();
    let invited = scene.ca.cmd(&["host", "invite", "db-3.payments.prod", "--for", "10m"]);
    let token = invited.ok();
    assert!(token.starts_with("fxj_") && token.len() == 47 && !token.contains('\n'), "{invited}");
    invited.says("may join as a host of payments-db once, within 10m");
    let (addr, pin) = (scene.ca.url(), scene.ca.pin());
    invited.says(&format!(
        "fireaxe-host enrol --addr {addr} --pin {pin} --host db-3.payments.prod --token-file -\n"
    ));
    let listed = scene.ca.cmd(&["host", "ls"]);
    assert!(listed.ok().starts_with("db-3.payments.prod  payments-db  invited, for"), "{listed}");
    [&scene.db_3, &scene.db_4].iter().for_each(|host| host.install());
    // Another host with it: nothing, before and after.
    scene.db_4.enrol_with(&scene.ca, token).fails().says("db-4.payments.prod");
    scene.db_3.enrol_with(&scene.ca, token).ok();
    scene.db_4.enrol_with(&scene.ca, token).fails().says("db-4.payments.prod");
    // The same host with the same token again: the same answer.
    scene.db_3.enrol_with(&scene.ca, token).ok();
    let listed = scene.ca.cmd(&["host", "ls", "--json"]);
    let told: serde_json::Value = serde_json::from_str(listed.ok()).unwrap();
    assert_eq!(told["enrolled"][0]["host"], "db-3.payments.prod", "{listed}");
    let log = fs::read(scene.ca.data().join("log.sqlite")).unwrap();
    let wal = fs::read(scene.ca.data().join("log.sqlite-wal")).unwrap_or_default();
    for bytes in [log, wal] {
        assert!(!bytes.windows(token.len()).any(|at| at == token.as_bytes()), "the token is in the log");
    }
    assert!(!scene.ca.serve_log().contains(token), "the token is in the CA's own log");
    scene.ca.cmd(&["host", "invite", "db-9.nowhere.prod"]).exits(1).says("no system of the policy in force");
    scene.ca.cmd(&["host", "retire", "db-3.payments.prod"]).says("is retired");
    scene
        .ca
        .cmd(&["host", "ls"])
        .says("no host is enrolled or invited")
        .says(&format!("next:  fireaxe-ca host invite NAME --data {}", scene.ca.data().display()));
    scene.ca.cmd(&["fleet", "--system", "payments-db"]).says("no host of payments-db is enrolled");
    scene.ca.cmd(&["log", "verify"]).ok();
}
