//! `fireaxe-host remove`

use std::path::PathBuf;
use std::process::ExitCode;

use super::apply::this_program;
use super::{print, say};
use crate::apply::{Remove, remove};
use crate::config;
use crate::error::HostError;

/// Its words.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Leave /var/lib/fireaxe: reports and recordings that are not sent yet, what was known of the log.
    #[arg(long)]
    keep_state: bool,
    /// The server that is asked what it makes of the result.
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/sshd")]
    sshd: PathBuf,
    /// Where the CA is and who this host is.
    #[arg(long, value_name = "FILE", default_value = config::PATH)]
    config: PathBuf,
}

impl Args {
    pub(super) fn run(self, json: bool) -> Result<ExitCode, HostError> {
        let Args { keep_state, sshd, config } = self;
        let config = std::path::absolute(&config).map_err(|error| HostError::read(&config, &error))?;
        let done = remove(&Remove { config, sshd, program: this_program()?, keep_state })?;
        if json {
            print(&serde_json::json!({
                "schema": "fireaxe.host-removed/v1",
                "removed": done.removed,
                "accounts": done.accounts,
                "left": done.left,
            }));
            return Ok(ExitCode::SUCCESS);
        }
        for path in &done.removed {
            say(&format!("removed {path}\n"));
        }
        for account in &done.accounts {
            say(&format!("removed account {account}\n"));
        }
        for what in &done.left {
            say(&format!("left {what}\n"));
        }
        if let Some(host) = &done.host {
            say(&format!(
                "the CA still counts this host\n  next, at the CA: fireaxe-ca host retire {host} --data DIR\n"
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}
