//! What a change of the bundle changes, in words: part by part as the files have it, and case by case as
//! it is decided. Written to be read aloud by whoever has to answer for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::cells::Cell;
use super::parts::{Part, parts};
use super::walk::{Asker, walk};
use crate::log::Hash;
use crate::names::PersonName;
use crate::policy::{Bundle, ChangeVerdict};

/// Two bundles side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BundleDiff {
    /// The first bundle.
    pub before: Hash,
    /// The second.
    pub after: Hash,
    /// What the files say otherwise, part by part, in the order of the files.
    pub parts: Vec<DiffLine>,
    /// What is decided otherwise, the weightiest first.
    pub cells: Vec<Cell>,
}

/// One part that is new, gone, or says something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiffLine {
    /// `trigger`, `system`, `row`, `tier`, `action`, `rule`, `exception`, `limits`, `review`, `recordings`,
    /// `tests`,
    /// `person`, `role`.
    pub kind: &'static str,
    /// Its name; empty for what there is only one of.
    pub name: String,
    /// What became of it.
    pub how: How,
    /// Its fields: of a changed part those that changed, with both values.
    pub what: Vec<String>,
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Only the second bundle has it.
    New,
    /// Only the first has it.
    Gone,
    /// Both have it, otherwise.
    Changed,
}

/// Compares two bundles.
pub fn diff(before: &Bundle, after: &Bundle) -> BundleDiff {
    let cells = match "somebody".parse::<PersonName>() {
        Ok(person) if before.hash != after.hash => walk(
            before,
            after,
            &Asker { person: &person, before: &[], after: &[], on_call_by_group: false },
            None,
        ),
        _ => Vec::new(),
    };
    BundleDiff { before: before.hash, after: after.hash, parts: lines(before, after), cells }
}

impl BundleDiff {
    /// Whether the two are the same, byte for byte.
    pub fn is_empty(&self) -> bool {
        self.before == self.after
    }

    /// Whether something becomes looser.
    pub fn is_looser(&self) -> bool {
        self.cells.iter().any(|cell| cell.change.verdict == ChangeVerdict::Looser)
    }
}

fn lines(before: &Bundle, after: &Bundle) -> Vec<DiffLine> {
    let (old, young) = (parts(before), parts(after));
    let known: BTreeMap<(&str, &str), &Part> = old.iter().map(|p| ((p.kind, p.name.as_str()), p)).collect();
    let kept: BTreeSet<(&str, &str)> = young.iter().map(|p| (p.kind, p.name.as_str())).collect();
    let mut out = Vec::new();
    for part in &young {
        match known.get(&(part.kind, part.name.as_str())) {
            None => out.push(line(part, How::New)),
            Some(was) if was.fields != part.fields => out.push(changed(was, part)),
            Some(_) => {}
        }
    }
    out.extend(old.iter().filter(|p| !kept.contains(&(p.kind, p.name.as_str()))).map(|p| line(p, How::Gone)));
    let order: Vec<&str> = KINDS.to_vec();
    out.sort_by_key(|line| order.iter().position(|kind| *kind == line.kind));
    out
}

const KINDS: [&str; 13] = [
    "trigger",
    "system",
    "row",
    "tier",
    "action",
    "rule",
    "exception",
    "limits",
    "review",
    "recordings",
    "tests",
    "person",
    "role",
];

fn line(part: &Part, how: How) -> DiffLine {
    let what = part.fields.iter().map(|(field, value)| format!("{field}: {value}")).collect();
    DiffLine { kind: part.kind, name: part.name.clone(), how, what }
}

fn changed(before: &Part, after: &Part) -> DiffLine {
    let of = |part: &Part, field: &str| -> String {
        let found = part.fields.iter().find(|(name, _)| *name == field);
        found.map_or("nothing".to_owned(), |(_, value)| value.clone())
    };
    let mut fields: Vec<&str> = before.fields.iter().map(|(field, _)| *field).collect();
    fields.extend(after.fields.iter().map(|(field, _)| *field).filter(|f| !of(before, f).eq(&of(after, f))));
    let mut what: Vec<String> = Vec::new();
    for field in fields {
        let (was, is) = (of(before, field), of(after, field));
        let words = match (field, lists(&was, &is)) {
            _ if was == is => continue,
            // Of a list, what came and what went.
            ("hosts" | "groups" | "keys" | "on", Some(moved)) => format!("{field}: {moved}"),
            _ => format!("{field}: {was} -> {is}"),
        };
        if !what.contains(&words) {
            what.push(words);
        }
    }
    DiffLine { kind: after.kind, name: after.name.clone(), how: How::Changed, what }
}

/// `new a, b; gone c`
fn lists(before: &str, after: &str) -> Option<String> {
    let split = |text: &str| -> BTreeSet<String> {
        text.split(", ").filter(|item| *item != "none").map(str::to_owned).collect()
    };
    let (was, is) = (split(before), split(after));
    let words = |word: &str, from: &BTreeSet<String>, without: &BTreeSet<String>| {
        let items: Vec<String> = from.difference(without).cloned().collect();
        (!items.is_empty()).then(|| format!("{word} {}", items.join(", ")))
    };
    let moved: Vec<String> =
        [words("new", &is, &was), words("gone", &was, &is)].into_iter().flatten().collect();
    (!moved.is_empty()).then(|| moved.join("; "))
}

impl fmt::Display for DiffLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            How::New => "new ",
            How::Gone => "gone ",
            How::Changed => "",
        };
        let name = if self.name.is_empty() { String::new() } else { format!(" {}", self.name) };
        write!(f, "{how}{}{name}: {}", self.kind, self.what.join("; "))
    }
}

/// The most cases that are read aloud; whoever wants all of more takes the JSON.
const SHOWN: usize = 60;

impl fmt::Display for BundleDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "the two bundles are the same, byte for byte");
        }
        writeln!(f, "What the files say")?;
        if self.parts.is_empty() {
            writeln!(f, "  the same: only comments, order, layout or what the tests say differ")?;
        }
        self.parts.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "What is decided")?;
        if self.cells.is_empty() {
            writeln!(f, "  the same in every case")?;
        }
        for verdict in [ChangeVerdict::Looser, ChangeVerdict::Denied, ChangeVerdict::Tighter] {
            let cells: Vec<&Cell> = self.cells.iter().filter(|c| c.change.verdict == verdict).collect();
            for cell in cells.iter().take(SHOWN) {
                writeln!(f, "  {:<7} {cell}", verdict.as_str())?;
            }
            if cells.len() > SHOWN {
                writeln!(f, "  {:<7} and {} more", verdict.as_str(), cells.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}
