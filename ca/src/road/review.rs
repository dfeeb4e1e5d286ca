//! Step 12: somebody who took no part looks at an emergency that is over.

use fireaxe_protocol::log::{Event, SignedBy};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::Bundle;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Review;

use super::refusal::Refusal;
use super::said::Said;
use super::turn::Turn;
use crate::state::{Owed, State};

/// Everything that keeps `person` from making a review that is owed; empty if they may.
pub(crate) fn may_not_review(bundle: &Bundle, owed: &Owed, person: &PersonName) -> Vec<Reason> {
    let mut out = Vec::new();
    let canonical = bundle.roster.canonical(person);
    if owed.has_part(&bundle.roster, person) {
        let sentence = format!("{canonical} took part in {}: somebody else looks back at it", owed.id);
        out.push(Reason::new("review.took_part", sentence));
    }
    let groups = bundle.roster.person(person).map(|p| p.groups.as_slice()).unwrap_or_default();
    let from = bundle.policy.reviews().map(|reviews| reviews.from.as_slice()).unwrap_or_default();
    if !from.iter().any(|group| groups.contains(&group.value)) {
        let names: Vec<&str> = from.iter().map(|group| group.value.as_str()).collect();
        let sentence = match names.as_slice() {
            [] => "the policy names nobody who reviews".to_owned(),
            _ => format!("{person} is not one of {}", names.join(" or ")),
        };
        out.push(Reason::new("review.not_asked", sentence));
    }
    out
}

/// The review that these words make, if it is owed and `person` may.
pub(crate) fn may_review<'a>(
    state: &'a State,
    bundle: &Bundle,
    person: &PersonName,
    id: EmergencyId,
    words: &Review,
) -> Result<&'a Owed, Refusal> {
    let Some(owed) = state.reviews.get(id) else {
        return Err(match state.emergencies.get(id) {
            Some(_) => Refusal::NotOver(id),
            None if state.emergencies.was_declared(id) => Refusal::NoReviewOwed(id),
            None => Refusal::UnknownEmergency(id),
        });
    };
    if words.emergency != id || words.of != owed.leaf {
        return Err(Refusal::WrongDeclaration(id));
    }
    let reasons = may_not_review(bundle, owed, person);
    if reasons.is_empty() { Ok(owed) } else { Err(Refusal::MayNot { reasons }) }
}

impl Turn<'_> {
    pub(super) fn review(&mut self, id: EmergencyId, words: &Review, by: SignedBy) -> Result<Said, Refusal> {
        may_review(self.state, &self.bundle, &by.person, id, words)?;
        let entry = self.append(Event::EmergencyReviewed { emergency: id, by })?.index;
        Ok(Said::Reviewed { entry })
    }
}
