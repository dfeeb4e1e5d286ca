//! `fireaxe-host remove`: everything that enrolment and `apply` put here is gone, and sshd and PAM read what
//! they would have read without it.
//!
//! sshd lets go first: a file that its configuration still names and that is missing refuses every key.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fireaxe_protocol::host::RECORDER;
use fireaxe_protocol::names::{AccountName, HostName};

use super::armed::{Room, Timer};
use super::effective::Effective;
use super::server::Server;
use super::{ApplyError, accounts, host_certificate, pam};
use crate::atomic::{self, Owned};
use crate::clock::Deadline;
use crate::config::{Config, no_ca_in};
use crate::daemon::call;
use crate::daemon::words::{Ask, SOCKET};
use crate::drop_in::{DROP_IN, PRINCIPALS, REVOKED, STANDING_KEYS, USER_CA};
use crate::error::HostError;
use crate::files;
use crate::krl::State;

/// What `remove` is to do.
#[derive(Debug, Clone)]
pub struct Remove {
    /// The configuration's path.
    pub config: PathBuf,
    /// The server's program.
    pub sshd: PathBuf,
    /// This program.
    pub program: PathBuf,
    /// Leave `/var/lib/fireaxe`: reports and recordings that are not sent, what was known of the log.
    pub keep_state: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removed {
    /// Paths that are gone or, of PAM's, are as they were.
    pub removed: Vec<String>,
    /// Accounts that `apply` had made and that are gone.
    pub accounts: Vec<String>,
    /// What stays, and why.
    pub left: Vec<String>,
    /// The name under which the CA still counts this host; nothing: it was not enrolled.
    pub host: Option<HostName>,
}

/// How long sshd has to come back before the drop-in does, seconds.
const WITHIN_S: u64 = 60;
/// How long the daemon has to show that it is there.
const PATIENCE: Duration = Duration::from_secs(1);

/// Our files below the state.
const FILES: [&str; 8] = [
    "daemon.lock",
    "krl.lock",
    "krl.json",
    "enrolment.json",
    "head.note",
    "head.damaged",
    "canary-cert.pub",
    "user_ca.pub",
];
/// Our folders below it, with all that is in them.
const FOLDERS: [&str; 5] = ["spool", "recordings", "connections", "evidence", "apply"];

/// Does it.
pub fn remove(how: &Remove) -> Result<Removed, HostError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ApplyError::NotRoot.into());
    }
    if call::say(Path::new(SOCKET), &Ask::Status, Deadline::after(PATIENCE)).is_ok() {
        return Err(ApplyError::DaemonRuns.into());
    }
    // Without a configuration there still is what it would have named.
    let config = Config::read(&how.config).ok();
    let state = config.as_ref().map_or_else(|| PathBuf::from(crate::config::STATE), |c| c.state.clone());
    if !how.keep_state {
        no_ca_in(&state)?;
    }
    let enrolled = config.as_ref().and_then(|config| config.enrolled.as_ref());
    let room = Room::at(&state);
    let lock = room.lock()?;
    let mut done = Removed { host: enrolled.map(|enrolled| enrolled.host.clone()), ..Removed::default() };
    let gone = |done: &mut Removed, path: &Path| -> Result<(), HostError> {
        if atomic::remove_with_rest(path)? {
            done.removed.push(path.display().to_string());
        }
        Ok(())
    };

    // Step 1: what an apply left unfinished is put back.
    room.take_back(&how.sshd, "remove found it unfinished")?;

    // Step 2: sshd and PAM no longer name anything of ours; put back if sshd does not come back.
    let drop_in = Path::new("/").join(DROP_IN);
    let pam = Path::new(pam::PAM);
    let pam_text = fs::read_to_string(pam).ok();
    let cut =
        pam_text.as_ref().map(|text| pam::without_block(text)).filter(|cut| Some(cut) != pam_text.as_ref());
    if drop_in.exists() || cut.is_some() {
        let timer = Timer { program: &how.program, state: &state, sshd: &how.sshd, within_s: WITHIN_S };
        room.arm(&[drop_in.clone(), pam.to_path_buf()], &timer)?;
        let let_go = || -> Result<(), HostError> {
            atomic::remove(&drop_in)?;
            if let Some(text) = &cut {
                atomic::write_owned(pam, text.as_bytes(), Owned::like(pam))?;
            }
            files::ask(&how.sshd).map_err(ApplyError::Sshd)?;
            if let Some(server) = Server::find(&Effective::ask(&how.sshd, "root")?) {
                server.reload(&how.sshd)?;
            }
            Ok(())
        };
        if let Err(why) = let_go() {
            room.take_back(&how.sshd, &why.to_string())?;
            return Err(ApplyError::TakenBack(Box::new(why)).into());
        }
        room.confirm()?;
        done.removed.push(drop_in.display().to_string());
        done.removed.extend(cut.is_some().then(|| format!("{} (the block)", pam.display())));
    }

    // Step 3: what it named. A crash from here on: files that nobody reads; remove goes on where it was.
    let at = |path: &str| Path::new("/").join(path);
    let principals = at(PRINCIPALS);
    for entry in fs::read_dir(&principals).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.parse::<AccountName>().is_ok()) {
            gone(&mut done, &entry.path())?;
        }
    }
    for folder in [principals, at(STANDING_KEYS)] {
        empty_folder(&mut done, &folder);
    }
    for path in [USER_CA, REVOKED] {
        gone(&mut done, &at(path))?;
    }
    let certificate =
        enrolled.map_or_else(|| PathBuf::from("/etc/ssh/ssh_host_ed25519_key-cert.pub"), host_certificate);
    // One that another CA of the site signed is the site's.
    match (
        &certificate,
        enrolled.map(|enrolled| crate::doctor::is_host_certificate_of(&certificate, &enrolled.host_ca)),
    ) {
        (path, Some(true)) => gone(&mut done, path)?,
        (path, _) if path.exists() => done.left.push(format!("{}: not signed by our CA", path.display())),
        _ => {}
    }

    // Step 4: programs' names and accounts.
    let recorder = Path::new(RECORDER);
    if fs::read_link(recorder).is_ok_and(|to| to == how.program) {
        gone(&mut done, recorder)?;
        if let Some(folder) = recorder.parent() {
            empty_folder(&mut done, folder);
        }
    }
    done.accounts = accounts::remove_made()?;

    // Step 5: what this program knew. The configuration last: until then remove can be run again.
    if how.keep_state {
        done.left.push(format!("{}: kept, as asked", state.display()));
    } else {
        // The lock is in it: nobody applies any more who could mind.
        drop(lock);
        forget(&state)?;
        State::forget(&state)?;
        empty_folder(&mut done, &state);
    }
    gone(&mut done, &how.config)?;
    if let Some(folder) = how.config.parent().filter(|folder| *folder == Path::new("/etc/fireaxe")) {
        empty_folder(&mut done, folder);
    }
    Ok(done)
}

/// Removes what this program keeps below its state, by name: the folder may be anybody's.
fn forget(state: &Path) -> Result<(), HostError> {
    for name in FILES {
        atomic::remove_with_rest(&state.join(name))?;
    }
    for name in FOLDERS {
        let path = state.join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(HostError::write(&path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes a folder of ours; what somebody else put into it stays, and is said.
fn empty_folder(done: &mut Removed, path: &Path) {
    match fs::remove_dir(path) {
        Ok(()) => done.removed.push(path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => done.left.push(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_a_ca_is_no_state_and_only_our_own_names_go() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir_all(state.join("spool/damaged")).unwrap();
        fs::write(state.join("krl.json"), "{}").unwrap();
        assert_eq!(no_ca_in(&state), Ok(()));
        fs::write(state.join("notes"), "somebody's").unwrap();
        let mut done = Removed::default();
        forget(&state).unwrap();
        empty_folder(&mut done, &state);
        assert_eq!((done.removed.len(), done.left.len()), (0, 1));
        let names: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["notes"]);
        for ca in ["log.sqlite", "keys"] {
            fs::write(state.join(ca), "").unwrap();
            assert_eq!(no_ca_in(&state), Err(HostError::HoldsCa(state.clone())));
            fs::remove_file(state.join(ca)).unwrap();
        }
        fs::remove_file(state.join("notes")).unwrap();
        empty_folder(&mut done, &state);
        assert!(!state.exists());
    }
}
