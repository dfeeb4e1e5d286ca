//! What one entry says, held against the bundle and the state of its time: who signed, whether they might,
//! whether the facts are those of their words, whether they decide the same again.

use std::sync::Arc;

use fireaxe_protocol::certificate::{Body, Issue, Profile, Subject, Within};
use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::log::{Activation, Closer, Entry, Event, Hash, SignedBy};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Bundle, Decision, Facts, Outcome, decide};
use fireaxe_protocol::statement::{Envelope, Signed, Statement};

use super::check::Check;
use crate::road::{
    Asker, Came, Due, Request, Signature, Words, called, decided_by_bundle, decided_by_extension,
    decided_by_second, due, fresh, gather, hosts_of, is_removed, lacks_presence, link_by, longest, may_close,
    may_extend, may_not_activate, may_not_answer, may_not_approve, may_review, may_second, review_due,
    waiting_request,
};
use crate::state::State;

/// An entry that decided, taken apart.
struct Decides<'e> {
    index: u64,
    at: u64,
    bundle: Hash,
    facts: &'e Facts,
    decision: &'e Decision,
}

impl Check {
    /// What an entry says, before the state takes it.
    pub(super) fn says(&mut self, state: &State, entry: &Entry, leaf: Hash) {
        let (index, at) = (entry.index, entry.at);
        match &entry.event {
            Event::EmergencyDeclared {
                declared,
                key,
                counter,
                bundle,
                facts,
                decision,
                hosts,
                until,
                link_by: by,
                ..
            } => {
                if let Some(active) = state.bundle() {
                    let end = longest(decision).map(|longest_s| at + u64::from(longest_s));
                    let follows =
                        (hosts_of(active, &facts.target), end, link_by(state, active, decision, facts));
                    if (hosts, Some(*until), *by) != (&follows.0, follows.1, follows.2) {
                        self.note(index, "its hosts, end or time to be tied do not follow from its decision");
                    }
                }
                let decides = Decides { index, at, bundle: *bundle, facts, decision };
                self.declaration(state, declared, (key, *counter), &decides);
                if let Ok(Statement::Declare(declare)) = Statement::read(&declared.statement) {
                    let public_key = declare.public_key;
                    let words = Words { declare, extend: None, facts: facts.clone(), key: *key };
                    self.known.open(entry, leaf, public_key, words);
                }
            }
            Event::DeclarationRefused { declared, key, counter, bundle, facts, decision } => {
                let decides = Decides { index, at, bundle: *bundle, facts, decision };
                self.declaration(state, declared, (key, *counter), &decides);
                if !matches!(decision.outcome, Outcome::Refuse { .. }) {
                    self.note(index, "a refusal holds a decision that gives something");
                }
            }
            Event::EmergencySeconded { emergency, by, .. } => {
                self.second(state, entry, *emergency, by);
                self.known.decided(entry, leaf);
            }
            Event::EmergencyRedecided { emergency, .. } => {
                self.later(state, entry, *emergency, |state, bundle, words, live| {
                    decided_by_bundle(words, state, bundle, live, at).ok()
                });
                self.known.decided(entry, leaf);
            }
            Event::ExtensionRequested { emergency, by, .. } => {
                self.extension(state, entry, *emergency, by, false);
                self.known.decided(entry, leaf);
                self.known.extended(*emergency, by, entry);
            }
            Event::ExtensionRefused { emergency, by, .. } => {
                self.extension(state, entry, *emergency, by, true)
            }
            Event::RungCalled { emergency, groups, people, .. } => {
                let live = state.emergencies.get(*emergency);
                let asked =
                    state.bundle().zip(live).map(|(bundle, live)| called(&bundle.roster, groups, live));
                if due(state, at) != Some((*emergency, Due::Rung)) || asked.as_ref() != Some(people) {
                    self.note(index, "the clock did not call that rung, or not these people, at that time");
                }
            }
            Event::RequestLapsed { emergency, .. } if due(state, at) != Some((*emergency, Due::Lapse)) => {
                self.note(index, "that request did not lapse at that time");
            }
            Event::ApprovalGiven { emergency, by, .. } => self.answer(state, entry, *emergency, by),
            Event::ApprovalRefused { emergency, by, .. } => self.answer(state, entry, *emergency, by),
            Event::SessionOpened { by, .. }
            | Event::SessionClosed { by, .. }
            | Event::HostConfirmed { by, .. }
            | Event::HostAlarmed { by } => self.host_said(state, entry, by),
            Event::IncidentUpdated(update) => {
                let policy = state.bundle().map(|bundle| &bundle.policy);
                if !policy.is_some_and(|policy| update.systems.iter().all(|s| policy.system(s).is_some())) {
                    self.note(index, "the incident is said to touch a system that the policy does not have");
                }
            }
            Event::EmergencyReviewed { emergency, by } => {
                let Some(signed) = self.signed_by(index, state, by, at) else { return };
                let may = state.bundle().is_some_and(|bundle| match &signed.statement {
                    Statement::Review(words) => {
                        may_review(state, bundle, &by.person, *emergency, words).is_ok()
                    }
                    _ => false,
                });
                if !may {
                    self.note(index, format!("what {} signed does not review {emergency}", by.person));
                }
            }
            Event::EmergencyClosed { emergency, by, review_due: owed, .. } => {
                let live = state.bundle().zip(state.emergencies.get(*emergency));
                if *owed != live.and_then(|(bundle, live)| review_due(bundle, live, at)) {
                    self.note(index, "the review it owes, or owes none, does not follow from the policy");
                }
                self.closing(state, entry, *emergency, by);
                self.known.close(*emergency);
            }
            Event::HostInvited { .. }
            | Event::HostEnrolled { .. }
            | Event::HostCertified { .. }
            | Event::HostRetired { .. }
            | Event::SelfTestGranted { .. } => self.host(state, entry, leaf),
            Event::CertificateIssued { of, terms } => {
                if let Some(came) = Came::of(entry) {
                    self.known.came.insert(index, came);
                }
                match self.tested.take_if(|tested| tested.leaf == *of) {
                    Some(tested) => self.self_test_certificate(state, entry, &tested),
                    None => self.certificate(state, entry, of, terms),
                }
            }
            Event::EvidenceRead { .. }
            | Event::EvidenceExported { .. }
            | Event::EvidenceRefused { .. }
            | Event::RecordingExpired { .. } => self.evidence(state, entry),
            _ => {}
        }
        self.recordings.take(entry, leaf);
    }

    /// A signed declaration: who signed, whether the facts are those of its words and of its time, and
    /// whether they decide the same again.
    fn declaration(
        &mut self,
        state: &State,
        declared: &Envelope,
        by: (&Fingerprint, Option<u32>),
        decides: &Decides<'_>,
    ) {
        let Decides { index, at, bundle: named, facts, decision } = *decides;
        let Some(bundle) = state.bundle() else { return };
        if let Some(signed) = self.statement(index, state, declared, &facts.person, at) {
            if (&signed.fingerprint, signed.counter) != by {
                self.note(index, "its key or counter is not that of the signature");
            }
            if let Statement::Declare(words) = &signed.statement {
                let asker = Asker {
                    person: &facts.person,
                    key: Some(&signed.fingerprint),
                    presence: signed.presence,
                    network: facts.network.as_ref(),
                };
                if gather(state, bundle, &asker, &Request::declared(words), at).as_ref() != Ok(facts) {
                    self.note(index, "its facts are not those of the signed words and of its time");
                }
            } else {
                self.note(index, "the statement in it is no declaration");
            }
        }
        self.tally.decisions += 1;
        if named != bundle.hash {
            self.note(index, "it names another bundle than the one in force");
        } else if decide(&bundle.policy, facts) != *decision {
            self.note(index, "its policy and facts decide otherwise");
        }
    }

    /// A decision about an emergency that is there already: the same facts and decision must come out again.
    fn later(
        &mut self,
        state: &State,
        entry: &Entry,
        id: EmergencyId,
        again: impl FnOnce(&State, &Bundle, &Words, &crate::state::Live) -> Option<(Facts, Decision)>,
    ) {
        self.tally.decisions += 1;
        let index = entry.index;
        let (Some(bundle), Some(live)) = (state.bundle(), state.emergencies.get(id)) else { return };
        let (named, of, facts, decision, hosts) = match &entry.event {
            Event::EmergencySeconded { bundle, of, facts, decision, hosts, .. }
            | Event::EmergencyRedecided { bundle, of, facts, decision, hosts, .. }
            | Event::ExtensionRequested { bundle, of, facts, decision, hosts, .. } => {
                (bundle, of, facts, decision, Some(hosts))
            }
            Event::ExtensionRefused { bundle, of, facts, decision, .. } => {
                (bundle, of, facts, decision, None)
            }
            _ => return,
        };
        if *named != bundle.hash {
            self.note(index, "it names another bundle than the one in force");
        }
        if *of != live.leaf {
            self.note(index, format!("it names another declaration than that of {id}"));
        }
        if hosts.is_some_and(|hosts| *hosts != hosts_of(bundle, &facts.target)) {
            self.note(index, "its hosts do not follow from its decision");
        }
        let Some(open) = self.known.live.get(&id) else { return };
        match again(state, bundle, &open.words, live) {
            Some((f, _)) if f != *facts => {
                self.note(index, "its facts are not those of the signed words and of its time");
            }
            Some((_, d)) if d != *decision => self.note(index, "its policy and facts decide otherwise"),
            Some(_) => {}
            None => self.note(index, "nothing can be decided from the signed words"),
        }
    }

    fn second(&mut self, state: &State, entry: &Entry, id: EmergencyId, by: &SignedBy) {
        let (index, at) = (entry.index, entry.at);
        let Some(signed) = self.signed_by(index, state, by, at) else { return };
        let may = state.bundle().is_some_and(|bundle| match &signed.statement {
            Statement::Second(words) => may_second(state, bundle, &by.person, id, words).is_ok(),
            _ => false,
        });
        if !may {
            self.note(index, format!("what {} signed does not second {id}", by.person));
        }
        self.later(state, entry, id, |state, bundle, words, live| {
            decided_by_second(words, state, bundle, live, &by.person, at).ok()
        });
        if let (Event::EmergencySeconded { facts, decision, .. }, Some(bundle)) =
            (&entry.event, state.bundle())
            && let Some(lacks) = lacks_presence(bundle, facts, decision, by.presence)
        {
            self.note(index, lacks.sentence);
        }
    }

    fn extension(&mut self, state: &State, entry: &Entry, id: EmergencyId, by: &SignedBy, refused: bool) {
        let (index, at) = (entry.index, entry.at);
        let Some(signed) = self.signed_by(index, state, by, at) else { return };
        let Statement::Extend(words) = &signed.statement else {
            return self.note(index, "the statement in it asks for no extension");
        };
        let (facts, decision) = match &entry.event {
            Event::ExtensionRequested { facts, decision, .. }
            | Event::ExtensionRefused { facts, decision, .. } => (facts, decision),
            _ => return,
        };
        if matches!(decision.outcome, Outcome::Refuse { .. }) != refused {
            self.note(index, "its kind is not that of its decision");
        }
        if state.bundle().is_none_or(|bundle| may_extend(state, bundle, &by.person, id, words).is_err()) {
            self.note(index, format!("what {} signed does not extend {id}", by.person));
        }
        let network = facts.network;
        self.later(state, entry, id, |state, bundle, declared, live| {
            decided_by_extension(declared.clone(), state, bundle, live, words, (by, network.as_ref()), at)
                .ok()
        });
    }

    /// A yes or a no: by somebody who may, to what waited then.
    fn answer(&mut self, state: &State, entry: &Entry, id: EmergencyId, by: &SignedBy) {
        let (index, at) = (entry.index, entry.at);
        let Some(signed) = self.signed_by(index, state, by, at) else { return };
        let Some(bundle) = state.bundle() else { return };
        let may = match (&entry.event, &signed.statement) {
            (Event::ApprovalGiven { of, .. }, Statement::Approve(words)) if words.of == *of => {
                waiting_request(state, id, words.emergency, of).is_ok_and(|(live, wait)| {
                    may_not_approve(state, bundle, live, wait, (&by.person, by.presence), at).is_empty()
                })
            }
            (Event::ApprovalRefused { of, .. }, Statement::Refuse(words)) if words.of == *of => {
                waiting_request(state, id, words.emergency, of)
                    .is_ok_and(|(live, wait)| may_not_answer(bundle, live, wait, &by.person).is_empty())
            }
            _ => false,
        };
        if !may {
            self.note(index, format!("what {} signed does not answer what waited in {id}", by.person));
        }
    }

    /// An end: by somebody who may, by the clock when it was due, or because who declared it was removed.
    fn closing(&mut self, state: &State, entry: &Entry, id: EmergencyId, by: &Closer) {
        let index = entry.index;
        let (person, closed, key, counter) = match by {
            Closer::Person { person, closed, key, counter } => (person, closed, key, counter),
            Closer::Removed => {
                let live = state.bundle().zip(state.emergencies.get(id));
                if !live.is_some_and(|(bundle, live)| is_removed(bundle, live)) {
                    self.note(index, "the roster still has who declared that emergency");
                }
                return;
            }
            Closer::Deadline | Closer::Grace | Closer::Unlinked => {
                if due(state, entry.at) != Some((id, Due::Close(by.clone()))) {
                    self.note(index, "the clock did not close that emergency at that time");
                }
                return;
            }
        };
        let Some(signed) = self.statement(index, state, closed, person, entry.at) else { return };
        let Some(bundle) = state.bundle() else { return };
        let may = match &signed.statement {
            Statement::Close(words) => may_close(state, bundle, person, id, words).is_ok(),
            _ => false,
        };
        if !may || signed.fingerprint != *key || signed.counter != *counter {
            self.note(index, format!("what {person} signed does not close {id}"));
        }
    }

    /// A change of the bundle, once the state has taken it: by the quorum that the one before names.
    pub(super) fn activation(
        &mut self,
        index: u64,
        at: u64,
        before: Option<(Arc<Bundle>, Hash)>,
        state: &State,
        by: &Activation,
    ) {
        let (before, activation, admins) = match (before, by) {
            (None, Activation::Init) => return,
            (Some((before, activation)), Activation::Admins(admins)) => (before, activation, admins),
            _ => return self.note(index, "a bundle is put in force by init once, and then by its admins"),
        };
        let mut signed: Vec<(&PersonName, Signed)> = Vec::new();
        for one in admins {
            let spoken = self.spoken(&one.said).ok();
            let spoken = spoken.filter(|spoken| spoken.statement.header().to == *state.origin());
            let good = spoken.and_then(|spoken| {
                let (person, key) = before.roster.by_key(&spoken.fingerprint)?;
                let theirs = person.name == one.person && key.key == spoken.key;
                spoken.signed.ok().filter(|_| theirs)
            });
            match good {
                Some(good) if is_as_kept(&good, one) => signed.push((&one.person, good)),
                _ => self.note(index, format!("the signature of {} in it does not count", one.person)),
            }
        }
        let signatures: Vec<Signature<'_>> = signed
            .iter()
            .filter_map(|(person, signed)| match &signed.statement {
                Statement::Bundle(words) => Some(Signature { person, presence: signed.presence, words }),
                _ => None,
            })
            .collect();
        let Some(after) = state.bundle() else { return };
        for reason in may_not_activate(Some(activation), &before, after, &signatures, at) {
            self.note(index, reason.sentence);
        }
    }

    /// A statement that an entry keeps together with what its signature proved.
    fn signed_by(&mut self, index: u64, state: &State, by: &SignedBy, at: u64) -> Option<Signed> {
        let signed = self.statement(index, state, &by.said, &by.person, at)?;
        if !is_as_kept(&signed, by) {
            self.note(index, "its key, counter or presence is not that of the signature");
        }
        Some(signed)
    }

    /// A statement's signature, log, time and nonce.
    fn statement(
        &mut self,
        index: u64,
        state: &State,
        envelope: &Envelope,
        person: &PersonName,
        at: u64,
    ) -> Option<Signed> {
        let spoken = match self.spoken(envelope) {
            Ok(spoken) => spoken,
            Err(error) => {
                self.note(index, error.to_string());
                return None;
            }
        };
        let header = spoken.statement.header();
        if header.to != *state.origin() {
            self.note(index, "the statement in it is for another log");
        }
        if fresh(header.at, at).is_err() {
            self.note(index, "the statement in it was too old or from the future");
        }
        if state.answered.find(&spoken.fingerprint, header, &envelope.statement).is_some() {
            self.note(index, "the statement in it, or its nonce, was answered before");
        }
        let key = state.bundle().and_then(|bundle| bundle.roster.by_key(&spoken.fingerprint));
        let key = key.filter(|(signer, _)| signer.name == *person);
        if key.is_none_or(|(_, key)| key.key != spoken.key) {
            self.note(index, format!("the roster of its time does not give that key to {person}"));
            return None;
        }
        spoken.signed.map_err(|error| self.note(index, error.to_string())).ok()
    }

    /// A certificate: its body is what the decision's terms say; or what those say for one host that they reach,
    /// for minutes within the life of one that the decision gave.
    fn certificate(&mut self, state: &State, entry: &Entry, of: &Hash, named: &Hash) {
        let index = entry.index;
        self.tally.certificates += 1;
        let Some((.., keys)) = &self.keys else { return };
        let ca_key = keys.user_ca;
        let bytes = entry.body.as_deref().unwrap_or_default();
        let given = self.known.terms(of, named).map(|(id, open, terms)| (id, open, terms, None));
        let found = given.or_else(|| self.known.narrowed(state, entry, of, named));
        let Some((id, open, terms, within)) = found else {
            return self.note(index, "a certificate for a decision that gave nothing or is not there");
        };
        let nonce = Body::read(bytes).ok().and_then(|body| body.fields().ok()?.nonce.try_into().ok());
        let Some(nonce) = nonce else {
            return self.note(index, "its certificate body cannot be read");
        };
        let issue = Issue {
            nonce,
            public_key: open.public_key,
            serial: index,
            subject: Subject::Person(id, &open.person),
            at: entry.at,
            grant_end: entry.at.saturating_add(terms.lifetime_s.into()),
            within,
            ca_key,
        };
        let expected = Profile::from_terms(&terms, &issue).map(|profile| Body::of(&profile));
        let ends = entry.at.saturating_add(terms.lifetime_s.into());
        self.known.made(of, named, Within { serial: index, until: ends });
        if !expected.is_ok_and(|expected| expected.as_bytes() == bytes) {
            self.note(index, "its certificate body is not what its terms say");
        }
    }
}

fn is_as_kept(signed: &Signed, by: &SignedBy) -> bool {
    signed.fingerprint == by.key && signed.counter == by.counter && signed.presence == by.presence
}
