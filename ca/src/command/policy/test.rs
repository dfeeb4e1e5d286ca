//! `policy test`: the bundle's own worked examples, for people and for a build server.

use std::path::PathBuf;

use clap::Args;
use fireaxe_protocol::policy::run_tests;

use super::super::bundle_files::BundleFiles;
use super::super::{Failed, print, tell};
use super::{Folder, junit};

#[derive(Debug, Args)]
pub(crate) struct Test {
    #[command(flatten)]
    folder: Folder,
    /// Also write the results to FILE as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

impl Test {
    pub(super) fn run(&self) -> Result<(), Failed> {
        let files = BundleFiles::read(&self.folder.bundle)?;
        let outcomes = run_tests(&files.bundle);
        let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
        if self.json {
            let tests: Vec<_> = outcomes
                .iter()
                .map(|outcome| {
                    serde_json::json!({
                        "line": outcome.line,
                        "name": outcome.name,
                        "passed": outcome.passed(),
                        "failures": outcome.failures,
                    })
                })
                .collect();
            let told = serde_json::json!({
                "schema": "fireaxe.policy_test/v1",
                "bundle": files.bundle.hash,
                "failed": failed,
                "tests": tests,
            });
            print(format_args!("{told}\n"))?;
        } else {
            for outcome in &outcomes {
                let verdict = if outcome.passed() { "ok  " } else { "FAIL" };
                print(format_args!("{verdict} policy.toml:{} {}\n", outcome.line, outcome.name))?;
                for failure in &outcome.failures {
                    print(format_args!("       {failure}\n"))?;
                }
            }
        }
        if let Some(path) = &self.junit {
            std::fs::write(path, junit::xml(&outcomes))
                .map_err(|e| Failed::error(format!("{}: {e}", path.display())))?;
        }
        tell(format_args!("{} tests, {failed} failed", outcomes.len()));
        if failed == 0 {
            Ok(())
        } else {
            Err(Failed::config(vec![format!("{failed} of the bundle's tests fail")]).hint(
                "mend the policy or the [[test]] on the line given; `policy explain` says how it decides",
            ))
        }
    }
}
