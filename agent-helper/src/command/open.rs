//! `open`: the main road. Declare, sign, send; check what comes back against the terms; put it into the
//! agent; say what is held, until when, and what to type next.

use fireaxe_protocol::api::Problem;
use fireaxe_protocol::names::ReasonText;
use fireaxe_protocol::policy::Outcome;
use fireaxe_protocol::statement::{Declare, Kind, Params, Statement};
use fireaxe_transport::TransportError;

use super::standing::{self, Standing};
use super::{Context, card, explain};
use crate::agreed::{Asked, check_answer};
use crate::authority::{Agreed, Authority};
use crate::cli::{Explain, Open};
use crate::clock;
use crate::control::client::Control;
use crate::control::{Held, Hold};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::words::{self, Typed};

pub(super) fn run(cx: &Context, open: Open) -> Result<Exit, Failure> {
    if open.dry_run {
        let Open { target, severity, incident, want, for_s, .. } = open;
        let target = Some(target);
        return explain::run(cx, Explain { target, severity, incident, want, for_s, systems: false });
    }
    let result = declare(cx, open);
    if let Err(Failure::Transport(error)) = &result
        && error.is_unavailable()
    {
        show_what_still_works(cx);
    }
    result
}

fn declare(cx: &Context, open: Open) -> Result<Exit, Failure> {
    // Everything that may fail without the CA fails first, and quickly.
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let signer = authority.signer()?;
    let reason = match open.reason.clone() {
        Some(reason) => reason,
        None => ask_reason(cx.screen, &open)?,
    };
    let typed = typed(&open, reason.as_str());
    let asked = Asked { want: open.want.as_ref(), for_s: open.for_s };
    let mut control = Control::connect_or_start(&cx.places)?;
    let public_key = control.fresh_key()?;
    let statement = Statement::Declare(Declare {
        header: authority.header(Kind::Declare)?,
        target: open.target.clone(),
        severity: open.severity,
        incident: open.incident.clone(),
        reason,
        want: open.want.clone(),
        action: None,
        params: Params::default(),
        for_s: open.for_s,
        drill: open.drill,
        public_key,
    });
    if signer.is_hardware() {
        // Nobody is asked for a touch that goes nowhere; the connection is then kept for the declaration.
        authority.compare_keys(&authority.keys()?)?;
    }
    let envelope = authority.sign(&signer, &statement)?;
    let opened = match authority.declare(&envelope) {
        Ok(opened) => opened,
        Err(Failure::Transport(TransportError::Problem(problem))) if is_refusal(&problem) => {
            return Ok(card::show_refusal(cx.screen, &typed, &problem));
        }
        Err(failure) => return Err(failure.with_target_corrected(&typed)),
    };
    check_answer(&opened, &open.target, asked)?;
    card::show_card(cx.screen, &opened);
    let (Some(terms), Some(certificate)) = (&opened.terms, &opened.certificate) else {
        return Ok(card::show_waiting(cx.screen, &opened));
    };
    authority.check(&Agreed {
        emergency: opened.emergency,
        of: opened.declaration,
        terms,
        certificate,
        public_key,
    })?;
    let held = control.hold(Hold {
        certificate: certificate.clone(),
        emergency: opened.emergency,
        declaration: opened.declaration,
        origin: authority.known()?.origin.clone(),
        system: opened.system.clone(),
        host: opened.host.clone(),
        hosts: opened.hosts.clone(),
        terms: terms.clone(),
        drill: open.drill,
    })?;
    let gone = drop_what_shadows(&authority, &mut control, &held);
    card::show_held(cx.screen, &cx.places, &opened, terms, &held);
    for one in gone.iter().filter(|_| !cx.screen.is_json()) {
        cx.screen.say(&format!(
            "  {} (account {}), which ssh would have taken first, is over and gone from the agent",
            one.emergency, one.account
        ));
    }
    Ok(Exit::Ok)
}

/// `ssh HOST` takes the most powerful certificate that is held. One that somebody else has closed is
/// refused everywhere and would stand in front of the new one; so what would be taken before it is asked
/// about, with its own key. "That key may not read" is enough here: the CA that has just answered under
/// its pin has no open emergency for it. What goes wrong here does not undo what was opened.
fn drop_what_shadows(authority: &Authority<'_>, control: &mut Control, new: &Held) -> Vec<Held> {
    let before = control.list().unwrap_or_default().into_iter().take_while(|one| one.serial != new.serial);
    let shadowing: Vec<Held> = before.filter(|one| one.overlaps(new) && one.origin == new.origin).collect();
    let over = |one: &Held, control: &mut Control| match standing::ask_one(authority, control, one) {
        Ok(standing) => standing.is_closed() || standing == Standing::Unknown,
        Err(_) => false,
    };
    shadowing
        .into_iter()
        .filter(|one| over(one, control) && control.drop_emergency(one.emergency).is_ok())
        .collect()
}

/// The CA is down: what is held is checked by hosts without it.
fn show_what_still_works(cx: &Context) {
    let held = Control::connect(&cx.places).and_then(|mut control| control.list()).unwrap_or_default();
    if cx.screen.is_json() {
        return;
    }
    let now = clock::now();
    for one in held {
        cx.screen.say(&format!(
            "still works: {} account {} on {}, ends {} ({})",
            one.emergency,
            one.account,
            one.hosts.join(", "),
            words::clock(one.valid_before, now),
            words::left(one.valid_before, now)
        ));
    }
}

fn typed(open: &Open, reason: &str) -> Typed {
    Typed {
        target: open.target.to_string(),
        severity: open.severity,
        incident: open.incident.clone(),
        reason: Some(reason.to_owned()),
        want: open.want.clone(),
        for_s: open.for_s,
        drill: open.drill,
    }
}

fn ask_reason(screen: Screen, open: &Open) -> Result<ReasonText, Failure> {
    let none = || Failure::NoReason(typed(open, "what is wrong").command());
    if !screen.can_ask() {
        return Err(none());
    }
    let line = screen.ask("what is wrong? ").ok_or_else(none)?;
    line.parse().map_err(Failure::NotValid)
}
fn is_refusal(problem: &Problem) -> bool {
    problem.decision.as_ref().is_some_and(|d| matches!(d.outcome, Outcome::Refuse { .. }))
}
