//! What the CA says of the emergencies that are held. Asks for no touch: each is read with its own key,
//! and when the CA takes that key no longer, with the session, or with one that a key file signs for.

use fireaxe_protocol::api::Emergency;
use fireaxe_protocol::names::EmergencyId;

use crate::authority::Authority;
use crate::control::Held;
use crate::control::client::Control;
use crate::failure::Failure;

/// How one that is held stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Standing {
    /// The CA was not asked, or did not answer.
    Unasked,
    /// The CA does not take its key any longer, and nobody could be asked why: it is over, unless the CA
    /// has forgotten something.
    Unknown,
    /// What the CA says.
    Known(Box<Emergency>),
}

impl Standing {
    /// Whether the CA says that it is over.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Standing::Known(found) if found.state == "closed")
    }

    /// For programs: the CA's own word, or `unknown`; nothing when it was not asked.
    pub(super) fn state(&self) -> Option<&str> {
        match self {
            Standing::Unasked => None,
            Standing::Unknown => Some("unknown"),
            Standing::Known(found) => Some(&found.state),
        }
    }
}

/// Asks about each, in the order given; what could not be asked stays [`Standing::Unasked`], with why.
pub(super) fn ask(
    authority: &Authority<'_>,
    control: &mut Control,
    held: &[Held],
) -> (Vec<Standing>, Option<Failure>) {
    let mut all = Vec::with_capacity(held.len());
    for one in held {
        match ask_one(authority, control, one) {
            Ok(standing) => all.push(standing),
            Err(failure) => {
                all.resize(held.len(), Standing::Unasked);
                return (all, Some(failure));
            }
        }
    }
    (all, None)
}

/// Asks about one.
pub(super) fn ask_one(
    authority: &Authority<'_>,
    control: &mut Control,
    held: &Held,
) -> Result<Standing, Failure> {
    // Another installation's: this CA knows nothing of it.
    if authority.known()?.origin != held.origin {
        return Ok(Standing::Unasked);
    }
    let path = path(held.emergency);
    let found = match authority.get_as_emergency::<Emergency>(control, held.emergency, &path) {
        Err(failure) if failure.code() == "reader.unknown" => {
            match authority.get_quietly::<Emergency>(control, &path)? {
                Some(found) => found,
                None => return Ok(Standing::Unknown),
            }
        }
        other => other?,
    };
    Ok(match found.declaration == held.declaration {
        true => Standing::Known(Box::new(found)),
        false => Standing::Unasked,
    })
}

/// Where the CA shows one emergency.
pub(super) fn path(emergency: EmergencyId) -> String {
    format!("/v1/emergencies/{emergency}")
}

/// Drops from the agent what the CA says, over the pinned connection, is over: it opens nothing.
pub(super) fn drop_closed(control: &mut Control, held: &[Held], all: &[Standing]) -> Result<(), Failure> {
    for (held, standing) in held.iter().zip(all) {
        if standing.is_closed() {
            control.drop_emergency(held.emergency)?;
        }
    }
    Ok(())
}
