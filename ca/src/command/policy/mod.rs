//! `policy`: check, test, explain and compare bundles, offline, before they decide anything; and the words
//! that put one in force. A file a verb.

mod check;
mod diff;
mod explain;
mod in_force;
mod junit;
mod simulate;
mod statement;
mod test;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Failed;

/// Check, test, explain and compare policy bundles, offline.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Prove that it is total, monotone and without unused parts; print the whole table
    Check(check::Check),
    /// Run its embedded tests
    Test(test::Test),
    /// Say what it would decide, and how it gets there
    Explain(explain::Explain),
    /// Say what one bundle changes against another, in words
    Diff(diff::Diff),
    /// Decide every recorded request again under another bundle
    Simulate(simulate::Simulate),
    /// Print the words that policy admins sign to put a bundle in force
    Statement(statement::Change),
}

/// Which bundle.
#[derive(Debug, Args)]
struct Folder {
    /// Folder with policy.toml and roster.toml
    bundle: PathBuf,
}

impl Policy {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Policy::Check(check) => check.run(),
            Policy::Test(test) => test.run(),
            Policy::Explain(explain) => explain.run(),
            Policy::Diff(diff) => diff.run(),
            Policy::Simulate(simulate) => simulate.run(),
            Policy::Statement(change) => change.run(),
        }
    }
}

/// What keeps a bundle that parses from being put in force: its findings, and its own tests that fail.
/// A line each.
fn unsound(bundle: &fireaxe_protocol::policy::Bundle) -> Vec<String> {
    let report = fireaxe_protocol::policy::check(bundle);
    let findings = report.findings.iter().map(ToString::to_string);
    let outcomes = fireaxe_protocol::policy::run_tests(bundle);
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).map(|outcome| {
        format!("policy.toml:{}: test fails: {}: {}", outcome.line, outcome.name, outcome.failures.join("; "))
    });
    findings.chain(failed).collect()
}
