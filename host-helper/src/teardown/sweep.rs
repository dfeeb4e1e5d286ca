//! Ends a connection and everything that came in with it, and says what that took.
//!
//! In this order: all that belongs is asked to end, sshd's monitor with it, which closes channels, forwards
//! and listeners and hangs up terminals (killing the monitor alone would leave its child to go on serving);
//! what is still there after a while is killed, again and again, until two looks in a row find nothing, since
//! a fork may hide from one. After [`MOST`] what is left is counted and told.

use std::collections::BTreeSet;
use std::time::Duration;

use fireaxe_protocol::host::Swept;
use rustix::process::Signal;

use crate::clock::Deadline;
use crate::processes::cgroup::is_within;
use crate::processes::{Cgroups, Held, Mark, Others, Process, ProcessId, members};

/// How long processes have to end when asked.
pub const ASKED: Duration = Duration::from_secs(2);
/// The same when there is no grace.
pub const ASKED_WITHOUT_GRACE: Duration = Duration::from_millis(500);
/// How long one sweep takes at most: two seconds of asking, and of killing what a busy machine needs.
pub const MOST: Duration = Duration::from_secs(10);

/// What a sweep came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// What had to be ended, and what is there still.
    pub swept: Swept,
    /// Of what is there still: servers that let people in, which are never ended.
    pub servers: u32,
}

/// Ends what belongs to `mark`. `others` is asked at each look, since connections come meanwhile. `asked` is
/// how long processes have before they are killed.
pub fn sweep(mark: &Mark, others: impl Fn() -> Others, cgroups: &Cgroups, asked: Duration) -> Outcome {
    let (asked, most) = (Deadline::after(asked), Deadline::after(MOST));
    let mut known = BTreeSet::new();
    let mut killed = BTreeSet::new();
    let mut clean = 0;
    loop {
        let table = Process::all();
        let mut others = others();
        let servers = servers(&table, mark, &known);
        others.spared.extend(&servers);
        let found = members(&table, mark, &others, &known);
        clean = if found.is_empty() { clean + 1 } else { 0 };
        if clean == 2 || most.left().is_none() {
            let left = count(found.len() + servers.len());
            let terminated = count(known.len() - killed.len()).saturating_sub(count(found.len()));
            let swept = Swept { terminated, killed: count(killed.len()), left };
            return Outcome { swept, servers: count(servers.len()) };
        }
        if asked.left().is_none() {
            kill_at_once(&table, &found, mark, cgroups);
            // One by one as well: not everything need be in a cgroup.
            killed.extend(found.iter().map(|process| process.id));
            for process in &found {
                signal(process.id, Signal::KILL);
            }
        }
        for process in &found {
            // Each is asked once, whenever it is found.
            if known.insert(process.id) {
                signal(process.id, Signal::TERM);
            }
        }
        std::thread::sleep(if clean > 0 { SOON } else { AGAIN });
    }
}

/// Asks a connection's monitor to end; for a login that is refused after sshd let it in.
pub fn hang_up(monitor: ProcessId) -> bool {
    signal(monitor, Signal::TERM)
}

fn signal(process: ProcessId, signal: Signal) -> bool {
    Held::of(process).is_some_and(|held| held.signal(signal))
}

/// The cgroups in which nothing lives but what is to be killed: no fork gets past that.
fn kill_at_once(table: &[Process], found: &[&Process], mark: &Mark, cgroups: &Cgroups) {
    for own in &mark.cgroups {
        let mut within = table.iter().filter(|process| is_within(&process.cgroup, own) && !process.zombie);
        if within.all(|process| found.iter().any(|member| member.id == process.id)) {
            cgroups.kill(own);
        }
    }
}

/// Servers that were started from the session and let people in, the host's own people too: a detached sshd of
/// root's. Ending it could lock everybody out; it is left, and told.
fn servers(table: &[Process], mark: &Mark, known: &BTreeSet<ProcessId>) -> Vec<u32> {
    let tied = |process: &&Process| {
        process.session.is_some() && process.session == mark.session
            || known.contains(&process.id)
            || mark.cgroups.iter().any(|own| is_within(&process.cgroup, own))
    };
    let detached = table.iter().filter(|process| process.parent == 1 && process.id != mark.monitor);
    // Not `sshd-session`: that is a connection whose monitor was killed. Before 9.8 those of root have no
    // process but the monitor, and those of others are not root's.
    let is_server = |process: &&Process| process.program().as_deref() == Some("sshd");
    let servers = detached.filter(tied).filter(is_server).filter(|process| process.uid() == Some(0));
    servers.map(|process| process.id.pid).collect()
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Between looks while something is there.
const AGAIN: Duration = Duration::from_millis(25);
/// Between the two looks that must find nothing.
const SOON: Duration = Duration::from_millis(5);
