//! `close`: the end. A signed statement; then what the agent holds of that emergency is dropped.

use fireaxe_protocol::api::{Closed, Emergency};
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::statement::{Close, Kind, Statement};
use serde::Serialize;

use super::{Context, standing};
use crate::authority::Authority;
use crate::config::Config;
use crate::control::client::{Control, ControlError};
use crate::control::{Held, Pending};
use crate::exit::Exit;
use crate::failure::Failure;

pub(super) fn run(cx: &Context, emergency: Option<EmergencyId>) -> Result<Exit, Failure> {
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let held = match Control::connect(&cx.places) {
        Ok(mut control) => match emergency {
            None => still_open(cx, &config, &mut control)?,
            Some(_) => control.list()?,
        },
        Err(ControlError::NotRunning) => Vec::new(),
        Err(e) => return Err(e.into()),
    };
    let emergency = match emergency {
        Some(emergency) => emergency,
        None => {
            let waits = Control::connect(&cx.places).and_then(|mut control| control.pending());
            the_only_one(&held, &waits.unwrap_or_default(), "close")?
        }
    };
    let closed = close(cx, &authority, &held, emergency)?;
    #[derive(Serialize)]
    struct Answer<'a> {
        schema: &'static str,
        emergency: EmergencyId,
        revoked: &'a [u64],
        entry: u64,
    }
    cx.screen.json(&Answer {
        schema: "fireaxe.close/v1",
        emergency,
        revoked: &closed.revoked,
        entry: closed.entry,
    });
    if !cx.screen.is_json() {
        let revoked = match closed.revoked.as_slice() {
            [] => "nothing was alive".to_owned(),
            [first, .., last] if closed.revoked.len() > SERIALS => format!(
                "revoked: {} certificates, serial {first} to {last} (revocation list {} or newer)",
                closed.revoked.len(),
                closed.entry
            ),
            serials => format!(
                "revoked: serial {} (revocation list {} or newer)",
                serials.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                closed.entry
            ),
        };
        cx.screen.headline(&format!("{emergency}  closed; {revoked}"));
        cx.screen.say(match held.iter().any(|h| h.emergency == emergency) {
            true => {
                "  the certificate is gone from the agent; hosts refuse it as soon as they have that list"
            }
            false => "  hosts refuse it as soon as they have that list",
        });
    }
    Ok(Exit::Ok)
}

/// Signs and sends the closing, with how often it was used; drops what is held of it.
pub(super) fn close(
    cx: &Context,
    authority: &Authority<'_>,
    held: &[Held],
    emergency: EmergencyId,
) -> Result<Closed, Failure> {
    let of = declaration(cx, authority, held, emergency)?;
    let header = authority.header(Kind::Close)?;
    let statement = Statement::Close(Close { header, of, emergency, uses: uses(held, emergency) });
    let envelope = authority.sign(&authority.signer()?, &statement)?;
    let closed = authority.close(emergency, &envelope);
    // If the process dies here the certificate stays in the agent to its end; every host that has the
    // newest revocation list refuses it. Closed already, by the clock or by somebody else: what is held
    // here is dead, too.
    if closed.as_ref().err().is_none_or(|failure| failure.code().starts_with("emergency.closed")) {
        drop_held(cx, emergency);
    }
    closed
}

/// What is held, without what the CA says is closed already when there is more than one: "which one?" is
/// not asked about the dead. A CA that does not answer changes nothing here.
fn still_open(cx: &Context, config: &Config, control: &mut Control) -> Result<Vec<Held>, Failure> {
    let held = control.list()?;
    if held.iter().all(|one| Some(one.emergency) == held.first().map(|first| first.emergency)) {
        return Ok(held);
    }
    let (all, _) = standing::ask(&cx.hasty_authority(config)?, control, &held);
    standing::drop_closed(control, &held, &all)?;
    for (gone, _) in
        held.iter().zip(&all).filter(|(_, standing)| standing.is_closed() && !cx.screen.is_json())
    {
        cx.screen.say(&format!("  {} was closed already; it is gone from the agent", gone.emergency));
    }
    Ok(held
        .into_iter()
        .zip(&all)
        .filter(|(_, standing)| !standing.is_closed())
        .map(|(held, _)| held)
        .collect())
}

/// Without a number: the one that is held or waits, if it is one.
pub(super) fn the_only_one(
    held: &[Held],
    pending: &[Pending],
    verb: &'static str,
) -> Result<EmergencyId, Failure> {
    let mut ids: Vec<EmergencyId> = held.iter().map(|h| h.emergency).collect();
    ids.extend(pending.iter().map(|p| p.emergency));
    ids.sort();
    ids.dedup();
    match ids.as_slice() {
        [] => Err(Failure::NothingHeld(verb)),
        [one] => Ok(*one),
        _ => Err(Failure::WhichOne(ids, verb)),
    }
}

/// How often the agent signed a login for it, as far as it remembers: it forgets when the last certificate
/// ends.
fn uses(held: &[Held], emergency: EmergencyId) -> Option<u32> {
    held.iter().find(|h| h.emergency == emergency).map(|h| h.uses)
}

/// The leaf of its declaration: known here if it is held or waits, else asked for.
fn declaration(
    cx: &Context,
    authority: &Authority<'_>,
    held: &[Held],
    emergency: EmergencyId,
) -> Result<Hash, Failure> {
    let origin = &authority.known()?.origin;
    if let Some(held) = held.iter().find(|h| h.emergency == emergency && h.origin == *origin) {
        return Ok(held.declaration);
    }
    let mut control = Control::connect_or_start(&cx.places)?;
    if let Some(waits) =
        control.pending()?.into_iter().find(|p| p.emergency == emergency && p.origin == *origin)
    {
        return Ok(waits.declaration);
    }
    let found: Emergency = authority.get(&mut control, &standing::path(emergency))?;
    if found.emergency != emergency {
        return Err(Failure::Answer("it is about another emergency"));
    }
    Ok(found.declaration)
}

fn drop_held(cx: &Context, emergency: EmergencyId) {
    // No agent, nothing held: nothing to drop.
    if let Ok(mut control) = Control::connect(&cx.places) {
        let _ = control.drop_emergency(emergency);
    }
}

/// So many serials are named one by one: with a certificate for each host there may be a hundred.
const SERIALS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::keyring::Keyring;
    use crate::agent::keyring::tests::hold_of;

    #[test]
    fn without_a_number_only_the_only_one_is_closed() {
        let mut ring = Keyring::default();
        assert_eq!(the_only_one(&[], &[], "close"), Err(Failure::NothingHeld("close")));
        let one = hold_of(&mut ring, 42, "root", 3, "db-3.payments.prod");
        assert_eq!(the_only_one(&[one.clone(), one.clone()], &[], "close"), Ok(EmergencyId(42)));
        let two = hold_of(&mut ring, 7, "root", 3, "db-3.payments.prod");
        assert_eq!(
            the_only_one(&[one.clone(), two.clone()], &[], "close"),
            Err(Failure::WhichOne(vec![EmergencyId(7), EmergencyId(42)], "close"))
        );
    }
}
