//! What an opening says: the card, what is held, what waits, why not. Prints; decides nothing.

use fireaxe_protocol::api::{Opened, Problem, Settled, Waiting};
use fireaxe_protocol::names::HostName;
use fireaxe_protocol::policy::{Decision, Outcome, Smaller, Terms};
use serde::Serialize;

use super::open::Fresh;
use super::ssh_config;
use super::wait::{self, Waited};
use crate::clock;
use crate::control::Pending;
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
    /// `given`, `meanwhile`, `waiting`, `refused`, `lapsed`.
    outcome: &'static str,
    emergency: Option<String>,
    system: Option<&'a str>,
    hosts: &'a [String],
    terms: Option<&'a Terms>,
    serial: Option<u64>,
    valid_before: Option<u64>,
    decision: Option<&'a Decision>,
    /// What waits for approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<&'a Waiting>,
    /// How what waited ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    settled: Option<&'a Settled>,
    next: Vec<String>,
}

/// What was given at once, and what waits. The exit code if nobody waits for the rest.
pub(super) fn show_given(screen: Screen, places: &Places, typed: &Typed, fresh: &Fresh) -> Exit {
    let opened = &fresh.opened;
    let now = clock::now();
    let close = format!("fireaxe close {}", opened.emergency);
    let ssh = opened.terms.as_ref().map(|terms| ssh_line(places, opened.host.as_ref(), &opened.hosts, terms));
    let smaller = words::smaller_now(&opened.decision);
    let next = match &ssh {
        Some(ssh) => vec![ssh.clone(), close.clone()],
        None => {
            let smaller = smaller.map(|smaller| typed.smaller(smaller));
            smaller.into_iter().chain(["fireaxe status".to_owned(), close.clone()]).collect()
        }
    };
    screen.json(&Answer {
        schema: "fireaxe.open/v1",
        outcome: match (&fresh.held, fresh.waits()) {
            (Some(_), true) => "meanwhile",
            (Some(_), false) => "given",
            (None, _) => "waiting",
        },
        emergency: Some(opened.emergency.to_string()),
        system: Some(opened.system.as_str()),
        hosts: &opened.hosts,
        terms: opened.terms.as_ref(),
        serial: fresh.held.as_ref().map(|h| h.serial),
        valid_before: fresh.held.as_ref().map(|h| h.valid_before),
        decision: Some(&opened.decision),
        waiting: opened.waiting.as_ref(),
        settled: None,
        next,
    });
    let exit = if fresh.held.is_some() { Exit::Ok } else { Exit::Pending };
    if screen.is_json() {
        return exit;
    }
    if let Some(waiting) = &opened.waiting {
        screen.say(&format!("  {}", words::waiting(waiting, now)));
    }
    if let Some(awaits) = &opened.decision.awaits {
        screen.say(&format!("  {}", words::awaits(awaits, opened.emergency)));
    }
    if let Some(smaller) = smaller {
        show_smaller(screen, smaller, &opened.hosts);
        screen.say(&format!("    {}", typed.smaller(smaller)));
    }
    match (&fresh.held, &ssh) {
        (Some(held), Some(ssh)) => screen.say(&format!(
            "  certificate in the agent, ends {} ({}).   next: {ssh}   |   {close}",
            words::clock(held.valid_before, now),
            words::left(held.valid_before, now)
        )),
        _ => {
            screen.say("  nothing can be given before it is approved");
            screen.say(&format!("  next: fireaxe status   |   {close}"));
        }
    }
    exit
}

/// What came of waiting.
pub(super) fn show_waited(
    screen: Screen,
    places: &Places,
    typed: &Typed,
    mine: &Pending,
    waited: &Waited,
) -> Exit {
    wait::say_ended(screen, mine, waited);
    let best = waited.held.first();
    let close = format!("fireaxe close {}", mine.emergency);
    let grant = waited.grant.as_ref();
    let terms = grant.and_then(|g| g.terms.as_ref());
    let hosts = grant.map(|g| g.hosts.as_slice()).unwrap_or_default();
    let smaller = grant.and_then(|g| words::smaller_now(&g.decision)).map(|s| typed.smaller(s));
    let next: Vec<String> = match (best, terms) {
        (Some(_), Some(terms)) => vec![ssh_line(places, mine.host.as_ref(), hosts, terms), close],
        (Some(_), None) => vec!["fireaxe status".to_owned(), close],
        (None, _) => vec![match (&waited.ended, smaller) {
            (wait::Ended::Interrupted, _) => "fireaxe status".to_owned(),
            (wait::Ended::Over, _) => "fireaxe ls".to_owned(),
            (_, Some(smaller)) => smaller,
            // Nobody said no: the same again asks anew.
            (wait::Ended::Settled(Settled::Lapsed), None) => typed.command(),
            _ => typed.after_refusal(&[], None),
        }],
    };
    screen.json(&Answer {
        schema: "fireaxe.open/v1",
        outcome: waited.outcome(),
        emergency: Some(mine.emergency.to_string()),
        system: Some(mine.system.as_str()),
        hosts,
        terms: best.and(terms),
        serial: best.map(|h| h.serial),
        valid_before: best.map(|h| h.valid_before),
        decision: grant.map(|g| &g.decision),
        waiting: grant.and_then(|g| g.waiting.as_ref()),
        settled: match &waited.ended {
            wait::Ended::Settled(settled) => Some(settled),
            wait::Ended::Interrupted | wait::Ended::Over => None,
        },
        next: next.clone(),
    });
    if !screen.is_json() && waited.ended != wait::Ended::Interrupted {
        screen.say(&format!("  next: {}", next.join("   |   ")));
    }
    waited.exit()
}

/// Plain `ssh HOST` where the configuration knows us; the whole command where it does not.
pub(super) fn ssh_line(places: &Places, host: Option<&HostName>, hosts: &[String], terms: &Terms) -> String {
    let host = match (host, hosts.first()) {
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
        waiting: None,
        settled: None,
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
