//! Emergencies that are open or closing, and what they hold. Closed ones leave memory; the log keeps
//! them, and a number below the next one that is not here is a closed one.
//!
//! The moves are those of the table in docs/ISSUANCE.md.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fireaxe_protocol::keys::{Ed25519Key, Fingerprint};
use fireaxe_protocol::log::{Event, Hash};
use fireaxe_protocol::names::{EmergencyId, HostName, IncidentId, PersonName, SystemName};
use fireaxe_protocol::policy::Terms;

use super::FoldError;

/// Where an emergency stands. Closed ones are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Certificates may be issued.
    Open,
    /// None may; the countdown ends at `until`, unix seconds.
    Closing {
        /// Unix seconds.
        until: u64,
    },
}

/// One certificate of an emergency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issued {
    /// Serial = index of its entry.
    pub serial: u64,
    /// Its end, unix seconds.
    pub valid_before: u64,
}

/// An emergency that is open or closing.
#[derive(Debug)]
pub struct Live {
    /// Its number.
    pub id: EmergencyId,
    /// Index of its `emergency.declared` entry.
    pub index: u64,
    /// Leaf of that entry.
    pub leaf: Hash,
    /// Who declared it.
    pub person: PersonName,
    /// The system it opens.
    pub system: SystemName,
    /// The one host, if it is one.
    pub host: Option<HostName>,
    /// The incident it rests on.
    pub incident: Option<IncidentId>,
    /// The fresh key it certifies.
    pub fresh_key: Ed25519Key,
    /// Open or closing.
    pub phase: Phase,
    /// When it was declared, unix seconds.
    pub declared_at: u64,
    /// When it ends by itself, unix seconds.
    pub until: u64,
    /// A bare claim must be tied to an incident by then.
    pub link_by: Option<u64>,
    /// Whether it has been.
    pub linked: bool,
    terms: Option<(Hash, u32)>,
    certificates: Vec<Issued>,
}

impl Live {
    #[cfg(test)]
    pub(super) fn terms_hash(&self) -> Option<Hash> {
        self.terms.map(|(hash, _)| hash)
    }

    /// Its certificates, oldest first.
    pub fn certificates(&self) -> &[Issued] {
        &self.certificates
    }

    /// Serials that are still alive at `now`: what closing revokes.
    pub fn alive(&self, now: u64) -> Vec<u64> {
        self.certificates.iter().filter(|c| c.valid_before > now).map(|c| c.serial).collect()
    }

    /// The next moment at which the clock alone changes something, unix seconds.
    pub fn due(&self) -> u64 {
        let end = match self.phase {
            Phase::Open => self.until,
            Phase::Closing { until } => until.min(self.until),
        };
        match self.link_by {
            Some(link_by) if !self.linked => end.min(link_by),
            _ => end,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Emergencies {
    live: BTreeMap<EmergencyId, Live>,
    by_leaf: HashMap<Hash, EmergencyId>,
    by_fresh_key: HashMap<Fingerprint, EmergencyId>,
    by_due: BTreeSet<(u64, EmergencyId)>,
    /// What is open of a system, by who opened it and for which incident: "one host alone" is asked at each
    /// declaration and must not walk through all that is open.
    open_by_person: HashMap<(PersonName, SystemName), Scopes>,
    open_by_incident: HashMap<(IncidentId, SystemName), Scopes>,
    declared: u64,
}

impl Emergencies {
    /// The number the next one will have.
    pub fn next_id(&self) -> EmergencyId {
        EmergencyId(self.declared + 1)
    }

    /// One by number.
    pub fn get(&self, id: EmergencyId) -> Option<&Live> {
        self.live.get(&id)
    }

    /// One by the leaf of its declaration.
    pub fn by_leaf(&self, leaf: &Hash) -> Option<&Live> {
        self.live.get(self.by_leaf.get(leaf)?)
    }

    /// One by its fresh key.
    pub fn by_fresh_key(&self, key: &Fingerprint) -> Option<&Live> {
        self.live.get(self.by_fresh_key.get(key)?)
    }

    /// Whether that number was ever given.
    pub fn was_declared(&self, id: EmergencyId) -> bool {
        id.0 >= 1 && id.0 <= self.declared
    }

    /// Whether another host of `system` than `host` is open, by `person` or for `incident`. A system
    /// opened whole opens all its hosts.
    pub fn other_host_open(
        &self,
        person: &PersonName,
        incident: Option<&IncidentId>,
        system: &SystemName,
        host: &HostName,
    ) -> bool {
        let other = |open: &Scopes| open.keys().any(|scope| scope.as_ref() != Some(host));
        self.open_by_person.get(&(person.clone(), system.clone())).is_some_and(other)
            || incident.is_some_and(|incident| {
                self.open_by_incident.get(&(incident.clone(), system.clone())).is_some_and(other)
            })
    }

    /// How many are open or closing.
    pub fn count(&self) -> usize {
        self.live.len()
    }

    /// All, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Live> {
        self.live.values()
    }

    /// The earliest moment at which the clock changes something, and for which.
    pub fn next_due(&self) -> Option<(u64, EmergencyId)> {
        self.by_due.first().copied()
    }

    pub(super) fn declare(
        &mut self,
        index: u64,
        leaf: Hash,
        at: u64,
        event: &Event,
        fresh_key: Ed25519Key,
        linked: bool,
    ) -> Result<(), FoldError> {
        let Event::EmergencyDeclared { emergency, facts, decision, until, link_by, .. } = event else {
            return Err(FoldError::NotOpen(index));
        };
        if *emergency != self.next_id() {
            return Err(FoldError::Number(index, emergency.0));
        }
        let live = Live {
            id: *emergency,
            index,
            leaf,
            person: facts.person.clone(),
            system: facts.target.system.clone(),
            host: facts.target.host.clone(),
            incident: decision.rests_on(facts).map(|i| i.id.clone()),
            fresh_key,
            phase: Phase::Open,
            declared_at: at,
            until: *until,
            link_by: *link_by,
            linked,
            terms: decision.terms_now().map(|t: &Terms| (t.hash(), t.lifetime_s)),
            // Nearly always one; thousands may be open at once.
            certificates: Vec::with_capacity(1),
        };
        self.declared = emergency.0;
        self.by_leaf.insert(leaf, live.id);
        self.by_fresh_key.insert(fresh_key.fingerprint(), live.id);
        self.by_due.insert((live.due(), live.id));
        count(&mut self.open_by_person, (live.person.clone(), live.system.clone()), &live.host);
        if let Some(incident) = &live.incident {
            count(&mut self.open_by_incident, (incident.clone(), live.system.clone()), &live.host);
        }
        self.live.insert(live.id, live);
        Ok(())
    }

    pub(super) fn issue(&mut self, index: u64, at: u64, of: &Hash, terms: &Hash) -> Result<(), FoldError> {
        let id = self.by_leaf.get(of).ok_or(FoldError::Dangling(index, *of))?;
        let live = self.live.get_mut(id).ok_or(FoldError::Certificate(index))?;
        match live.terms {
            Some((hash, lifetime_s))
                if hash == *terms
                    && live.phase == Phase::Open
                    && live.certificates.is_empty()
                    && at.saturating_add(lifetime_s.into()) <= live.until =>
            {
                live.certificates.push(Issued { serial: index, valid_before: at + u64::from(lifetime_s) });
                Ok(())
            }
            _ => Err(FoldError::Certificate(index)),
        }
    }

    pub(super) fn link(&mut self, systems: &[SystemName]) {
        let waiting: Vec<EmergencyId> = self
            .live
            .values()
            .filter(|l| l.link_by.is_some() && !l.linked && systems.contains(&l.system))
            .map(|l| l.id)
            .collect();
        for id in waiting {
            self.change(id, |live| live.linked = true);
        }
    }

    pub(super) fn closing(&mut self, index: u64, id: EmergencyId, until: u64) -> Result<(), FoldError> {
        match self.live.get(&id) {
            Some(live) if live.phase == Phase::Open => {}
            _ => return Err(FoldError::NotOpen(index)),
        }
        self.change(id, |live| live.phase = Phase::Closing { until });
        Ok(())
    }

    pub(super) fn close(&mut self, index: u64, id: EmergencyId) -> Result<Live, FoldError> {
        let live = self.live.remove(&id).ok_or(FoldError::NotOpen(index))?;
        self.by_due.remove(&(live.due(), id));
        self.by_leaf.remove(&live.leaf);
        self.by_fresh_key.remove(&live.fresh_key.fingerprint());
        uncount(&mut self.open_by_person, (live.person.clone(), live.system.clone()), &live.host);
        if let Some(incident) = &live.incident {
            uncount(&mut self.open_by_incident, (incident.clone(), live.system.clone()), &live.host);
        }
        Ok(live)
    }

    fn change(&mut self, id: EmergencyId, what: impl FnOnce(&mut Live)) {
        if let Some(live) = self.live.get_mut(&id) {
            self.by_due.remove(&(live.due(), id));
            what(live);
            self.by_due.insert((live.due(), id));
        }
    }
}

/// How often each scope of a system is open: a host, or all of it.
type Scopes = HashMap<Option<HostName>, u32>;

fn count<K: Eq + std::hash::Hash>(by: &mut HashMap<K, Scopes>, key: K, scope: &Option<HostName>) {
    *by.entry(key).or_default().entry(scope.clone()).or_insert(0) += 1;
}

fn uncount<K: Eq + std::hash::Hash>(by: &mut HashMap<K, Scopes>, key: K, scope: &Option<HostName>) {
    if let Some(scopes) = by.get_mut(&key) {
        if let Some(n) = scopes.get_mut(scope) {
            *n -= 1;
            if *n == 0 {
                scopes.remove(scope);
            }
        }
        if scopes.is_empty() {
            by.remove(&key);
        }
    }
}
