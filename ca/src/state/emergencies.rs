//! Emergencies that are open or closing, and what they hold. Closed ones leave memory; the log keeps
//! them, and a number below the next one that is not here is a closed one.
//!
//! The moves are those of the table in docs/ISSUANCE.md.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fireaxe_protocol::keys::{Ed25519Key, Fingerprint};
use fireaxe_protocol::limits;
use fireaxe_protocol::log::{Decided, Event, Hash};
use fireaxe_protocol::names::{EmergencyId, GroupName, HostName, IncidentId, PersonName, SystemName};
use fireaxe_protocol::policy::{Outcome, Roster};
use serde::{Deserialize, Serialize};

use super::FoldError;
use super::Voice;
use super::live::{Approval, Call, Issued, Live, Phase, Request, Settled, Wait};
use super::narrowed::Narrowed;

/// All of them.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Emergencies {
    /// Boxed: numbers ascend, which leaves the tree's nodes half empty, and empty places should be small.
    live: BTreeMap<EmergencyId, Box<Live>>,
    by_leaf: HashMap<Hash, EmergencyId>,
    by_fresh_key: HashMap<Fingerprint, EmergencyId>,
    by_due: BTreeSet<(u64, EmergencyId)>,
    /// What is open of a system, by who opened it (by canonical name) and for which incident: "one host alone" is asked at each
    /// declaration and must not walk through all that is open.
    open_by_person: HashMap<(PersonName, SystemName), Scopes>,
    open_by_incident: HashMap<(IncidentId, SystemName), Scopes>,
    /// Those that wait for somebody: an approval or a further signature.
    waiting: BTreeSet<EmergencyId>,
    /// Those whose countdown runs.
    closing: BTreeSet<EmergencyId>,
    /// Those whose owner asked for more time at least once.
    extended: BTreeSet<EmergencyId>,
    declared: u64,
}

/// An entry that is being taken: where it stands in the log, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) index: u64,
    pub(super) leaf: Hash,
    pub(super) at: u64,
}

impl Emergencies {
    /// The number the next one will have.
    pub fn next_id(&self) -> EmergencyId {
        EmergencyId(self.declared + 1)
    }

    /// One by number.
    pub fn get(&self, id: EmergencyId) -> Option<&Live> {
        self.live.get(&id).map(Box::as_ref)
    }

    /// One by the leaf of an entry that decided about it.
    pub fn by_leaf(&self, leaf: &Hash) -> Option<&Live> {
        self.get(*self.by_leaf.get(leaf)?)
    }

    /// One by its fresh key.
    pub fn by_fresh_key(&self, key: &Fingerprint) -> Option<&Live> {
        self.get(*self.by_fresh_key.get(key)?)
    }

    /// Whether that number was ever given.
    pub fn was_declared(&self, id: EmergencyId) -> bool {
        id.0 >= 1 && id.0 <= self.declared
    }

    /// Whether another host of `system` than `host` is open, by `person` (a canonical name: nobody is two
    /// people) or for `incident`. A system opened whole opens all its hosts.
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

    /// Those that wait for an approval or a further signature, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Live> {
        self.waiting.iter().filter_map(|id| self.get(*id))
    }

    /// Those whose countdown runs, oldest first.
    pub fn closing_ones(&self) -> impl Iterator<Item = &Live> {
        self.closing.iter().filter_map(|id| self.get(*id))
    }

    /// Those that were given more time, oldest first.
    pub fn extended_ones(&self) -> impl Iterator<Item = &Live> {
        self.extended.iter().filter_map(|id| self.get(*id))
    }

    /// How many are open or closing.
    pub fn count(&self) -> usize {
        self.live.len()
    }

    /// All, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Live> {
        self.live.values().map(Box::as_ref)
    }

    /// The earliest moment at which the clock changes something, and for which.
    pub fn next_due(&self) -> Option<(u64, EmergencyId)> {
        self.by_due.first().copied()
    }

    /// `fresh_key` and `linked` are what the signed words and the incidents say beside the event.
    pub(super) fn declare(
        &mut self,
        Place { index, leaf, at }: Place,
        event: &Event,
        fresh_key: Ed25519Key,
        linked: bool,
        roster: &Roster,
    ) -> Result<(), FoldError> {
        let Event::EmergencyDeclared { emergency, key, facts, decision, until, link_by, .. } = event else {
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
            key: *key,
            requesters: vec![Voice::new(roster, &facts.person, key)],
            others: Vec::new(),
            system: facts.target.system.clone(),
            host: facts.target.host.clone(),
            incident: decision.rests_on(facts).map(|i| i.id.clone()),
            severity: decision.severity,
            drill: facts.drill,
            fresh_key,
            phase: Phase::Open,
            declared_at: at,
            until: *until,
            link_by: *link_by,
            linked,
            extensions: 0,
            words: index,
            request: request(leaf, index, at, &decision.outcome, decision.awaits.clone()),
            earlier: Vec::new(),
            // Nearly always one; thousands may be open at once.
            certificates: Vec::with_capacity(1),
            narrowed: Vec::new(),
        };
        self.declared = emergency.0;
        self.by_leaf.insert(leaf, live.id);
        self.by_fresh_key.insert(fresh_key.fingerprint(), live.id);
        self.by_due.insert((live.due(), live.id));
        if waits(&live) {
            self.waiting.insert(live.id);
        }
        count_owner(&mut self.open_by_person, &live);
        if let Some(incident) = &live.incident {
            count(&mut self.open_by_incident, (incident.clone(), live.system.clone()), &live.host);
        }
        self.live.insert(live.id, Box::new(live));
        Ok(())
    }

    /// Another roster is in force: who is who is asked again of everybody who had a say.
    pub(super) fn renamed(&mut self, roster: &Roster) {
        self.open_by_person.clear();
        for live in self.live.values_mut() {
            live.renamed(roster);
            count_owner(&mut self.open_by_person, live);
        }
    }

    /// A later entry decided anew: what waited is replaced, what is held goes on. `link_by` is when the claim
    /// that it rests on must be tied to an incident, if it rests on a bare one. A time that runs already goes
    /// on: asking again does not put it off.
    pub(super) fn decide(
        &mut self,
        Place { index, leaf, at }: Place,
        decided: &Decided<'_>,
        link_by: Option<u64>,
        change: impl FnOnce(&mut Live),
    ) -> Result<(), FoldError> {
        let id = decided.emergency;
        if !self.live.contains_key(&id) {
            return Err(FoldError::NotOpen(index));
        }
        self.by_leaf.insert(leaf, id);
        self.rest_on(id, decided.decision.rests_on(decided.facts).map(|incident| incident.id.clone()));
        self.change(id, |live| {
            let outcome = &decided.decision.outcome;
            let newer = request(leaf, index, at, outcome, decided.decision.awaits.clone());
            let older = std::mem::replace(&mut live.request, newer);
            live.earlier.push((older.leaf, older.index));
            live.severity = decided.decision.severity.or(live.severity);
            let runs = live.link_by.is_some() && !live.linked;
            if link_by.is_some() && !runs && !matches!(outcome, Outcome::Refuse { .. }) {
                (live.link_by, live.linked) = (link_by, false);
            }
            change(live);
            live.until = live.end(at);
        });
        Ok(())
    }

    pub(super) fn issue(&mut self, index: u64, at: u64, of: &Hash, terms: &Hash) -> Result<(), FoldError> {
        let id = *self.by_leaf.get(of).ok_or(FoldError::Dangling(index, *of))?;
        let live = self.live.get(&id).ok_or(FoldError::Certificate(index))?;
        match &live.request.grantable {
            Some((hash, gives, given_at))
                if hash == terms
                    && live.phase == Phase::Open
                    && live.request.leaf == *of
                    && *given_at == at =>
            {
                let valid_before = at.saturating_add(gives.lifetime_s.into());
                let gives = gives.clone();
                self.change(id, |live| {
                    live.request.grantable = None;
                    let terms = *terms;
                    live.certificates.push(Issued { serial: index, valid_before, of: *of, terms, gives });
                    live.until = live.end(at);
                });
                Ok(())
            }
            _ => Err(FoldError::Certificate(index)),
        }
    }

    /// A certificate for one host, made out of what `id` holds: when the emergency ends does not change by it.
    pub(super) fn narrow(&mut self, at: u64, id: EmergencyId, narrowed: Narrowed) {
        if let Some(live) = self.live.get_mut(&id) {
            live.narrowed.retain(|one| one.valid_before > at);
            live.narrowed.push(narrowed);
        }
    }

    /// A rung is called: the next one, and no other.
    pub(super) fn call(
        &mut self,
        index: u64,
        id: EmergencyId,
        of: &Hash,
        rung: u8,
        call: Call,
    ) -> Result<(), FoldError> {
        let wait = self.wait(index, id, of)?;
        if wait.called.len() != usize::from(rung) || rung_groups(wait, rung) != Some(&call.groups) {
            return Err(FoldError::Rung(index));
        }
        self.change(id, |live| {
            live.request.waiting.iter_mut().for_each(|wait| wait.called.push(call.clone()))
        });
        Ok(())
    }

    /// An approval counts; the last one that is needed gives the terms.
    pub(super) fn approve(
        &mut self,
        index: u64,
        at: u64,
        id: EmergencyId,
        of: &Hash,
        voice: Voice,
        roster: &Roster,
    ) -> Result<(), FoldError> {
        let groups = roster.person(&voice.name).map(|person| person.groups.clone()).unwrap_or_default();
        let approval = Approval { person: voice.canonical.clone(), groups };
        let wait = self.wait(index, id, of)?;
        if wait.approvals.iter().any(|one| one.person == approval.person)
            || !wait.may_answer(&approval.groups)
        {
            return Err(FoldError::Approval(index));
        }
        match self.live.get(&id) {
            Some(live) if !live.is_asked_by(roster, &voice.name) => {}
            _ => return Err(FoldError::Approval(index)),
        }
        self.change(id, |live| {
            live.has_a_say(voice);
            let request = &mut live.request;
            let met = request.waiting.as_mut().is_some_and(|wait| {
                wait.approvals.push(approval);
                wait.is_met()
            });
            if met && let Some(wait) = request.waiting.take() {
                request.grantable = Some((wait.full.hash(), Arc::new(wait.full), at));
                request.settled = Some(Settled::Given);
            }
        });
        Ok(())
    }

    /// The waiting ends without a grant.
    pub(super) fn settle(
        &mut self,
        index: u64,
        at: u64,
        id: EmergencyId,
        of: &Hash,
        how: Settled,
        by: Option<Voice>,
    ) -> Result<(), FoldError> {
        self.wait(index, id, of)?;
        self.change(id, |live| {
            by.into_iter().for_each(|voice| live.has_a_say(voice));
            live.request.waiting = None;
            live.request.settled = Some(how);
            live.until = live.end(at);
        });
        Ok(())
    }

    fn wait(&self, index: u64, id: EmergencyId, of: &Hash) -> Result<&Wait, FoldError> {
        let live = self.live.get(&id).filter(|live| live.phase == Phase::Open);
        let live = live.ok_or(FoldError::NotOpen(index))?;
        match &live.request.waiting {
            Some(wait) if live.request.leaf == *of => Ok(wait),
            _ => Err(FoldError::Dangling(index, *of)),
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
        self.change(id, |live| {
            live.phase = Phase::Closing { until };
            // Nothing is issued any more, so nobody is asked any more. What is held goes on to its end.
            if live.request.waiting.take().is_some() {
                live.request.settled = Some(Settled::Lapsed);
            }
            live.request.awaits = None;
            live.until = live.end(live.request.at);
        });
        Ok(())
    }

    /// More time was refused. If the emergency was closing, its holder's word that it is not over stops the
    /// countdown; each time counts as an extension, so that it cannot be stopped for ever.
    pub(super) fn hold(&mut self, index: u64, id: EmergencyId) -> Result<(), FoldError> {
        let live = self.live.get(&id).ok_or(FoldError::NotOpen(index))?;
        if live.phase != Phase::Open && live.extensions < limits::HOLDS {
            self.change(id, |live| {
                live.phase = Phase::Open;
                live.extensions = live.extensions.saturating_add(1);
            });
        }
        Ok(())
    }

    pub(super) fn close(&mut self, index: u64, id: EmergencyId) -> Result<Live, FoldError> {
        let live = self.live.remove(&id).ok_or(FoldError::NotOpen(index))?;
        self.by_due.remove(&(live.due(), id));
        self.waiting.remove(&id);
        self.closing.remove(&id);
        self.extended.remove(&id);
        self.by_leaf.remove(&live.request.leaf);
        for (leaf, _) in &live.earlier {
            self.by_leaf.remove(leaf);
        }
        self.by_fresh_key.remove(&live.fresh_key.fingerprint());
        if let Some(owner) = live.requesters.first() {
            uncount(&mut self.open_by_person, (owner.canonical.clone(), live.system.clone()), &live.host);
        }
        if let Some(incident) = &live.incident {
            uncount(&mut self.open_by_incident, (incident.clone(), live.system.clone()), &live.host);
        }
        Ok(*live)
    }

    /// A later decision may rest on another incident than the one before.
    fn rest_on(&mut self, id: EmergencyId, incident: Option<IncidentId>) {
        let Some(live) = self.live.get_mut(&id) else { return };
        if incident.is_none() || live.incident == incident {
            return;
        }
        let before = std::mem::replace(&mut live.incident, incident.clone());
        let (system, host) = (live.system.clone(), live.host.clone());
        if let Some(before) = before {
            uncount(&mut self.open_by_incident, (before, system.clone()), &host);
        }
        if let Some(now) = incident {
            count(&mut self.open_by_incident, (now, system), &host);
        }
    }

    fn change(&mut self, id: EmergencyId, what: impl FnOnce(&mut Live)) {
        if let Some(live) = self.live.get_mut(&id) {
            self.by_due.remove(&(live.due(), id));
            what(live);
            self.by_due.insert((live.due(), id));
            if waits(live) {
                self.waiting.insert(id);
            } else {
                self.waiting.remove(&id);
            }
            if live.extensions > 0 {
                self.extended.insert(id);
            }
            if live.phase == Phase::Open {
                self.closing.remove(&id);
            } else {
                self.closing.insert(id);
            }
        }
    }
}

/// What an outcome leaves to be issued and to be waited for.
fn request(
    leaf: Hash,
    index: u64,
    at: u64,
    outcome: &Outcome,
    awaits: Option<fireaxe_protocol::policy::Awaits>,
) -> Request {
    let (now, waiting) = match outcome {
        Outcome::Permit(terms) => (Some(terms), None),
        Outcome::NeedsApproval { full, meanwhile, ladder, wait_s, .. } => {
            let wait = Wait {
                full: full.clone(),
                ladder: ladder.clone(),
                called: Vec::new(),
                until: at.saturating_add((*wait_s).into()),
                approvals: Vec::new(),
            };
            (meanwhile.as_ref(), Some(Box::new(wait)))
        }
        Outcome::Refuse { .. } => (None, None),
    };
    let grantable = now.map(|terms| (terms.hash(), Arc::new(terms.clone()), at));
    Request { leaf, index, at, grantable, waiting, settled: None, awaits }
}

fn waits(live: &Live) -> bool {
    live.request.waiting.is_some() || live.request.awaits.is_some()
}

fn rung_groups(wait: &Wait, rung: u8) -> Option<&Vec<GroupName>> {
    wait.ladder.get(usize::from(rung)).map(|rung| &rung.groups)
}

/// How often each scope of a system is open: a host, or all of it.
type Scopes = HashMap<Option<HostName>, u32>;

fn count_owner(by: &mut HashMap<(PersonName, SystemName), Scopes>, live: &Live) {
    if let Some(owner) = live.requesters.first() {
        count(by, (owner.canonical.clone(), live.system.clone()), &live.host);
    }
}

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
