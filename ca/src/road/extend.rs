//! Step 9: more time. Decided anew under today's policy and facts; what is open is not cut, the new
//! certificate is beside the old one over the same key. An emergency that is closing is held open.

use fireaxe_protocol::log::{Event, SignedBy};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Bundle, Cidr, Decision, Facts, Outcome};
use fireaxe_protocol::statement::Extend;

use super::declare::hosts_of;
use super::refusal::Refusal;
use super::request::{Words, live};
use super::said::Said;
use super::turn::Turn;
use crate::state::{Live, State};

/// Whether `person` may ask for more time with these words; the emergency if so.
pub(crate) fn may_extend<'a>(
    state: &'a State,
    bundle: &Bundle,
    person: &PersonName,
    id: EmergencyId,
    words: &Extend,
) -> Result<&'a Live, Refusal> {
    let live = live(state, id)?;
    if words.emergency != id || words.of != live.leaf {
        return Err(Refusal::WrongDeclaration(id));
    }
    // Whoever holds its key; an incident commander may end what is another's, not lengthen it.
    if !live.is_owned_by(&bundle.roster, person) {
        return Err(Refusal::NotYours { person: person.clone(), id });
    }
    Ok(live)
}

/// What is decided about an extension: the words of the declaration with those of the extension over them,
/// and who asks as they ask now.
pub(crate) fn decided(
    declared: Words,
    state: &State,
    bundle: &Bundle,
    live: &Live,
    words: &Extend,
    by: (&SignedBy, Option<&Cidr>),
    now: u64,
) -> Result<(Facts, Decision), Refusal> {
    let (by, network) = by;
    let mut asks = Words { extend: Some(words.clone()), key: by.key, ..declared };
    asks.facts.person = by.person.clone();
    asks.facts.presence = by.presence;
    asks.facts.network = network.copied();
    asks.decide_again(state, bundle, (live, None), live.extensions.saturating_add(1), None, now)
}

impl Turn<'_> {
    pub(super) fn extend(
        &mut self,
        id: EmergencyId,
        words: &Extend,
        by: SignedBy,
        network: Option<&Cidr>,
    ) -> Result<Said, Refusal> {
        let bundle = self.bundle.clone();
        let live = may_extend(self.state, &bundle, &by.person, id, words)?;
        let of = live.leaf;
        let declared = self.words_of(live)?;
        let (facts, decision) =
            decided(declared, self.state, &bundle, live, words, (&by, network), self.now)?;
        self.ask_shadow(&facts, &decision);
        if matches!(decision.outcome, Outcome::Refuse { .. }) {
            let event = Event::ExtensionRefused {
                emergency: id,
                of,
                by,
                bundle: bundle.hash,
                facts,
                decision: decision.clone(),
            };
            let recorded = self.append(event)?;
            let (leaf, index) = (recorded.leaf, recorded.index);
            return Err(Refusal::Denied { decision: Box::new(decision), leaf, index });
        }
        let hosts = hosts_of(&bundle, &facts.target);
        let given = decision.clone();
        let event =
            Event::ExtensionRequested { emergency: id, of, by, bundle: bundle.hash, facts, decision, hosts };
        let entry = self.decided_anew(id, event, &given, true)?;
        Ok(Said::Extended { entry })
    }
}
