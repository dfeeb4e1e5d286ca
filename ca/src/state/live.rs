//! One emergency that is open or closing: its phase, its newest request, what it holds, who took part.
//! The moves between these are `emergencies.rs`'s.

use std::sync::Arc;

use fireaxe_protocol::certificate::Within;
use fireaxe_protocol::keys::{Ed25519Key, Fingerprint};
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{
    EmergencyId, GroupName, HostName, IncidentId, PersonName, ReasonText, Severity, SystemName,
};
use fireaxe_protocol::policy::{Awaits, Roster, Rung, Terms, is_met, missing};
use serde::{Deserialize, Serialize};

use super::Voice;
use super::narrowed::Narrowed;

/// Where an emergency stands. Closed ones are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Certificates may be issued.
    Open,
    /// None may; the countdown ends at `until`, unix seconds.
    Closing {
        /// Unix seconds.
        until: u64,
    },
}

/// One certificate that a decision gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Serial = index of its entry.
    pub serial: u64,
    /// Its end, unix seconds.
    pub valid_before: u64,
    /// Leaf of the entry whose decision gave it.
    pub of: Hash,
    /// Hash of its terms.
    pub terms: Hash,
    /// The terms: what it may be narrowed from.
    pub gives: Arc<Terms>,
}

impl Issued {
    /// What a certificate that is made of it says of it.
    pub fn within(&self) -> Within {
        Within { serial: self.serial, until: self.valid_before }
    }
}

/// An emergency that is open or closing.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Its number.
    pub id: EmergencyId,
    /// Index of its `emergency.declared` entry.
    pub index: u64,
    /// Leaf of that entry.
    pub leaf: Hash,
    /// Who declared it, under the name of the key that signed.
    pub person: PersonName,
    /// The enrolled key that declared it.
    pub key: Fingerprint,
    /// Everybody who asked for it: the declarer first, then who signed the claim too.
    pub requesters: Vec<Voice>,
    /// Everybody else who had a say in it: they do not review it either.
    pub(super) others: Vec<Voice>,
    /// The system it opens.
    pub system: SystemName,
    /// The one host, if it is one.
    pub host: Option<HostName>,
    /// The incident it rests on.
    pub incident: Option<IncidentId>,
    /// The severity that counted at the newest decision.
    pub severity: Option<Severity>,
    /// A marked rehearsal.
    pub drill: bool,
    /// The fresh key it certifies.
    pub fresh_key: Ed25519Key,
    /// Open or closing.
    pub phase: Phase,
    /// When it was declared, unix seconds.
    pub declared_at: u64,
    /// When it ends by itself, unix seconds: with its last certificate, or with the last wait.
    pub until: u64,
    /// A bare claim must be tied to an incident by then.
    pub link_by: Option<u64>,
    /// Whether it has been.
    pub linked: bool,
    /// How often it was extended.
    pub extensions: u8,
    /// Index of the entry with the newest words of its owner: its declaration, or an extension.
    pub words: u64,
    /// What was decided last.
    pub request: Request,
    /// Leaf and index of the entries that decided before that: an approval of one of them came too late.
    pub earlier: Vec<(Hash, u64)>,
    pub(super) certificates: Vec<Issued>,
    /// What was made of them for single hosts, oldest first. Those that have ended are dropped as others come.
    pub(super) narrowed: Vec<Narrowed>,
}

/// The newest entry that decided something about an emergency, and what came of it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its leaf: what approvals and certificates refer to.
    pub leaf: Hash,
    /// Its index.
    pub index: u64,
    /// Its time, unix seconds.
    pub at: u64,
    /// What may be issued now: the terms with their hash, and when they were given. Taken by the issue.
    pub(super) grantable: Option<(Hash, Arc<Terms>, u64)>,
    /// What waits for approval.
    pub waiting: Option<Box<Wait>>,
    /// How the waiting ended, if it did.
    pub settled: Option<Settled>,
    /// The claim waits for further signatures.
    pub awaits: Option<Awaits>,
}

/// Terms that wait for approval.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    /// The terms.
    pub full: Terms,
    /// Who is asked when; the first rung at once.
    pub ladder: Vec<Rung>,
    /// The rungs called so far, in order.
    pub called: Vec<Call>,
    /// When it lapses, unix seconds.
    pub until: u64,
    /// Who has approved it, in order.
    pub approvals: Vec<Approval>,
}

/// A rung that was called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// When, unix seconds.
    pub at: u64,
    /// Its groups.
    pub groups: Vec<GroupName>,
    /// Who of them may approve this.
    pub people: Vec<PersonName>,
}

/// One approval that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The canonical person.
    pub person: PersonName,
    /// The groups of the name they signed under.
    pub groups: Vec<GroupName>,
}

impl AsRef<[GroupName]> for Approval {
    fn as_ref(&self) -> &[GroupName] {
        &self.groups
    }
}

/// How a request that waited ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settled {
    /// The quorum was met.
    Given,
    /// Somebody who may said no.
    Refused {
        /// Who.
        by: PersonName,
        /// Why.
        reason: ReasonText,
    },
    /// Nobody answered in time, or the emergency began to close.
    Lapsed,
}

impl Wait {
    /// What is still missing.
    pub fn missing(&self) -> Vec<fireaxe_protocol::policy::Approvals> {
        missing(&self.full.approvals, &self.approvals)
    }

    /// Whether everybody who is needed has approved.
    pub fn is_met(&self) -> bool {
        is_met(&self.full.approvals, &self.approvals)
    }

    /// Whether members of these groups may answer it.
    pub fn may_answer(&self, groups: &[GroupName]) -> bool {
        self.full.approvals.iter().flat_map(|quorum| &quorum.from).any(|group| groups.contains(group))
    }

    /// The rung that is called next, and when, for a request of time `at`.
    pub fn next_rung(&self, at: u64) -> Option<(u64, &Rung)> {
        let rung = self.ladder.get(self.called.len())?;
        Some((at.saturating_add(rung.after_s.into()), rung))
    }
}

impl Live {
    /// Whether `person` asked for it, or signed the claim too, under any name that they have had since.
    pub fn is_asked_by(&self, roster: &Roster, person: &PersonName) -> bool {
        self.requesters.iter().any(|voice| voice.is(roster, person))
    }

    /// Whether it is `person`'s own: the roster in force says that they are who declared it.
    pub fn is_owned_by(&self, roster: &Roster, person: &PersonName) -> bool {
        roster.canonical(&self.person) == roster.canonical(person)
    }

    /// Somebody who did not ask for it has a say in it. Nobody is kept twice.
    pub(super) fn has_a_say(&mut self, voice: Voice) {
        if !self.others.contains(&voice) {
            self.others.push(voice);
        }
    }

    /// Another roster is in force.
    pub(super) fn renamed(&mut self, roster: &Roster) {
        self.requesters.iter_mut().chain(&mut self.others).for_each(|voice| voice.renamed(roster));
    }

    /// The certificates that decisions gave, oldest first.
    pub fn certificates(&self) -> &[Issued] {
        &self.certificates
    }

    /// Serials that are still alive at `now`, ascending: what closing revokes.
    pub fn alive(&self, now: u64) -> Vec<u64> {
        let mut alive: Vec<u64> =
            self.ends().filter(|(_, valid_before)| *valid_before > now).map(|(serial, _)| serial).collect();
        alive.sort_unstable();
        alive
    }

    /// Serial and end, unix seconds, of every certificate: those that decisions gave, and those for single hosts.
    pub(super) fn ends(&self) -> impl Iterator<Item = (u64, u64)> {
        let given = self.certificates.iter().map(|c| (c.serial, c.valid_before));
        given.chain(self.narrowed.iter().map(|c| (c.serial, c.valid_before)))
    }

    #[cfg(test)]
    pub(super) fn terms_hash(&self) -> Option<Hash> {
        let held = self.certificates.first().map(|c| c.terms);
        self.request.grantable.as_ref().map(|(hash, ..)| *hash).or(held)
    }

    /// Whether terms of this hash are held at `now`.
    pub fn holds(&self, terms: &Hash, now: u64) -> bool {
        self.certificates.iter().any(|c| c.terms == *terms && c.valid_before > now)
    }

    /// Whether `of` is an entry that decided about it before the newest one did; its index.
    pub fn superseded(&self, of: &Hash) -> Option<u64> {
        self.earlier.iter().find(|(leaf, _)| leaf == of).map(|(_, index)| *index)
    }

    /// The next moment at which the clock alone changes something, unix seconds.
    pub fn due(&self) -> u64 {
        let end = match self.phase {
            Phase::Open => self.until,
            Phase::Closing { until } => until.min(self.until),
        };
        let end = match self.link_by {
            Some(link_by) if !self.linked => end.min(link_by),
            _ => end,
        };
        match &self.request.waiting {
            Some(wait) => {
                let rung = wait.next_rung(self.request.at).map_or(u64::MAX, |(at, _)| at);
                end.min(wait.until).min(rung)
            }
            None => end,
        }
    }

    /// The end of what it holds and of what it waits for; `floor` if that is nothing.
    pub(super) fn end(&self, floor: u64) -> u64 {
        let held = self.certificates.iter().map(|c| c.valid_before).max();
        let waits = self.request.waiting.as_ref().map(|wait| wait.until);
        held.into_iter().chain(waits).max().unwrap_or(floor).max(floor)
    }
}
