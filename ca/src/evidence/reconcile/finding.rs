//! A finding: what does not match, where it stands, and what to do next.

use serde::Serialize;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Something is missing, or cannot be: somebody must look.
    Wrong,
    /// Worth knowing.
    Info,
}

/// One of them. All texts are fit to be shown: what others wrote is escaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable, dotted: `login.never_issued`. Documented in `docs/PROTOCOL.cli.md`.
    pub code: &'static str,
    /// How much it weighs.
    pub weight: Weight,
    /// Where: `line 12`, `entry 40`, `db-3.payments.prod`.
    pub place: String,
    /// One sentence.
    pub sentence: String,
    /// The next command, or what to ask.
    pub next: String,
}

/// Findings, the first [`LISTED`] of each weight in full, and how many there are.
#[derive(Debug, Default)]
pub struct Findings {
    listed: Vec<Finding>,
    wrong: u64,
    info: u64,
}

/// Findings of one weight that are listed: more than anybody reads; 10,000 of 500 bytes, twice, are 10 MB.
const LISTED: u64 = 10_000;

impl Findings {
    /// One more.
    pub fn add(&mut self, finding: Finding) {
        let count = match finding.weight {
            Weight::Wrong => &mut self.wrong,
            Weight::Info => &mut self.info,
        };
        *count += 1;
        if *count <= LISTED {
            self.listed.push(finding);
        }
    }

    /// Something is missing, or cannot be.
    pub fn wrong(&mut self, code: &'static str, place: String, sentence: String, next: String) {
        self.add(Finding { code, weight: Weight::Wrong, place, sentence, next });
    }

    /// Worth knowing.
    pub fn info(&mut self, code: &'static str, place: String, sentence: String, next: String) {
        self.add(Finding { code, weight: Weight::Info, place, sentence, next });
    }

    /// What is listed: what is wrong first, then in the order in which it was found.
    pub fn listed(&mut self) -> &[Finding] {
        self.listed.sort_by_key(|finding| finding.weight);
        &self.listed
    }

    /// How many are wrong, whether listed or not.
    pub fn count_wrong(&self) -> u64 {
        self.wrong
    }

    /// How many are worth knowing, whether listed or not.
    pub fn count_info(&self) -> u64 {
        self.info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_first_and_counts_beyond_what_is_listed() {
        let mut findings = Findings::default();
        findings.info("a.b", "entry 1".into(), "seen".into(), "nothing".into());
        for n in 0..=LISTED {
            findings.wrong("c.d", format!("entry {n}"), "missing".into(), "look".into());
        }
        assert_eq!((findings.count_wrong(), findings.count_info()), (LISTED + 1, 1));
        let listed = findings.listed();
        assert_eq!(listed.len() as u64, LISTED + 1);
        assert_eq!(listed.first().map(|one| one.weight), Some(Weight::Wrong));
        assert_eq!(listed.last().map(|one| one.weight), Some(Weight::Info));
    }
}
