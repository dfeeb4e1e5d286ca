//! Reads `[[rule]]` and `[[exception]]` of `policy.toml`: when they apply, what they add or choose.

use super::date::unix;
use super::policy_file::{PRESENCE, RECORD, addresses, extensions, optional, quorum, severity, ttl};
use super::reading::{Table, Value};
use crate::names::RuleId;
use crate::policy::Signal;
use crate::policy::shape::{Exception, Rule, Tightening, When};

pub(in crate::policy) fn rule(mut t: Table<'_, '_>) -> Option<Rule> {
    let id = t.must("id").and_then(|v| v.name::<RuleId>());
    let condition = t.must("when").and_then(|v| when(&v, true));
    let add = t.must("add").and_then(|v| tightening(&v));
    let why = t.must("why").and_then(|v| v.sentence());
    t.finish();
    let id = id?;
    Some(Rule { line: id.line, id: id.value, when: condition?, add: add?, why: why? })
}

pub(in crate::policy) fn exception(mut t: Table<'_, '_>) -> Option<Exception> {
    let id = t.must("id").and_then(|v| v.name::<RuleId>());
    let condition = t.must("when").and_then(|v| when(&v, false));
    let tier = t.must("tier").and_then(|v| v.name());
    let owner = t.must("owner").and_then(|v| v.name());
    let from = t.must("from").and_then(|v| unix(&v));
    let end = t.must("until");
    let until = end.as_ref().and_then(unix);
    let why = t.must("why").and_then(|v| v.sentence());
    if let (Some(from), Some(until), Some(end)) = (from, until, &end)
        && until <= from
    {
        end.finding("exception.never", "it ends before it begins", None);
    }
    t.finish();
    let id = id?;
    Some(Exception {
        line: id.line,
        id: id.value,
        when: condition?,
        tier: tier?,
        owner: owner?,
        from: from?,
        until: until?,
        why: why?,
    })
}

/// The signals that a rule may use, as it spells them.
pub(in crate::policy) fn signal_words() -> [(&'static str, Signal); 8] {
    Signal::IN_RULES.map(|signal| (signal.as_str(), signal))
}

fn when(value: &Value<'_, '_>, of_rule: bool) -> Option<When> {
    let mut t = value.table()?;
    let on_call = optional(t.may("on_call"), Value::boolean);
    let systems = optional(t.may("systems"), Value::names);
    let tiers = optional(if of_rule { t.may("tiers") } else { None }, Value::names);
    let severities = optional(t.may("severities"), |v| v.some(severity));
    let one_host = optional(t.may("scope"), |v| v.word(&[("host", true), ("system", false)]));
    let groups = optional(t.may("groups"), Value::names);
    let outside = optional(t.may("outside"), Value::names);
    let triggers = optional(t.may("triggers"), Value::names);
    let drill = optional(t.may("drill"), Value::boolean);
    let mut of_rules = |key| if of_rule { t.may(key) } else { None };
    let signals = optional(of_rules("signals"), |v| v.some(|item| item.word(&signal_words())));
    let extension = optional(of_rules("extension"), |v| v.number(1..=16));
    let overdue_reviews = optional(of_rules("overdue_reviews"), |v| v.number(1..=200));
    t.finish();
    Some(When {
        on_call: on_call?,
        systems: systems?,
        tiers: tiers?,
        severities: severities?,
        one_host: one_host?,
        groups: groups?,
        outside: outside?,
        triggers: triggers?,
        drill: drill?,
        signals: signals?,
        extension: extension?,
        overdue_reviews: overdue_reviews?,
    })
}

fn tightening(value: &Value<'_, '_>) -> Option<Tightening> {
    let mut t = value.table()?;
    let deny = optional(t.may("deny"), |v| match v.boolean()? {
        true => Some(true),
        false => {
            v.wrong("a rule can deny, it cannot undo a denial", Some("leave it out".into()));
            None
        }
    });
    let approvals = optional(t.may("approvals"), |v| quorum(v, false));
    let also = optional(t.may("also"), |v| quorum(v, true));
    let ttl_s = optional(t.may("ttl"), ttl);
    let extensions = optional(t.may("extensions"), extensions);
    let source_address = optional(t.may("source_address"), addresses);
    let presence = optional(t.may("presence"), |v| v.word(&PRESENCE));
    let record = optional(t.may("record"), |v| v.word(&RECORD));
    let krl_max_age_s = optional(t.may("krl_max_age"), |v| v.duration(60..=86_400));
    if t.parts().is_empty() {
        value.finding("rule.empty", "this rule tightens nothing", None);
    }
    t.finish();
    Some(Tightening {
        deny: deny?.unwrap_or(false),
        approvals: approvals?,
        also: also?,
        ttl_s: ttl_s?,
        extensions: extensions?,
        source_address: source_address?,
        presence: presence?,
        record: record?,
        krl_max_age_s: krl_max_age_s?,
    })
}
