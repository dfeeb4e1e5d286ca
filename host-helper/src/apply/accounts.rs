//! Accounts that `apply` makes: the one that `principals` runs as, and those of tiers that are missing. Each
//! bears a mark, so that `remove` takes away what was made here and nothing else.

use std::fs;
use std::path::Path;
use std::process::Command;

use fireaxe_protocol::names::AccountName;

use super::ApplyError;
use crate::atomic;
use crate::drop_in::SERVICE_USER;
use crate::escape::{SAID, plain};

/// The comment field of an account that was made here.
const MARK: &str = "made by fireaxe-host";

/// A line of the host's account database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its name.
    pub(crate) name: String,
    /// Its uid.
    pub(crate) uid: u32,
    /// Whether it was made here.
    pub(crate) ours: bool,
    /// Its home.
    pub(crate) home: String,
    /// Its login shell.
    pub(crate) shell: String,
}

impl Account {
    /// Reads `name:x:uid:gid:comment:home:shell`.
    pub(crate) fn read(line: &str) -> Option<Account> {
        let mut words = line.trim_end().split(':');
        let name = words.next()?.to_owned();
        let uid = words.nth(1)?.parse().ok()?;
        let ours = words.nth(1)? == MARK;
        let (home, shell) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Account { name, uid, ours, home, shell })
    }
}

/// The account of this name, by the host's own name service.
pub(crate) fn find(name: &str) -> Option<Account> {
    let answer = Command::new("getent").args(["passwd", name]).output().ok()?;
    Account::read(String::from_utf8_lossy(&answer.stdout).lines().next()?)
}

/// All local accounts, and those the name service lists.
pub(crate) fn all() -> Vec<Account> {
    let answer = Command::new("getent").arg("passwd").output();
    let text = match answer {
        Ok(answer) if answer.status.success() => String::from_utf8_lossy(&answer.stdout).into_owned(),
        _ => fs::read_to_string("/etc/passwd").unwrap_or_default(),
    };
    text.lines().filter_map(Account::read).collect()
}

/// Makes the account that `principals` runs as, unless it is there.
pub(crate) fn make_service_user() -> Result<bool, ApplyError> {
    if find(SERVICE_USER).is_some() {
        return Ok(false);
    }
    let words = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"];
    useradd(SERVICE_USER, &words, "/usr/sbin/nologin").map(|()| true)
}

/// Makes a tier's account, unless it is there. Nobody can log in to it but by certificate: it has no
/// password, and its home is root's, so nobody leaves a start-up file or a key there.
pub(crate) fn make_tier_account(account: &AccountName, shell: &str) -> Result<bool, ApplyError> {
    if let Some(there) = find(account.as_str()) {
        if there.ours && there.shell != shell {
            run(Command::new("usermod").args(["--shell", shell, account.as_str()]), account.as_str())?;
        }
        return Ok(false);
    }
    let home = format!("/home/{account}");
    // A crash between the two: an account without a home, made whole by the next run or by hand.
    useradd(account.as_str(), &["--user-group", "--no-create-home", "--home-dir", &home], shell)?;
    atomic::folder(Path::new(&home)).map_err(|error| failed(account.as_str(), &error.to_string()))?;
    Ok(true)
}

/// Removes every account that was made here; gives their names. A home is removed if it is empty.
pub(crate) fn remove_made() -> Result<Vec<String>, ApplyError> {
    let mut removed = Vec::new();
    for account in all().into_iter().filter(|account| account.ours) {
        run(Command::new("userdel").arg(&account.name), &account.name)?;
        if account.home != "/nonexistent" {
            // What somebody left in it is theirs to look at.
            let _ = fs::remove_dir(&account.home);
        }
        removed.push(account.name);
    }
    Ok(removed)
}

fn useradd(name: &str, words: &[&str], shell: &str) -> Result<(), ApplyError> {
    let mut command = Command::new("useradd");
    // `*` is no password; the `!` of useradd would lock the account for an sshd without PAM.
    command.args(words).args(["--comment", MARK, "--password", "*", "--shell", shell, name]);
    run(&mut command, name)
}

fn run(command: &mut Command, account: &str) -> Result<(), ApplyError> {
    let output = command.output().map_err(|error| {
        failed(account, &format!("{} cannot be run: {error}", command.get_program().to_string_lossy()))
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(account, String::from_utf8_lossy(&output.stderr).trim()))
}

fn failed(account: &str, why: &str) -> ApplyError {
    ApplyError::Account { account: plain(account, 64), why: plain(why, SAID) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_here_is_known_by_its_mark_alone() {
        let line = "ops:x:2002:2002:made by fireaxe-host:/home/ops:/bin/sh";
        let account = Account::read(line).unwrap();
        assert!(
            account.ours && account.uid == 2002 && account.shell == "/bin/sh" && account.home == "/home/ops"
        );
        for other in ["ops:x:2002:2002::/home/ops:/bin/sh", "ops:x:2:2:made by fireaxe-host,,,:/h:/s"] {
            assert!(!Account::read(other).unwrap().ours);
        }
        for broken in ["", "ops", "ops:x:u:2::/h:/s", "+::::::"] {
            assert_eq!(Account::read(broken), None);
        }
    }
}
