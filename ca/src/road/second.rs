//! A second on-call person signs a claim that is above the cap: decided anew with their signature. They are
//! a requester from then on, and neither approve nor review.

use std::collections::BTreeSet;

use fireaxe_protocol::log::{Event, Hash, SignedBy};
use fireaxe_protocol::names::{EmergencyId, PersonName, SystemName};
use fireaxe_protocol::policy::{Bundle, Decision, Facts, Presence, decide};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Second;

use super::approve::{decided_last, open};
use super::declare::hosts_of;
use super::refusal::{Internal, Refusal};
use super::request::Words;
use super::said::Said;
use super::turn::Turn;
use crate::state::{Live, State, Voice};

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
    if live.is_asked_by(&bundle.roster, person) {
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

/// Who signed the claim too and counts today, by canonical name: who is still on call for `system` under the
/// name they signed with, and still holds that key. Nobody counts twice, nor beside themselves.
pub(crate) fn seconders(bundle: &Bundle, live: &Live, system: &SystemName) -> Vec<PersonName> {
    let Some(system) = bundle.policy.system(system) else { return Vec::new() };
    let roster = &bundle.roster;
    let counts = |voice: &&Voice| {
        let holder = roster.by_key(&voice.key).map(|(person, _)| person);
        let holder = holder.filter(|person| roster.canonical(&person.name) == &voice.canonical);
        holder.is_some_and(|person| person.groups.contains(&system.on_call.value))
            && live.requesters.first().is_none_or(|declarer| !declarer.is(roster, &voice.name))
    };
    let theirs = live.requesters.iter().skip(1).filter(counts).map(|voice| voice.canonical.clone());
    theirs.collect::<BTreeSet<_>>().into_iter().collect()
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
    let extension = if words.extend.is_some() { live.extensions } else { 0 };
    words.decide_again(state, bundle, (live, Some(person)), extension, Some(live.id), now)
}

/// What keeps a signature of this `presence` from being counted: it must prove as much as the declarer's for
/// the tier that the claim opens, once everybody who is awaited has signed it.
pub(crate) fn lacks_presence(
    bundle: &Bundle,
    facts: &Facts,
    decision: &Decision,
    presence: Presence,
) -> Option<Reason> {
    let opened = match &decision.awaits {
        None => decision.clone(),
        Some(awaits) => {
            // As many more as cannot all be among those who signed already.
            let others = 0..usize::from(awaits.more) + facts.seconds.len();
            let others = others.filter_map(|n| format!("another-{n}").parse::<PersonName>().ok());
            let seconds = facts.seconds.iter().cloned().chain(others).collect();
            decide(&bundle.policy, &Facts { seconds, ..facts.clone() })
        }
    };
    let terms = opened.terms_waiting().into_iter().chain(opened.terms_now());
    let terms = terms.max_by_key(|terms| terms.presence).filter(|terms| presence < terms.presence)?;
    let needed = match terms.presence {
        Presence::Verified => "a touch with PIN or fingerprint",
        Presence::Touch | Presence::None => "a touch",
    };
    let sentence = format!("tier {} needs {needed} of who signs the claim, too", terms.tier);
    Some(Reason::new("second.presence", sentence))
}

impl Turn<'_> {
    pub(super) fn second(&mut self, id: EmergencyId, words: &Second, by: SignedBy) -> Result<Said, Refusal> {
        let bundle = self.bundle.clone();
        let mut reasons = match may_second(self.state, &bundle, &by.person, id, words) {
            Ok(_) => Vec::new(),
            Err(Refusal::MayNot { reasons }) => reasons,
            Err(other) => return Err(other),
        };
        let live = open(self.state, id)?;
        let of = live.leaf;
        let said = self.words_of(live)?;
        let (facts, decision) = decided(&said, self.state, &bundle, live, &by.person, self.now)?;
        reasons.extend(lacks_presence(&bundle, &facts, &decision, by.presence));
        if !reasons.is_empty() {
            return Err(Refusal::MayNot { reasons });
        }
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
