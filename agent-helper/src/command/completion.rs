//! `completion`: what the shell needs, generated from the command line itself.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Exit;

pub(super) fn run(shell: Shell) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fireaxe", &mut text);
    // A reader that went away is no error of ours.
    let _ = std::io::stdout().write_all(&text);
    Exit::Ok
}
