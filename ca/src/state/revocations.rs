//! Revoked serials that still matter: until a day after their certificate would have ended anyway, by the
//! log's time. So the list is a function of the log, and a wall that is wrong for a while drops nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fireaxe_protocol::limits::{KRL_KEEP_S, STATEMENT_WINDOW_S};
use serde::{Deserialize, Serialize};

/// Revoked serials, and the version of the list that holds them.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revocations {
    /// Serial to the time from which it need not be listed.
    serials: BTreeMap<u64, u64>,
    by_end: BTreeSet<(u64, u64)>,
    abandoned: BTreeSet<u64>,
    by_age: VecDeque<(u64, u64)>,
    version: u64,
}

impl Revocations {
    /// Entry `entry` revokes these serials, each with the end of its certificate, unix seconds.
    pub(super) fn revoke(&mut self, entry: u64, revoked: impl Iterator<Item = (u64, u64)>) {
        for (serial, valid_before) in revoked {
            let until = valid_before.saturating_add(KRL_KEEP_S);
            self.serials.insert(serial, until);
            self.by_end.insert((until, serial));
            self.version = entry;
        }
    }

    /// An entry of time `at` says that `serial` is not signed again.
    pub(super) fn abandon(&mut self, serial: u64, at: u64) {
        self.abandoned.insert(serial);
        self.by_age.push_back((at, serial));
    }

    /// Whether `serial` is revoked (and not yet forgotten).
    pub fn is_revoked(&self, serial: u64) -> bool {
        self.serials.contains_key(&serial)
    }

    /// Whether a `certificate.abandoned` entry exists for it (and may still be asked for).
    pub fn is_abandoned(&self, serial: u64) -> bool {
        self.abandoned.contains(&serial)
    }

    /// The list's version: index of the newest entry that revoked something.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The serials to list, ascending.
    pub fn listed(&self) -> Vec<u64> {
        self.serials.keys().copied().collect()
    }

    /// Drops what does not matter any more once the log's time is `reached`.
    pub(super) fn forget(&mut self, reached: u64) {
        while let Some((until, serial)) = self.by_end.first().copied()
            && until <= reached
        {
            self.by_end.remove(&(until, serial));
            self.serials.remove(&serial);
        }
        // A declaration is retried within twice the window of its time, which may be one window ahead.
        while let Some((at, serial)) = self.by_age.front().copied()
            && at.saturating_add(3 * STATEMENT_WINDOW_S) < reached
        {
            self.by_age.pop_front();
            self.abandoned.remove(&serial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = 1_000_000;

    #[test]
    fn a_revoked_serial_is_listed_for_a_day_after_its_end_and_then_dropped() {
        let mut revocations = Revocations::default();
        revocations.revoke(9, [(7, END), (5, END)].into_iter());
        assert_eq!((revocations.listed(), revocations.version()), (vec![5, 7], 9));
        revocations.forget(END + KRL_KEEP_S - 1);
        assert!(revocations.is_revoked(5) && revocations.is_revoked(7));
        revocations.forget(END + KRL_KEEP_S);
        assert!(revocations.listed().is_empty());
        assert_eq!(revocations.version(), 9, "a shorter list is no newer list");
    }

    #[test]
    fn closing_what_holds_nothing_alive_makes_no_new_version() {
        let mut revocations = Revocations::default();
        revocations.revoke(9, [(7, END)].into_iter());
        revocations.revoke(10, [].into_iter());
        assert_eq!(revocations.version(), 9);
    }

    #[test]
    fn an_abandoned_serial_is_remembered_as_long_as_it_can_be_asked_for() {
        let mut revocations = Revocations::default();
        revocations.abandon(7, 1000);
        revocations.forget(1000 + 3 * STATEMENT_WINDOW_S);
        assert!(revocations.is_abandoned(7));
        revocations.forget(1001 + 3 * STATEMENT_WINDOW_S);
        assert!(!revocations.is_abandoned(7));
    }
}
