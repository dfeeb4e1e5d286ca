//! What follows from a decision about an emergency that is there already: asking again with the words that
//! were signed, issuing what is given, calling rungs, lapsing, noting what is unusual.

use fireaxe_protocol::certificate::Subject;
use fireaxe_protocol::log::{Event, Hash};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Decision, Facts, Terms, decide, raised};
use fireaxe_protocol::statement::{Declare, Extend, Statement};

use super::clockwork::called;
use super::facts::{Asker, Request, gather, resolve};
use super::issue::{Order, prepare};
use super::pager::Page;
use super::refusal::{Internal, Refusal};
use super::second::seconders;
use super::turn::Turn;
use crate::state::{Live, State};

/// An emergency that is not over.
pub(crate) fn live(state: &State, id: EmergencyId) -> Result<&Live, Refusal> {
    match state.emergencies.get(id) {
        Some(live) => Ok(live),
        None if state.emergencies.was_declared(id) => Err(Refusal::Closed(id)),
        None => Err(Refusal::UnknownEmergency(id)),
    }
}

/// What the owner of an emergency said last, and how: what every later decision about it rests on.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    pub(crate) declare: Declare,
    /// The newest extension, if there was one.
    pub(crate) extend: Option<Extend>,
    /// The facts of the entry that holds the newest of them: who, with what presence, from where.
    pub(crate) facts: Facts,
    /// The key that signed it.
    pub(crate) key: fireaxe_protocol::keys::Fingerprint,
}

impl Words {
    /// Decides from these words, as of `now`: with those who signed the claim of `live` and still count, and with
    /// who signs it `too` right now. `anew` is the emergency whose request they were already, so that it is not
    /// counted against itself. A target that the bundle no longer has is decided about as it was resolved when
    /// they were said: the policy refuses it, and nothing that was asked is left undecided.
    pub(crate) fn decide_again(
        &self,
        state: &State,
        bundle: &fireaxe_protocol::policy::Bundle,
        (live, too): (&Live, Option<&PersonName>),
        extension: u8,
        anew: Option<EmergencyId>,
        now: u64,
    ) -> Result<(Facts, Decision), Refusal> {
        let asker = Asker {
            person: &self.facts.person,
            key: Some(&self.key),
            presence: self.facts.presence,
            network: self.facts.network.as_ref(),
        };
        let target = resolve(bundle, &self.declare.target).unwrap_or_else(|_| self.facts.target.clone());
        let mut seconds = seconders(bundle, live, &target.system);
        seconds.extend(too.map(|person| bundle.roster.canonical(person).clone()));
        let extend = self.extend.as_ref();
        let request = Request::again(&self.declare, extend, &target, &seconds, extension, anew);
        let facts = gather(state, bundle, &asker, &request, now)?;
        let decision = decide(&bundle.policy, &facts);
        Ok((facts, decision))
    }
}

impl Turn<'_> {
    /// The owner's newest words, read back from the log.
    pub(super) fn words_of(&self, live: &Live) -> Result<Words, Refusal> {
        let (declared, _) = self.read_back(live.index)?;
        let Event::EmergencyDeclared { declared, key, facts, .. } = declared.event else {
            return Err(Internal::Entry(live.index).into());
        };
        let declare = match Statement::read(&declared.statement) {
            Ok(Statement::Declare(declare)) => declare,
            _ => return Err(Internal::Entry(live.index).into()),
        };
        if live.words == live.index {
            return Ok(Words { declare, extend: None, facts, key });
        }
        let (extension, _) = self.read_back(live.words)?;
        let Event::ExtensionRequested { by, facts, .. } = extension.event else {
            return Err(Internal::Entry(live.words).into());
        };
        match Statement::read(&by.said.statement) {
            Ok(Statement::Extend(extend)) => Ok(Words { declare, extend: Some(extend), facts, key: by.key }),
            _ => Err(Internal::Entry(live.words).into()),
        }
    }

    /// Whether entries about it stand in this very batch: then it can be read back only in the next turn.
    pub(super) fn is_of_this_batch(&self, live: &Live) -> bool {
        live.index >= self.committed || live.words >= self.committed || live.request.index >= self.committed
    }

    /// After an entry that decided anew: what it gives at once is issued, unless the same is held already.
    pub(super) fn issue_now(
        &mut self,
        id: EmergencyId,
        of: Hash,
        decision: &Decision,
        even_if_held: bool,
    ) -> Result<(), Refusal> {
        let Some(terms) = decision.terms_now() else { return Ok(()) };
        let held = self.state.emergencies.get(id).is_some_and(|live| live.holds(&terms.hash(), self.now));
        if held && !even_if_held { Ok(()) } else { self.issue(id, of, terms) }
    }

    /// A certificate of `terms` for the emergency's fresh key, logged in this batch. It is signed when it
    /// is fetched: whoever caused it (an approver, say) need not be who holds it.
    pub(super) fn issue(&mut self, id: EmergencyId, of: Hash, terms: &Terms) -> Result<(), Refusal> {
        let live = self.state.emergencies.get(id).ok_or(Refusal::Closed(id))?;
        let (person, public_key) = (live.person.clone(), live.fresh_key);
        // What it follows from is appended and folded already: it must not stand without its certificate.
        let spoilt = |refusal: Refusal| Refusal::from(Internal::Fold(refusal.to_string()));
        let order = Order {
            terms,
            subject: Subject::Person(id, &person),
            public_key,
            serial: self.batch.next_index(),
            now: self.now,
            grant_end: self.now.saturating_add(terms.lifetime_s.into()),
            within: None,
            nonce: self.random.bytes32().map_err(|_| spoilt(Internal::Randomness.into()))?,
            ca_key: self.state.keys().user_ca,
        };
        let prepared = prepare(&order).map_err(spoilt)?;
        let pending = self.append_certificate(prepared, of, terms.hash())?;
        // Dropped unsigned, on purpose: `grant` signs what the log holds, each time the same bytes.
        drop(pending);
        Ok(())
    }

    /// The next rung of the ladder: an entry, and a page to each who is asked.
    pub(super) fn call_rung(&mut self, id: EmergencyId) -> Result<(), Refusal> {
        let nothing = || Refusal::from(Internal::Fold(format!("{id} has no rung that is due")));
        let live = self.state.emergencies.get(id).ok_or_else(nothing)?;
        let wait = live.request.waiting.as_ref().ok_or_else(nothing)?;
        let (_, rung) = wait.next_rung(live.request.at).ok_or_else(nothing)?;
        let number = u8::try_from(wait.called.len()).map_err(|_| nothing())?;
        let groups = rung.groups.clone();
        let people = called(&self.bundle.roster, &groups, live);
        let (of, tier, until) = (live.request.leaf, wait.full.tier.clone(), wait.until);
        let drill = live.drill;
        let (person, system, host) = (live.person.clone(), live.system.clone(), live.host.clone());
        let event = Event::RungCalled { emergency: id, of, rung: number, groups, people: people.clone() };
        self.append(event)?;
        let also = |who| self.also_waiting(who, id);
        let pages = people.iter().map(|to| Page {
            to: to.clone(),
            also: also(to),
            emergency: id,
            rung: number,
            person: person.clone(),
            drill,
            system: system.clone(),
            host: host.clone(),
            tier: tier.clone(),
            until,
        });
        let pages: Vec<Page> = pages.collect();
        self.pages.extend(pages);
        Ok(())
    }

    /// Nobody answered in time.
    pub(super) fn lapse(&mut self, id: EmergencyId) -> Result<(), Refusal> {
        let live = self.state.emergencies.get(id).ok_or(Refusal::Closed(id))?;
        let of = live.request.leaf;
        self.append(Event::RequestLapsed { emergency: id, of }).map(drop)
    }

    /// What is unusual about an entry that decided something is an entry of its own.
    pub(super) fn note_signals(&mut self, id: EmergencyId, of: Hash, event: &Event) -> Result<(), Refusal> {
        let signals = event.decided().map(|decided| raised(decided.facts)).unwrap_or_default();
        if !signals.is_empty() {
            self.append_too(Event::AnomalyRaised { emergency: id, of, signals })?;
        }
        Ok(())
    }
}
