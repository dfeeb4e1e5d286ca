//! The engineer's end: declares an emergency, holds its certificate in memory, lets plain `ssh` use it.
//!
//! | room | what it does |
//! |---|---|
//! | `cli` | what can be typed |
//! | `command` | one file a verb |
//! | `authority` | the CA as this client knows it: statements, reads, the check of what comes back |
//! | `agreed` | whether an answer is about what was asked and gives no more |
//! | `request` | what an approver is shown, read from the entries themselves |
//! | `heads` | the newest head of the log that this client has seen, and what does not fit it |
//! | `copy` | an auditor's copy of the whole log |
//! | `signing` | statements signed through the person's own ssh-keygen and ssh-agent |
//! | `agent` | the in-memory ssh-agent |
//! | `control` | how the verbs talk to the agent |
//! | `words`, `screen`, `failure`, `exit` | what is said, how it is printed, how a verb ends |
//! | `config`, `places` | the configuration, where things lie |
//! | `tty` | the terminal: its width, Ctrl-C as a key, a line for one that is in use |
//! | `lockdown`, `clock`, `randomness` | the machine below |
//!
//! What a person may do is the CA's to decide; nothing here widens it.

mod agent;
mod agreed;
mod authority;
mod cli;
mod clock;
mod command;
mod config;
mod control;
mod copy;
mod exit;
mod failure;
mod heads;
mod known_hosts;
mod lockdown;
mod parts;
mod places;
mod randomness;
mod request;
mod screen;
mod signing;
mod tty;
mod words;

use std::process::ExitCode;

use clap::Parser;

/// `fireaxe` alone: its help, which is what somebody new to it needs.
const NO_VERB: clap::error::ErrorKind = clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

/// Runs the program with the process's own arguments and environment.
pub fn main() -> ExitCode {
    let text = |name: &str| std::env::var(name).ok();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        // Help and the version are what was asked for.
        Err(error) if !error.use_stderr() || error.kind() == NO_VERB => error.exit(),
        Err(error) => {
            // What was typed could not be read; whether JSON was asked for can.
            let json = std::env::args_os().any(|word| word == "--json");
            let failure = failure::Failure::usage(&error, std::env::args().nth(1).as_deref());
            failure.print(&screen::Screen::new(json, text));
            return failure.exit().into();
        }
    };
    let screen = screen::Screen::new(cli.json, text);
    match command::run(cli.verb, screen) {
        Ok(code) => code,
        Err(failure) => {
            failure.print(&screen);
            failure.exit().into()
        }
    }
}
