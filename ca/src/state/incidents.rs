//! Incidents as the log last heard of them. Evidence, never authority.

use std::collections::BTreeMap;

use fireaxe_protocol::log::IncidentUpdate;
use fireaxe_protocol::names::{IncidentId, SystemName};
use fireaxe_protocol::policy::{IncidentFact, IncidentState, Policy, TriggerSource};

/// All incidents the log knows, by id.
#[derive(Debug, Default)]
pub struct Incidents {
    known: BTreeMap<IncidentId, (IncidentUpdate, u64)>,
}

impl Incidents {
    pub(super) fn update(&mut self, update: &IncidentUpdate, at: u64) {
        self.known.insert(update.incident.clone(), (update.clone(), at));
    }

    /// The last word on `id`, and when it came.
    pub fn known(&self, id: &IncidentId) -> Option<(&IncidentUpdate, u64)> {
        self.known.get(id).map(|(update, at)| (update, *at))
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

    /// Up to five incidents that count for `system` at `now`, sorted.
    pub fn counting(&self, system: &SystemName, policy: &Policy, now: u64) -> Vec<IncidentId> {
        self.on(system, policy, now).take(5).cloned().collect()
    }

    /// Whether any incident counts for `system` at `now`.
    pub fn any_counts(&self, system: &SystemName, policy: &Policy, now: u64) -> bool {
        self.on(system, policy, now).next().is_some()
    }

    /// Open, of a trigger of the policy, and heard of recently enough: a record that nobody ever resolved
    /// must not tie bare claims for ever.
    fn on<'a>(
        &'a self,
        system: &'a SystemName,
        policy: &'a Policy,
        now: u64,
    ) -> impl Iterator<Item = &'a IncidentId> {
        self.known.iter().filter_map(move |(id, (update, at))| {
            let TriggerSource::Incidents { max_age_s, .. } = &policy.trigger_for(id)?.source else {
                return None;
            };
            let fresh = now.saturating_sub(*at) <= u64::from(*max_age_s);
            (fresh && update.state == IncidentState::Open && update.systems.contains(system)).then_some(id)
        })
    }
}
