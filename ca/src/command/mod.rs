//! The operator's and auditor's commands. Human text to stderr, data to stdout, exit codes as
//! documented: 0 ok, 1 error, 2 usage, 69 CA unavailable, 78 bad configuration.

mod bundle_files;
mod clock;
mod doctor;
mod incident;
mod init;
mod krl;
mod log;
mod operator_client;
mod policy;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// SSH certificate authority for emergencies.
#[derive(Debug, Parser)]
#[command(name = "fireaxe-ca", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new CA: keys, log, first policy
    Init(init::Init),
    /// Run the CA
    Serve(serve::Serve),
    /// Record what is known of an incident
    #[command(subcommand)]
    Incident(incident::Incident),
    /// Check, test and explain a policy bundle, offline
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Verify the log
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Write the current revocation list to stdout
    Krl(krl::KrlCommand),
    /// Confirm the clock after a jump
    #[command(subcommand)]
    Clock(clock::Clock),
    /// Look for what is wrong with this CA
    Doctor(doctor::Doctor),
}

/// Which CA.
#[derive(Debug, Args)]
struct Data {
    /// The CA's data folder
    #[arg(long = "data", value_name = "DIR", env = "FIREAXE_CA_DATA")]
    dir: PathBuf,
}

/// How a command that did not succeed ended.
#[derive(Debug)]
struct Failed {
    code: u8,
    lines: Vec<String>,
    hint: Option<String>,
}

impl Failed {
    /// Something went wrong.
    fn error(line: impl std::fmt::Display) -> Failed {
        Failed { code: 1, lines: vec![line.to_string()], hint: None }
    }

    /// The CA cannot be reached.
    fn unavailable(line: impl std::fmt::Display) -> Failed {
        Failed { code: 69, lines: vec![line.to_string()], hint: None }
    }

    /// What was given to work with is not right.
    fn config(lines: Vec<String>) -> Failed {
        Failed { code: 78, lines, hint: None }
    }

    #[must_use]
    fn hint(mut self, hint: impl Into<String>) -> Failed {
        self.hint = Some(hint.into());
        self
    }
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Init(init) => init.run(),
            Command::Serve(serve) => serve.run(),
            Command::Incident(incident) => incident.run(),
            Command::Policy(policy) => policy.run(),
            Command::Log(log) => log.run(),
            Command::Krl(krl) => krl.run(),
            Command::Clock(clock) => clock.run(),
            Command::Doctor(doctor) => doctor.run(),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failed) => {
                for line in &failed.lines {
                    eprintln!("error: {line}");
                }
                if let Some(hint) = &failed.hint {
                    eprintln!("next:  {hint}");
                }
                ExitCode::from(failed.code)
            }
        }
    }
}
