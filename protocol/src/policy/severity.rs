//! How bad it is: the incident's word if it counts, else the person's own claim under the cap, which others
//! on call lift by signing it too. Says why an incident does not count, so that nobody wonders at 02:14.

use std::collections::BTreeSet;

use super::files::reading::span;
use super::finding::At;
use super::shape::{Policy, System, Trigger, TriggerSource};
use super::{Awaits, Facts, IncidentFact, IncidentState};
use crate::names::{PersonName, Severity};
use crate::reason::Reason;

/// The severity that counts and what gave it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Founded<'p> {
    pub(super) severity: Severity,
    pub(super) trigger: &'p Trigger,
}

/// What came of the claim and the incident.
pub(super) struct Verdict<'p> {
    /// `Err`: the severity that would count instead, if any.
    pub(super) founded: Result<Founded<'p>, Option<Founded<'p>>>,
    /// What was claimed beyond the cap and would count if others signed it too.
    pub(super) awaits: Option<Awaits>,
    /// Why; for a refusal, what is wrong.
    pub(super) reasons: Vec<Reason>,
}

pub(super) fn derive<'p>(policy: &'p Policy, facts: &Facts, system: &System) -> Verdict<'p> {
    let mut reasons = Vec::new();
    if let Some(incident) = &facts.incident {
        match word_of(policy, incident, system) {
            Ok(word) => return under_incident(facts.severity, incident, word),
            Err(reason) => reasons.push(reason),
        }
    }
    let claim = policy.claim_trigger().and_then(|trigger| match &trigger.source {
        TriggerSource::Claim { cap, co_declare } => Some((trigger, cap, *co_declare)),
        TriggerSource::Incidents { .. } => None,
    });
    let Some(claimed) = facts.severity else {
        let open: Vec<&str> = facts.open_incidents.iter().map(|id| id.as_str()).collect();
        let sentence = match open.as_slice() {
            [] => format!("no severity: none is claimed, and no incident is open on {}", system.name),
            [one] => {
                format!("no severity: none is claimed; is it for {one}, which is open on {}?", system.name)
            }
            many => format!("no severity: none is claimed; open on {}: {}", system.name, many.join(", ")),
        };
        reasons.push(Reason::new("severity.missing", sentence));
        let instead = claim.map(|(trigger, cap, _)| Founded { severity: cap.value, trigger });
        return Verdict { founded: Err(instead), awaits: None, reasons };
    };
    let Some((trigger, cap, co_declare)) = claim else {
        let sentence = "this policy takes no bare claims: name an incident";
        reasons.push(Reason::new("severity.unclaimable", sentence));
        return Verdict { founded: Err(None), awaits: None, reasons };
    };
    if claimed.number() >= cap.value.number() {
        let sentence = format!("severity {claimed} by your own claim");
        reasons.push(Reason::new("severity.claimed", sentence).at(line(cap.line)));
        return Verdict { founded: Ok(Founded { severity: claimed, trigger }), awaits: None, reasons };
    }
    let at_cap = Founded { severity: cap.value, trigger };
    let Some(wanted) = co_declare else {
        let sentence = format!(
            "severity {claimed} by your word alone: a bare claim may be {cap} at worst; claim {cap}, or name an \
             incident that is worse",
            cap = cap.value
        );
        reasons.push(Reason::new("severity.above_cap", sentence).at(line(cap.line)));
        return Verdict { founded: Err(Some(at_cap)), awaits: None, reasons };
    };
    let (awaits, reason) = above_cap(facts, system, claimed, cap, wanted);
    reasons.push(reason);
    let founded = if awaits.is_some() { at_cap } else { Founded { severity: claimed, trigger } };
    Verdict { founded: Ok(founded), awaits, reasons }
}

/// A claim worse than the cap where `wanted` people on call may lift it, the declarer among them if on call:
/// who is still awaited, if anybody, and the reason.
fn above_cap(
    facts: &Facts,
    system: &System,
    claimed: Severity,
    cap: &At<Severity>,
    wanted: u8,
) -> (Option<Awaits>, Reason) {
    // Only a declarer who is known to be on call counts; nobody counts twice.
    let seconds: BTreeSet<&PersonName> = facts.seconds.iter().filter(|name| **name != facts.person).collect();
    let declarer = Some(&facts.person).filter(|_| facts.on_call == Some(true));
    let signed: Vec<&str> = declarer.into_iter().chain(seconds.iter().copied()).map(|n| n.as_str()).collect();
    let more = usize::from(wanted).saturating_sub(signed.len());
    let more = u8::try_from(more).unwrap_or(u8::MAX);
    let group = &system.on_call.value;
    if more == 0 {
        let sentence =
            format!("severity {claimed} as you claim, signed by {} of {group}", signed.join(" and "));
        return (None, Reason::new("severity.seconded", sentence).at(line(cap.line)));
    }
    let word = match seconds.len() {
        0 => "your word alone".to_owned(),
        _ => format!(
            "your word and that of {}",
            seconds.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(" and ")
        ),
    };
    let others =
        if more == 1 { "1 more person on call signs" } else { &format!("{more} more people on call sign") };
    let sentence = format!("severity {claimed} by {word} counts as {} until {others} it too", cap.value);
    let reason = Reason::new("severity.awaits_second", sentence).at(line(cap.line));
    (Some(Awaits { severity: claimed, more, from: group.clone() }), reason)
}

/// The severity of an incident that counts, or why it does not.
fn word_of<'p>(policy: &'p Policy, incident: &IncidentFact, system: &System) -> Result<Founded<'p>, Reason> {
    let id = &incident.id;
    let Some(trigger) = policy.trigger_for(id) else {
        let sentence = format!("{id} does not count: no trigger has ids \"{}\"", id.prefix());
        return Err(Reason::new("incident.no_trigger", sentence));
    };
    let place = line(trigger.line);
    let (Some(state), Some(severity)) = (incident.state, incident.severity) else {
        let sentence = format!("{id} does not count: the log has never heard of it");
        return Err(Reason::new("incident.unknown", sentence).at(place));
    };
    if state == IncidentState::Resolved {
        return Err(
            Reason::new("incident.resolved", format!("{id} does not count: it is resolved")).at(place)
        );
    }
    if let TriggerSource::Incidents { max_age_s, .. } = &trigger.source
        && incident.age_s > u64::from(*max_age_s)
    {
        let (age, most) = (ago(incident.age_s), span(*max_age_s));
        let sentence =
            format!("{id} does not count: the last word on it is {age} old, at most {most} counts");
        return Err(Reason::new("incident.stale", sentence).at(place));
    }
    if !incident.systems.contains(&system.name) {
        let named: Vec<&str> = incident.systems.iter().map(|s| s.as_str()).collect();
        let sentence = format!("{id} does not count: it is on {}, not on {}", named.join(", "), system.name);
        return Err(Reason::new("incident.other_system", sentence).at(place));
    }
    Ok(Founded { severity, trigger })
}

fn under_incident<'p>(claimed: Option<Severity>, incident: &IncidentFact, word: Founded<'p>) -> Verdict<'p> {
    let place = line(word.trigger.line);
    let said = format!("{} ({} old)", incident.id, ago(incident.age_s));
    match claimed {
        Some(claimed) if claimed.number() < word.severity.number() => {
            let sentence = format!("severity {claimed} is worse than the {} of {said}", word.severity);
            let reasons = vec![Reason::new("severity.above_incident", sentence).at(place)];
            Verdict { founded: Err(Some(word)), awaits: None, reasons }
        }
        Some(claimed) if claimed != word.severity => {
            let sentence =
                format!("severity {claimed} as you ask, milder than the {} of {said}", word.severity);
            let reasons = vec![Reason::new("severity.milder", sentence).at(place)];
            Verdict { founded: Ok(Founded { severity: claimed, ..word }), awaits: None, reasons }
        }
        _ => {
            let sentence = format!("severity {} from {said}", word.severity);
            let reasons = vec![Reason::new("severity.incident", sentence).at(place)];
            Verdict { founded: Ok(word), awaits: None, reasons }
        }
    }
}

/// An age as people say it: the largest unit that fits.
fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Where the policy says it.
pub(super) fn line(line: u32) -> String {
    format!("policy.toml:{line}")
}
