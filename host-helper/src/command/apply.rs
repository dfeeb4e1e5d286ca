//! `fireaxe-host apply`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fireaxe_protocol::names::AccountName;

use super::{print, say};
use crate::apply::{ARMED, Applied, Apply, ApplyError, CONFIRM_S, Room, wait_and_restore};
use crate::config::{self, Config};
use crate::error::HostError;

/// Its words.
#[derive(clap::Args)]
pub(super) struct Args {
    /// An account that tiers use here; once for each. Without: those of the drop-in that is there.
    #[arg(long = "account", value_name = "ACCOUNT")]
    accounts: Vec<AccountName>,
    /// sshd reads principals from files: nothing of ours is in the way of a login, and receipts, deadlines
    /// and recordings are not.
    #[arg(long)]
    stock: bool,
    /// Go on although sshd has another CA or revocation list, which then no longer counts for these
    /// accounts.
    #[arg(long)]
    replace: bool,
    /// Let it stay without a login that proves it.
    #[arg(long)]
    no_self_test: bool,
    /// The server that is asked what it makes of the result.
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/sshd")]
    sshd: PathBuf,
    /// How long apply may take before the old state is put back by itself: 10s to 24h.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = seconds)]
    confirm_within: u64,
    /// Where the CA is and who this host is.
    #[arg(long, value_name = "FILE", default_value = config::PATH)]
    config: PathBuf,
    /// Be the timer.
    #[arg(long, value_name = "TIME", hide = true, value_parser = seconds)]
    restore_after: Option<u64>,
    /// Where the timer finds what it puts back.
    #[arg(long, value_name = "DIR", hide = true, default_value = config::STATE)]
    state: PathBuf,
}

impl Args {
    pub(super) fn run(self, json: bool) -> Result<ExitCode, HostError> {
        if let Some(within_s) = self.restore_after {
            return be_the_timer(&self.state, &self.sshd, within_s);
        }
        let config = Config::read(&self.config)?;
        let done = Apply {
            accounts: self.accounts.into_iter().collect(),
            stock: self.stock,
            replace: self.replace,
            self_test: !self.no_self_test,
            sshd: self.sshd,
            program: this_program()?,
            // The timer may run in another folder.
            config: std::path::absolute(&self.config)
                .map_err(|error| HostError::read(&self.config, &error))?,
            within_s: self.confirm_within,
        }
        .run(&config)?;
        if json {
            print(&serde_json::json!({
                "schema": "fireaxe.host-applied/v1",
                "mode": if self.stock { "stock" } else { "helper" },
                "changed": done.changed,
                "removed": done.removed,
                "made": done.made,
                "tested": done.tested,
                "recovered": done.recovered,
                "notes": done.notes,
            }));
        } else {
            say(&text(&done));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text(done: &Applied) -> String {
    let mut out = String::new();
    if done.recovered {
        out.push_str("an earlier apply had not come to its end: its changes were taken back first\n");
    }
    for account in &done.made {
        out.push_str(&format!("made account {account}\n"));
    }
    for path in &done.changed {
        out.push_str(&format!("wrote {path}\n"));
    }
    for path in &done.removed {
        out.push_str(&format!("removed {path}\n"));
    }
    if done.changed.is_empty() {
        out.push_str("nothing to change\n");
    }
    for account in &done.tested {
        out.push_str(&format!("logged in to {account} with a certificate of a minute\n"));
    }
    for note in &done.notes {
        out.push_str(&format!("note: {note}\n"));
    }
    out
}

/// The timer's whole life. It leaves the session that started it, so that its end does not reach it.
fn be_the_timer(state: &Path, sshd: &Path, within_s: u64) -> Result<ExitCode, HostError> {
    // Under systemd it leads a session of its own already.
    let _ = rustix::process::setsid();
    {
        use std::io::Write;
        let mut out = std::io::stdout();
        let _ = out.write_all(ARMED.as_bytes()).and_then(|()| out.flush());
    }
    wait_and_restore(&Room::at(state), sshd, within_s)?;
    Ok(ExitCode::SUCCESS)
}

/// This program's own path, as sshd and PAM are to call it.
pub(super) fn this_program() -> Result<PathBuf, HostError> {
    std::env::current_exe()
        .map_err(|error| ApplyError::Program { path: "fireaxe-host".into(), why: error.to_string() }.into())
}

/// `90s`, `5m`, `1h` as seconds, within [`CONFIRM_S`].
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("a time from 10s to 24h is expected, like 5m; not {text:?}");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text.get(..text.len() - 1).and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
    number.checked_mul(unit).filter(|s| CONFIRM_S.contains(s)).ok_or_else(wrong)
}
