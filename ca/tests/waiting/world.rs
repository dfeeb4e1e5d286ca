//! The world of the model: people, two bundles, and what their policies give, written out by hand.

use crate::installed::people::{ANA_ADMIN, ANA_SPARE, DAN, EVE, POLICY, roster_of};
use crate::installed::{ANA, BEN, CLEO, STRANGER};

/// The bundle in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bundle {
    /// `waiting.toml`, everybody.
    A,
    /// Eve is gone; the guarded tier is shorter and needed at severity 2 already, where nobody approves more
    /// than one an hour.
    B,
}

/// On call with ana and eve.
pub const FAY: u8 = 42;

/// Everybody who may say something, and one who may not.
pub const VOICES: [u8; 9] = [ANA, BEN, CLEO, DAN, EVE, FAY, ANA_ADMIN, ANA_SPARE, STRANGER];
pub const TARGETS: [&str; 4] = ["payments-db", "db-3.payments.prod", "vault", "vault-1.prod"];
/// The second was never heard of until somebody reports it.
pub const INCIDENTS: [&str; 2] = ["pd:A", "pd:B"];
pub const WAIT_S: u64 = 600;
pub const GRACE_S: u64 = 600;
/// How many anybody approves within an hour, except at severity 1.
pub fn approvals_an_hour(bundle: Bundle) -> usize {
    if bundle == Bundle::A { 3 } else { 1 }
}

pub const REVIEWERS: [&str; 2] = ["security", "sre-leads"];

/// Whose a key is: name, canonical name, groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    pub name: &'static str,
    pub canonical: &'static str,
    pub groups: &'static [&'static str],
}

impl Person {
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.contains(&group)
    }
}

pub fn person(bundle: Bundle, seed: u8) -> Option<Person> {
    let of = |name, canonical, groups| Some(Person { name, canonical, groups });
    match seed {
        ANA | ANA_SPARE => of("ana", "ana", &["payments", "payments-oncall", "sre"]),
        ANA_ADMIN => of("ana-admin", "ana", &["sre-leads"]),
        EVE if bundle == Bundle::A => of("eve", "eve", &["payments-oncall", "sre"]),
        FAY => of("fay", "fay", &["payments-oncall"]),
        BEN => of("ben", "ben", &["sre", "sre-leads"]),
        CLEO => of("cleo", "cleo", &["security"]),
        DAN => of("dan", "dan", &["sre-leads", "security"]),
        _ => None,
    }
}

pub fn by_name(bundle: Bundle, name: &str) -> Option<Person> {
    VOICES.into_iter().filter_map(|seed| person(bundle, seed)).find(|person| person.name == name)
}

/// Everybody of a group, by canonical name, sorted.
pub fn members(bundle: Bundle, groups: &[&str]) -> Vec<&'static str> {
    let all = VOICES.into_iter().filter_map(|seed| person(bundle, seed));
    let mut out: Vec<&str> =
        all.filter(|p| groups.iter().any(|group| p.is_in(group))).map(|p| p.canonical).collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// The files of a bundle.
pub fn files(bundle: Bundle) -> (String, String) {
    let keys = |name: &str| -> Vec<u8> {
        let theirs = |seed: &u8| person(bundle, *seed).is_some_and(|person| person.name == name);
        VOICES.into_iter().filter(theirs).collect()
    };
    let names = ["ana", "ana-admin", "ben", "cleo", "dan", "eve", "fay"];
    let keys = names.map(keys);
    let people: Vec<_> = names
        .into_iter()
        .zip(&keys)
        .filter_map(|(name, keys)| {
            let same = if name == "ana-admin" { "same_as = \"ana\"\n" } else { "" };
            Some((name, by_name(bundle, name)?.groups, keys.as_slice(), same))
        })
        .collect();
    let policy = match bundle {
        Bundle::A => POLICY.to_owned(),
        Bundle::B => POLICY
            .replace("approvals = 3", "approvals = 1")
            .replace("ttl = \"20m\"", "ttl = \"18m\"")
            .replace(
                "[\"deny\", \"look\", \"fix\", \"guarded\"]",
                "[\"deny\", \"fix\", \"guarded\", \"guarded\"]",
            ),
    };
    (policy, roster_of(&people))
}

pub fn system(target: usize) -> &'static str {
    ["payments-db", "payments-db", "vault", "vault"][target]
}

pub fn on_call(target: usize) -> &'static str {
    if system(target) == "vault" { "sre" } else { "payments-oncall" }
}

/// A tier. Each of its quorums is one person.
#[derive(Debug)]
pub struct Tier {
    pub name: &'static str,
    pub ttl_s: u64,
    pub extends: u8,
    pub quorums: &'static [&'static [&'static str]],
    pub ladder: &'static [(u64, &'static [&'static str])],
}

pub fn tier(bundle: Bundle, name: &str) -> Tier {
    let free = |name, ttl_s, extends| Tier { name, ttl_s, extends, quorums: &[], ladder: &[] };
    match name {
        "look" => free("look", 1800, 3),
        "fix" => free("fix", 1800, 3),
        "root" => free("root", 2700, 2),
        "guarded" => Tier {
            name: "guarded",
            ttl_s: if bundle == Bundle::A { 1200 } else { 1080 },
            extends: 2,
            quorums: &[&["payments-oncall", "security", "sre-leads"]],
            ladder: &[(0, &["payments-oncall"]), (90, &["sre-leads"]), (240, &["security"])],
        },
        "sealed" => Tier {
            name: "sealed",
            ttl_s: 900,
            extends: 3,
            quorums: &[&["security"], &["sre-leads"]],
            ladder: &[(0, &["security", "sre-leads"])],
        },
        _ => panic!("no tier {name}"),
    }
}

/// The cell of a severity in the row of a target; one host alone counts one less.
fn cell(bundle: Bundle, target: usize, one_host: bool, severity: u8) -> Option<&'static str> {
    let row = match (system(target), one_host) {
        ("payments-db", true) => ["root", "fix", "look", "look"],
        ("payments-db", false) | ("vault", true) if bundle == Bundle::A => ["guarded", "fix", "look", ""],
        ("payments-db", false) | ("vault", true) => ["guarded", "guarded", "fix", ""],
        _ => ["sealed", "look", "", ""],
    };
    Some(row[usize::from(severity) - 1]).filter(|name| !name.is_empty())
}

/// What is known of an incident.
#[derive(Debug, Clone, Copy, Default)]
pub struct Incident {
    /// Severity, whether it goes on, when that was said.
    pub known: Option<(u8, bool, u64)>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asks {
    pub person: Person,
    pub target: usize,
    pub severity: Option<u8>,
    pub incident: Option<usize>,
    pub want: Option<&'static str>,
    pub for_s: Option<u64>,
    /// How many others signed the claim.
    pub seconds: usize,
    pub extension: u8,
    /// Whether more of the system is open by the same person or for the same incident.
    pub more_open: bool,
}

/// What is given: tier, seconds, whether by claim (its terms differ in their grace).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub tier: &'static str,
    pub life_s: u64,
    pub by_claim: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Decided {
    /// Given at once.
    pub now: Option<Terms>,
    /// Waits for people.
    pub full: Option<Terms>,
    pub severity: Option<u8>,
    /// Another signature would make it worse.
    pub awaits: bool,
    pub rests_on: Option<usize>,
}

impl Decided {
    pub fn is_refused(&self) -> bool {
        self.now.is_none() && self.full.is_none()
    }
}

pub fn decide(bundle: Bundle, asks: &Asks, incidents: &[Incident; 2], now: u64) -> Decided {
    let mut out = Decided { now: None, full: None, severity: None, awaits: false, rests_on: None };
    // How bad: the incident's word, if it is about this system and still counts; else the claim.
    let word = asks.incident.and_then(|n| {
        let (severity, open, at) = incidents[n].known?;
        let counts = open && now - at <= 4 * 3600 && system(asks.target) == ["payments-db", "vault"][n];
        counts.then_some((n, severity))
    });
    let (severity, mut awaits) = match (word, asks.severity) {
        (Some((_, word)), Some(claimed)) if claimed < word => return out,
        (Some((n, word)), claimed) => {
            out.rests_on = Some(n);
            (claimed.unwrap_or(word), false)
        }
        (None, None) => return out,
        (None, Some(1)) => {
            let signed = asks.seconds + usize::from(asks.person.is_in(on_call(asks.target)));
            if signed >= 2 { (1, false) } else { (2, true) }
        }
        (None, Some(claimed)) => (claimed, false),
    };
    out.severity = Some(severity);
    let one_host = asks.target % 2 == 1 && !asks.more_open;
    // The cell, and what is milder in the row, each once.
    let mut choices: Vec<Tier> = Vec::new();
    for severity in severity..=4 {
        let name = cell(bundle, asks.target, one_host, severity);
        if let Some(name) = name.filter(|name| choices.iter().all(|choice| choice.name != *name)) {
            choices.push(tier(bundle, name));
        }
    }
    let own = cell(bundle, asks.target, one_host, severity);
    let Some(wanted) = asks.want.or(own) else { return out };
    let Some(chosen) = choices.iter().position(|choice| choice.name == wanted) else { return out };
    let by_claim = word.is_none();
    let terms = |tier: &Tier| Terms {
        tier: tier.name,
        life_s: asks.for_s.map_or(tier.ttl_s, |for_s| for_s.min(tier.ttl_s)),
        by_claim,
    };
    let tier = &choices[chosen];
    if asks.extension > tier.extends || asks.for_s.is_some_and(|for_s| for_s > tier.ttl_s) {
        return out;
    }
    if tier.quorums.is_empty() {
        out.now = Some(terms(tier));
    } else {
        out.full = Some(terms(tier));
        let later = &choices[chosen + 1..];
        // The guarded tier names `fix`; where the row has none, and for others, whatever is next.
        let free = |t: &&Tier| t.quorums.is_empty() && asks.extension <= t.extends;
        let named = later.iter().position(|t| tier.name == "guarded" && t.name == "fix").unwrap_or(0);
        out.now = later.iter().skip(named).find(free).map(terms);
    }
    awaits &= !out.is_refused();
    out.awaits = awaits;
    out
}

/// How many people a quorum still lacks, if each person fills one place at most: by trying everything.
pub fn lacking(quorums: &[&[&str]], people: &[&[&str]]) -> usize {
    let Some((first, rest)) = quorums.split_first() else { return 0 };
    let unfilled = 1 + lacking(rest, people);
    let filled =
        (0..people.len()).filter(|n| people[*n].iter().any(|group| first.contains(group))).map(|n| {
            let mut others = people.to_vec();
            others.remove(n);
            lacking(rest, &others)
        });
    filled.min().map_or(unfilled, |least| least.min(unfilled))
}
