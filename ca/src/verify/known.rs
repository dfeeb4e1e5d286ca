//! What entries said that later ones refer to: of each open emergency the words, and what its decisions gave.

use std::collections::HashMap;

use fireaxe_protocol::certificate::{Fields, Within};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{Entry, Event, Hash, HostPattern, SignedBy};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Pattern, Terms};
use fireaxe_protocol::statement::Statement;

use crate::road::{Came, Words};
use crate::state::State;

/// See the file's top. Of emergencies that are over nothing is kept.
#[derive(Default)]
pub(super) struct Known {
    pub(super) live: HashMap<EmergencyId, Open>,
    by_leaf: HashMap<Hash, EmergencyId>,
    /// By serial: every certificate, for hosts may speak late.
    pub(super) came: HashMap<u64, Came>,
}

pub(super) struct Open {
    pub(super) person: PersonName,
    pub(super) public_key: Ed25519Key,
    /// The owner's newest words.
    pub(super) words: Words,
    /// By the leaf of each entry that decided.
    decided: HashMap<Hash, Gives>,
}

/// What an entry that decided may come to.
struct Gives {
    /// Terms given at once, and terms that wait.
    terms: Vec<Terms>,
    /// The hosts that they reach.
    hosts: Vec<HostPattern>,
    /// The certificates that were made of those terms, each with their hash.
    made: Vec<(Hash, Within)>,
}

impl Known {
    pub(super) fn open(&mut self, entry: &Entry, leaf: Hash, public_key: Ed25519Key, words: Words) {
        if let Some(decided) = entry.event.decided() {
            let person = decided.facts.person.clone();
            let open = Open { person, public_key, words, decided: HashMap::new() };
            self.live.insert(decided.emergency, open);
        }
        self.decided(entry, leaf);
    }

    pub(super) fn decided(&mut self, entry: &Entry, leaf: Hash) {
        let Some(decided) = entry.event.decided() else { return };
        let Some(open) = self.live.get_mut(&decided.emergency) else { return };
        let both = decided.decision.terms_now().into_iter().chain(decided.decision.terms_waiting());
        let terms = both.cloned().collect();
        open.decided.insert(leaf, Gives { terms, hosts: decided.hosts.to_vec(), made: Vec::new() });
        self.by_leaf.insert(leaf, decided.emergency);
    }

    pub(super) fn extended(&mut self, id: EmergencyId, by: &SignedBy, entry: &Entry) {
        let Some(open) = self.live.get_mut(&id) else { return };
        if let (Event::ExtensionRequested { facts, .. }, Ok(Statement::Extend(extend))) =
            (&entry.event, Statement::read(&by.said.statement))
        {
            open.words.extend = Some(extend);
            open.words.facts = facts.clone();
            open.words.key = by.key;
        }
    }

    pub(super) fn terms(&self, of: &Hash, terms: &Hash) -> Option<(EmergencyId, &Open, Terms)> {
        let id = self.by_leaf.get(of)?;
        let open = self.live.get(id)?;
        let found = open.decided.get(of)?.terms.iter().find(|one| one.hash() == *terms)?;
        Some((*id, open, found.clone()))
    }

    /// The terms of a certificate for the one host that its body names, and what it was made of: the certificate
    /// of this decision whose serial the body names, and that is alive; for a host that the decision named and
    /// that the policy still gives the system.
    pub(super) fn narrowed(
        &self,
        state: &State,
        entry: &Entry,
        of: &Hash,
        named: &Hash,
    ) -> Option<(EmergencyId, &Open, Terms, Option<Within>)> {
        let fields = Fields::of_unsigned(entry.body.as_deref()?).ok()?;
        let (host, base) = (fields.only_host()?, fields.within()?.serial);
        let id = self.by_leaf.get(of)?;
        let (open, live) = (self.live.get(id)?, state.emergencies.get(*id)?);
        let gives = open.decided.get(of)?;
        let target = state.bundle()?.policy.resolve(&host.as_str().parse().ok()?).ok()?;
        let reached = gives.hosts.iter().any(|p| p.parse::<Pattern>().is_ok_and(|p| p.matches(&host)));
        if !reached || target.system != live.system {
            return None;
        }
        let (made, within) = gives.made.iter().find(|(_, made)| made.serial == base)?;
        let wide = gives.terms.iter().find(|wide| wide.hash() == *made)?;
        let terms = wide.narrowed(&host, within.until.checked_sub(entry.at)?).ok()?;
        (terms.hash() == *named).then_some((*id, open, terms, Some(*within)))
    }

    /// A certificate was made of the terms of this hash, if the decision gave them as they are.
    pub(super) fn made(&mut self, of: &Hash, terms: &Hash, certificate: Within) {
        let open = self.by_leaf.get(of).and_then(|id| self.live.get_mut(id));
        let Some(gives) = open.and_then(|open| open.decided.get_mut(of)) else { return };
        if gives.terms.iter().any(|one| one.hash() == *terms) {
            gives.made.push((*terms, certificate));
        }
    }

    /// The certificate of that serial, as its entry has it.
    pub(super) fn came(&self, serial: u64) -> Option<&Came> {
        self.came.get(&serial)
    }

    pub(super) fn close(&mut self, id: EmergencyId) {
        if let Some(open) = self.live.remove(&id) {
            open.decided.keys().for_each(|leaf| {
                self.by_leaf.remove(leaf);
            });
        }
    }
}
