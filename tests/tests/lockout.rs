//! The lock-out suite: whatever is wrong with a file of ours, however a step was interrupted, a login that
//! should work works and one that should not does not.
//!
//! Five doors are tried in every state:
//!
//! | door | opens |
//! |---|---|
//! | `deploy` with a standing key | always: no tier uses the account |
//! | `root` with a standing key | always, but while sshd cannot read its revocation list: then sshd refuses every key of a named account, and the next `krl` mends it |
//! | `ops` with a certificate | while the CA is trusted, revocations can be read and principals are there |
//! | `ops` with a revoked certificate | never, but while the list on disk is one that revokes nobody, which only root's hand can put there: `doctor` says so and the next `krl` mends it |
//! | `deploy` with a certificate | never |

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;

use fireaxe_protocol::log::NoteSigner;
use fireaxe_tests::host::Login;
use fireaxe_tests::keys::{Authority, KeyPair, Says};
use fireaxe_tests::lists::{Lists, Served};
use fireaxe_tests::run::{Ran, end};
use fireaxe_tests::scene::Scene;
use fireaxe_tests::world::OpenSsh;
use fireaxe_tests::{Host, World, clock};

const NAME: &str = "db-3.payments.prod";
const LIST: &str = "/etc/ssh/fireaxe_revoked_keys";
const USER_CA: &str = "/etc/ssh/fireaxe_user_ca.pub";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/10-fireaxe.conf";
const OPS: &str = "/etc/ssh/fireaxe_principals/ops";
const ACCOUNTS: [&str; 2] = ["ops", "root"];
const REVOKED: u64 = 42;

/// Which of the five doors are open, in the table's order.
type Doors = [bool; 5];

/// As it should be.
const GOOD: Doors = [true, true, true, false, false];
/// No certificate opens anything; standing keys do.
const KEYS_ONLY: Doors = [true, true, false, false, false];
/// sshd cannot read its list: it refuses every key of the accounts that have one.
const UNREADABLE: Doors = [true, false, false, false, false];
/// The list on disk revokes nobody.
const REVOKES_NOBODY: Doors = [true, true, true, true, false];

struct Ground {
    world: World,
    authority: Authority,
    lists: Lists,
    host: Host,
    standing: KeyPair,
    good: KeyPair,
    revoked: KeyPair,
    strange: KeyPair,
}

impl Ground {
    /// A host that is set up from files, by a stand-in for a CA that can serve anything.
    fn new(openssh: OpenSsh) -> Option<Ground> {
        let mut ground = Ground::bare(openssh)?;
        ground.host.start();
        ground.apply(&[]).ok();
        assert_eq!(ground.doors(), GOOD);
        Some(ground)
    }

    /// The same before `apply`, sshd not started; none where that OpenSSH is not there.
    fn bare(openssh: OpenSsh) -> Option<Ground> {
        let world = World::new();
        let authority = Authority::new(&world, "ca");
        let lists = Lists::serve(&authority);
        let host = world.host_with(openssh, NAME, "payments-db")?;
        if openssh == OpenSsh::Backports {
            // Since 9.8 every refused login of a test counts against the next one.
            host.put("/etc/ssh/sshd_config.d/40-site.conf", "PerSourcePenalties no\n");
        }
        lists.set_good(5, &[REVOKED]);
        lists.configure(&host);
        enrolled(&host);
        host.fireaxe(&["krl"]).ok();

        let keys = world.room("keys");
        let [standing, good, revoked, strange] =
            ["standing", "good", "revoked", "strange"].map(|name| KeyPair::generate(&keys, name));
        for home in ["root", "home/deploy"] {
            host.put(&format!("/{home}/.ssh/authorized_keys"), standing.public_line());
        }
        authority.certify(&good, &Says::principal("ops:payments-db").serial(7));
        authority.certify(&revoked, &Says::principal("ops:payments-db").serial(REVOKED));
        authority.certify(&strange, &Says::principal("deploy:payments-db").serial(8));
        Some(Ground { world, authority, lists, host, standing, good, revoked, strange })
    }

    fn apply(&self, words: &[&str]) -> Ran {
        apply(&self.host, &[&["--stock", "--no-self-test"], words].concat())
    }

    fn doors(&self) -> Doors {
        let open = |login: Login, account: &str| self.host.ssh(&login, account, "true").code == 0;
        [
            open(Login::Key(self.standing.path().into()), "deploy"),
            open(Login::Key(self.standing.path().into()), "root"),
            open(Login::certified(&self.good), "ops"),
            open(Login::certified(&self.revoked), "ops"),
            open(Login::certified(&self.strange), "deploy"),
        ]
    }

    #[track_caller]
    fn are(&self, expected: Doors, state: &str) {
        assert_eq!(self.doors(), expected, "doors of: {state}");
    }
}

/// `apply` for the two accounts.
fn apply(host: &Host, words: &[&str]) -> Ran {
    let accounts = ACCOUNTS.iter().flat_map(|account| ["--account", account]);
    let args = ["apply"].into_iter().chain(accounts).chain(words.iter().copied());
    host.fireaxe(&args.collect::<Vec<_>>())
}

/// What enrolment would write, with keys of nobody.
fn enrolled(host: &Host) {
    let path = "/etc/fireaxe/host.toml";
    let text = fs::read_to_string(host.file(path)).unwrap();
    let origin =
        text.lines().find_map(|line| line.strip_prefix("origin = \"")).unwrap().trim_end_matches('"');
    let log = NoteSigner::new(origin, ed25519_dalek::SigningKey::from_bytes(&[4; 32])).unwrap();
    let host_ca = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILtzLwicX0I+FB2CSyefGykEJAmjS7Rmf8XldhuaXjBX";
    let more = format!(
        "[enrolled]\nhost = \"{NAME}\"\nsystem = \"payments-db\"\nlog_key = \"{}\"\nhost_ca = \"{host_ca}\"\n",
        log.key()
    );
    host.put(path, text + &more);
}

/// A file replaced for a while: by bytes, by nothing, by something that is no file.
enum Instead {
    Nothing,
    Bytes(Vec<u8>),
    Folder,
    Link(&'static str),
    Mode(u32),
    Owner(u32),
}

/// Puts it there; what was there comes back when the value is dropped.
struct Swapped {
    path: PathBuf,
    aside: PathBuf,
}

impl Swapped {
    fn new(host: &Host, path: &str, instead: &Instead) -> Swapped {
        let path = host.file(path);
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        match instead {
            Instead::Nothing => {}
            Instead::Bytes(bytes) => fs::write(&path, bytes).unwrap(),
            Instead::Folder => fs::create_dir(&path).unwrap(),
            Instead::Link(to) => symlink(to, &path).unwrap(),
            Instead::Mode(mode) => {
                fs::copy(&aside, &path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
            Instead::Owner(uid) => {
                fs::copy(&aside, &path).unwrap();
                chown(&path, Some(*uid), Some(*uid)).unwrap();
            }
        }
        Swapped { path, aside }
    }
}

impl Drop for Swapped {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.path);
        let _ = fs::rename(&self.aside, &self.path);
    }
}

fn bytes(text: impl AsRef<[u8]>) -> Instead {
    Instead::Bytes(text.as_ref().to_vec())
}

fn every_wrong_ca_file_refuses_certificates_and_nothing_else(openssh: OpenSsh) {
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

fn every_wrong_revocation_list_is_seen_and_the_next_fetch_mends_it(openssh: OpenSsh) {
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

fn no_list_that_a_ca_could_be_made_to_serve_gets_in_force(openssh: OpenSsh) {
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

fn every_wrong_principals_file_refuses_that_accounts_certificates_and_nothing_else(openssh: OpenSsh) {
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

fn whatever_overrules_the_drop_in_is_refused_and_everything_is_as_it_was(openssh: OpenSsh) {
    let Some(mut ground) = Ground::bare(openssh) else { return };
    let host = &mut ground.host;
    host.start();
    let main = fs::read_to_string(host.file("/etc/ssh/sshd_config")).unwrap();
    let sshd_d = "/etc/ssh/sshd_config.d";
    for (path, text, says) in [
        ("05-site.conf", "Match User ops\n    RevokedKeys /etc/site_revoked\n", "revokedkeys for ops"),
        (
            "05-site.conf",
            "Match all\n    AuthorizedPrincipalsFile /etc/x/%u\n",
            "authorizedprincipalsfile for ops",
        ),
        ("05-site.conf", "Match User root\n    LogLevel QUIET\n", "loglevel for root"),
        ("05-site.conf", "Match User *\n    AuthorizedKeysFile /tmp/%u\n", "authorizedkeysfile for ops"),
        (
            "05-site.conf",
            "Match Address 127.0.0.1\n    TrustedUserCAKeys /etc/x\n",
            "trustedusercakeys for ops",
        ),
    ] {
        let path = format!("{sshd_d}/{path}");
        host.put(&path, text);
        let with = as_it_is(host);
        apply(host, &["--stock", "--no-self-test", "--replace"])
            .exits(1)
            .says(says)
            .says("everything is as it was before");
        assert_eq!(as_it_is(host), with, "{text}");
        fs::remove_file(host.file(&path)).unwrap();
    }
    // What only looks like it: behind ours, or for somebody else.
    for (file, text) in [
        ("50-site.conf", "Match User ops\n    AuthorizedPrincipalsFile /etc/site/%u\n"),
        ("05-site.conf", "Match User deploy\n    LogLevel QUIET\n"),
    ] {
        host.put(&format!("{sshd_d}/{file}"), text);
        apply(host, &["--stock", "--no-self-test"]).ok();
        fs::remove_file(host.file(&format!("{sshd_d}/{file}"))).unwrap();
        fs::remove_file(host.file(DROP_IN)).unwrap();
    }
    // A Match before the Include, and no Include at all; where to listen may stand in no Match.
    let listen = host.file("/etc/ssh/sshd_config.d/00-listen.conf");
    let aside = listen.with_extension("aside");
    fs::rename(&listen, &aside).unwrap();
    let penalties = host.file("/etc/ssh/sshd_config.d/40-site.conf");
    let _ = fs::rename(&penalties, penalties.with_extension("aside"));
    for text in [
        "Match User ops\n    X11Forwarding no\nInclude /etc/ssh/sshd_config.d/*.conf\n".to_owned(),
        main.replace("Include", "#Include"),
    ] {
        host.put("/etc/ssh/sshd_config", &text);
        apply(host, &["--stock", "--no-self-test"]).exits(78).says("sshd_config");
        assert!(!host.file(DROP_IN).exists());
    }
    fs::rename(&aside, &listen).unwrap();
    let _ = fs::rename(penalties.with_extension("aside"), &penalties);
    // A configuration that sshd would not start with is not ours to reload.
    host.put("/etc/ssh/sshd_config", format!("{main}\nNoSuchThing yes\n"));
    apply(host, &["--stock", "--no-self-test"]).exits(1).says("NoSuchThing");
    host.put("/etc/ssh/sshd_config", &main);
    apply(host, &["--stock", "--no-self-test"]).ok();
    ground.are(GOOD, "after all of that");
}

/// Every file below `/etc/ssh` and `/etc/pam.d`, with its bytes.
fn as_it_is(host: &Host) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![host.file("/etc/ssh"), host.file("/etc/pam.d")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// A stand-in for sshd that is asked by `apply`: does what sshd does, and kills the asker at its `at`-th
/// question, before or after the answer.
fn deadly_sshd(host: &Host, at: usize, after: bool, kill: &str) -> &'static str {
    let real = host.sshd_path();
    let kill = format!("if [ \"$n\" = {at} ]; then {kill} kill -9 $PPID; fi");
    let (first, last) = if after { (":", kill.as_str()) } else { (kill.as_str(), ":") };
    host.put("/var/deadly/count", "0");
    host.put_program(
        "/var/deadly/sshd",
        &format!(
            "#!/bin/sh\nn=$(($(cat /var/deadly/count) + 1))\necho $n >/var/deadly/count\n{first}\n\
             {real} \"$@\"\nis=$?\n{last}\nexit $is\n"
        ),
    );
    "/var/deadly/sshd"
}

fn apply_that_is_killed_at_any_step_leaves_what_was_before_or_all_of_it(openssh: OpenSsh) {
    let Some(mut ground) = Ground::bare(openssh) else { return };
    ground.host.start();
    let before = as_it_is(&ground.host);
    let mut deaths = 0;
    for at in 1.. {
        let sshd = deadly_sshd(&ground.host, at, at % 2 == 0, "");
        let ran = apply(&ground.host, &["--stock", "--no-self-test", "--sshd", sshd]);
        if ran.code == 0 {
            break;
        }
        deaths += 1;
        // The timer sees that its applier is gone, or there was nothing to be put back.
        let same = clock::wait_for(clock::LIMIT, || {
            let now: Vec<_> = as_it_is(&ground.host)
                .into_iter()
                .filter(|(path, _)| !path.contains("/.") && !path.contains("fireaxe_principals"))
                .collect();
            (now == before && !ground.host.file("/var/lib/fireaxe/apply/restoring").exists()).then_some(())
        });
        assert!(same.is_some(), "killed at question {at}: {ran}");
        ground.are(KEYS_ONLY, &format!("killed at question {at}"));
    }
    assert!(deaths > 8, "only {deaths} questions were asked");
    ground.are(GOOD, "not killed any more");
}

fn a_reboot_in_the_middle_of_apply_ends_in_what_was_before(openssh: OpenSsh) {
    let Some(mut ground) = Ground::bare(openssh) else { return };
    ground.host.start();
    let before = as_it_is(&ground.host);
    // The fifth question and those after it come when files have changed.
    let mut in_the_middle = 0;
    for at in 5..12 {
        // The timer ends first, as in a reset: the host has no other process with these words.
        let timer = "for p in /proc/[0-9]*; do \
             if tr '\\0' ' ' <$p/cmdline | grep -q ' apply --restore-after '; then kill -9 ${p#/proc/}; fi; done;";
        let sshd = deadly_sshd(&ground.host, at, false, timer);
        apply(&ground.host, &["--stock", "--no-self-test", "--sshd", sshd]).fails();
        let armed = ground.host.file("/var/lib/fireaxe/apply/armed").exists();
        in_the_middle += usize::from(armed);
        ground.host.reboot();
        ground.host.fireaxe(&["remove", "--keep-state", "--config", "/nowhere"]).ok();
        assert!(!ground.host.file("/var/lib/fireaxe/apply/armed").exists());
        assert!(!ground.host.file(DROP_IN).exists());
        for (path, bytes) in &before {
            if !path.contains("/fireaxe_") {
                assert_eq!(&fs::read(path).unwrap(), bytes, "{path}");
            }
        }
        ground.host.put(USER_CA, fs::read(ground.lists.user_ca()).unwrap());
        ground.host.fireaxe(&["krl"]).ok();
    }
    assert!(in_the_middle > 1, "no death came while files were changed");
    ground.apply(&[]).ok();
    ground.are(GOOD, "applied after all");
}

fn a_fetch_that_died_at_any_step_is_made_good_by_the_next(openssh: OpenSsh) {
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

fn a_full_disk_changes_nothing_that_is_in_force(openssh: OpenSsh) {
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

fn a_timer_that_nobody_stops_puts_back_what_was_before(openssh: OpenSsh) {
    let Some(mut ground) = Ground::bare(openssh) else { return };
    ground.host.start();
    let before = as_it_is(&ground.host);
    // An sshd that hangs at the first question after the change: apply is there and does nothing.
    let real = ground.host.sshd_path();
    ground.host.put_program(
        "/var/deadly/sshd",
        &format!(
            "#!/bin/sh\n[ \"$1\" = -T ] && [ -e {DROP_IN} ] && [ ! -e /var/deadly/hung ] && \
             : >/var/deadly/hung && exec sleep 600\nexec {real} \"$@\"\n"
        ),
    );
    let accounts = ["--account", "ops", "--account", "root"];
    let mut command = ground.host.command("/run/world/bin/fireaxe-host");
    command.args(["apply", "--stock", "--no-self-test", "--sshd", "/var/deadly/sshd"]);
    let mut applies = command.args(["--confirm-within", "10s"]).args(accounts).spawn().unwrap();
    let changed =
        clock::wait_for(clock::LIMIT, || ground.host.file("/var/deadly/hung").exists().then_some(()));
    assert!(changed.is_some() && ground.host.file(DROP_IN).exists());
    let back = clock::wait_for(clock::LIMIT, || {
        (!ground.host.file(DROP_IN).exists()
            && !ground.host.file("/var/lib/fireaxe/apply/restoring").exists())
        .then_some(())
    });
    assert!(back.is_some(), "the old state never came back");
    end(&mut applies);
    let now: Vec<_> =
        as_it_is(&ground.host).into_iter().filter(|(path, _)| !path.contains("fireaxe_principals")).collect();
    assert_eq!(now, before);
    ground.are(KEYS_ONLY, "after the timer");
    ground.host.fireaxe(&["doctor", "--offline"]).exits(1).says("the last apply was taken back");
}

fn remove_leaves_nothing_and_apply_again_changes_nothing(openssh: OpenSsh) {
    let Some(mut ground) = Ground::bare(openssh) else { return };
    let host = &mut ground.host;
    // Before anything of ours: neither configuration nor list.
    let config = fs::read(host.file("/etc/fireaxe/host.toml")).unwrap();
    let list = fs::read(host.file(LIST)).unwrap();
    for path in ["/etc/fireaxe/host.toml", LIST, USER_CA] {
        fs::remove_file(host.file(path)).unwrap();
    }
    fs::remove_dir(host.file("/etc/fireaxe")).unwrap();
    fs::remove_dir_all(host.file("/var/lib/fireaxe")).unwrap();
    host.start();
    let before = everything(host);

    host.put("/etc/fireaxe/host.toml", &config);
    host.put(LIST, &list);
    host.put(USER_CA, fs::read(ground.lists.user_ca()).unwrap());
    let words = ["--stock", "--no-self-test", "--account", "emergency"];
    apply(host, &words).says("made account emergency");
    let applied = everything(host);
    assert!(applied.iter().any(|(path, _)| path.ends_with("10-fireaxe.conf")));
    apply(host, &words).ok();
    assert_eq!(everything(host), applied, "once more is the same");
    apply(host, &words).says("nothing to change");

    let sshd = host.sshd_path();
    host.fireaxe(&["remove", "--sshd", &sshd]).ok();
    assert_eq!(everything(host), before);
    assert!(!host.file("/home/emergency").exists());
    assert_eq!(host.run("test", &["-e", "/usr/libexec/fireaxe"]).code, 1);
    host.fireaxe(&["remove", "--sshd", &sshd]).ok();
    ground.are(KEYS_ONLY, "removed");
}

/// Every path below `/etc` and `/var/lib` with its bytes, but for what useradd and userdel keep for themselves.
fn everything(host: &Host) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![host.file("/etc"), host.file("/var/lib")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if name.ends_with("/etc/.pwd.lock")
                || ["passwd", "group", "shadow", "gshadow", "subuid", "subgid"].iter().any(|f| {
                    name.ends_with(&format!("/etc/{f}-")) || name.ends_with(&format!("/etc/{f}.lock"))
                })
            {
                continue;
            }
            if path.is_symlink() {
                found.push((name, fs::read_link(&path).unwrap().display().to_string().into()));
            } else if path.is_dir() {
                found.push((name, Vec::new()));
                folders.push(path);
            } else {
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Whether `root` and `deploy` get in with a standing key, and whether a certificate opens `ops`.
fn helper_doors(ground: &Ground) -> [bool; 3] {
    let [deploy, root, ops, ..] = ground.doors();
    [deploy, root, ops]
}

fn whatever_becomes_of_the_program_standing_keys_open_what_they_did(openssh: OpenSsh) {
    let Some(mut ground) = Ground::bare(openssh) else { return };
    ground.host.install();
    ground.host.start();
    let ran = ground.host.apply_with(&ACCOUNTS, &["--no-self-test"]);
    ran.ok();
    ran.says("NOT PROVED");
    let effective = ground.host.effective("ops");
    assert!(effective.contains("authorizedprincipalsfile none"), "{effective}");
    assert!(
        effective.contains("authorizedprincipalscommand /usr/bin/fireaxe-host principals"),
        "{effective}"
    );
    ground.host.run("/usr/bin/fireaxe-host", &["doctor", "--offline"]).says("by: helper");
    let certificates_not = [true, true, false];
    // These certificates are in no log: with files they would open `ops`, with the program they do not.
    assert_eq!(helper_doors(&ground), certificates_not, "as it should be, without a daemon");

    let broken = [
        ("missing", "umount /usr/bin/fireaxe-host && rm /usr/bin/fireaxe-host"),
        ("empty", ": >/usr/bin/fireaxe-host && chmod 755 /usr/bin/fireaxe-host"),
        ("garbage", "head -c 4096 /dev/urandom >/usr/bin/fireaxe-host"),
        ("not executable", "cp /bin/true /usr/bin/fireaxe-host && chmod 644 /usr/bin/fireaxe-host"),
        (
            "another program, which fails",
            "cp -f /bin/false /usr/bin/fireaxe-host && chmod 755 /usr/bin/fireaxe-host",
        ),
        ("anybody's to change", "cp -f /bin/true /usr/bin/fireaxe-host && chmod 777 /usr/bin/fireaxe-host"),
        ("another's", "chmod 755 /usr/bin/fireaxe-host && chown 2003 /usr/bin/fireaxe-host"),
    ];
    for (state, how) in broken {
        ground.host.run("sh", &["-ec", how]).ok();
        assert_eq!(helper_doors(&ground), certificates_not, "the program is {state}");
    }
    let gone = "rm /usr/bin/fireaxe-host; getent passwd fireaxe-host";
    ground.host.run("sh", &["-ec", gone]).ok();
    ground.host.install();
    // PAM's module is gone, too.
    assert_eq!(helper_doors(&ground), certificates_not, "installed again");
    ground.host.run("/usr/bin/fireaxe-host", &["remove"]).ok();
    let pam = fs::read_to_string(ground.host.file("/etc/pam.d/sshd")).unwrap();
    assert!(!pam.contains("fireaxe"), "{pam}");
}

fn the_two_ways_are_changed_whole_and_back(openssh: OpenSsh) {
    let Some(mut ground) = Ground::bare(openssh) else { return };
    ground.host.install();
    ground.host.start();
    let host = &ground.host;
    let before = as_it_is(host);
    for _ in 0..2 {
        host.apply_with(&ACCOUNTS, &["--no-self-test", "--stock"]).ok();
        ground.are(GOOD, "from files");
        assert!(!fs::read_to_string(host.file("/etc/pam.d/sshd")).unwrap().contains("fireaxe"));
        host.apply_with(&ACCOUNTS, &["--no-self-test"]).says("removed /etc/ssh/fireaxe_principals/ops");
        ground.are(KEYS_ONLY, "asking the program");
    }
    host.run("/usr/bin/fireaxe-host", &["remove", "--keep-state", "--config", "/nowhere"]).ok();
    let after: Vec<_> = as_it_is(host);
    let kept: Vec<_> = before.into_iter().filter(|(path, _)| !path.contains("/fireaxe_")).collect();
    assert_eq!(after, kept);
    // Without PAM there is nobody to tell of connections: this way is not taken.
    host.put("/etc/ssh/sshd_config.d/01-site.conf", "UsePAM no\n");
    host.put(USER_CA, fs::read(ground.lists.user_ca()).unwrap());
    host.run("/usr/bin/fireaxe-host", &["krl"]).ok();
    host.apply_with(&ACCOUNTS, &["--no-self-test"]).exits(1).says("UsePAM no");
    assert!(!host.file(DROP_IN).exists());
    host.apply_with(&ACCOUNTS, &["--no-self-test", "--stock"]).ok();
}

#[test]
fn a_daemon_that_is_gone_or_hangs_lets_standing_keys_in_and_no_session_that_must_be_recorded() {
    let mut scene = Scene::begin_with_helper_and(|setting| {
        setting.policy = setting.policy.replace("[tier.fix]\n", "[tier.fix]\nrecord = \"required\"\n");
    });
    let standing = KeyPair::generate(&scene.world.room("keys"), "standing");
    for home in ["root", "home/deploy"] {
        scene.db_3.put(&format!("/{home}/.ssh/authorized_keys"), standing.public_line());
    }
    scene.ana.open(&[NAME, "-s", "2", "-r", "primary refuses writes"]);
    let key = Login::Key(standing.path().into());
    let doors = |scene: &Scene| {
        let open = |login: &Login, account: &str| scene.db_3.ssh(login, account, "true").code == 0;
        [open(&key, "deploy"), open(&key, "root"), open(&scene.ana.login(), "ops")]
    };
    assert_eq!(doors(&scene), [true, true, true], "as it should be");
    // Applied again: nothing changes, and the logins are tried again.
    let again = scene.db_3.apply_with(&["look", "ops", "root"], &[]);
    again.ok();
    again.says("nothing to change").says("logged in to ops with a certificate of a minute");

    scene.db_3.hang_daemon();
    assert_eq!(doors(&scene), [true, true, false], "the daemon hangs");
    scene.db_3.resume_daemon();
    assert_eq!(doors(&scene), [true, true, true], "it goes on");
    scene.db_3.kill_daemon();
    assert_eq!(doors(&scene), [true, true, false], "the daemon is gone");
    // The certificate of a self-test is not recorded: it opens the account, and apply says who is missing.
    scene.db_3.apply_with(&["look", "ops", "root"], &[]).says("the daemon does not answer");
    scene.db_3.daemon();
    assert_eq!(doors(&scene), [true, true, true], "the daemon is back");

    // sshd would refuse the account whatever the certificate says.
    scene.db_3.put("/etc/ssh/sshd_config.d/05-site.conf", "DenyUsers ops\n");
    let before = as_it_is(&scene.db_3);
    scene.db_3.apply_with(&["ops", "root"], &[]).exits(1).says("the self-test login to ops failed");
    assert_eq!(as_it_is(&scene.db_3), before);
    fs::remove_file(scene.db_3.file("/etc/ssh/sshd_config.d/05-site.conf")).unwrap();
    // Without the CA there is no certificate to try.
    scene.ca.kill();
    let before = as_it_is(&scene.db_3);
    scene.db_3.apply_with(&["ops", "root"], &[]).exits(69).says("everything is as it was before");
    assert_eq!(as_it_is(&scene.db_3), before);
    scene.db_3.restart();
    assert_eq!(doors(&scene), [true, true, true], "the CA is gone, which no login needs");
}

/// Each of these on both versions of OpenSSH.
macro_rules! on_both {
    ($($test:ident)*) => {
        mod stock {
            $(#[test] fn $test() { super::$test(super::OpenSsh::Stock) })*
        }
        mod backports {
            $(#[test] fn $test() { super::$test(super::OpenSsh::Backports) })*
        }
    };
}

on_both! {
    every_wrong_ca_file_refuses_certificates_and_nothing_else
    every_wrong_revocation_list_is_seen_and_the_next_fetch_mends_it
    no_list_that_a_ca_could_be_made_to_serve_gets_in_force
    every_wrong_principals_file_refuses_that_accounts_certificates_and_nothing_else
    whatever_overrules_the_drop_in_is_refused_and_everything_is_as_it_was
    apply_that_is_killed_at_any_step_leaves_what_was_before_or_all_of_it
    a_reboot_in_the_middle_of_apply_ends_in_what_was_before
    a_fetch_that_died_at_any_step_is_made_good_by_the_next
    a_full_disk_changes_nothing_that_is_in_force
    a_timer_that_nobody_stops_puts_back_what_was_before
    remove_leaves_nothing_and_apply_again_changes_nothing
    whatever_becomes_of_the_program_standing_keys_open_what_they_did
    the_two_ways_are_changed_whole_and_back
}
