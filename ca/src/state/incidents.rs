//! Incidents as the log last heard of them. Evidence, never authority.

use std::collections::BTreeMap;

use fireaxe_protocol::log::IncidentUpdate;
use fireaxe_protocol::names::{IncidentId, SystemName};
use fireaxe_protocol::policy::{IncidentFact, IncidentState, Policy, RAISED_WITHIN_S, TriggerSource};
use serde::{Deserialize, Serialize};

/// All incidents the log knows, by id.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    known: BTreeMap<IncidentId, (IncidentUpdate, u64)>,
    /// When the severity of an incident was last made worse. Only of those whose was.
    raised: BTreeMap<IncidentId, u64>,
}

impl Incidents {
    pub(super) fn update(&mut self, update: &IncidentUpdate, at: u64) {
        let before = self.known.insert(update.incident.clone(), (update.clone(), at));
        // 1 is the worst.
        if before.is_some_and(|(before, _)| update.severity < before.severity) {
            self.raised.insert(update.incident.clone(), at);
        }
    }

    /// Whether its severity was made worse within the last [`RAISED_WITHIN_S`] before `now`. An incident first
    /// heard of is not raised; `None`: the log never heard of it.
    pub fn raised(&self, id: &IncidentId, now: u64) -> Option<bool> {
        self.known.get(id)?;
        Some(self.raised.get(id).is_some_and(|at| now.saturating_sub(*at) <= RAISED_WITHIN_S))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn update(severity: u8, state: IncidentState) -> IncidentUpdate {
        IncidentUpdate {
            incident: "pd:A".parse().unwrap(),
            state,
            severity: severity.try_into().unwrap(),
            systems: vec!["payments-db".parse().unwrap()],
            title: None,
            by: "test".into(),
        }
    }

    #[test]
    fn a_severity_made_worse_is_raised_for_ten_minutes_and_one_first_heard_of_is_not() {
        let mut incidents = Incidents::default();
        let id: IncidentId = "pd:A".parse().unwrap();
        assert_eq!(incidents.raised(&id, 1000), None, "never heard of");
        incidents.update(&update(3, IncidentState::Open), 1000);
        assert_eq!(incidents.raised(&id, 1000), Some(false), "first heard of");
        incidents.update(&update(3, IncidentState::Open), 1001);
        assert_eq!(incidents.raised(&id, 1001), Some(false), "the same again");
        incidents.update(&update(4, IncidentState::Open), 1002);
        assert_eq!(incidents.raised(&id, 1002), Some(false), "milder");
        incidents.update(&update(1, IncidentState::Open), 2000);
        assert_eq!(incidents.raised(&id, 2000), Some(true));
        assert_eq!(incidents.raised(&id, 2600), Some(true), "at the edge");
        assert_eq!(incidents.raised(&id, 2601), Some(false), "one past it");
        // What happens since does not hide it.
        incidents.update(&update(1, IncidentState::Open), 2100);
        incidents.update(&update(2, IncidentState::Open), 2200);
        assert_eq!(incidents.raised(&id, 2600), Some(true), "still within ten minutes");
        // Over, and again, and worse.
        incidents.update(&update(2, IncidentState::Resolved), 5000);
        incidents.update(&update(1, IncidentState::Open), 6000);
        assert_eq!(incidents.raised(&id, 6000), Some(true), "opened again as something worse");
    }
}
