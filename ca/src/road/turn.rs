//! One turn of the writer: the steps after the caller is known, for everything in the batch, in order.
//!
//! Each request sees what the ones before it in the batch did. Nothing leaves before the commit: what
//! was decided waits in [`Waiting`], and only what the log then holds is signed and answered.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::log::{Entry, Event, Hash, NoteSigner};
use fireaxe_protocol::names::{EmergencyId, HostName};
use fireaxe_protocol::policy::Bundle;
use thiserror::Error;

use super::caller::fresh;
use super::issue::{Opening, Prepared, sign};
use super::pager::Page;
use super::refusal::{Internal, Refusal};
use super::shadow::{Candidate, Difference};
use super::{
    Ahead, Asked, Cosigners, FreshReader, Known, Recorded, Reply, clockwork, crash, evidence, standing,
};
use crate::fence::{Fence, Fenced};
use crate::log::{Batch, Committed, Log, LogError, Logged, Pending, Reader};
use crate::randomness::Randomness;
use crate::state::{Phase, State};

/// An answer that waits for the commit: refusals too, for they may rest on what this batch did.
pub(super) enum Waiting {
    /// Something was given: signed once the log holds it.
    Opening(Box<Given>),
    /// Everything else. Called with the refusal that took its place, if the commit failed.
    Answer(Box<dyn FnOnce(Option<Refusal>) + Send>),
}

/// A declaration of this batch that was not refused.
pub(super) struct Given {
    pub(super) declared: Event,
    pub(super) leaf: Hash,
    pub(super) certificate: Option<Pending<Prepared>>,
    pub(super) reply: Reply<Box<Opening>>,
}

/// What a turn left behind.
pub(super) struct Done {
    /// Retries of statements that this very batch answered: next turn, from the log.
    pub(super) deferred: Vec<Asked>,
    /// Whether anything was revoked.
    pub(super) revoked: bool,
    /// Emergencies that entries of the batch are about, and the newest such entry.
    pub(super) touched: Vec<(EmergencyId, u64)>,
    /// Hosts whose standing entries of the batch changed.
    pub(super) spoke: Vec<HostName>,
    /// People to be woken.
    pub(super) pages: Vec<Page>,
    /// What the candidate would have decided instead.
    pub(super) differences: Vec<Difference>,
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
    /// A witness knows more of this log than it has: what is in the log is not signed.
    #[error("{0}")]
    Ahead(Ahead),
    /// The fence was raised while the batch was committed: the same.
    #[error("{0}")]
    Fenced(Fenced),
}

impl Spoiled {
    /// The log's fault, if it is one.
    pub(super) fn of_log(&self) -> Option<LogError> {
        match self {
            Spoiled::Log(error) => Some(*error),
            Spoiled::Fault(_) | Spoiled::Ahead(_) | Spoiled::Fenced(_) => None,
        }
    }
}

/// See the file's top.
pub(super) struct Turn<'a> {
    pub(super) state: &'a mut State,
    pub(super) batch: Batch<'a>,
    pub(super) reader: &'a Reader,
    pub(super) user_ca: &'a SigningKey,
    pub(super) host_ca: &'a SigningKey,
    pub(super) random: &'a mut dyn Randomness,
    pub(super) bundle: Arc<Bundle>,
    pub(super) now: u64,
    pub(super) committed: u64,
    pub(super) waiting: Vec<Waiting>,
    pub(super) deferred: Vec<Asked>,
    pub(super) revoked: bool,
    pub(super) touched: Vec<(EmergencyId, u64)>,
    pub(super) spoke: Vec<HostName>,
    pub(super) pages: Vec<Page>,
    pub(super) shadow: Candidate,
    pub(super) differences: Vec<Difference>,
    pub(super) fault: Option<Internal>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        state: &'a mut State,
        batch: Batch<'a>,
        reader: &'a Reader,
        (user_ca, host_ca): (&'a SigningKey, &'a SigningKey),
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
            host_ca,
            random,
            bundle,
            now,
            committed,
            waiting: Vec::new(),
            deferred: Vec::new(),
            revoked: false,
            touched: Vec::new(),
            spoke: Vec::new(),
            pages: Vec::new(),
            shadow: None,
            differences: Vec::new(),
            fault: None,
        }
    }

    /// Does what the clock does: before anything is decided at this time, and once more at the end, so
    /// that whoever is asked at once is asked in the batch that asks.
    pub(super) fn clockwork(&mut self) {
        while self.fault.is_none()
            && let Some((id, due)) = clockwork::due(self.state, self.now)
        {
            let done = match due {
                clockwork::Due::Close(by) => self.close_now(id, by).map(drop),
                clockwork::Due::Rung => self.call_rung(id),
                clockwork::Due::Lapse => self.lapse(id),
            };
            if let Err(refusal) = done {
                // It is due and cannot be done: nothing may be decided beside it.
                self.spoil(Internal::Fold(refusal.to_string()));
            }
        }
    }

    /// Takes one request: answers it, or makes its entries and lets it wait for the commit.
    pub(super) fn take(&mut self, asked: Asked) {
        match asked {
            Asked::Declare(known, reply) => self.take_declaration(*known, reply),
            Asked::Close(id, known, reply) => self.take_closing(id, known, reply),
            Asked::Say(id, known, reply) => self.take_said(id, known, reply),
            Asked::Host(asked) => self.take_host(asked),
            Asked::Grant(id, reply) => self.take_grant(id, reply),
            Asked::Narrow(id, host, reply) => self.take_narrow(id, host, reply),
            Asked::IsRequester(id, person, reply) => {
                let live = self.state.emergencies.get(id);
                let is =
                    live.is_some_and(|live| live.requesters.iter().any(|voice| voice.canonical == person));
                self.later(Ok(is), reply);
            }
            Asked::IsLive(id, reply) => {
                let is = super::request::live(self.state, id).map(drop);
                self.later(is, reply);
            }
            Asked::Card(id, reader, reply) => self.take_card(id, reader, reply),
            Asked::Requests(reader, reply) => {
                let requests = self.requests(&reader);
                self.later(Ok(Box::new(requests)), reply);
            }
            Asked::Activate(proposal, reply) => self.take_activation(proposal, reply),
            // Taken by the conductor, who keeps it from one turn to the next.
            Asked::Shadow(_, reply) => self.later(Ok(()), reply),
            Asked::Incident(update, reply) => {
                let recorded = self.incident(update);
                self.later(recorded, reply);
            }
            Asked::Clock { reason, by, reply } => {
                let recorded = self.append(Event::ClockCorrected { to: self.now, reason, by });
                self.later(recorded, reply);
            }
            Asked::Evidence(event, reply) => {
                let holds = evidence::holds(&self.bundle.roster, &event);
                let recorded = holds.and_then(|()| self.append(*event));
                self.later(recorded, reply);
            }
            Asked::Certificates(serials, reply) => {
                let signed = self.certificates(&serials);
                self.later(signed, reply);
            }
            Asked::Explain(person, request, reply) => {
                let explained = self.explain(&person, &request);
                self.later(explained.map(Box::new), reply);
            }
            Asked::Reader(key, reply) => {
                let found = self.state.emergencies.by_fresh_key(&key);
                let found = found.map(|live| FreshReader {
                    person: live.person.clone(),
                    enrolled: live.key,
                    emergency: live.id,
                    key: live.fresh_key,
                });
                self.later(found.ok_or(Refusal::UnknownReader), reply);
            }
            Asked::Report(heard, reply) => self.take_reports(heard, reply),
            Asked::Stop => {}
        }
    }

    /// Step 4, second half, and Step 5: one commit for all, then sign and answer each.
    ///
    /// An error means that the state here is worthless: it holds what the log may not. Everybody who
    /// waited is told that nothing was signed, and a retry will find out which it was.
    pub(super) fn commit(
        self,
        signer: &NoteSigner,
        witnesses: Option<&dyn Cosigners>,
        fence: &Fence,
    ) -> Result<Done, Spoiled> {
        let Turn {
            batch,
            state,
            waiting,
            deferred,
            revoked,
            touched,
            spoke,
            pages,
            differences,
            fault,
            user_ca,
            now,
            ..
        } = self;
        if let Some(fault) = fault {
            // Our own state and entries disagree: commit nothing of this batch, rebuild.
            return Err(spoiled(Spoiled::Fault(fault), waiting, deferred));
        }
        if batch.is_empty() {
            // Nothing was appended, so nothing was given.
            let answers = waiting.into_iter().map(|one| -> Box<dyn FnOnce() + Send> {
                Box::new(move || match one {
                    Waiting::Answer(answer) => answer(None),
                    given => given.fail(&Internal::Fold("an answer without an entry".into()).into()),
                })
            });
            return Ok(Done {
                deferred,
                revoked,
                touched,
                spoke,
                pages,
                differences,
                answers: Answers(answers.collect()),
            });
        }
        crash::point("before-commit");
        // Dying before this line: nothing happened; the client's retry is a first request.
        let (committed, log) = match batch.commit_and(signer) {
            Ok(both) => both,
            Err(error) => return Err(spoiled(Spoiled::Log(error), waiting, deferred)),
        };
        // Dying after it: the entries are there, unsigned; the retry is answered from them with the
        // bytes that would have gone out now.
        crash::point("after-commit");
        if let Some(witnesses) = witnesses
            && let Err(error) = cosigned(&committed, log, witnesses)
        {
            return Err(spoiled(error, waiting, deferred));
        }
        // The commit and the witnesses took their time: a host may have shown a head that this log lacks.
        if let Some(why) = fence.now() {
            return Err(spoiled(Spoiled::Fenced(why), waiting, deferred));
        }
        let mut answers: Vec<Box<dyn FnOnce() + Send>> = Vec::with_capacity(waiting.len());
        for one in waiting {
            match one {
                Waiting::Opening(given) => {
                    let Given { declared, leaf, certificate, reply } = *given;
                    // As the batch leaves it: whoever is asked at once has been asked in it.
                    let waiting = standing::waiting_of(state, &declared);
                    let opening = signed(&committed, certificate, user_ca).map(|certificate| {
                        Box::new(Opening { declared, leaf, at: now, certificate, waiting, first: true })
                    });
                    crash::point("after-sign");
                    // Dying here: a certificate exists that nobody received; the retry gets the same.
                    answers.push(Box::new(move || drop(reply.send(opening))));
                }
                Waiting::Answer(answer) => answers.push(Box::new(move || answer(None))),
            }
        }
        Ok(Done { deferred, revoked, touched, spoke, pages, differences, answers: Answers(answers) })
    }

    pub(super) fn must_be_open(&self, id: EmergencyId) -> Result<(), Refusal> {
        match self.state.emergencies.get(id).map(|live| live.phase) {
            Some(Phase::Open) => Ok(()),
            Some(Phase::Closing { until }) => Err(Refusal::Closing { id, until }),
            None => Err(Refusal::Closed(id)),
        }
    }

    /// An entry and its leaf. The log proves that it is there: an entry that was changed on the disk since it
    /// was folded is neither decided by nor shown.
    pub(super) fn read_back(&self, index: u64) -> Result<(Entry, Hash), Refusal> {
        let logged = self.logged(index)?;
        let leaf = logged.leaf();
        Ok((logged.into_thing(), leaf))
    }

    /// An entry with the proof that it is logged: what signing takes.
    pub(super) fn logged(&self, index: u64) -> Result<Logged<Entry>, Refusal> {
        self.reader.logged(index, |entry| entry).map_err(|error| {
            tracing::error!(event = "log.entry_refused", index, %error);
            Internal::Entry(index).into()
        })
    }

    pub(super) fn counter_ahead(
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

    /// What the door knew of the caller may have changed since: the time, the roster, the key's counter.
    pub(super) fn still_known(&self, known: &Known) -> Result<(), Refusal> {
        let signed = known.signed();
        fresh(signed.statement.header().at, self.now)?;
        self.still_enrolled(known)?;
        self.counter_ahead(&signed.fingerprint, signed.counter)
    }

    /// The roster may have changed since the door looked.
    pub(super) fn still_enrolled(&self, known: &Known) -> Result<(), Refusal> {
        let signed = known.signed();
        match self.bundle.roster.by_key(&signed.fingerprint) {
            Some((still, _)) if still.name == *known.person() => Ok(()),
            _ => Err(Refusal::Stranger),
        }
    }

    pub(super) fn append(&mut self, event: Event) -> Result<Recorded, Refusal> {
        let pending = self.batch.append(self.now, &event, None, ()).map_err(append_failed)?;
        let (index, leaf) = (pending.index(), pending.leaf());
        let applied = self.state.apply(index, self.now, &event, None, leaf);
        applied.map_err(|e| Internal::Fold(e.to_string()))?;
        self.touch(&event, index);
        Ok(Recorded { index, leaf, at: self.now })
    }

    /// [`Turn::append`] for an entry that must not be missing beside what stands in the batch already: an
    /// error spoils it.
    pub(super) fn append_too(&mut self, event: Event) -> Result<Recorded, Refusal> {
        self.append(event).map_err(|e| Internal::Fold(e.to_string()).into())
    }

    /// Whoever watches the emergency is told after the commit, and the door of the host.
    pub(super) fn touch(&mut self, event: &Event, index: u64) {
        if let Some(id) = event.emergency() {
            self.touched.push((id, index));
        }
        self.spoke.extend(super::speakers::spoke(event).cloned());
    }

    /// Lets an answer wait for the commit. A fault of our own spoils the batch: what it staged may not
    /// agree with the state.
    pub(super) fn later<T: Send + 'static>(&mut self, answer: Result<T, Refusal>, reply: Reply<T>) {
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

    pub(super) fn spoil(&mut self, internal: Internal) {
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

/// Everybody who waited is told why there is nothing for them.
fn spoiled(why: Spoiled, waiting: Vec<Waiting>, deferred: Vec<Asked>) -> Spoiled {
    let refusal = match &why {
        Spoiled::Log(error) => Refusal::of_log(error),
        Spoiled::Fault(fault) => Refusal::Internal(fault.clone()),
        Spoiled::Ahead(ahead) => Refusal::Ahead(ahead.clone()),
        Spoiled::Fenced(why) => Refusal::Fenced(Box::new(why.clone())),
    };
    waiting.into_iter().for_each(|one| one.fail(&refusal));
    deferred.into_iter().for_each(|one| one.refuse(refusal.clone()));
    why
}

/// Step 4, witnessed: what certificates rest on is shown to witnesses before they are signed, and what those say in
/// time is in their receipts. A batch without certificates waits for nobody; nor does one whose witnesses are away:
/// hosts that ask for them refuse such a certificate and say why, others do not care.
fn cosigned(committed: &Committed, log: &mut Log, witnesses: &dyn Cosigners) -> Result<(), Spoiled> {
    if !committed.issues() {
        witnesses.committed(committed.size(), committed.note());
        return Ok(());
    }
    // Dying while they are asked: entries without a certificate, as after the commit.
    if let Some(note) = witnesses.cosign(committed.size(), committed.note()) {
        // Dying before it is kept: the witnesses have it, the receipt of a retry is of the plain head, or of this
        // one once they were asked again. After: of this one.
        if let Some(kept) = log.keep_cosigned(&note).map_err(Spoiled::Log)? {
            committed.carry(&kept);
        }
    }
    witnesses.ahead().map_or(Ok(()), |ahead| Err(Spoiled::Ahead(ahead)))
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

pub(super) fn append_failed(error: LogError) -> Refusal {
    Internal::Append(error.to_string()).into()
}
