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
    /// Whether its newest ones came from a mirror: what that lacks, this lacks too.
    #[serde(default)]
    pub(super) refilled: bool,
}

/// A doubt, and what hosts have said.
#[derive(Debug)]
pub(super) struct Doubt {
    why: Why,
    /// See [`Mark::refilled`].
    pub(super) refilled: bool,
    /// When the first host was heard: the clock's even hand.
    since_ms: Option<u64>,
    hosts: HashMap<HostName, Word>,
}

/// A host's word.
#[derive(Debug, Clone, Copy)]
struct Word {
    /// Whether the newest head that it saw lies in the log, as it said last.
    lies_in_it: bool,
    /// When it was first heard: the clock's even hand.
    since_ms: u64,
}

/// Enough of the hosts' words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dispelled {
    /// How many confirmed the head.
    pub(super) by: usize,
    /// Who said for too long that they know more, and showed nothing.
    pub(super) ignored: Vec<HostName>,
}

impl Doubt {
    pub(super) fn of(mark: Mark) -> Doubt {
        Doubt { why: mark.why, refilled: mark.refilled, since_ms: None, hosts: HashMap::new() }
    }

    pub(super) fn said(&self) -> Fenced {
        Fenced::Unconfirmed { why: self.why, heard: self.confirmed() }
    }

    fn confirmed(&self) -> usize {
        self.hosts.values().filter(|word| word.lies_in_it).count()
    }

    pub(super) fn heard(&mut self, host: &HostName, lies_in_it: bool, tick_ms: u64) {
        self.since_ms.get_or_insert(tick_ms);
        let word = self.hosts.entry(host.clone()).or_insert(Word { lies_in_it, since_ms: tick_ms });
        word.lies_in_it = lies_in_it;
    }

    /// Who was enough, if they were: three, or all there are if there are fewer, and none that knows more, after
    /// each had the time to say so.
    ///
    /// One that really saw more has the note of it, which raises the fence itself. So a bare word against the log
    /// counts for [`SHOW_MS`] only: else one hostile host could keep a CA in doubt for ever.
    pub(super) fn is_dispelled(&self, enrolled: usize, tick_ms: u64) -> Option<Dispelled> {
        let waited = self.since_ms.is_some_and(|since| tick_ms.saturating_sub(since) >= WAIT_MS);
        let mut ignored = Vec::new();
        for (host, word) in self.hosts.iter().filter(|(_, word)| !word.lies_in_it) {
            if tick_ms.saturating_sub(word.since_ms) < SHOW_MS {
                return None;
            }
            ignored.push(host.clone());
        }
        let (by, needed) = (self.confirmed(), enrolled.saturating_sub(ignored.len()).min(HOSTS));
        (waited && needed > 0 && by >= needed).then_some(Dispelled { by, ignored })
    }
}

/// Hosts that must have spoken.
const HOSTS: usize = 3;
/// How long the others are waited for, from the first one's word on: two heartbeats of at most 66 s, and the 20 s
/// in which news is said.
const WAIT_MS: u64 = 150_000;
/// How long a host that says it knows more has to show it, from its first word on: the wait, and once more.
const SHOW_MS: u64 = 2 * WAIT_MS;

#[cfg(test)]
mod tests {
    use super::*;

    fn doubt() -> Doubt {
        Doubt::of(Mark { v: 1, why: Why::Copied, size: 9, refilled: false })
    }

    fn host(n: u32) -> HostName {
        format!("db-{n}.payments.prod").parse().unwrap()
    }

    fn by(by: usize) -> Option<Dispelled> {
        Some(Dispelled { by, ignored: Vec::new() })
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
        assert_eq!(doubt.is_dispelled(100, 1000 + WAIT_MS), by(3));
    }

    #[test]
    fn a_small_fleet_is_heard_whole_and_no_fleet_confirms_nothing() {
        let mut doubt = doubt();
        assert_eq!(doubt.is_dispelled(0, u64::MAX), None);
        doubt.heard(&host(0), true, 0);
        assert_eq!(doubt.is_dispelled(2, WAIT_MS), None);
        assert_eq!(doubt.is_dispelled(1, WAIT_MS), by(1));
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
        assert_eq!(doubt.is_dispelled(9, WAIT_MS), by(9));
    }

    #[test]
    fn a_host_that_shows_nothing_holds_a_fleet_up_for_a_bounded_time_and_confirms_nothing_itself() {
        let mut doubt = doubt();
        doubt.heard(&host(0), false, 1000);
        doubt.heard(&host(1), true, 1000);
        // Also if it says something else in between: its time began with its first word.
        doubt.heard(&host(0), true, 1000 + WAIT_MS - 1);
        doubt.heard(&host(0), false, 1000 + WAIT_MS);
        assert_eq!(doubt.is_dispelled(3, 999 + SHOW_MS), None);
        assert_eq!(doubt.is_dispelled(3, 1000 + SHOW_MS), None, "the third may still speak");
        doubt.heard(&host(2), true, 1000 + SHOW_MS);
        let enough = doubt.is_dispelled(3, 1000 + SHOW_MS);
        assert_eq!(enough, Some(Dispelled { by: 2, ignored: vec![host(0)] }));
        let mut alone = self::doubt();
        alone.heard(&host(0), false, 0);
        assert_eq!(alone.is_dispelled(1, u64::MAX), None, "nobody is left to confirm it");
    }
}
