//! What `fireaxe-host krl` promises: a list that is not good never reaches sshd, and the last good one stays.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fireaxe_tests::host::Login;
use fireaxe_tests::keys::{Authority, KeyPair, Says};
use fireaxe_tests::lists::{Lists, Served};
use fireaxe_tests::{Host, World};

fn setup() -> (World, Authority, Lists, Host) {
    let world = World::new();
    let authority = Authority::new(&world, "ca");
    let lists = Lists::serve(&authority);
    let host = world.host("db-3.payments.prod", "payments-db");
    lists.configure(&host);
    (world, authority, lists, host)
}

fn in_force(host: &Host) -> Vec<u8> {
    fs::read(host.file("/etc/ssh/fireaxe_revoked_keys")).unwrap_or_default()
}

#[test]
fn a_revoked_certificate_is_refused_at_the_next_login() {
    let (world, authority, lists, mut host) = setup();
    lists.set_good(5, &[]);
    host.fireaxe(&["krl"]).ok();
    host.join(lists.user_ca(), &["ops", "root"]);
    host.start();
    let key = KeyPair::generate(&world.room("keys"), "ana");
    authority.certify(&key, &Says::principal("ops:payments-db").serial(42));
    host.ssh(&Login::certified(&key), "ops", "true").ok();
    lists.set_good(6, &[42]);
    host.fireaxe(&["krl"]).ok();
    host.ssh(&Login::certified(&key), "ops", "true").exits(255);
    host.logs("revoked by file /etc/ssh/fireaxe_revoked_keys");
    authority.certify(&key, &Says::principal("ops:payments-db").serial(43));
    host.ssh(&Login::certified(&key), "ops", "true").ok();
}

#[test]
fn whatever_else_comes_the_last_good_list_stays() {
    let (_world, _authority, lists, host) = setup();
    lists.set_good(5, &[42]);
    host.fireaxe(&["krl"]).ok();
    let good = in_force(&host);
    assert_eq!(good, lists.list(5, &[42]));

    let next = lists.list(6, &[42, 43]);
    let served = |list: &[u8], note: String| Served { list: list.into(), note, etag: String::new() };
    let signed = |list: &[u8]| served(list, lists.note(list, 6));
    let older = lists.list(4, &[]);
    let bitmap = {
        // A section type that our lists never have, in a list that is signed.
        let mut bytes = next.clone();
        bytes.extend_from_slice(&[9, 0, 0, 0, 0]);
        bytes
    };
    let mut wrong = vec![
        ("empty", signed(b"")),
        ("the header alone", signed(&next[..44])),
        ("garbage", signed(b"<html>proxy error</html>")),
        ("zeros", signed(&vec![0; next.len()])),
        ("one byte more", signed(&[&next[..], b"\0"].concat())),
        ("an unknown section", signed(&bitmap)),
        ("older", served(&older, lists.note(&older, 4))),
        ("another key's note", served(&next, lists.strange_note(&next, 6))),
        ("no note", served(&next, String::new())),
        ("a note of other bytes", served(&next, lists.note(&good, 5))),
        ("a note of another version", served(&next, lists.note(&next, 7))),
        ("no canary", {
            let list = without_canary(&next);
            let note = lists.note(&list, 6);
            served(&list, note)
        }),
    ];
    // Cut at each byte of the header and at some of the rest; all of them are tried where it is cheap, in
    // the helper's own tests.
    let cuts: Vec<usize> = (1..48).step_by(9).chain([45, next.len() / 2, next.len() - 1]).collect();
    wrong.extend(cuts.into_iter().map(|length| ("cut", signed(&next[..length]))));

    for (what, served) in wrong {
        let length = served.list.len();
        lists.set(served);
        let ran = host.fireaxe(&["krl"]);
        assert!(ran.code == 1 && ran.stderr.contains("the last good one stays"), "{what}, {length}: {ran}");
        assert!(in_force(&host) == good, "{what}, {length} bytes: it was replaced");
        let left = fs::read_dir(host.file("/etc/ssh")).unwrap().flatten();
        assert!(!left.into_iter().any(|f| f.file_name().to_string_lossy().ends_with(".new")), "{what}");
    }
    lists.set(signed(&next));
    host.fireaxe(&["krl"]).ok();
    assert_eq!(in_force(&host), next);
}

#[test]
fn only_the_exact_answers_of_ssh_keygen_count() {
    let (_world, _authority, lists, host) = setup();
    lists.set_good(5, &[42]);
    host.fireaxe(&["krl"]).ok();
    let good = in_force(&host);
    lists.set_good(6, &[42, 43]);
    for (canary, key) in [(0, 0), (255, 0), (2, 0), (1, 1), (1, 255)] {
        let script = format!("#!/bin/sh\ncase $4 in *canary*) exit {canary};; *) exit {key};; esac\n");
        host.put("/root/bin/ssh-keygen", script);
        let fake = host.file("/root/bin/ssh-keygen");
        fs::set_permissions(fake, fs::Permissions::from_mode(0o755)).unwrap();
        let command = "PATH=/root/bin:$PATH exec /run/world/bin/fireaxe-host krl";
        let ran = host.run("sh", &["-c", command]);
        assert!(ran.code == 1 && ran.stderr.contains("ssh-keygen -Q"), "({canary}, {key}): {ran}");
        assert!(in_force(&host) == good, "({canary}, {key}): it was replaced");
    }
    // The same list with the real one.
    host.fireaxe(&["krl"]).ok();
    assert_ne!(in_force(&host), good);
}

#[test]
fn what_is_known_is_not_sent_again_unless_it_was_damaged() {
    let (_world, _authority, lists, host) = setup();
    lists.set_good(5, &[42]);
    host.fireaxe(&["krl"]).says("version 5 is in force");
    host.fireaxe(&["krl"]).ok();
    host.fireaxe(&["krl"]).says("version 5 is the newest");
    assert!(lists.requests().last().unwrap().contains("if-none-match: \"5\""));
    let status = host.fireaxe(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(status.ok()).unwrap();
    assert_eq!((&status["version"], &status["list_ok"]), (&5.into(), &true.into()));

    host.put("/etc/ssh/fireaxe_revoked_keys", "");
    host.fireaxe(&["status"]).exits(1).says("NOT GOOD");
    host.fireaxe(&["krl"]).says("version 5 is in force");
    assert!(!lists.requests().last().unwrap().contains("if-none-match"));
    host.fireaxe(&["status"]).ok();
}

#[test]
fn an_older_list_is_refused_even_when_the_memory_of_the_newer_one_is_lost() {
    let (_world, _authority, lists, host) = setup();
    lists.set_good(5, &[42]);
    host.fireaxe(&["krl"]).ok();
    fs::remove_file(host.file("/var/lib/fireaxe/krl.json")).unwrap();
    lists.set_good(4, &[]);
    host.fireaxe(&["krl"]).exits(1).says("version 4 is older than version 5");
    // And when the list itself is lost, by the memory.
    lists.set_good(5, &[42]);
    host.fireaxe(&["krl"]).ok();
    fs::remove_file(host.file("/etc/ssh/fireaxe_revoked_keys")).unwrap();
    lists.set_good(4, &[]);
    host.fireaxe(&["krl"]).exits(1).says("version 4 is older than version 5");
}

#[test]
fn a_ca_that_is_away_or_is_another_has_its_own_exit_code_and_changes_nothing() {
    let (_world, _authority, lists, host) = setup();
    lists.set_good(5, &[42]);
    host.fireaxe(&["krl"]).ok();
    let good = in_force(&host);
    let config = fs::read_to_string(host.file("/etc/fireaxe/host.toml")).unwrap();
    let line = |start: &str| config.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    for (from, to, code) in [
        (line("addr"), "addr = \"https://127.0.0.1:1\"".to_owned(), 69),
        (line("pin"), format!("pin = \"sha256:{}\"", "ab".repeat(32)), 78),
        (line("origin"), "origin = \"other/0123456789abcdef\"".to_owned(), 78),
        (line("pin"), "pinn = 1".to_owned(), 78),
    ] {
        host.put("/etc/fireaxe/host.toml", config.replace(&from, &to));
        host.fireaxe(&["krl"]).exits(code);
        assert_eq!(in_force(&host), good);
    }
}

/// The same list without its section for the canary CA: the last or the first of the two.
fn without_canary(list: &[u8]) -> Vec<u8> {
    let canary = fireaxe_protocol::krl::canary_ca().to_blob();
    let mut out = list[..44].to_vec();
    let mut rest = &list[44..];
    while let [kind, a, b, c, d, tail @ ..] = rest {
        let (section, next) = tail.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        if !section.windows(canary.len()).any(|window| window == canary) {
            out.push(*kind);
            out.extend_from_slice(&[*a, *b, *c, *d]);
            out.extend_from_slice(section);
        }
        rest = next;
    }
    assert!(out.len() < list.len() && out.len() > 44);
    out
}

#[test]
fn a_new_ca_has_a_list_that_hosts_take_and_its_log_verifies() {
    let world = World::new();
    let ana = world.engineer("ana");
    let roles = "\n[role]\npolicy_admin = { group = \"security\", quorum = 1 }\n";
    let people: [(&fireaxe_tests::Engineer, &[&str]); 1] =
        [(&ana, &["payments", "payments-oncall", "sre", "sre-leads", "security", "audit"])];
    let tail = format!("{}{roles}", fireaxe_tests::scene::COLLEAGUES);
    let bundle = world.bundle(&fireaxe_tests::scene::default_policy(), &people, &tail);
    let mut ca = world.ca(&bundle);
    ca.start();
    let mut host = world.host("db-3.payments.prod", "payments-db");
    host.join_ca(&ca, &["look", "ops", "root"]);
    host.fireaxe(&["krl"]).says("is the newest");
    host.fireaxe(&["status"]).says("confirmed by the CA");
    ca.cmd(&["incident", "put", "pd:PGR0VU2", "--severity", "1", "--system", "payments-db"]).ok();
    host.fireaxe(&["krl"]).ok();
    ca.kill();
    host.fireaxe(&["krl"]).exits(69).says("the list in force stays");
    ca.start();
    host.fireaxe(&["krl"]).ok();
    ca.kill();
    ca.cmd(&["log", "verify"]).ok();
}
