//! `policy diff`: what a change of the bundle changes, in words.

use std::path::PathBuf;

use clap::Args;
use fireaxe_protocol::policy::diff;

use super::super::bundle_files::BundleFiles;
use super::super::{Failed, print};

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Folder with the bundle before
    before: PathBuf,
    /// Folder with the bundle after
    after: PathBuf,
    /// Print the differences as JSON
    #[arg(long)]
    json: bool,
    /// Exit with 1 when the bundles differ
    #[arg(long)]
    exit_code: bool,
}

impl Diff {
    pub(super) fn run(&self) -> Result<(), Failed> {
        let (before, after) = both(BundleFiles::read(&self.before), BundleFiles::read(&self.after))?;
        let found = diff(&before.bundle, &after.bundle);
        if self.json {
            let mut told = serde_json::to_value(&found).map_err(Failed::error)?;
            if let Some(told) = told.as_object_mut() {
                told.insert("schema".into(), "fireaxe.policy_diff/v1".into());
                told.insert("looser".into(), found.is_looser().into());
            }
            print(format_args!("{told}\n"))?;
        } else {
            print(&found)?;
        }
        if self.exit_code && !found.is_empty() {
            return Err(Failed { code: 1, lines: Vec::new(), hint: None });
        }
        Ok(())
    }
}

/// Both, or what is wrong with both.
fn both<T>(a: Result<T, Failed>, b: Result<T, Failed>) -> Result<(T, T), Failed> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(mut failed), Err(other)) => {
            failed.lines.extend(other.lines);
            Err(failed)
        }
        (Err(failed), Ok(_)) | (Ok(_), Err(failed)) => Err(failed),
    }
}
