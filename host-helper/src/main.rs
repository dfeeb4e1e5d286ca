//! `fireaxe-host`: the command line. What the commands do is in the rooms of the library.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fireaxe_host::config::{self, Config};
use fireaxe_host::error::HostError;
use fireaxe_host::files::{Files, Place, read_user_ca};
use fireaxe_host::{clock, krl, status};
use fireaxe_protocol::names::{AccountName, HostName, SystemName};

/// What a host runs: files for a stock sshd, and a revocation list that never locks anyone out.
#[derive(Parser)]
#[command(name = "fireaxe-host", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the CA keys, the principals of each account and the sshd drop-in.
    Files {
        /// The system this host belongs to, e.g. payments-db.
        #[arg(long)]
        system: SystemName,
        /// This host's name as the policy has it, e.g. db-3.payments.prod.
        #[arg(long)]
        host: HostName,
        /// An account that tiers use here; once for each.
        #[arg(long = "account", required = true)]
        accounts: Vec<AccountName>,
        /// The CA's public keys, one a line.
        #[arg(long, value_name = "FILE")]
        user_ca: PathBuf,
        /// Write below this directory, e.g. into an image.
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
        /// Go on although sshd has another CA or revocation list, which then no longer counts for these
        /// accounts.
        #[arg(long)]
        replace: bool,
        /// The sshd to ask whether it takes the result.
        #[arg(long, value_name = "FILE", default_value = "/usr/sbin/sshd")]
        sshd: PathBuf,
    },
    /// Fetch the newest revocation list, check it and put it in force. Once; for a timer.
    Krl {
        /// Where the CA is and how its lists are known.
        #[arg(long, value_name = "FILE", default_value = config::PATH)]
        config: PathBuf,
    },
    /// Show what is in force and how old it is.
    Status {
        /// Where the CA is and how its lists are known.
        #[arg(long, value_name = "FILE", default_value = config::PATH)]
        config: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("fireaxe-host: {error}\n"));
            if let Some(hint) = error.hint() {
                say(&format!("  {hint}\n"));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command) -> Result<ExitCode, HostError> {
    match command {
        Command::Files { system, host, accounts, user_ca, root, replace, sshd } => {
            let files = Files {
                system,
                host,
                accounts: accounts.into_iter().collect::<BTreeSet<_>>(),
                user_ca: read_user_ca(&user_ca)?,
            };
            let live = root == Path::new("/");
            let sshd = Some(sshd).filter(|sshd| live && sshd.exists());
            let asked = sshd.is_some();
            let written = files.write(&Place { root, replace, sshd })?;
            for path in &written.changed {
                say(&format!("wrote {path}\n"));
            }
            for path in &written.removed {
                say(&format!("removed {path}\n"));
            }
            if written.changed.is_empty() && written.removed.is_empty() {
                say("nothing to change\n");
            } else if asked {
                say("sshd takes the configuration; it counts after: systemctl reload ssh\n");
            } else if live {
                say("it counts after: sshd -t && systemctl reload ssh\n");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Krl { config } => {
            match krl::update(&Config::read(&config)?, clock::now())? {
                krl::Outcome::Replaced { version } => {
                    say(&format!("revocation list: version {version} is in force\n"));
                }
                krl::Outcome::Newest { version } => {
                    say(&format!("revocation list: version {version} is the newest\n"));
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Status { config, json } => {
            let status = status::status(&Config::read(&config)?, clock::now());
            if json {
                let text = serde_json::to_string(&status).unwrap_or_default();
                // A reader that has gone away is no error of ours.
                let _ = writeln!(std::io::stdout(), "{text}");
            } else {
                say(&status.text());
            }
            Ok(if status.list_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// Human text goes to standard error; a reader that has gone away is no error of ours.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
