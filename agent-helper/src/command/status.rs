//! `status`: what is held, from the agent alone; then what the CA says, if it answers quickly. Never
//! asks for a signature: each emergency is read with its own key.

use fireaxe_protocol::api::Emergency;
use serde::Serialize;

use super::Context;
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
    /// `open`, `closing`, `closed`; nothing when the CA was not asked or did not answer.
    state: Option<String>,
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
        Ok(_) => (vec![None; held.len()], None),
        Err(failure) => (vec![None; held.len()], Some(failure)),
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
                state: state.as_ref().map(|s| s.state.clone()),
            })
            .collect(),
        agent: Some(cx.places.agent_socket().display().to_string()),
        notes: notes.clone(),
        ca: trouble.as_ref().map(ToString::to_string),
    });
    if !screen.is_json() {
        for (held, state) in held.iter().zip(&states) {
            screen.data(&line(held, state.as_ref(), now));
        }
        if held.is_empty() {
            screen.say("nothing is held.   next: fireaxe open HOST -r \"...\"   |   fireaxe ls");
        }
        if let Some(trouble) = &trouble {
            screen.say(&format!("  the CA was not asked or did not answer: {trouble}"));
            if !held.is_empty() {
                screen.say("  what is held goes on working to its end; hosts check it without the CA");
            }
        }
    }
    // The CA says, over the pinned connection, that it is over: what is left here opens nothing.
    for (held, state) in held.iter().zip(&states) {
        if state.as_ref().is_some_and(|s| s.state == "closed") {
            control.drop_emergency(held.emergency)?;
        }
    }
    Ok(Exit::Ok)
}

fn ask_ca(
    cx: &Context,
    config: &Config,
    control: &mut Control,
    held: &[Held],
) -> (Vec<Option<Emergency>>, Option<Failure>) {
    let mut states = Vec::new();
    let authority = match cx.hasty_authority(config) {
        Ok(authority) => authority,
        Err(failure) => return (vec![None; held.len()], Some(failure)),
    };
    for one in held {
        let path = format!("/v1/emergencies/{}", one.emergency);
        match authority.get_as_emergency::<Emergency>(control, one.emergency, &path) {
            Ok(found) if found.declaration == one.declaration => states.push(Some(found)),
            Ok(_) => states.push(None),
            Err(failure) => {
                states.resize(held.len(), None);
                return (states, Some(failure));
            }
        }
    }
    (states, None)
}

fn line(held: &Held, state: Option<&Emergency>, now: u64) -> String {
    let drill = if held.drill { "  (drill)" } else { "" };
    let state = match state {
        None => String::new(),
        Some(found) if found.state == "open" => String::new(),
        Some(found) => {
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
