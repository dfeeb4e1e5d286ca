//! sshd asks the program: whatever becomes of it and of the daemon, standing keys open what they did.

use std::fs;

use fireaxe_tests::clock;
use fireaxe_tests::host::Login;
use fireaxe_tests::keys::KeyPair;
use fireaxe_tests::scene::Scene;
use fireaxe_tests::world::OpenSsh;

use crate::ground::*;

/// Whether `root` and `deploy` get in with a standing key, and whether a certificate opens `ops`.
fn helper_doors(ground: &Ground) -> [bool; 3] {
    let [deploy, root, ops, ..] = ground.doors();
    [deploy, root, ops]
}

pub(crate) fn whatever_becomes_of_the_program_standing_keys_open_what_they_did(openssh: OpenSsh) {
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
    // One that runs, and says no at the hook: PAM takes its word, whoever comes.
    let says_no = "printf '#!/bin/sh\\n[ \"$1\" = --version ]\\n' >/usr/bin/fireaxe-host";
    let says_no = format!("{says_no} && chown 0 /usr/bin/fireaxe-host && chmod 755 /usr/bin/fireaxe-host");
    ground.host.run("sh", &["-ec", &says_no]).ok();
    assert_eq!(helper_doors(&ground), [false; 3], "the hook says no");
    let gone = "rm /usr/bin/fireaxe-host; getent passwd fireaxe-host";
    ground.host.run("sh", &["-ec", gone]).ok();
    ground.host.install();
    // PAM's module is gone, too.
    assert_eq!(helper_doors(&ground), certificates_not, "installed again");
    ground.host.run("/usr/bin/fireaxe-host", &["remove"]).ok();
    let pam = fs::read_to_string(ground.host.file("/etc/pam.d/sshd")).unwrap();
    assert!(!pam.contains("fireaxe"), "{pam}");
}

pub(crate) fn the_two_ways_are_changed_whole_and_back(openssh: OpenSsh) {
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

/// Makes it a host that has nothing of ours; gives what is needed to begin again: configuration and list.
fn taken_clean(ground: &Ground) -> [Vec<u8>; 2] {
    let host = &ground.host;
    let kept = ["/etc/fireaxe/host.toml", LIST].map(|path| fs::read(host.file(path)).unwrap());
    for path in ["/etc/fireaxe/host.toml", LIST, USER_CA] {
        fs::remove_file(host.file(path)).unwrap();
    }
    fs::remove_dir(host.file("/etc/fireaxe")).unwrap();
    fs::remove_dir_all(host.file("/var/lib/fireaxe")).unwrap();
    host.run("rm", &["-r", "/usr/libexec/fireaxe"]).ok();
    kept
}

pub(crate) fn remove_takes_everything_that_asking_the_program_needed(openssh: OpenSsh) {
    let Some(mut ground) = Ground::bare(openssh) else { return };
    ground.host.install();
    let [config, list] = taken_clean(&ground);
    ground.host.start();
    let host = &ground.host;
    let before = everything(host);

    host.put("/etc/fireaxe/host.toml", config);
    host.put(LIST, list);
    host.put(USER_CA, fs::read(ground.lists.user_ca()).unwrap());
    host.apply_with(&["ops", "emergency"], &["--no-self-test"]).says("made account emergency");
    let there = |what: &str| everything(host).iter().any(|(path, _)| path.contains(what));
    assert!(there("/usr/libexec/fireaxe/session "), "the recorder's name");
    let shell = host.run("getent", &["passwd", "emergency"]).stdout;
    assert!(shell.ends_with(":/usr/libexec/fireaxe/session\n"), "{shell}");
    assert_eq!(host.run("getent", &["passwd", "fireaxe-host"]).code, 0);
    // What a write that was cut off left beside.
    host.put("/etc/ssh/.fireaxe_revoked_keys.new", "cut");

    host.run("/usr/bin/fireaxe-host", &["remove"]).ok();
    let after = everything(host);
    let differs: Vec<_> = after.iter().filter(|it| !before.contains(it)).map(|(path, _)| path).collect();
    let lost: Vec<_> = before.iter().filter(|it| !after.contains(it)).map(|(path, _)| path).collect();
    assert!(differs.is_empty() && lost.is_empty(), "new or changed {differs:?}, gone or changed {lost:?}");
    ground.are(KEYS_ONLY, "removed");
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

/// Stands where the program is: stops or kills itself when sshd asks who may come in, while a file says so.
const MOODY: &str = "#!/bin/sh
if [ \"$1\" = principals ]; then
    if [ -e /tmp/hang ]; then echo $$ >>/tmp/hung; kill -STOP $$; fi
    if [ -e /tmp/kill ]; then kill -KILL $$; fi
fi
exec /usr/bin/fireaxe-host.real \"$@\"
";

#[test]
fn a_program_that_is_killed_or_hangs_at_a_login_keeps_certificates_waiting_and_nobody_else() {
    let mut scene = Scene::begin_with_helper();
    let standing = KeyPair::generate(&scene.world.room("keys"), "standing");
    for home in ["root", "home/deploy"] {
        scene.db_3.put(&format!("/{home}/.ssh/authorized_keys"), standing.public_line());
    }
    scene.db_3.put("/root/moody", MOODY);
    let replaced = "cp /usr/bin/fireaxe-host /usr/bin/fireaxe-host.real && umount -l /usr/bin/fireaxe-host && \
                    cp /root/moody /usr/bin/fireaxe-host && chmod 755 /usr/bin/fireaxe-host";
    scene.db_3.run("sh", &["-ec", replaced]).ok();
    scene.ana.open(&[NAME, "-s", "2", "-r", "primary refuses writes"]);
    let key = Login::Key(standing.path().into());
    let certificate = scene.ana.login();
    let open = |scene: &Scene, login: &Login, account: &str| scene.db_3.ssh(login, account, "true").code == 0;
    let keys = |scene: &Scene| [open(scene, &key, "deploy"), open(scene, &key, "root")];
    assert!(open(&scene, &certificate, "ops"), "as it should be");

    // Killed: refused, and the next login is as before.
    scene.db_3.put("/tmp/kill", "");
    assert!(!open(&scene, &certificate, "ops"), "the program is killed");
    assert_eq!(keys(&scene), [true, true], "the program is killed");
    fs::remove_file(scene.db_3.file("/tmp/kill")).unwrap();
    assert!(open(&scene, &certificate, "ops"), "it is not killed any more");

    // Stopped: sshd waits for it, and for it alone; when it goes on, so does the same login.
    let hung = scene.db_3.file("/tmp/hung");
    let stops = |scene: &Scene| {
        scene.db_3.put("/tmp/hang", "");
        let mut waits = scene.db_3.ssh_command(&certificate, "ops", &[]).arg("true").spawn().unwrap();
        let stopped =
            clock::wait_for(clock::LIMIT, || fs::read(&hung).is_ok_and(|pid| !pid.is_empty()).then_some(()));
        assert!(stopped.is_some(), "sshd never asked");
        assert_eq!(keys(scene), [true, true], "the program hangs");
        assert!(waits.try_wait().unwrap().is_none(), "sshd did not wait for the program");
        waits
    };
    let goes_on = |scene: &Scene| {
        fs::remove_file(scene.db_3.file("/tmp/hang")).unwrap();
        scene.db_3.run("sh", &["-c", "kill -CONT $(cat /tmp/hung); rm /tmp/hung"]).ok();
    };
    let mut waits = stops(&scene);
    goes_on(&scene);
    let ended = clock::wait_for(clock::LIMIT, || waits.try_wait().unwrap());
    assert!(ended.is_some_and(|status| status.success()), "the login that waited: {ended:?}");

    // For good: sshd gives the login up by its own LoginGraceTime, and goes on.
    scene.db_3.put("/etc/ssh/sshd_config.d/30-site.conf", "LoginGraceTime 12\n");
    scene.db_3.restart();
    let mut waits = stops(&scene);
    let ended = clock::wait_for(clock::LIMIT, || waits.try_wait().unwrap());
    assert!(ended.is_some_and(|status| status.code() == Some(255)), "sshd waits for ever: {ended:?}");
    assert_eq!(keys(&scene), [true, true], "it was given up");
    goes_on(&scene);
    assert!(open(&scene, &certificate, "ops"), "the program answers again");
}
