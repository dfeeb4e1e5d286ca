//! What the log remembers of one name: bounded, however long the log gets. A person with several names has
//! several; [`super::History`] reads them together, by the roster of the moment.

use std::collections::VecDeque;

use fireaxe_protocol::api::RecentUse;
use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::names::{PersonName, SystemName};
use fireaxe_protocol::policy::{Cidr, NEAR_H, RATE_WITHIN_S, UNUSED};
use serde::{Deserialize, Serialize};

/// When, whence and for what somebody declared: learned once it was granted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Habit {
    /// Hour of day, UTC, 0 to 23.
    pub(super) hour: u32,
    pub(super) network: Option<Cidr>,
    pub(super) system: SystemName,
}

/// A request that people approved until it was granted.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ApprovedRequest {
    /// Index of the entry that gave it.
    pub(super) index: u64,
    pub(super) by: Vec<PersonName>,
}

/// All of it. Sizes: at the foot of the file.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Past {
    /// Declarations that taught a habit, and how many of them had a network.
    pub(super) learned: u32,
    pub(super) with_network: u32,
    /// A bit for each hour of day.
    hours: u32,
    networks: Latest<Cidr, NETWORKS>,
    systems: Latest<SystemName, SYSTEMS>,
    keys: Latest<Fingerprint, KEYS>,
    pub(super) declared: LastHour,
    pub(super) asked: LastHour,
    pub(super) approved: LastHour,
    pub(super) called: LastHour,
    /// Index of a closing that told of uses, and whether there were none. Oldest first.
    closings: VecDeque<(u64, bool)>,
    /// Oldest first.
    recent: VecDeque<RecentUse>,
    /// Oldest first.
    granted: VecDeque<ApprovedRequest>,
}

impl Past {
    pub(super) fn learn(&mut self, habit: Habit) {
        self.learned = self.learned.saturating_add(1);
        self.hours |= bit(habit.hour);
        self.systems.note(habit.system);
        if let Some(network) = habit.network {
            self.with_network = self.with_network.saturating_add(1);
            self.networks.note(network);
        }
    }

    pub(super) fn signed(&mut self, key: Fingerprint) {
        self.keys.note(key);
    }

    pub(super) fn opened(&mut self, emergency: RecentUse) {
        push(&mut self.recent, emergency, RECENT);
    }

    pub(super) fn closed(&mut self, index: u64, unused: bool) {
        push(&mut self.closings, (index, unused), UNUSED);
    }

    pub(super) fn granted(&mut self, request: ApprovedRequest) {
        push(&mut self.granted, request, GRANTED);
    }

    /// Whether `hour` of day is within [`NEAR_H`] of one that was learned, around midnight too.
    pub(super) fn knows_hour(&self, hour: u32) -> bool {
        (0..=NEAR_H).any(|off| self.hours & (bit(hour + off) | bit(hour + 24 - off)) != 0)
    }

    pub(super) fn knows_network(&self, network: &Cidr) -> bool {
        self.networks.has(network)
    }

    pub(super) fn knows_system(&self, system: &SystemName) -> bool {
        self.systems.has(system)
    }

    pub(super) fn knows_key(&self, key: &Fingerprint) -> bool {
        self.keys.has(key)
    }

    pub(super) fn knows_any_key(&self) -> bool {
        !self.keys.0.is_empty()
    }

    pub(super) fn closings(&self) -> impl Iterator<Item = (u64, bool)> {
        self.closings.iter().copied()
    }

    pub(super) fn recent(&self) -> impl Iterator<Item = &RecentUse> {
        self.recent.iter()
    }

    pub(super) fn granted_requests(&self) -> impl Iterator<Item = &ApprovedRequest> {
        self.granted.iter()
    }

    /// How many things it holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let hour = [&self.declared, &self.asked, &self.approved, &self.called];
        self.networks.0.len()
            + self.systems.0.len()
            + self.keys.0.len()
            + hour.iter().map(|times| times.0.len()).sum::<usize>()
            + self.closings.len()
            + self.recent.len()
            + self.granted.iter().map(|request| 1 + request.by.len()).sum::<usize>()
    }
}

/// The times of the last hour, oldest first.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct LastHour(VecDeque<u64>);

impl LastHour {
    pub(super) fn add(&mut self, at: u64) {
        while self.0.front().is_some_and(|first| !is_within(*first, at)) {
            self.0.pop_front();
        }
        push(&mut self.0, at, PER_HOUR);
    }

    /// How many within the hour before `now`; [`PER_HOUR`] stands for that many or more.
    pub(super) fn count(&self, now: u64) -> u32 {
        let before = self.0.partition_point(|at| !is_within(*at, now));
        u32::try_from(self.0.len() - before).unwrap_or(u32::MAX)
    }
}

fn is_within(at: u64, now: u64) -> bool {
    now.saturating_sub(at) <= RATE_WITHIN_S
}

/// The last `N` distinct values, the one noted last at the end.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Latest<T, const N: usize>(Vec<T>);

impl<T, const N: usize> Default for Latest<T, N> {
    fn default() -> Self {
        Latest(Vec::new())
    }
}

impl<T: PartialEq, const N: usize> Latest<T, N> {
    fn note(&mut self, value: T) {
        if let Some(at) = self.0.iter().position(|known| *known == value) {
            self.0.remove(at);
        } else if self.0.len() >= N {
            self.0.remove(0);
        }
        self.0.push(value);
    }

    fn has(&self, value: &T) -> bool {
        self.0.contains(value)
    }
}

fn push<T>(ring: &mut VecDeque<T>, value: T, most: usize) {
    if ring.len() >= most {
        ring.pop_front();
    }
    ring.push_back(value);
}

fn bit(hour: u32) -> u32 {
    1 << (hour % 24)
}

/// Networks kept of a name: home, office, phone and some years of travel. 64 x 18 bytes.
pub(super) const NETWORKS: usize = 64;
/// Systems kept of a name: more than anybody knows well. 64 x (16 + 48) bytes.
pub(super) const SYSTEMS: usize = 64;
/// Keys kept of a name: a new one each quarter for four years. 16 x 32 bytes.
pub(super) const KEYS: usize = 16;
/// Times kept of an hour: more than the highest limit that a policy can set (200). 256 x 8 bytes, four times:
/// 8 KiB, only of a name that did all four that often within one hour.
pub(super) const PER_HOUR: usize = 256;
/// Emergencies kept of a name: the five that a card shows, and the newest ones that it may be about.
pub(super) const RECENT: usize = 8;
/// Approved requests kept of a name: a longer row of the same pair says nothing more. 16 x (32 + 16 for each
/// approver) bytes.
pub(super) const GRANTED: usize = 16;
