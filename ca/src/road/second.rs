//! A second on-call person signs a claim that is above the cap: decided anew with their signature. They are
//! a requester from then on, and neither approve nor review.

use fireaxe_protocol::log::{Event, Hash, SignedBy};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Bundle, Decision, Facts};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Second;

use super::approve::{decided_last, open};
use super::declare::hosts_of;
use super::refusal::{Internal, Refusal};
use super::request::Words;
use super::said::Said;
use super::turn::Turn;
use crate::state::{Live, State};

/// Whether `person` may sign that claim too; the emergency if so.
pub(crate) fn may_second<'a>(
    state: &'a State,
    bundle: &Bundle,
    person: &PersonName,
    id: EmergencyId,
    words: &Second,
) -> Result<&'a Live, Refusal> {
    let live = open(state, id)?;
    decided_last(live, id, words.emergency, &words.of)?;
    let Some(awaits) = &live.request.awaits else { return Err(Refusal::NoSecondAwaited(id)) };
    let mut reasons = Vec::new();
    let canonical = bundle.roster.canonical(person);
    if live.requesters.contains(canonical) {
        let sentence = format!("{canonical} has signed it already: it takes another person");
        reasons.push(Reason::new("second.own", sentence));
    }
    let groups = bundle.roster.person(person).map(|p| p.groups.as_slice()).unwrap_or_default();
    if !groups.contains(&awaits.from) {
        let sentence = format!("{person} is not on call for {} ({})", live.system, awaits.from);
        reasons.push(Reason::new("second.off_call", sentence));
    }
    if reasons.is_empty() { Ok(live) } else { Err(Refusal::MayNot { reasons }) }
}

/// What is decided once `person` has signed too.
pub(crate) fn decided(
    words: &Words,
    state: &State,
    bundle: &Bundle,
    live: &Live,
    person: &PersonName,
    now: u64,
) -> Result<(Facts, Decision), Refusal> {
    let mut seconds: Vec<PersonName> = live.requesters.iter().skip(1).cloned().collect();
    seconds.push(bundle.roster.canonical(person).clone());
    let extension = if words.extend.is_some() { live.extensions } else { 0 };
    words.decide_again(state, bundle, &seconds, extension, Some(live.id), now)
}

impl Turn<'_> {
    pub(super) fn second(&mut self, id: EmergencyId, words: &Second, by: SignedBy) -> Result<Said, Refusal> {
        let bundle = self.bundle.clone();
        let live = may_second(self.state, &bundle, &by.person, id, words)?;
        let of = live.leaf;
        let said = self.words_of(live)?;
        let (facts, decision) = decided(&said, self.state, &bundle, live, &by.person, self.now)?;
        self.ask_shadow(&facts, &decision);
        let hosts = hosts_of(&bundle, &facts.target);
        let given = decision.clone();
        let event =
            Event::EmergencySeconded { emergency: id, of, by, bundle: bundle.hash, facts, decision, hosts };
        let entry = self.decided_anew(id, event, &given, false)?;
        Ok(Said::Seconded { entry })
    }

    /// Appends an entry that decides anew, issues what it gives at once, notes what is unusual.
    pub(super) fn decided_anew(
        &mut self,
        id: EmergencyId,
        event: Event,
        decision: &Decision,
        even_if_held: bool,
    ) -> Result<u64, Refusal> {
        let recorded = self.append(event.clone())?;
        let leaf: Hash = recorded.leaf;
        self.issue_now(id, leaf, decision, even_if_held).map_err(|e| Internal::Fold(e.to_string()))?;
        self.note_signals(id, leaf, &event)?;
        Ok(recorded.index)
    }
}
