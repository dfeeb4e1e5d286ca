//! `fireaxe-host apply`: makes sshd let certificates in, and proves that they get in before it stays so.
//!
//! | file | what it does |
//! |---|---|
//! | `wanted` | what is to be in the files, what of it is new, what sshd must say then |
//! | `accounts` | the accounts that are missing |
//! | `program` | this program: root's alone, and the recorder's name for it |
//! | `pam` | the block in `/etc/pam.d/sshd` |
//! | `effective` | what sshd makes of its configuration, and whether only that changed which should |
//! | `server` | the sshd that runs: where it listens, how it is told to read again |
//! | `kept` | what was there before, byte by byte |
//! | `armed` | the timer that puts it back unless the end is reached |
//! | `login` | a real login with a certificate of a minute |
//! | `remove` | `fireaxe-host remove` |
//!
//! One of two ways, never both: sshd asks this program for principals and PAM tells the daemon of each
//! connection ([`Principals::Command`]); or sshd reads files and nothing of ours is in the way
//! ([`Principals::Files`]).
//!
//! Everything before [`Step 3`](Apply::run) changes nothing that sshd or PAM reads; from there until it is
//! confirmed, any failure, the death of this process, the end of the session it runs in and a reboot all
//! end in what was there before.

pub(crate) mod accounts;
mod armed;
pub(crate) mod effective;
mod kept;
mod login;
pub(crate) mod pam;
mod program;
mod refusal;
mod remove;
pub(crate) mod server;
mod wanted;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fireaxe_protocol::host::RECORDER;
use fireaxe_protocol::names::AccountName;

pub use armed::settle;
pub use refusal::ApplyError;
pub use remove::{Remove, Removed, remove};

pub(crate) use armed::{ARMED, CONFIRM_S, Room, wait_and_restore};
pub(crate) use program::{has_pam_exec, only_roots};
pub(crate) use wanted::{host_certificate, there as drop_in_there};

use crate::atomic::{self, Owned};
use crate::config::{Config, Enrolled};
use crate::daemon::call;
use crate::daemon::words::{Ask, SOCKET};
use crate::drop_in::{DROP_IN, PRINCIPALS, REVOKED, STANDING_KEYS, USER_CA};
use crate::error::HostError;
use crate::files;
use crate::krl;
use armed::Timer;
use effective::Effective;
use server::Server;
use wanted::Wanted;

/// What `apply` is to do.
#[derive(Debug, Clone)]
pub struct Apply {
    /// The accounts that tiers use here; empty: those of the drop-in that is there.
    pub accounts: BTreeSet<AccountName>,
    /// sshd reads files instead of asking this program.
    pub stock: bool,
    /// Go on although another CA or revocation list would no longer count for these accounts.
    pub replace: bool,
    /// Prove a login before it stays so.
    pub self_test: bool,
    /// The server's program.
    pub sshd: PathBuf,
    /// This program, as sshd and PAM are to call it.
    pub program: PathBuf,
    /// The configuration's own path.
    pub config: PathBuf,
    /// How long until the timer puts the old state back, seconds.
    pub within_s: u64,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Paths that are new or changed.
    pub changed: Vec<String>,
    /// Principals files that nobody reads any more and that are gone.
    pub removed: Vec<String>,
    /// Accounts that were made.
    pub made: Vec<String>,
    /// Accounts that a self-test logged in to.
    pub tested: Vec<AccountName>,
    /// An earlier run had not come to its end and was put back first.
    pub recovered: bool,
    /// What the operator should know.
    pub notes: Vec<String>,
}

impl Apply {
    /// Does it. Gives what was done, or why nothing is changed.
    pub fn run(&self, config: &Config) -> Result<Applied, HostError> {
        if !rustix::process::geteuid().is_root() {
            return Err(ApplyError::NotRoot.into());
        }
        let enrolled = config.enrolled.as_ref().ok_or_else(|| HostError::NotEnrolled(self.config.clone()))?;
        let room = Room::of(config);
        let _lock = room.lock()?;
        let recovered =
            room.take_back(&self.sshd, "the process that applied ended before it was confirmed")?;
        let accounts = match self.accounts.is_empty() {
            true => wanted::accounts_there()?,
            false => self.accounts.clone(),
        };
        let done = Apply { accounts, ..self.clone() }.steps(config, enrolled, &room)?;
        tell_daemon();
        Ok(Applied { recovered, ..done })
    }

    fn steps(&self, config: &Config, enrolled: &Enrolled, room: &Room) -> Result<Applied, HostError> {
        let mut done = Applied::default();

        // Step 1: may this be done at all? Nothing is written.
        self.check(config)?;
        let before = self.effective()?;
        let root = Effective::ask(&self.sshd, "root")?;
        let wanted = self.wanted(enrolled, &root)?;
        let server = Server::find(&root);
        if self.self_test && server.is_none() {
            return Err(ApplyError::Reload("no sshd runs here (give --no-self-test to go on)".into()).into());
        }

        // Step 2: what the drop-in will name and nobody reads yet. A crash here: accounts that nobody can
        // log in to, empty folders, a link.
        self.prepare(&mut done)?;

        // Step 3: keep what is there, start the timer.
        let changes = wanted.changes()?;
        if !changes.is_empty() {
            let timer = Timer {
                program: &self.program,
                state: &config.state,
                sshd: &self.sshd,
                within_s: self.within_s,
            };
            room.arm(&wanted.paths(), &timer)?;
        }
        let armed = !changes.is_empty();

        // Steps 4 to 7, and back if one of them fails.
        let tried = self.change(&wanted, enrolled, config, &before, server, &mut done);
        if let Err(why) = tried {
            return Err(if armed { self.back(room, why) } else { why });
        }

        // Step 8: it stays. A crash before it: the timer, or the next start, puts the old state back.
        if armed {
            room.confirm()?;
        }
        room.forget_last()?;
        done.changed.extend(changes);

        // Step 9: principals that nobody reads any more. A crash before it: files without effect.
        done.removed = wanted.remove_stale()?;
        Ok(done)
    }

    fn change(
        &self,
        wanted: &Wanted,
        enrolled: &Enrolled,
        config: &Config,
        before: &[(String, Effective)],
        server: Option<Server>,
        done: &mut Applied,
    ) -> Result<(), HostError> {
        // Step 4: principals, then PAM, then the drop-in: each is there before what refers to it.
        for (path, text) in &wanted.principals {
            atomic::write(path, text.as_bytes())?;
        }
        let pam = Path::new(pam::PAM);
        if let Some(text) = &wanted.pam {
            atomic::write_owned(pam, text.as_bytes(), Owned::like(pam))?;
        }
        let drop_in = Path::new("/").join(DROP_IN);
        let had_one = before.iter().any(|(_, effective)| wanted::is_ours(effective));
        atomic::write(&drop_in, wanted.drop_in.text().as_bytes())?;

        // Step 5: does sshd take it, and does it do what was meant and nothing else?
        files::ask(&self.sshd).map_err(ApplyError::Sshd)?;
        let mut surprises = Vec::new();
        for (account, before) in before {
            let after = Effective::ask(&self.sshd, account)?;
            let meant = self.meant(&wanted.drop_in, account, before, &after, had_one);
            surprises.extend(after.surprises(account, before, &meant));
        }
        if !surprises.is_empty() {
            return Err(ApplyError::Surprises(surprises).into());
        }

        // Step 6: sshd reads it. Sessions that are there go on.
        let server = match server {
            Some(server) => server.reload(&self.sshd)?,
            None => {
                done.notes.push("no sshd runs here: it counts when one starts".into());
                return Ok(());
            }
        };

        // Step 7: a login as anybody else's.
        if !self.self_test {
            done.notes.push("NOT PROVED: no login was tried (--no-self-test)".into());
            return Ok(());
        }
        let address = server.address().ok_or_else(|| ApplyError::Reload("it listens nowhere".into()))?;
        let tester =
            login::Tester::new(config, enrolled, address, wanted.drop_in.host_certificate.is_some())?;
        for account in &self.accounts {
            tester.log_in(account)?;
            done.tested.push(account.clone());
        }
        if !self.stock && !daemon_is_there() {
            let what = "the daemon does not answer: no recorded tier opens and nothing ends in time; \
                        next: systemctl start fireaxe-host";
            done.notes.push(what.into());
        }
        Ok(())
    }

    /// After a failure: what was there before, and why.
    fn back(&self, room: &Room, why: HostError) -> HostError {
        match room.take_back(&self.sshd, &why.to_string()) {
            Ok(true) => ApplyError::TakenBack(Box::new(why)).into(),
            // The timer was first.
            Ok(false) => ApplyError::TooLate.into(),
            Err(also) => {
                ApplyError::Stuck { why: Box::new(why), also: Box::new(also), kept: room.before() }.into()
            }
        }
    }

    /// Step 1's questions.
    fn check(&self, config: &Config) -> Result<(), HostError> {
        for (is, must) in [(&config.user_ca, USER_CA), (&config.revoked_keys, REVOKED)] {
            let must = Path::new("/").join(must);
            if *is != must {
                let what = format!("{} instead of {}", is.display(), must.display());
                return Err(ApplyError::OtherFiles(what).into());
            }
        }
        if !self.stock && self.config != Path::new(crate::config::PATH) {
            let what = format!("sshd and PAM would have this program read {}", crate::config::PATH);
            return Err(ApplyError::OtherFiles(what).into());
        }
        // There is no trust without a list that revokes: a missing one refuses everybody, an empty nobody.
        let keys = files::read_user_ca(&config.user_ca)?;
        let no_list = |why| HostError::NoList { path: config.revoked_keys.clone(), why };
        krl::installed_for(&config.revoked_keys, &keys).map_err(no_list)?;
        files::ask(&self.sshd).map_err(ApplyError::Sshd)?;
        if !self.replace {
            let conflicts = files::conflicts(Path::new("/"))?;
            if !conflicts.is_empty() {
                return Err(HostError::Conflicts(conflicts));
            }
        }
        if !self.stock {
            program::only_roots(&self.program)?;
        }
        Ok(())
    }

    fn prepare(&self, done: &mut Applied) -> Result<(), HostError> {
        let at = |path: &str| Path::new("/").join(path);
        for folder in ["etc/ssh/sshd_config.d", STANDING_KEYS] {
            atomic::folder(&at(folder))?;
        }
        if self.stock {
            atomic::folder(&at(PRINCIPALS))?;
        } else {
            program::link_recorder(&self.program)?;
            if accounts::make_service_user()? {
                done.made.push(crate::drop_in::SERVICE_USER.into());
            }
        }
        // Accounts that are made here have the recorder as their shell: no start-up file runs before it.
        let shell = if self.stock { "/bin/sh" } else { RECORDER };
        for account in &self.accounts {
            if accounts::make_tier_account(account, shell)? {
                done.made.push(account.to_string());
            }
        }
        Ok(())
    }
}

/// Whether the daemon takes questions.
fn daemon_is_there() -> bool {
    call::ask(Path::new(SOCKET), &Ask::Status, PATIENCE).is_ok()
}

/// What the CA knows of this host is a round of the doctor's old. A daemon that is away looks when it starts.
fn tell_daemon() {
    let _ = call::ask(Path::new(SOCKET), &Ask::Applied, PATIENCE);
}

/// How long the daemon has to answer.
const PATIENCE: Duration = Duration::from_secs(2);
