//! What an open emergency would still teach. Its habit and the keys that signed for it are learned only once
//! a request of it is granted: given in full, at once or by approval. One that was refused, or lapsed, or is
//! held meanwhile, must not make the next one look usual.

use std::collections::HashMap;

use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::limits::QUORUMS;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{EmergencyId, PersonName};
use serde::{Deserialize, Serialize};

use super::past::{Habit, LastHour};

/// One open emergency.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    person: PersonName,
    drill: bool,
    /// Something was given, so there was something to use.
    given: bool,
    /// What is not learned yet. Boxed, as is what follows: most of what is open has taught it already, and
    /// nobody approves it.
    habit: Option<Box<Habit>>,
    keys: Vec<Signer>,
    /// The request that people approve, and who has.
    approved: Option<Box<(Hash, Vec<Signer>)>>,
    /// What its newest request added to the counts of the hour.
    own: Own,
}

/// Declarations and asks that one request added to what is counted of who made it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Own {
    pub(super) declared: LastHour,
    pub(super) asked: LastHour,
}

/// A person and the key they signed with.
pub(super) type Signer = (PersonName, Fingerprint);

/// What is learned when a request is granted.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) person: PersonName,
    pub(super) habit: Option<Habit>,
    pub(super) keys: Vec<Signer>,
}

impl Open {
    /// Declared at `at`, unix seconds.
    pub(super) fn new(person: PersonName, habit: Habit, key: Fingerprint, drill: bool, at: u64) -> Open {
        let keys = vec![(person.clone(), key)];
        let mut own = Own::default();
        own.declared.add(at);
        Open { person, drill, given: false, habit: Some(Box::new(habit)), keys, approved: None, own }
    }

    /// Who declared it.
    pub(super) fn person(&self) -> &PersonName {
        &self.person
    }

    /// Whether not using it says something: there was a certificate. A rehearsal's opens doors too.
    pub(super) fn could_be_used(&self) -> bool {
        self.given
    }

    /// A rehearsal teaches nothing: it is held when it suits.
    fn grant(&mut self) -> Option<Granted> {
        self.given = true;
        let (habit, keys) = (self.habit.take().map(|habit| *habit), std::mem::take(&mut self.keys));
        (!self.drill).then(|| Granted { person: self.person.clone(), habit, keys })
    }
}

/// All of them, dropped when they close.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct OpenEmergencies {
    by_id: HashMap<EmergencyId, Open>,
    /// Requests that somebody approved.
    by_request: HashMap<Hash, EmergencyId>,
}

impl OpenEmergencies {
    pub(super) fn declare(&mut self, emergency: EmergencyId, open: Open) {
        self.by_id.insert(emergency, open);
    }

    /// What its newest request added, if it is open.
    pub(super) fn own(&self, emergency: EmergencyId) -> Option<&Own> {
        self.by_id.get(&emergency).map(|open| &open.own)
    }

    /// More time is another request: what it adds is its own.
    pub(super) fn extends(&mut self, emergency: EmergencyId) {
        if let Some(open) = self.by_id.get_mut(&emergency) {
            open.own = Own::default();
        }
    }

    /// Its newest request wakes somebody.
    pub(super) fn asks(&mut self, emergency: EmergencyId, at: u64) {
        if let Some(open) = self.by_id.get_mut(&emergency) {
            open.own.asked.add(at);
        }
    }

    /// Somebody signed a request of it too: a second claim, an extension.
    pub(super) fn signs(&mut self, emergency: EmergencyId, signer: Signer) {
        if let Some(open) = self.by_id.get_mut(&emergency)
            && open.keys.len() < KEYS
        {
            open.keys.push(signer);
        }
    }

    /// A new decision: approvals of the one before it are void. Gives what is learned if it grants.
    pub(super) fn decide(
        &mut self,
        emergency: EmergencyId,
        something: bool,
        in_full: bool,
    ) -> Option<Granted> {
        let open = self.by_id.get_mut(&emergency)?;
        if let Some(approved) = open.approved.take() {
            self.by_request.remove(&approved.0);
        }
        open.given |= something;
        if in_full { open.grant() } else { None }
    }

    pub(super) fn approve(&mut self, emergency: EmergencyId, of: &Hash, by: Signer) {
        let Some(open) = self.by_id.get_mut(&emergency) else { return };
        if let Some(before) = open.approved.take_if(|before| before.0 != *of) {
            self.by_request.remove(&before.0);
        }
        self.by_request.insert(*of, emergency);
        let (_, people) = &mut **open.approved.get_or_insert_with(|| Box::new((*of, Vec::new())));
        if people.len() < APPROVERS {
            people.push(by);
        }
    }

    /// A certificate for the request `of`: if people approved it, it is granted, and who they were.
    pub(super) fn issued(&mut self, of: &Hash) -> Option<(Granted, Vec<PersonName>)> {
        let open = self.by_id.get_mut(&self.by_request.remove(of)?)?;
        let (_, approvers) = *open.approved.take()?;
        let people = approvers.iter().map(|(person, _)| person.clone()).collect();
        let mut granted = open.grant()?;
        granted.keys.extend(approvers);
        Some((granted, people))
    }

    pub(super) fn close(&mut self, emergency: EmergencyId) -> Option<Open> {
        let open = self.by_id.remove(&emergency)?;
        if let Some(approved) = &open.approved {
            self.by_request.remove(&approved.0);
        }
        Some(open)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let of =
            |open: &Open| 1 + open.keys.len() + open.approved.as_ref().map_or(0, |approved| approved.1.len());
        self.by_request.len() + self.by_id.values().map(of).sum::<usize>()
    }
}

/// Keys kept of one emergency until it is granted: the declaration's, second claims', a few extensions'.
const KEYS: usize = 16;
/// People who can approve one request: every place of every quorum.
const APPROVERS: usize = QUORUMS * 8;
