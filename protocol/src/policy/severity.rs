//! How bad it is: the incident's word if it counts, else the person's own claim under the cap. Says why
//! an incident does not count, so that nobody wonders at 02:14.

use super::reading::span;
use super::shape::{Policy, System, Trigger, TriggerSource};
use super::{Facts, IncidentFact, IncidentState};
use crate::names::Severity;
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
        TriggerSource::Claim { cap, .. } => Some((trigger, cap)),
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
        let instead = claim.map(|(trigger, cap)| Founded { severity: cap.value, trigger });
        return Verdict { founded: Err(instead), reasons };
    };
    let Some((trigger, cap)) = claim else {
        let sentence = "this policy takes no bare claims: name an incident";
        reasons.push(Reason::new("severity.unclaimable", sentence));
        return Verdict { founded: Err(None), reasons };
    };
    if claimed.number() < cap.value.number() {
        let sentence = format!(
            "severity {claimed} by your word alone: a bare claim may be {} at worst; an incident may be worse",
            cap.value
        );
        reasons.push(Reason::new("severity.above_cap", sentence).at(line(cap.line)));
        let instead = Founded { severity: cap.value, trigger };
        return Verdict { founded: Err(Some(instead)), reasons };
    }
    let sentence = format!("severity {claimed} by your own claim");
    reasons.push(Reason::new("severity.claimed", sentence).at(line(cap.line)));
    Verdict { founded: Ok(Founded { severity: claimed, trigger }), reasons }
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
            Verdict { founded: Err(Some(word)), reasons }
        }
        Some(claimed) if claimed != word.severity => {
            let sentence =
                format!("severity {claimed} as you ask, milder than the {} of {said}", word.severity);
            let reasons = vec![Reason::new("severity.milder", sentence).at(place)];
            Verdict { founded: Ok(Founded { severity: claimed, ..word }), reasons }
        }
        _ => {
            let sentence = format!("severity {} from {said}", word.severity);
            let reasons = vec![Reason::new("severity.incident", sentence).at(place)];
            Verdict { founded: Ok(word), reasons }
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
