//! `fireaxe-host status`

use std::path::PathBuf;
use std::process::ExitCode;

use super::{print, say};
use crate::config::{self, Config};
use crate::daemon::words;
use crate::error::HostError;
use crate::{clock, status};

/// Its words.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the CA is and how its lists are known.
    #[arg(long, value_name = "FILE", default_value = config::PATH)]
    config: PathBuf,
    /// Where the daemon's socket is.
    #[arg(long, value_name = "FILE", hide = true, default_value = words::SOCKET)]
    socket: PathBuf,
}

impl Args {
    pub(super) fn run(self, json: bool) -> Result<ExitCode, HostError> {
        let now = clock::now();
        let status = status::asked(&Config::read(&self.config)?, &self.socket, now);
        if json {
            print(&status);
        } else {
            say(&status.text(now));
        }
        Ok(if status.list_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
