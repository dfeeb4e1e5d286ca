//! `fireaxe-host run`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{self, Config};
use crate::daemon::{Places, run};
use crate::error::HostError;

/// Its words.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the CA is, who this host is, and where its files are.
    #[arg(long, value_name = "FILE", default_value = config::PATH)]
    config: PathBuf,
    /// Where the socket and what is known of live connections are.
    #[arg(long, value_name = "DIR", hide = true)]
    run_dir: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode, HostError> {
        let config = Config::read(&self.config)?;
        if config.enrolled.is_none() {
            return Err(HostError::NotEnrolled(self.config));
        }
        let places = match self.run_dir {
            Some(dir) => Places { socket: dir.join("host.sock"), connections: dir.join("connections") },
            None => Places::default(),
        };
        // It returns only when it cannot go on; what it could not do is what is told.
        Err(run(config, &places)?)
    }
}
