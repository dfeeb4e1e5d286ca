//! `apply` and `remove`: overruled, killed at any step, never confirmed, cut off by a reboot, taken off again.

use std::fs;

use fireaxe_tests::run::end;
use fireaxe_tests::world::OpenSsh;
use fireaxe_tests::{Host, clock};

use crate::ground::*;

pub(crate) fn whatever_overrules_the_drop_in_is_refused_and_everything_is_as_it_was(openssh: OpenSsh) {
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

pub(crate) fn apply_that_is_killed_at_any_step_leaves_what_was_before_or_all_of_it(openssh: OpenSsh) {
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

pub(crate) fn a_reboot_in_the_middle_of_apply_ends_in_what_was_before(openssh: OpenSsh) {
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

pub(crate) fn a_timer_that_nobody_stops_puts_back_what_was_before(openssh: OpenSsh) {
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

pub(crate) fn apply_remembers_its_accounts_and_files_leaves_an_enrolled_host_alone(openssh: OpenSsh) {
    let Some(mut ground) = Ground::bare(openssh) else { return };
    ground.host.start();
    let bare = ["apply", "--stock", "--no-self-test"];
    ground.host.fireaxe(&bare).exits(2).says("no account is named").says("--account NAME");
    ground.apply(&[]).ok();
    let applied = as_it_is(&ground.host);
    ground.host.fireaxe(&bare).says("nothing to change");
    // It would take the host certificate out of the drop-in, and leave a daemon that nobody tells anything.
    let files =
        ["files", "--system", "payments-db", "--host", NAME, "--account", "look", "--user-ca", USER_CA];
    ground
        .host
        .fireaxe(&files)
        .exits(78)
        .says("this host is enrolled")
        .says("fireaxe-host apply --account NAME");
    assert_eq!(as_it_is(&ground.host), applied);
}

pub(crate) fn remove_leaves_nothing_and_apply_again_changes_nothing(openssh: OpenSsh) {
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
    assert!(applied.iter().any(|(path, _)| path.contains("10-fireaxe.conf ")));
    apply(host, &words).ok();
    assert_eq!(everything(host), applied, "once more is the same");
    apply(host, &words).says("nothing to change");

    let sshd = host.sshd_path();
    host.fireaxe(&["remove", "--sshd", &sshd])
        .says("next, at the CA: fireaxe-ca host retire db-3.payments.prod");
    assert_eq!(everything(host), before);
    assert!(!host.file("/home/emergency").exists());
    assert_eq!(host.run("test", &["-e", "/usr/libexec/fireaxe"]).code, 1);
    let again = host.fireaxe(&["remove", "--sshd", &sshd]);
    again.ok();
    assert!(!again.stderr.contains("the CA still counts"), "{again}");
    ground.are(KEYS_ONLY, "removed");
}
