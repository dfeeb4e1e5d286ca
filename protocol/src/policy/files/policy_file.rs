//! Reads `policy.toml` part by part; rules and exceptions are `rule_file`'s, worked examples `case_file`'s.
//! Whether the parts fit together is `references`' question; whether the whole is total and monotone is
//! `check`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use super::case_file::read_cases;
use super::reading::{Reading, Table, Value, seconds};
use super::rule_file::{exception, rule};
use crate::host::SessionCommand;
use crate::limits;
use crate::names::{ActionName, GroupName, SELF_TEST_TIER, Severity, SystemName, TierName, TriggerName};
use crate::policy::finding::{At, Finding};
use crate::policy::hosts::HostIndex;
use crate::policy::shape::{
    Action, Band, Keep, Limits, Policy, Quorum, Reviews, Risk, RulesBySystem, System, Tier, Trigger,
    TriggerSource,
};
use crate::policy::{Command, CommandPart, Extension, Presence, Record};
use crate::shell::{is_printable, quoted};

pub(in crate::policy) const PRESENCE: [(&str, Presence); 3] =
    [("none", Presence::None), ("touch", Presence::Touch), ("verified", Presence::Verified)];
pub(in crate::policy) const RECORD: [(&str, Record); 3] =
    [("none", Record::None), ("best-effort", Record::BestEffort), ("required", Record::Required)];
pub(in crate::policy) const EXTENSION: [(&str, Extension); 2] =
    [("port-forwarding", Extension::PortForwarding), ("pty", Extension::Pty)];

/// The names that the file gives to its parts, whether or not the parts could be read: so that a broken
/// tier is not called undefined as well.
#[derive(Debug, Default)]
pub(in crate::policy) struct Declared {
    pub(in crate::policy) systems: BTreeSet<SystemName>,
    pub(in crate::policy) tiers: BTreeSet<TierName>,
    pub(in crate::policy) triggers: BTreeSet<TriggerName>,
}

/// Reads `policy.toml`: what could be read, and what is wrong with the rest.
pub(in crate::policy) fn read(text: &str) -> (Option<(Policy, Declared)>, Vec<Finding>) {
    let reading = Reading::new("policy.toml", text);
    let policy = reading.document().map(|document| {
        let mut root = Table::root(&reading, &document);
        root.must("version").and_then(|v| v.number(1..=1));
        let triggers = parts(&reading, root.must("trigger"), trigger);
        let systems = parts(&reading, root.must("system"), system);
        let risk = root.must("risk").and_then(|v| risk(&reading, &v));
        let tiers = parts(&reading, root.must("tier"), tier);
        let actions = parts(&reading, root.may("action"), action);
        let rules = each(root.may("rule"), rule);
        let exceptions = each(root.may("exception"), exception);
        let limits = root.may("limits").and_then(|v| read_limits(&v)).unwrap_or_default();
        let reviews = root.may("review").and_then(|v| read_reviews(&v));
        let keep = root.may("recordings").and_then(|v| read_keep(&v));
        let tests = root.may("test").map(|v| read_cases(&v)).unwrap_or_default();
        root.finish();
        let declared = Declared { systems: systems.0, tiers: tiers.0, triggers: triggers.0 };
        let policy = Policy {
            triggers: triggers.1,
            systems: systems.1,
            risk: risk.unwrap_or(Risk { bands: vec![] }),
            tiers: tiers.1,
            actions: actions.1,
            rules_by_system: RulesBySystem::of(&rules),
            rules,
            exceptions,
            limits,
            reviews,
            keep,
            tests,
            hosts: HostIndex::default(),
        };
        (policy, declared)
    });
    (policy, reading.into_findings())
}

/// Reads a table of named parts.
fn parts<N: FromStr<Err: Display> + Ord + Clone, T>(
    reading: &Reading<'_>,
    value: Option<Value<'_, '_>>,
    read: fn(At<N>, Table<'_, '_>) -> Option<T>,
) -> (BTreeSet<N>, BTreeMap<N, T>) {
    let (mut names, mut out) = (BTreeSet::new(), BTreeMap::new());
    for (at, part) in value.and_then(|v| v.table()).map(|t| t.parts()).unwrap_or_default() {
        match at.value.parse::<N>() {
            Ok(name) => {
                names.insert(name.clone());
                if let Some(read) = part.table().and_then(|table| read(at.with(name.clone()), table)) {
                    out.insert(name, read);
                }
            }
            Err(error) => reading.add(&at, "value.invalid", error.to_string(), None),
        }
    }
    (names, out)
}

/// Reads a list of tables, `[[rule]]`.
fn each<T>(value: Option<Value<'_, '_>>, read: fn(Table<'_, '_>) -> Option<T>) -> Vec<T> {
    let items = value.and_then(|v| v.array()).unwrap_or_default();
    items.iter().filter_map(|item| item.table()).filter_map(read).collect()
}

fn trigger(name: At<TriggerName>, mut t: Table<'_, '_>) -> Option<Trigger> {
    let day = 86_400;
    let ids = t.may("ids");
    let cap = t.may("severity_cap");
    let close_on = t.may("close_on").and_then(|v| v.word(&[("incident.resolved", "incident.resolved")]));
    let grace_s = t.may("grace").and_then(|v| v.duration(0..=limits::LIFETIME_MAX_S as u32));
    let link_within_s = t.may("link_within").and_then(|v| v.duration(60..=day));
    let source = match (ids, cap) {
        (Some(ids), None) => {
            let prefix = ids.text().filter(|text| {
                let fits = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase());
                if !fits {
                    ids.wrong("1 to 16 lower-case letters are expected: what stands before the ':'", None);
                }
                fits
            });
            let max_age_s = t.must("max_age").and_then(|v| v.duration(60..=7 * day));
            let map = t.must("severity").and_then(|v| v.table()).map(|t| severities(&t));
            let default = map.as_ref().and_then(|map| map.get("default").copied());
            if map.is_some() && default.is_none() {
                t.must("severity").into_iter().for_each(|v| {
                    v.finding("severity.hole", "there is no `default` for words that are not in it", None);
                });
            }
            let mut severity = map.unwrap_or_default();
            severity.remove("default");
            prefix.zip(max_age_s).zip(default).map(|((ids, max_age_s), default)| TriggerSource::Incidents {
                ids: ids.to_owned(),
                max_age_s,
                severity,
                default,
            })
        }
        (None, Some(cap)) => {
            let co_declare = t.may("co_declare").map(|v| v.number(2..=8));
            let cap = severity(&cap).map(|severity| cap.place.with(severity));
            match co_declare {
                Some(None) => None,
                co_declare => cap.map(|cap| TriggerSource::Claim { cap, co_declare: co_declare.flatten() }),
            }
        }
        (Some(_), Some(cap)) => {
            for key in ["severity", "max_age", "co_declare"] {
                t.may(key);
            }
            cap.finding(
                "trigger.both",
                "a trigger has `ids` (incidents) or `severity_cap` (bare claims), not both",
                None,
            );
            None
        }
        (None, None) => {
            t.must("ids");
            None
        }
    };
    t.finish();
    let (name, line) = (name.value, name.line);
    let source = source?;
    Some(Trigger {
        name,
        line,
        source,
        close_on: close_on.map(str::to_owned),
        grace_s: grace_s.unwrap_or(0),
        link_within_s,
    })
}

fn severities(table: &Table<'_, '_>) -> BTreeMap<String, Severity> {
    let parts = table.parts().into_iter();
    parts.filter_map(|(word, value)| Some((word.value.to_owned(), severity(&value)?))).collect()
}

pub(in crate::policy) fn severity(value: &Value<'_, '_>) -> Option<Severity> {
    Severity::try_from(value.number(1..=4)?).ok()
}

fn system(name: At<SystemName>, mut t: Table<'_, '_>) -> Option<System> {
    let hosts = t.must("hosts").and_then(|v| v.names());
    let sensitivity = t.must("sensitivity").and_then(|v| v.number(1..=4));
    let blast = t.must("blast").and_then(|v| v.number(1..=4));
    let owner = t.must("owner").and_then(|v| v.name());
    let on_call = t.must("on_call").and_then(|v| v.name());
    t.finish();
    Some(System {
        name: name.value,
        line: name.line,
        hosts: hosts?,
        sensitivity: sensitivity?,
        blast: blast?,
        owner: owner?,
        on_call: on_call?,
    })
}

fn risk(reading: &Reading<'_>, value: &Value<'_, '_>) -> Option<Risk> {
    let mut table = value.table()?;
    let names = table.must("bands").and_then(|v| v.table())?;
    let mut bands: Vec<(At<&str>, u8)> = Vec::new();
    for (name, value) in names.parts() {
        if let Err(error) = name.value.parse::<TierName>() {
            reading.add(&name, "value.invalid", format!("the row's name is not valid: {error}"), None);
        } else if name.value == "bands" {
            reading.add(&name, "value.invalid", "a row cannot be called `bands`".into(), None);
        } else if let Some(limit) = value.number(1..=16) {
            bands.push((name, limit));
        }
    }
    bands.sort_by_key(|(_, limit)| *limit);
    for ((_, a), (name, b)) in bands.iter().zip(bands.iter().skip(1)) {
        if a == b {
            let message = format!("two rows end at {a}: one of them can never be reached");
            reading.add(name, "risk.repeated", message, None);
        }
    }
    if bands.last().is_none_or(|(_, limit)| *limit < 16) {
        let reached = bands.last().map_or(0, |(_, limit)| *limit);
        let message =
            format!("the rows end at {reached}, but sensitivity x blast goes to 16: a hole in the table");
        reading.add(&names.place(), "risk.hole", message, Some("let the last row end at 16".into()));
    }
    let mut rows = Vec::new();
    for (name, value) in table.parts() {
        let Some((_, limit)) = bands.iter().find(|(band, _)| band.value == name.value) else { continue };
        if let Some(cells) = row(&value) {
            rows.push(Band { name: name.value.to_owned(), limit: *limit, line: value.place.line, cells });
        }
    }
    let given: Vec<&str> = table.parts().iter().map(|(name, _)| name.value).collect();
    for (band, _) in &bands {
        if !given.contains(&band.value) {
            let message = format!("row `{}` is named here but not given: a hole in the table", band.value);
            reading.add(band, "risk.hole", message, Some(format!("add `{} = [sev 4, 3, 2, 1]`", band.value)));
        }
    }
    for (name, _) in table.parts() {
        if name.value != "bands" && !bands.iter().any(|(band, _)| band.value == name.value) {
            let help = crate::policy::finding::meant(name.value, bands.iter().map(|(band, _)| band.value));
            reading.add(
                &name,
                "key.unknown",
                format!("no band is called {}", crate::names::shown(name.value)),
                help,
            );
        }
    }
    rows.sort_by_key(|band| band.limit);
    Some(Risk { bands: rows })
}

fn row(value: &Value<'_, '_>) -> Option<[At<Option<TierName>>; 4]> {
    let items = value.array()?;
    if items.len() != 4 {
        let message = format!("a row has 4 cells, for severity 4, 3, 2 and 1; this one has {}", items.len());
        value.finding("risk.hole", message, None);
        return None;
    }
    let cells: Vec<_> = items.iter().filter_map(cell).collect();
    cells.try_into().ok()
}

fn cell(value: &Value<'_, '_>) -> Option<At<Option<TierName>>> {
    if value.text()? == "deny" {
        return Some(value.place.with(None));
    }
    value.name().map(|name| At { value: Some(name.value), line: name.line, column: name.column })
}

pub(in crate::policy) fn ttl(value: &Value<'_, '_>) -> Option<u32> {
    value.duration(limits::LIFETIME_MIN_S as u32..=limits::LIFETIME_MAX_S as u32)
}

/// `Some(None)`: there is none. `None`: there is one, and it is wrong.
pub(in crate::policy) fn optional<'r, 't, T>(
    value: Option<Value<'r, 't>>,
    read: impl Fn(&Value<'r, 't>) -> Option<T>,
) -> Option<Option<T>> {
    match value {
        Some(value) => read(&value).map(Some),
        None => Some(None),
    }
}

fn tier(name: At<TierName>, mut t: Table<'_, '_>) -> Option<Tier> {
    if name.value.as_str() == SELF_TEST_TIER {
        t.wrong(&name, "a tier cannot be called `self-test`: that is what hosts try their own logins with");
    }
    let power = t.must("power").and_then(|v| v.number(1..=100));
    let account = t.must("account").and_then(|v| v.name());
    let force_command = optional(t.may("force_command"), command);
    let extensions = optional(t.may("extensions"), extensions);
    let source_address = optional(t.may("source_address"), addresses);
    let ttl_s = t.must("ttl").and_then(|v| ttl(&v));
    let approvals = optional(t.may("approvals"), quorums);
    let wait_s = optional(t.may("wait"), |v| v.duration(60..=limits::WAIT_MAX_S as u32));
    let meanwhile = optional(t.may("meanwhile"), |v| v.name());
    let escalate = optional(t.may("escalate"), ladder);
    let extends = optional(t.may("extends"), |v| v.number(0..=16));
    let presence = optional(t.may("presence"), |v| v.word(&PRESENCE));
    let record = optional(t.may("record"), |v| v.word(&RECORD));
    let krl_max_age_s = optional(t.may("krl_max_age"), |v| v.duration(60..=86_400));
    if let (Some(escalate), Some(None)) = (t.may("escalate"), &approvals) {
        escalate.finding("tier.escalate_unused", "nobody is woken for a tier without `approvals`", None);
    }
    let waits = wait_s.map(|wait_s| wait_s.unwrap_or(limits::WAIT_DEFAULT_S));
    if let (Some(value), Some(wait_s), Some(Some(ladder))) = (t.may("escalate"), waits, &escalate)
        && ladder.last().is_some_and(|(after_s, _)| *after_s >= wait_s)
    {
        value.finding(
            "tier.escalate_late",
            "its last rung comes after the request has lapsed (`wait`)",
            None,
        );
    }
    t.finish();
    Some(Tier {
        name: name.value,
        line: name.line,
        power: power?,
        account: account?.value,
        force_command: force_command?,
        extensions: extensions?.unwrap_or_default(),
        source_address: source_address?.unwrap_or_default(),
        ttl_s: ttl_s?,
        approvals: approvals?.unwrap_or_default(),
        wait_s: waits?,
        meanwhile: meanwhile?,
        escalate: escalate?.unwrap_or_default(),
        extends: extends?.unwrap_or(limits::EXTENDS_DEFAULT),
        presence: presence?.unwrap_or_default(),
        record: record?.unwrap_or_default(),
        krl_max_age_s: krl_max_age_s?,
    })
}

/// One text for the account's shell, or words that are quoted so that no shell changes anything in them.
fn command(value: &Value<'_, '_>) -> Option<String> {
    let text = if value.is_array() {
        let words = words(value)?;
        words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    } else {
        value.text()?.to_owned()
    };
    let forced = SessionCommand::of(Some(&text)).write();
    let long = text.len() > limits::FORCE_COMMAND || forced.len() > limits::FORCED;
    if text.trim().is_empty() || !is_printable(&text) || long {
        value.wrong("a command of 1 to 4096 printable ASCII characters is expected", None);
        return None;
    }
    Some(text)
}

fn words(value: &Value<'_, '_>) -> Option<Vec<String>> {
    let words: Vec<String> =
        value.array()?.iter().map(|v| v.text().map(str::to_owned)).collect::<Option<_>>()?;
    match words.first() {
        Some(program) if program.starts_with('/') => Some(words),
        _ => {
            value.wrong("the first word must be the absolute path of a program", None);
            None
        }
    }
}

pub(in crate::policy) fn extensions(value: &Value<'_, '_>) -> Option<Vec<Extension>> {
    let mut list = value.list(|item| item.word(&EXTENSION))?;
    list.sort();
    Some(list)
}

pub(in crate::policy) fn addresses(value: &Value<'_, '_>) -> Option<Vec<crate::policy::Cidr>> {
    let mut list: Vec<crate::policy::Cidr> = value.names()?.into_iter().map(|at| at.value).collect();
    list.sort();
    Some(list)
}

/// `{ count = 1, from = [...] }`, or in a rule also just `1`.
pub(in crate::policy) fn quorum(value: &Value<'_, '_>, from_needed: bool) -> Option<Quorum> {
    let (count, from) = if !value.is_table() && !from_needed {
        (value.number(1..=8), None)
    } else {
        let mut t = value.table()?;
        let count = t.must("count").and_then(|v| v.number(1..=8));
        let from = if from_needed { t.must("from") } else { t.may("from") };
        let from = match from {
            Some(from) => Some(from.names()?),
            None if from_needed => return None,
            None => None,
        };
        t.finish();
        (count, from)
    };
    Some(Quorum { place: value.place, count: count?, from })
}

/// One quorum, or a list of them that must all be met.
fn quorums(value: &Value<'_, '_>) -> Option<Vec<Quorum>> {
    if !value.is_array() {
        return quorum(value, true).map(|one| vec![one]);
    }
    let all = value.some(|item| quorum(item, true))?;
    if all.len() > limits::QUORUMS {
        value.wrong(format_args!("at most {} quorums are taken", limits::QUORUMS), None);
        return None;
    }
    Some(all)
}

/// `["90s secondary", "4m manager"]`: after how long, and which group; ascending.
fn ladder(value: &Value<'_, '_>) -> Option<Vec<(u32, At<GroupName>)>> {
    let rungs = value.some(rung)?;
    if rungs.len() >= limits::RUNGS {
        value.wrong(format_args!("at most {} rungs are taken", limits::RUNGS - 1), None);
        return None;
    }
    if !rungs.is_sorted_by(|(a, _), (b, _)| a < b) {
        value.wrong("each rung comes later than the one before it", None);
        return None;
    }
    Some(rungs)
}

/// `90s secondary`
fn rung(value: &Value<'_, '_>) -> Option<(u32, At<GroupName>)> {
    let parsed = value.text()?.split_once(' ').and_then(|(after, whom)| {
        let group = whom.parse::<GroupName>().ok()?;
        Some((seconds(after).filter(|s| *s > 0)?, value.place.with(group)))
    });
    if parsed.is_none() {
        value.wrong("a duration and a group are expected", Some("e.g. \"90s secondary\"".into()));
    }
    parsed
}

fn read_limits(value: &Value<'_, '_>) -> Option<Limits> {
    let mut t = value.table()?;
    let per_hour = |v: Option<Value<'_, '_>>| v.and_then(|v| v.number(1..=200).map(|n| v.place.with(n)));
    let limits = Limits {
        declarations: per_hour(t.may("declarations")),
        asks: per_hour(t.may("asks")),
        approvals: per_hour(t.may("approvals")),
    };
    t.finish();
    Some(limits)
}

fn read_reviews(value: &Value<'_, '_>) -> Option<Reviews> {
    let mut t = value.table()?;
    let from = t.must("from").and_then(|v| v.names());
    let within_s = t.must("within").and_then(|v| v.duration(3600..=30 * 86_400));
    t.finish();
    Some(Reviews { line: value.place.line, from: from?, within_s: within_s? })
}

fn read_keep(value: &Value<'_, '_>) -> Option<Keep> {
    let mut t = value.table()?;
    // Less than a month, and an emergency's review could find nothing to look at.
    let recordings_s = t.must("keep").and_then(|v| v.duration(30 * 86_400..=40 * 365 * 86_400));
    t.finish();
    Some(Keep { line: value.place.line, recordings_s: recordings_s? })
}

fn action(name: At<ActionName>, mut t: Table<'_, '_>) -> Option<Action> {
    let systems = t.must("systems").and_then(|v| v.names());
    let account = t.must("account").and_then(|v| v.name());
    let force_command = t.must("force_command");
    let words = force_command.as_ref().and_then(Value::array);
    let params = optional(t.may("params"), |v| Some(v.table()?.parts()));
    let power = t.must("power").and_then(|v| v.number(1..=100));
    t.finish();
    let (whole, words, params) = (force_command?, words?, params?.unwrap_or_default());
    let argv: Option<Vec<String>> = words.iter().map(|v| v.text().map(str::to_owned)).collect();
    let patterns: Option<BTreeMap<String, String>> =
        params.iter().map(|(name, v)| Some((name.value.to_owned(), v.text()?.to_owned()))).collect();
    let (argv, patterns) = (argv?, patterns?);
    let command = Command::parse(name.value.clone(), &argv, &patterns);
    for fault in command.as_ref().err().into_iter().flatten() {
        let place = match &fault.part {
            CommandPart::Command => None,
            CommandPart::Word(n) => words.get(*n),
            CommandPart::Param(of) => params.iter().find(|(name, _)| name.value == *of).map(|(_, v)| v),
        };
        place.unwrap_or(&whole).finding(fault.code, &fault.message, fault.help.clone());
    }
    Some(Action {
        name: name.value,
        line: name.line,
        systems: systems?,
        account: account?.value,
        command: command.ok()?,
        force_command: argv,
        params: patterns,
        power: power?,
    })
}
