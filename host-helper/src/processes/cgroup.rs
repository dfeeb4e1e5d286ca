//! A cgroup (v2) for each connection, where the host lets us make one: whatever a session does, however it
//! forks and detaches, stays within, and one write ends it all.
//!
//! It is taken out by `pam_systemd`, which puts each session into a scope of its own: then that scope is the
//! connection's. Only root can move a process of its own accord. Where there is neither, audit session ids
//! and descent must do.

use std::fs;
use std::path::{Path, PathBuf};

use fireaxe_protocol::statement::Nonce;

/// Where this host's hierarchy is; `None`: it has none that can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    mount: Option<PathBuf>,
}

impl Cgroups {
    /// Looks for the hierarchy, in the mounts that this process sees.
    pub fn find() -> Cgroups {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Cgroups { mount: parse_mounts(&mounts) }
    }

    /// Does without.
    pub fn none() -> Cgroups {
        Cgroups { mount: None }
    }

    /// Makes the connection's cgroup and puts its monitor there, with all that it starts from now on. Gives
    /// the cgroup's path in the hierarchy; `None`: it cannot be had, which is no failure.
    pub fn own(&self, connection: Nonce, monitor: u32) -> Option<String> {
        let path = format!("{OURS}/{connection}");
        let folder = self.folder(&path)?;
        fs::create_dir_all(&folder).ok()?;
        if fs::write(folder.join("cgroup.procs"), monitor.to_string()).is_err() {
            self.remove(&path);
            return None;
        }
        Some(path)
    }

    /// Kills everything in it at once, forks that are under way too (Linux 5.14). `false`: it cannot.
    pub fn kill(&self, path: &str) -> bool {
        self.folder(path).is_some_and(|folder| fs::write(folder.join("cgroup.kill"), "1").is_ok())
    }

    /// Removes one of ours that is empty, and the folder of all when it was the last.
    pub fn remove(&self, path: &str) {
        if !is_ours(path) {
            return;
        }
        if let Some(folder) = self.folder(path) {
            // What lives there keeps it: it is removed at the next chance.
            let _ = fs::remove_dir(&folder);
            let _ = folder.parent().map(fs::remove_dir);
        }
    }

    /// The folder of a path in the hierarchy that is a connection's alone; `None` for any other.
    fn folder(&self, path: &str) -> Option<PathBuf> {
        let plain = !path.split('/').any(|part| part == "..");
        let alone = is_ours(path) || is_session_scope(path);
        let mount = self.mount.as_ref().filter(|_| plain && alone)?;
        Some(mount.join(path.trim_start_matches('/')))
    }
}

/// Whether a cgroup belongs to one connection alone: ours, or a scope that systemd made for one session.
pub fn is_own(path: &str) -> bool {
    is_ours(path) || is_session_scope(path)
}

/// Whether `path` is `own` or lies below it.
pub fn is_within(path: &str, own: &str) -> bool {
    path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_ours(path: &str) -> bool {
    let name = path.strip_prefix(OURS).and_then(|rest| rest.strip_prefix('/'));
    name.is_some_and(|name| name.parse::<Nonce>().is_ok())
}

/// `/user.slice/user-1000.slice/session-4.scope`
fn is_session_scope(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let number = parts.next().and_then(|last| last.strip_prefix("session-")?.strip_suffix(".scope"));
    let number = number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_alphanumeric()));
    number && parts.next().is_some_and(|slice| slice.starts_with("user-") && slice.ends_with(".slice"))
}

/// The mount point of the first cgroup2 in `/proc/self/mountinfo` that is mounted from its root.
fn parse_mounts(text: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        (kind.starts_with("cgroup2 ") && root == "/").then(|| Path::new(point).to_path_buf())
    })
}

/// Beside systemd's own slices, as other supervisors have theirs.
const OURS: &str = "/fireaxe";

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn only_what_is_a_connections_alone_can_be_killed() {
        let ours = format!("/fireaxe/{ID}");
        for own in [ours.as_str(), "/user.slice/user-0.slice/session-c4.scope"] {
            assert!(is_own(own), "{own}");
        }
        let cgroups = Cgroups { mount: Some("/nowhere".into()) };
        for other in [
            "",
            "/",
            "/fireaxe",
            "/fireaxe/",
            "/fireaxe/../system.slice",
            "/system.slice/ssh.service",
            "/user.slice/user-0.slice/user@0.service/session-1.scope",
            "/user.slice/user-0.slice",
            "/user.slice/user-0.slice/session-.scope",
        ] {
            assert!(!is_own(other), "{other}");
            assert_eq!(cgroups.folder(other), None, "{other}");
            assert!(!cgroups.kill(other));
        }
        assert!(is_within(&format!("{ours}/sub"), &ours) && is_within(&ours, &ours));
        assert!(!is_within(&format!("{ours}0"), &ours));
    }

    #[test]
    fn the_hierarchy_is_found_in_both_layouts() {
        let hybrid = "30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 23 0:27 / /sys/fs/cgroup/unified rw,relatime shared:3 - cgroup2 cgroup2 rw\n";
        assert_eq!(parse_mounts(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let one = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(parse_mounts(one), Some("/sys/fs/cgroup".into()));
        let part = "30 23 0:26 /lxc/a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(parse_mounts(part), None);
    }
}
