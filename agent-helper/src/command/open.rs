//! `open`: the main road. Declare, sign, send; check what comes back against the terms; put it into the
//! agent; say what is held, until when, and what to type next. What waits for people is waited for where
//! somebody sits, and goes on without them where nobody does.

use fireaxe_protocol::api::{Opened, Problem};
use fireaxe_protocol::limits;
use fireaxe_protocol::names::ReasonText;
use fireaxe_protocol::policy::Outcome;
use fireaxe_protocol::statement::{Declare, Kind, Statement};
use fireaxe_transport::TransportError;

use super::standing::{self, Standing};
use super::{Context, card, explain, follow, wait};
use crate::agreed::check_answer;
use crate::authority::{Agreed, Authority};
use crate::cli::{Explain, Open};
use crate::clock;
use crate::control::client::Control;
use crate::control::{Asked, Held, Hold, Pending};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::tty::Keys;
use crate::words::{self, Typed};

pub(super) fn run(cx: &Context, open: Open) -> Result<Exit, Failure> {
    if open.dry_run {
        let Open { target, severity, incident, want, act, for_s, .. } = open;
        let target = Some(target);
        return explain::run(cx, Explain { target, severity, incident, want, act, for_s, systems: false });
    }
    let result = open_it(cx, &open);
    if let Err(Failure::Transport(error)) = &result
        && error.is_unavailable()
    {
        show_what_still_works(cx);
    }
    result
}

fn open_it(cx: &Context, open: &Open) -> Result<Exit, Failure> {
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let typed = typed(cx.screen, open)?;
    let mut control = Control::connect_or_start(&cx.places)?;
    let mut keys = None;
    let declared = match declare(cx, &authority, &mut control, open, &typed, &mut keys)? {
        Declared::Opened(opened) => *opened,
        Declared::Refused(problem) => return Ok(card::show_refusal(cx.screen, &typed, &problem)),
    };
    let waits = declared.waits();
    if waits || declared.held.is_some() && cx.screen.can_ask() {
        // Before anything is waited for: whatever happens to this process and its terminal, it goes on.
        follow::start(&cx.places, declared.opened.emergency);
    }
    let waits_here = waits && !open.no_wait && (open.wait || cx.screen.can_ask());
    if waits_here && cx.screen.is_json() {
        let waited = wait::until_settled(cx, &authority, &declared.mine, keys.as_ref())?;
        let exit = card::show_waited(cx.screen, &cx.places, &typed, &declared.mine, &waited);
        authority.look_back_aloud();
        return Ok(exit);
    }
    let mut exit = card::show_given(cx.screen, &cx.places, &typed, &declared);
    for one in declared.gone.iter().filter(|_| !cx.screen.is_json()) {
        cx.screen.say(&format!(
            "  {} (account {}), which ssh would have taken first, is over and gone from the agent",
            one.emergency, one.account
        ));
    }
    if waits_here {
        let waited = wait::until_settled(cx, &authority, &declared.mine, keys.as_ref())?;
        exit = card::show_waited(cx.screen, &cx.places, &typed, &declared.mine, &waited);
    }
    authority.look_back_aloud();
    Ok(exit)
}

/// What came of a declaration.
pub(super) enum Declared {
    /// It is open; something is held, or waits.
    Opened(Box<Fresh>),
    /// The policy says no.
    Refused(Box<Problem>),
}

/// An emergency that was just opened.
pub(super) struct Fresh {
    /// What the CA said.
    pub(super) opened: Opened,
    /// What is held of it.
    pub(super) held: Option<Held>,
    /// What to ask about it later.
    pub(super) mine: Pending,
    /// Certificates that stood in front of it and are over.
    pub(super) gone: Vec<Held>,
}

impl Fresh {
    /// Whether people are still to be heard.
    pub(super) fn waits(&self) -> bool {
        waits(&self.opened)
    }
}

/// By the decision, too: where the answer to a first try was lost, people may have answered before the
/// second came, and then nothing waits any more of what is yet to be fetched.
fn waits(opened: &Opened) -> bool {
    let Opened { waiting, decision, .. } = opened;
    waiting.is_some() || decision.awaits.is_some() || decision.terms_waiting().is_some()
}

/// Declares, checks what comes back, and puts it into the agent. Prints the card. `keys` is set once Ctrl-C is
/// held back.
pub(super) fn declare(
    cx: &Context,
    authority: &Authority<'_>,
    control: &mut Control,
    open: &Open,
    typed: &Typed,
    keys: &mut Option<Keys>,
) -> Result<Declared, Failure> {
    // Everything that may fail without the CA fails first, and quickly.
    let signer = authority.signer()?;
    let reason = typed.reason.as_deref().unwrap_or_default();
    let asked = Asked { want: open.want.clone(), action: open.act.action.clone(), for_s: open.for_s };
    let public_key = control.fresh_key()?;
    let statement = Statement::Declare(Declare {
        header: authority.header(Kind::Declare)?,
        target: open.target.clone(),
        severity: open.severity,
        incident: open.incident.clone(),
        reason: reason.parse().map_err(Failure::NotValid)?,
        want: open.want.clone(),
        action: open.act.action.clone(),
        params: typed.params.clone(),
        for_s: open.for_s,
        drill: open.drill,
        public_key,
    });
    if signer.is_hardware() {
        // Nobody is asked for a touch that goes nowhere; the connection is then kept for the declaration.
        authority.compare_keys(&authority.keys()?)?;
    }
    let envelope = authority.sign(&signer, &statement)?;
    // From here on it may be open: Ctrl-C waits until what came back is held.
    *keys = wait::keys(cx.screen);
    let answer = authority.declare(&envelope);
    if let Err(Failure::Transport(TransportError::Problem(problem))) = &answer
        && problem.status < 500
    {
        // It was refused: no certificate will come for this key. An agent that keeps it drops it later.
        let _ = control.discard(public_key);
    }
    let opened = match answer {
        Ok(opened) => opened,
        Err(Failure::Transport(TransportError::Problem(problem))) if is_refusal(&problem) => {
            return Ok(Declared::Refused(problem));
        }
        Err(failure) => return Err(failure.with_target_corrected(typed)),
    };
    check_answer(&opened, &open.target, &asked)?;
    card::show_card(cx.screen, &opened);
    let mine = Pending {
        emergency: opened.emergency,
        declaration: opened.declaration,
        origin: authority.known()?.origin.clone(),
        public_key,
        system: opened.system.clone(),
        host: opened.host.clone(),
        drill: open.drill,
        asked,
        tier: opened.decision.terms_waiting().map(|terms| terms.tier.clone()),
        until: until(&opened),
    };
    if waits(&opened) {
        // Before the certificate: what waits must not be forgotten, whatever that one turns out to be. An
        // agent that cannot is no reason to throw away what was given.
        if let Err(error) = control.remember(mine.clone())
            && !cx.screen.is_json()
        {
            cx.screen.say(&format!("  note: what waits is not remembered here: {error}"));
        }
    }
    let mut gone = Vec::new();
    let held = match (&opened.terms, &opened.certificate) {
        (Some(terms), Some(certificate)) => {
            let (emergency, of) = (opened.emergency, opened.declaration);
            authority.check(&Agreed { emergency, of, terms, certificate, public_key, within: None })?;
            let held = control.hold(Hold {
                certificate: certificate.clone(),
                emergency,
                declaration: opened.declaration,
                origin: mine.origin.clone(),
                system: opened.system.clone(),
                host: opened.host.clone(),
                hosts: opened.hosts.clone(),
                terms: terms.clone(),
                drill: open.drill,
                pinned: authority.pinned(of)?,
            })?;
            gone = drop_what_shadows(authority, control, &held);
            Some(held)
        }
        _ => None,
    };
    Ok(Declared::Opened(Box::new(Fresh { opened, held, mine, gone })))
}

/// When the waiting ends by itself.
fn until(opened: &Opened) -> u64 {
    let waits = opened.waiting.as_ref().map(|w| w.until);
    waits.or(opened.link_by).or(opened.valid_before).unwrap_or_else(|| clock::now() + limits::WAIT_MAX_S)
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

/// What was typed, with the reason: asked for where somebody sits, else a failure with the whole command.
pub(super) fn typed(screen: Screen, open: &Open) -> Result<Typed, Failure> {
    let mut typed = Typed {
        target: open.target.to_string(),
        severity: open.severity,
        incident: open.incident.clone(),
        reason: open.reason.as_ref().map(ToString::to_string),
        want: open.want.clone(),
        action: open.act.action.clone(),
        params: open.act.params()?,
        for_s: open.for_s,
        drill: open.drill,
    };
    if typed.reason.is_some() {
        return Ok(typed);
    }
    let none = Typed { reason: Some("what is wrong".to_owned()), ..typed.clone() };
    let none = || Failure::NoReason(none.command());
    if !screen.can_ask() {
        return Err(none());
    }
    let line = screen.ask("what is wrong? ").ok_or_else(none)?;
    let reason: ReasonText = line.parse().map_err(Failure::NotValid)?;
    typed.reason = Some(reason.to_string());
    Ok(typed)
}

pub(super) fn is_refusal(problem: &Problem) -> bool {
    problem.decision.as_ref().is_some_and(|d| matches!(d.outcome, Outcome::Refuse { .. }))
}
