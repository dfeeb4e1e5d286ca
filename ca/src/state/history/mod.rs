//! The history that signals are computed from: what each person did before, as the log has it. A pure function
//! of the entries, by their own times. `docs/SIGNALS.md` defines each signal.
//!
//! Filed under the name that stands in the entry and read under all names that the roster of the moment gives
//! a person, so an alias found out later joins what both did. The rooms: `past` (what is kept of a name),
//! `open` (what an open emergency would still teach).

mod open;
mod past;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod model;
#[cfg(test)]
mod world;

use std::collections::{BTreeSet, HashMap};

use fireaxe_protocol::api::RecentUse;
use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::log::{Activation, Closer, Event, SignedBy};
use fireaxe_protocol::names::{EmergencyId, PersonName, SystemName};
use fireaxe_protocol::policy::{Cidr, Decision, Facts, MIN_HISTORY, Outcome, Roster, Signals, UNUSED};
use fireaxe_protocol::statement::Statement;
use serde::{Deserialize, Serialize};

use self::open::{Granted, Open, OpenEmergencies, Signer};
use self::past::{ApprovedRequest, GRANTED, Habit, LastHour, Past};

/// What the log remembers of people. Rebuilt from the log at every start; decides nothing by itself.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    by_name: HashMap<PersonName, Past>,
    open: OpenEmergencies,
}

/// A request whose signals are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Asks<'a> {
    /// Who asks, by any of their names.
    pub person: &'a PersonName,
    /// The enrolled key that signed.
    pub key: &'a Fingerprint,
    /// The /24 or /48 that the request came from; `None` when nobody can tell.
    pub network: Option<Cidr>,
    /// The system asked for.
    pub system: &'a SystemName,
    /// The emergency whose newest request this is, if that is decided anew: it does not count against itself.
    pub anew: Option<EmergencyId>,
    /// What `Incidents::raised` says of the incident named; `Some(false)` when none is named.
    pub severity_raised: Option<bool>,
}

impl History {
    /// Takes what an entry adds. To be called for every entry, in order; `roster` is the one in force before
    /// it. A few hash look-ups; an activation walks through the names once.
    pub(super) fn take(&mut self, index: u64, at: u64, event: &Event, roster: &Roster) {
        match event {
            Event::EmergencyDeclared { emergency, key, facts, decision, .. } => {
                let past = self.past(&facts.person);
                past.declared.add(at);
                past.opened(RecentUse {
                    emergency: *emergency,
                    at,
                    system: facts.target.system.clone(),
                    tier: decision.terms_now().map(|terms| terms.tier.clone()),
                });
                let open = Open::new(facts.person.clone(), habit(facts), *key, facts.drill, at);
                self.open.declare(*emergency, open);
                self.decided(*emergency, decision);
                self.asked(*emergency, at, facts, decision);
            }
            Event::DeclarationRefused { facts, .. } => self.past(&facts.person).declared.add(at),
            Event::EmergencySeconded { emergency, by, facts, decision, .. } => {
                self.open.signs(*emergency, signer(by));
                self.decided(*emergency, decision);
                self.asked(*emergency, at, facts, decision);
            }
            Event::EmergencyRedecided { emergency, decision, .. } => self.decided(*emergency, decision),
            Event::ExtensionRequested { emergency, by, facts, decision, .. } => {
                self.open.signs(*emergency, signer(by));
                self.open.extends(*emergency);
                self.decided(*emergency, decision);
                self.asked(*emergency, at, facts, decision);
            }
            Event::RungCalled { people, .. } => {
                let people: BTreeSet<&PersonName> =
                    people.iter().map(|name| roster.canonical(name)).collect();
                for person in people {
                    self.past(person).called.add(at);
                }
            }
            Event::ApprovalGiven { emergency, of, by } => {
                self.past(&by.person).approved.add(at);
                self.open.approve(*emergency, of, signer(by));
            }
            Event::CertificateIssued { of, .. } => {
                // A certificate for a request that somebody approved: the quorum is met.
                if let Some((granted, by)) = self.open.issued(of) {
                    self.past(&granted.person).granted(ApprovedRequest { index, by });
                    self.learn(granted);
                }
            }
            Event::EmergencyClosed { emergency, by, .. } => self.closed(index, *emergency, by, roster),
            Event::BundleActivated { by, .. } => {
                if let Activation::Admins(admins) = by {
                    for admin in admins {
                        self.past(&admin.person).signed(admin.key);
                    }
                }
                // Names that the whole bundle before did not have: they start again if this one brings them back.
                self.by_name.retain(|name, _| roster.person(name).is_some());
            }
            _ => {}
        }
    }

    /// The signals of a request at `now`.
    pub fn signals(&self, roster: &Roster, asks: &Asks<'_>, now: u64) -> Signals {
        let pasts = self.pasts(roster, asks.person);
        let learned = pasts.iter().fold(0, |sum: u32, past| sum.saturating_add(past.learned));
        let with_network = pasts.iter().fold(0, |sum: u32, past| sum.saturating_add(past.with_network));
        // Nothing can be unusual for somebody of whom too little is known.
        let unless_known = |enough: u32, known: &dyn Fn(&&Past) -> bool| {
            (enough >= MIN_HISTORY).then(|| !pasts.iter().any(known))
        };
        let own = asks.anew.and_then(|emergency| self.open.own(emergency));
        let others =
            |all: u32, own: Option<&LastHour>| all.saturating_sub(own.map_or(0, |own| own.count(now)));
        Signals {
            unusual_hour: unless_known(learned, &|past| past.knows_hour(hour_of(now))),
            new_network: asks
                .network
                .and_then(|network| unless_known(with_network, &|past| past.knows_network(&network))),
            new_key: Some(
                pasts.iter().any(|past| past.knows_any_key())
                    && !pasts.iter().any(|past| past.knows_key(asks.key)),
            ),
            unusual_system: unless_known(learned, &|past| past.knows_system(asks.system)),
            severity_raised: asks.severity_raised,
            never_used: never_used(&pasts),
            declared_1h: others(sum(&pasts, |past| past.declared.count(now)), own.map(|own| &own.declared)),
            asked_1h: others(sum(&pasts, |past| past.asked.count(now)), own.map(|own| &own.asked)),
        }
    }

    /// Emergencies of a person, newest first, at most 5.
    pub fn recent(&self, person: &PersonName, roster: &Roster) -> Vec<RecentUse> {
        self.recent_before(EmergencyId(u64::MAX), person, roster)
    }

    /// Emergencies of a person that were declared before `emergency`, newest first, at most 5: what the card
    /// of `emergency` shows.
    pub fn recent_before(
        &self,
        emergency: EmergencyId,
        person: &PersonName,
        roster: &Roster,
    ) -> Vec<RecentUse> {
        let pasts = self.pasts(roster, person);
        let mut recent: Vec<&RecentUse> = pasts.iter().flat_map(|past| past.recent()).collect();
        recent.retain(|earlier| earlier.emergency < emergency);
        recent.sort_by_key(|earlier| std::cmp::Reverse(earlier.emergency));
        recent.into_iter().take(SHOWN).cloned().collect()
    }

    /// How many approved requests of `requester` in a row, ending with one that `approver` approves now, were
    /// approved by `approver`. To be asked before that approval's entry is taken. At least 1; a row that is
    /// longer than 16 counts as 17.
    pub fn in_a_row(&self, roster: &Roster, requester: &PersonName, approver: &PersonName) -> u32 {
        let approver = roster.canonical(approver);
        let pasts = self.pasts(roster, requester);
        let mut granted: Vec<&ApprovedRequest> =
            pasts.iter().flat_map(|past| past.granted_requests()).collect();
        granted.sort_by_key(|request| std::cmp::Reverse(request.index));
        let by_them =
            |request: &&&ApprovedRequest| request.by.iter().any(|name| roster.canonical(name) == approver);
        let before = granted.iter().take(GRANTED).take_while(by_them).count();
        u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Approvals that this person gave within the hour before `now`.
    pub fn approvals_1h(&self, roster: &Roster, approver: &PersonName, now: u64) -> u32 {
        sum(&self.pasts(roster, approver), |past| past.approved.count(now))
    }

    /// How often a rung called this person within the hour before `now`.
    pub fn asked_of_1h(&self, roster: &Roster, person: &PersonName, now: u64) -> u32 {
        sum(&self.pasts(roster, person), |past| past.called.count(now))
    }

    fn past(&mut self, name: &PersonName) -> &mut Past {
        self.by_name.entry(name.clone()).or_default()
    }

    /// What is known of a person under all their names.
    fn pasts(&self, roster: &Roster, person: &PersonName) -> Vec<&Past> {
        roster.names_of(person).filter_map(|name| self.by_name.get(name)).collect()
    }

    /// A decision about an open emergency: what was approved of the one before it is void.
    fn decided(&mut self, emergency: EmergencyId, decision: &Decision) {
        let in_full = matches!(decision.outcome, Outcome::Permit(_));
        if let Some(granted) = self.open.decide(emergency, decision.terms_now().is_some(), in_full) {
            self.learn(granted);
        }
    }

    fn asked(&mut self, emergency: EmergencyId, at: u64, facts: &Facts, decision: &Decision) {
        if decision.terms_waiting().is_some() {
            self.open.asks(emergency, at);
            self.past(&facts.person).asked.add(at);
        }
    }

    fn learn(&mut self, granted: Granted) {
        if let Some(habit) = granted.habit {
            self.past(&granted.person).learn(habit);
        }
        for (person, key) in granted.keys {
            self.past(&person).signed(key);
        }
    }

    fn closed(&mut self, index: u64, emergency: EmergencyId, by: &Closer, roster: &Roster) {
        let open = self.open.close(emergency);
        let Closer::Person { person, closed, .. } = by else { return };
        let Some(open) = open.filter(|open| open.could_be_used()) else { return };
        if roster.canonical(person) != roster.canonical(open.person()) {
            return;
        }
        // Somebody who closed without a word of uses may have used it or not.
        if let Ok(Statement::Close(words)) = Statement::read(&closed.statement)
            && let Some(uses) = words.uses
        {
            self.past(open.person()).closed(index, uses == 0);
        }
    }

    /// How many things it holds of what is open.
    #[cfg(test)]
    fn open_held(&self) -> usize {
        self.open.held()
    }

    /// How many things it holds.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.open.held() + self.by_name.values().map(|past| 1 + past.held()).sum::<usize>()
    }
}

fn signer(by: &SignedBy) -> Signer {
    (by.person.clone(), by.key)
}

fn habit(facts: &Facts) -> Habit {
    Habit { hour: hour_of(facts.at), network: facts.network, system: facts.target.system.clone() }
}

/// Hour of day, UTC.
fn hour_of(at: u64) -> u32 {
    u32::try_from(at % 86_400 / 3600).unwrap_or(0)
}

fn never_used(pasts: &[&Past]) -> Option<bool> {
    let mut closings: Vec<(u64, bool)> = pasts.iter().flat_map(|past| past.closings()).collect();
    closings.sort_unstable_by_key(|(index, _)| std::cmp::Reverse(*index));
    let last = closings.get(..UNUSED)?;
    Some(last.iter().all(|(_, unused)| *unused))
}

fn sum(pasts: &[&Past], of: impl Fn(&Past) -> u32) -> u32 {
    pasts.iter().fold(0, |sum: u32, past| sum.saturating_add(of(past)))
}

/// Earlier emergencies on a card.
const SHOWN: usize = 5;
