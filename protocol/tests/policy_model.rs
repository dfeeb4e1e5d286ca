//! `decide` against a model that is slow and obvious, on random small bundles and random facts. The
//! model shares nothing with the code but the types of question and answer: it knows the bundle from the
//! dice that wrote the TOML, not from reading it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;

use fireaxe_protocol::names::Severity;
use fireaxe_protocol::policy::{
    Bundle, Decision, Facts, IncidentFact, IncidentState, Outcome, Presence, Signals, Target, Terms, Want,
    check, decide,
};
use proptest::prelude::*;

const GROUPS: [&str; 3] = ["red", "green", "blue"];
const PRESENCE: [&str; 3] = ["none", "touch", "verified"];
const RECORD: [&str; 3] = ["none", "best-effort", "required"];
const EXTENSIONS: [&str; 2] = ["port-forwarding", "pty"];

/// Random choices, from bytes; runs out into zeroes, so that shorter is simpler.
struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % n
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }
    fn maybe<T>(&mut self, n: usize, of: impl FnOnce(&mut Dice) -> T) -> Option<T> {
        self.one_in(n).then(|| of(self))
    }
    fn some_of(&mut self, n: usize) -> BTreeSet<usize> {
        let bits = 1 + self.below((1 << n) - 1);
        (0..n).filter(|i| bits >> i & 1 == 1).collect()
    }
}

#[derive(Debug, Clone)]
struct MTier {
    power: u8,
    presence: usize,
    ttl: u32,
    record: usize,
    extensions: BTreeSet<usize>,
    approvals: Option<(u8, BTreeSet<usize>)>,
    meanwhile: Option<usize>,
}

#[derive(Debug, Clone, Default)]
struct MWhen {
    on_call: Option<bool>,
    system: Option<usize>,
    tiers: Option<BTreeSet<usize>>,
    severities: Option<BTreeSet<usize>>,
    one_host: Option<bool>,
    outside: Option<usize>,
    group: Option<usize>,
    drill: Option<bool>,
}

#[derive(Debug, Clone)]
struct MRule {
    when: MWhen,
    deny: bool,
    count: Option<u8>,
    from: Option<BTreeSet<usize>>,
    ttl: Option<u32>,
    presence: Option<usize>,
    record: Option<usize>,
    extensions: Option<BTreeSet<usize>>,
}

#[derive(Debug, Clone)]
struct MException {
    when: MWhen,
    tier: usize,
}

#[derive(Debug, Clone)]
struct Model {
    cap: u8,
    systems: [(u8, u8); 2],
    limits: [u8; 2],
    /// Three rows by severity 4, 3, 2, 1; 0 is deny, n is tier n - 1.
    rows: [[usize; 4]; 3],
    tiers: Vec<MTier>,
    rules: Vec<MRule>,
    exceptions: Vec<MException>,
}

fn roll_when(d: &mut Dice, tiers: usize, of_rule: bool) -> MWhen {
    MWhen {
        on_call: d.maybe(3, |d| d.one_in(2)),
        system: d.maybe(3, |d| d.below(2)),
        tiers: if of_rule { d.maybe(2, |d| d.some_of(tiers)) } else { None },
        severities: d.maybe(3, |d| d.some_of(4)),
        one_host: d.maybe(4, |d| d.one_in(2)),
        outside: d.maybe(4, |d| d.below(3)),
        group: d.maybe(4, |d| d.below(3)),
        drill: d.maybe(4, |d| d.one_in(2)),
    }
}

fn roll(d: &mut Dice) -> Model {
    let tiers: Vec<MTier> = (0..4)
        .map(|_| MTier {
            power: 1 + d.below(3) as u8,
            presence: d.below(3),
            ttl: 60 * (1 + d.below(60) as u32),
            record: d.below(3),
            extensions: (0..2).filter(|_| d.one_in(2)).collect(),
            approvals: d.maybe(2, |d| (1 + d.below(2) as u8, d.some_of(3))),
            meanwhile: None,
        })
        .collect();
    let mut tiers = tiers;
    for tier in &mut tiers {
        if tier.approvals.is_some() {
            tier.meanwhile = d.maybe(2, |d| d.below(4));
        }
    }
    let mut rows = [[0; 4]; 3];
    let sorted = d.one_in(2);
    for row in &mut rows {
        row.iter_mut().for_each(|cell| *cell = d.below(5));
        if sorted {
            row.sort_by_key(|cell| cell.checked_sub(1).map_or(0, |n| tiers[n].power));
        }
    }
    // Every tier stands somewhere, or the bundle is refused.
    for n in 1..=4 {
        if !rows.iter().flatten().any(|cell| *cell == n) {
            rows[d.below(3)][n - 1] = n;
        }
    }
    for n in 1..=4 {
        if !rows.iter().flatten().any(|cell| *cell == n) {
            rows[0] = [1, 2, 3, 4];
        }
    }
    let rules = (0..d.below(4))
        .map(|_| {
            let when = roll_when(d, 4, true);
            let count = d.maybe(2, |d| 1 + d.below(3) as u8);
            MRule {
                when,
                deny: d.one_in(8),
                count,
                from: count.and_then(|_| d.maybe(2, |d| d.some_of(3))),
                ttl: Some(60 * (1 + d.below(60) as u32)),
                presence: d.maybe(3, |d| d.below(3)),
                record: d.maybe(3, |d| d.below(3)),
                extensions: d.maybe(3, |d| (0..2).filter(|_| d.one_in(2)).collect()),
            }
        })
        .collect();
    let exceptions =
        (0..d.below(3)).map(|_| MException { when: roll_when(d, 4, false), tier: d.below(4) }).collect();
    let low = 1 + d.below(7) as u8;
    Model {
        cap: 1 + d.below(4) as u8,
        systems: [(1 + d.below(4) as u8, 1 + d.below(4) as u8), (1 + d.below(4) as u8, 1 + d.below(4) as u8)],
        limits: [low, low + 1 + d.below(7) as u8],
        rows,
        tiers,
        rules,
        exceptions,
    }
}

fn words(set: &BTreeSet<usize>, of: &[&str]) -> String {
    let words: Vec<String> = set.iter().map(|n| format!("\"{}\"", of[*n])).collect();
    format!("[{}]", words.join(", "))
}

fn write_when(when: &MWhen) -> String {
    let mut parts = Vec::new();
    parts.extend(when.on_call.map(|b| format!("on_call = {b}")));
    parts.extend(when.system.map(|n| format!("systems = [\"s{n}\"]")));
    parts.extend(when.tiers.as_ref().map(|t| format!("tiers = {}", words(t, &["t0", "t1", "t2", "t3"]))));
    parts.extend(when.severities.as_ref().map(|s| {
        let list: Vec<String> = s.iter().map(|n| (n + 1).to_string()).collect();
        format!("severities = [{}]", list.join(", "))
    }));
    parts.extend(when.one_host.map(|one| format!("scope = \"{}\"", if one { "host" } else { "system" })));
    parts.extend(when.outside.map(|n| format!("outside = [\"{}\"]", GROUPS[n])));
    parts.extend(when.group.map(|n| format!("groups = [\"{}\"]", GROUPS[n])));
    parts.extend(when.drill.map(|b| format!("drill = {b}")));
    format!("{{ {} }}", parts.join(", "))
}

fn write(model: &Model) -> String {
    let mut out = String::from("version = 1\n");
    let _ = writeln!(out, "[trigger.manual]\nseverity_cap = {}", model.cap);
    out += "[trigger.tracker]\nids = \"pd\"\nmax_age = \"1h\"\nseverity = { default = 4 }\n";
    for (n, (sensitivity, blast)) in model.systems.iter().enumerate() {
        let _ = writeln!(out, "[system.s{n}]\nhosts = [\"h-*.s{n}.prod\"]\nsensitivity = {sensitivity}");
        let _ = writeln!(out, "blast = {blast}\nowner = \"red\"\non_call = \"green\"");
    }
    let [low, medium] = model.limits;
    let _ = writeln!(out, "[risk]\nbands = {{ b0 = {low}, b1 = {medium}, b2 = 16 }}");
    for (n, row) in model.rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().map(|c| if *c == 0 { "\"deny\"".into() } else { format!("\"t{}\"", c - 1) }).collect();
        let _ = writeln!(out, "b{n} = [{}]", cells.join(", "));
    }
    for (n, t) in model.tiers.iter().enumerate() {
        let _ = writeln!(out, "[tier.t{n}]\npower = {}\naccount = \"acc{n}\"\nttl = \"{}s\"", t.power, t.ttl);
        let _ = writeln!(out, "presence = \"{}\"\nrecord = \"{}\"", PRESENCE[t.presence], RECORD[t.record]);
        let _ = writeln!(out, "extensions = {}", words(&t.extensions, &EXTENSIONS));
        if let Some((count, from)) = &t.approvals {
            let _ = writeln!(out, "approvals = {{ count = {count}, from = {} }}", words(from, &GROUPS));
        }
        if let Some(m) = t.meanwhile {
            let _ = writeln!(out, "meanwhile = \"t{m}\"");
        }
    }
    for (n, rule) in model.rules.iter().enumerate() {
        let mut add = Vec::new();
        add.extend(rule.deny.then(|| "deny = true".to_owned()));
        add.extend(rule.count.map(|count| match &rule.from {
            None => format!("approvals = {count}"),
            Some(from) => format!("approvals = {{ count = {count}, from = {} }}", words(from, &GROUPS)),
        }));
        add.extend(rule.ttl.map(|s| format!("ttl = \"{s}s\"")));
        add.extend(rule.presence.map(|p| format!("presence = \"{}\"", PRESENCE[p])));
        add.extend(rule.record.map(|r| format!("record = \"{}\"", RECORD[r])));
        add.extend(rule.extensions.as_ref().map(|e| format!("extensions = {}", words(e, &EXTENSIONS))));
        let (when, add) = (write_when(&rule.when), add.join(", "));
        let _ = writeln!(out, "[[rule]]\nid = \"r{n}\"\nwhen = {when}\nadd = {{ {add} }}\nwhy = \"because\"");
    }
    for (n, e) in model.exceptions.iter().enumerate() {
        let when = write_when(&e.when);
        let _ = writeln!(
            out,
            "[[exception]]\nid = \"e{n}\"\nwhen = {when}\ntier = \"t{}\"\nowner = \"red\"",
            e.tier
        );
        out += "from = 2026-01-01\nuntil = 2026-01-02\nwhy = \"because\"\n";
    }
    out
}

/// Three people in all groups, so that any quorum of up to three can be met.
fn roster() -> &'static str {
    static ROSTER: OnceLock<String> = OnceLock::new();
    ROSTER.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/default/roster.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let keys = text.split('"').filter(|part| part.starts_with("ssh-ed25519 "));
        let people = ["ana", "ben", "cleo"].into_iter().zip(keys);
        people
            .map(|(name, key)| {
                format!("[person.{name}]\ngroups = [\"red\", \"green\", \"blue\"]\nkeys = [\"{key}\"]\n")
            })
            .collect()
    })
}

const DAY: u64 = 1_767_225_600; // 2026-01-01

fn severity(number: u8) -> Severity {
    Severity::try_from(number).unwrap()
}

fn roll_facts(d: &mut Dice) -> Facts {
    let system = d.below(2);
    let one_host = d.one_in(2);
    let presence = [Presence::None, Presence::Touch, Presence::Verified][d.below(3)];
    let mut groups: Vec<_> = GROUPS.iter().filter(|_| d.one_in(2)).map(|g| g.parse().unwrap()).collect();
    groups.sort();
    let incident = d.maybe(2, |d| {
        let known = !d.one_in(6);
        let state = if d.one_in(6) { IncidentState::Resolved } else { IncidentState::Open };
        IncidentFact {
            id: if d.one_in(8) { "other:X" } else { "pd:X" }.parse().unwrap(),
            state: known.then_some(state),
            severity: known.then(|| severity(1 + d.below(4) as u8)),
            systems: vec![
                if d.one_in(8) { "elsewhere".parse() } else { format!("s{system}").parse() }.unwrap(),
            ],
            age_s: if d.one_in(8) { 3601 } else { 3600 },
        }
    });
    Facts {
        at: [DAY - 1, DAY, DAY + 86_399, DAY + 86_400][d.below(4)],
        person: "ana".parse().unwrap(),
        groups,
        presence,
        target: Target {
            system: format!("s{system}").parse().unwrap(),
            host: one_host.then(|| format!("h-1.s{system}.prod").parse().unwrap()),
        },
        severity: d.maybe(2, |d| severity(1 + d.below(4) as u8)),
        incident,
        on_call: [Some(true), Some(false), None][d.below(3)],
        other_host_open: d.one_in(4),
        open_incidents: vec![],
        want: d.maybe(3, |d| Want::Tier(format!("t{}", d.below(5)).parse().unwrap())),
        for_s: d.maybe(3, |d| 30 * d.below(130) as u32),
        drill: d.one_in(4),
        seconds: vec![],
        extension: 0,
        network: None,
        reviews_overdue: 0,
        signals: Signals::default(),
    }
}

/// What the model answers: comparable with the code's answer, nothing more.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Permit(Given),
    Wait(Given, Option<Given>),
    /// Codes, and (severity, want, what it gives).
    No(Vec<&'static str>, Option<(Option<u8>, Option<String>, Given)>),
}

#[derive(Debug, Clone, PartialEq)]
struct Given {
    tier: usize,
    power: u8,
    ttl: u32,
    presence: usize,
    record: usize,
    extensions: BTreeSet<usize>,
    approvals: Option<(u8, BTreeSet<usize>)>,
}

impl Model {
    fn applies(&self, w: &MWhen, f: &Facts, sevs: &[u8], tier: Option<usize>, unknown_meets: bool) -> bool {
        let system = usize::from(f.target.system.as_str() == "s1");
        let is_in = |n: usize| f.groups.iter().any(|g| g.as_str() == GROUPS[n]);
        let mut yes = true;
        if let Some(wanted) = w.on_call {
            yes &= match f.on_call {
                Some(known) => known == wanted,
                None => unknown_meets,
            };
        }
        if let Some(n) = w.system {
            yes &= n == system;
        }
        if let (Some(tiers), Some(tier)) = (&w.tiers, tier) {
            yes &= tiers.contains(&tier);
        }
        if let Some(list) = &w.severities {
            yes &= sevs.iter().any(|s| list.contains(&(usize::from(*s) - 1)));
        }
        if let Some(one) = w.one_host {
            yes &= one == f.target.host.is_some();
        }
        if let Some(n) = w.outside {
            yes &= !is_in(n);
        }
        if let Some(n) = w.group {
            yes &= is_in(n);
        }
        if let Some(drill) = w.drill {
            yes &= drill == f.drill;
        }
        yes
    }

    /// The tier under the rules for both severities, and why it cannot be had.
    fn give(&self, f: &Facts, tier: usize, sevs: &[u8]) -> (Given, Vec<&'static str>) {
        let t = &self.tiers[tier];
        let mut g = Given {
            tier,
            power: t.power,
            ttl: t.ttl,
            presence: t.presence,
            record: t.record,
            extensions: t.extensions.clone(),
            approvals: None,
        };
        let mut no = vec![];
        let mut counts: Vec<u8> = t.approvals.iter().map(|(c, _)| *c).collect();
        let mut froms: Vec<BTreeSet<usize>> = t.approvals.iter().map(|(_, f)| f.clone()).collect();
        for r in self.rules.iter().filter(|r| self.applies(&r.when, f, sevs, Some(tier), true)) {
            if r.deny {
                no.push("rule.denied");
            }
            counts.extend(r.count);
            froms.extend(r.from.clone());
            g.ttl = g.ttl.min(r.ttl.unwrap_or(u32::MAX));
            g.presence = g.presence.max(r.presence.unwrap_or(0));
            g.record = g.record.max(r.record.unwrap_or(0));
            if let Some(only) = &r.extensions {
                g.extensions = g.extensions.intersection(only).copied().collect();
            }
        }
        if let Some(count) = counts.into_iter().max() {
            let all: BTreeSet<usize> = if froms.is_empty() { [0, 1].into() } else { [0, 1, 2].into() };
            let from: BTreeSet<usize> =
                all.into_iter().filter(|g| froms.iter().all(|from| from.contains(g))).collect();
            if from.is_empty() {
                no.push("approvals.nobody");
            }
            g.approvals = Some((count, from));
        }
        (g, no)
    }

    fn row(&self, f: &Facts) -> [usize; 4] {
        let (sensitivity, blast) = self.systems[usize::from(f.target.system.as_str() == "s1")];
        let discounted = f.target.host.is_some() && !f.other_host_open && blast > 1;
        let product = sensitivity * if discounted { blast - 1 } else { blast };
        if product <= self.limits[0] {
            self.rows[0]
        } else if product <= self.limits[1] {
            self.rows[1]
        } else {
            self.rows[2]
        }
    }

    /// (tier, the severity whose cell it stands in), the own cell first if it gives anything.
    fn menu(&self, f: &Facts, sev: u8) -> (bool, Vec<(usize, u8)>) {
        let row = self.row(f);
        let cell = |s: u8| row[usize::from(4 - s)].checked_sub(1);
        let in_force = (DAY..DAY + 86_400).contains(&f.at);
        let exceptions = self.exceptions.iter().enumerate();
        let exception = exceptions
            .filter(|(_, e)| in_force && self.applies(&e.when, f, &[sev], None, false))
            .min_by_key(|(n, e)| (self.tiers[e.tier].power, *n))
            .map(|(_, e)| e.tier);
        let own = exception.or(cell(sev));
        let mut menu: Vec<(usize, u8)> = own.map(|t| (t, sev)).into_iter().collect();
        for s in sev + 1..=4 {
            if let Some(t) = cell(s).filter(|t| menu.iter().all(|(seen, _)| seen != t)) {
                menu.push((t, s));
            }
        }
        (own.is_some(), menu)
    }

    fn free(&self, f: &Facts, sev: u8, entry: (usize, u8)) -> Option<Given> {
        let (mut g, no) = self.give(f, entry.0, &[sev, entry.1]);
        let enough = f.presence as usize >= g.presence;
        if !no.is_empty() || g.approvals.is_some() || !enough {
            return None;
        }
        g.ttl = g.ttl.min(f.for_s.unwrap_or(u32::MAX).max(60));
        Some(g)
    }

    fn smaller(&self, f: &Facts, sev: u8, say: bool) -> Option<(Option<u8>, Option<String>, Given)> {
        let (own, menu) = self.menu(f, sev);
        let asked = match &f.want {
            Some(Want::Tier(name)) => Some(name.as_str().to_owned()),
            _ => None,
        };
        let start = menu.iter().position(|(t, _)| asked == Some(format!("t{t}"))).unwrap_or(0);
        for (n, entry) in menu.iter().enumerate().skip(start) {
            if let Some(g) = self.free(f, sev, *entry) {
                let name = format!("t{}", g.tier);
                let same = match &asked {
                    Some(asked) => *asked == name,
                    None => own && n == 0,
                };
                return Some((say.then_some(sev), (!same).then_some(name), g));
            }
        }
        None
    }

    fn decide(&self, f: &Facts) -> Answer {
        let mut no: Vec<&'static str> = vec![];
        let asked = match &f.want {
            Some(Want::Tier(name)) => Some(name.as_str().to_owned()),
            _ => None,
        };
        if asked.as_deref() == Some("t4") {
            no.push("want.unknown");
        }
        if f.for_s.is_some_and(|s| s < 60) {
            no.push("lifetime.too_short");
        }
        // How bad.
        let claim = f.severity.map(Severity::number);
        let mut lame = None;
        let mut incident = None;
        if let Some(i) = &f.incident {
            lame = if i.id.prefix() != "pd" {
                Some("incident.no_trigger")
            } else if i.state.is_none() {
                Some("incident.unknown")
            } else if i.state == Some(IncidentState::Resolved) {
                Some("incident.resolved")
            } else if i.age_s > 3600 {
                Some("incident.stale")
            } else if i.systems[0] != f.target.system {
                Some("incident.other_system")
            } else {
                incident = i.severity.map(Severity::number);
                None
            };
        }
        let sev = match (incident, claim) {
            (Some(i), Some(c)) if c < i => {
                no.push("severity.above_incident");
                return Answer::No(no, self.smaller(f, i, true));
            }
            (Some(i), c) => c.unwrap_or(i),
            (None, Some(c)) if c < self.cap => {
                no.extend(lame);
                no.push("severity.above_cap");
                return Answer::No(no, self.smaller(f, self.cap, true));
            }
            (None, Some(c)) => c,
            (None, None) => {
                no.extend(lame);
                no.push("severity.missing");
                return Answer::No(no, self.smaller(f, self.cap, true));
            }
        };
        // What.
        let (own, menu) = self.menu(f, sev);
        let chosen = match &asked {
            Some(asked) => menu.iter().position(|(t, _)| *asked == format!("t{t}")),
            None => own.then_some(0),
        };
        let Some(n) = chosen else {
            match asked.as_deref() {
                Some("t4") => {}
                Some(_) => no.push("want.not_given"),
                None => no.push("risk.denied"),
            }
            return Answer::No(no, self.smaller(f, sev, false));
        };
        let (mut g, denied) = self.give(f, menu[n].0, &[sev, menu[n].1]);
        no.extend(denied);
        if f.for_s.is_some_and(|s| s > g.ttl) {
            no.push("lifetime.above_tier");
        }
        if (f.presence as usize) < g.presence {
            no.push("presence.insufficient");
        }
        if !no.is_empty() {
            return Answer::No(no, self.smaller(f, sev, false));
        }
        g.ttl = f.for_s.unwrap_or(g.ttl);
        if g.approvals.is_none() {
            return Answer::Permit(g);
        }
        let after = |m: usize| menu.iter().position(|(t, _)| *t == m).filter(|k| *k > n);
        let start = self.tiers[g.tier].meanwhile.and_then(after).unwrap_or(n + 1);
        let meanwhile = menu
            .iter()
            .skip(start)
            .filter(|(t, _)| self.tiers[*t].power <= g.power)
            .find_map(|entry| self.free(f, sev, *entry));
        Answer::Wait(g, meanwhile)
    }
}

fn given(terms: &Terms) -> Given {
    let group = |name: &str| GROUPS.iter().position(|g| *g == name).unwrap();
    assert!(terms.approvals.len() <= 1);
    assert_eq!(terms.principals.len(), 1);
    assert_eq!(terms.principals[0].account, terms.account);
    Given {
        tier: terms.tier.as_str()[1..].parse().unwrap(),
        power: terms.power,
        ttl: terms.lifetime_s,
        presence: terms.presence as usize,
        record: terms.record as usize,
        extensions: terms.extensions.iter().map(|e| *e as usize).collect(),
        approvals: terms
            .approvals
            .first()
            .map(|a| (a.count, a.from.iter().map(|g| group(g.as_str())).collect())),
    }
}

fn answer(decision: &Decision) -> Answer {
    const CODES: [&str; 17] = [
        "want.unknown",
        "lifetime.too_short",
        "incident.no_trigger",
        "incident.unknown",
        "incident.resolved",
        "incident.stale",
        "incident.other_system",
        "severity.above_incident",
        "severity.above_cap",
        "severity.missing",
        "want.not_given",
        "risk.denied",
        "rule.denied",
        "approvals.nobody",
        "lifetime.above_tier",
        "presence.insufficient",
        "",
    ];
    match &decision.outcome {
        Outcome::Permit(terms) => Answer::Permit(given(terms)),
        Outcome::NeedsApproval { full, meanwhile, .. } => {
            Answer::Wait(given(full), meanwhile.as_ref().map(given))
        }
        Outcome::Refuse { reasons, smaller } => {
            assert!(!reasons.is_empty(), "a refusal without a reason");
            let code =
                |code: &str| *CODES.iter().find(|known| **known == code).unwrap_or_else(|| panic!("{code}"));
            Answer::No(
                reasons.iter().map(|reason| code(&reason.code)).collect(),
                smaller.as_ref().map(|s| {
                    let want = s.want.as_ref().map(|w| w.to_string());
                    (s.severity.map(Severity::number), want, given(&s.terms))
                }),
            )
        }
    }
}

fn world(bytes: Vec<u8>) -> (Model, Bundle, Facts) {
    let mut dice = Dice(bytes.into_iter());
    let facts = roll_facts(&mut dice);
    let model = roll(&mut dice);
    let text = write(&model);
    let bundle = Bundle::parse(&text, roster()).unwrap_or_else(|f| panic!("{text}\n{f:#?}"));
    (model, bundle, facts)
}

/// Whether `a` controls at least as much as `b`, whatever tier.
fn at_least_as_tight(a: &Given, b: &Given) -> bool {
    let approvals = match (&a.approvals, &b.approvals) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some((m, f)), Some((n, g))) => m >= n && f.is_subset(g),
    };
    approvals
        && a.presence >= b.presence
        && a.record >= b.record
        && a.ttl <= b.ttl
        && a.extensions.is_subset(&b.extensions)
}

fn full(answer: &Answer) -> Option<&Given> {
    match answer {
        Answer::Permit(g) | Answer::Wait(g, _) => Some(g),
        Answer::No(..) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decide_agrees_with_the_model(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (model, bundle, facts) = world(bytes);
        let decision = decide(&bundle.policy, &facts);
        prop_assert_eq!(answer(&decision), model.decide(&facts), "{}\n{:#?}", write(&model), facts);
        // Pure, and recorded whole: the entry's JSON says the same.
        prop_assert_eq!(&decide(&bundle.policy, &facts), &decision);
        let json = serde_json::to_string(&decision).unwrap();
        prop_assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), decision);
    }

    #[test]
    fn the_smaller_request_of_a_refusal_is_granted_and_gives_what_it_said(
        bytes in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let (_, bundle, mut facts) = world(bytes);
        if let Outcome::Refuse { smaller: Some(smaller), .. } = decide(&bundle.policy, &facts).outcome {
            facts.severity = smaller.severity.or(facts.severity);
            facts.want = smaller.want.map(Want::Tier).or(facts.want);
            facts.for_s = Some(smaller.terms.lifetime_s);
            let again = decide(&bundle.policy, &facts).outcome;
            prop_assert_eq!(again, Outcome::Permit(smaller.terms));
        }
    }

    #[test]
    fn nothing_gives_more_than_the_row_does_at_this_severity_or_a_milder_one(
        bytes in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let (mut model, _, facts) = world(bytes);
        model.exceptions.clear();
        let bundle = Bundle::parse(&write(&model), roster()).unwrap();
        let decision = decide(&bundle.policy, &facts);
        let all = match &decision.outcome {
            Outcome::Permit(terms) => vec![terms],
            Outcome::NeedsApproval { full, meanwhile, .. } => std::iter::once(full).chain(meanwhile).collect(),
            Outcome::Refuse { .. } => vec![],
        };
        for terms in all {
            let severity = decision.severity.unwrap().number();
            let row = model.row(&facts);
            let tier = given(terms).tier + 1;
            prop_assert!((severity..=4).any(|s| row[usize::from(4 - s)] == tier));
            prop_assert!(facts.for_s.is_none_or(|for_s| terms.lifetime_s <= for_s));
            prop_assert!(facts.presence >= terms.presence);
        }
    }

    #[test]
    fn asking_for_less_never_sheds_a_control(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut model, _, mut facts) = world(bytes);
        model.exceptions.clear();
        let bundle = Bundle::parse(&write(&model), roster()).unwrap();
        (facts.for_s, facts.presence) = (None, Presence::Verified);
        let asked = answer(&decide(&bundle.policy, &facts));
        let (Some(Want::Tier(want)), Some(asked)) = (facts.want.clone(), full(&asked)) else { return Ok(()) };
        let row = model.row(&facts);
        let now = decide(&bundle.policy, &facts).severity.unwrap().number();
        let tier: usize = want.as_str()[1..].parse().unwrap();
        let Some(milder) = (now..=4).find(|s| row[usize::from(4 - s)] == tier + 1) else { return Ok(()) };
        // The same tier, had by saying that it is milder.
        (facts.want, facts.severity) = (None, Some(severity(milder)));
        let honest = answer(&decide(&bundle.policy, &facts));
        let Some(honest) = full(&honest) else {
            return Err(TestCaseError::fail("a tier that is denied at its own severity"));
        };
        prop_assert!(at_least_as_tight(asked, honest), "{asked:?} {honest:?}");
    }

    #[test]
    fn worse_severity_never_gives_less_power_once_check_is_content(
        bytes in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let (mut model, _, mut facts) = world(bytes);
        (model.exceptions, model.rules) = (vec![], vec![]);
        let bundle = Bundle::parse(&write(&model), roster()).unwrap();
        let falls = |row: &[usize; 4]| {
            let power: Vec<u8> =
                row.iter().map(|c| c.checked_sub(1).map_or(0, |n| model.tiers[n].power)).collect();
            power.windows(2).any(|pair| pair[0] > pair[1])
        };
        let found = check(&bundle).findings.iter().any(|finding| finding.code == "row.not_monotone");
        prop_assert_eq!(found, model.rows.iter().any(falls));
        if found {
            return Ok(());
        }
        (facts.want, facts.for_s, facts.presence, facts.severity) = (None, None, Presence::Verified, None);
        let mut before = 0;
        for number in [4, 3, 2, 1] {
            facts.incident = Some(IncidentFact {
                id: "pd:X".parse().unwrap(),
                state: Some(IncidentState::Open),
                severity: Some(severity(number)),
                systems: vec![facts.target.system.clone()],
                age_s: 0,
            });
            let power = full(&answer(&decide(&bundle.policy, &facts))).map_or(0, |given| given.power);
            prop_assert!(power >= before, "severity {number}");
            before = power;
        }
    }

    #[test]
    fn nobody_gains_by_on_call_being_unknown(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut model, _, mut facts) = world(bytes);
        model.exceptions.clear();
        let bundle = Bundle::parse(&write(&model), roster()).unwrap();
        facts.on_call = None;
        let unknown = answer(&decide(&bundle.policy, &facts));
        for known in [true, false] {
            facts.on_call = Some(known);
            let known = answer(&decide(&bundle.policy, &facts));
            if let Some(unknown) = full(&unknown) {
                let Some(known) = full(&known) else {
                    return Err(TestCaseError::fail("given when unknown, refused when known"));
                };
                prop_assert!(at_least_as_tight(unknown, known));
            }
        }
    }

    #[test]
    fn the_order_of_rules_does_not_matter(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut model, bundle, facts) = world(bytes);
        model.rules.reverse();
        let reversed = Bundle::parse(&write(&model), roster()).unwrap();
        let (a, b) = (answer(&decide(&bundle.policy, &facts)), answer(&decide(&reversed.policy, &facts)));
        prop_assert_eq!(a, b);
    }

    #[test]
    fn no_text_makes_the_reader_panic(policy in "\\PC*", roster in "\\PC*") {
        let _ = Bundle::parse(&policy, &roster);
    }

    #[test]
    fn no_damage_to_a_bundle_makes_the_reader_panic(
        at in any::<prop::sample::Index>(), with in "[\\x00-\\x7f\u{e9}\u{1f600}]{0,4}", cut in 0usize..40
    ) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/cases/strict/policy.toml");
        static TEXT: OnceLock<String> = OnceLock::new();
        let text = TEXT.get_or_init(|| std::fs::read_to_string(path).unwrap());
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        let damaged = format!("{}{with}{}", &text[..at], &text[end..]);
        if let Ok(bundle) = Bundle::parse(&damaged, roster()) {
            let _ = check(&bundle);
        }
    }
}
