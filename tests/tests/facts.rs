//! What the design rests on in OpenSSH, shown again on the sshd and ssh-keygen of this machine. When one of
//! these fails, OpenSSH has changed and a decision of ours must be thought through anew.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;
use std::process::Command;

use fireaxe_tests::host::Login;
use fireaxe_tests::keys::{Authority, KeyPair, Says};
use fireaxe_tests::{Host, World, run};

/// A host that trusts `authority`, with the principals file we would write, and nothing else of ours.
fn trusting(world: &World, authority: &Authority, drop_in: &str) -> Host {
    let mut host = world.host("db-3.payments.prod", "payments-db");
    host.put("/etc/ssh/ca.pub", authority.key.public_line());
    for account in ["look", "ops", "root"] {
        let lines = format!("{account}:payments-db\n{account}:db-3.payments.prod\n");
        host.put(&format!("/etc/ssh/principals/{account}"), lines);
    }
    host.put(
        "/etc/ssh/sshd_config.d/10-test.conf",
        format!(
            "TrustedUserCAKeys /etc/ssh/ca.pub\nAuthorizedPrincipalsFile /etc/ssh/principals/%u\nLogLevel VERBOSE\n{drop_in}"
        ),
    );
    host.start();
    host
}

fn setup(drop_in: &str) -> (World, Authority, KeyPair, Host) {
    let world = World::new();
    let authority = Authority::new(&world, "ca");
    let host = trusting(&world, &authority, drop_in);
    let key = KeyPair::generate(&world.room("keys"), "ana");
    (world, authority, key, host)
}

#[test]
fn a_certificate_opens_its_account_and_no_other() {
    let (world, authority, key, host) = setup("");
    authority.certify(&key, &Says::principal("ops:payments-db"));
    let login = Login::certified(&key);
    assert_eq!(host.ssh(&login, "ops", "id -un").ok(), "ops");
    host.ssh(&login, "look", "id").exits(255);
    host.ssh(&login, "root", "id").exits(255);
    host.logs("Certificate does not contain an authorized principal");
    // A plain key is nothing here. (ssh would find a certificate beside it by itself.)
    let plain = KeyPair::generate(&world.room("keys"), "ben");
    host.ssh(&Login::Key(plain.path().into()), "ops", "id").exits(255);
}

#[test]
fn an_empty_revocation_list_revokes_nothing_and_a_missing_one_locks_everybody_out() {
    let (world, authority, key, host) = setup("RevokedKeys /etc/ssh/revoked\n");
    authority.certify(&key, &Says::principal("ops:payments-db").serial(42));
    let login = Login::certified(&key);

    // sshd starts and `sshd -t` passes without the file; then no key at all is taken.
    host.run(&host.sshd_path(), &["-t"]).ok();
    host.ssh(&login, "ops", "true").exits(255);
    host.logs("Error checking authentication key");

    let krl = world.dir().join("krl");
    authority.krl(&krl, &[42]);
    let full = fs::read(&krl).unwrap();
    host.put("/etc/ssh/revoked", &full);
    host.ssh(&login, "ops", "true").exits(255);

    // The traps: each of these lets the revoked certificate in again.
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("cut after its header", full[..44].to_vec()),
        ("zeros", vec![0; full.len()]),
        ("a comment", b"# nothing\n".to_vec()),
    ] {
        host.put("/etc/ssh/revoked", &bytes);
        assert_eq!(host.ssh(&login, "ops", "echo in").code, 0, "{what}");
    }
    // Any other cut locks out.
    for length in [1, 8, 43, 45, full.len() - 1] {
        host.put("/etc/ssh/revoked", &full[..length]);
        host.ssh(&login, "ops", "true").exits(255);
    }
    // It is read for each login: no reload.
    authority.krl(&krl, &[41]);
    host.put("/etc/ssh/revoked", fs::read(&krl).unwrap());
    host.ssh(&login, "ops", "true").ok();
}

#[test]
fn ssh_keygen_answers_1_for_revoked_and_255_for_a_list_it_cannot_read() {
    let world = World::new();
    let authority = Authority::new(&world, "ca");
    let key = KeyPair::generate(&world.room("keys"), "ana");
    authority.certify(&key, &Says::principal("ops:payments-db").serial(42));
    let krl = world.dir().join("krl");
    let query = || run(Command::new("ssh-keygen").arg("-Qf").arg(&krl).arg(key.certificate_path()));
    authority.krl(&krl, &[42]);
    query().exits(1);
    authority.krl(&krl, &[41]);
    query().exits(0);
    fs::write(&krl, "garbage").unwrap();
    query().exits(255);
}

#[test]
fn a_name_with_a_comma_is_one_name_and_opens_nothing() {
    let (_world, authority, key, host) = setup("");
    // ssh-keygen splits it into two; an encoder of one's own does not.
    by_hand(&authority, &key, &["look:payments-db,ops:payments-db"]);
    for account in ["look", "ops", "root"] {
        host.ssh(&Login::certified(&key), account, "true").exits(255);
    }
    host.logs("Certificate does not contain an authorized principal");
    // The same encoder with a plain name is let in: it is the comma that was refused.
    by_hand(&authority, &key, &["ops:payments-db"]);
    host.ssh(&Login::certified(&key), "ops", "true").ok();
}

#[test]
fn a_certificate_without_principals_opens_nothing() {
    let (_world, authority, key, host) = setup("");
    authority.certify(&key, &Says::principal(""));
    for account in ["look", "ops", "root"] {
        host.ssh(&Login::certified(&key), account, "true").exits(255);
    }
    host.logs("Certificate does not contain an authorized principal");
}

#[test]
fn an_extension_that_sshd_does_not_know_is_let_through_and_such_an_option_is_not() {
    let (_world, authority, key, host) = setup("");
    let ours = "extension:receipt@fireaxe=c2sp.org/tlog-proof@v1 and two kilobytes more";
    authority.certify(&key, &Says::principal("ops:payments-db").with(ours));
    host.ssh(&Login::certified(&key), "ops", "true").ok();
    authority.certify(&key, &Says::principal("ops:payments-db").with("critical:receipt@fireaxe=x"));
    host.ssh(&Login::certified(&key), "ops", "true").exits(255);
    host.logs("Certificate critical option \"receipt@fireaxe\" is not supported");
}

#[test]
fn a_forced_command_runs_instead_of_what_is_asked_and_cleared_extensions_refuse_the_rest() {
    let (_world, authority, key, host) = setup("");
    let forced =
        Says::principal("look:payments-db").with("force-command=echo forced; id -un; test -t 0 || echo none");
    authority.certify(&key, &forced);
    let login = Login::certified(&key);
    assert_eq!(host.ssh(&login, "look", "echo asked").ok(), "forced\nlook\nnone");
    let terminal = host.ssh_with_terminal(&login, "look", "tty");
    assert!(terminal.stderr.contains("PTY allocation request failed"), "{terminal}");
    host.tunnel(&login, "look", host.port()).fails().says("administratively prohibited");
}

#[test]
fn a_forced_command_alone_still_lets_tunnels_through() {
    let (_world, authority, key, host) = setup("");
    let tunnels =
        Says::principal("look:payments-db").with("force-command=true").with("permit-port-forwarding");
    authority.certify(&key, &tunnels);
    // The tunnel's far end is sshd itself: its banner comes through.
    let tunnel = host.tunnel(&Login::certified(&key), "look", host.port());
    assert!(tunnel.stdout.starts_with("SSH-2.0-"), "{tunnel}");
}

#[test]
fn there_is_no_allowance_for_clocks_that_differ() {
    let (_world, authority, key, host) = setup("");
    let mut says = Says::principal("ops:payments-db");
    says.validity = "+30s:+10m".into();
    authority.certify(&key, &says);
    host.ssh(&Login::certified(&key), "ops", "true").exits(255);
    host.logs("Certificate invalid: not yet valid");
    says.validity = "-10m:-1s".into();
    authority.certify(&key, &says);
    host.ssh(&Login::certified(&key), "ops", "true").exits(255);
    host.logs("Certificate invalid: expired");
}

/// A certificate with exactly these principals, beside `key`.
fn by_hand(authority: &Authority, key: &KeyPair, principals: &[&str]) {
    use ssh_key::certificate::Builder;
    let ca = ssh_key::PrivateKey::read_openssh_file(authority.key.path()).unwrap();
    let subject = ssh_key::PublicKey::from_openssh(&key.public_line()).unwrap();
    let now = fireaxe_tests::clock::unix();
    let mut builder = Builder::new([7; 32], subject.key_data().clone(), now - 60, now + 600).unwrap();
    builder.serial(9).unwrap();
    builder.key_id("fireaxe/test").unwrap();
    for principal in principals {
        builder.valid_principal(*principal).unwrap();
    }
    let certificate = builder.sign(&ca).unwrap().to_openssh().unwrap();
    fs::write(key.certificate_path(), certificate + "\n").unwrap();
}
