//! `fireaxe-ca`: reads the command line, runs one command, says how it ended.

use std::process::ExitCode;

use clap::Parser;
use fireaxe_ca::command::Cli;

fn main() -> ExitCode {
    // What a CA writes (log, keys, socket) is nobody else's to read, whatever its folder allows.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    Cli::parse().run()
}
