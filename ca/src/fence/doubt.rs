//! When hosts' words are enough that a log which was copied or restored has lost nothing. Pure.

use std::collections::HashMap;
use std::fmt;

use fireaxe_protocol::names::HostName;
use serde::{Deserialize, Serialize};

use super::Fenced;

/// How a log came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// From a backup, by `restore`.
    Restored,
    /// By hand: its file is another than the one that was served last.
    Copied,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Restored => "restored from a backup",
            Why::Copied => "copied from another place",
        })
    }
}

/// The mark in the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    pub(super) v: u8,
    pub(super) why: Why,
    /// Entries of the log then.
    pub(super) size: u64,
}

/// A doubt, and what hosts have said.
#[derive(Debug)]
pub(super) struct Doubt {
    why: Why,
    /// When the first host was heard: the clock's even hand.
    since_ms: Option<u64>,
    /// Of each host, whether the newest head that it saw lies in the log.
    hosts: HashMap<HostName, bool>,
}

impl Doubt {
    pub(super) fn of(mark: Mark) -> Doubt {
        Doubt { why: mark.why, since_ms: None, hosts: HashMap::new() }
    }

    pub(super) fn said(&self) -> Fenced {
        Fenced::Unconfirmed { why: self.why, heard: self.hosts.values().filter(|lies| **lies).count() }
    }

    pub(super) fn heard(&mut self, host: &HostName, lies_in_it: bool, tick_ms: u64) {
        self.since_ms.get_or_insert(tick_ms);
        self.hosts.insert(host.clone(), lies_in_it);
    }

    /// How many hosts were enough, if they are: three, or all there are if there are fewer, and none that knows
    /// more, after each had the time to say so.
    pub(super) fn is_dispelled(&self, enrolled: usize, tick_ms: u64) -> Option<usize> {
        let waited = self.since_ms.is_some_and(|since| tick_ms.saturating_sub(since) >= WAIT_MS);
        let confirmed = self.hosts.values().filter(|lies| **lies).count();
        let all = confirmed == self.hosts.len();
        (waited && all && enrolled > 0 && confirmed >= enrolled.min(HOSTS)).then_some(confirmed)
    }
}

/// Hosts that must have spoken.
const HOSTS: usize = 3;
/// How long the others are waited for, from the first one's word on: two heartbeats of at most 66 s, and the 20 s
/// in which news is said.
const WAIT_MS: u64 = 150_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn doubt() -> Doubt {
        Doubt::of(Mark { v: 1, why: Why::Copied, size: 9 })
    }

    fn host(n: u32) -> HostName {
        format!("db-{n}.payments.prod").parse().unwrap()
    }

    #[test]
    fn three_hosts_after_the_wait_are_enough_and_two_or_too_soon_are_not() {
        let mut doubt = doubt();
        for n in 0..2 {
            doubt.heard(&host(n), true, 1000);
        }
        assert_eq!(doubt.is_dispelled(100, 1000 + WAIT_MS), None);
        doubt.heard(&host(2), true, 2000);
        assert_eq!(doubt.is_dispelled(100, 999 + WAIT_MS), None);
        assert_eq!(doubt.is_dispelled(100, 1000 + WAIT_MS), Some(3));
    }

    #[test]
    fn a_small_fleet_is_heard_whole_and_no_fleet_confirms_nothing() {
        let mut doubt = doubt();
        assert_eq!(doubt.is_dispelled(0, u64::MAX), None);
        doubt.heard(&host(0), true, 0);
        assert_eq!(doubt.is_dispelled(2, WAIT_MS), None);
        assert_eq!(doubt.is_dispelled(1, WAIT_MS), Some(1));
        assert_eq!(doubt.is_dispelled(0, WAIT_MS), None);
    }

    #[test]
    fn one_host_that_knows_more_is_enough_against_it_until_it_says_otherwise() {
        let mut doubt = doubt();
        for n in 0..9 {
            doubt.heard(&host(n), n != 4, 0);
        }
        assert_eq!(doubt.is_dispelled(9, WAIT_MS), None);
        doubt.heard(&host(4), true, 1);
        assert_eq!(doubt.is_dispelled(9, WAIT_MS), Some(9));
    }
}
