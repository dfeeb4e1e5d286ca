//! One turn of the writer: Step 3 to Step 5 and Step 10 for everything in the batch, in order.
//!
//! Each request sees what the ones before it in the batch did. Nothing leaves before the commit: what
//! was decided waits in [`Waiting`], and only what the log then holds is signed and answered.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::{ExplainRequest, Explained};
use fireaxe_protocol::log::{Closer, Entry, Event, Hash, IncidentUpdate, NoteSigner};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Bundle, Decision, IncidentState, Outcome, Presence, Target, decide};
use fireaxe_protocol::statement::Statement;
use thiserror::Error;

use super::caller::fresh;
use super::close::{ClosedNow, may_close};
use super::facts::{Request, gather};
use super::issue::{Opening, Order, Prepared, prepare, sign, sign_again};
use super::refusal::{Internal, Refusal};
use super::{Asked, Known, Recorded, Reply, clockwork, crash};
use crate::log::{Batch, LogError, Pending, Reader};
use crate::randomness::Randomness;
use crate::state::{Answered, Phase, State};

/// The word of a trigger's `close_on` for an incident that is over.
const RESOLVED: &str = "incident.resolved";

/// An answer that must wait until the log holds its entries.
enum Waiting {
    Opening {
        declared: Event,
        leaf: Hash,
        certificate: Option<Pending<Prepared>>,
        reply: Reply<Box<Opening>>,
    },
    Refused {
        refusal: Refusal,
        reply: Reply<Box<Opening>>,
    },
    Closed {
        closed: ClosedNow,
        reply: Reply<ClosedNow>,
    },
    Recorded {
        recorded: Recorded,
        reply: Reply<Recorded>,
    },
}

/// What a turn left behind.
pub(super) struct Done {
    /// Retries of statements that this very batch answered: next turn, from the log.
    pub(super) deferred: Vec<Asked>,
    /// Whether anything was revoked.
    pub(super) revoked: bool,
}

/// Why a turn came to nothing, and the state must be rebuilt.
#[derive(Debug, Error)]
pub(super) enum Spoiled {
    /// The log could not be written.
    #[error(transparent)]
    Log(LogError),
    /// Our own entries and state disagree.
    #[error("{0}")]
    Fault(Internal),
}

/// See the file's top.
pub(super) struct Turn<'a> {
    state: &'a mut State,
    batch: Batch<'a>,
    reader: &'a Reader,
    user_ca: &'a SigningKey,
    random: &'a mut dyn Randomness,
    bundle: Arc<Bundle>,
    now: u64,
    committed: u64,
    waiting: Vec<Waiting>,
    deferred: Vec<Asked>,
    revoked: bool,
    fault: Option<Internal>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        state: &'a mut State,
        batch: Batch<'a>,
        reader: &'a Reader,
        user_ca: &'a SigningKey,
        random: &'a mut dyn Randomness,
        bundle: Arc<Bundle>,
        now: u64,
    ) -> Turn<'a> {
        let committed = state.entries();
        Turn {
            state,
            batch,
            reader,
            user_ca,
            random,
            bundle,
            now,
            committed,
            waiting: Vec::new(),
            deferred: Vec::new(),
            revoked: false,
            fault: None,
        }
    }

    /// Closes what the clock closes, before anything else is decided at this time.
    pub(super) fn clockwork(&mut self) {
        while self.fault.is_none()
            && let Some((id, by)) = clockwork::due(self.state, self.now)
        {
            let closed = self.close_now(id, by);
            self.note_fault(closed.map(|_| ()));
        }
    }

    /// Takes one request: answers it, or makes its entries and lets it wait for the commit.
    pub(super) fn take(&mut self, asked: Asked) {
        match asked {
            Asked::Declare(known, reply) => self.take_declaration(*known, reply),
            Asked::Close(id, known, reply) => self.take_closing(id, known, reply),
            Asked::Incident(update, reply) => {
                let recorded = self.incident(update);
                self.recorded(recorded, reply);
            }
            Asked::Clock(reason, reply) => {
                let recorded = self.append(Event::ClockCorrected { to: self.now, reason });
                self.recorded(recorded, reply);
            }
            Asked::Explain(person, request, reply) => {
                let explained = self.explain(&person, &request);
                drop(reply.send(explained.map(Box::new)));
            }
            Asked::Reader(key, reply) => {
                let found = self.state.emergencies.by_fresh_key(&key);
                let found = found.map(|live| (live.person.clone(), live.id, live.fresh_key));
                drop(reply.send(found.ok_or(Refusal::UnknownReader)));
            }
            Asked::Stop => {}
        }
    }

    /// Step 4, second half, and Step 5: one commit for all, then sign and answer each.
    ///
    /// An error means that the state here is worthless: it holds what the log may not. Everybody who
    /// waited is told that nothing was signed, and a retry will find out which it was.
    pub(super) fn commit(self, signer: &NoteSigner) -> Result<Done, Spoiled> {
        let Turn { batch, waiting, deferred, revoked, fault, user_ca, now, .. } = self;
        if let Some(fault) = fault {
            // Our own state and entries disagree: commit nothing of this batch, rebuild.
            waiting.into_iter().for_each(|w| w.fail(&Refusal::Internal(fault.clone())));
            deferred.into_iter().for_each(|a| a.refuse(Refusal::Internal(fault.clone())));
            return Err(Spoiled::Fault(fault));
        }
        if batch.is_empty() {
            // Nothing was appended, so all that can wait here is a refusal.
            for one in waiting {
                let refusal = match &one {
                    Waiting::Refused { refusal, .. } => refusal.clone(),
                    _ => Refusal::Internal(Internal::Fold("an answer without an entry".into())),
                };
                one.fail(&refusal);
            }
            return Ok(Done { deferred, revoked });
        }
        crash::point("before-commit");
        // Dying before this line: nothing happened; the client's retry is a first request.
        let committed = match batch.commit(signer) {
            Ok(committed) => committed,
            Err(error) => {
                waiting.into_iter().for_each(|w| w.fail(&Refusal::LogUnavailable));
                deferred.into_iter().for_each(|a| a.refuse(Refusal::LogUnavailable));
                return Err(Spoiled::Log(error));
            }
        };
        // Dying after it: the entries are there, unsigned; the retry is answered from them with the
        // bytes that would have gone out now.
        crash::point("after-commit");
        for one in waiting {
            match one {
                Waiting::Opening { declared, leaf, certificate, reply } => {
                    let certificate = certificate.and_then(|pending| committed.settle(pending).ok());
                    let certificate = match certificate {
                        Some(logged) => committed
                            .receipt(logged.index())
                            .map_err(|_| Refusal::Internal(Internal::Entry(logged.index())))
                            .and_then(|receipt| sign(&logged, &receipt, user_ca).map(Some)),
                        None => Ok(None),
                    };
                    crash::point("after-sign");
                    // Dying here: a certificate exists that nobody received; the retry gets the same.
                    let opening = certificate.map(|certificate| {
                        Box::new(Opening { declared, leaf, at: now, certificate, first: true })
                    });
                    drop(reply.send(opening));
                }
                Waiting::Refused { refusal, reply } => drop(reply.send(Err(refusal))),
                Waiting::Closed { closed, reply } => drop(reply.send(Ok(closed))),
                Waiting::Recorded { recorded, reply } => drop(reply.send(Ok(recorded))),
            }
        }
        Ok(Done { deferred, revoked })
    }

    fn take_declaration(&mut self, known: Known, reply: Reply<Box<Opening>>) {
        let signed = known.signed();
        let header = signed.statement.header();
        match self.state.answered.find(&signed.fingerprint, header, &signed.envelope.statement) {
            Some(Answered::Other) => drop(reply.send(Err(Refusal::NonceReused))),
            Some(Answered::Same { entry }) if entry >= self.committed => {
                self.deferred.push(Asked::Declare(Box::new(known), reply));
            }
            Some(Answered::Same { entry }) => match self.answer_again(entry) {
                Ok(opening) => drop(reply.send(Ok(Box::new(opening)))),
                Err(refusal) => {
                    let refusal = self.noted(refusal);
                    // It waits for the commit: a `certificate.abandoned` may have been appended.
                    self.waiting.push(Waiting::Refused { refusal, reply });
                }
            },
            None => match self.declare(known) {
                Ok((declared, leaf, certificate)) => {
                    self.waiting.push(Waiting::Opening { declared, leaf, certificate, reply });
                }
                Err(refusal) => {
                    let refusal = self.noted(refusal);
                    self.waiting.push(Waiting::Refused { refusal, reply });
                }
            },
        }
    }

    /// Steps 3 and 4, first half: facts, decision, entries.
    fn declare(&mut self, known: Known) -> Result<(Event, Hash, Option<Pending<Prepared>>), Refusal> {
        let (signed, person) = known.into_parts();
        let Statement::Declare(words) = signed.statement else {
            return Err(Internal::Fold("a declaration is none".into()).into());
        };
        fresh(words.header.at, self.now)?;
        // The roster may have changed since the door looked.
        match self.bundle.roster.by_key(&signed.fingerprint) {
            Some((still, _)) if still.name == person => {}
            _ => return Err(Refusal::Stranger),
        }
        self.counter_ahead(&signed.fingerprint, signed.counter)?;
        let fresh_key = words.public_key.fingerprint();
        if self.bundle.roster.by_key(&fresh_key).is_some()
            || self.state.emergencies.by_fresh_key(&fresh_key).is_some()
        {
            return Err(Refusal::KeyNotFresh);
        }

        // Step 3: decide.
        let request = Request::declared(&words);
        let bundle = self.bundle.clone();
        let facts = gather(self.state, &bundle, &person, signed.presence, &request, self.now)?;
        let decision = decide(&bundle.policy, &facts);
        let until = match &decision.outcome {
            Outcome::Permit(terms) => terms.lifetime_s,
            Outcome::NeedsApproval { full, meanwhile } => {
                full.lifetime_s.max(meanwhile.as_ref().map_or(0, |m| m.lifetime_s))
            }
            Outcome::Refuse { .. } => {
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
            }
        };

        // Step 4: prepare before anything is appended, so that a body the linter refuses leaves no trace.
        let emergency = self.state.emergencies.next_id();
        let prepared = match decision.terms_now() {
            Some(terms) => Some(prepare(&Order {
                terms,
                emergency,
                person: &person,
                public_key: words.public_key,
                serial: self.batch.next_index() + 1,
                now: self.now,
                grant_end: self.now + u64::from(terms.lifetime_s),
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
            until: self.now + u64::from(until),
            link_by: link_by(&bundle, &decision, self.now),
            facts,
            decision,
        };
        let pending = self.batch.append(self.now, &event, None, ()).map_err(append_failed)?;
        let (index, leaf) = (pending.index(), pending.leaf());
        let applied = self.state.apply_declared(index, self.now, &event, leaf, &words);
        applied.map_err(|e| Internal::Fold(e.to_string()))?;
        let certificate = match (prepared, terms_hash) {
            (Some(prepared), Some(terms)) => Some(self.append_certificate(prepared, leaf, terms)?),
            _ => None,
        };
        Ok((event, leaf, certificate))
    }

    fn append_certificate(
        &mut self,
        prepared: Prepared,
        of: Hash,
        terms: Hash,
    ) -> Result<Pending<Prepared>, Refusal> {
        let event = Event::CertificateIssued { of, terms };
        let body = prepared.body().to_vec();
        let pending = self.batch.append(self.now, &event, Some(&body), prepared).map_err(append_failed)?;
        let applied = self.state.apply(pending.index(), self.now, &event, pending.leaf());
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
                Ok(Opening { declared, leaf, at, certificate, first: false })
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
        let (entry, _) = self.read_back(serial)?;
        let receipt = self.reader.receipt(serial).map_err(|_| Internal::Entry(serial))?;
        sign_again(&entry, &receipt, self.user_ca)
    }

    fn must_be_open(&self, id: EmergencyId) -> Result<(), Refusal> {
        match self.state.emergencies.get(id).map(|live| live.phase) {
            Some(Phase::Open) => Ok(()),
            Some(Phase::Closing { until }) => Err(Refusal::Closing { id, until }),
            None => Err(Refusal::Closed(id)),
        }
    }

    fn read_back(&self, index: u64) -> Result<(Entry, Hash), Refusal> {
        let bytes = self.reader.entry_bytes(index).map_err(|_| Internal::Entry(index))?;
        let entry = Entry::decode(&bytes).map_err(|_| Internal::Entry(index))?;
        Ok((entry, fireaxe_protocol::log::tree::leaf_hash(&bytes)))
    }

    fn counter_ahead(
        &self,
        key: &fireaxe_protocol::keys::Fingerprint,
        counter: Option<u32>,
    ) -> Result<(), Refusal> {
        match (self.state.counter(key), counter) {
            // Authenticators without a counter say 0 for ever (PROTOCOL.u2f).
            (Some(before), Some(now)) if now <= before && before != 0 => {
                Err(Refusal::CounterBack { before, now })
            }
            _ => Ok(()),
        }
    }

    fn take_closing(&mut self, id: EmergencyId, known: Box<Known>, reply: Reply<ClosedNow>) {
        let signed = known.signed();
        let header = signed.statement.header();
        match self.state.answered.find(&signed.fingerprint, header, &signed.envelope.statement) {
            Some(Answered::Other) => drop(reply.send(Err(Refusal::NonceReused))),
            Some(Answered::Same { entry }) if entry >= self.committed => {
                self.deferred.push(Asked::Close(id, known, reply));
            }
            Some(Answered::Same { entry }) => drop(reply.send(self.closed_again(entry))),
            None => match self.close(id, &known) {
                Ok(closed) => self.waiting.push(Waiting::Closed { closed, reply }),
                Err(refusal) => drop(reply.send(Err(self.noted(refusal)))),
            },
        }
    }

    fn closed_again(&self, index: u64) -> Result<ClosedNow, Refusal> {
        match self.read_back(index)?.0.event {
            Event::EmergencyClosed { emergency, revoked, .. } => {
                Ok(ClosedNow { emergency, revoked, entry: index })
            }
            _ => Err(Internal::Entry(index).into()),
        }
    }

    /// Step 10, by a person.
    fn close(&mut self, id: EmergencyId, known: &Known) -> Result<ClosedNow, Refusal> {
        let signed = known.signed();
        let Statement::Close(words) = &signed.statement else {
            return Err(Internal::Fold("a closing is none".into()).into());
        };
        fresh(words.header.at, self.now)?;
        match self.bundle.roster.by_key(&signed.fingerprint) {
            Some((still, _)) if still.name == *known.person() => {}
            _ => return Err(Refusal::Stranger),
        }
        self.counter_ahead(&signed.fingerprint, signed.counter)?;
        may_close(self.state, &self.bundle, known.person(), id, words)?;
        let by = Closer::Person {
            person: known.person().clone(),
            closed: signed.envelope.clone(),
            key: signed.fingerprint,
        };
        self.close_now(id, by)
    }

    fn close_now(&mut self, id: EmergencyId, by: Closer) -> Result<ClosedNow, Refusal> {
        let live = self.state.emergencies.get(id).ok_or(Refusal::Closed(id))?;
        let revoked = live.alive(self.now);
        let event = Event::EmergencyClosed { emergency: id, by, revoked: revoked.clone() };
        let Recorded { index, .. } = self.append(event)?;
        self.revoked |= !revoked.is_empty();
        Ok(ClosedNow { emergency: id, revoked, entry: index })
    }

    /// Evidence from outside. A resolved incident starts the countdown of what rests on it; it closes
    /// nothing by itself.
    fn incident(&mut self, update: IncidentUpdate) -> Result<Recorded, Refusal> {
        for system in &update.systems {
            if self.bundle.policy.system(system).is_none() {
                return Err(Refusal::UnknownSystem(system.to_string()));
            }
        }
        let incident = update.incident.clone();
        let resolved = update.state == IncidentState::Resolved;
        let recorded = self.append(Event::IncidentUpdated(update))?;
        let trigger = self.bundle.policy.trigger_for(&incident);
        let Some(grace_s) = trigger.filter(|t| t.close_on.as_deref() == Some(RESOLVED)).map(|t| t.grace_s)
        else {
            return Ok(recorded);
        };
        if resolved {
            let resting: Vec<EmergencyId> = self
                .state
                .emergencies
                .iter()
                .filter(|live| live.phase == Phase::Open && live.incident.as_ref() == Some(&incident))
                .map(|live| live.id)
                .collect();
            for emergency in resting {
                let until = self.now + u64::from(grace_s);
                self.append(Event::EmergencyClosing { emergency, incident: incident.clone(), until })?;
            }
        }
        Ok(recorded)
    }

    /// What would be decided; appends nothing. The presence is the best that the person's keys can prove.
    fn explain(&self, person: &PersonName, request: &ExplainRequest) -> Result<Explained, Refusal> {
        let hardware = self
            .bundle
            .roster
            .person(person)
            .is_some_and(|p| p.keys.iter().any(fireaxe_protocol::statement::EnrolledKey::is_hardware));
        let presence = if hardware { Presence::Verified } else { Presence::None };
        let facts =
            gather(self.state, &self.bundle, person, presence, &Request::explained(request), self.now)?;
        let decision = decide(&self.bundle.policy, &facts);
        Ok(Explained {
            schema: "fireaxe.explained/v1".into(),
            system: facts.target.system.clone(),
            host: facts.target.host.clone(),
            hosts: hosts_of(&self.bundle, &facts.target),
            owner: self.bundle.policy.system(&facts.target.system).map(|s| s.owner.value.to_string()),
            incident: facts.incident.map(|i| (i.id, i.age_s)),
            decision,
        })
    }

    fn append(&mut self, event: Event) -> Result<Recorded, Refusal> {
        let pending = self.batch.append(self.now, &event, None, ()).map_err(append_failed)?;
        let (index, leaf) = (pending.index(), pending.leaf());
        let applied = self.state.apply(index, self.now, &event, leaf);
        applied.map_err(|e| Internal::Fold(e.to_string()))?;
        Ok(Recorded { index, leaf, at: self.now })
    }

    fn recorded(&mut self, recorded: Result<Recorded, Refusal>, reply: Reply<Recorded>) {
        match recorded {
            Ok(recorded) => self.waiting.push(Waiting::Recorded { recorded, reply }),
            Err(refusal) => drop(reply.send(Err(self.noted(refusal)))),
        }
    }

    /// A fault of our own spoils the batch: what it staged may not agree with the state.
    fn noted(&mut self, refusal: Refusal) -> Refusal {
        if let Refusal::Internal(internal @ (Internal::Fold(_) | Internal::Append(_))) = &refusal {
            tracing::error!(event = "writer.fault", fault = %internal);
            self.fault = Some(internal.clone());
        }
        refusal
    }

    fn note_fault(&mut self, result: Result<(), Refusal>) {
        if let Err(refusal) = result {
            let _ = self.noted(refusal);
        }
    }
}

impl Waiting {
    fn fail(self, refusal: &Refusal) {
        match self {
            Waiting::Opening { reply, .. } | Waiting::Refused { reply, .. } => {
                drop(reply.send(Err(refusal.clone())));
            }
            Waiting::Closed { reply, .. } => drop(reply.send(Err(refusal.clone()))),
            Waiting::Recorded { reply, .. } => drop(reply.send(Err(refusal.clone()))),
        }
    }
}

fn append_failed(error: LogError) -> Refusal {
    Internal::Append(error.to_string()).into()
}

/// One name, or the system's patterns.
fn hosts_of(bundle: &Bundle, target: &Target) -> Vec<String> {
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
fn link_by(bundle: &Bundle, decision: &Decision, now: u64) -> Option<u64> {
    let trigger = bundle.policy.trigger(decision.trigger.as_ref()?)?;
    trigger.link_within_s.map(|s| now + u64::from(s))
}
