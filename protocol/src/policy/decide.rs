//! The decision: `decide(policy, facts) -> Decision`. Pure and total; gives all reasons, each with its
//! line, and for every refusal the largest request that would be granted, where there is one.

use std::cmp::Reverse;

use super::actions::action;
use super::files::reading::span;
use super::finding::meant;
use super::ladder::{in_words, ladder};
use super::rate;
use super::severity::{Founded, derive, line};
use super::shape::{Exception, Policy, System, Tier};
use super::tighten::{Candidate, Setting, candidate, exception_applies};
use super::{Awaits, Decision, Facts, Outcome, Presence, Smaller, Terms, Want};
use crate::limits;
use crate::names::{Severity, TierName};
use crate::reason::Reason;

/// Decides. The same policy and facts give the same decision, years later too.
pub fn decide(policy: &Policy, facts: &Facts) -> Decision {
    // Step 1: the target. The door has resolved it; a replay under another bundle may not know it.
    let (system, reasons) = target(policy, facts);
    let Some(system) = system else { return nowhere(reasons) };
    let mut refused = reasons;

    // Step 2: what is wrong with the request whatever its severity.
    refused.extend(request(policy, facts));

    // Step 3: the severity.
    let verdict = derive(policy, facts, system);
    match verdict.founded {
        Ok(founded) => {
            let decision = decide_at(policy, facts, system, founded, verdict.reasons, refused);
            awaiting(decision, verdict.awaits, founded.severity)
        }
        Err(instead) => {
            refused.extend(verdict.reasons);
            refused.extend(instead.and_then(|f| rate::declarations(policy, facts, f.severity)));
            let mut decision = open_decision(system, blast(system, facts), policy);
            let smaller = instead.and_then(|f| smaller_at(&setting(policy, facts, system, f)?, true));
            decision.outcome = Outcome::Refuse { reasons: refused, smaller };
            decision
        }
    }
}

/// What was decided at the cap, for a claim beyond it: others may sign what opens. What is refused nobody can
/// sign, and the refusal says so.
fn awaiting(mut decision: Decision, awaits: Option<Awaits>, counts: Severity) -> Decision {
    match (&mut decision.outcome, awaits) {
        (Outcome::Refuse { reasons, .. }, Some(awaits)) => {
            let sentence = format!(
                "severity {} by your word alone counts as {counts}, and others can sign only what is open: name an \
                 incident that is worse",
                awaits.severity
            );
            let place = decision.because.iter().find(|reason| reason.code == "severity.awaits_second");
            let place = place.and_then(|reason| reason.at.clone());
            reasons.push(Reason { at: place, ..Reason::new("severity.above_cap", sentence) });
        }
        (_, awaits) => decision.awaits = awaits,
    }
    decision
}

/// Steps 4 to 9, for a severity that is settled; `because` and `refused` hold what steps 1 to 3 said.
pub(super) fn decide_at(
    policy: &Policy,
    facts: &Facts,
    system: &System,
    founded: Founded<'_>,
    because: Vec<Reason>,
    mut refused: Vec<Reason>,
) -> Decision {
    refused.extend(rate::declarations(policy, facts, founded.severity));

    // Step 4: the row. One host alone counts one less.
    let blast = blast(system, facts);
    let mut decision = open_decision(system, blast, policy);
    decision.severity = Some(founded.severity);
    decision.trigger = Some(founded.trigger.name.clone());
    decision.because = because;
    let Some(setting) = setting(policy, facts, system, founded) else {
        refused.push(Reason::new("risk.hole", format!("no row for sensitivity x blast of {}", system.name)));
        decision.outcome = Outcome::Refuse { reasons: refused, smaller: None };
        return decision;
    };
    decision.because.push(row_reason(&setting, blast));

    // Step 5: the cell; an exception may choose another before any rule applies.
    let cell = setting.band.cell(setting.severity);
    let named = cell.value.as_ref().map_or("deny", TierName::as_str);
    let sentence = format!("row {}, severity {}: {named}", setting.band.name, setting.severity);
    decision.because.push(Reason::new("risk.cell", sentence).at(line(cell.line)));
    if let Some(exception) = exception(&setting) {
        let Exception { id, tier, owner, why, .. } = exception;
        let sentence = format!(
            "exception {id} of {owner}: {} instead of {named}: {why}",
            tier.value,
            owner = owner.value
        );
        decision.because.push(Reason::new("exception.applied", sentence).at(line(exception.line)));
    }
    let choices = choices(&setting);
    decision.cell = choices.first().filter(|choice| choice.own).map(|choice| choice.tier.name.clone());

    // Step 6: a smaller tier, if one is asked for.
    let chosen = match &facts.want {
        Some(Want::Tier(name)) => {
            let found = choices.iter().position(|choice| choice.tier.name == *name);
            match found.and_then(|n| choices.get(n)) {
                Some(choice) if !choice.own => {
                    let sentence = format!(
                        "tier {name} as you ask: row {} gives it at severity {}",
                        setting.band.name, choice.severity
                    );
                    let place = line(setting.band.cell(choice.severity).line);
                    decision.because.push(Reason::new("want.smaller", sentence).at(place));
                }
                None if policy.tier(name).is_some() => refused.push(want_refused(&setting, name, &choices)),
                _ => {}
            }
            found
        }
        Some(Want::Action(name, _)) => {
            // An unknown one, or one that does not run here, step 2 has refused.
            let action = policy.action(name).filter(|action| action.runs_on(&system.name));
            let found = action.and_then(|action| action.controls(&choices));
            if let Some(action) = action {
                match found.and_then(|n| choices.get(n)) {
                    Some(choice) => decision.because.push(action.granted(&setting, choice)),
                    None => refused.push(action.above(&setting, &choices)),
                }
            }
            found
        }
        None if decision.cell.is_some() => Some(0),
        None => {
            let sentence = format!(
                "{} at severity {}: the policy gives nothing (row {})",
                system.name, setting.severity, setting.band.name
            );
            refused.push(Reason::new("risk.denied", sentence).at(line(cell.line)));
            None
        }
    };

    // Step 7: rules, lifetime, presence.
    let from = chosen.unwrap_or(0);
    let Some(candidate) = chosen.and_then(|n| choices.get(n)).map(|choice| action::wanted(&setting, choice))
    else {
        let smaller = smaller_at(&setting, false);
        decision.outcome = Outcome::Refuse { reasons: refused, smaller };
        return decision;
    };
    decision.because.extend(candidate.because());
    let Candidate { mut terms, denied, .. } = candidate;
    // Steps 2 and 7 both say what is wrong with an action: once is enough.
    let news: Vec<Reason> = denied.into_iter().filter(|reason| !refused.contains(reason)).collect();
    refused.extend(news);
    let tier_line = policy.tier(&terms.tier).map_or(0, |tier| tier.line);
    match facts.for_s {
        Some(for_s) if for_s > terms.lifetime_s => {
            let sentence = format!(
                "{} is more than the {} that tier {} gives",
                span(for_s),
                span(terms.lifetime_s),
                terms.tier
            );
            refused.push(Reason::new("lifetime.above_tier", sentence).at(line(tier_line)));
        }
        Some(for_s) if for_s < terms.lifetime_s && u64::from(for_s) >= limits::LIFETIME_MIN_S => {
            let sentence = format!("{} as you ask, instead of {}", span(for_s), span(terms.lifetime_s));
            decision.because.push(Reason::new("lifetime.shorter", sentence));
        }
        _ => {}
    }
    terms.lifetime_s = lifetime(&terms, facts);
    if facts.presence < terms.presence {
        let sentence = format!(
            "tier {} needs {} on your key; your signature shows {}",
            terms.tier,
            presence(terms.presence),
            presence(facts.presence)
        );
        refused.push(Reason::new("presence.insufficient", sentence).at(line(tier_line)));
    } else if terms.presence > Presence::None {
        let sentence =
            format!("tier {} needs {} on your key, and has it", terms.tier, presence(terms.presence));
        decision.because.push(Reason::new("presence.shown", sentence).at(line(tier_line)));
    }
    if !terms.approvals.is_empty() {
        refused.extend(rate::asks(policy, facts, setting.severity));
    }
    if !refused.is_empty() {
        let smaller = smaller_at(&setting, false);
        decision.outcome = Outcome::Refuse { reasons: refused, smaller };
        return decision;
    }

    // Step 8: nobody else is needed.
    if terms.approvals.is_empty() {
        decision.outcome = Outcome::Permit(terms);
        return decision;
    }

    // Step 9: approvals, and what can be held meanwhile.
    let quorums: Vec<String> = terms.approvals.iter().map(in_words).collect();
    let sentence = format!("tier {} waits for {}", terms.tier, quorums.join(" and "));
    decision.because.push(Reason::new("approvals.needed", sentence).at(line(tier_line)));
    let whole_tier = terms.action.is_none(); // an action has no weaker form
    let meanwhile = meanwhile(&setting, &choices, from, &terms).filter(|_| whole_tier);
    if let Some(meanwhile) = &meanwhile {
        let sentence = format!("tier {} at once, while you wait", meanwhile.tier);
        decision.because.push(Reason::new("meanwhile.given", sentence).at(line(tier_line)));
    }
    let tier = policy.tier(&terms.tier);
    decision.outcome = Outcome::NeedsApproval {
        smaller: smaller_at(&setting, false),
        ladder: ladder(tier, &terms),
        wait_s: tier.map_or(limits::WAIT_DEFAULT_S, |tier| tier.wait_s),
        full: terms,
        meanwhile,
    };
    decision
}

/// A tier the person may have: the cell's own, or one that the same row gives at a milder severity.
pub(super) struct Choice<'a> {
    pub(super) tier: &'a Tier,
    pub(super) severity: Severity,
    pub(super) own: bool,
}

/// What may be asked for, the cell's own first, then the row towards milder severities; each tier once,
/// where it stands worst.
fn choices<'a>(setting: &Setting<'a>) -> Vec<Choice<'a>> {
    let own = exception(setting).map(|e| &e.tier.value);
    let own = own.or(setting.band.cell(setting.severity).value.as_ref());
    let milder = Severity::MILDEST_FIRST.into_iter().rev().filter(|s| s.number() > setting.severity.number());
    let milder = milder.filter_map(|s| Some((setting.band.cell(s).value.as_ref()?, s, false)));
    let mut out: Vec<Choice<'a>> = Vec::new();
    for (name, severity, own) in own.map(|name| (name, setting.severity, true)).into_iter().chain(milder) {
        if let Some(tier) = setting.policy.tier(name)
            && !out.iter().any(|choice| choice.tier.name == tier.name)
        {
            out.push(Choice { tier, severity, own });
        }
    }
    out
}

/// The exception that applies; of several the one that gives least.
fn exception<'a>(setting: &Setting<'a>) -> Option<&'a Exception> {
    let at = setting.facts.at;
    let alive = |e: &&Exception| e.from <= at && at < e.until && exception_applies(setting, &e.when);
    let power = |e: &&Exception| setting.policy.tier(&e.tier.value).map_or(0, |tier| tier.power);
    setting.policy.exceptions.iter().filter(alive).min_by_key(|e| (power(e), e.id.clone()))
}

/// The largest request that would be granted now and gives no more than was asked for: the same one for a
/// shorter time if that is all that is wrong, or else the most powerful, the cell's own first. Where the row
/// does not give what was asked for, whatever it gives.
fn smaller_at(setting: &Setting<'_>, say_severity: bool) -> Option<Smaller> {
    let Setting { policy, facts, system, severity, .. } = *setting;
    if !is_known(system, facts) || rate::declarations(policy, facts, severity).is_some() {
        return None;
    }
    let choices = choices(setting);
    if let Some(Want::Action(name, _)) = &facts.want {
        return action::smaller(setting, &choices, name, say_severity);
    }
    let asked = match &facts.want {
        Some(Want::Tier(name)) => choices.iter().position(|choice| choice.tier.name == *name),
        Some(Want::Action(..)) => None,
        None => choices.first().filter(|choice| choice.own).map(|_| 0),
    };
    let most = asked.and_then(|n| choices.get(n)).map_or(u8::MAX, |choice| choice.tier.power);
    let within = choices.iter().enumerate().filter(|(_, choice)| choice.tier.power <= most);
    let free = within.filter_map(|(n, choice)| {
        let candidate = candidate(setting, choice.tier, choice.severity);
        candidate.is_free(facts).then_some((n, candidate.terms))
    });
    let (n, mut terms) = free.max_by_key(|(n, terms)| (Some(*n) == asked, terms.power, Reverse(*n)))?;
    terms.lifetime_s = lifetime(&terms, facts);
    let want = (Some(n) != asked).then(|| terms.tier.clone());
    Some(Smaller { severity: say_severity.then_some(severity), want, terms })
}

/// What can be held while `full` waits: the tier's `meanwhile` if the row gives it at a milder severity,
/// or the next milder that is free.
fn meanwhile(setting: &Setting<'_>, choices: &[Choice<'_>], chosen: usize, full: &Terms) -> Option<Terms> {
    let named = setting.policy.tier(&full.tier).and_then(|tier| tier.meanwhile.as_ref());
    let start = named
        .and_then(|name| choices.iter().position(|choice| choice.tier.name == name.value))
        .filter(|n| *n > chosen)
        .unwrap_or(chosen.saturating_add(1));
    let free =
        choices.iter().skip(start).filter(|choice| choice.tier.power <= full.power).find_map(|choice| {
            Some(candidate(setting, choice.tier, choice.severity)).filter(|c| c.is_free(setting.facts))
        });
    free.map(|Candidate { mut terms, .. }| {
        terms.lifetime_s = lifetime(&terms, setting.facts);
        terms
    })
}

/// The lifetime asked for, as far as the terms allow it.
pub(super) fn lifetime(terms: &Terms, facts: &Facts) -> u32 {
    let shortest = u32::try_from(limits::LIFETIME_MIN_S).unwrap_or(u32::MAX);
    facts.for_s.map_or(terms.lifetime_s, |for_s| for_s.max(shortest).min(terms.lifetime_s))
}

fn target<'p>(policy: &'p Policy, facts: &Facts) -> (Option<&'p System>, Vec<Reason>) {
    let name = &facts.target.system;
    let Some(system) = policy.system(name) else {
        let help = meant(name.as_str(), policy.systems().map(|s| s.name.as_str()));
        let sentence = format!("the policy knows no system {name}{}", hint(help));
        return (None, vec![Reason::new("target.unknown", sentence)]);
    };
    match &facts.target.host {
        Some(host) if !is_known(system, facts) => {
            let sentence = format!("{host} is no host of {name}");
            (Some(system), vec![Reason::new("target.unknown", sentence).at(line(system.line))])
        }
        _ => (Some(system), vec![]),
    }
}

fn is_known(system: &System, facts: &Facts) -> bool {
    facts.target.host.as_ref().is_none_or(|host| system.hosts.iter().any(|p| p.value.matches(host)))
}

fn hint(help: Option<String>) -> String {
    help.map(|help| format!("; {help}")).unwrap_or_default()
}

/// What is wrong with a request whatever its severity.
fn request(policy: &Policy, facts: &Facts) -> Vec<Reason> {
    let mut reasons = Vec::new();
    match &facts.want {
        Some(Want::Tier(name)) if policy.tier(name).is_none() => {
            let help = meant(name.as_str(), policy.tiers().map(|tier| tier.name.as_str()));
            let sentence = format!("the policy knows no tier {name}{}", hint(help));
            reasons.push(Reason::new("want.unknown", sentence));
        }
        Some(Want::Action(name, params)) => {
            reasons.extend(action::refused(policy, facts, name, params));
        }
        _ => {}
    }
    if let Some(for_s) = facts.for_s
        && u64::from(for_s) < limits::LIFETIME_MIN_S
    {
        let sentence =
            format!("{} is too short for a login: at least {} s", span(for_s), limits::LIFETIME_MIN_S);
        reasons.push(Reason::new("lifetime.too_short", sentence));
    }
    reasons
}

fn want_refused(setting: &Setting<'_>, name: &TierName, choices: &[Choice<'_>]) -> Reason {
    let given: Vec<&str> = choices.iter().map(|choice| choice.tier.name.as_str()).collect();
    let given = if given.is_empty() { "nothing".to_owned() } else { given.join(", ") };
    let sentence = format!(
        "tier {name} is not to be had at severity {}: row {} gives {given}",
        setting.severity, setting.band.name
    );
    Reason::new("want.not_given", sentence).at(line(setting.band.cell(setting.severity).line))
}

fn blast(system: &System, facts: &Facts) -> u8 {
    match &facts.target.host {
        Some(_) if !facts.other_host_open => system.blast.saturating_sub(1).max(1),
        _ => system.blast,
    }
}

pub(super) fn setting<'a>(
    policy: &'a Policy,
    facts: &'a Facts,
    system: &'a System,
    founded: Founded<'a>,
) -> Option<Setting<'a>> {
    let band = policy.risk.band(system.sensitivity.saturating_mul(blast(system, facts)))?;
    Some(Setting { policy, facts, system, band, severity: founded.severity, trigger: founded.trigger })
}

fn row_reason(setting: &Setting<'_>, blast: u8) -> Reason {
    let System { name, sensitivity, .. } = setting.system;
    let scope = match (&setting.facts.target.host, setting.facts.other_host_open) {
        (None, _) => "the whole system",
        (Some(_), false) => "one host",
        (Some(_), true) => "a further host, so it counts as the whole system",
    };
    let product = sensitivity.saturating_mul(blast);
    let sentence = format!(
        "{name}, {scope}: sensitivity {sensitivity} x blast {blast} = {product}, row {}",
        setting.band.name
    );
    Reason::new("risk.row", sentence).at(line(setting.band.line))
}

fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::None => "no touch",
        Presence::Touch => "a touch",
        Presence::Verified => "a touch with PIN or fingerprint",
    }
}

fn open_decision(system: &System, blast: u8, policy: &Policy) -> Decision {
    let band = policy.risk.band(system.sensitivity.saturating_mul(blast)).map(|band| band.name.clone());
    Decision {
        outcome: Outcome::Refuse { reasons: vec![], smaller: None },
        severity: None,
        trigger: None,
        sensitivity: system.sensitivity,
        blast,
        band: band.unwrap_or_default(),
        cell: None,
        awaits: None,
        because: vec![],
    }
}

/// The decision about a system that the policy does not know.
fn nowhere(reasons: Vec<Reason>) -> Decision {
    Decision {
        outcome: Outcome::Refuse { reasons: reasons.clone(), smaller: None },
        severity: None,
        trigger: None,
        sensitivity: 0,
        blast: 0,
        band: String::new(),
        cell: None,
        awaits: None,
        because: reasons,
    }
}
