//! `fireaxe-host principals`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::journal::{Line, Severity};
use crate::login::principals::{Asked, consider, tell};
use crate::{clock, config};

/// Its words, as sshd fills them in.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The account asked for: `%u`.
    #[arg(long, allow_hyphen_values = true)]
    account: String,
    /// The certificate: `%k`.
    #[arg(long, allow_hyphen_values = true)]
    certificate: String,
    /// The certificate's key id: `%i`. It is in the certificate; named here for who reads the process list.
    #[arg(long, allow_hyphen_values = true, default_value = "")]
    key_id: String,
    /// Where the CA is and how its certificates are known.
    #[arg(long, value_name = "FILE", default_value = config::PATH)]
    config: PathBuf,
}

impl Args {
    /// Always succeeds: a refusal is that nothing is printed.
    pub(super) fn run(self) -> ExitCode {
        let Args { account, certificate, key_id: _, config } = self;
        let asked = Asked { account: &account, certificate: &certificate };
        let uid = rustix::process::geteuid().as_raw();
        let considered = consider(&asked, &config, clock::now(), uid);
        // sshd reads to the end of it: printed before anybody else is told.
        let _ = std::io::stdout().write_all(considered.output.as_bytes());
        let _ = std::io::stdout().flush();
        let monitor = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
        tell(&asked, &considered, monitor);
        ExitCode::SUCCESS
    }
}

/// Words that cannot be read, of sshd's: refused like everything else, with the reason where it is looked for.
pub(super) fn misread(error: &clap::Error) -> ExitCode {
    let why = error.kind();
    Line::new("considered")
        .with("verdict", "refused")
        .with("reason", "usage")
        .with("why", why)
        .say(Severity::Warning);
    ExitCode::SUCCESS
}
