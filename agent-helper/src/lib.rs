//! The engineer's end: declares an emergency, holds its certificate in memory, lets plain `ssh` use it.
//!
//! | room | what it does |
//! |---|---|
//! | `cli` | what can be typed |
//! | `command` | one file a verb |
//! | `authority` | the CA as this client knows it: statements, reads, the check of what comes back |
//! | `signing` | statements signed through the person's own ssh-keygen and ssh-agent |
//! | `agent` | the in-memory ssh-agent |
//! | `control` | how the verbs talk to the agent |
//! | `words`, `screen`, `failure`, `exit` | what is said, how it is printed, how a verb ends |
//! | `config`, `places`, `hosts` | the configuration, where things lie, host patterns |
//! | `lockdown`, `clock`, `randomness` | the machine below |
//!
//! What a person may do is the CA's to decide; nothing here widens it.

mod agent;
mod authority;
mod cli;
mod clock;
mod command;
mod config;
mod control;
mod exit;
mod failure;
mod hosts;
mod lockdown;
mod places;
mod randomness;
mod screen;
mod signing;
mod words;

use std::process::ExitCode;

use clap::Parser;

/// Runs the program with the process's own arguments and environment.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let text = |name: &str| std::env::var(name).ok();
    let screen = screen::Screen::new(cli.json, text);
    match command::run(cli.verb, screen) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print(&screen);
            failure.exit().into()
        }
    }
}
