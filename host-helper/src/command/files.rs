//! `fireaxe-host files`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fireaxe_protocol::names::{AccountName, HostName, SystemName};

use super::{print, say};
use crate::error::HostError;
use crate::files::{Files, Place, read_user_ca};

/// Its words.
#[derive(clap::Args)]
pub(super) struct Args {
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
}

impl Args {
    pub(super) fn run(self, json: bool) -> Result<ExitCode, HostError> {
        let Args { system, host, accounts, user_ca, root, replace, sshd } = self;
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
