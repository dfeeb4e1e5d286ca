//! The table that [`super::check`] walked, as plain text for an auditor: what each system gives to whom
//! at which severity, and what each tier means. No colours, no tabs, lines in a fixed order.

use std::fmt::Write;

use super::check::{ON_CALL, Walk, Walked};
use crate::names::Severity;
use crate::policy::files::reading::span;
use crate::policy::shape::{Action, Keep, Limits, Policy, Reviews, System, Tier, When};
use crate::policy::{Outcome, Presence, Record, Terms};

const LABEL: usize = 14;

pub(in crate::policy) fn render(policy: &Policy, walked: &[Walked<'_>]) -> String {
    let mut out = String::new();
    for Walked { system, cases, actions } in walked {
        let System { name, sensitivity, blast, owner, on_call, .. } = system;
        let hosts: Vec<&str> = system.hosts.iter().map(|pattern| pattern.value.as_str()).collect();
        let _ = writeln!(out, "{name}  (policy.toml:{})", system.line);
        let _ =
            writeln!(out, "  hosts {}; owner {}; on call {}", hosts.join(", "), owner.value, on_call.value);
        for one_host in [false, true] {
            let blast = if one_host { blast.saturating_sub(1).max(1) } else { *blast };
            let product = sensitivity.saturating_mul(blast);
            let band = policy.risk().band(product).map_or("", |band| band.name.as_str());
            let scope = if one_host { "one host alone" } else { "whole system" };
            let _ =
                writeln!(out, "  {scope}: sensitivity {sensitivity} x blast {blast} = {product}, row {band}");
            rows(&mut out, cases, one_host);
            for (action, cases) in actions {
                let _ = writeln!(out, "    action {}", action.name);
                rows(&mut out, cases, one_host);
            }
        }
        out.push('\n');
    }
    let _ = writeln!(out, "tiers");
    let mut tiers: Vec<&Tier> = policy.tiers().collect();
    tiers.sort_by(|a, b| a.power.cmp(&b.power).then(a.line.cmp(&b.line)));
    for tier in tiers {
        let _ = writeln!(out, "  {:<12} {}", tier.name.as_str(), meaning(tier));
    }
    let mut actions: Vec<&Action> = policy.actions.values().collect();
    actions.sort_by_key(|action| (action.power, action.line));
    if !actions.is_empty() {
        let _ = writeln!(out, "actions (each under the controls of the mildest tier that can do as much)");
    }
    for action in actions {
        let _ = writeln!(out, "  {:<12} {}", action.name.as_str(), runs(action));
    }
    aside(&mut out, policy);
    if !policy.exceptions.is_empty() {
        let _ = writeln!(out, "exceptions (not in the table above, which has no date)");
        for e in &policy.exceptions {
            let _ = writeln!(
                out,
                "  {:<12} {} instead, by {}, unix {} to {}: {}",
                e.id.as_str(),
                e.tier.value,
                e.owner.value,
                e.from,
                e.until,
                e.why
            );
        }
    }
    out
}

/// What the table above has not: rules about the person, the day or the request, and what is counted.
fn aside(out: &mut String, policy: &Policy) {
    let of_the_day = |when: &When| {
        let people = when.groups.is_some() || when.outside.is_some();
        let request = when.drill.is_some() || when.triggers.is_some() || when.extension.is_some();
        people || request || when.signals.is_some() || when.overdue_reviews.is_some()
    };
    let mut rules = policy.rules.iter().filter(|rule| of_the_day(&rule.when)).peekable();
    if rules.peek().is_some() {
        let _ = writeln!(out, "rules about the person, the day or the request (not in the table above)");
    }
    for rule in rules {
        let _ = writeln!(out, "  {:<12} {}  (policy.toml:{})", rule.id.as_str(), rule.why, rule.line);
    }
    let Limits { declarations, asks, approvals } = policy.limits();
    let counted = [
        ("declared", declarations, "emergencies that one person may declare"),
        ("asked", asks, "requests of one person that wake somebody"),
        ("approved", approvals, "approvals that one person may give"),
    ];
    if counted.iter().any(|(_, most, _)| most.is_some()) {
        let _ = writeln!(out, "limits within an hour (never at severity 1)");
    }
    for (name, most, what) in counted {
        if let Some(most) = most {
            let _ = writeln!(out, "  {name:<12} {} {what}  (policy.toml:{})", most.value, most.line);
        }
    }
    if let Some(Reviews { line, from, within_s }) = policy.reviews() {
        let from: Vec<&str> = from.iter().map(|group| group.value.as_str()).collect();
        let _ = writeln!(out, "reviews");
        let _ = writeln!(out, "  {:<12} by {}  (policy.toml:{line})", span(*within_s), from.join(" or "));
    }
    if let Some(Keep { line, recordings_s }) = policy.keep() {
        let _ = writeln!(out, "recordings");
        let _ = writeln!(out, "  {:<12} kept, then removed  (policy.toml:{line})", span(*recordings_s));
    }
}

/// One line for everybody, or one for each answer to "are they on call?" when it matters.
fn rows(out: &mut String, cases: &[Walk], one_host: bool) {
    let lines: Vec<(&str, Vec<String>)> = ON_CALL
        .into_iter()
        .map(|on_call| {
            let of = |w: &&Walk| w.one_host == one_host && w.on_call == on_call;
            let cells = Severity::MILDEST_FIRST.into_iter().map(|severity| {
                let here: Vec<&Walk> = cases.iter().filter(of).filter(|w| w.severity == severity).collect();
                cell(&here)
            });
            let label = match on_call {
                Some(true) => "on call",
                Some(false) => "not on call",
                None => "unknown",
            };
            (label, cells.collect())
        })
        .collect();
    let same = |a: usize, b: usize| lines.get(a).map(|l| &l.1) == lines.get(b).map(|l| &l.1);
    let shown: Vec<(&str, &Vec<String>)> = match (same(0, 1), same(1, 2)) {
        (true, true) => lines.first().map(|(_, cells)| ("anybody", cells)).into_iter().collect(),
        (false, true) => lines.iter().take(2).map(|(label, cells)| (*label, cells)).collect(),
        _ => lines.iter().map(|(label, cells)| (*label, cells)).collect(),
    };
    let width = |n: usize| {
        let cells = shown.iter().filter_map(|(_, cells)| cells.get(n)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(5) + 2
    };
    let _ = write!(out, "    {:LABEL$}", "");
    for (n, severity) in Severity::MILDEST_FIRST.into_iter().enumerate() {
        let _ = write!(out, "{:<w$}", format!("sev {severity}"), w = width(n));
    }
    trim_line(out);
    for (label, cells) in &shown {
        let _ = write!(out, "    {label:LABEL$}");
        for (n, cell) in cells.iter().enumerate() {
            let _ = write!(out, "{cell:<w$}", w = width(n));
        }
        trim_line(out);
    }
}

fn trim_line(out: &mut String) {
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

/// What the strongest key gets, and what a weaker one gets where that differs.
fn cell(here: &[&Walk]) -> String {
    let of = |presence: Presence| {
        here.iter().find(|w| w.presence == presence).map_or("?".to_owned(), |w| said(&w.decision.outcome))
    };
    let (verified, touch, none) = (of(Presence::Verified), of(Presence::Touch), of(Presence::None));
    let mut text = verified.clone();
    if touch != verified {
        let _ = write!(text, "; by touch alone {touch}");
    }
    if none != touch {
        let _ = write!(text, "; without touch {none}");
    }
    text
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Permit(terms) => given(terms),
        Outcome::NeedsApproval { full, meanwhile, .. } => {
            let count: u8 = full.approvals.iter().map(|a| a.count).fold(0, u8::saturating_add);
            let meanwhile = meanwhile.as_ref().map_or("nothing".to_owned(), |terms| terms.tier.to_string());
            match full.action {
                Some(_) => format!("{} +{count} approving", given(full)),
                None => format!("{} +{count} approving (meanwhile {meanwhile})", given(full)),
            }
        }
        Outcome::Refuse { smaller: Some(smaller), .. } => format!("deny (ask for {})", smaller.terms.tier),
        Outcome::Refuse { smaller: None, .. } => "deny".to_owned(),
    }
}

/// A tier, or the one under whose controls an action runs.
fn given(terms: &Terms) -> String {
    match terms.action {
        Some(_) => format!("as {}", terms.tier),
        None => terms.tier.to_string(),
    }
}

fn runs(action: &Action) -> String {
    let systems: Vec<&str> = action.systems.iter().map(|at| at.value.as_str()).collect();
    let mut parts = vec![format!("power {}", action.power), format!("account {}", action.account)];
    parts.push(format!("only `{}`", action.command));
    parts.extend(action.command.params().map(|(name, pattern)| format!("{name} is {pattern}")));
    parts.push("no extensions".to_owned());
    parts.push(format!("on {}", systems.join(" and ")));
    format!("{}  (policy.toml:{})", parts.join(", "), action.line)
}

fn meaning(tier: &Tier) -> String {
    let mut parts = vec![format!("power {}", tier.power), format!("account {}", tier.account)];
    parts.push(match &tier.force_command {
        Some(command) => format!("only `{command}`"),
        None => "a shell".to_owned(),
    });
    let extensions: Vec<&str> = tier.extensions.iter().map(|extension| extension.openssh()).collect();
    parts.push(if extensions.is_empty() { "no extensions".to_owned() } else { extensions.join(" and ") });
    if !tier.source_address.is_empty() {
        let from: Vec<String> = tier.source_address.iter().map(ToString::to_string).collect();
        parts.push(format!("only from {}", from.join(" and ")));
    }
    parts.push(format!("at most {}", span(tier.ttl_s)));
    for quorum in &tier.approvals {
        let from: Vec<&str> = quorum.from.iter().flatten().map(|group| group.value.as_str()).collect();
        parts.push(format!("{} approving out of {}", quorum.count, from.join(" or ")));
    }
    match tier.presence {
        Presence::None => {}
        Presence::Touch => parts.push("needs a touch".into()),
        Presence::Verified => parts.push("needs a touch with PIN or fingerprint".into()),
    }
    parts.push(match tier.record {
        Record::None => "not recorded".into(),
        Record::BestEffort => "recorded if it can be".into(),
        Record::Required => "recorded or refused".into(),
    });
    if let Some(age) = tier.krl_max_age_s {
        parts.push(format!("revocation list at most {} old", span(age)));
    }
    format!("{}  (policy.toml:{})", parts.join(", "), tier.line)
}
