//! Step 10: close, by a person's word. Closed means: no further certificate, and what is alive revoked.

use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Bundle, Role};
use fireaxe_protocol::statement::Close;

use super::Refusal;
use crate::state::{Live, State};

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
    let live = match state.emergencies.get(id) {
        Some(live) => live,
        None if state.emergencies.was_declared(id) => return Err(Refusal::Closed(id)),
        None => return Err(Refusal::UnknownEmergency(id)),
    };
    if words.emergency != id || words.of != live.leaf {
        return Err(Refusal::WrongDeclaration(id));
    }
    if live.person != *person && !bundle.roster.has_role(person, Role::IncidentCommander) {
        return Err(Refusal::NotYours { person: person.clone(), id });
    }
    Ok(live)
}
