//! `fireaxe-ca`: reads the command line, runs one command, says how it ended.

use std::process::ExitCode;

use clap::Parser;
use fireaxe_ca::command::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
