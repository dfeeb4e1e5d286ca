//! One request of a kind at a time for each host: whoever holds one host's key keeps no other host waiting.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use fireaxe_protocol::names::HostName;

use crate::road::Refusal;

/// The hosts that have a request under way.
#[derive(Debug, Default)]
pub struct HostTurns(Mutex<HashSet<HostName>>);

/// A host's turn; over when it is dropped.
#[derive(Debug)]
pub(super) struct HostTurn<'t> {
    host: HostName,
    of: &'t HostTurns,
}

impl HostTurns {
    /// The turn of `host`, whose key must be proved by now: or anybody could take it.
    pub(super) fn take(&self, host: &HostName) -> Result<HostTurn<'_>, Refusal> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.insert(host.clone()) {
            Ok(HostTurn { host: host.clone(), of: self })
        } else {
            Err(Refusal::Busy)
        }
    }
}

impl Drop for HostTurn<'_> {
    fn drop(&mut self) {
        self.of.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.host);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's own steps may fail it")]

    use super::*;

    #[test]
    fn a_host_has_one_turn_at_a_time_and_takes_no_other_hosts() {
        let turns = HostTurns::default();
        let (one, other): (HostName, HostName) =
            ("db-3.payments.prod".parse().unwrap(), "db-4.payments.prod".parse().unwrap());
        let turn = turns.take(&one).unwrap();
        assert_eq!(turns.take(&one).err(), Some(Refusal::Busy));
        assert!(turns.take(&other).is_ok());
        drop(turn);
        assert!(turns.take(&one).is_ok());
    }
}
