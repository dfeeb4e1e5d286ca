//! Steps 3 and 4 for one declaration: facts, decision, entries; and the same answer again for the same
//! words. What is appended here is signed and answered by `turn.rs`, after the commit.

use fireaxe_protocol::api::{ExplainRequest, Explained};
use fireaxe_protocol::certificate::Subject;
use fireaxe_protocol::log::{Event, Hash};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Bundle, Decision, Facts, Outcome, Presence, Target, decide};
use fireaxe_protocol::statement::Statement;

use super::facts::{Asker, Request, gather};
use super::issue::{Opening, Order, Prepared, prepare, sign_again};
use super::refusal::{Internal, Refusal};
use super::standing::waiting_of;
use super::turn::{Given, Turn, Waiting, append_failed};
use super::{Asked, Known, Recorded, Reply};
use crate::log::Pending;
use crate::state::{Answered, State};

impl Turn<'_> {
    pub(super) fn take_declaration(&mut self, known: Known, reply: Reply<Box<Opening>>) {
        let signed = known.signed();
        let header = signed.statement.header();
        match self.state.answered.find(&signed.fingerprint, header, &signed.envelope.statement) {
            Some(Answered::Other) => self.later(Err(Refusal::NonceReused), reply),
            Some(Answered::Same { entry }) if entry >= self.committed => {
                self.deferred.push(Asked::Declare(Box::new(known), reply));
            }
            Some(Answered::Same { entry }) => {
                let again = self.answer_again(entry).map(Box::new);
                self.later(again, reply);
            }
            None => match self.declare(known) {
                Ok((declared, leaf, certificate)) => {
                    let given = Given { declared, leaf, certificate, reply };
                    self.waiting.push(Waiting::Opening(Box::new(given)));
                }
                Err(refusal) => self.later(Err(refusal), reply),
            },
        }
    }

    /// Steps 3 and 4, first half: facts, decision, entries.
    fn declare(&mut self, known: Known) -> Result<(Event, Hash, Option<Pending<Prepared>>), Refusal> {
        self.still_known(&known)?;
        let (signed, person, network) = known.into_parts();
        let Statement::Declare(words) = signed.statement else {
            return Err(Internal::Fold("a declaration is none".into()).into());
        };
        let pinned = self.state.keys();
        let fresh_key = words.public_key.fingerprint();
        if self.bundle.roster.by_key(&fresh_key).is_some()
            || self.state.emergencies.by_fresh_key(&fresh_key).is_some()
            || self.state.hosts.by_key(&words.public_key).is_some()
            || [pinned.user_ca, pinned.log, pinned.krl, pinned.host_ca].contains(&words.public_key)
        {
            return Err(Refusal::KeyNotFresh);
        }

        // Step 3: decide.
        let request = Request::declared(&words);
        let bundle = self.bundle.clone();
        let asker = Asker {
            person: &person,
            key: Some(&signed.fingerprint),
            presence: signed.presence,
            network: network.as_ref(),
        };
        let facts = gather(self.state, &bundle, &asker, &request, self.now)?;
        let decision = decide(&bundle.policy, &facts);
        self.ask_shadow(&facts, &decision);
        let Some(longest_s) = longest(&decision) else {
            let event = Event::DeclarationRefused {
                declared: signed.envelope,
                key: signed.fingerprint,
                counter: signed.counter,
                bundle: bundle.hash,
                facts,
                decision: decision.clone(),
            };
            let Recorded { index, leaf, .. } = self.append(event)?;
            return Err(Refusal::Denied { decision: Box::new(decision), leaf, index });
        };

        // Step 4: prepare before anything is appended, so that a body the linter refuses leaves no trace.
        let emergency = self.state.emergencies.next_id();
        let prepared = match decision.terms_now() {
            Some(terms) => Some(prepare(&Order {
                terms,
                subject: Subject::Person(emergency, &person),
                public_key: words.public_key,
                serial: self.batch.next_index() + 1,
                now: self.now,
                grant_end: self.now + u64::from(terms.lifetime_s),
                within: None,
                nonce: self.random.bytes32().map_err(|_| Internal::Randomness)?,
                ca_key: self.state.keys().user_ca,
            })?),
            None => None,
        };
        let terms_hash = decision.terms_now().map(fireaxe_protocol::policy::Terms::hash);
        let event = Event::EmergencyDeclared {
            emergency,
            declared: signed.envelope,
            key: signed.fingerprint,
            counter: signed.counter,
            bundle: bundle.hash,
            hosts: hosts_of(&bundle, &facts.target),
            until: self.now + u64::from(longest_s),
            link_by: link_by(self.state, &bundle, &decision, &facts),
            facts,
            decision,
        };
        let pending = self.batch.append(self.now, &event, None, ()).map_err(append_failed)?;
        let (index, leaf) = (pending.index(), pending.leaf());
        let applied = self.state.apply_declared(index, self.now, &event, leaf, &words);
        applied.map_err(|e| Internal::Fold(e.to_string()))?;
        self.touch(&event, index);
        let certificate = match (prepared, terms_hash) {
            (Some(prepared), Some(terms)) => Some(self.append_certificate(prepared, leaf, terms)?),
            _ => None,
        };
        self.note_signals(emergency, leaf, &event)?;
        Ok((event, leaf, certificate))
    }

    pub(super) fn append_certificate(
        &mut self,
        prepared: Prepared,
        of: Hash,
        terms: Hash,
    ) -> Result<Pending<Prepared>, Refusal> {
        let event = Event::CertificateIssued { of, terms };
        let body = prepared.body().to_vec();
        // The declaration is appended and folded already: it must not stand without its certificate.
        let pending = self
            .batch
            .append(self.now, &event, Some(&body), prepared)
            .map_err(|e| Internal::Fold(e.to_string()))?;
        let applied = self.state.apply(pending.index(), self.now, &event, Some(&body), pending.leaf());
        applied.map_err(|e| Internal::Fold(e.to_string()))?;
        Ok(pending)
    }

    /// The same statement again: the same answer, from the log.
    fn answer_again(&mut self, index: u64) -> Result<Opening, Refusal> {
        let (entry, leaf) = self.read_back(index)?;
        let at = entry.at;
        match entry.event {
            Event::DeclarationRefused { decision, .. } => {
                Err(Refusal::Denied { decision: Box::new(decision), leaf, index })
            }
            declared @ Event::EmergencyDeclared { emergency, .. } => {
                let issued = declared.terms_now().is_some();
                let certificate =
                    if issued { Some(self.certificate_again(emergency, index + 1)?) } else { None };
                if !issued {
                    self.must_be_open(emergency)?;
                }
                let waiting = waiting_of(self.state, &declared);
                Ok(Opening { declared, leaf, at, certificate, waiting, first: false })
            }
            _ => Err(Internal::Entry(index).into()),
        }
    }

    /// Signs a logged body again, if its emergency is still open and its serial unrevoked; else says so
    /// in the log, once.
    fn certificate_again(&mut self, emergency: EmergencyId, serial: u64) -> Result<String, Refusal> {
        let why = match self.must_be_open(emergency) {
            Ok(()) if self.state.revocations.is_revoked(serial) => {
                Some(("certificate.revoked", Refusal::Closed(emergency)))
            }
            Ok(()) => None,
            Err(refusal @ Refusal::Closing { .. }) => Some(("emergency.closing", refusal)),
            Err(refusal) => Some(("emergency.closed", refusal)),
        };
        if let Some((why, refusal)) = why {
            if !self.state.revocations.is_abandoned(serial) {
                self.append(Event::CertificateAbandoned { serial, why: why.to_owned() })?;
            }
            return Err(refusal);
        }
        sign_again(&self.logged(serial)?, self.user_ca)
    }

    /// What would be decided; appends nothing. The presence is the best that the person's keys can prove.
    pub(super) fn explain(
        &self,
        person: &PersonName,
        request: &ExplainRequest,
    ) -> Result<Explained, Refusal> {
        let keys = self.bundle.roster.person(person).map(|p| p.keys.as_slice()).unwrap_or_default();
        let hardware = keys.iter().find(|key| key.is_hardware());
        let presence = if hardware.is_some() { Presence::Verified } else { Presence::None };
        let key = hardware.or(keys.first()).map(|key| &key.fingerprint);
        let asker = Asker { person, key, presence, network: None };
        let facts = gather(self.state, &self.bundle, &asker, &Request::explained(request), self.now)?;
        let decision = decide(&self.bundle.policy, &facts);
        Ok(Explained {
            schema: "fireaxe.explained/v1".into(),
            system: facts.target.system.clone(),
            host: facts.target.host.clone(),
            hosts: hosts_of(&self.bundle, &facts.target),
            owner: self.bundle.policy.system(&facts.target.system).map(|s| s.owner.value.to_string()),
            incident: decision.rests_on(&facts).map(|i| (i.id.clone(), i.age_s)),
            decision,
        })
    }
}

/// The longest life that a certificate of this decision may have, seconds; none if it gives nothing.
pub(crate) fn longest(decision: &Decision) -> Option<u32> {
    match &decision.outcome {
        Outcome::Permit(terms) => Some(terms.lifetime_s),
        Outcome::NeedsApproval { meanwhile, wait_s, .. } => {
            Some((*wait_s).max(meanwhile.as_ref().map_or(0, |m| m.lifetime_s)))
        }
        Outcome::Refuse { .. } => None,
    }
}

/// One name, or the system's patterns.
pub(crate) fn hosts_of(bundle: &Bundle, target: &Target) -> Vec<String> {
    match &target.host {
        Some(host) => vec![host.to_string()],
        None => bundle
            .policy
            .system(&target.system)
            .map(|system| system.hosts.iter().map(|host| host.value.to_string()).collect())
            .unwrap_or_default(),
    }
}

/// When a bare claim must have been tied to an incident.
pub(crate) fn link_by(state: &State, bundle: &Bundle, decision: &Decision, facts: &Facts) -> Option<u64> {
    state.link_by(bundle, decision, facts)
}
