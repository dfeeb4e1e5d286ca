//! Whether an entry about evidence says what is so at its place in the log: who reads has the role by the bundle in
//! force there, who is refused has it not. The door looks before, and people may lose a role in between.

use fireaxe_protocol::log::{Event, EvidenceReader};
use fireaxe_protocol::policy::{Role, Roster};

use super::Refusal;

/// Refused if the entry would say something else than what the roster says. The operator has no role.
pub(super) fn holds(roster: &Roster, event: &Event) -> Result<(), Refusal> {
    let (by, reads) = match event {
        Event::EvidenceRead { by, .. } | Event::EvidenceExported { by, .. } => (by, true),
        Event::EvidenceRefused { by, .. } => (by, false),
        _ => return Ok(()),
    };
    let EvidenceReader::Person { person, key } = by else { return Ok(()) };
    if roster.by_key(key).is_none_or(|(owner, _)| owner.name != *person) {
        return Err(Refusal::UnknownReader);
    }
    match (reads, roster.has_role(person, Role::Auditor)) {
        (true, true) | (false, false) => Ok(()),
        (true, false) => Err(Refusal::NotAuditor),
        // An auditor who may read in their own name, and used another key: nothing is kept from them.
        (false, true) => Err(Refusal::UnknownReader),
    }
}
