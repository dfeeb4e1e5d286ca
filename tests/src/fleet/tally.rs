//! How many hosts are how far, told on standard output: a JSON line whenever a share is reached.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A line of the fleet's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    /// So many have joined: all.
    Joined(u64),
    /// So many follow the feed and have confirmed the list it began with: all.
    Following(u64),
    /// So many have a list or a newer one in force, and the CA has their signed word.
    Confirmed {
        /// The list.
        version: u64,
        /// So many.
        hosts: u64,
    },
    /// Something is wrong: the simulation is over.
    Wrong(String),
}

/// Counts.
pub(super) struct Tally {
    hosts: u64,
    following: AtomicU64,
    /// How many have each list in force, as far as the CA knows.
    at: Mutex<BTreeMap<u64, u64>>,
}

impl Tally {
    /// Of so many hosts.
    pub(super) fn new(hosts: u64) -> Tally {
        Tally { hosts, following: AtomicU64::new(0), at: Mutex::default() }
    }

    /// One more follows.
    pub(super) fn follows(&self) {
        let following = self.following.fetch_add(1, Ordering::Relaxed) + 1;
        if following == self.hosts {
            say(&Line::Following(following));
        }
    }

    /// One more has this list in place of the one it had, and the CA knows.
    pub(super) fn confirmed(&self, before: Option<u64>, version: u64) {
        let mut at = self.at.lock().expect("lock");
        if let Some(hosts) = before.and_then(|before| at.get_mut(&before)) {
            *hosts -= 1;
        }
        *at.entry(version).or_default() += 1;
        let marks = [share(self.hosts, 50), share(self.hosts, 99), self.hosts];
        for (reached, _) in at.range(before.map_or(0, |before| before + 1)..=version) {
            let hosts = at.range(reached..).map(|(_, hosts)| hosts).sum();
            if marks.contains(&hosts) {
                say(&Line::Confirmed { version: *reached, hosts });
            }
        }
    }
}

/// So many of `hosts` are `percent` of them.
pub(super) fn share(hosts: u64, percent: u64) -> u64 {
    (hosts * percent).div_ceil(100)
}

/// Says one line.
pub(super) fn say(line: &Line) {
    let text = serde_json::to_string(line).expect("json");
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
