//! What an opening says: the card, what is held, what waits, why not. Prints; decides nothing.

use fireaxe_protocol::api::{Opened, Problem};
use fireaxe_protocol::policy::{Decision, Outcome, Smaller, Terms};
use serde::Serialize;

use super::ssh_config;
use crate::clock;
use crate::control::Held;
use crate::exit::Exit;
use crate::places::Places;
use crate::screen::{self, Screen};
use crate::words::{self, Subject, Typed};

pub(super) fn show_card(screen: Screen, opened: &Opened) {
    if screen.is_json() {
        return;
    }
    screen.headline(&words::headline(&Subject::of(opened)));
    if let Some(terms) = &opened.terms {
        screen.say(&format!("  {}", words::terms(terms, &opened.hosts, opened.owner.as_deref())));
    }
    for warning in words::warnings(&opened.decision) {
        screen.say(&format!("  note: {}", screen::reason(warning)));
    }
    if let Some(by) = opened.link_by {
        let now = clock::now();
        screen.say(&format!(
            "  claimed without an incident: it closes itself at {} ({}) unless the operator records one on {} by then",
            words::clock(by, now),
            words::left(by, now),
            opened.system
        ));
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    schema: &'static str,
    outcome: &'static str,
    emergency: Option<String>,
    system: Option<&'a str>,
    hosts: &'a [String],
    terms: Option<&'a Terms>,
    serial: Option<u64>,
    valid_before: Option<u64>,
    decision: Option<&'a Decision>,
    next: Vec<String>,
}

pub(super) fn show_held(screen: Screen, places: &Places, opened: &Opened, terms: &Terms, held: &Held) {
    let now = clock::now();
    let ssh = ssh_line(places, opened, terms);
    let close = format!("fireaxe close {}", held.emergency);
    screen.json(&Answer {
        schema: "fireaxe.open/v1",
        outcome: match opened.decision.outcome {
            Outcome::NeedsApproval { .. } => "meanwhile",
            _ => "given",
        },
        emergency: Some(held.emergency.to_string()),
        system: Some(opened.system.as_str()),
        hosts: &opened.hosts,
        terms: Some(terms),
        serial: Some(held.serial),
        valid_before: Some(held.valid_before),
        decision: Some(&opened.decision),
        next: vec![ssh.clone(), close.clone()],
    });
    if !screen.is_json() {
        screen.say(&format!(
            "  certificate in the agent, ends {} ({}).   next: {ssh}   |   {close}",
            words::clock(held.valid_before, now),
            words::left(held.valid_before, now)
        ));
    }
}

/// Plain `ssh HOST` where the configuration knows us; the whole command where it does not.
fn ssh_line(places: &Places, opened: &Opened, terms: &Terms) -> String {
    let host = match (&opened.host, opened.hosts.first()) {
        (Some(host), _) => host.to_string(),
        (None, Some(one)) if !one.contains('*') => one.clone(),
        (None, Some(pattern)) => format!("<one of {pattern}>"),
        (None, None) => "<host>".to_owned(),
    };
    if ssh_config::is_installed(places) {
        format!("ssh {host}")
    } else {
        let socket = words::quote(&places.agent_socket().display().to_string());
        format!("ssh -o IdentityAgent={socket} {}@{host}", terms.account)
    }
}

pub(super) fn show_waiting(screen: Screen, opened: &Opened) -> Exit {
    let next = format!("fireaxe status   |   fireaxe close {}", opened.emergency);
    screen.json(&Answer {
        schema: "fireaxe.open/v1",
        outcome: "waiting",
        emergency: Some(opened.emergency.to_string()),
        system: Some(opened.system.as_str()),
        hosts: &opened.hosts,
        terms: None,
        serial: None,
        valid_before: None,
        decision: Some(&opened.decision),
        next: vec![format!("fireaxe close {}", opened.emergency)],
    });
    if !screen.is_json() {
        screen.say("  nothing can be given before it is approved");
        screen.say(&format!("  next: {next}"));
    }
    Exit::Pending
}

/// The refusal, in the shape of a card: every reason with its line of the policy, the smaller request as
/// a whole command.
pub(super) fn show_refusal(screen: Screen, typed: &Typed, problem: &Problem) -> Exit {
    let Some(decision) = problem.decision.as_deref() else { return Exit::Denied };
    let next = match &decision.outcome {
        Outcome::Refuse { reasons, smaller } => typed.after_refusal(reasons, smaller.as_ref()),
        _ => typed.command(),
    };
    screen.json(&Answer {
        schema: "fireaxe.open/v1",
        outcome: "refused",
        emergency: None,
        system: None,
        hosts: &[],
        terms: None,
        serial: None,
        valid_before: None,
        decision: Some(decision),
        next: vec![next.clone()],
    });
    if !screen.is_json() {
        show_decision(screen, &typed.target, decision);
        if let Some(index) = problem.index {
            screen.say(&format!("  the refusal is entry {index} of the log"));
        }
        screen.say(&format!("  next: {next}"));
    }
    Exit::Denied
}

/// A decision that gives nothing, or might: headline, then why.
fn show_decision(screen: Screen, target: &str, decision: &Decision) {
    let one_host = target.contains('.');
    let subject = Subject { head: String::new(), what: target, one_host, incident: None, decision };
    screen.headline(&words::headline(&subject));
    if let Outcome::Refuse { reasons, smaller } = &decision.outcome {
        for reason in reasons {
            screen.say(&format!("  {}", screen::reason(reason)));
        }
        if let Some(smaller) = smaller {
            show_smaller(screen, smaller, &[target.to_owned()]);
        }
    }
}

/// The largest request that would be granted.
pub(super) fn show_smaller(screen: Screen, smaller: &Smaller, hosts: &[String]) {
    let Smaller { terms, .. } = smaller;
    screen.say(&format!("  would be given now: tier {}: {}", terms.tier, words::terms(terms, hosts, None)));
}
