//! Where something that outlives a session can be left: which files and folders are looked at. Pure.
//!
//! These are the usual places, not all there are: whoever is root can hide in any file that runs as root.
//! `docs/LIMITS.md` says what is not looked at.

use std::path::{Path, PathBuf};

use fireaxe_protocol::host::PlantedKind;

/// A place, and how far below it is looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Absolute.
    pub path: PathBuf,
    /// What something there is.
    pub kind: PlantedKind,
    /// Folders below that are entered; 0: the path itself, or the files directly in it.
    pub depth: usize,
    /// Only files with the setuid or setgid bit count.
    pub setuid: bool,
}

/// All places, for the homes of these accounts, which are looked at first.
pub(super) fn places(homes: &[PathBuf]) -> Vec<Place> {
    let mut places = Vec::new();
    for home in homes {
        for (path, kind, depth) in IN_HOMES {
            places.push(Place { path: home.join(path), kind: *kind, depth: *depth, setuid: false });
        }
    }
    for (path, kind, depth) in FIXED {
        places.push(Place { path: Path::new(path).into(), kind: *kind, depth: *depth, setuid: false });
    }
    let fixed = SETUID.iter().map(|(path, depth)| (PathBuf::from(path), *depth));
    for (path, depth) in fixed.chain(homes.iter().map(|home| (home.clone(), 4))) {
        places.push(Place { path, kind: PlantedKind::Setuid, depth, setuid: true });
    }
    places
}

/// Homes of the accounts in `/etc/passwd`, each once, at most [`HOMES`]. `/` and what is no absolute path are
/// left out: daemons have such.
pub(super) fn homes(passwd: &str) -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = Vec::new();
    for line in passwd.lines() {
        let home = line.split(':').nth(5).map(Path::new).unwrap_or(Path::new(""));
        let usable =
            home.is_absolute() && home.parent().is_some() && !SYSTEM.iter().any(|s| home == Path::new(s));
        if usable && !homes.iter().any(|known| known == home) && homes.len() < HOMES {
            homes.push(home.to_path_buf());
        }
    }
    homes
}

/// Accounts whose homes are looked at.
pub(super) const HOMES: usize = 500;

/// Homes of daemons that are places of their own, or nobody's.
const SYSTEM: [&str; 10] = [
    "/bin",
    "/dev",
    "/usr/sbin",
    "/usr/bin",
    "/usr/games",
    "/nonexistent",
    "/var/empty",
    "/run/sshd",
    "/proc",
    "/var/run",
];

const IN_HOMES: &[(&str, PlantedKind, usize)] = &[
    (".ssh/authorized_keys", PlantedKind::AuthorizedKeys, 0),
    (".ssh/authorized_keys2", PlantedKind::AuthorizedKeys, 0),
    (".ssh/rc", PlantedKind::Preload, 0),
    (".ssh/environment", PlantedKind::Preload, 0),
    (".pam_environment", PlantedKind::Preload, 0),
    (".profile", PlantedKind::Preload, 0),
    (".bash_profile", PlantedKind::Preload, 0),
    (".bash_login", PlantedKind::Preload, 0),
    (".bashrc", PlantedKind::Preload, 0),
    (".bash_logout", PlantedKind::Preload, 0),
    (".zshenv", PlantedKind::Preload, 0),
    (".zshrc", PlantedKind::Preload, 0),
    (".config/systemd/user", PlantedKind::SystemdUnit, 2),
    (".config/environment.d", PlantedKind::Preload, 0),
];

const FIXED: &[(&str, PlantedKind, usize)] = &[
    ("/etc/ssh/fireaxe_keys", PlantedKind::AuthorizedKeys, 0),
    ("/etc/ssh", PlantedKind::LoginConfiguration, 2),
    ("/etc/pam.d", PlantedKind::LoginConfiguration, 0),
    ("/etc/pam.conf", PlantedKind::LoginConfiguration, 0),
    ("/etc/security", PlantedKind::LoginConfiguration, 1),
    ("/etc/nsswitch.conf", PlantedKind::LoginConfiguration, 0),
    ("/etc/passwd", PlantedKind::Account, 0),
    ("/etc/shadow", PlantedKind::Account, 0),
    ("/etc/group", PlantedKind::Account, 0),
    ("/etc/gshadow", PlantedKind::Account, 0),
    ("/etc/crontab", PlantedKind::Cron, 0),
    ("/etc/anacrontab", PlantedKind::Cron, 0),
    ("/etc/cron.d", PlantedKind::Cron, 0),
    ("/etc/cron.hourly", PlantedKind::Cron, 0),
    ("/etc/cron.daily", PlantedKind::Cron, 0),
    ("/etc/cron.weekly", PlantedKind::Cron, 0),
    ("/etc/cron.monthly", PlantedKind::Cron, 0),
    ("/var/spool/cron/atjobs", PlantedKind::At, 0),
    ("/var/spool/at", PlantedKind::At, 1),
    ("/var/spool/cron", PlantedKind::Cron, 1),
    ("/etc/systemd/system", PlantedKind::SystemdUnit, 2),
    ("/etc/systemd/user", PlantedKind::SystemdUnit, 2),
    ("/run/systemd/system", PlantedKind::SystemdUnit, 2),
    ("/run/systemd/transient", PlantedKind::SystemdUnit, 1),
    ("/usr/local/lib/systemd", PlantedKind::SystemdUnit, 2),
    ("/usr/lib/systemd/system", PlantedKind::SystemdUnit, 1),
    ("/var/lib/systemd/linger", PlantedKind::SystemdUnit, 0),
    ("/etc/sudoers", PlantedKind::Sudoers, 0),
    ("/etc/sudoers.d", PlantedKind::Sudoers, 0),
    ("/etc/doas.conf", PlantedKind::Sudoers, 0),
    ("/etc/polkit-1/rules.d", PlantedKind::Sudoers, 0),
    ("/etc/ld.so.preload", PlantedKind::Preload, 0),
    ("/etc/ld.so.conf", PlantedKind::Preload, 0),
    ("/etc/ld.so.conf.d", PlantedKind::Preload, 0),
    ("/etc/environment", PlantedKind::Preload, 0),
    ("/etc/profile", PlantedKind::Preload, 0),
    ("/etc/profile.d", PlantedKind::Preload, 0),
    ("/etc/bash.bashrc", PlantedKind::Preload, 0),
    ("/etc/zsh", PlantedKind::Preload, 0),
    ("/etc/rc.local", PlantedKind::Preload, 0),
    ("/etc/init.d", PlantedKind::Preload, 0),
    ("/etc/update-motd.d", PlantedKind::Preload, 0),
];

/// Where programs lie, and where everybody may write.
const SETUID: [(&str, usize); 11] = [
    ("/usr/bin", 1),
    ("/usr/sbin", 1),
    ("/usr/local", 4),
    ("/usr/lib", 2),
    ("/usr/libexec", 3),
    ("/opt", 4),
    ("/srv", 3),
    ("/tmp", 4),
    ("/var/tmp", 4),
    ("/dev/shm", 4),
    ("/run", 2),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_of_people_are_looked_at_once_and_those_of_daemons_are_not() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/usr/sbin:/usr/sbin/nologin\n\
                      a:x:2:2::/:/bin/sh\nb:x:3:3::relative:/bin/sh\nops:x:4:4::/home/ops:/bin/sh\n\
                      ops2:x:5:5::/home/ops:/bin/sh\nbroken\n";
        assert_eq!(homes(passwd), [Path::new("/root"), Path::new("/home/ops")]);
        let many: String = (0..HOMES + 1).map(|n| format!("u{n}:x:1:1::/home/u{n}:/bin/sh\n")).collect();
        assert_eq!(homes(&many).len(), HOMES);
    }

    #[test]
    fn every_place_is_absolute_and_the_narrower_one_comes_first() {
        let places = places(&["/home/ops".into()]);
        assert!(places.iter().all(|place| place.path.is_absolute()));
        let at = |path: &str| places.iter().position(|p| p.path == Path::new(path) && !p.setuid).unwrap();
        assert!(at("/etc/ssh/fireaxe_keys") < at("/etc/ssh"));
        assert!(at("/var/spool/cron/atjobs") < at("/var/spool/cron"));
    }
}
