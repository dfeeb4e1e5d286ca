//! Completeness: three ways between what the log says was issued, what hosts' sshd says came in, and what hosts
//! reported and recorded. `compare` is pure; the verb gathers what it compares.
//!
//! | file | |
//! |---|---|
//! | `sshd.rs`, `framing.rs`, `logins.rs` | a hostile log file -> logins |
//! | `known.rs` | entries -> certificates, sessions, ends, closings |
//! | `shelf.rs` | recordings on disk |
//! | `pairs.rs` | which login is which reported session |
//! | `compare.rs` | all of it -> findings and a summary |
//! | `finding.rs` | what a finding is |

mod compare;
mod finding;
mod framing;
mod known;
mod logins;
mod pairs;
mod shelf;
mod sshd;

pub use compare::{Compared, Summary, compare};
pub use finding::{Finding, Findings, Weight};
pub use framing::Times;
pub use known::Known;
pub use logins::{Login, SshdLog, SshdLogError, read};
pub use shelf::{OnDisk, on_disk};

/// The time that is looked at, unix seconds; the second one not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first second.
    pub from: u64,
    /// The second after the last.
    pub to: u64,
}

impl Default for Window {
    fn default() -> Window {
        Window { from: 0, to: u64::MAX }
    }
}

impl Window {
    /// Whether `at` lies in it.
    pub fn holds(&self, at: u64) -> bool {
        self.from <= at && at < self.to
    }
}
