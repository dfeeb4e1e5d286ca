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
    /// Answer with one JSON object on standard output.
    #[arg(long, global = true)]
    json: bool,
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
    },
}

fn main() -> ExitCode {
    let Cli { json, command } = match Cli::try_parse() {
        Ok(cli) => cli,
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
    match run(command, json) {
        Ok(code) => code,
        Err(error) => {
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
    }
}

fn run(command: Command, json: bool) -> Result<ExitCode, HostError> {
    match command {
        Command::Files { system, host, accounts, user_ca, root, replace, sshd } => {
            let files = Files {
                system,
                host,
                accounts: accounts.into_iter().collect::<BTreeSet<_>>(),
                user_ca: read_user_ca(&user_ca)?,
            };
            let live = root == Path::new("/");
            let unknown = if live { unknown_accounts(&files.accounts) } else { Vec::new() };
            let sshd = Some(sshd).filter(|sshd| live && sshd.exists());
            let asked = sshd.is_some();
            let written = files.write(&Place { root, replace, sshd })?;
            if json {
                print(&serde_json::json!({
                    "schema": "fireaxe.host-files/v1",
                    "changed": written.changed,
                    "removed": written.removed,
                    "sshd_asked": asked,
                    "unknown_accounts": unknown,
                }));
                return Ok(ExitCode::SUCCESS);
            }
            for path in &written.changed {
                say(&format!("wrote {path}\n"));
            }
            for path in &written.removed {
                say(&format!("removed {path}\n"));
            }
            for account in &unknown {
                say(&format!("note: there is no account {account} on this host; useradd makes it\n"));
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
            let outcome = krl::update(&Config::read(&config)?, clock::now())?;
            if json {
                let (krl::Outcome::Replaced { version } | krl::Outcome::Newest { version }) = outcome;
                let replaced = matches!(outcome, krl::Outcome::Replaced { .. });
                let schema = "fireaxe.host-fetched/v1";
                print(&serde_json::json!({"schema": schema, "version": version, "replaced": replaced}));
                return Ok(ExitCode::SUCCESS);
            }
            match outcome {
                krl::Outcome::Replaced { version } => {
                    say(&format!("revocation list: version {version} is in force\n"));
                }
                krl::Outcome::Newest { version } => {
                    say(&format!("revocation list: version {version} is the newest\n"));
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Status { config } => {
            let status = status::status(&Config::read(&config)?, clock::now());
            if json {
                print(&status);
            } else {
                say(&status.text());
            }
            Ok(if status.list_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// Accounts that the host's own name service does not know: sshd would refuse them. It may know them
/// later, so this is a note and no failure. Exit code 2 of `getent` is "not found".
fn unknown_accounts(accounts: &BTreeSet<AccountName>) -> Vec<&AccountName> {
    let unknown = |account: &&AccountName| {
        let asked = std::process::Command::new("getent").args(["passwd", account.as_str()]).output();
        asked.is_ok_and(|answer| answer.status.code() == Some(2))
    };
    accounts.iter().filter(unknown).collect()
}

/// Data goes to standard output; a reader that has gone away is no error of ours.
fn print(value: &impl serde::Serialize) {
    let text = serde_json::to_string(value).unwrap_or_default();
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Human text goes to standard error; a reader that has gone away is no error of ours.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
