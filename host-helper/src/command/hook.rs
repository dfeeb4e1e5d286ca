//! `fireaxe-host hook`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::login::hook::{Pam, Verdict, places, run};
use crate::{clock, config};

/// Its words.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the CA is and how its certificates are known.
    #[arg(long, value_name = "FILE", default_value = config::PATH)]
    config: PathBuf,
}

impl Args {
    /// Everything else that it must know PAM says, in the environment. What it says itself nobody hears.
    pub(super) fn run(self) -> ExitCode {
        let monitor = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
        match run(&Pam::of_environment(), &places(&self.config), clock::now(), monitor) {
            Verdict::NotOurs | Verdict::Registered | Verdict::Left => ExitCode::SUCCESS,
            Verdict::Refused(_) => ExitCode::FAILURE,
        }
    }
}
