//! `explain`: what would be decided now, and how the policy gets there. Declares nothing.

use fireaxe_protocol::api::{ActionSurface, ExplainRequest, Explained, PolicySurface, SystemSurface};
use fireaxe_protocol::names::{AccountName, SystemName};
use fireaxe_protocol::policy::Outcome;
use serde::Serialize;

use super::{Context, card};
use crate::authority::Authority;
use crate::cli::Explain;
use crate::control::client::Control;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::known_hosts;
use crate::screen::{self, Screen};
use crate::words::{self, Subject, Typed};

pub(super) fn run(cx: &Context, what: Explain) -> Result<Exit, Failure> {
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let mut control = Control::connect_or_start(&cx.places)?;
    let Explain { target, severity, incident, want, act, for_s, systems: _ } = what;
    let Some(target) = target else { return systems(cx, &authority, &mut control) };
    let typed = Typed {
        target: target.to_string(),
        severity,
        incident: incident.clone(),
        reason: Some("...".to_owned()),
        want: want.clone(),
        action: act.action.clone(),
        params: act.params()?,
        for_s,
        drill: false,
    };
    let (action, params) = (act.action, typed.params.clone());
    let request = ExplainRequest { target, severity, incident, want, for_s, action, params };
    let explained: Explained = authority
        .post(&mut control, "/v1/policy/explain", &request)
        .map_err(|failure| failure.with_target_corrected(&typed))?;
    Ok(show(cx.screen, "fireaxe.explain/v1", &typed, &explained))
}

/// What there is to be opened.
fn systems(cx: &Context, authority: &Authority<'_>, control: &mut Control) -> Result<Exit, Failure> {
    let surface: PolicySurface = authority.get(control, "/v1/policy")?;
    // Only if ssh was told of the file: then it follows the policy.
    if cx.places.known_hosts().exists() {
        known_hosts::keep(&cx.places, &surface, &authority.host_ca()?)?;
    }
    #[derive(Serialize)]
    struct Answer<'a> {
        schema: &'static str,
        systems: &'a [SystemSurface],
        accounts: &'a [AccountName],
        actions: &'a [ActionSurface],
    }
    let PolicySurface { systems, accounts, actions, .. } = &surface;
    cx.screen.json(&Answer { schema: "fireaxe.systems/v1", systems, accounts, actions });
    if !cx.screen.is_json() {
        for one in systems {
            cx.screen.data(&screen::clean(&format!("{}  {}", one.system, one.hosts.join(", "))));
        }
        for one in actions {
            cx.screen.data(&screen::clean(&action(one)));
        }
    }
    Ok(Exit::Ok)
}

/// `--action restart-payments shard=[0-9]{1,3}   on payments-db: /usr/bin/restart {shard}`
fn action(one: &ActionSurface) -> String {
    let params: Vec<String> = one.params.iter().map(|(name, pattern)| format!(" {name}={pattern}")).collect();
    let systems: Vec<&str> = one.systems.iter().map(SystemName::as_str).collect();
    format!(
        "--action {}{}   on {}: {}",
        one.action,
        params.concat(),
        systems.join(", "),
        one.command.join(" ")
    )
}

#[derive(Serialize)]
struct Answer<'a> {
    schema: &'static str,
    #[serde(flatten)]
    explained: &'a serde_json::Value,
    next: String,
}

/// Prints the decision. The exit code is the one that `open` would end with.
pub(super) fn show(screen: Screen, schema: &'static str, typed: &Typed, explained: &Explained) -> Exit {
    let decision = &explained.decision;
    let next = match &decision.outcome {
        Outcome::Refuse { reasons, smaller } => typed.after_refusal(reasons, smaller.as_ref()),
        _ => typed.command(),
    };
    if screen.is_json() {
        let mut value = serde_json::to_value(explained).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.remove("schema");
        }
        screen.json(&Answer { schema, explained: &value, next });
        return exit_of(&decision.outcome);
    }
    let subject = Subject {
        head: "would be: ".to_owned(),
        what: explained.system.as_str(),
        one_host: explained.host.is_some(),
        incident: explained.incident.as_ref(),
        decision,
    };
    screen.headline(&words::headline(&subject));
    if let Some(terms) = decision.terms_now() {
        screen.say(&format!("  {}", words::terms(terms, &explained.hosts, explained.owner.as_deref())));
    }
    if let Outcome::Refuse { reasons, smaller } = &decision.outcome {
        for reason in reasons {
            screen.say(&format!("  refused: {}", screen::reason(reason)));
        }
        if let Some(smaller) = smaller {
            card::show_smaller(screen, smaller, &explained.hosts);
        }
    }
    if let Some(smaller) = words::smaller_now(decision) {
        card::show_smaller(screen, smaller, &explained.hosts);
        screen.say(&format!("    {}", typed.smaller(smaller)));
    }
    for step in &decision.because {
        screen.say(&format!("  because: {}", screen::reason(step)));
    }
    screen.say(&format!("  next: {next}"));
    exit_of(&decision.outcome)
}

fn exit_of(outcome: &Outcome) -> Exit {
    match outcome {
        Outcome::Permit(_) | Outcome::NeedsApproval { meanwhile: Some(_), .. } => Exit::Ok,
        Outcome::NeedsApproval { meanwhile: None, .. } => Exit::Pending,
        Outcome::Refuse { .. } => Exit::Denied,
    }
}
