//! `fireaxe-host krl`

use std::path::PathBuf;
use std::process::ExitCode;

use super::{print, say};
use crate::config::{self, Config};
use crate::error::HostError;
use crate::{clock, krl};

/// Its words.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the CA is and how its lists are known.
    #[arg(long, value_name = "FILE", default_value = config::PATH)]
    config: PathBuf,
}

impl Args {
    pub(super) fn run(self, json: bool) -> Result<ExitCode, HostError> {
        let outcome = krl::update(&Config::read(&self.config)?, clock::now())?;
        let (krl::Outcome::Replaced { version } | krl::Outcome::Newest { version }) = outcome;
        let replaced = matches!(outcome, krl::Outcome::Replaced { .. });
        if json {
            let schema = "fireaxe.host-fetched/v1";
            print(&serde_json::json!({"schema": schema, "version": version, "replaced": replaced}));
        } else {
            let is = if replaced { "in force" } else { "the newest" };
            say(&format!("revocation list: version {version} is {is}\n"));
        }
        Ok(ExitCode::SUCCESS)
    }
}
