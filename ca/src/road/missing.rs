//! What is missing, as far as the service knows without looking for it: of what hosts reported, of closings that
//! nobody confirmed, of reviews. Published by the writer; counted by whoever asks. `log reconcile` finds each of them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use fireaxe_protocol::api::Missing as Counts;

use super::KnownHost;
use crate::state::{Counted, State};

/// How long a host may take to confirm a closing, seconds: it is told within one, sweeps for ten, and reports with
/// its next connection.
pub(crate) const CONFIRM_S: u64 = 60;

/// See the file's top.
#[derive(Debug, Default)]
pub struct Missing {
    held: RwLock<Held>,
}

#[derive(Debug, Default)]
struct Held {
    counted: Counted,
    /// When the reviews that are owed are due, ascending, unix seconds.
    due: Vec<u64>,
    /// By the name of a system or host, oldest first: entry and time.
    closings: HashMap<String, Vec<(u64, u64)>>,
}

impl Missing {
    /// How much is missing at `now`, of these hosts and of all reviews.
    pub fn counts(&self, hosts: &[Arc<KnownHost>], now: u64) -> Counts {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let unconfirmed = hosts.iter().map(|host| held.unconfirmed(host, now)).sum();
        let overdue = held.due.partition_point(|due| *due < now) as u64;
        Counts { unrecorded: held.counted.unrecorded, unusual: held.counted.unusual, unconfirmed, overdue }
    }

    /// Takes over what hosts reported.
    pub(super) fn set_counted(&self, state: &State) {
        self.held.write().unwrap_or_else(PoisonError::into_inner).counted = state.reported.counted();
    }

    /// Takes over which reviews are owed.
    pub(super) fn set_reviews(&self, state: &State) {
        let mut due: Vec<u64> = state.reviews.iter().map(|owed| owed.due).collect();
        due.sort_unstable();
        self.held.write().unwrap_or_else(PoisonError::into_inner).due = due;
    }

    /// Takes over which closings are owed confirmations.
    pub(super) fn set_closings(&self, state: &State) {
        self.held.write().unwrap_or_else(PoisonError::into_inner).closings = state.reported.closings();
    }
}

impl Held {
    /// Closings that reached `host`, that it has not confirmed, and that are a minute old.
    fn unconfirmed(&self, host: &KnownHost, now: u64) -> u64 {
        let scopes = [host.system.as_str(), host.host.as_str()];
        let of_scope = |closings: &Vec<(u64, u64)>| {
            let known = closings.partition_point(|(entry, _)| *entry <= host.confirmed);
            let late = closings.partition_point(|(_, at)| at.saturating_add(CONFIRM_S) < now);
            late.saturating_sub(known) as u64
        };
        scopes.iter().filter_map(|scope| self.closings.get(*scope)).map(of_scope).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fireaxe_protocol::keys::Ed25519Key;
    use fireaxe_protocol::log::Hash;
    use fireaxe_protocol::statement::EnrolledKey;

    #[test]
    fn a_closing_counts_for_each_host_that_it_reached_once_it_is_a_minute_old() {
        let key = Ed25519Key(ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
        let host = |name: &str, confirmed: u64| {
            Arc::new(KnownHost {
                host: name.parse().unwrap(),
                system: "payments-db".parse().unwrap(),
                key: EnrolledKey::of_host(&key).unwrap(),
                public_key: key,
                token: Hash([0; 32]),
                enrolment: Hash([0; 32]),
                enrolled_at: 0,
                seq: 0,
                hour: crate::state::Hour::default(),
                confirmed,
            })
        };
        let missing = Missing::default();
        {
            let mut held = missing.held.write().unwrap();
            held.closings.insert("payments-db".into(), vec![(10, 1000), (20, 1030)]);
            held.closings.insert("db-4.payments.prod".into(), vec![(15, 1010)]);
            held.due = vec![500, 1500];
        }
        let hosts = [host("db-3.payments.prod", 10), host("db-4.payments.prod", 0)];
        let at = |now: u64| {
            let counts = missing.counts(&hosts, now);
            (counts.unconfirmed, counts.overdue)
        };
        assert_eq!(at(1000 + CONFIRM_S), (0, 1));
        assert_eq!(at(1001 + CONFIRM_S), (1, 1), "db-3 has confirmed that one");
        assert_eq!(at(1011 + CONFIRM_S), (2, 1));
        assert_eq!(at(1501), (4, 2));
    }
}
