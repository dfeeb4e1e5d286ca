//! Emergencies that are over and owed a review, until somebody who took no part makes it.

use std::collections::{BTreeMap, BTreeSet};

use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{EmergencyId, PersonName, SystemName};
use fireaxe_protocol::policy::Roster;
use serde::{Deserialize, Serialize};

use super::Voice;
use super::live::Live;

/// One review that is owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// For which emergency.
    pub id: EmergencyId,
    /// Leaf of its `emergency.declared` entry.
    pub leaf: Hash,
    /// Who declared it.
    pub person: PersonName,
    /// For which system.
    pub system: SystemName,
    /// Who had a say in it: not for them to review.
    pub(super) took_part: Vec<Voice>,
    /// When it ended, unix seconds.
    pub closed_at: u64,
    /// By when the review is due, unix seconds.
    pub due: u64,
}

impl Owed {
    /// Whether `person` had a say in it, under any name that they have had since.
    pub fn has_part(&self, roster: &Roster, person: &PersonName) -> bool {
        self.took_part.iter().any(|voice| voice.is(roster, person))
    }
}

/// All that is owed. Grows with what nobody reviews: a debt is not forgotten.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reviews {
    owed: BTreeMap<EmergencyId, Owed>,
    by_system: BTreeMap<SystemName, BTreeSet<(u64, EmergencyId)>>,
}

impl Reviews {
    /// The review of one emergency, if it is owed.
    pub fn get(&self, id: EmergencyId) -> Option<&Owed> {
        self.owed.get(&id)
    }

    /// Everything that is owed, the earliest emergency first.
    pub fn iter(&self) -> impl Iterator<Item = &Owed> {
        self.owed.values()
    }

    /// How many reviews of a system are overdue at `now`.
    pub fn overdue(&self, system: &SystemName, now: u64) -> u32 {
        let count = self.by_system.get(system).map_or(0, |due| due.range(..(now, EmergencyId(0))).count());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// An emergency ended at `at`, and its review is due at `due`.
    pub(super) fn owe(&mut self, live: Live, at: u64, due: u64) {
        let Live { id, leaf, person, system, requesters: mut took_part, others, .. } = live;
        took_part.extend(others);
        self.by_system.entry(system.clone()).or_default().insert((due, id));
        self.owed.insert(id, Owed { id, leaf, person, system, took_part, closed_at: at, due });
    }

    /// Another roster is in force: who is who is asked again of everybody who had a say.
    pub(super) fn renamed(&mut self, roster: &Roster) {
        let voices = self.owed.values_mut().flat_map(|owed| &mut owed.took_part);
        voices.for_each(|voice| voice.renamed(roster));
    }

    /// Somebody made it; an error if it is not owed or they took part.
    pub(super) fn reviewed(&mut self, id: EmergencyId, roster: &Roster, by: &PersonName) -> Result<(), ()> {
        let owed = self.owed.get(&id).filter(|owed| !owed.has_part(roster, by)).ok_or(())?;
        if let Some(due) = self.by_system.get_mut(&owed.system) {
            due.remove(&(owed.due, id));
            if due.is_empty() {
                self.by_system.remove(&owed.system);
            }
        }
        self.owed.remove(&id);
        Ok(())
    }
}
