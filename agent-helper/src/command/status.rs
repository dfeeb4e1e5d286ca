//! `status`: what is held, from the agent alone; then what the CA says, if it answers quickly. Never
//! asks for a touch; see `standing`.

use serde::Serialize;

use super::Context;
use super::standing::{self, Standing};
use crate::clock;
use crate::config::Config;
use crate::control::Held;
use crate::control::client::{Control, ControlError};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::words;

#[derive(Serialize)]
struct Answer<'a> {
    schema: &'static str,
    held: Vec<One<'a>>,
    agent: Option<String>,
    notes: Vec<String>,
    ca: Option<String>,
}

#[derive(Serialize)]
struct One<'a> {
    #[serde(flatten)]
    held: &'a Held,
    left_s: u64,
    /// `open`, `closing`, `closed`, `unknown`; nothing when the CA was not asked or did not answer.
    state: Option<&'a str>,
}

pub(super) fn run(cx: &Context) -> Result<Exit, Failure> {
    let screen = cx.screen;
    let mut control = match Control::connect(&cx.places) {
        Ok(control) => control,
        Err(ControlError::NotRunning) => {
            screen.json(&Answer {
                schema: "fireaxe.status/v1",
                held: Vec::new(),
                agent: None,
                notes: Vec::new(),
                ca: None,
            });
            if !screen.is_json() {
                screen.say("nothing is held (no agent is running).   next: fireaxe open HOST -r \"...\"   |   fireaxe ls");
            }
            return Ok(Exit::Ok);
        }
        Err(e) => return Err(e.into()),
    };
    let held = control.list()?;
    let (_, _, notes) = control.ping()?;
    let (states, trouble) = match cx.config() {
        Ok(config) if !held.is_empty() => ask_ca(cx, &config, &mut control, &held),
        Ok(_) => (vec![Standing::Unasked; held.len()], None),
        Err(failure) => (vec![Standing::Unasked; held.len()], Some(failure)),
    };
    let now = clock::now();
    screen.json(&Answer {
        schema: "fireaxe.status/v1",
        held: held
            .iter()
            .zip(&states)
            .map(|(held, state)| One {
                held,
                left_s: held.valid_before.saturating_sub(now),
                state: state.state(),
            })
            .collect(),
        agent: Some(cx.places.agent_socket().display().to_string()),
        notes: notes.clone(),
        ca: trouble.as_ref().map(ToString::to_string),
    });
    if !screen.is_json() {
        for (held, state) in held.iter().zip(&states) {
            screen.data(&line(held, state, now));
        }
        if let Some(unknown) = states.iter().position(|s| *s == Standing::Unknown).and_then(|at| held.get(at))
        {
            screen.say(&format!(
                "  the CA does not take the key of {0} any longer: it is over, most likely.   next: fireaxe ls   |   fireaxe close {0}",
                unknown.emergency
            ));
        }
        if states.iter().any(Standing::is_closed) {
            screen.say("  what is closed is gone from the agent now");
        }
        if held.is_empty() {
            screen.say("nothing is held.   next: fireaxe open HOST -r \"...\"   |   fireaxe ls");
        }
        if let Some(trouble) = &trouble {
            screen.say(&format!("  the CA was not asked or did not answer: {trouble}"));
            if let Some(next) = trouble.next() {
                screen.say(&format!("  next: {next}"));
            }
            if !held.is_empty() {
                screen.say("  what is held goes on working to its end; hosts check it without the CA");
            }
        }
    }
    standing::drop_closed(&mut control, &held, &states)?;
    Ok(Exit::Ok)
}

fn ask_ca(
    cx: &Context,
    config: &Config,
    control: &mut Control,
    held: &[Held],
) -> (Vec<Standing>, Option<Failure>) {
    match cx.hasty_authority(config) {
        Ok(authority) => standing::ask(&authority, control, held),
        Err(failure) => (vec![Standing::Unasked; held.len()], Some(failure)),
    }
}

fn line(held: &Held, state: &Standing, now: u64) -> String {
    let drill = if held.drill { "  (drill)" } else { "" };
    let state = match state {
        Standing::Unasked => String::new(),
        Standing::Unknown => "  unknown to the CA".to_owned(),
        Standing::Known(found) if found.state == "open" => String::new(),
        Standing::Known(found) => {
            format!("  {} by {}", found.state, found.closed_by.as_deref().unwrap_or("its incident"))
        }
    };
    format!(
        "{}  tier {}  account {} on {}  ends {} ({}){drill}{state}",
        held.emergency,
        held.tier,
        held.account,
        held.hosts.join(", "),
        words::clock(held.valid_before, now),
        words::left(held.valid_before, now)
    )
}
