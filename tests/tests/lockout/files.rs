//! Files of ours that are wrong, fetches that are cut off, a disk that is full.

use std::fs;
use std::os::unix::fs::symlink;

use fireaxe_tests::keys::Authority;
use fireaxe_tests::lists::Served;
use fireaxe_tests::world::OpenSsh;

use crate::ground::*;

pub(crate) fn every_wrong_ca_file_refuses_certificates_and_nothing_else(openssh: OpenSsh) {
    let Some(ground) = Ground::new(openssh) else { return };
    let other = Authority::new(&ground.world, "other");
    let own = ground.authority.key.public_line();
    let both = format!("{}\n{own}\n", other.key.public_line().trim_end());
    let table: [(&str, Instead, Doors); 12] = [
        ("missing", Instead::Nothing, KEYS_ONLY),
        ("empty", bytes(""), KEYS_ONLY),
        ("garbage", bytes([0u8; 500]), KEYS_ONLY),
        ("text", bytes("hello\n"), KEYS_ONLY),
        ("cut", bytes(&own[..40]), KEYS_ONLY),
        ("another CA's", bytes(other.key.public_line()), KEYS_ONLY),
        ("two CAs, ours second", bytes(both), GOOD),
        ("a line of garbage before ours", bytes(format!("x\n{own}")), KEYS_ONLY),
        ("a folder", Instead::Folder, KEYS_ONLY),
        ("a dangling link", Instead::Link("/nowhere"), KEYS_ONLY),
        ("readable by nobody", Instead::Mode(0), GOOD),
        ("another's file", Instead::Owner(2003), GOOD),
    ];
    for (state, instead, doors) in table {
        let swapped = Swapped::new(&ground.host, USER_CA, &instead);
        ground.are(doors, &format!("CA file {state}"));
        drop(swapped);
    }
    ground.are(GOOD, "CA file back");
}

pub(crate) fn every_wrong_revocation_list_is_seen_and_the_next_fetch_mends_it(openssh: OpenSsh) {
    let Some(ground) = Ground::new(openssh) else { return };
    let list = ground.lists.list(5, &[REVOKED]);
    let older = ground.lists.list(1, &[]);
    let mut table: Vec<(String, Instead, Doors)> = vec![
        ("missing".into(), Instead::Nothing, UNREADABLE),
        ("a folder".into(), Instead::Folder, UNREADABLE),
        ("garbage".into(), bytes([0xa5; 300]), UNREADABLE),
        ("a byte too long".into(), bytes([&list[..], b"x"].concat()), UNREADABLE),
        // sshd takes all of these for "nobody is revoked".
        ("empty".into(), bytes(""), REVOKES_NOBODY),
        ("a comment".into(), bytes("# none\n"), REVOKES_NOBODY),
        ("zeros".into(), bytes([0; 200]), REVOKES_NOBODY),
        ("cut to its header".into(), bytes(&list[..44]), REVOKES_NOBODY),
        ("older".into(), bytes(&older), REVOKES_NOBODY),
        ("readable by nobody".into(), Instead::Mode(0), GOOD),
        ("another's file".into(), Instead::Owner(2003), GOOD),
    ];
    for cut in [1, 8, 20, 43, 45, 46, list.len() / 2, list.len() - 1] {
        table.push((format!("cut to {cut} bytes"), bytes(&list[..cut]), UNREADABLE));
    }
    for (state, instead, doors) in table {
        let swapped = Swapped::new(&ground.host, LIST, &instead);
        ground.are(doors, &format!("list {state}"));
        if doors != GOOD && state != "older" {
            ground.host.fireaxe(&["doctor", "--offline"]).exits(1).says("the revocation list");
            ground.apply(&[]).exits(75);
        }
        if !matches!(instead, Instead::Folder) {
            ground.host.fireaxe(&["krl"]).ok();
            ground.are(GOOD, &format!("list {state}, then fetched"));
        }
        drop(swapped);
    }
    ground.are(GOOD, "list back");
}

pub(crate) fn no_list_that_a_ca_could_be_made_to_serve_gets_in_force(openssh: OpenSsh) {
    let Some(ground) = Ground::new(openssh) else { return };
    let lists = &ground.lists;
    let [older, newer] = [lists.list(1, &[]), lists.list(9, &[])];
    let served = |list: &[u8], note: String| Served { list: list.to_vec(), note, etag: String::new() };
    for (state, what) in [
        ("older", served(&older, lists.note(&older, 1))),
        ("with another key's note", served(&newer, lists.strange_note(&newer, 9))),
        ("with the note of another list", served(&newer, lists.note(&older, 9))),
        ("without a note", served(&newer, String::new())),
        ("with a garbled note", served(&newer, "!!!!".into())),
        ("cut to its header", served(&newer[..44], lists.note(&newer[..44], 9))),
        ("empty", served(b"", lists.note(b"", 9))),
        ("garbage", served(&[7; 90], lists.note(&[7; 90], 9))),
    ] {
        lists.set(what);
        ground.host.fireaxe(&["krl"]).exits(1);
        ground.are(GOOD, &format!("served {state}"));
    }
}

pub(crate) fn every_wrong_principals_file_refuses_that_accounts_certificates_and_nothing_else(
    openssh: OpenSsh,
) {
    let Some(ground) = Ground::new(openssh) else { return };
    let table: [(&str, Instead, Doors); 10] = [
        ("missing", Instead::Nothing, KEYS_ONLY),
        ("empty", bytes(""), KEYS_ONLY),
        ("garbage", bytes([0xff; 300]), KEYS_ONLY),
        ("of another account", bytes("root:payments-db\n"), KEYS_ONLY),
        ("with the line ends of another system", bytes("ops:payments-db\r\n"), KEYS_ONLY),
        ("a wildcard", bytes("*\nops:*\n"), KEYS_ONLY),
        ("a folder", Instead::Folder, KEYS_ONLY),
        ("a dangling link", Instead::Link("/nowhere"), KEYS_ONLY),
        ("readable by nobody", Instead::Mode(0), KEYS_ONLY),
        ("another's file", Instead::Owner(2003), KEYS_ONLY),
    ];
    for (state, instead, doors) in table {
        let swapped = Swapped::new(&ground.host, OPS, &instead);
        ground.are(doors, &format!("principals {state}"));
        drop(swapped);
    }
    ground.apply(&[]).ok();
    ground.are(GOOD, "principals back");
}

pub(crate) fn a_fetch_that_died_at_any_step_is_made_good_by_the_next(openssh: OpenSsh) {
    let Some(ground) = Ground::new(openssh) else { return };
    let lists = &ground.lists;
    let newer = lists.list(6, &[REVOKED, 7]);
    // Beside the old one: cut, whole, a link. Then in force and not remembered; remembered and not in force.
    let beside = "/etc/ssh/.fireaxe_revoked_keys.new";
    for left in [&newer[..30], &newer[..]] {
        ground.host.put(beside, left);
        ground.are(GOOD, "a new list lies beside");
        ground.host.fireaxe(&["krl"]).ok();
        ground.are(GOOD, "and the old one was fetched again");
    }
    let _ = fs::remove_file(ground.host.file(beside));
    symlink("/etc/passwd", ground.host.file(beside)).unwrap();
    lists.set_good(6, &[REVOKED]);
    ground.host.fireaxe(&["krl"]).ok();
    assert!(fs::read_to_string(ground.host.file("/etc/passwd")).unwrap().starts_with("root:"));
    ground.are(GOOD, "a link lay beside");
    let state = ground.host.file("/var/lib/fireaxe/krl.json");
    for text in ["", "{", "{\"schema\":\"x\"}"] {
        fs::write(&state, text).unwrap();
        ground.host.fireaxe(&["krl"]).ok();
        ground.are(GOOD, "what was remembered is damaged");
    }
    fs::remove_file(&state).unwrap();
    lists.set_good(5, &[]);
    ground.host.fireaxe(&["krl"]).exits(1);
    ground.are(GOOD, "nothing remembered, an older list served");
}

pub(crate) fn a_full_disk_changes_nothing_that_is_in_force(openssh: OpenSsh) {
    let Some(ground) = Ground::new(openssh) else { return };
    let fill = |folder: &str| {
        format!(
            "mount -t tmpfs -o size=128k,mode=755 tmpfs {folder}.full && cp -a {folder}/. {folder}.full/ && \
                 mount --move {folder}.full {folder} && (head -c 1M /dev/zero >{folder}/filler || true)"
        )
    };
    // The folder of sshd's files, then the one of the state.
    for folder in ["/etc/ssh", "/var/lib/fireaxe"] {
        ground.host.run("sh", &["-ec", &format!("mkdir {folder}.full && {}", fill(folder))]).ok();
        // On the disk that is full nothing new can get in force; beside it, it is, and is noted in memory.
        let revoked = if folder == "/etc/ssh" { &[REVOKED, 7][..] } else { &[REVOKED] };
        ground.lists.set_good(6, revoked);
        let fetched = ground.host.fireaxe(&["krl"]);
        if folder == "/etc/ssh" {
            fetched.fails();
        } else {
            fetched.ok();
        }
        // A file of ours that is to change cannot.
        let wider = ["--account", "look"];
        ground.apply(&wider).fails();
        if folder == "/etc/ssh" {
            ground.are(GOOD, "the disk is full");
        }
        ground.host.run("umount", &[folder]).ok();
        ground.lists.set_good(6, &[REVOKED]);
    }
    ground.host.fireaxe(&["krl"]).ok();
    ground.apply(&[]).ok();
    ground.are(GOOD, "room again");
}
