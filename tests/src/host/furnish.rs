//! What a fresh Debian has, as far as sshd and a login need it. PAM's stack is Debian's own, in its order.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::keys::KeyPair;
use crate::run::run;
use crate::world::{OpenSsh, World};

/// The accounts that tiers use, besides root, and one that none does.
pub const ACCOUNTS: [(&str, u32); 3] = [("look", 2001), ("ops", 2002), ("deploy", 2003)];

/// What a fresh Debian has, as far as sshd and a login need it.
pub(super) fn furnish(world: &World, dir: &Path, name: &str, openssh: OpenSsh) {
    for room in [
        "etc/cron.d",
        "etc/default",
        "etc/pam.d",
        "etc/profile.d",
        "etc/ssh/sshd_config.d",
        "etc/sudoers.d",
        "etc/systemd/system",
        "home",
        "root",
        "tmp",
        "var/lib",
        "var/log",
        "var/mail",
        "var/spool/cron/crontabs",
        "var/tmp",
    ] {
        fs::create_dir_all(dir.join(room)).expect("directory");
    }
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(dir.join(path), fs::Permissions::from_mode(mode)).expect("mode");
    };
    for shared in ["tmp", "var/tmp"] {
        mode(shared, 0o1777);
    }
    for (open, bits) in [("etc", 0o755), ("home", 0o755), ("root", 0o700), ("var", 0o755), ("var/log", 0o755)]
    {
        mode(open, bits);
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("mode");

    let mut copy = Command::new("cp");
    copy.arg("-a");
    for kept in [
        "alternatives",
        "environment",
        "ld.so.cache",
        "ld.so.conf",
        "ld.so.conf.d",
        "localtime",
        "login.defs",
        "security",
    ] {
        let path = Path::new("/etc").join(kept);
        if path.exists() {
            copy.arg(path);
        }
    }
    run(copy.arg(dir.join("etc"))).ok();

    let put = |path: &str, text: &str| fs::write(dir.join(path), text).expect("file");
    let mut passwd = String::from(
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n",
    );
    let mut shadow =
        String::from("root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n");
    let mut group = String::from("root:x:0:\ntty:x:5:\nshadow:x:42:\nutmp:x:43:\nnogroup:x:65534:\n");
    for (account, id) in ACCOUNTS {
        passwd.push_str(&format!("{account}:x:{id}:{id}::/home/{account}:/bin/bash\n"));
        shadow.push_str(&format!("{account}:*:19000:0:99999:7:::\n"));
        group.push_str(&format!("{account}:x:{id}:\n"));
        let home = dir.join("home").join(account);
        fs::create_dir_all(&home).expect("home");
        chown(&home, Some(id), Some(id)).expect("owner");
    }
    put("etc/passwd", &passwd);
    put("etc/shadow", &shadow);
    put("etc/group", &group);
    mode("etc/shadow", 0o600);
    put("etc/hostname", &format!("{name}\n"));
    put("etc/hosts", &format!("127.0.0.1 localhost {name}\n"));
    put("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n");
    put("etc/shells", "/bin/sh\n/bin/bash\n");
    put("etc/default/locale", "LANG=C.UTF-8\n");
    for (file, text) in PAM {
        put(&format!("etc/pam.d/{file}"), text);
    }

    let server = world.programs().server(openssh);
    let debian = |path: &str| {
        let unpacked = server.as_ref().map(|server| server.join(path));
        let mut found = unpacked.into_iter().chain([Path::new("/").join(path)]).filter(|path| path.exists());
        found.next().unwrap_or_else(|| panic!("Debian's /{path} is missing"))
    };
    fs::copy(debian("usr/share/openssh/sshd_config"), dir.join("etc/ssh/sshd_config")).expect("sshd_config");
    fs::copy(debian("etc/pam.d/sshd"), dir.join("etc/pam.d/sshd")).expect("pam.d/sshd");

    let key = KeyPair::generate(&dir.join("etc/ssh"), "ssh_host_ed25519_key");
    fs::write(dir.join("known_hosts"), format!("{name} {}\n", key.public_line())).expect("known_hosts");
}

/// As `pam-auth-update` of a Debian without a desktop leaves them; `sshd` is the server package's own.
const PAM: [(&str, &str); 5] = [
    (
        "common-auth",
        "auth [success=1 default=ignore] pam_unix.so nullok\nauth requisite pam_deny.so\nauth required pam_permit.so\n",
    ),
    (
        "common-account",
        "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\naccount requisite pam_deny.so\n\
         account required pam_permit.so\n",
    ),
    (
        "common-session",
        "session [default=1] pam_permit.so\nsession requisite pam_deny.so\nsession required pam_permit.so\n\
         session required pam_unix.so\n",
    ),
    (
        "common-password",
        "password [success=1 default=ignore] pam_unix.so obscure yescrypt\npassword requisite pam_deny.so\n\
         password required pam_permit.so\n",
    ),
    ("other", "auth required pam_deny.so\naccount required pam_deny.so\nsession required pam_deny.so\n"),
];
