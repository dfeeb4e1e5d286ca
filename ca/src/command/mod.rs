//! The operator's and auditor's commands. Human text to stderr, data to stdout, exit codes as
//! documented: 0 ok, 1 error, 2 usage, 69 CA unavailable, 77 looser and not acknowledged, 78 bad
//! configuration.

mod backup;
mod bundle_files;
mod clock;
mod doctor;
mod evidence_access;
mod expiring;
mod fleet;
mod folders;
mod host;
mod incident;
mod init;
mod krl;
mod log;
mod mirror;
mod operator_client;
mod policy;
mod rec;
mod restore;
mod serve;
mod witness;
mod witnesses;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::data_dir::DataDir;
use crate::keys::KeyError;
use crate::log::LogError;

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
    /// Invite, list and retire hosts
    #[command(subcommand)]
    Host(host::Host),
    /// Check, test, explain and compare policy bundles; put one in force
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Verify, replay and compare the log; put evidence into a file
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Write the current revocation list to stdout
    Krl(krl::KrlCommand),
    /// Confirm the clock after a jump
    #[command(subcommand)]
    Clock(clock::Clock),
    /// How hosts are, and how far the newest revocation got
    Fleet(fleet::Fleet),
    /// List, verify, search and play what hosts recorded
    #[command(subcommand)]
    Rec(rec::Rec),
    /// Copy a CA, running or not, to a new folder
    Backup(backup::Backup),
    /// Make a CA's folder from a backup, from its mirror, or from both
    Restore(restore::Restore),
    /// Make and run a witness for a second site
    #[command(subcommand)]
    Witness(witness::Witness),
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

    /// A key file that cannot be used.
    fn key(error: &KeyError) -> Failed {
        let failed = Failed::config(vec![error.to_string()]);
        match error {
            KeyError::Exposed { path, .. } => failed.hint(format!(
                "chmod 600 {}, and think about who has read it: a key that others had is made anew",
                path.display()
            )),
            KeyError::File { .. } | KeyError::Unreadable { .. } => {
                failed.hint("put the key file back from its backup; a CA is never given other keys")
            }
            KeyError::Randomness(_) => failed,
        }
    }

    /// A log that cannot be opened or read.
    fn log(dir: &DataDir, error: LogError) -> Failed {
        let (log, data) = (dir.log(), dir.path().display());
        let failed = Failed::error(format!("{}: {error}", log.display()));
        match error {
            LogError::Missing => Failed::error(format!("there is no CA in {data}"))
                .hint(format!("fireaxe-ca init --data {data} --bundle DIR")),
            LogError::Unfinished => failed.hint(format!(
                "if this CA has never run, remove {data} and run init again; else restore from a copy"
            )),
            LogError::Locked => failed.hint(format!("stop the other fireaxe-ca of {data} first")),
            LogError::ReadOnly => failed
                .hint(format!("make {data} writable to this user: look at its owner, its mode and mount")),
            LogError::Full => failed.hint(format!("make room on the disk of {data}")),
            LogError::NewerSchema { .. } => failed.hint("run the fireaxe-ca that wrote it, or a newer one"),
            LogError::Corrupt(_) | LogError::NotALog | LogError::Entry(_) | LogError::Checkpoint(_) => failed
                .hint(format!(
                    "keep {data} as it is; fireaxe-ca log verify --data {data} says how far it is good; \
                     restore from a copy"
                )),
            _ => failed.hint(format!("fireaxe-ca doctor --data {data}")),
        }
    }

    #[must_use]
    fn hint(mut self, hint: impl Into<String>) -> Failed {
        self.hint = Some(hint.into());
        self
    }
}

/// Writes data to stdout; a reader that went away is an error, not a panic.
fn print(text: impl std::fmt::Display) -> Result<(), Failed> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(|e| Failed::error(format!("stdout: {e}")))
}

/// Writes a line for people to stderr; if nobody reads it, so be it.
fn tell(line: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Init(init) => init.run(),
            Command::Serve(serve) => serve.run(),
            Command::Incident(incident) => incident.run(),
            Command::Host(host) => host.run(),
            Command::Policy(policy) => policy.run(),
            Command::Log(log) => log.run(),
            Command::Krl(krl) => krl.run(),
            Command::Clock(clock) => clock.run(),
            Command::Fleet(fleet) => fleet.run(),
            Command::Rec(rec) => rec.run(),
            Command::Backup(backup) => backup.run(),
            Command::Restore(restore) => restore.run(),
            Command::Witness(witness) => witness.run(),
            Command::Doctor(doctor) => doctor.run(),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failed) => {
                for line in &failed.lines {
                    tell(format_args!("error: {line}"));
                }
                if let Some(hint) = &failed.hint {
                    tell(format_args!("next:  {hint}"));
                }
                ExitCode::from(failed.code)
            }
        }
    }
}
