//! A request as its approver reads it: one screen, a line for each question.

use fireaxe_protocol::api::{IncidentCard, RecentUse, RequestCard};
use fireaxe_protocol::policy::{Extension, IncidentState, Terms, raised};

use super::{awaits, clock, missing, span, terms as terms_in_words, tier, waiting};
use crate::request::Shown;

/// The card, line by line; the first is its headline. Nothing in it is escaped yet.
pub(crate) fn card(card: &RequestCard, shown: &Shown, now: u64) -> Vec<String> {
    let Shown { facts, decision, declared, .. } = shown;
    let target = facts.target.host.as_ref().map_or("the whole system", |host| host.as_str());
    let full = decision.terms_waiting();
    let asks = match (full, &shown.extend) {
        (Some(full), None) => format!("asks for {}", tier(full)),
        (Some(full), Some(_)) => {
            format!("asks for more time (extension {}): {}", facts.extension, tier(full))
        }
        (None, _) => "claims an emergency".to_owned(),
    };
    let drill = if facts.drill { "  (drill)" } else { "" };
    let mut lines = vec![format!(
        "{}  {} {asks} on {target} of {}{drill}",
        card.emergency, facts.person, facts.target.system
    )];
    lines.push(format!("reason: \"{}\"", declared.reason));
    if let Some(reason) = shown.extend.as_ref().and_then(|extend| extend.reason.as_ref()) {
        lines.push(format!("why longer: \"{reason}\""));
    }
    if let Some(full) = full {
        lines.push(format!("gives: {}", terms_in_words(full, &shown.hosts, card.owner.as_deref())));
        lines.push(format!("cannot: {}", cannot(full, facts.target.host.is_some())));
    }
    if let Some(now) = decision.terms_now() {
        lines.push(format!("has meanwhile: {}", terms_in_words(now, &shown.hosts, None)));
    }
    lines.push(severity(shown));
    lines.extend(card.incident.as_ref().map(by_now));
    let why = decision.because.iter().filter(|r| r.code.starts_with("rule.") || r.code == "approvals.needed");
    lines.extend(why.map(|reason| format!("because: {}", crate::screen::reason(reason))));
    if !facts.seconds.is_empty() {
        let names: Vec<String> = facts.seconds.iter().map(ToString::to_string).collect();
        lines.push(format!("signed too: {}", names.join(", ")));
    }
    // By the facts of the entry itself; then whatever else the CA noticed.
    let mut unusual = raised(facts);
    unusual
        .extend(card.signals.iter().filter(|signal| !unusual.contains(signal)).cloned().collect::<Vec<_>>());
    lines.extend(unusual.iter().map(|signal| format!("unusual: {}", crate::screen::reason(signal))));
    lines.push(recent(&card.recent, &facts.person.to_string(), now));
    if let Some(waits) = &card.waiting {
        lines.push(waiting(waits, now));
    } else if let Some(full) = full {
        lines.push(format!("needed: {}", missing(&full.approvals)));
    }
    if let Some(claim) = &decision.awaits {
        lines.push(awaits(claim, card.emergency));
    }
    lines.push(format!("asked {} ({} ago)", clock(shown.at, now), span(now.saturating_sub(shown.at))));
    if !card.also_waiting.is_empty() {
        let others: Vec<String> = card.also_waiting.iter().map(ToString::to_string).collect();
        lines.push(format!("also waits for you, each by itself: {}", super::some_of(&others)));
    }
    lines
}

/// What the terms do not allow.
fn cannot(terms: &Terms, one_host: bool) -> String {
    let mut parts = Vec::new();
    if terms.force_command.is_some() {
        parts.push("run any other command");
    }
    if !terms.extensions.contains(&Extension::Pty) {
        parts.push("have a terminal");
    }
    if !terms.extensions.contains(&Extension::PortForwarding) {
        parts.push("forward ports");
    }
    parts.push("forward an agent or X11");
    parts.push(if one_host { "reach other hosts" } else { "reach other systems" });
    if !terms.source_address.is_empty() {
        parts.push("come from elsewhere");
    }
    parts.join(", ")
}

/// The severity and what it rests on, by the entry.
fn severity(shown: &Shown) -> String {
    let said = shown.decision.severity.map_or("no severity".to_owned(), |s| format!("severity {s}"));
    match shown.decision.rests_on(&shown.facts) {
        Some(incident) => format!("{said} from {} ({} old)", incident.id, span(incident.age_s)),
        None => format!("{said}, by their own claim"),
    }
}

/// The incident as the CA knows it by now.
fn by_now(incident: &IncidentCard) -> String {
    let mut parts = vec![format!("incident {}", incident.id)];
    if let Some(title) = &incident.title {
        parts.push(format!("\"{title}\""));
    }
    parts.push(
        match incident.state {
            Some(IncidentState::Open) => "open",
            Some(IncidentState::Resolved) => "RESOLVED",
            None => "never heard of",
        }
        .to_owned(),
    );
    if let Some(severity) = incident.severity {
        parts.push(format!("severity {severity}"));
    }
    if incident.state.is_some() {
        parts.push(format!("last word {} ago", span(incident.age_s)));
    }
    parts.join(", ")
}

fn recent(uses: &[RecentUse], person: &str, now: u64) -> String {
    if uses.is_empty() {
        return format!("lately: {person} opened nothing before");
    }
    let each = uses.iter().map(|one| {
        let tier = one.tier.as_ref().map_or(String::new(), |tier| format!(", tier {tier}"));
        format!("{} {} ({} ago{tier})", one.emergency, one.system, span(now.saturating_sub(one.at)))
    });
    format!("lately: {}", each.collect::<Vec<_>>().join("; "))
}
