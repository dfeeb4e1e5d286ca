//! Incidents as the log last heard of them. Evidence, never authority.

use std::collections::BTreeMap;

use fireaxe_protocol::log::IncidentUpdate;
use fireaxe_protocol::names::{IncidentId, SystemName};
use fireaxe_protocol::policy::{IncidentFact, IncidentState};

/// All incidents the log knows, by id.
#[derive(Debug, Default)]
pub struct Incidents {
    known: BTreeMap<IncidentId, (IncidentUpdate, u64)>,
}

impl Incidents {
    pub(super) fn update(&mut self, update: &IncidentUpdate, at: u64) {
        self.known.insert(update.incident.clone(), (update.clone(), at));
    }

    /// What is known of `id` at `now`; an unknown one has no state.
    pub fn fact(&self, id: &IncidentId, now: u64) -> IncidentFact {
        match self.known.get(id) {
            Some((update, at)) => IncidentFact {
                id: id.clone(),
                state: Some(update.state),
                severity: Some(update.severity),
                systems: update.systems.clone(),
                age_s: now.saturating_sub(*at),
            },
            None => {
                IncidentFact { id: id.clone(), state: None, severity: None, systems: Vec::new(), age_s: 0 }
            }
        }
    }

    /// Up to five open incidents that name `system`, sorted.
    pub fn open_on(&self, system: &SystemName) -> Vec<IncidentId> {
        self.on(system).take(5).cloned().collect()
    }

    /// Whether any open incident names `system`.
    pub fn any_open_on(&self, system: &SystemName) -> bool {
        self.on(system).next().is_some()
    }

    fn on<'a>(&'a self, system: &'a SystemName) -> impl Iterator<Item = &'a IncidentId> {
        self.known
            .iter()
            .filter(move |(_, (u, _))| u.state == IncidentState::Open && u.systems.contains(system))
            .map(|(id, _)| id)
    }
}
