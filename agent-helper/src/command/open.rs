//! `open`: the main road. Declare, sign, send; check what comes back against the terms; put it into the
//! agent; say what is held, until when, and what to type next.

use fireaxe_protocol::api::{Opened, Problem};
use fireaxe_protocol::names::{ReasonText, TargetName, TierName};
use fireaxe_protocol::policy::{Decision, Outcome, Smaller, Terms};
use fireaxe_protocol::statement::{Declare, Kind, Params, Statement};
use fireaxe_transport::TransportError;
use serde::Serialize;

use super::standing::{self, Standing};
use super::{Context, explain, ssh_config};
use crate::authority::Authority;
use crate::cli::{Explain, Open};
use crate::clock;
use crate::control::client::Control;
use crate::control::{Held, Hold};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::places::Places;
use crate::screen::{self, Screen};
use crate::words::{self, Subject, Typed};

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
            return Ok(show_refusal(cx.screen, &typed, &problem));
        }
        Err(failure) => return Err(failure.with_target_corrected(&typed)),
    };
    check_answer(&opened, &open.target, asked)?;
    show_card(cx.screen, &opened);
    let (Some(terms), Some(certificate)) = (&opened.terms, &opened.certificate) else {
        return Ok(show_waiting(cx.screen, &opened));
    };
    authority.check(&opened, terms, certificate, public_key)?;
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
    show_held(cx.screen, &cx.places, &opened, terms, &held);
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

/// What the person asked to be made smaller.
#[derive(Debug, Clone, Copy, Default)]
struct Asked<'a> {
    want: Option<&'a TierName>,
    for_s: Option<u32>,
}

/// The answer is about what was asked, gives no more than that, and says the same thing in all its
/// places.
fn check_answer(opened: &Opened, target: &TargetName, asked: Asked<'_>) -> Result<(), Failure> {
    let scope = opened.host.as_ref().map_or(opened.system.as_str(), |host| host.as_str());
    if scope != target.as_str() {
        return Err(Failure::Answer("it is for another target than the one asked for"));
    }
    if opened.terms.as_ref() != opened.decision.terms_now() {
        return Err(Failure::Answer("its terms are not those of its decision"));
    }
    if opened.terms.is_some() != opened.certificate.is_some() {
        return Err(Failure::Answer("it has terms without a certificate, or the other way round"));
    }
    let Some(terms) = &opened.terms else { return Ok(()) };
    if asked.for_s.is_some_and(|for_s| terms.lifetime_s > for_s) {
        return Err(Failure::Answer("it lasts longer than was asked for"));
    }
    // While a wanted tier waits for approval, what is given meanwhile is another one.
    let whole = matches!(opened.decision.outcome, Outcome::Permit(_));
    if whole && asked.want.is_some_and(|want| *want != terms.tier) {
        return Err(Failure::Answer("it is of another tier than the one asked for"));
    }
    let fits = |p: &fireaxe_protocol::names::Principal| p.account == terms.account && &*p.scope == scope;
    if terms.principals.is_empty() || !terms.principals.iter().all(fits) {
        return Err(Failure::Answer("its principals are not the account on the target"));
    }
    if let Some(host) = &opened.host
        && opened.hosts != [host.to_string()]
    {
        return Err(Failure::Answer("it is for one host and names others"));
    }
    Ok(())
}

fn is_refusal(problem: &Problem) -> bool {
    problem.decision.as_ref().is_some_and(|d| matches!(d.outcome, Outcome::Refuse { .. }))
}

fn show_card(screen: Screen, opened: &Opened) {
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

fn show_held(screen: Screen, places: &Places, opened: &Opened, terms: &Terms, held: &Held) {
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

fn show_waiting(screen: Screen, opened: &Opened) -> Exit {
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
fn show_refusal(screen: Screen, typed: &Typed, problem: &Problem) -> Exit {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::keyring::tests::terms;
    use fireaxe_protocol::log::Hash;
    use fireaxe_protocol::names::EmergencyId;

    fn opened() -> Opened {
        let given = terms("root", 3);
        Opened {
            schema: "fireaxe.opened/v1".into(),
            emergency: EmergencyId(42),
            declaration: Hash([1; 32]),
            decision: Decision {
                outcome: Outcome::Permit(given.clone()),
                severity: None,
                trigger: None,
                sensitivity: 1,
                blast: 1,
                band: "low".into(),
                cell: None,
                awaits: None,
                because: Vec::new(),
            },
            system: "payments-db".parse().unwrap(),
            host: Some("db-3.payments.prod".parse().unwrap()),
            hosts: vec!["db-3.payments.prod".into()],
            owner: None,
            incident: None,
            link_by: None,
            waiting: None,
            terms: Some(given),
            certificate: Some("x".into()),
            valid_before: None,
        }
    }

    #[test]
    fn an_answer_that_is_not_about_what_was_asked_is_refused() {
        let target: TargetName = "db-3.payments.prod".parse().unwrap();
        let free = Asked::default();
        check_answer(&opened(), &target, free).unwrap();
        let (root, look) = ("root".parse().unwrap(), "look".parse().unwrap());
        check_answer(&opened(), &target, Asked { want: Some(&root), for_s: Some(600) }).unwrap();
        assert!(check_answer(&opened(), &target, Asked { want: Some(&look), for_s: None }).is_err());
        assert!(check_answer(&opened(), &target, Asked { want: None, for_s: Some(599) }).is_err());
        type Change = (&'static str, fn(&mut Opened));
        let changes: [Change; 6] = [
            ("another host", |o| o.host = Some("db-4.payments.prod".parse().unwrap())),
            ("the whole system", |o| o.host = None),
            ("more hosts", |o| o.hosts.push("db-4.payments.prod".into())),
            ("other terms", |o| o.terms.as_mut().unwrap().lifetime_s += 1),
            ("no terms", |o| o.terms = None),
            ("another account's principal", |o| {
                let other = terms("ops", 3).principals;
                let mut given = o.terms.clone().unwrap();
                given.principals = other;
                o.decision.outcome = Outcome::Permit(given.clone());
                o.terms = Some(given);
            }),
        ];
        for (what, change) in changes {
            let mut other = opened();
            change(&mut other);
            assert!(check_answer(&other, &target, free).is_err(), "{what} was taken");
        }
    }
}
