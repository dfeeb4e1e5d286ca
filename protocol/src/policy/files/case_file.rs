//! Reads worked examples: `[[test]]` in `policy.toml`, `[[case]]` in a file of cases.

use super::date::unix;
use super::policy_file::{EXTENSION, PRESENCE, RECORD, severity};
use super::reading::{Reading, Table, Value};
use super::rule_file::signal_words;
use crate::names::GroupName;
use crate::policy::finding::Finding;
use crate::policy::shape::{Case, CaseIncident, Expect, Given};
use crate::policy::{Extension, Presence};

/// Reads a file of `[[case]]`s on its own.
pub(in crate::policy) fn read_file(text: &str) -> Result<Vec<Case>, Vec<Finding>> {
    let reading = Reading::new("cases.toml", text);
    let cases = reading.document().map(|document| {
        let mut root = Table::root(&reading, &document);
        let cases = root.must("case").map(|value| read_cases(&value)).unwrap_or_default();
        root.finish();
        cases
    });
    match (cases, reading.into_findings()) {
        (Some(cases), findings) if findings.is_empty() => Ok(cases),
        (_, findings) => Err(findings),
    }
}

pub(in crate::policy) fn read_cases(value: &Value<'_, '_>) -> Vec<Case> {
    let items = value.array().unwrap_or_default();
    items
        .iter()
        .filter_map(|item| Some((item, item.table()?)))
        .filter_map(|(item, t)| case(item, t))
        .collect()
}

fn case(item: &Value<'_, '_>, mut t: Table<'_, '_>) -> Option<Case> {
    let name = t.may("name").map(|v| v.sentence());
    let given = t.must("given");
    let line = given.as_ref().map_or(item.place.line, |v| v.place.line);
    let given = given.and_then(|v| v.table()).and_then(read_given);
    let expect = t.must("expect").and_then(|v| read_expect(&v));
    t.finish();
    let name = match name {
        Some(name) => Some(name?),
        None => None,
    };
    Some(Case { line, name, given: given?, expect: expect? })
}

fn read_given(mut t: Table<'_, '_>) -> Option<Given> {
    let (system, host) = (t.may("system"), t.may("host"));
    let target = match (&system, &host) {
        (Some(one), None) | (None, Some(one)) => one.name(),
        (Some(_), Some(host)) => {
            host.wrong("a case has a `system` or a `host`, not both", None);
            None
        }
        (None, None) => {
            t.must("system");
            None
        }
    };
    let given_severity = t.may("severity").and_then(|v| severity(&v));
    let claim = t.may("claim").and_then(|v| severity(&v));
    let incident = t.may("incident").map(|v| {
        if given_severity.is_none() {
            v.wrong("an incident needs a `severity`", None);
        }
        v.word(&[
            ("open", CaseIncident::Open),
            ("resolved", CaseIncident::Resolved),
            ("stale", CaseIncident::Stale),
            ("unknown", CaseIncident::Unknown),
            ("elsewhere", CaseIncident::Elsewhere),
        ])
    });
    let on_call = t.may("on_call").map(|v| match v.is_boolean() {
        true => v.boolean(),
        false => v.word(&[("unknown", ())]).and(None),
    });
    let groups = t.may("groups").and_then(|v| v.list(|g| g.name::<GroupName>().map(|g| g.value)));
    let presence = t.may("presence").map(|v| v.word(&PRESENCE));
    let want = t.may("want").and_then(|v| v.name());
    let action = t.may("action").and_then(|v| v.name());
    let params = t.may("params").and_then(|v| v.table()).map(|t| {
        t.parts()
            .into_iter()
            .filter_map(|(name, v)| Some((name.value.to_owned(), v.text()?.to_owned())))
            .collect()
    });
    let seconds = t.may("seconds").and_then(|v| v.number(0..=8));
    let signals = t.may("signals").and_then(|v| v.list(|item| item.word(&signal_words())));
    let extension = t.may("extension").and_then(|v| v.number(0..=16));
    let overdue_reviews = t.may("overdue_reviews").and_then(|v| v.number(0..=200));
    let declared = t.may("declared").and_then(|v| v.number(0..=200));
    let asked = t.may("asked").and_then(|v| v.number(0..=200));
    let for_s = t.may("for").and_then(|v| v.duration(0..=u32::MAX));
    let other_host_open = t.may("other_host_open").and_then(|v| v.boolean());
    let drill = t.may("drill").and_then(|v| v.boolean());
    let at = t.may("at").and_then(|v| unix(&v));
    t.finish();
    let mut groups = groups.unwrap_or_default();
    groups.sort();
    Some(Given {
        target: target?,
        severity: given_severity,
        claim,
        incident: incident.unwrap_or(Some(CaseIncident::Open))?,
        on_call: on_call.unwrap_or(Some(true)),
        groups,
        presence: presence.unwrap_or(Some(Presence::Verified))?,
        want,
        action,
        params: sorted_params(params.unwrap_or_default()),
        seconds: seconds.unwrap_or(0),
        signals: signals.unwrap_or_default(),
        extension: extension.unwrap_or(0),
        overdue_reviews: overdue_reviews.unwrap_or(0),
        declared: declared.unwrap_or(0),
        asked: asked.unwrap_or(0),
        for_s,
        other_host_open: other_host_open.unwrap_or(false),
        drill: drill.unwrap_or(false),
        at: at.unwrap_or(0),
    })
}

fn sorted_params(mut params: Vec<(String, String)>) -> Vec<(String, String)> {
    params.sort();
    params
}

fn read_expect(value: &Value<'_, '_>) -> Option<Expect> {
    let mut t = value.table()?;
    if t.parts().is_empty() {
        value.wrong("a case that expects nothing shows nothing", None);
    }
    let tier = t.may("tier").map(|v| if v.text()? == "deny" { Some(None) } else { v.name().map(Some) });
    let meanwhile = t.may("meanwhile").and_then(|v| v.name());
    let approvals = t.may("approvals").and_then(|v| v.number(0..=8));
    let from = t.may("from").and_then(|v| v.list(|g| g.name::<GroupName>().map(|g| g.value)));
    let lifetime_s = t.may("ttl").and_then(|v| v.duration(0..=u32::MAX));
    let awaits = t.may("awaits").and_then(|v| v.number(0..=8));
    let command = t.may("command").and_then(|v| v.text().map(str::to_owned));
    let account = t.may("account").and_then(|v| v.name());
    let extensions = t.may("extensions").and_then(|v| v.list(|item| item.word(&EXTENSION)));
    let record = t.may("record").and_then(|v| v.word(&RECORD));
    let band = t.may("band").and_then(|v| v.sentence());
    let severity = t.may("severity").and_then(|v| severity(&v));
    let refused = t.may("refused").and_then(|v| v.some(Value::sentence));
    let smaller = t.may("smaller").and_then(|v| v.name());
    t.finish();
    let sorted = |mut list: Vec<GroupName>| {
        list.sort();
        list
    };
    let sorted_extensions = |mut list: Vec<Extension>| {
        list.sort();
        list
    };
    Some(Expect {
        tier: match tier {
            Some(tier) => Some(tier?),
            None => None,
        },
        meanwhile,
        approvals,
        from: from.map(sorted),
        lifetime_s,
        awaits,
        command,
        account: account.map(|at| at.value),
        extensions: extensions.map(sorted_extensions),
        record,
        band,
        severity,
        refused,
        smaller,
    })
}
