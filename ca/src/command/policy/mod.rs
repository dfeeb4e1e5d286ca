//! `policy`: check, test, explain and compare bundles, offline, before they decide anything; and the words
//! that put one in force. A file a verb.

mod activate;
mod check;
mod diff;
mod explain;
mod in_force;
mod junit;
mod shadow;
mod simulate;
mod statement;
mod test;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use fireaxe_protocol::policy::unsound;

use super::Failed;

/// Check, test, explain and compare policy bundles; put one in force.
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
    /// Put a bundle in force, signed by the quorum that the one in force names
    Activate(activate::Activate),
    /// Let a bundle decide beside the one in force, and log where it differs
    Shadow(shadow::Shadow),
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
            Policy::Activate(activate) => activate.run(),
            Policy::Shadow(shadow) => shadow.run(),
        }
    }
}
