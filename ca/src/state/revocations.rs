//! Revoked serials that still matter: until a day after their certificate would have ended anyway.

use std::collections::{BTreeMap, BTreeSet};

use fireaxe_protocol::limits::KRL_KEEP_S;

use super::Issued;

/// Revoked serials, and the version of the list that holds them.
#[derive(Debug, Default, Clone)]
pub struct Revocations {
    /// Serial to the time from which it need not be listed.
    serials: BTreeMap<u64, u64>,
    abandoned: BTreeSet<u64>,
    version: u64,
}

impl Revocations {
    pub(super) fn revoke(&mut self, entry: u64, serials: &[u64], of: &[Issued], now: u64) {
        for serial in serials {
            let ends = of.iter().find(|c| c.serial == *serial).map_or(now, |c| c.valid_before);
            self.serials.insert(*serial, ends.saturating_add(KRL_KEEP_S));
        }
        if !serials.is_empty() {
            self.version = entry;
        }
    }

    pub(super) fn abandon(&mut self, serial: u64) {
        self.abandoned.insert(serial);
    }

    /// Whether `serial` is revoked (and not yet forgotten).
    pub fn is_revoked(&self, serial: u64) -> bool {
        self.serials.contains_key(&serial)
    }

    /// Whether a `certificate.abandoned` entry exists for it.
    pub fn is_abandoned(&self, serial: u64) -> bool {
        self.abandoned.contains(&serial)
    }

    /// The list's version: index of the newest entry that revoked something.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The serials to list at `now`, ascending.
    pub fn listed(&self, now: u64) -> Vec<u64> {
        self.serials.iter().filter(|(_, until)| **until > now).map(|(serial, _)| *serial).collect()
    }

    /// Drops what need not be listed any more at `now`.
    pub fn forget(&mut self, now: u64) {
        self.serials.retain(|_, until| *until > now);
    }
}
