//! What `fireaxe-host files` promises: the tier accounts open as the drop-in says, everything else stays as
//! it was, and nothing is trusted that could not be revoked.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;

use fireaxe_tests::host::Login;
use fireaxe_tests::keys::{Authority, KeyPair, Says};
use fireaxe_tests::lists::Lists;
use fireaxe_tests::{Host, World};

const NAME: &str = "db-3.payments.prod";

fn setup() -> (World, Authority, Lists, Host) {
    let world = World::new();
    let authority = Authority::new(&world, "ca");
    let lists = Lists::serve(&authority);
    let host = world.host(NAME, "payments-db");
    lists.set_good(1, &[]);
    lists.configure(&host);
    (world, authority, lists, host)
}

#[test]
fn tier_accounts_open_by_system_and_by_host_and_other_accounts_are_as_before() {
    let (world, authority, lists, mut host) = setup();
    let before = host.effective("deploy");
    host.fireaxe(&["krl"]).ok();
    host.join(lists.user_ca(), &["look", "ops", "root"]);
    // Not one setting of an account that is not named has changed: the Match ends with the file.
    assert_eq!(host.effective("deploy"), before);
    // Nor of the connection before anybody has a name.
    assert_eq!(host.effective("nobody"), before);
    for account in ["look", "ops", "root"] {
        let now = host.effective(account);
        assert!(now.contains("trustedusercakeys /etc/ssh/fireaxe_user_ca.pub"), "{now}");
        assert!(now.contains("revokedkeys /etc/ssh/fireaxe_revoked_keys"), "{now}");
        assert!(now.contains("loglevel VERBOSE"), "{now}");
        let own = now.contains("authorizedkeysfile /etc/ssh/fireaxe_keys/%u");
        assert_eq!(own, account != "root", "{now}");
    }
    // What stands behind our drop-in and behind the Include still counts for everybody.
    assert!(host.effective("ops").contains("x11forwarding yes"));

    host.start();
    let key = KeyPair::generate(&world.room("keys"), "ana");
    for (principal, account) in [("ops:payments-db", "ops"), ("root:db-3.payments.prod", "root")] {
        authority.certify(&key, &Says::principal(principal));
        assert_eq!(host.ssh(&Login::certified(&key), account, "id -un").ok(), account);
        for other in ["look", "ops", "root", "deploy"].iter().filter(|other| **other != account) {
            host.ssh(&Login::certified(&key), other, "true").exits(255);
        }
    }
    for elsewhere in
        ["ops:ledger", "ops:db-4.payments.prod", "ops", "ops:payments-db.prod", "OPS:payments-db"]
    {
        authority.certify(&key, &Says::principal(elsewhere));
        host.ssh(&Login::certified(&key), "ops", "true").exits(255);
    }
}

#[test]
fn standing_keys_open_root_as_before_and_no_tier_account() {
    let (world, _authority, lists, mut host) = setup();
    host.fireaxe(&["krl"]).ok();
    host.join(lists.user_ca(), &["ops", "root"]);
    host.start();
    let key = KeyPair::generate(&world.room("keys"), "standing");
    for home in ["root", "home/ops", "home/deploy"] {
        host.put(&format!("/{home}/.ssh/authorized_keys"), key.public_line());
    }
    let login = Login::Key(key.path().into());
    host.ssh(&login, "root", "true").ok();
    host.ssh(&login, "deploy", "true").ok();
    host.ssh(&login, "ops", "true").exits(255);
    // Only root can leave one for a tier account.
    host.put("/etc/ssh/fireaxe_keys/ops", key.public_line());
    host.ssh(&login, "ops", "true").ok();
}

#[test]
fn nothing_is_trusted_before_there_is_a_list_that_revokes() {
    let (world, authority, lists, host) = setup();
    // A list that is good for sshd and not one of ours: nobody can see that it works.
    let without_canary = world.dir().join("krl");
    authority.krl(&without_canary, &[42]);
    let without_canary = fs::read(without_canary).unwrap();
    let drop_in = host.file("/etc/ssh/sshd_config.d/10-fireaxe.conf");
    host.put("/root/ca.pub", fs::read(lists.user_ca()).unwrap());
    let args =
        ["files", "--system", "payments-db", "--host", NAME, "--account", "ops", "--user-ca", "/root/ca.pub"];
    host.fireaxe(&args)
        .exits(75)
        .says("there is no usable revocation list")
        .says("run `fireaxe-host krl` first");
    assert!(!drop_in.exists());
    for bad in [&b""[..], b"SSHKRL\n\0", &[0; 200], &lists.list(1, &[])[..44], &without_canary] {
        host.put("/etc/ssh/fireaxe_revoked_keys", bad);
        host.fireaxe(&args).exits(75);
        assert!(!drop_in.exists());
    }
    host.fireaxe(&["krl"]).ok();
    host.fireaxe(&args).ok();
    assert!(drop_in.exists());
    host.fireaxe(&args).ok();
    // An account that is no longer named loses its principals.
    let other = args.map(|arg| if arg == "ops" { "look" } else { arg });
    host.fireaxe(&other).says("removed /etc/ssh/fireaxe_principals/ops");
    assert!(!host.file("/etc/ssh/fireaxe_principals/ops").exists());
    assert_eq!(
        fs::read_to_string(host.file("/etc/ssh/fireaxe_principals/look")).unwrap(),
        "look:payments-db\nlook:db-3.payments.prod\n"
    );
}

#[test]
fn another_ca_or_list_of_the_site_is_not_pushed_aside_silently() {
    let (_world, _authority, lists, host) = setup();
    host.fireaxe(&["krl"]).ok();
    host.put("/root/ca.pub", fs::read(lists.user_ca()).unwrap());
    let args =
        ["files", "--system", "payments-db", "--host", NAME, "--account", "ops", "--user-ca", "/root/ca.pub"];
    // A configuration that cannot be read may be an enrolled host's.
    let configured = fs::read(host.file("/etc/fireaxe/host.toml")).unwrap();
    host.put("/etc/fireaxe/host.toml", "damaged");
    host.fireaxe(&[&args[..], &["--replace"]].concat()).exits(78).says("/etc/fireaxe/host.toml");
    host.put("/etc/fireaxe/host.toml", configured);
    host.put("/etc/ssh/sshd_config.d/50-site.conf", "RevokedKeys /etc/ssh/site_revoked\n");
    host.fireaxe(&args).exits(78).says("50-site.conf line 1: another RevokedKeys");
    assert!(!host.file("/etc/ssh/sshd_config.d/10-fireaxe.conf").exists());
    host.fireaxe(&[&args[..], &["--replace"]].concat()).ok();
}

#[test]
fn an_sshd_that_refuses_the_result_gets_the_old_configuration_back() {
    let (_world, _authority, lists, host) = setup();
    host.fireaxe(&["krl"]).ok();
    host.put("/root/ca.pub", fs::read(lists.user_ca()).unwrap());
    let args =
        ["files", "--system", "payments-db", "--host", NAME, "--account", "ops", "--user-ca", "/root/ca.pub"];
    host.fireaxe(&[&args[..], &["--sshd", "/bin/false"]].concat()).exits(1).says("taken back");
    assert!(!host.file("/etc/ssh/sshd_config.d/10-fireaxe.conf").exists());
    host.fireaxe(&[&args[..], &["--sshd", "/bin/true"]].concat()).ok();
}

#[test]
fn names_that_a_path_or_a_principal_could_misread_are_refused() {
    let (_world, _authority, lists, host) = setup();
    host.fireaxe(&["krl"]).ok();
    host.put("/root/ca.pub", fs::read(lists.user_ca()).unwrap());
    for (system, name, account) in [
        ("../x", NAME, "ops"),
        ("payments-db,root", NAME, "ops"),
        ("payments-db", "db 3.prod", "ops"),
        ("payments-db", "db-*.prod", "ops"),
        ("payments-db", NAME, "../ops"),
        ("payments-db", NAME, "ops\nroot"),
        ("payments-db", NAME, "ops,root"),
        ("payments-db", NAME, "*"),
        ("payments-db", NAME, ""),
    ] {
        let args =
            ["files", "--system", system, "--host", name, "--account", account, "--user-ca", "/root/ca.pub"];
        host.fireaxe(&args).exits(2);
    }
    for (bad, line) in [("", "line 0"), ("ssh-rsa AAAA\n", "line 1"), ("\nssh-ed25519 AAAA x\n", "line 2")] {
        host.put("/root/bad.pub", bad);
        let args = [
            "files",
            "--system",
            "payments-db",
            "--host",
            NAME,
            "--account",
            "ops",
            "--user-ca",
            "/root/bad.pub",
        ];
        host.fireaxe(&args).exits(78).says(line);
    }
}
