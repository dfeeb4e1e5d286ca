//! `fireaxe-host files`: the CA's keys, the principals of each account, and the drop-in that makes a stock
//! sshd read them.
//!
//! The order is what keeps doors as they were if this ends half-way: what the drop-in names exists, whole,
//! before the drop-in does; and there is no trust without a revocation list, since a `RevokedKeys` whose
//! file is missing refuses everybody and a missing `RevokedKeys` revokes nobody.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::{AccountName, HostName, Principal, SystemName};

use crate::config::{self, Config};
use crate::drop_in::{self, DROP_IN, DropIn, PRINCIPALS, Principals, REVOKED, STANDING_KEYS, USER_CA};
use crate::error::HostError;
use crate::escape::{SAID, plain};
use crate::{atomic, krl};

/// What the files are to say.
#[derive(Debug, Clone)]
pub struct Files {
    /// The system the host belongs to.
    pub system: SystemName,
    /// The host's own name.
    pub host: HostName,
    /// The accounts that tiers use here, `root` included if they do. Not empty.
    pub accounts: BTreeSet<AccountName>,
    /// The keys that may sign user certificates: current, next, offline. Not empty.
    pub user_ca: Vec<Ed25519Key>,
}

/// Where and how they are written.
#[derive(Debug, Clone)]
pub struct Place {
    /// `/`, or the root of an image.
    pub root: PathBuf,
    /// Go on although another CA or revocation list would no longer count for these accounts.
    pub replace: bool,
    /// The sshd that is asked whether it takes the result; `None` when there is none to ask.
    pub sshd: Option<PathBuf>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// Files that are new or changed, without the root.
    pub changed: Vec<String>,
    /// Principals of accounts that are no longer listed.
    pub removed: Vec<String>,
}

/// Reads a file of CA keys: `ssh-ed25519 AAAA... [comment]`, one a line.
pub fn read_user_ca(path: &Path) -> Result<Vec<Ed25519Key>, HostError> {
    let text = fs::read_to_string(path).map_err(|error| HostError::read(path, &error))?;
    let mut keys = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: String| HostError::UserCa { path: path.into(), line: at + 1, why };
        let plain = line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        keys.push(
            plain.parse().map_err(|error: fireaxe_protocol::names::NameError| wrong(error.to_string()))?,
        );
    }
    if keys.is_empty() {
        return Err(HostError::UserCa { path: path.into(), line: 0, why: "it holds no key".into() });
    }
    Ok(keys)
}

impl Files {
    /// The principals that open `account` here, one a line.
    pub fn principals(&self, account: &AccountName) -> String {
        format!(
            "{}\n{}\n",
            Principal::of_system(account, &self.system),
            Principal::of_host(account, &self.host)
        )
    }

    /// Writes everything; nothing is in force before its last step.
    pub fn write(&self, place: &Place) -> Result<Written, HostError> {
        let at = |path: &str| place.root.join(path);
        // An enrolled host has more than files, and `apply` knows how to change over.
        let config = at(config::PATH.trim_start_matches('/'));
        // One that cannot be read may be an enrolled host's: nothing is written over it.
        match Config::read_before(&config) {
            Ok(Some(Config { enrolled: Some(_), .. })) => return Err(HostError::Enrolled(config)),
            Ok(_) => {}
            Err(why) => return Err(HostError::Config { path: config, why }),
        }
        if !place.replace {
            let conflicts = conflicts(&place.root)?;
            if !conflicts.is_empty() {
                return Err(HostError::Conflicts(conflicts));
            }
        }
        let mut written = Written::default();
        let mut put = |path: String, text: String| -> Result<(), HostError> {
            if atomic::write(&at(&path), text.as_bytes())? {
                written.changed.push(format!("/{path}"));
            }
            Ok(())
        };

        // Step 1: what the drop-in will name. A crash here: files that nobody reads yet, or, when the
        // drop-in is there already, each of them old or new and whole.
        atomic::folder(&at("etc/ssh/sshd_config.d"))?;
        atomic::folder(&at(PRINCIPALS))?;
        atomic::folder(&at(STANDING_KEYS))?;
        put(USER_CA.into(), self.user_ca.iter().map(|key| format!("{key}\n")).collect())?;
        for account in &self.accounts {
            put(format!("{PRINCIPALS}/{account}"), self.principals(account))?;
        }

        // Step 2: a list that revokes must be there before anything is trusted.
        let list = at(REVOKED);
        krl::installed(&list).map_err(|why| HostError::NoList { path: list, why })?;

        // Step 3: the drop-in. A crash before it: sshd is as it was. After it: in force at sshd's next
        // reload, all of it.
        let before = fs::read(at(DROP_IN)).ok();
        let drop_in =
            DropIn { accounts: self.accounts.clone(), principals: Principals::Files, host_certificate: None };
        put(DROP_IN.into(), drop_in.text())?;
        if let Some(sshd) = &place.sshd
            && let Err(refusal) = ask(sshd)
        {
            match before {
                Some(bytes) => atomic::write(&at(DROP_IN), &bytes)?,
                None => atomic::remove(&at(DROP_IN))?,
            };
            return Err(HostError::SshdRefuses(refusal));
        }

        // Step 4: principals that nobody names any more. A crash before it: the same files without effect.
        written.removed = self.remove_stale(&at(PRINCIPALS))?;
        Ok(written)
    }

    fn remove_stale(&self, folder: &Path) -> Result<Vec<String>, HostError> {
        let mut removed = Vec::new();
        let entries = fs::read_dir(folder).map_err(|error| HostError::read(folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| HostError::read(folder, &error))?;
            // Only what this command writes: files named like accounts.
            let name = entry.file_name();
            let Some(account) = name.to_str().and_then(|name| name.parse::<AccountName>().ok()) else {
                continue;
            };
            if !self.accounts.contains(&account) && atomic::remove(&entry.path())? {
                removed.push(format!("/{PRINCIPALS}/{account}"));
            }
        }
        removed.sort();
        Ok(removed)
    }
}

/// What in sshd's configuration below `root` stands against the drop-in.
pub(crate) fn conflicts(root: &Path) -> Result<Vec<drop_in::Conflict>, HostError> {
    let mut found = Vec::new();
    let main = root.join("etc/ssh/sshd_config");
    // An image may not have one yet.
    if let Ok(text) = fs::read_to_string(&main) {
        found.extend(drop_in::check_main("/etc/ssh/sshd_config", &text));
    }
    let folder = root.join("etc/ssh/sshd_config.d");
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(found) };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let ours = path == root.join(DROP_IN);
        if ours || path.extension().is_none_or(|ending| ending != "conf") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| HostError::read(&path, &error))?;
        found.extend(drop_in::check_other(&path.display().to_string(), &text));
    }
    Ok(found)
}

/// Asks sshd whether it takes its configuration (`sshd -t`); if not, what it says.
pub(crate) fn ask(sshd: &Path) -> Result<(), String> {
    let output = Command::new(sshd).arg("-t").output();
    let output = output.map_err(|error| format!("{}: {error}", sshd.display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(plain(&String::from_utf8_lossy(&output.stderr), SAID))
}
