//! The parts of a bundle as an auditor names them: each with its name and its fields in words, so that two
//! bundles can be compared part by part. A field that a part gets must be said here: nothing is skipped.

use super::fields::{list, of_presence, of_record};
use crate::names::Severity;
use crate::policy::files::reading::span;
use crate::policy::finding::At;
use crate::policy::shape::{
    Action, Band, Exception, Policy, Quorum, Rule, System, Tier, Tightening, Trigger, TriggerSource, When,
};
use crate::policy::{Bundle, Presence, Role, Roster};

/// One part in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Part {
    /// `tier`, `person` ...
    pub(in crate::policy) kind: &'static str,
    /// Its name; empty for what there is only one of.
    pub(in crate::policy) name: String,
    /// Its fields, in order; equal fields are equal words.
    pub(in crate::policy) fields: Vec<(&'static str, String)>,
}

/// All parts of a bundle, in the order of the file.
pub(in crate::policy) fn parts(bundle: &Bundle) -> Vec<Part> {
    let Policy {
        triggers,
        systems,
        risk,
        tiers,
        actions,
        rules,
        exceptions,
        limits: _,
        reviews: _,
        keep: _,
        tests,
        hosts: _,
        rules_by_system: _,
    } = &bundle.policy;
    let mut out = Vec::new();
    out.extend(triggers.values().map(trigger));
    out.extend(systems.values().map(system));
    out.extend(risk.bands.iter().map(row));
    out.extend(tiers.values().map(tier));
    out.extend(actions.values().map(action));
    out.extend(rules.iter().map(rule));
    out.extend(exceptions.iter().map(exception));
    out.extend(limits_and_reviews(&bundle.policy));
    let count = vec![("number", tests.len().to_string())];
    out.push(Part { kind: "tests", name: String::new(), fields: count });
    out.extend(people(&bundle.roster));
    out.extend(roles(&bundle.roster));
    out
}

fn trigger(trigger: &Trigger) -> Part {
    let Trigger { name, line: _, source, close_on, grace_s, link_within_s } = trigger;
    let mut fields = match source {
        TriggerSource::Incidents { ids, max_age_s, severity, default } => {
            let words: Vec<String> = severity.iter().map(|(word, s)| format!("{word} = {s}")).collect();
            vec![
                ("begun by", format!("incidents of {ids}")),
                ("counts for", span(*max_age_s)),
                ("severities", format!("{}, else {default}", list(words, ", "))),
            ]
        }
        TriggerSource::Claim { cap, co_declare } => vec![
            ("begun by", "a bare claim".to_owned()),
            ("at worst", cap.value.to_string()),
            ("worse if signed by", co_declare.map_or("nobody".to_owned(), |n| format!("{n} on call"))),
        ],
    };
    fields.push(("closing begins on", close_on.clone().unwrap_or("nothing".to_owned())));
    fields.push(("grace", span(*grace_s)));
    let link = link_within_s.map_or("no time".to_owned(), span);
    fields.push(("tied to an incident within", link));
    Part { kind: "trigger", name: name.to_string(), fields }
}

fn system(system: &System) -> Part {
    let System { name, line: _, hosts, sensitivity, blast, owner, on_call } = system;
    let mut patterns: Vec<&str> = hosts.iter().map(|at| at.value.as_str()).collect();
    patterns.sort_unstable();
    let fields = vec![
        ("hosts", list(patterns, ", ")),
        ("sensitivity", sensitivity.to_string()),
        ("blast", blast.to_string()),
        ("owner", owner.value.to_string()),
        ("on call", on_call.value.to_string()),
    ];
    Part { kind: "system", name: name.to_string(), fields }
}

fn row(band: &Band) -> Part {
    let Band { name, limit, line: _, cells: _ } = band;
    let cell = |severity| band.cell(severity).value.as_ref().map_or("deny".to_owned(), ToString::to_string);
    let columns = ["severity 4", "severity 3", "severity 2", "severity 1"];
    let mut fields = vec![("up to", limit.to_string())];
    fields.extend(columns.into_iter().zip(Severity::MILDEST_FIRST.map(cell)));
    Part { kind: "row", name: name.clone(), fields }
}

fn tier(tier: &Tier) -> Part {
    let Tier {
        name,
        line: _,
        power,
        account,
        force_command,
        extensions,
        source_address,
        ttl_s,
        approvals,
        wait_s,
        meanwhile,
        escalate,
        extends,
        presence,
        record,
        krl_max_age_s,
    } = tier;
    let rung = |(after_s, group): &(u32, At<_>)| format!("{} after {}", group_name(group), span(*after_s));
    let fields = vec![
        ("power", power.to_string()),
        ("account", account.to_string()),
        ("runs", force_command.as_ref().map_or("a shell".to_owned(), |c| format!("only `{c}`"))),
        ("extensions", list(extensions.iter().map(|e| e.openssh()), " and ")),
        ("from", if source_address.is_empty() { "anywhere".into() } else { list(source_address, " and ") }),
        ("lifetime", span(*ttl_s)),
        ("approvals", list(approvals.iter().map(quorum), " and ")),
        ("waits for approval", span(*wait_s)),
        ("meanwhile", meanwhile.as_ref().map_or("the next milder".to_owned(), |at| at.value.to_string())),
        ("wakes", list(escalate.iter().map(rung), ", ")),
        ("extended at most", format!("{extends} times")),
        ("presence", of_presence(*presence).to_owned()),
        ("recording", of_record(*record).to_owned()),
        (
            "revocation list",
            krl_max_age_s.map_or("any age".to_owned(), |s| format!("at most {} old", span(s))),
        ),
    ];
    Part { kind: "tier", name: name.to_string(), fields }
}

fn group_name(at: &At<crate::names::GroupName>) -> String {
    at.value.to_string()
}

fn quorum(quorum: &Quorum) -> String {
    let Quorum { place: _, count, from } = quorum;
    match from {
        Some(from) => {
            let mut names: Vec<String> = from.iter().map(group_name).collect();
            names.sort();
            format!("{count} of {}", list(names, " or "))
        }
        None => format!("{count} of whoever may approve, else the system's on-call and owner"),
    }
}

fn action(action: &Action) -> Part {
    let Action { name, line: _, systems, account, force_command, params, power, command: _ } = action;
    let patterns: Vec<String> = params.iter().map(|(name, pattern)| format!("{name} = {pattern}")).collect();
    let mut names: Vec<&str> = systems.iter().map(|at| at.value.as_str()).collect();
    names.sort_unstable();
    let fields = vec![
        ("on", list(names, ", ")),
        ("account", account.to_string()),
        ("runs", force_command.join(" ")),
        ("parameters", list(patterns, ", ")),
        ("power", power.to_string()),
    ];
    Part { kind: "action", name: name.to_string(), fields }
}

/// A condition in words: each thing it asks for, or that it asks for nothing.
fn condition(when: &When) -> String {
    let When {
        on_call,
        systems,
        tiers,
        severities,
        one_host,
        groups,
        outside,
        triggers,
        drill,
        signals,
        extension,
        overdue_reviews,
    } = when;
    fn any<T: ToString>(word: &str, list_of: Option<&Vec<At<T>>>) -> Option<String> {
        let mut names: Vec<String> = list_of?.iter().map(|at| at.value.to_string()).collect();
        names.sort();
        Some(format!("{word} {}", list(names, " or ")))
    }
    let severities = severities.as_ref().map(|list_of| {
        let mut all = list_of.clone();
        all.sort();
        format!("severity {}", list(&all, " or "))
    });
    let signals = signals.as_ref().map(|all| {
        let mut all = all.clone();
        all.sort();
        format!("when {}", list(all.iter().map(|signal| signal.as_str()), " or "))
    });
    let word = |yes: &'static str, no: &'static str| move |is: bool| if is { yes } else { no }.to_owned();
    let parts = [
        on_call.map(word("on call", "not on call")),
        any("on", systems.as_ref()),
        any("tier", tiers.as_ref()),
        severities,
        one_host.map(word("one host", "the whole system")),
        any("in", groups.as_ref()),
        any("outside", outside.as_ref()),
        any("begun by", triggers.as_ref()),
        drill.map(word("in a drill", "not in a drill")),
        signals,
        extension.map(|n| format!("from extension {n} on")),
        overdue_reviews.map(|n| format!("from {n} overdue reviews on")),
    ];
    let said: Vec<String> = parts.into_iter().flatten().collect();
    if said.is_empty() { "always".to_owned() } else { said.join(", ") }
}

fn rule(rule: &Rule) -> Part {
    let Rule { id, line: _, when, add, why } = rule;
    let Tightening {
        deny,
        approvals,
        also,
        ttl_s,
        extensions,
        source_address,
        presence,
        record,
        krl_max_age_s,
    } = add;
    let parts = [
        deny.then(|| "nothing is given".to_owned()),
        approvals.as_ref().map(|q| format!("approvals {}", quorum(q))),
        also.as_ref().map(|q| format!("also {}", quorum(q))),
        ttl_s.map(|s| format!("at most {}", span(s))),
        extensions
            .as_ref()
            .map(|all| format!("extensions only {}", list(all.iter().map(|e| e.openssh()), " and "))),
        source_address.as_ref().map(|all| format!("only from {}", list(all, " and "))),
        presence.map(|p| of_presence(p).to_owned()),
        record.map(|r| format!("recording {}", of_record(r))),
        krl_max_age_s.map(|s| format!("revocation list at most {} old", span(s))),
    ];
    let adds: Vec<String> = parts.into_iter().flatten().collect();
    let fields = vec![("applies", condition(when)), ("adds", list(adds, ", ")), ("why", why.clone())];
    Part { kind: "rule", name: id.to_string(), fields }
}

fn exception(exception: &Exception) -> Part {
    let Exception { id, line: _, when, tier, owner, from, until, why } = exception;
    let fields = vec![
        ("applies", condition(when)),
        ("gives", format!("tier {}", tier.value)),
        ("owner", owner.value.to_string()),
        ("runs", format!("unix {from} to {until}")),
        ("why", why.clone()),
    ];
    Part { kind: "exception", name: id.to_string(), fields }
}

fn limits_and_reviews(policy: &Policy) -> Vec<Part> {
    let crate::policy::shape::Limits { declarations, asks, approvals } = &policy.limits;
    let an_hour = |n: &Option<At<u8>>| n.map_or("any number".to_owned(), |at| at.value.to_string());
    let fields = vec![
        ("declarations an hour", an_hour(declarations)),
        ("requests an hour that wake somebody", an_hour(asks)),
        ("approvals an hour", an_hour(approvals)),
    ];
    let mut out = vec![Part { kind: "limits", name: String::new(), fields }];
    if let Some(crate::policy::shape::Reviews { line: _, from, within_s }) = &policy.reviews {
        let mut groups: Vec<String> = from.iter().map(group_name).collect();
        groups.sort();
        let fields = vec![("by", list(groups, " or ")), ("within", span(*within_s))];
        out.push(Part { kind: "review", name: String::new(), fields });
    }
    if let Some(crate::policy::shape::Keep { line: _, recordings_s }) = &policy.keep {
        let fields = vec![("kept for", format!("{}, then removed", span(*recordings_s)))];
        out.push(Part { kind: "recordings", name: String::new(), fields });
    }
    out
}

fn people(roster: &Roster) -> Vec<Part> {
    let person = |person: &crate::policy::Person| {
        let crate::policy::Person { name, line: _, groups, keys, same_as } = person;
        let mut lines: Vec<String> = keys
            .iter()
            .map(|key| match key.comment.as_str() {
                "" => key.fingerprint.to_string(),
                comment => format!("{} {comment}", key.fingerprint),
            })
            .collect();
        lines.sort();
        let fields = vec![
            ("groups", list(groups, ", ")),
            ("keys", list(lines, ", ")),
            ("same person as", same_as.as_ref().map_or("nobody else".to_owned(), |at| at.value.to_string())),
        ];
        Part { kind: "person", name: name.to_string(), fields }
    };
    roster.people().map(person).collect()
}

/// The roles there are, in order, as the roster spells them.
pub(in crate::policy) const ROLES: [(Role, &str); 3] = [
    (Role::PolicyAdmin, "policy_admin"),
    (Role::Auditor, "auditor"),
    (Role::IncidentCommander, "incident_commander"),
];

fn roles(roster: &Roster) -> Vec<Part> {
    let role = |(role, name): (Role, &str)| {
        let crate::policy::RoleHolders { group, quorum, presence } = roster.role(role)?;
        let mut fields = vec![("group", group.value.to_string())];
        if role == Role::PolicyAdmin || *presence != Presence::None {
            fields.push(("quorum", quorum.to_string()));
            fields.push(("presence", of_presence(*presence).to_owned()));
        }
        Some(Part { kind: "role", name: name.to_owned(), fields })
    };
    ROLES.into_iter().filter_map(role).collect()
}
