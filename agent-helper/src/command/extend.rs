//! `extend`: more time, decided anew. The same key gets a further certificate; sessions that are open are not
//! cut. Only the agent that holds the key can have it.

use fireaxe_protocol::api::{Grant, Problem, Settled, Waiting};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::{Decision, Outcome};
use fireaxe_protocol::statement::{self, Kind, Statement};
use fireaxe_transport::TransportError;
use serde::Serialize;

use super::standing::{self, Standing};
use super::wait::{Ended, Waited};
use super::{Context, card, close, follow, grant, open, wait};
use crate::cli::Extend;
use crate::clock;
use crate::control::client::{Control, ControlError};
use crate::control::{Asked, Held, Pending};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::words::{self, Typed};

pub(super) fn run(cx: &Context, what: Extend) -> Result<Exit, Failure> {
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let mut control = match Control::connect(&cx.places) {
        Err(ControlError::NotRunning) => {
            return Err(what.emergency.map_or(Failure::NothingHeld("extend"), Failure::NotHeld));
        }
        other => other?,
    };
    let held = control.list()?;
    let emergency = match what.emergency {
        Some(emergency) => emergency,
        None => close::the_only_one(&held, &[], "extend")?,
    };
    let origin = &authority.known()?.origin;
    let best = held.into_iter().find(|h| h.emergency == emergency && h.origin == *origin);
    let best = best.ok_or(Failure::NotHeld(emergency))?;
    // Only to say so; what cannot be asked is said by the answer to come.
    let was_closing = matches!(
        standing::ask_one(&authority, &mut control, &best),
        Ok(Standing::Known(found)) if found.state == "closing"
    );
    let header = authority.header(Kind::Extend)?;
    let statement = Statement::Extend(statement::Extend {
        header,
        of: best.declaration,
        emergency,
        severity: what.severity,
        incident: what.incident.clone(),
        for_s: what.for_s,
        reason: what.reason.clone(),
    });
    let envelope = authority.sign(&authority.signer()?, &statement)?;
    let keys = wait::keys(cx.screen);
    let granted: Grant = match authority.state(emergency, "extensions", &envelope) {
        Ok(granted) => granted,
        Err(Failure::Transport(TransportError::Problem(problem))) if open::is_refusal(&problem) => {
            let typed = typed(&what, &best);
            return Ok(show_refused(cx.screen, &typed, &problem, &best));
        }
        Err(failure) => return Err(failure),
    };
    let waited_for = control.pending()?.into_iter().find(|p| p.emergency == emergency);
    let known = waited_for.unwrap_or_else(|| Pending::of(&best));
    let asked = Asked { for_s: what.for_s, ..known.asked.clone() };
    let mine = Pending { asked, ..known };
    let new = grant::take(&authority, &mut control, &mine, &granted)?;
    let waits = grant::waits(&granted).is_some();
    if waits {
        follow::start(&cx.places, emergency);
    }
    let waits_here = waits && !what.no_wait && (what.wait || cx.screen.can_ask());
    let shown = Shown { screen: cx.screen, mine: &mine, was_closing };
    let new = new.map(|new| new.held);
    let mut exit = None;
    if !(waits_here && cx.screen.is_json()) {
        exit = Some(shown.at_once(&granted, new.as_ref(), &best));
    }
    if waits_here {
        let waited = wait::until_settled(cx, &authority, &mine, keys.as_ref())?;
        exit = Some(shown.waited(&waited));
    }
    authority.look_back_aloud();
    Ok(exit.unwrap_or(Exit::Ok))
}

/// What `open` would be typed for the same: a refusal names the largest request that would be granted.
fn typed(what: &Extend, best: &Held) -> Typed {
    Typed {
        target: best.reach().to_owned(),
        severity: what.severity,
        incident: what.incident.clone(),
        reason: Some(what.reason.as_ref().map_or("...".to_owned(), ToString::to_string)),
        for_s: what.for_s,
        drill: best.drill,
        ..Typed::default()
    }
}

/// What is held stays; the refusal is shown as that of an opening.
fn show_refused(screen: Screen, typed: &Typed, problem: &Problem, best: &Held) -> Exit {
    if !screen.is_json() {
        let exit = card::show_refusal(screen, typed, problem);
        let ends = words::clock(best.valid_before, clock::now());
        screen.say(&format!("  still held: {}, ends {ends}", words::held(best)));
        return exit;
    }
    let decision = problem.decision.as_deref();
    let next = match decision.map(|d| &d.outcome) {
        Some(Outcome::Refuse { reasons, smaller }) => typed.after_refusal(reasons, smaller.as_ref()),
        _ => "fireaxe status".to_owned(),
    };
    screen.json(&Answer {
        schema: SCHEMA,
        outcome: "refused",
        emergency: best.emergency,
        serial: Some(best.serial),
        valid_before: Some(best.valid_before),
        extensions_left: None,
        held_countdown: false,
        decision,
        waiting: None,
        settled: None,
        next,
    });
    Exit::Denied
}

#[derive(Serialize)]
struct Answer<'a> {
    schema: &'static str,
    /// `given`, `meanwhile`, `waiting`, `refused`, `lapsed`.
    outcome: &'static str,
    emergency: EmergencyId,
    serial: Option<u64>,
    valid_before: Option<u64>,
    extensions_left: Option<u8>,
    /// It was closing, and the countdown is held.
    held_countdown: bool,
    decision: Option<&'a Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<&'a Waiting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled: Option<&'a Settled>,
    next: String,
}

struct Shown<'a> {
    screen: Screen,
    mine: &'a Pending,
    was_closing: bool,
}

impl Shown<'_> {
    fn at_once(&self, granted: &Grant, new: Option<&Held>, best: &Held) -> Exit {
        let (screen, now, id) = (self.screen, clock::now(), self.mine.emergency);
        let waits = grant::waits(granted).is_some();
        let (outcome, exit) = match (new, waits) {
            (Some(_), false) => ("given", Exit::Ok),
            (Some(_), true) => ("meanwhile", Exit::Ok),
            (None, true) => ("waiting", Exit::Pending),
            // The same statement again, or one that gave nothing longer: it is held already.
            (None, false) => ("given", Exit::Ok),
        };
        // What is given meanwhile may be weaker than what is held anyway: that one is spoken of first.
        let weaker = new.filter(|new| new.power < best.power);
        let held = new.filter(|_| weaker.is_none()).unwrap_or(best);
        screen.json(&Answer {
            schema: SCHEMA,
            outcome,
            emergency: id,
            serial: Some(held.serial),
            valid_before: Some(held.valid_before),
            extensions_left: Some(granted.extensions_left),
            held_countdown: self.was_closing,
            decision: Some(&granted.decision),
            waiting: granted.waiting.as_ref(),
            settled: None,
            next: "fireaxe status".to_owned(),
        });
        if screen.is_json() {
            return exit;
        }
        let ends =
            format!("{} ({})", words::clock(held.valid_before, now), words::left(held.valid_before, now));
        let left = match granted.extensions_left {
            0 => "no further extension".to_owned(),
            1 => "1 further extension".to_owned(),
            n => format!("{n} further extensions"),
        };
        match new {
            Some(new) if weaker.is_some() => screen.headline(&format!(
                "{id}  more time waits for approval; held: {} until {ends}, {} until {}; {left}",
                words::held(held),
                words::held(new),
                words::clock(new.valid_before, now)
            )),
            Some(held) => {
                screen.headline(&format!("{id}  extended: {} until {ends}; {left}", words::held(held)))
            }
            None if waits => {
                screen.headline(&format!("{id}  more time waits for approval; held until {ends}; {left}"))
            }
            None => screen.headline(&format!("{id}  nothing longer was given: held until {ends}; {left}")),
        }
        if self.was_closing {
            screen.say("  it was closing: the countdown is held, it is open again");
        }
        if waits {
            screen.say(&format!("  {}", wait::line(granted)));
        }
        if let Some(smaller) = words::smaller_now(&granted.decision) {
            card::show_smaller(screen, smaller, &granted.hosts);
            let typed = Typed {
                target: self.mine.reach().to_owned(),
                severity: granted.decision.severity,
                reason: Some("...".to_owned()),
                ..Typed::default()
            };
            screen.say(&format!("    {}", typed.smaller(smaller)));
        }
        exit
    }

    fn waited(&self, waited: &Waited) -> Exit {
        wait::say_ended(self.screen, self.mine, waited);
        let grant = waited.grant.as_ref();
        let best = waited.held.first();
        self.screen.json(&Answer {
            schema: SCHEMA,
            outcome: waited.outcome(),
            emergency: self.mine.emergency,
            serial: best.map(|h| h.serial),
            valid_before: best.map(|h| h.valid_before),
            extensions_left: grant.map(|g| g.extensions_left),
            held_countdown: self.was_closing,
            decision: grant.map(|g| &g.decision),
            waiting: grant.and_then(|g| g.waiting.as_ref()),
            settled: match &waited.ended {
                Ended::Settled(settled) => Some(settled),
                Ended::Interrupted | Ended::Over => None,
            },
            next: "fireaxe status".to_owned(),
        });
        waited.exit()
    }
}

const SCHEMA: &str = "fireaxe.extend/v1";
