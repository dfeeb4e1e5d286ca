//! The model's state: what it knows of each emergency, what the clock does to them, and what it expects the
//! log to say. What statements do is in `moves.rs`.

use std::collections::{BTreeMap, BTreeSet};

use fireaxe_protocol::log::Hash;
use fireaxe_protocol::policy::Decision;

use super::world::{
    Asks, Bundle, Decided, GRACE_S, INCIDENTS, Incident, Person, Terms, WAIT_S, decide, lacking, members,
    on_call, person, system, tier,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Open,
    Closing(u64),
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Given,
    Refused,
    Lapsed,
}

/// What waits for people.
#[derive(Debug, Clone)]
pub struct Wait {
    pub full: Terms,
    pub until: u64,
    pub called: usize,
    /// By canonical name, with the groups of the name they signed under.
    pub approvals: Vec<Person>,
}

#[derive(Debug, Clone)]
pub struct Certificate {
    pub emergency: usize,
    pub terms: Terms,
    pub end: u64,
    /// The certificate's number, once the log was read.
    pub serial: u64,
    pub abandoned: bool,
}

/// Who asked for more, with the severity, the incident and the seconds they named.
pub type Extension = (Person, Option<u8>, Option<usize>, Option<u64>);

/// What its owner said: at first, and last.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    pub first: Asks,
    pub extension: Option<Extension>,
}

#[derive(Debug, Clone)]
pub struct Emergency {
    pub owner: Person,
    pub key: u8,
    pub fresh: [u8; 32],
    pub requesters: Vec<&'static str>,
    /// The keys that signed the claim too.
    pub seconders: Vec<u8>,
    pub took_part: BTreeSet<&'static str>,
    pub target: usize,
    pub said: Said,
    pub phase: Phase,
    pub incident: Option<usize>,
    pub severity: Option<u8>,
    pub extensions: u8,
    pub certificates: Vec<usize>,
    /// When it was decided last, and never over before.
    pub at: u64,
    pub settled_at: u64,
    pub waiting: Option<Wait>,
    pub ended: Option<Ended>,
    pub awaits: bool,
    pub owes_review: bool,
    /// Leaves of what was decided, in order, once the log was read.
    pub leaves: Vec<Hash>,
    pub decisions: BTreeMap<Hash, Decision>,
}

/// What the log must say next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    Incident,
    Declared(usize),
    Denied,
    Issued(usize),
    Rung(usize, usize, Vec<&'static str>),
    Approved(usize),
    Refused(usize),
    Lapsed(usize),
    Seconded(usize),
    Redecided(usize),
    Extended(usize),
    NotExtended(usize),
    Closing(usize, u64),
    Closed(usize, &'static str, Vec<usize>),
    Reviewed(usize),
    Abandoned(usize),
    Bundle,
    Clock,
}

#[derive(Debug, Clone)]
pub struct Model {
    pub bundle: Bundle,
    pub all: Vec<Emergency>,
    pub certificates: Vec<Certificate>,
    pub incidents: [Incident; 2],
    /// Who approved when.
    pub approved: Vec<(&'static str, u64)>,
    pub revoked: BTreeSet<usize>,
    /// What the log has yet to be compared with, and when.
    pub expected: Vec<(u64, Move)>,
    /// The newest entry's time: it never runs back.
    pub newest: u64,
    pub seen: BTreeMap<&'static str, u32>,
}

impl Model {
    pub fn new(newest: u64) -> Model {
        Model {
            bundle: Bundle::A,
            all: Vec::new(),
            certificates: Vec::new(),
            incidents: [Incident::default(); 2],
            approved: Vec::new(),
            revoked: BTreeSet::new(),
            expected: Vec::new(),
            newest,
            seen: BTreeMap::new(),
        }
    }

    pub fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub fn expect(&mut self, now: u64, what: Move) {
        self.newest = now;
        self.expected.push((now, what));
    }

    /// When it ends by itself: with what it holds and what waits.
    pub fn end(&self, id: usize) -> u64 {
        let one = &self.all[id];
        let held = one.certificates.iter().map(|n| self.certificates[*n].end);
        held.chain(one.waiting.as_ref().map(|wait| wait.until)).max().unwrap_or(0).max(one.settled_at)
    }

    /// The next rung of its ladder: when, and whose.
    pub fn next_rung(&self, id: usize) -> Option<(u64, &'static [&'static str])> {
        let one = &self.all[id];
        let wait = one.waiting.as_ref()?;
        let (after, groups) = tier(self.bundle, wait.full.tier).ladder.get(wait.called)?;
        Some((one.at + after, groups))
    }

    fn due(&self, id: usize) -> u64 {
        let one = &self.all[id];
        let countdown = if let Phase::Closing(until) = one.phase { until } else { u64::MAX };
        let lapse = one.waiting.as_ref().map_or(u64::MAX, |wait| wait.until);
        let rung = self.next_rung(id).map_or(u64::MAX, |(at, _)| at);
        self.end(id).min(countdown).min(lapse).min(rung)
    }

    /// What the clock does by `now`: whatever was due first, first.
    pub fn tick(&mut self, now: u64) {
        loop {
            let live = (0..self.all.len()).filter(|id| self.all[*id].phase != Phase::Closed);
            let Some((due, id)) = live.map(|id| (self.due(id), id)).min() else { return };
            if due > now {
                return;
            }
            let one = &self.all[id];
            if one.waiting.as_ref().is_some_and(|wait| wait.until <= now) {
                self.see("lapsed");
                self.expect(now, Move::Lapsed(id));
                self.settle(id, Ended::Lapsed, now);
            } else if self.end(id) <= now {
                self.see("deadline");
                self.close(id, "deadline", now);
            } else if matches!(one.phase, Phase::Closing(until) if until <= now) {
                self.see("grace");
                self.close(id, "grace", now);
            } else {
                let (_, groups) = self.next_rung(id).unwrap();
                let mut people = members(self.bundle, groups);
                people.retain(|name| !self.all[id].requesters.contains(name));
                let wait = self.all[id].waiting.as_mut().unwrap();
                wait.called += 1;
                let called = wait.called - 1;
                self.see(["rung.first", "rung.second", "rung.third"][called]);
                self.expect(now, Move::Rung(id, called, people));
            }
        }
    }

    pub fn settle(&mut self, id: usize, how: Ended, now: u64) {
        let one = &mut self.all[id];
        one.waiting = None;
        one.ended = Some(how);
        one.settled_at = now;
    }

    /// Certificates that are alive at `now`.
    pub fn alive(&self, id: usize, now: u64) -> Vec<usize> {
        let all = self.all[id].certificates.iter().copied();
        all.filter(|n| self.certificates[*n].end > now).collect()
    }

    pub fn close(&mut self, id: usize, by: &'static str, now: u64) {
        let revoked = self.alive(id, now);
        self.revoked.extend(&revoked);
        self.all[id].phase = Phase::Closed;
        self.all[id].waiting = None;
        self.all[id].owes_review = !self.all[id].certificates.is_empty();
        self.expect(now, Move::Closed(id, by, revoked));
    }

    pub fn issue(&mut self, id: usize, terms: Terms, now: u64) {
        let end = now + terms.life_s;
        self.certificates.push(Certificate { emergency: id, terms, end, serial: 0, abandoned: false });
        let n = self.certificates.len() - 1;
        self.all[id].certificates.push(n);
        self.expect(now, Move::Issued(n));
    }

    /// What is decided about an emergency now, from what its owner said; `by` is another name that they use
    /// now, `seconds` how many others signed.
    pub fn decide_again(&self, said: &Said, id: usize, seconds: usize, extension: u8, now: u64) -> Decided {
        let mut asks = Asks { seconds, extension, ..said.first };
        let mut name = said.first.person.name;
        if let Some((person, severity, incident, for_s)) = said.extension {
            name = person.name;
            asks.severity = severity.or(asks.severity);
            asks.incident = incident.or(asks.incident);
            asks.for_s = for_s.or(asks.for_s);
        }
        // Who they are in the bundle in force.
        asks.person = super::world::by_name(self.bundle, name).unwrap_or(asks.person);
        asks.more_open = self.more_open(&asks, Some(id));
        decide(self.bundle, &asks, &self.incidents, now)
    }

    /// Whether more of the system than this one host is open, by the same person under any name, or for the
    /// incident they name.
    pub fn more_open(&self, asks: &Asks, _own: Option<usize>) -> bool {
        self.all.iter().any(|one| {
            one.phase != Phase::Closed
                && system(one.target) == system(asks.target)
                && one.target != asks.target
                && (one.owner.canonical == asks.person.canonical
                    || (asks.incident.is_some() && one.incident == asks.incident))
        })
    }

    /// How many of those who signed the claim too are still on call under the key that they signed with.
    pub fn seconders(&self, id: usize) -> usize {
        let one = &self.all[id];
        let still = |key: &&u8| person(self.bundle, **key).is_some_and(|p| p.is_in(on_call(one.target)));
        one.seconders.iter().filter(still).count()
    }

    /// A new decision replaces what waited. What is held goes on.
    pub fn put(&mut self, id: usize, decided: &Decided, now: u64) {
        let one = &mut self.all[id];
        one.at = now;
        one.settled_at = now;
        one.ended = None;
        one.awaits = decided.awaits;
        one.severity = decided.severity.or(one.severity);
        one.incident = decided.rests_on.or(one.incident);
        one.waiting =
            decided.full.map(|full| Wait { full, until: now + WAIT_S, called: 0, approvals: Vec::new() });
    }

    /// Whether the very same terms are held.
    pub fn holds(&self, id: usize, terms: &Terms, now: u64) -> bool {
        self.alive(id, now).iter().any(|n| self.certificates[*n].terms == *terms)
    }

    pub fn incident(&mut self, n: usize, severity: u8, open: bool, now: u64) {
        self.tick(now);
        self.incidents[n].known = Some((severity, open, now));
        self.expect(now, Move::Incident);
        for id in 0..self.all.len() {
            let one = &self.all[id];
            if !open && one.phase == Phase::Open && one.incident == Some(n) {
                let until = self.end(id).min(now + GRACE_S);
                self.see("closing");
                self.expect(now, Move::Closing(id, until));
                let one = &mut self.all[id];
                one.phase = Phase::Closing(until);
                one.awaits = false;
                if one.waiting.take().is_some() {
                    self.see("closing.lapsed");
                    self.all[id].ended = Some(Ended::Lapsed);
                }
            }
        }
        self.tick(now);
        assert_eq!(INCIDENTS.len(), 2);
    }

    /// How many people what waits still lacks.
    pub fn missing(&self, id: usize) -> usize {
        let Some(wait) = &self.all[id].waiting else { return 0 };
        let people: Vec<&[&str]> = wait.approvals.iter().map(|person| person.groups).collect();
        lacking(tier(self.bundle, wait.full.tier).quorums, &people)
    }
}
