//! Step 10: close, by a person's word, or begin to when an incident is over. Closed means: no further
//! certificate, and what is alive revoked. What the clock closes is `clockwork.rs`'s.

use fireaxe_protocol::log::{Closer, Event, IncidentUpdate};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Bundle, IncidentState, Role};
use fireaxe_protocol::statement::{Close, Statement};

use super::refusal::{Internal, Refusal};
use super::request::live;
use super::turn::Turn;
use super::{Asked, Known, Recorded, Reply};
use crate::state::{Answered, Live, Phase, State};

/// An emergency that is closed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedNow {
    /// Which.
    pub emergency: EmergencyId,
    /// Serials that were alive.
    pub revoked: Vec<u64>,
    /// Index of the entry that closed it: revocation lists of this version or later hold them.
    pub entry: u64,
}

/// Whether `person` may close `id` with these words; the emergency if so.
pub(crate) fn may_close<'a>(
    state: &'a State,
    bundle: &Bundle,
    person: &PersonName,
    id: EmergencyId,
    words: &Close,
) -> Result<&'a Live, Refusal> {
    let live = live(state, id)?;
    if words.emergency != id || words.of != live.leaf {
        return Err(Refusal::WrongDeclaration(id));
    }
    if !live.is_owned_by(&bundle.roster, person) && !bundle.roster.has_role(person, Role::IncidentCommander) {
        return Err(Refusal::NotYours { person: person.clone(), id });
    }
    Ok(live)
}

/// By when an emergency that ends at `now` must have been looked back at: as the policy says; never for
/// one that gave nothing. A rehearsal is one by its declarer's word alone, and what it gave opened doors like
/// any other: it is owed.
pub(crate) fn review_due(bundle: &Bundle, live: &Live, now: u64) -> Option<u64> {
    let reviews = bundle.policy.reviews().filter(|_| !live.certificates().is_empty())?;
    Some(now.saturating_add(reviews.within_s.into()))
}

/// The word of a trigger's `close_on` for an incident that is over.
const RESOLVED: &str = "incident.resolved";

/// The emergencies whose countdown begins with an update of `now`, and when it ends, unix seconds: all that are
/// open and rest on an incident that is over, where its trigger closes on that.
pub(crate) fn resting(
    state: &State,
    bundle: &Bundle,
    update: &IncidentUpdate,
    now: u64,
) -> Vec<(EmergencyId, u64)> {
    let trigger = bundle.policy.trigger_for(&update.incident);
    let Some(trigger) = trigger.filter(|t| t.close_on.as_deref() == Some(RESOLVED)) else {
        return Vec::new();
    };
    if update.state != IncidentState::Resolved {
        return Vec::new();
    }
    let end = now.saturating_add(trigger.grace_s.into());
    let all = state.emergencies.iter();
    let rest =
        all.filter(|live| live.phase == Phase::Open && live.incident.as_ref() == Some(&update.incident));
    rest.map(|live| (live.id, live.until.min(end))).collect()
}

impl Turn<'_> {
    pub(super) fn take_closing(&mut self, id: EmergencyId, known: Box<Known>, reply: Reply<ClosedNow>) {
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
        self.still_known(known)?;
        may_close(self.state, &self.bundle, known.person(), id, words)?;
        let by = Closer::Person {
            person: known.person().clone(),
            closed: signed.envelope.clone(),
            key: signed.fingerprint,
            counter: signed.counter,
        };
        self.close_now(id, by)
    }

    pub(super) fn close_now(&mut self, id: EmergencyId, by: Closer) -> Result<ClosedNow, Refusal> {
        let live = self.state.emergencies.get(id).ok_or(Refusal::Closed(id))?;
        let revoked = live.alive(self.now);
        let review_due = review_due(&self.bundle, live, self.now);
        let event = Event::EmergencyClosed { emergency: id, by, revoked: revoked.clone(), review_due };
        let Recorded { index, .. } = self.append(event)?;
        self.revoked |= !revoked.is_empty();
        Ok(ClosedNow { emergency: id, revoked, entry: index })
    }

    /// Evidence from outside. A resolved incident starts the countdown of what rests on it; it closes
    /// nothing by itself.
    pub(super) fn incident(&mut self, update: IncidentUpdate) -> Result<Recorded, Refusal> {
        for system in &update.systems {
            if self.bundle.policy.system(system).is_none() {
                return Err(Refusal::UnknownSystem(system.to_string()));
            }
        }
        let recorded = self.append(Event::IncidentUpdated(update.clone()))?;
        for (emergency, until) in resting(self.state, &self.bundle, &update, self.now) {
            let incident = update.incident.clone();
            // The incident is recorded already: all of this, or nothing of the batch.
            self.append(Event::EmergencyClosing { emergency, incident, until })
                .map_err(|e| Internal::Fold(e.to_string()))?;
        }
        Ok(recorded)
    }
}
