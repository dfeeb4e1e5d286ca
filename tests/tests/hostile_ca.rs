//! Somebody with keys of the CA mints a certificate that the log does not have: which hosts take it is what the
//! table in docs/THREATS.md says, row by row. And the real thing: a CA, its witnesses, and a host that asks for them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test; its functions too")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ed25519_dalek::SigningKey;
use fireaxe_protocol::log::{Cosigner, NoteSigner};
use fireaxe_tests::clock;
use fireaxe_tests::host::Login;
use fireaxe_tests::scene::{TIER_ACCOUNTS, default_policy};
use fireaxe_tests::town::{Town, unrecorded};
use fireaxe_tests::{Ca, Host, World, run};

fn witness(n: u8) -> Cosigner {
    Cosigner::new(&format!("witness.example/w{n}"), SigningKey::from_bytes(&[60 + n; 32])).unwrap()
}

/// The rows of the table in docs/THREATS.md under the heading for this test: what is held, and three verdicts.
fn table() -> Vec<(String, [String; 3])> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/THREATS.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("\n## Who can mint what\n").expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells =
        |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    rows.map(|row| match cells(row).as_slice() {
        [who, stock, helper, witnessed] => (who.clone(), [stock.clone(), helper.clone(), witnessed.clone()]),
        other => panic!("{other:?}"),
    })
    .collect()
}

/// A host that reads files only, and trusts the same CA.
fn stock(town: &Town) -> Host {
    let mut host = town.world.host("db-4.payments.prod", "payments-db");
    let list = fs::read(town.host.file("/etc/ssh/fireaxe_revoked_keys")).unwrap();
    host.put("/etc/ssh/fireaxe_revoked_keys", list);
    host.join(&town.host.file("/etc/ssh/fireaxe_user_ca.pub"), &["ops"]);
    host.start();
    host
}

#[test]
fn who_holds_which_keys_gets_into_which_hosts_is_what_the_documents_say() {
    let mut town = Town::registered();
    let stock = stock(&town);
    let asks = |town: &Town, whether: bool| {
        let config = fs::read_to_string(town.host.file("/etc/fireaxe/host.toml")).unwrap();
        let without: String = config
            .lines()
            .filter(|line| !line.starts_with("witness_policy"))
            .map(|l| format!("{l}\n"))
            .collect();
        let line = if whether { "witness_policy = \"/etc/fireaxe/witness-policy\"\n" } else { "" };
        town.host.put("/etc/fireaxe/host.toml", without + line);
    };
    let keys: String = (1..=3).map(|n| format!("witness w{n} {}\n", witness(n).key())).collect();
    town.host.put("/etc/fireaxe/witness-policy", format!("{keys}group two 2 w1 w2 w3\nquorum two\n"));

    let log = |seed: u8, town: &Town| {
        NoteSigner::new(town.log.key().name(), SigningKey::from_bytes(&[seed; 32])).unwrap()
    };
    let rows = table();
    let said: Vec<&str> = rows.iter().map(|(who, _)| who.as_str()).collect();
    assert_eq!(
        said,
        [
            "nothing: the CA is honest, two witnesses have seen its log",
            "nothing: the CA is honest, its witnesses are away",
            "the CA key",
            "the CA key and the log's key",
            "both, and the key of one witness of the two that are required",
            "both, and the keys of two witnesses",
        ]
    );
    // Of each row: the log's key that signed, and the witnesses whose keys cosigned.
    let made: [(u8, &[u8]); 6] = [(3, &[1, 3]), (3, &[]), (9, &[]), (3, &[]), (3, &[2]), (3, &[1, 2])];
    for (serial, ((who, expected), (key, by))) in (40..).zip(rows.iter().zip(made)) {
        town.log = log(key, &town);
        town.witnesses = by.iter().map(|n| witness(*n)).collect();
        let login = town.numbered(serial, &unrecorded("ops"), 600);
        let verdict = |in_with: fireaxe_tests::Ran| {
            if in_with.code == 0 && in_with.stdout.trim() == "ops" { "accepted" } else { "refused" }
        };
        let mut found = vec![verdict(stock.ssh(&login, "ops", "id -un"))];
        for whether in [false, true] {
            asks(&town, whether);
            found.push(verdict(town.ssh(&login, "ops", &[], "id -un")));
        }
        assert_eq!(found, expected, "{who}\n{}", town.host.syslog());
    }
    assert!(town.host.syslog().contains("reason=login.witnesses"), "{}", town.host.syslog());
    assert!(town.host.syslog().contains("reason=login.receipt"), "{}", town.host.syslog());

    // A file that is gone, or damaged, refuses what the quorum would have admitted.
    town.witnesses = vec![witness(1), witness(2)];
    let login = town.numbered(60, &unrecorded("ops"), 600);
    town.ssh(&login, "ops", &[], "id -un").ok();
    let good = fs::read(town.host.file("/etc/fireaxe/witness-policy")).unwrap();
    for damaged in [&b"quorum none"[..], &good[..good.len() - 8]] {
        town.host.put("/etc/fireaxe/witness-policy", damaged);
        town.ssh(&login, "ops", &[], "id -un").fails();
    }
    fs::remove_file(town.host.file("/etc/fireaxe/witness-policy")).unwrap();
    town.ssh(&login, "ops", &[], "id -un").fails();
    town.host.put("/etc/fireaxe/witness-policy", good);
    town.ssh(&login, "ops", &[], "id -un").ok();
}

/// A witness of its own process.
struct Site {
    child: Child,
    vkey: String,
    address: String,
}

impl Site {
    fn begin(world: &World, log: &str, n: u8) -> Site {
        let dir = world.room("witnesses").join(format!("w{n}"));
        let program = world.programs().ours("fireaxe-ca");
        let mut init = Command::new(&program);
        init.args(["witness", "init", "--name", &format!("witness.example/w{n}"), "--data"]).arg(&dir);
        let vkey = run(&mut init).ok().trim().to_owned();
        let mut serve = Command::new(&program);
        serve.args(["witness", "serve", "--listen", "127.0.0.1:0", "--log", log, "--data"]).arg(&dir);
        let mut child = serve.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .unwrap_or_else(|| panic!("{line}"));
        Site { vkey, address: address.to_owned(), child }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

fn policy(world: &World, sites: &[Site]) -> PathBuf {
    let mut text = String::new();
    for (n, site) in (1..).zip(sites) {
        text.push_str(&format!("witness w{n} {} {}\n", site.vkey, site.address));
    }
    text.push_str("group two 2 w1 w2 w3\nquorum two\n");
    let path = world.room("witnesses").join("policy");
    fs::write(&path, text).unwrap();
    path
}

fn opens(ana: &fireaxe_tests::Engineer, n: u8) -> Login {
    ana.open(&["payments-db", "-s", "2", "-r", &format!("emergency {n}")]);
    ana.login()
}

#[test]
fn a_host_that_asks_for_witnesses_takes_what_they_have_seen_and_a_ca_that_forgot_signs_nothing() {
    let world = World::new();
    let mut ana = world.engineer("ana");
    let (ben, cleo) = (world.engineer("ben"), world.engineer("cleo"));
    let people: [(&fireaxe_tests::Engineer, &[&str]); 3] = [
        (&ana, &["payments", "payments-oncall", "sre"]),
        (&ben, &["sre", "sre-leads", "security"]),
        (&cleo, &["security", "audit"]),
    ];
    let roles = "[role]\npolicy_admin = { group = \"security\", quorum = 2, presence = \"none\" }\n\
                 auditor = { group = \"audit\" }\nincident_commander = { group = \"sre-leads\" }\n";
    let bundle =
        world.bundle(&default_policy(), &people, &format!("{}{roles}", fireaxe_tests::scene::COLLEAGUES));
    let mut ca: Ca = world.ca(&bundle);
    let mut sites: Vec<Site> = (1..=3).map(|n| Site::begin(&world, &ca.told("log_key"), n)).collect();
    let file = policy(&world, &sites);
    ca.set_env("FIREAXE_WITNESS_POLICY", file.to_str().unwrap());
    ca.start();
    ana.enrol(&ca);
    ana.start_agent();
    // One of three is away: it makes no difference.
    sites.last_mut().unwrap().kill();

    let mut host = world.host("db-3.payments.prod", "payments-db");
    host.install();
    host.put("/root/policy", fs::read(&file).unwrap());
    let token = ca.cmd(&["host", "invite", "db-3.payments.prod", "--system", "payments-db"]);
    host.put("/root/token", token.ok().trim());
    let (url, pin) = (ca.url(), ca.pin());
    let enrol = [
        "enrol",
        "--addr",
        &url,
        "--pin",
        &pin,
        "--host",
        "db-3.payments.prod",
        "--token-file",
        "/root/token",
    ];
    let broken = [&enrol[..], &["--witness-policy", "/root/token"]].concat();
    host.run("/usr/bin/fireaxe-host", &broken).exits(78).says("witness policy");
    host.run("/usr/bin/fireaxe-host", &[&enrol[..], &["--witness-policy", "/root/policy"]].concat()).ok();
    host.daemon();
    host.start();
    host.apply(&TIER_ACCOUNTS);
    assert_eq!(host.status()["witnesses"], "at least 2 of 3 must have cosigned");

    let login = opens(&ana, 1);
    assert_eq!(host.ssh(&login, "ops", "id -un").ok(), "ops");

    // Without a quorum a certificate comes all the same, and this host says why it does not take it.
    sites.iter_mut().for_each(Site::kill);
    ana.fireaxe(&["close"]).ok();
    let login = opens(&ana, 2);
    host.ssh(&login, "ops", "true").fails();
    let refused = || host.syslog().contains("reason=login.witnesses").then_some(());
    clock::wait_for(clock::LIMIT, refused).unwrap_or_else(|| panic!("{}", host.syslog()));
    ca.verifies();
}

#[test]
fn a_ca_whose_log_was_set_back_refuses_to_start_and_says_what_to_do() {
    let world = World::new();
    let ana = world.engineer("ana");
    let people: [(&fireaxe_tests::Engineer, &[&str]); 1] =
        [(&ana, &["payments", "payments-oncall", "sre", "security"])];
    let roles = "[role]\npolicy_admin = { group = \"sre-leads\", quorum = 1, presence = \"none\" }\n";
    let bundle =
        world.bundle(&default_policy(), &people, &format!("{}{roles}", fireaxe_tests::scene::COLLEAGUES));
    let mut ca: Ca = world.ca(&bundle);
    let yesterday = world.room("yesterday").join("log.sqlite");
    fs::copy(ca.data().join("log.sqlite"), &yesterday).unwrap();
    let sites: Vec<Site> = (1..=3).map(|n| Site::begin(&world, &ca.told("log_key"), n)).collect();
    let file = policy(&world, &sites);
    ca.set_env("FIREAXE_WITNESS_POLICY", file.to_str().unwrap());
    ca.start();
    ca.cmd(&["incident", "put", "pd:PGR0VU2", "--severity", "1", "--system", "payments-db"]).ok();
    let newest = ca.entries().len();
    let seen = || {
        let head = fs::read_dir(world.room("witnesses").join("w1/logs")).unwrap().next()?.ok()?;
        fs::read_to_string(head.path()).ok()?.contains(&format!("\n{newest}\n")).then_some(())
    };
    clock::wait_for(clock::LIMIT, seen).expect("the newest head is witnessed");
    ca.kill();
    for name in ["log.sqlite-wal", "log.sqlite-shm"] {
        let _ = fs::remove_file(ca.data().join(name));
    }
    fs::copy(&yesterday, ca.data().join("log.sqlite")).unwrap();
    let mut serve = Command::new(world.programs().ours("fireaxe-ca"));
    serve
        .args(["serve", "--listen", "127.0.0.1:0", "--witness-policy"])
        .arg(&file)
        .arg("--data")
        .arg(ca.data());
    run(&mut serve)
        .exits(1)
        .says("witness.example/w")
        .says("nothing is signed")
        .says("next:  fireaxe-ca restore --from");
}
