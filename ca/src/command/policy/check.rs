//! `policy check`: may this bundle be used? Prints the whole table for the auditor.

use clap::Args;
use fireaxe_protocol::policy::{Finding, check};

use super::super::bundle_files::{BundleFiles, refused};
use super::super::{Failed, print, tell};
use super::Folder;

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    folder: Folder,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(&self) -> Result<(), Failed> {
        let (hash, table, findings) = match BundleFiles::parse(&self.folder.bundle)? {
            Ok(files) => {
                let report = check(&files.bundle);
                (Some(files.bundle.hash), report.table, report.findings)
            }
            Err(findings) => (None, String::new(), findings),
        };
        if self.json {
            let told = serde_json::json!({
                "schema": "fireaxe.policy_check/v1",
                "ok": findings.is_empty(),
                "bundle": hash,
                "findings": findings.iter().map(as_json).collect::<Vec<_>>(),
                "table": table,
            });
            print(format_args!("{told}\n"))?;
        } else {
            print(&table)?;
        }
        if !findings.is_empty() {
            return Err(refused(&findings));
        }
        tell(format_args!("the bundle is sound: total, monotone, nothing unused"));
        Ok(())
    }
}

fn as_json(finding: &Finding) -> serde_json::Value {
    let Finding { file, line, column, code, message, help } = finding;
    serde_json::json!({
        "file": file, "line": line, "column": column, "code": code, "message": message, "help": help,
    })
}
