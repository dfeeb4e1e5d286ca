//! Who had a say in an emergency, under every name they have had since: a bundle may rename them, or end
//! that two names are one person's, and they stay who they are for what they took part in.

use std::collections::BTreeSet;

use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::names::PersonName;
use fireaxe_protocol::policy::Roster;
use serde::{Deserialize, Serialize};

/// Somebody who signed something about an emergency.
///
/// What forbids goes by [`Voice::is`], which forgets no name. What permits, or counts people, goes by
/// [`Voice::canonical`], which is today's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voice {
    /// The name of the key that signed, as it was then.
    pub name: PersonName,
    /// The enrolled key that signed.
    pub key: Fingerprint,
    /// Who stands under [`Voice::name`] by the roster in force.
    pub canonical: PersonName,
    /// All names of theirs, by each roster from then on. Only grows.
    names: BTreeSet<PersonName>,
}

impl Voice {
    /// Whoever signs as `name` with `key` now.
    pub(super) fn new(roster: &Roster, name: &PersonName, key: &Fingerprint) -> Voice {
        let canonical = roster.canonical(name).clone();
        let mut names: BTreeSet<PersonName> = roster.names_of(name).cloned().collect();
        names.insert(name.clone());
        Voice { name: name.clone(), key: *key, canonical, names }
    }

    /// Another roster is in force: the names that it gives to any of theirs, or to their key, are theirs too.
    pub(super) fn renamed(&mut self, roster: &Roster) {
        self.canonical = roster.canonical(&self.name).clone();
        let holder = roster.by_key(&self.key).map(|(person, _)| &person.name);
        let theirs = self.names.iter().chain(holder).flat_map(|name| roster.names_of(name));
        let more: Vec<PersonName> = theirs.filter(|name| !self.names.contains(*name)).cloned().collect();
        self.names.extend(more);
    }

    /// Whether `person` is they: by the roster in force, or by any since they signed.
    pub fn is(&self, roster: &Roster, person: &PersonName) -> bool {
        self.names.contains(person) || self.names.contains(roster.canonical(person))
    }
}
