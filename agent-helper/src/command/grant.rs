//! Taking up what has been granted: the grant is asked for, checked like an opening, and its certificate put
//! into the running agent. Safe to do twice, and from two processes at once: the agent holds each
//! certificate once and never lets an older one take the place of a newer.

use fireaxe_protocol::api::{Grant, Waiting};

use crate::agreed::check_grant;
use crate::authority::{Agreed, Authority};
use crate::clock;
use crate::control::client::Control;
use crate::control::{Held, Hold, Pending};
use crate::failure::Failure;
use crate::words;

/// A certificate that was not in the agent before.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct New {
    /// The certificate.
    pub(super) held: Held,
    /// It gives more time and not more power.
    pub(super) longer: bool,
}

impl New {
    /// `EM-42  upgraded to tier root until 03:02 UTC`
    pub(super) fn in_words(&self, now: u64) -> String {
        let New { held, longer } = self;
        let what = if *longer { "extended:" } else { "upgraded to" };
        let until = words::clock(held.valid_before, now);
        format!("{}  {what} {} until {until}", held.emergency, words::held(held))
    }
}

/// Asks for the grant with the emergency's own key; signs nothing.
pub(super) fn fetch(
    authority: &Authority<'_>,
    control: &mut Control,
    mine: &Pending,
) -> Result<Grant, Failure> {
    let path = format!("/v1/emergencies/{}/grant", mine.emergency);
    authority.get_as_emergency(control, mine.emergency, &path)
}

/// Puts the grant's certificate into the agent unless it is there, and remembers or forgets what waits.
/// The certificate, if it is new. One that is not what was agreed is thrown away with an error.
pub(super) fn take(
    authority: &Authority<'_>,
    control: &mut Control,
    mine: &Pending,
    grant: &Grant,
) -> Result<Option<New>, Failure> {
    check_grant(grant, mine)?;
    let mut new = None;
    // One that has ended opens nothing: what waits may still come.
    let alive = grant.valid_before.is_none_or(|at| at > clock::now());
    if let (true, Some(of), Some(terms), Some(certificate)) =
        (alive, grant.of, &grant.terms, &grant.certificate)
    {
        let public_key = mine.public_key;
        let agreed = Agreed { emergency: mine.emergency, of, terms, certificate, public_key, within: None };
        let accepted = authority.check(&agreed)?;
        let before: Vec<Held> =
            control.list()?.into_iter().filter(|h| h.emergency == mine.emergency).collect();
        if !before.iter().any(|h| h.serial == accepted.serial) {
            let held = control.hold(Hold {
                certificate: certificate.clone(),
                emergency: mine.emergency,
                declaration: mine.declaration,
                origin: mine.origin.clone(),
                system: mine.system.clone(),
                host: mine.host.clone(),
                hosts: grant.hosts.clone(),
                terms: terms.clone(),
                drill: mine.drill,
                pinned: authority.pinned(of)?,
            })?;
            let longer = before.iter().any(|h| h.power >= held.power);
            new = (held.serial == accepted.serial).then_some(New { held, longer });
        }
    }
    match waits(grant) {
        Some((tier, until)) => control.remember(Pending { tier, until, ..mine.clone() })?,
        None => control.forget(mine.emergency)?,
    }
    Ok(new)
}

/// Both: the grant, and the certificate if it is new.
pub(super) fn take_up(
    authority: &Authority<'_>,
    control: &mut Control,
    mine: &Pending,
) -> Result<(Grant, Option<New>), Failure> {
    let grant = fetch(authority, control, mine)?;
    let new = take(authority, control, mine, &grant)?;
    Ok((grant, new))
}

/// Whether people are still to be heard, for which tier, and until when.
pub(super) fn waits(grant: &Grant) -> Option<(Option<fireaxe_protocol::names::TierName>, u64)> {
    match (&grant.waiting, &grant.decision.awaits) {
        (Some(Waiting { tier, until, .. }), _) => Some((Some(tier.clone()), *until)),
        (None, Some(_)) => Some((None, grant.until)),
        (None, None) => None,
    }
}

/// Whether the CA says that the emergency is over: only its own key asks, which reads no longer than that.
pub(super) fn is_over(failure: &Failure) -> bool {
    failure.code() == "reader.unknown" || failure.code().starts_with("emergency.closed")
}

/// Whether asking again later may help: the CA is away, busy or in trouble of its own.
pub(super) fn may_pass(failure: &Failure) -> bool {
    match failure {
        Failure::Transport(error) => {
            error.is_unavailable() || error.problem().is_some_and(|p| p.status >= 500 || p.status == 429)
        }
        _ => false,
    }
}
