//! Which processes came in with a connection. Pure: a table of processes in, the members out.
//!
//! A process belongs when one of three things ties it to the connection, and nothing ties it to another:
//!
//! | tie | holds against | does not hold |
//! |---|---|---|
//! | the connection's own cgroup | setsid, nohup, double forks, tmux, fork races | root, which may move a process |
//! | its audit session | the same, and moves between cgroups | where the kernel or PAM keeps none |
//! | descent from its monitor, or from a process seen to belong before | nothing that detaches | once the parent is gone |

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::cgroup::is_within;
use super::process::{Process, ProcessId};

/// What ties processes to a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// sshd's process for the connection.
    pub monitor: ProcessId,
    /// Its audit session, once it has one that is not the listener's too.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<u32>,
    /// Cgroups that are this connection's alone.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cgroups: Vec<String>,
}

/// What is never touched for this connection's sake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others {
    /// This daemon, and servers that let people in.
    pub spared: BTreeSet<u32>,
    /// Monitors of other connections.
    pub monitors: BTreeSet<ProcessId>,
    /// Audit sessions of other connections.
    pub sessions: BTreeSet<u32>,
    /// Cgroups of other connections.
    pub cgroups: Vec<String>,
}

/// The members among `table`, which is what there was at one look. `known` are processes that were seen to
/// belong at earlier looks: what they started since belongs too.
pub fn members<'a>(
    table: &'a [Process],
    mark: &Mark,
    others: &Others,
    known: &BTreeSet<ProcessId>,
) -> Vec<&'a Process> {
    let mut children: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    for process in table {
        children.entry(process.parent).or_default().push(process);
    }
    let is_root = |process: &&Process| {
        process.id == mark.monitor
            || known.contains(&process.id)
            || mark.session.is_some() && process.session == mark.session
            || mark.cgroups.iter().any(|own| is_within(&process.cgroup, own))
    };
    let mut found: BTreeMap<ProcessId, &Process> = BTreeMap::new();
    let mut open: Vec<&Process> = table.iter().filter(is_root).collect();
    while let Some(process) = open.pop() {
        // What is another's ends the walk: what it started is the other's, too.
        if is_anothers(process, mark, others) || found.insert(process.id, process).is_some() {
            continue;
        }
        open.extend(children.get(&process.id.pid).into_iter().flatten());
    }
    // One that has ended cannot be ended; it goes when its parent asks, or ends.
    found.into_values().filter(|process| !process.zombie).collect()
}

/// Whether `pid` came in with the connection: it descends from its monitor, and nothing ties it elsewhere.
/// `table` need hold no more than the processes on the way up.
pub fn descends(pid: u32, read: impl Fn(u32) -> Option<Process>, mark: &Mark) -> bool {
    let Some(asker) = read(pid) else { return false };
    if let (Some(own), Some(its)) = (mark.session, asker.session)
        && own != its
    {
        return false;
    }
    let mut at = asker;
    for _ in 0..GENERATIONS {
        if at.id == mark.monitor {
            return true;
        }
        match read(at.parent) {
            // A parent is older than its child; one that is not has the number of one that is gone.
            Some(parent) if at.id.pid > 1 && parent.id.start <= at.id.start => at = parent,
            _ => return false,
        }
    }
    false
}

fn is_anothers(process: &Process, mark: &Mark, others: &Others) -> bool {
    process.id.pid <= 1
        || others.spared.contains(&process.id.pid)
        || process.id != mark.monitor && others.monitors.contains(&process.id)
        || process.session.is_some_and(|session| others.sessions.contains(&session))
        // A session of its own, begun by a login or a job, whoever its parent is.
        || matches!((process.session, mark.session), (Some(its), Some(own)) if its != own)
        || others.cgroups.iter().any(|cgroup| is_within(&process.cgroup, cgroup))
}

/// Parents of parents: deeper than any shell in a shell.
const GENERATIONS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, session: Option<u32>, cgroup: &str) -> Process {
        let id = ProcessId { pid, start: u64::from(pid) };
        Process { id, parent, session, cgroup: cgroup.into(), zombie: false }
    }

    fn id(pid: u32) -> ProcessId {
        ProcessId { pid, start: u64::from(pid) }
    }

    /// init, sshd; ana's connection 10 with session 7; ben's 20 with session 8; a daemon.
    fn table() -> Vec<Process> {
        vec![
            process(1, 0, None, "/"),
            process(2, 1, None, "/system.slice/ssh.service"),
            process(3, 1, None, "/system.slice/fireaxe-host.service"),
            process(10, 2, Some(7), "/fireaxe/a"),
            process(11, 10, Some(7), "/fireaxe/a"),
            process(12, 11, Some(7), "/fireaxe/a"),
            process(13, 1, Some(7), "/fireaxe/a"),
            process(20, 2, Some(8), "/fireaxe/b"),
            process(21, 20, Some(8), "/fireaxe/b"),
            process(22, 1, Some(8), "/fireaxe/b"),
        ]
    }

    fn ana() -> Mark {
        Mark { monitor: id(10), session: Some(7), cgroups: vec!["/fireaxe/a".into()] }
    }

    fn ben_and_daemon() -> Others {
        Others {
            spared: BTreeSet::from([3]),
            monitors: BTreeSet::from([id(20)]),
            sessions: BTreeSet::from([8]),
            cgroups: vec!["/fireaxe/b".into()],
        }
    }

    fn pids(table: &[Process], mark: &Mark, known: &[u32]) -> Vec<u32> {
        let known = known.iter().map(|pid| id(*pid)).collect();
        members(table, mark, &ben_and_daemon(), &known).into_iter().map(|p| p.id.pid).collect()
    }

    #[test]
    fn each_tie_alone_finds_what_detached_and_never_another_connection() {
        assert_eq!(pids(&table(), &ana(), &[]), [10, 11, 12, 13]);
        assert_eq!(pids(&table(), &Mark { cgroups: vec![], ..ana() }, &[]), [10, 11, 12, 13]);
        assert_eq!(pids(&table(), &Mark { session: None, ..ana() }, &[]), [10, 11, 12, 13]);
        // Descent alone loses what was given to init, unless it was seen to belong before that.
        let descent = Mark { session: None, cgroups: vec![], ..ana() };
        assert_eq!(pids(&table(), &descent, &[]), [10, 11, 12]);
        assert_eq!(pids(&table(), &descent, &[13]), [10, 11, 12, 13]);
    }

    #[test]
    fn a_monitor_that_is_gone_or_whose_number_is_anothers_hides_nothing_and_takes_nobody() {
        let mut table = table();
        table.remove(3);
        assert_eq!(pids(&table, &ana(), &[]), [11, 12, 13]);
        let mut other = process(10, 1, None, "/");
        other.id.start = 9999;
        table.push(other);
        assert_eq!(pids(&table, &ana(), &[]), [11, 12, 13]);
    }

    #[test]
    fn init_the_daemon_and_other_connections_are_never_members() {
        let mut table = table();
        // All of them with every tie to ana's connection.
        for process in &mut table {
            if [1, 3].contains(&process.id.pid) {
                (process.session, process.cgroup) = (Some(7), "/fireaxe/a".into());
            }
        }
        table.push(process(30, 12, Some(8), "/fireaxe/a"));
        table.push(process(31, 12, Some(7), "/fireaxe/b"));
        table.push(process(32, 31, Some(7), "/fireaxe/a"));
        let found = pids(&table, &ana(), &[1, 3, 20]);
        // 32 has ana's session itself, whoever its parent is.
        assert_eq!(found, [10, 11, 12, 13, 32]);
    }

    #[test]
    fn a_login_through_a_server_that_a_session_started_is_not_that_sessions() {
        let mut table = table();
        table.push(process(40, 1, Some(7), "/fireaxe/a"));
        table.push(process(41, 40, Some(55), "/fireaxe/a"));
        table.push(process(42, 41, Some(55), "/fireaxe/a"));
        let spared = Others { spared: BTreeSet::from([40]), ..Others::default() };
        let found = members(&table, &ana(), &spared, &BTreeSet::new());
        assert_eq!(found.iter().map(|p| p.id.pid).collect::<Vec<_>>(), [10, 11, 12, 13]);
    }

    #[test]
    fn what_has_ended_is_not_counted_and_its_children_are() {
        let mut table = table();
        table[5].zombie = true;
        table.push(process(33, 12, None, "/"));
        assert_eq!(pids(&table, &ana(), &[]), [10, 11, 13, 33]);
    }

    #[test]
    fn who_asks_must_descend_from_the_monitor_and_have_its_session() {
        let table = table();
        let read = |pid: u32| table.iter().find(|p| p.id.pid == pid).cloned();
        assert!(descends(12, read, &ana()) && descends(10, read, &ana()));
        for other in [1, 2, 3, 13, 20, 21, 99] {
            assert!(!descends(other, read, &ana()), "{other}");
        }
        assert!(!descends(12, read, &Mark { session: Some(9), ..ana() }));
        assert!(descends(12, read, &Mark { session: None, ..ana() }));
        let again = Mark { monitor: ProcessId { pid: 10, start: 11 }, ..ana() };
        assert!(!descends(12, read, &again));
    }
}
