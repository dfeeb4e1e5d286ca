//! One turn of the writer: Step 3 to Step 5 and Step 10 for everything in the batch, in order.
//!
//! Each request sees what the ones before it in the batch did. Nothing leaves before the commit: what
//! was decided waits in [`Waiting`], and only what the log then holds is signed and answered.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::{ExplainRequest, Explained};
use fireaxe_protocol::log::{Closer, Entry, Event, Hash, IncidentUpdate, NoteSigner};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Bundle, Decision, Facts, IncidentState, Outcome, Presence, Target, decide};
use fireaxe_protocol::statement::Statement;
use thiserror::Error;

use super::caller::fresh;
use super::close::{ClosedNow, may_close};
use super::facts::{Request, gather};
use super::issue::{Opening, Order, Prepared, prepare, sign, sign_again};
use super::refusal::{Internal, Refusal};
use super::{Asked, Known, Recorded, Reply, clockwork, crash};
use crate::log::{Batch, Committed, LogError, Pending, Reader};
use crate::randomness::Randomness;
use crate::state::{Answered, Phase, State};

/// The word of a trigger's `close_on` for an incident that is over.
const RESOLVED: &str = "incident.resolved";

/// An answer that waits for the commit: refusals too, for they may rest on what this batch did.
enum Waiting {
    /// Something was given: signed once the log holds it.
    Opening(Box<Given>),
    /// Everything else. Called with the refusal that took its place, if the commit failed.
    Answer(Box<dyn FnOnce(Option<Refusal>) + Send>),
}

/// A declaration of this batch that was not refused.
struct Given {
    declared: Event,
    leaf: Hash,
    certificate: Option<Pending<Prepared>>,
    reply: Reply<Box<Opening>>,
}

/// What a turn left behind.
pub(super) struct Done {
    /// Retries of statements that this very batch answered: next turn, from the log.
    pub(super) deferred: Vec<Asked>,
    /// Whether anything was revoked.
    pub(super) revoked: bool,
    /// To be given out once readers can see what the batch did.
    pub(super) answers: Answers,
}

/// Answers of a committed batch, not given out yet.
#[must_use = "somebody waits for each of them"]
pub(super) struct Answers(Vec<Box<dyn FnOnce() + Send>>);

impl Answers {
    /// Gives them out. Who asked may have gone: then nobody needs to know.
    pub(super) fn send(self) {
        self.0.into_iter().for_each(|answer| answer());
    }
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
            if let Err(refusal) = self.close_now(id, by) {
                // It is due and cannot be closed: nothing may be decided beside it.
                self.spoil(Internal::Fold(refusal.to_string()));
            }
        }
    }

    /// Takes one request: answers it, or makes its entries and lets it wait for the commit.
    pub(super) fn take(&mut self, asked: Asked) {
        match asked {
            Asked::Declare(known, reply) => self.take_declaration(*known, reply),
            Asked::Close(id, known, reply) => self.take_closing(id, known, reply),
            Asked::Incident(update, reply) => {
                let recorded = self.incident(update);
                self.later(recorded, reply);
            }
            Asked::Clock { reason, by, reply } => {
                let recorded = self.append(Event::ClockCorrected { to: self.now, reason, by });
                self.later(recorded, reply);
            }
            Asked::Explain(person, request, reply) => {
                let explained = self.explain(&person, &request);
                self.later(explained.map(Box::new), reply);
            }
            Asked::Reader(key, reply) => {
                let found = self.state.emergencies.by_fresh_key(&key);
                let found = found.map(|live| (live.person.clone(), live.id, live.fresh_key));
                self.later(found.ok_or(Refusal::UnknownReader), reply);
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
            // Nothing was appended, so nothing was given.
            let answers = waiting.into_iter().map(|one| -> Box<dyn FnOnce() + Send> {
                Box::new(move || match one {
                    Waiting::Answer(answer) => answer(None),
                    given => given.fail(&Internal::Fold("an answer without an entry".into()).into()),
                })
            });
            return Ok(Done { deferred, revoked, answers: Answers(answers.collect()) });
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
        let mut answers: Vec<Box<dyn FnOnce() + Send>> = Vec::with_capacity(waiting.len());
        for one in waiting {
            match one {
                Waiting::Opening(given) => {
                    let Given { declared, leaf, certificate, reply } = *given;
                    let opening = signed(&committed, certificate, user_ca).map(|certificate| {
                        Box::new(Opening { declared, leaf, at: now, certificate, first: true })
                    });
                    crash::point("after-sign");
                    // Dying here: a certificate exists that nobody received; the retry gets the same.
                    answers.push(Box::new(move || drop(reply.send(opening))));
                }
                Waiting::Answer(answer) => answers.push(Box::new(move || answer(None))),
            }
        }
        Ok(Done { deferred, revoked, answers: Answers(answers) })
    }

    fn take_declaration(&mut self, known: Known, reply: Reply<Box<Opening>>) {
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
        let pinned = self.state.keys();
        let fresh_key = words.public_key.fingerprint();
        if self.bundle.roster.by_key(&fresh_key).is_some()
            || self.state.emergencies.by_fresh_key(&fresh_key).is_some()
            || [pinned.user_ca, pinned.log, pinned.krl].contains(&words.public_key)
        {
            return Err(Refusal::KeyNotFresh);
        }

        // Step 3: decide.
        let request = Request::declared(&words);
        let bundle = self.bundle.clone();
        let facts = gather(self.state, &bundle, &person, signed.presence, &request, self.now)?;
        let decision = decide(&bundle.policy, &facts);
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
            until: self.now + u64::from(longest_s),
            link_by: link_by(self.state, &bundle, &decision, &facts),
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
        // The declaration is appended and folded already: it must not stand without its certificate.
        let pending = self
            .batch
            .append(self.now, &event, Some(&body), prepared)
            .map_err(|e| Internal::Fold(e.to_string()))?;
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
            Some(Answered::Other) => self.later(Err(Refusal::NonceReused), reply),
            Some(Answered::Same { entry }) if entry >= self.committed => {
                self.deferred.push(Asked::Close(id, known, reply));
            }
            Some(Answered::Same { entry }) => self.later(self.closed_again(entry), reply),
            None => {
                let closed = self.close(id, &known);
                self.later(closed, reply);
            }
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
            let resting: Vec<(EmergencyId, u64)> = self
                .state
                .emergencies
                .iter()
                .filter(|live| live.phase == Phase::Open && live.incident.as_ref() == Some(&incident))
                .map(|live| (live.id, live.until))
                .collect();
            for (emergency, end) in resting {
                let until = end.min(self.now + u64::from(grace_s));
                // The incident is recorded already: all of this, or nothing of the batch.
                self.append(Event::EmergencyClosing { emergency, incident: incident.clone(), until })
                    .map_err(|e| Internal::Fold(e.to_string()))?;
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
            incident: decision.rests_on(&facts).map(|i| (i.id.clone(), i.age_s)),
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

    /// Lets an answer wait for the commit. A fault of our own spoils the batch: what it staged may not
    /// agree with the state.
    fn later<T: Send + 'static>(&mut self, answer: Result<T, Refusal>, reply: Reply<T>) {
        if let Err(Refusal::Internal(internal @ Internal::Fold(_))) = &answer {
            self.spoil(internal.clone());
        }
        self.waiting.push(Waiting::Answer(Box::new(move |failed| {
            drop(reply.send(match failed {
                Some(refusal) => Err(refusal),
                None => answer,
            }));
        })));
    }

    fn spoil(&mut self, internal: Internal) {
        tracing::error!(event = "writer.fault", fault = %internal);
        self.fault = Some(internal);
    }
}

impl Waiting {
    fn fail(self, refusal: &Refusal) {
        match self {
            Waiting::Opening(given) => drop(given.reply.send(Err(refusal.clone()))),
            Waiting::Answer(answer) => answer(Some(refusal.clone())),
        }
    }
}

/// Step 4, second half: what the log now holds is signed.
fn signed(
    committed: &Committed,
    certificate: Option<Pending<Prepared>>,
    user_ca: &SigningKey,
) -> Result<Option<String>, Refusal> {
    let Some(pending) = certificate else { return Ok(None) };
    let serial = pending.index();
    let logged = committed.settle(pending).map_err(|_| Internal::Entry(serial))?;
    let receipt = committed.receipt(serial).map_err(|_| Internal::Entry(serial))?;
    sign(&logged, &receipt, user_ca).map(Some)
}

fn append_failed(error: LogError) -> Refusal {
    Internal::Append(error.to_string()).into()
}

/// The longest life that a certificate of this decision may have, seconds; none if it gives nothing.
pub(crate) fn longest(decision: &Decision) -> Option<u32> {
    match &decision.outcome {
        Outcome::Permit(terms) => Some(terms.lifetime_s),
        Outcome::NeedsApproval { full, meanwhile } => {
            Some(full.lifetime_s.max(meanwhile.as_ref().map_or(0, |m| m.lifetime_s)))
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
    let trigger = bundle.policy.trigger(decision.trigger.as_ref()?)?;
    // An open incident on the system ties it at once.
    if state.incidents.any_open_on(&facts.target.system) {
        return None;
    }
    let now = facts.at;
    trigger.link_within_s.map(|s| now + u64::from(s))
}
