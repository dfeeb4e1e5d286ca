//! What each statement does in the model, and what is answered.

use std::collections::{BTreeMap, BTreeSet};

use fireaxe_protocol::log::Hash;

use super::model::{Emergency, Ended, Model, Move, Phase, Said};
use super::world::{Asks, Bundle, Person, REVIEWERS, approvals_an_hour, decide, on_call, person};
use crate::installed::people::{ANA_ADMIN, ANA_SPARE};
use crate::installed::{CLEO, DAN, STRANGER};

/// What is answered: a status, and the code of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer(pub u16, pub &'static str);

pub const OK: Answer = Answer(200, "");

/// A statement, as the model reads it.
#[derive(Debug, Clone)]
pub enum Words {
    Declare {
        target: usize,
        severity: Option<u8>,
        incident: Option<usize>,
        want: Option<&'static str>,
        for_s: Option<u64>,
        fresh: [u8; 32],
    },
    About {
        kind: Kind,
        sent_to: usize,
        named: usize,
        of: Hash,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Second,
    Approve,
    Refuse,
    Extend(Option<u8>, Option<usize>, Option<u64>),
    Review,
    Close,
}

/// What the same statement again is answered from.
#[derive(Debug, Clone, Copy)]
pub enum Again {
    Declared(usize, usize),
    Extended(usize),
    Approved(usize, Hash),
    Same(Answer),
}

impl Model {
    /// A statement that was not answered before.
    pub fn hear(&mut self, by: u8, at: u64, words: &Words, now: u64) -> (Answer, Option<Again>) {
        let Some(who) = person(self.bundle, by) else { return (Answer(401, "key.unknown"), None) };
        self.tick(now);
        let out = if now.abs_diff(at) > 300 {
            (Answer(400, "statement.stale"), None)
        } else {
            match words {
                Words::Declare { .. } => self.declare(who, by, words, now),
                Words::About { kind, sent_to, named, of } => {
                    let about = (*sent_to, *named == *sent_to, *of);
                    match kind {
                        Kind::Second => self.second(who, by, about, now),
                        Kind::Approve => self.approve(who, about, now),
                        Kind::Refuse => self.refuse(who, about, now),
                        Kind::Extend(severity, incident, for_s) => {
                            self.extend(who, about, (*severity, *incident, *for_s), now)
                        }
                        Kind::Review => self.review(who, about, now),
                        Kind::Close => self.close_by(who, about, now),
                    }
                }
            }
        };
        self.tick(now);
        out
    }

    /// The same statement again, when it was answered by an entry.
    pub fn hear_again(&mut self, by: u8, again: Again, now: u64) -> Answer {
        if person(self.bundle, by).is_none() {
            return Answer(401, "key.unknown");
        }
        self.tick(now);
        match again {
            Again::Same(answer) => answer,
            Again::Extended(id) if self.all[id].phase == Phase::Closed => Answer(409, "emergency.closed"),
            Again::Extended(_) => OK,
            Again::Approved(id, of) => match &self.all[id] {
                one if one.phase == Phase::Closed => Answer(409, "emergency.closed"),
                one if one.leaves.last() != Some(&of) => Answer(409, "request.changed"),
                one if matches!(one.ended, Some(Ended::Refused | Ended::Lapsed)) => {
                    Answer(409, "request.settled")
                }
                _ => OK,
            },
            Again::Declared(id, certificate) => {
                let answer = match self.all[id].phase {
                    Phase::Open => return OK,
                    Phase::Closing(_) => Answer(409, "emergency.closing"),
                    Phase::Closed => Answer(409, "emergency.closed"),
                };
                if !self.certificates[certificate].abandoned {
                    self.certificates[certificate].abandoned = true;
                    self.see("abandoned");
                    self.expect(now, Move::Abandoned(certificate));
                }
                answer
            }
        }
    }

    fn declare(&mut self, who: Person, by: u8, words: &Words, now: u64) -> (Answer, Option<Again>) {
        let Words::Declare { target, severity, incident, want, for_s, fresh } = words else { unreachable!() };
        if self.all.iter().any(|one| one.phase != Phase::Closed && one.fresh == *fresh) {
            return (Answer(400, "public_key.not_fresh"), None);
        }
        let mut asks = Asks {
            person: who,
            target: *target,
            severity: *severity,
            incident: *incident,
            want: *want,
            for_s: *for_s,
            seconds: 0,
            extension: 0,
            more_open: false,
        };
        asks.more_open = self.more_open(&asks, None);
        let decided = decide(self.bundle, &asks, &self.incidents, now);
        if decided.is_refused() {
            self.expect(now, Move::Denied);
            let answer = Answer(403, "policy.denied");
            return (answer, Some(Again::Same(answer)));
        }
        let id = self.all.len();
        self.all.push(Emergency {
            owner: who,
            key: by,
            fresh: *fresh,
            requesters: vec![who.canonical],
            took_part: BTreeSet::from([who.canonical]),
            target: *target,
            said: Said { first: asks, extension: None },
            seconders: Vec::new(),
            phase: Phase::Open,
            incident: None,
            severity: None,
            extensions: 0,
            certificates: Vec::new(),
            at: now,
            settled_at: now,
            waiting: None,
            ended: None,
            awaits: false,
            owes_review: false,
            leaves: Vec::new(),
            decisions: BTreeMap::new(),
        });
        self.put(id, &decided, now);
        self.expect(now, Move::Declared(id));
        let certificate = self.certificates.len();
        self.issue(id, decided.now.unwrap(), now);
        self.see(if decided.full.is_some() { "declared.waiting" } else { "declared.given" });
        (Answer(201, ""), Some(Again::Declared(id, certificate)))
    }

    /// Whether it is open and these words are about what was decided last.
    fn open(&self, (id, named, of): (usize, bool, Hash)) -> Result<(), Answer> {
        let one = self.all.get(id).ok_or(Answer(404, "emergency.unknown"))?;
        match one.phase {
            Phase::Open => {}
            Phase::Closing(_) => return Err(Answer(409, "emergency.closing")),
            Phase::Closed => return Err(Answer(409, "emergency.closed")),
        }
        match one.leaves.iter().position(|leaf| *leaf == of) {
            Some(n) if named && n + 1 == one.leaves.len() => Ok(()),
            Some(_) if named => Err(Answer(409, "request.changed")),
            _ => Err(Answer(409, "emergency.other_declaration")),
        }
    }

    /// Whether it waits and these words are about what waits, and `who` may answer.
    fn answers(&self, who: Person, about: (usize, bool, Hash)) -> Result<(), Answer> {
        self.open(about)?;
        let one = &self.all[about.0];
        let Some(wait) = &one.waiting else {
            let settled = one.ended.is_some();
            return Err(Answer(409, if settled { "request.settled" } else { "request.none" }));
        };
        if one.requesters.contains(&who.canonical) {
            return Err(Answer(403, "approval.own"));
        }
        let quorums = super::world::tier(self.bundle, wait.full.tier).quorums;
        if !quorums.iter().any(|quorum| quorum.iter().any(|group| who.is_in(group))) {
            return Err(Answer(403, "approval.not_asked"));
        }
        Ok(())
    }

    fn second(
        &mut self,
        who: Person,
        by: u8,
        about: (usize, bool, Hash),
        now: u64,
    ) -> (Answer, Option<Again>) {
        if let Err(answer) = self.open(about) {
            return (answer, None);
        }
        let id = about.0;
        let one = &self.all[id];
        if !one.awaits {
            return (Answer(409, "second.not_awaited"), None);
        }
        if one.requesters.contains(&who.canonical) {
            return (Answer(403, "second.own"), None);
        }
        if !who.is_in(on_call(one.target)) {
            return (Answer(403, "second.off_call"), None);
        }
        let extension = if one.said.extension.is_some() { one.extensions } else { 0 };
        let (said, seconds) = (one.said, self.seconders(id) + 1);
        let decided = self.decide_again(&said, id, seconds, extension, now);
        self.all[id].requesters.push(who.canonical);
        self.all[id].seconders.push(by);
        self.all[id].took_part.insert(who.canonical);
        self.anew(id, &decided, Move::Seconded(id), false, now);
        self.see("seconded");
        (OK, Some(Again::Same(OK)))
    }

    /// What was decided takes the place of what waited; what it gives at once is issued.
    fn anew(&mut self, id: usize, decided: &super::world::Decided, what: Move, even_if_held: bool, now: u64) {
        self.put(id, decided, now);
        self.expect(now, what);
        if let Some(terms) = decided.now
            && (even_if_held || !self.holds(id, &terms, now))
        {
            self.issue(id, terms, now);
        }
    }

    fn approve(&mut self, who: Person, about: (usize, bool, Hash), now: u64) -> (Answer, Option<Again>) {
        if let Err(answer) = self.answers(who, about) {
            return (answer, None);
        }
        let id = about.0;
        let one = &self.all[id];
        let wait = one.waiting.as_ref().unwrap();
        if wait.approvals.iter().any(|before| before.canonical == who.canonical) {
            return (Answer(403, "approval.twice"), None);
        }
        let mine =
            self.approved.iter().filter(|(name, at)| *name == who.canonical && now - at <= 3600).count();
        if one.severity != Some(1) && mine >= approvals_an_hour(self.bundle) {
            return (Answer(403, "rate.approvals"), None);
        }
        let full = wait.full;
        self.approved.push((who.canonical, now));
        self.all[id].took_part.insert(who.canonical);
        self.all[id].waiting.as_mut().unwrap().approvals.push(who);
        self.expect(now, Move::Approved(id));
        self.see("approved");
        if self.missing(id) == 0 {
            self.settle(id, Ended::Given, now);
            self.issue(id, full, now);
            self.see("upgraded");
        }
        (OK, Some(Again::Approved(id, about.2)))
    }

    fn refuse(&mut self, who: Person, about: (usize, bool, Hash), now: u64) -> (Answer, Option<Again>) {
        if let Err(answer) = self.answers(who, about) {
            return (answer, None);
        }
        let id = about.0;
        self.all[id].took_part.insert(who.canonical);
        self.expect(now, Move::Refused(id));
        self.settle(id, Ended::Refused, now);
        self.see("refused");
        (OK, Some(Again::Same(OK)))
    }

    /// Whether it is there at all and these words name its declaration.
    fn live(&self, (id, named, of): (usize, bool, Hash)) -> Result<(), Answer> {
        let one = self.all.get(id).ok_or(Answer(404, "emergency.unknown"))?;
        if one.phase == Phase::Closed {
            return Err(Answer(409, "emergency.closed"));
        }
        if !named || one.leaves[0] != of {
            return Err(Answer(409, "emergency.other_declaration"));
        }
        Ok(())
    }

    fn extend(
        &mut self,
        who: Person,
        about: (usize, bool, Hash),
        (severity, incident, for_s): (Option<u8>, Option<usize>, Option<u64>),
        now: u64,
    ) -> (Answer, Option<Again>) {
        if let Err(answer) = self.live(about) {
            return (answer, None);
        }
        let id = about.0;
        let one = &self.all[id];
        if one.requesters[0] != who.canonical {
            return (Answer(403, "emergency.not_yours"), None);
        }
        let said = Said { extension: Some((who, severity, incident, for_s)), ..one.said };
        let was_closing = one.phase != Phase::Open;
        let (seconds, extension) = (self.seconders(id), one.extensions + 1);
        let decided = self.decide_again(&said, id, seconds, extension, now);
        if decided.is_refused() {
            self.expect(now, Move::NotExtended(id));
            self.see("extension.refused");
            let one = &mut self.all[id];
            // It holds the countdown, and counts; three times in all.
            if was_closing && one.extensions < 3 {
                one.phase = Phase::Open;
                one.extensions += 1;
                self.see("held");
            } else if was_closing {
                self.see("not.held");
            }
            let answer = Answer(403, "policy.denied");
            return (answer, Some(Again::Same(answer)));
        }
        let one = &mut self.all[id];
        one.phase = Phase::Open;
        one.extensions += 1;
        one.said = said;
        self.see(if was_closing { "extended.closing" } else { "extended" });
        self.anew(id, &decided, Move::Extended(id), true, now);
        (OK, Some(Again::Extended(id)))
    }

    fn review(
        &mut self,
        who: Person,
        (id, named, of): (usize, bool, Hash),
        now: u64,
    ) -> (Answer, Option<Again>) {
        let Some(one) = self.all.get(id) else { return (Answer(404, "emergency.unknown"), None) };
        let answer = if one.phase != Phase::Closed {
            Answer(409, "review.not_over")
        } else if !one.owes_review {
            Answer(409, "review.not_owed")
        } else if !named || one.leaves[0] != of {
            Answer(409, "emergency.other_declaration")
        } else if one.took_part.contains(&who.canonical) {
            Answer(403, "review.took_part")
        } else if !REVIEWERS.iter().any(|group| who.is_in(group)) {
            Answer(403, "review.not_asked")
        } else {
            self.all[id].owes_review = false;
            self.expect(now, Move::Reviewed(id));
            self.see("reviewed");
            return (OK, Some(Again::Same(OK)));
        };
        (answer, None)
    }

    fn close_by(&mut self, who: Person, about: (usize, bool, Hash), now: u64) -> (Answer, Option<Again>) {
        if let Err(answer) = self.live(about) {
            return (answer, None);
        }
        let id = about.0;
        if self.all[id].owner.canonical != who.canonical && !who.is_in("sre-leads") {
            return (Answer(403, "emergency.not_yours"), None);
        }
        self.all[id].took_part.insert(who.canonical);
        self.close(id, "person", now);
        self.see("closed");
        (OK, Some(Again::Same(OK)))
    }

    /// Another bundle, signed by these; `current`: their words name the activation in force.
    pub fn activate(&mut self, to: Bundle, signers: &[u8], current: bool, now: u64) -> Answer {
        if signers.contains(&STRANGER) {
            return Answer(401, "key.unknown");
        }
        self.tick(now);
        let admins = signers.iter().filter(|by| [CLEO, DAN].contains(by)).count();
        let code = if to == self.bundle {
            "bundle.same"
        } else if !current {
            "bundle.other_activation"
        } else if admins < signers.len() {
            "bundle.not_admin"
        } else if admins < 2 {
            "bundle.quorum"
        } else {
            ""
        };
        if !code.is_empty() {
            self.tick(now);
            return Answer(409, code);
        }
        self.bundle = to;
        self.expect(now, Move::Bundle);
        self.see("activated");
        let live = |model: &Model, id: usize| model.all[id].phase != Phase::Closed;
        for id in 0..self.all.len() {
            let one = &self.all[id];
            if live(self, id) && person(to, one.key).is_none() {
                self.see("removed");
                self.close(id, "removed", now);
            }
        }
        for id in 0..self.all.len() {
            let one = &self.all[id];
            if live(self, id) && (one.waiting.is_some() || one.awaits) {
                let extension = if one.said.extension.is_some() { one.extensions } else { 0 };
                let (said, seconds) = (one.said, self.seconders(id));
                let (void, gone) = (
                    one.waiting.as_ref().is_some_and(|wait| !wait.approvals.is_empty()),
                    seconds < one.seconders.len(),
                );
                if void {
                    self.see("approvals.void");
                }
                if gone {
                    self.see("seconder.gone");
                }
                let decided = self.decide_again(&said, id, seconds, extension, now);
                self.anew(id, &decided, Move::Redecided(id), false, now);
                self.see("redecided");
            }
        }
        self.tick(now);
        assert!(signers.iter().all(|by| ![ANA_ADMIN, ANA_SPARE].contains(by)), "not tried");
        OK
    }
}
