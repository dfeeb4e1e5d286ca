//! Host patterns: literal labels, and `*` for any run of characters within one label. Which pattern a
//! host matches, and whether two patterns could ever match the same host.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits;
use crate::names::{HostName, NameError, shown};

/// A host name in which `*` stands for any run of characters within one label, e.g. `db-*.payments.prod`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `host` is one of those it means. The `*` never crosses a dot.
    pub fn matches(&self, host: &HostName) -> bool {
        let (mut mine, mut theirs) = (self.0.split('.'), host.as_str().split('.'));
        loop {
            match (mine.next(), theirs.next()) {
                (None, None) => return true,
                (Some(pattern), Some(label)) if overlap(pattern.as_bytes(), label.as_bytes()) => {}
                _ => return false,
            }
        }
    }

    /// Whether some host could match both.
    pub fn overlaps(&self, other: &Pattern) -> bool {
        let (mut mine, mut theirs) = (self.0.split('.'), other.0.split('.'));
        loop {
            match (mine.next(), theirs.next()) {
                (None, None) => return true,
                (Some(a), Some(b)) if overlap(a.as_bytes(), b.as_bytes()) => {}
                _ => return false,
            }
        }
    }

    /// Whether a name with a dot in it, host or not, is matched.
    fn matches_text(&self, name: &str) -> bool {
        self.0.split('.').count() == name.split('.').count()
            && self.0.split('.').zip(name.split('.')).all(|(a, b)| overlap(a.as_bytes(), b.as_bytes()))
    }

    fn zone(&self) -> Option<&str> {
        let (_, zone) = self.0.split_once('.')?;
        (!zone.contains('*')).then_some(zone)
    }
}

/// Whether some label matches both `a` and `b`: the product of two patterns, walked with one bit a state.
fn overlap(a: &[u8], b: &[u8]) -> bool {
    if !a.contains(&b'*') && !b.contains(&b'*') {
        return a == b;
    }
    // Most pairs differ before their first star, or after their last.
    let differ = |x: u8, y: u8| x != y && x != b'*' && y != b'*';
    let fixed = |s: &(u8, u8)| s.0 != b'*' && s.1 != b'*';
    let front = a.iter().copied().zip(b.iter().copied()).take_while(fixed).any(|(x, y)| differ(x, y));
    let back = a.iter().rev().copied().zip(b.iter().rev().copied()).take_while(fixed);
    if front || back.into_iter().any(|(x, y)| differ(x, y)) {
        return false;
    }
    // row[j]: a[..i] and b[..j] can be matched by the same text.
    let mut row = vec![false; b.len() + 1];
    for i in 0..=a.len() {
        let mut next = vec![false; b.len() + 1];
        for j in 0..=b.len() {
            let at = |row: &[bool], n: usize| row.get(n).copied().unwrap_or(false);
            let x = i.checked_sub(1).and_then(|i| a.get(i));
            let y = j.checked_sub(1).and_then(|j| b.get(j));
            let left = j.checked_sub(1).is_some_and(|j| at(&next, j));
            let diagonal = j.checked_sub(1).is_some_and(|j| at(&row, j));
            let reached = match (x, y) {
                (None, None) => true,
                (Some(b'*'), None) => at(&row, j),
                (None, Some(b'*')) => left,
                (Some(b'*'), Some(_)) | (Some(_), Some(b'*')) => left || at(&row, j) || diagonal,
                (Some(x), Some(y)) => x == y && diagonal,
                _ => false,
            };
            if let Some(cell) = next.get_mut(j) {
                *cell = reached;
            }
        }
        row = next;
    }
    row.last().copied().unwrap_or(false)
}

impl FromStr for Pattern {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Pattern, NameError> {
        // With every run of stars replaced by a letter it must be a host name.
        let plain = text.replace('*', "x");
        if text.contains("**") || text.len() > limits::HOST || plain.parse::<HostName>().is_err() {
            return Err(NameError {
                what: "host pattern",
                shown: shown(text),
                rule: "a lower-case DNS name with at least one dot, in which '*' may stand for part of a label",
            });
        }
        Ok(Pattern(text.into()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// All patterns, by the zone behind their first label, so that thousands of systems cost nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostIndex<T> {
    zones: HashMap<String, Vec<(Pattern, T)>>,
    anywhere: Vec<(Pattern, T)>,
}

impl<T> Default for HostIndex<T> {
    fn default() -> Self {
        HostIndex { zones: HashMap::new(), anywhere: Vec::new() }
    }
}

impl<T: Clone> HostIndex<T> {
    /// Adds a pattern; gives one that it overlaps, if there is one.
    pub(super) fn add(&mut self, pattern: &Pattern, whose: T) -> Option<(Pattern, T)> {
        let clash = match pattern.zone() {
            Some(zone) => self
                .zones
                .get(zone)
                .into_iter()
                .flatten()
                .chain(&self.anywhere)
                .find(|(p, _)| p.overlaps(pattern)),
            None => self.zones.values().flatten().chain(&self.anywhere).find(|(p, _)| p.overlaps(pattern)),
        };
        let clash = clash.cloned();
        match pattern.zone() {
            Some(zone) => self.zones.entry(zone.to_owned()).or_default().push((pattern.clone(), whose)),
            None => self.anywhere.push((pattern.clone(), whose)),
        }
        clash
    }

    /// Whose pattern matches `name`.
    pub(super) fn find(&self, name: &str) -> Option<(&Pattern, &T)> {
        let (_, zone) = name.split_once('.')?;
        let near = self.zones.get(zone).into_iter().flatten();
        near.chain(&self.anywhere).find(|(p, _)| p.matches_text(name)).map(|(p, whose)| (p, whose))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_star_stays_within_its_label() {
        let db = pattern("db-*.payments.prod");
        for (host, expected) in [
            ("db-3.payments.prod", true),
            ("db-.payments.prod", false),
            ("db-a-b.payments.prod", true),
            ("db-3.x.payments.prod", false),
            ("xdb-3.payments.prod", false),
            ("db-3.payments.prod.evil.example", false),
            ("web-1.payments.prod", false),
        ] {
            if let Ok(host) = host.parse() {
                assert_eq!(db.matches(&host), expected, "{host}");
            }
        }
        assert!(pattern("*.payments.prod").matches(&"a.payments.prod".parse().unwrap()));
        assert!(pattern("a*b*c.prod").matches(&"abxbxc.prod".parse().unwrap()));
        assert!(!pattern("a*b*c.prod").matches(&"ac.prod".parse().unwrap()));
    }

    #[test]
    fn overlap_is_found_only_where_some_host_matches_both() {
        for (a, b, expected) in [
            ("db-*.prod", "*-1.prod", true),
            ("db-*.prod", "web-*.prod", false),
            ("*-a.prod", "*-b.prod", false),
            ("a*b.prod", "ab.prod", true),
            ("a*a.prod", "a.prod", false),
            ("*a*.prod", "b*b.prod", true),
            ("db-1.prod", "db-1.prod", true),
            ("db-1.prod", "db-2.prod", false),
            ("db.*.prod", "*.eu.prod", true),
            ("db.*.prod", "*.prod", false),
        ] {
            assert_eq!(pattern(a).overlaps(&pattern(b)), expected, "{a} {b}");
            assert_eq!(pattern(b).overlaps(&pattern(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn what_is_no_host_name_is_no_pattern() {
        for text in [
            "",
            "*",
            "prod",
            "a..b",
            "A.prod",
            "db[1-3].prod",
            "db-?.prod",
            "!db.prod",
            "a.b,c.d",
            "-a.prod",
            "a**.prod",
        ] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }
}
