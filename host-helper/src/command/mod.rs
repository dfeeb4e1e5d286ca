//! The command line: a verb a file. Each reads its words, asks a room, and says what came of it.

mod apply;
mod doctor;
mod enrol;
mod files;
mod hook;
mod krl;
mod principals;
mod remove;
mod run;
mod status;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::HostError;
use crate::escape::lines;

/// What a host runs: who may come in by a certificate, until when, what is recorded, and how it ends.
#[derive(Parser)]
#[command(name = "fireaxe-host", version, max_term_width = 100)]
struct Cli {
    /// Answer with one JSON object on standard output.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make sshd let certificates in, and prove by a login that they get in; else all is as before.
    Apply(apply::Args),
    /// Take everything of Fireaxe off this host.
    Remove(remove::Args),
    /// Look for what is not as it was set up, and for ways in that need no emergency.
    Doctor(doctor::Args),
    /// Write the CA keys, the principals of each account and our file for sshd (10-fireaxe.conf).
    Files(files::Args),
    /// Fetch the newest revocation list, check it and put it in force. Once; for a timer.
    Krl(krl::Args),
    /// Make this host one of the CA's: its name, its host certificate, its first revocation list.
    Enrol(enrol::Args),
    /// Follow the CA, keep the revocation list, register what comes in and end it in time.
    Run(run::Args),
    /// Show what is in force and how old it is.
    Status(status::Args),
    /// Run and record a session. sshd calls it, by a certificate's forced command or as a login shell.
    #[command(disable_help_flag = true)]
    Session {
        /// `shell`, `run LINE` or `-c LINE`; what runs is what the daemon says.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<std::ffi::OsString>,
    },
    /// Which principals open an account, for a certificate. sshd asks.
    Principals(principals::Args),
    /// Register a login, or refuse it. PAM asks.
    Hook(hook::Args),
}

/// Reads the command line, does it, says what came of it.
pub fn main() -> ExitCode {
    // As a login shell, or by its own path: then nothing on the command line is ours to read.
    let mut words = std::env::args_os();
    if words.next().is_some_and(|called| crate::session::called::is_session(&called)) {
        return crate::session::main(&words.collect::<Vec<_>>());
    }
    let Cli { json, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if std::env::args_os().nth(1).is_some_and(|verb| verb == "principals") => {
            return principals::misread(&error);
        }
        // Whether JSON was asked for can be read although the rest cannot; help is what was asked for.
        Err(error) if error.use_stderr() && std::env::args_os().any(|word| word == "--json") => {
            print(&serde_json::json!({
                "schema": "fireaxe.error/v1",
                "code": "usage",
                "message": error.to_string(),
                "next": "fireaxe-host --help",
                "exit": 2,
            }));
            return ExitCode::from(2);
        }
        Err(error) => error.exit(),
    };
    let done = match command {
        Command::Apply(args) => args.run(json),
        Command::Remove(args) => args.run(json),
        Command::Doctor(args) => args.run(json),
        Command::Files(args) => args.run(json),
        Command::Krl(args) => args.run(json),
        Command::Enrol(args) => args.run(json),
        Command::Run(args) => args.run(),
        Command::Status(args) => args.run(json),
        Command::Session { words } => return crate::session::main(&words),
        Command::Principals(args) => return args.run(),
        Command::Hook(args) => return args.run(),
    };
    done.unwrap_or_else(|error| failed(&error, json))
}

fn failed(error: &HostError, json: bool) -> ExitCode {
    if json {
        print(&serde_json::json!({
            "schema": "fireaxe.error/v1",
            "code": error.code(),
            "message": error.to_string(),
            "next": error.next(),
            "exit": error.exit_code(),
        }));
    } else {
        say(&format!("fireaxe-host: {error}\n  next: {}\n", error.next()));
    }
    ExitCode::from(error.exit_code())
}

/// Data goes to standard output; a reader that has gone away is no error of ours.
fn print(value: &impl serde::Serialize) {
    let text = serde_json::to_string(value).unwrap_or_default();
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Human text goes to standard error, with nothing in it that speaks to a terminal; a reader that has gone away
/// is no error of ours.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(lines(text).as_bytes());
}
