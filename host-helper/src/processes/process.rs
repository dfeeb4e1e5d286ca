//! Processes as the kernel has them: read from `/proc`, held by pidfd, signalled only while they are the very
//! ones that were meant.
//!
//! A pid alone names nobody: it is given again once its process is reaped. A pid and the tick it started at
//! do, and a pidfd opened before that was looked at cannot come to mean another.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::belonging::Mark;
use super::cgroup::is_own;

/// One process of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, clock ticks since boot.
    pub start: u64,
}

impl ProcessId {
    /// Whoever has this number now.
    pub fn of(pid: u32) -> Option<ProcessId> {
        let (_, start, _) = parse_stat(&fs::read_to_string(folder(pid).join("stat")).ok()?)?;
        Some(ProcessId { pid, start })
    }

    /// Reads it; `None`: it is gone, whoever has its number.
    pub fn read(self) -> Option<Process> {
        Process::read(self.pid).filter(|process| process.id == self)
    }
}

/// What is known of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Which.
    pub id: ProcessId,
    /// Its parent's number.
    pub parent: u32,
    /// Its audit session: set once by `pam_loginuid`, inherited by everything it starts, and nobody but the
    /// kernel's audit can change it. `None` where there is none.
    pub session: Option<u32>,
    /// Its cgroup (v2), from the root of the hierarchy; empty where there is none.
    pub cgroup: String,
    /// It has ended, and its parent has not asked for how.
    pub zombie: bool,
}

impl Process {
    /// Reads one; `None`: there is none, or no longer.
    pub fn read(pid: u32) -> Option<Process> {
        let folder = folder(pid);
        let (parent, start, zombie) = parse_stat(&fs::read_to_string(folder.join("stat")).ok()?)?;
        let cgroup = fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
        Some(Process {
            id: ProcessId { pid, start },
            parent,
            session: session(pid),
            cgroup: parse_cgroup(&cgroup),
            zombie,
        })
    }

    /// All that there are. Not one moment's picture: what starts meanwhile may be missing.
    pub fn all() -> Vec<Process> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| Process::read(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// Its effective user, if it is there.
    pub fn uid(&self) -> Option<u32> {
        let status = fs::read_to_string(folder(self.id.pid).join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    /// The program it runs; a file that was replaced meanwhile keeps its name.
    pub fn program(&self) -> Option<String> {
        let exe: PathBuf = fs::read_link(folder(self.id.pid).join("exe")).ok()?;
        let name = exe.file_name()?.to_str()?;
        Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
    }

    /// Whether it is one of sshd's, by its program: the server (before 9.8 its sessions too), a session.
    pub fn is_sshd(&self) -> bool {
        self.program().is_some_and(|name| SSHD.contains(&name.as_str()))
    }
}

impl Mark {
    /// What ties processes to the connection of this monitor, as it is now.
    pub fn of(monitor: ProcessId) -> Mark {
        let mut mark = Mark { monitor, session: None, cgroups: Vec::new() };
        mark.refresh();
        mark
    }

    /// Reads it again: PAM gives the audit session, systemd the scope, and either may come after the hook.
    /// Gives whether anything is new.
    pub fn refresh(&mut self) -> bool {
        let before = self.clone();
        let Some(monitor) = Process::read(self.monitor.pid).filter(|monitor| monitor.id == self.monitor)
        else {
            return false;
        };
        // What the listener has, too, was there before any login: it is everybody's.
        let listener = Process::read(monitor.parent);
        let (session, cgroup) = listener.map_or((None, None), |l| (l.session, Some(l.cgroup)));
        if monitor.session.is_some() && monitor.session != session {
            self.session = monitor.session;
        }
        let is_own = is_own(&monitor.cgroup) && cgroup.as_ref() != Some(&monitor.cgroup);
        if is_own && !self.cgroups.contains(&monitor.cgroup) {
            self.cgroups.push(monitor.cgroup);
        }
        *self != before
    }
}

/// The audit session of a process; `None` where the kernel keeps none or none was begun.
pub fn session(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(folder(pid).join("sessionid")).ok()?;
    text.trim().parse().ok().filter(|session| *session != u32::MAX)
}

/// A process held: it is this one until it is let go, whoever gets its number.
#[derive(Debug)]
pub struct Held {
    fd: OwnedFd,
    id: ProcessId,
}

impl Held {
    /// Takes hold of a process, if it is there still.
    pub fn of(id: ProcessId) -> Option<Held> {
        let pid = Pid::from_raw(i32::try_from(id.pid).ok()?)?;
        let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // In this order: what has the number and the start now is what the descriptor was opened on.
        (Process::read(id.pid)?.id == id).then_some(Held { fd, id })
    }

    /// Which.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Sends a signal; `false`: it is gone.
    pub fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.fd, signal).is_ok()
    }
}

/// Readable once it has ended.
impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn folder(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// Parent, start and whether it has ended. The name in brackets may hold anything, brackets and blanks too.
fn parse_stat(text: &str) -> Option<(u32, u64, bool)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // Field 22; state is field 3.
    let start = fields.nth(17)?.parse().ok()?;
    Some((parent, start, matches!(state, "Z" | "X" | "x")))
}

/// The line of the one hierarchy that has no controllers in its name.
fn parse_cgroup(text: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned()
}

/// Programs of sshd: `sshd` listens (and until 9.7 carries sessions), `sshd-session` carries them since.
const SSHD: [&str; 2] = ["sshd", "sshd-session"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_hides_nothing() {
        let rest = "S 7 0 0 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 8812 0 0";
        for name in ["sshd", "a) R 1 (b", ") Z 1 1"] {
            assert_eq!(parse_stat(&format!("42 ({name}) {rest}\n")), Some((7, 8812, false)), "{name}");
        }
        assert_eq!(parse_stat("42 (x) S 7"), None);
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_cgroup("9:name=systemd:/x\n0::/fireaxe/ab\n"), "/fireaxe/ab");
    }

    #[test]
    fn a_number_that_was_given_again_is_not_held() {
        let me = Process::read(std::process::id()).unwrap();
        assert!(Held::of(me.id).is_some());
        let before = ProcessId { start: me.id.start + 1, ..me.id };
        assert!(Held::of(before).is_none() && before.read().is_none());
        assert_eq!((me.id.read().map(|me| me.id), ProcessId::of(me.id.pid)), (Some(me.id), Some(me.id)));
        assert_eq!(me.uid(), Some(rustix::process::geteuid().as_raw()));
    }
}
