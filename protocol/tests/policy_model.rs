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

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::Severity;
use fireaxe_protocol::policy::{
    Bundle, Decision, Facts, IncidentFact, IncidentState, Outcome, Presence, Signals, Smaller, Target, Terms,
    Want, check, decide,
};
use proptest::prelude::*;

const GROUPS: [&str; 3] = ["red", "green", "blue"];
const PRESENCE: [&str; 3] = ["none", "touch", "verified"];
const RECORD: [&str; 3] = ["none", "best-effort", "required"];
const EXTENSIONS: [&str; 2] = ["port-forwarding", "pty"];
const SIGNALS: [&str; 8] = [
    "off-call",
    "unusual-hour",
    "new-network",
    "new-key",
    "unusual-system",
    "rate",
    "severity-raised",
    "never-used",
];

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
    /// All of them.
    approvals: Vec<(u8, BTreeSet<usize>)>,
    meanwhile: Option<usize>,
    extends: u8,
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
    signals: Option<BTreeSet<usize>>,
    extension: Option<u8>,
    overdue: Option<u8>,
}

#[derive(Debug, Clone)]
struct MRule {
    when: MWhen,
    deny: bool,
    count: Option<u8>,
    from: Option<BTreeSet<usize>>,
    also: Option<(u8, BTreeSet<usize>)>,
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
    co_declare: Option<u8>,
    declarations: Option<u8>,
    asks: Option<u8>,
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
        signals: if of_rule { d.maybe(4, |d| d.some_of(8)) } else { None },
        extension: if of_rule { d.maybe(5, |d| 1 + d.below(3) as u8) } else { None },
        overdue: if of_rule { d.maybe(5, |d| 1 + d.below(3) as u8) } else { None },
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
            approvals: [0, 1, 1, 2][d.below(4)..][..1]
                .iter()
                .flat_map(|n| (0..*n).map(|_| (1 + d.below(2) as u8, d.some_of(3))).collect::<Vec<_>>())
                .collect(),
            meanwhile: None,
            extends: d.below(4) as u8,
        })
        .collect();
    let mut tiers = tiers;
    for tier in &mut tiers {
        if !tier.approvals.is_empty() {
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
                also: d.maybe(4, |d| (1 + d.below(2) as u8, d.some_of(3))),
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
    let cap = 1 + d.below(4) as u8;
    Model {
        cap,
        co_declare: d.maybe(2, |d| 2 + d.below(2) as u8).filter(|_| cap > 1),
        declarations: d.maybe(3, |d| 1 + d.below(6) as u8),
        asks: d.maybe(2, |d| 1 + d.below(3) as u8),
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
    parts.extend(when.signals.as_ref().map(|s| format!("signals = {}", words(s, &SIGNALS))));
    parts.extend(when.extension.map(|n| format!("extension = {n}")));
    parts.extend(when.overdue.map(|n| format!("overdue_reviews = {n}")));
    format!("{{ {} }}", parts.join(", "))
}

fn write(model: &Model) -> String {
    let mut out = String::from("version = 1\n");
    let limits = [("declarations", model.declarations), ("asks", model.asks)];
    let limits = limits.iter().filter_map(|(name, n)| Some(format!("{name} = {}", (*n)?)));
    let _ = writeln!(out, "limits = {{ {} }}", limits.collect::<Vec<_>>().join(", "));
    out += "review = { from = [\"red\"], within = \"72h\" }\n";
    let _ = writeln!(out, "[trigger.manual]\nseverity_cap = {}", model.cap);
    model.co_declare.iter().for_each(|n| writeln!(out, "co_declare = {n}").unwrap());
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
        let quorum = |(count, from): &(u8, BTreeSet<usize>)| {
            format!("{{ count = {count}, from = {} }}", words(from, &GROUPS))
        };
        let quorums: Vec<String> = t.approvals.iter().map(quorum).collect();
        let _ = match quorums.as_slice() {
            [] => Ok(()),
            [one] => writeln!(out, "approvals = {one}"),
            many => writeln!(out, "approvals = [{}]", many.join(", ")),
        };
        let _ = writeln!(out, "extends = {}", t.extends);
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
        add.extend(
            rule.also.as_ref().map(|(count, from)| {
                format!("also = {{ count = {count}, from = {} }}", words(from, &GROUPS))
            }),
        );
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

/// So many people in all groups that any two quorums with what a rule adds can be met by others than the three
/// who may have signed.
fn roster() -> &'static str {
    static ROSTER: OnceLock<String> = OnceLock::new();
    ROSTER.get_or_init(|| {
        let person = |n: u8| {
            let key = Ed25519Key(SigningKey::from_bytes(&[n; 32]).verifying_key().to_bytes());
            format!("[person.p{n}]\ngroups = [\"red\", \"green\", \"blue\"]\nkeys = [\"{key} p{n}\"]\n")
        };
        (1..=11).map(person).collect()
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
        // The declarer's own name among them counts for nothing.
        seconds: ["ana", "ben", "cleo"].iter().filter(|_| d.one_in(3)).map(|n| n.parse().unwrap()).collect(),
        extension: if d.one_in(2) { d.below(6) as u8 } else { 0 },
        network: None,
        reviews_overdue: d.below(4) as u32,
        signals: roll_signals(d),
    }
}

fn roll_signals(d: &mut Dice) -> Signals {
    let mut any = || [Some(false), Some(true), None][d.below(3)];
    Signals {
        unusual_hour: any(),
        new_network: any(),
        new_key: any(),
        unusual_system: any(),
        severity_raised: any(),
        never_used: any(),
        declared_1h: d.below(8) as u32,
        asked_1h: d.below(4) as u32,
    }
}

/// What the model answers: comparable with the code's answer, nothing more.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Permit(Given),
    /// What waits, what is held meanwhile, and what would be granted at once.
    Wait(Given, Option<Given>, Less),
    /// Codes, and what would be granted.
    No(Vec<&'static str>, Less),
}

/// (severity, want, what it gives)
type Less = Option<(Option<u8>, Option<String>, Given)>;

/// The severity claimed and how many more must sign.
type Awaits = Option<(u8, usize)>;

#[derive(Debug, Clone, PartialEq)]
struct Given {
    tier: usize,
    power: u8,
    ttl: u32,
    presence: usize,
    record: usize,
    extensions: BTreeSet<usize>,
    /// How many of which groups, all of them.
    approvals: BTreeMap<BTreeSet<usize>, u8>,
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
        if let Some(list) = &w.signals {
            let s = &f.signals;
            let known = [
                f.on_call.map(|on_call| !on_call),
                s.unusual_hour,
                s.new_network,
                s.new_key,
                s.unusual_system,
                Some(s.declared_1h >= 4),
                s.severity_raised,
                s.never_used,
            ];
            yes &= list.iter().any(|n| known[*n] != Some(false));
        }
        if let Some(n) = w.extension {
            yes &= f.extension >= n;
        }
        if let Some(n) = w.overdue {
            yes &= f.reviews_overdue >= u32::from(n) && sevs[0] != 1;
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
            approvals: BTreeMap::new(),
        };
        let mut no = vec![];
        if f.extension > t.extends {
            no.push("extension.bound");
        }
        let (mut counts, mut froms, mut also) = (vec![], vec![], BTreeMap::new());
        for r in self.rules.iter().filter(|r| self.applies(&r.when, f, sevs, Some(tier), true)) {
            if r.deny {
                no.push("rule.denied");
            }
            counts.extend(r.count);
            froms.extend(r.from.clone());
            if let Some((count, from)) = &r.also {
                also.entry(from.clone()).and_modify(|n: &mut u8| *n = *count.max(n)).or_insert(*count);
            }
            g.ttl = g.ttl.min(r.ttl.unwrap_or(u32::MAX));
            g.presence = g.presence.max(r.presence.unwrap_or(0));
            g.record = g.record.max(r.record.unwrap_or(0));
            if let Some(only) = &r.extensions {
                g.extensions = g.extensions.intersection(only).copied().collect();
            }
        }
        let mut quorums = t.approvals.clone();
        if let (true, Some(count)) = (quorums.is_empty(), counts.iter().max()) {
            // Owner and on call, unless the rules name somebody.
            quorums.push((*count, if froms.is_empty() { [0, 1].into() } else { [0, 1, 2].into() }));
        }
        for (count, from) in &mut quorums {
            *count = counts.iter().copied().chain([*count]).max().unwrap();
            from.retain(|group| froms.iter().all(|from| from.contains(group)));
        }
        if quorums.iter().any(|(_, from)| from.is_empty()) {
            no.push("approvals.nobody");
            return (g, no);
        }
        // Nobody counts for two, so two of the same groups are one of both.
        for (from, count) in quorums.into_iter().map(|(count, from)| (from, count)).chain(also) {
            *g.approvals.entry(from).or_insert(0) += count;
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
        if !no.is_empty() || !g.approvals.is_empty() || !enough {
            return None;
        }
        g.ttl = g.ttl.min(f.for_s.unwrap_or(u32::MAX).max(60));
        Some(g)
    }

    fn limited(&self, f: &Facts, sev: u8) -> bool {
        sev != 1 && f.extension == 0 && self.declarations.is_some_and(|n| f.signals.declared_1h >= n.into())
    }

    /// The power of what was asked for, where the row gives it.
    fn asked(&self, f: &Facts, sev: u8) -> Option<(usize, u8)> {
        let (own, menu) = self.menu(f, sev);
        let entry = match &f.want {
            Some(Want::Tier(name)) => menu.iter().find(|(t, _)| format!("t{t}") == name.as_str()),
            _ => menu.first().filter(|_| own),
        };
        entry.map(|(t, _)| (*t, self.tiers[*t].power))
    }

    fn smaller(&self, f: &Facts, sev: u8, say: bool) -> Less {
        if self.limited(f, sev) {
            return None;
        }
        let (_, menu) = self.menu(f, sev);
        let asked = self.asked(f, sev);
        let mut best: Option<Given> = None;
        for entry in &menu {
            let Some(g) = self.free(f, sev, *entry) else { continue };
            if asked.is_some_and(|(t, _)| t == g.tier) {
                best = Some(g);
                break;
            }
            let fits = asked.is_none_or(|(_, power)| g.power <= power);
            if fits && best.as_ref().is_none_or(|best| best.power < g.power) {
                best = Some(g);
            }
        }
        let g = best?;
        let same = asked.is_some_and(|(t, _)| t == g.tier);
        Some((say.then_some(sev), (!same).then(|| format!("t{}", g.tier)), g))
    }

    fn decide(&self, f: &Facts) -> (Answer, Awaits) {
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
        let mut signed: BTreeSet<&str> = f.seconds.iter().map(|name| name.as_str()).collect();
        signed.remove("ana");
        if f.on_call == Some(true) {
            signed.insert("ana");
        }
        let refuse = |mut no: Vec<&'static str>, code: &'static str, instead: u8| {
            no.extend(lame);
            no.push(code);
            no.extend(self.limited(f, instead).then_some("rate.declarations"));
            (Answer::No(no, self.smaller(f, instead, true)), None)
        };
        let (sev, awaits) = match (incident, claim, self.co_declare) {
            (Some(i), Some(c), _) if c < i => return refuse(no, "severity.above_incident", i),
            (Some(i), c, _) => (c.unwrap_or(i), None),
            (None, Some(c), None) if c < self.cap => return refuse(no, "severity.above_cap", self.cap),
            (None, Some(c), Some(n)) if c < self.cap && signed.len() < usize::from(n) => {
                (self.cap, Some((c, usize::from(n) - signed.len())))
            }
            (None, Some(c), _) => (c, None),
            (None, None, _) => return refuse(no, "severity.missing", self.cap),
        };
        match self.decide_at(f, sev, asked.as_deref(), no) {
            Answer::No(mut no, less) => {
                no.extend(awaits.map(|_| "severity.above_cap"));
                (Answer::No(no, less), None)
            }
            answer => (answer, awaits),
        }
    }

    fn decide_at(&self, f: &Facts, sev: u8, asked: Option<&str>, mut no: Vec<&'static str>) -> Answer {
        no.extend(self.limited(f, sev).then_some("rate.declarations"));
        // What.
        let (own, menu) = self.menu(f, sev);
        let chosen = match asked {
            Some(asked) => menu.iter().position(|(t, _)| *asked == format!("t{t}")),
            None => own.then_some(0),
        };
        let Some(n) = chosen else {
            match asked {
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
        let too_many = self.asks.is_some_and(|n| f.signals.asked_1h >= n.into());
        if !g.approvals.is_empty() && sev != 1 && too_many {
            no.push("rate.asks");
        }
        if !no.is_empty() {
            return Answer::No(no, self.smaller(f, sev, false));
        }
        g.ttl = f.for_s.unwrap_or(g.ttl);
        if g.approvals.is_empty() {
            return Answer::Permit(g);
        }
        let after = |m: usize| menu.iter().position(|(t, _)| *t == m).filter(|k| *k > n);
        let start = self.tiers[g.tier].meanwhile.and_then(after).unwrap_or(n + 1);
        let meanwhile = menu
            .iter()
            .skip(start)
            .filter(|(t, _)| self.tiers[*t].power <= g.power)
            .find_map(|entry| self.free(f, sev, *entry));
        Answer::Wait(g, meanwhile, self.smaller(f, sev, false))
    }
}

fn given(terms: &Terms) -> Given {
    let group = |name: &str| GROUPS.iter().position(|g| *g == name).unwrap();
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
            .iter()
            .map(|a| (a.from.iter().map(|g| group(g.as_str())).collect(), a.count))
            .collect(),
    }
}

fn less(smaller: Option<&Smaller>) -> Less {
    smaller.map(|s| {
        let want = s.want.as_ref().map(|w| w.to_string());
        (s.severity.map(Severity::number), want, given(&s.terms))
    })
}

fn awaits(decision: &Decision) -> Awaits {
    decision.awaits.as_ref().map(|a| {
        assert_eq!(a.from.as_str(), "green");
        (a.severity.number(), a.more.into())
    })
}

fn answer(decision: &Decision) -> Answer {
    const CODES: [&str; 19] = [
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
        "extension.bound",
        "rate.declarations",
        "rate.asks",
    ];
    match &decision.outcome {
        Outcome::Permit(terms) => Answer::Permit(given(terms)),
        Outcome::NeedsApproval { full, meanwhile, smaller, ladder, .. } => {
            // Everybody who may approve is asked at some time, the first at once.
            let asked: BTreeSet<_> = ladder.iter().flat_map(|rung| &rung.groups).collect();
            assert_eq!(asked, full.approvals.iter().flat_map(|a| &a.from).collect());
            assert_eq!(ladder[0].after_s, 0);
            assert!(full.approvals.is_sorted_by(|a, b| a.from < b.from), "sorted, none twice");
            Answer::Wait(given(full), meanwhile.as_ref().map(given), less(smaller.as_ref()))
        }
        Outcome::Refuse { reasons, smaller } => {
            assert!(!reasons.is_empty(), "a refusal without a reason");
            let code =
                |code: &str| *CODES.iter().find(|known| **known == code).unwrap_or_else(|| panic!("{code}"));
            Answer::No(reasons.iter().map(|reason| code(&reason.code)).collect(), less(smaller.as_ref()))
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
    // Every place in `b` has one of `a` to itself that is as hard to fill.
    fn seat(
        n: usize,
        b: &[&BTreeSet<usize>],
        a: &[&BTreeSet<usize>],
        seats: &mut [Option<usize>],
        tried: &mut [bool],
    ) -> bool {
        for m in 0..a.len() {
            if a[m].is_subset(b[n]) && !std::mem::replace(&mut tried[m], true) {
                let sitting = seats[m];
                if sitting.is_none_or(|other| seat(other, b, a, seats, tried)) {
                    seats[m] = Some(n);
                    return true;
                }
            }
        }
        false
    }
    fn places(g: &Given) -> Vec<&BTreeSet<usize>> {
        g.approvals.iter().flat_map(|(from, n)| vec![from; usize::from(*n)]).collect()
    }
    let (mine, theirs) = (places(a), places(b));
    let mut seats = vec![None; mine.len()];
    let approvals =
        (0..theirs.len()).all(|n| seat(n, &theirs, &mine, &mut seats, &mut vec![false; mine.len()]));
    approvals
        && a.presence >= b.presence
        && a.record >= b.record
        && a.ttl <= b.ttl
        && a.extensions.is_subset(&b.extensions)
}

fn full(answer: &Answer) -> Option<&Given> {
    match answer {
        Answer::Permit(g) | Answer::Wait(g, ..) => Some(g),
        Answer::No(..) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decide_agrees_with_the_model(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let (model, bundle, facts) = world(bytes);
        let decision = decide(&bundle.policy, &facts);
        let answered = (answer(&decision), awaits(&decision));
        prop_assert_eq!(answered, model.decide(&facts), "{}\n{:#?}", write(&model), facts);
        // Pure, and recorded whole: the entry's JSON says the same.
        prop_assert_eq!(&decide(&bundle.policy, &facts), &decision);
        let json = serde_json::to_string(&decision).unwrap();
        prop_assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), decision);
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_smaller_request_is_granted_gives_what_it_said_and_none_that_is_larger_is_granted(
        bytes in prop::collection::vec(any::<u8>(), 0..600)
    ) {
        let (model, bundle, facts) = world(bytes);
        let decision = decide(&bundle.policy, &facts);
        let smaller = match decision.outcome {
            Outcome::Refuse { smaller, .. } | Outcome::NeedsApproval { smaller, .. } => smaller,
            Outcome::Permit(_) => return Ok(()),
        };
        if let Some(smaller) = &smaller {
            let mut again = facts.clone();
            again.severity = smaller.severity.or(facts.severity);
            again.want = smaller.want.clone().map(Want::Tier).or(facts.want.clone());
            again.for_s = Some(smaller.terms.lifetime_s);
            let again = decide(&bundle.policy, &again).outcome;
            prop_assert_eq!(again, Outcome::Permit(smaller.terms.clone()));
        }
        // Whatever else could be asked for at this severity and is no more than what was asked for.
        let Some(severity) = decision.severity else { return Ok(()) };
        let most = model.asked(&facts, severity.number()).map_or(u8::MAX, |(_, power)| power);
        let wants = [None, Some("t0"), Some("t1"), Some("t2"), Some("t3")];
        for want in wants.map(|want| want.map(|name| Want::Tier(name.parse().unwrap()))) {
            let other = Facts { want, for_s: None, ..facts.clone() };
            if let Outcome::Permit(terms) = decide(&bundle.policy, &other).outcome
                && terms.power <= most
            {
                prop_assert!(smaller.as_ref().is_some_and(|smaller| smaller.terms.power >= terms.power));
            }
        }
    }

    #[test]
    fn nothing_gives_more_than_the_row_does_at_this_severity_or_a_milder_one(
        bytes in prop::collection::vec(any::<u8>(), 0..600)
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
    fn asking_for_less_never_sheds_a_control(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let (mut model, _, mut facts) = world(bytes);
        model.exceptions.clear();
        let bundle = Bundle::parse(&write(&model), roster()).unwrap();
        (facts.for_s, facts.presence) = (None, Presence::Verified);
        // Nobody is counted at severity 1, and so sheds what counting asks for milder ones.
        (facts.reviews_overdue, facts.signals) = (0, Signals::ordinary());
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
        bytes in prop::collection::vec(any::<u8>(), 0..600)
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
        (facts.extension, facts.signals) = (0, Signals::ordinary());
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
    fn nobody_gains_by_on_call_being_unknown(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let (mut model, _, mut facts) = world(bytes);
        model.exceptions.clear();
        // Who is known to be on call founds a worse severity, which is another tier.
        model.co_declare = None;
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
    fn the_order_of_rules_does_not_matter(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let (mut model, bundle, facts) = world(bytes);
        model.rules.reverse();
        let reversed = Bundle::parse(&write(&model), roster()).unwrap();
        let (a, b) = (answer(&decide(&bundle.policy, &facts)), answer(&decide(&reversed.policy, &facts)));
        prop_assert_eq!(a, b);
    }

    #[test]
    fn a_rule_more_never_loosens(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let (mut model, _, mut facts) = world(bytes);
        // A rule that names nobody means whoever another names, and so not always the same people.
        for rule in model.rules.iter_mut().filter(|rule| rule.count.is_some()) {
            rule.from.get_or_insert([0, 1].into());
        }
        let bundle = Bundle::parse(&write(&model), roster()).unwrap();
        // A rule may hide the tier behind a refusal; what it leaves is compared.
        (facts.for_s, facts.presence, facts.signals.asked_1h) = (None, Presence::Verified, 0);
        let with = answer(&decide(&bundle.policy, &facts));
        model.rules.pop();
        let fewer = Bundle::parse(&write(&model), roster()).unwrap();
        let without = answer(&decide(&fewer.policy, &facts));
        match (full(&with), full(&without)) {
            (Some(with), Some(without)) => {
                prop_assert_eq!(with.tier, without.tier);
                prop_assert!(at_least_as_tight(with, without), "{with:?} {without:?}");
            }
            (Some(_), None) => return Err(TestCaseError::fail("a rule gave what was refused")),
            (None, _) => {}
        }
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
