//! `fireaxe-host apply`: makes sshd let certificates in, and proves that they get in before it stays so.
//!
//! | file | what it does |
//! |---|---|
//! | `accounts` | the accounts that are missing |
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
mod refusal;
mod remove;
pub(crate) mod server;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fireaxe_protocol::host::RECORDER;
use fireaxe_protocol::names::AccountName;

pub use armed::settle;
pub use refusal::ApplyError;
pub use remove::{Remove, Removed, remove};

pub(crate) use armed::{ARMED, CONFIRM_S, Room, wait_and_restore};

use crate::atomic::{self, Owned};
use crate::config::{Config, Enrolled};
use crate::daemon::call;
use crate::daemon::words::{Ask, SOCKET};
use crate::drop_in::{DROP_IN, DropIn, PRINCIPALS, Principals, REVOKED, STANDING_KEYS, USER_CA};
use crate::error::HostError;
use crate::files::{self, Files};
use crate::krl;
use armed::Timer;
use effective::Effective;
use server::Server;

/// What `apply` is to do.
#[derive(Debug, Clone)]
pub struct Apply {
    /// The accounts that tiers use here.
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

/// What is to be in sshd's and PAM's files.
struct Wanted {
    drop_in: DropIn,
    /// `/etc/pam.d/sshd`, if it is to change.
    pam: Option<String>,
    /// Path and text of each principals file; none when sshd asks the program.
    principals: Vec<(PathBuf, String)>,
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
        let mut done = Applied {
            recovered: room
                .take_back(&self.sshd, "the process that applied ended before it was confirmed")?,
            ..Applied::default()
        };

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
        let changes = self.changes(&wanted)?;
        if !changes.is_empty() {
            let timer = Timer {
                program: &self.program,
                state: &config.state,
                sshd: &self.sshd,
                within_s: self.within_s,
            };
            room.arm(&paths(&wanted), &timer)?;
        }
        let armed = !changes.is_empty();

        // Steps 4 to 7, and back if one of them fails.
        let tried = self.change(&wanted, enrolled, config, &before, server, &mut done);
        if let Err(why) = tried {
            return Err(if armed { self.back(&room, why) } else { why });
        }

        // Step 8: it stays. A crash before it: the timer, or the next start, puts the old state back.
        if armed {
            room.confirm()?;
        }
        room.forget_last()?;
        done.changed.extend(changes);

        // Step 9: principals that nobody reads any more. A crash before it: files without effect.
        done.removed = stale(&wanted)?;
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
        let had_one = before.iter().any(|(_, effective)| is_ours(effective));
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
            done.notes.push("the daemon does not answer: tiers that must be recorded are refused".into());
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
            only_roots(&self.program)?;
        }
        Ok(())
    }

    fn wanted(&self, enrolled: &Enrolled, root: &Effective) -> Result<Wanted, HostError> {
        let certificate = host_certificate(enrolled);
        let principals = match self.stock {
            true => Principals::Files,
            false => Principals::Command(self.program.clone()),
        };
        let drop_in = DropIn {
            accounts: self.accounts.clone(),
            principals,
            host_certificate: Some(certificate).filter(|path| path.exists()),
        };
        let there = fs::read_to_string(pam::PAM);
        let pam = if self.stock {
            there.ok().map(|text| (pam::without_block(&text), text))
        } else {
            if !root.is("usepam", "yes") {
                return Err(ApplyError::Pam("sshd does not use PAM here (UsePAM no)".into()).into());
            }
            if !has_pam_exec() {
                return Err(ApplyError::Pam("PAM has no pam_exec.so here".into()).into());
            }
            let text = there.map_err(|error| HostError::read(Path::new(pam::PAM), &error))?;
            Some((pam::with_block(&text, &self.program), text))
        };
        let principals = if self.stock {
            let files = Files {
                system: enrolled.system.clone(),
                host: enrolled.host.clone(),
                accounts: self.accounts.clone(),
                user_ca: Vec::new(),
            };
            let one = |account| (principals_file(account), files.principals(account));
            self.accounts.iter().map(one).collect()
        } else {
            Vec::new()
        };
        Ok(Wanted { drop_in, pam: pam.filter(|(new, old)| new != old).map(|(new, _)| new), principals })
    }

    fn prepare(&self, done: &mut Applied) -> Result<(), HostError> {
        let at = |path: &str| Path::new("/").join(path);
        for folder in ["etc/ssh/sshd_config.d", STANDING_KEYS] {
            atomic::folder(&at(folder))?;
        }
        if self.stock {
            atomic::folder(&at(PRINCIPALS))?;
        } else {
            link_recorder(&self.program)?;
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

    /// Which of the files would change.
    fn changes(&self, wanted: &Wanted) -> Result<Vec<String>, HostError> {
        let differs = |path: &Path, text: &str| !fs::read(path).is_ok_and(|there| there == text.as_bytes());
        let mut changes: Vec<String> = Vec::new();
        for (path, text) in &wanted.principals {
            changes.extend(differs(path, text).then(|| path.display().to_string()));
        }
        changes.extend(wanted.pam.is_some().then(|| pam::PAM.to_owned()));
        let drop_in = Path::new("/").join(DROP_IN);
        changes.extend(differs(&drop_in, &wanted.drop_in.text()).then(|| drop_in.display().to_string()));
        Ok(changes)
    }

    /// sshd's settings now: of the accounts that change, of root, and of others that must not.
    fn effective(&self) -> Result<Vec<(String, Effective)>, HostError> {
        let mut names: BTreeSet<String> = self.accounts.iter().map(ToString::to_string).collect();
        names.extend(["root".to_owned(), "nobody".to_owned()]);
        // A person's account: rules for groups show there.
        let person =
            accounts::all().into_iter().find(|a| (1000..60_000).contains(&a.uid) && !names.contains(&a.name));
        names.extend(person.map(|account| account.name));
        let ask = |name: String| Effective::ask(&self.sshd, &name).map(|effective| (name, effective));
        names.into_iter().map(ask).collect::<Result<_, _>>().map_err(HostError::from)
    }

    /// What must be in force for an account; everything else must be as it was.
    fn meant(
        &self,
        drop_in: &DropIn,
        account: &str,
        before: &Effective,
        after: &Effective,
        had_one: bool,
    ) -> Vec<(String, Vec<String>)> {
        let mut meant: Vec<(String, Vec<String>)> = Vec::new();
        // With an older drop-in of ours, what was before is not what the site says: what ours no longer
        // sets may be anything again.
        if had_one {
            meant.extend(OURS.iter().map(|keyword| ((*keyword).to_owned(), after.all(keyword).to_vec())));
        }
        let certificate = drop_in.host_certificate.as_ref().map(|path| path.display().to_string());
        let others = before.all("hostcertificate").iter().filter(|path| Some(*path) != certificate.as_ref());
        let certificates: Vec<String> = certificate.iter().chain(others).cloned().collect();
        if !had_one || certificate.is_some() {
            meant.retain(|(keyword, _)| keyword != "hostcertificate");
            meant.push(("hostcertificate".into(), certificates));
        }
        if let Some(account) = self.accounts.iter().find(|name| name.as_str() == account) {
            for (keyword, value) in drop_in.meant(account) {
                meant.retain(|(other, _)| *other != keyword);
                meant.push((keyword, vec![value]));
            }
        }
        meant
    }
}

/// Whether the daemon takes questions.
fn daemon_is_there() -> bool {
    call::ask(Path::new(SOCKET), &Ask::Status, Duration::from_secs(2)).is_ok()
}

/// Every keyword that a drop-in of ours may set, in either way.
const OURS: [&str; 10] = [
    "trustedusercakeys",
    "authorizedprincipalsfile",
    "authorizedprincipalscommand",
    "authorizedprincipalscommanduser",
    "revokedkeys",
    "loglevel",
    "authorizedkeysfile",
    "authorizedkeyscommand",
    "permituserrc",
    "hostcertificate",
];

fn is_ours(effective: &Effective) -> bool {
    effective.is("revokedkeys", &format!("/{REVOKED}"))
}

/// Every file that may change, in the order in which it is put back: the drop-in first, since it names the
/// others.
fn paths(wanted: &Wanted) -> Vec<PathBuf> {
    let mut paths = vec![Path::new("/").join(DROP_IN), PathBuf::from(pam::PAM)];
    paths.extend(wanted.principals.iter().map(|(path, _)| path.clone()));
    paths
}

fn principals_file(account: &AccountName) -> PathBuf {
    Path::new("/").join(PRINCIPALS).join(account.as_str())
}

/// Removes principals files that nobody reads; gives which.
fn stale(wanted: &Wanted) -> Result<Vec<String>, HostError> {
    let folder = Path::new("/").join(PRINCIPALS);
    let mut removed = Vec::new();
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_str().is_some_and(|name| name.parse::<AccountName>().is_ok());
        if ours && !wanted.principals.iter().any(|(kept, _)| *kept == path) && atomic::remove(&path)? {
            removed.push(path.display().to_string());
        }
    }
    removed.sort();
    Ok(removed)
}

/// Where a host's certificate is: beside its key, as OpenSSH names it.
pub(crate) fn host_certificate(enrolled: &Enrolled) -> PathBuf {
    let mut path = enrolled.host_key.clone().into_os_string();
    path.push("-cert.pub");
    path.into()
}

/// The recorder, by the name that certificates have in them.
fn link_recorder(program: &Path) -> Result<(), HostError> {
    let link = Path::new(RECORDER);
    if fs::read_link(link).is_ok_and(|to| to == program) {
        return Ok(());
    }
    if let Some(folder) = link.parent() {
        atomic::folder(folder)?;
    }
    // A crash between the two: no recorder, so recorded tiers are refused until the next run.
    atomic::remove(link)?;
    symlink(program, link).map_err(|error| HostError::write(link, &error))
}

/// Whether root alone can change a program and every folder above it: sshd refuses it otherwise, and PAM
/// does not ask.
pub(crate) fn only_roots(program: &Path) -> Result<(), ApplyError> {
    let wrong = |path: &Path, why: &str| ApplyError::Program {
        path: program.into(),
        why: format!("{} {why}", path.display()),
    };
    // The words of the drop-in and of PAM's file are split at blanks.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !program.is_absolute() || !program.to_str().is_some_and(|path| path.chars().all(plain)) {
        return Err(wrong(program, "has characters that sshd or PAM would read otherwise"));
    }
    let real = program.canonicalize().map_err(|error| wrong(program, &error.to_string()))?;
    for path in real.ancestors() {
        let meta = fs::metadata(path).map_err(|error| wrong(path, &error.to_string()))?;
        if meta.uid() != 0 {
            return Err(wrong(path, "belongs to somebody else than root"));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(wrong(path, "can be changed by others than root"));
        }
    }
    Ok(())
}

/// Whether PAM's module that runs a program is there.
pub(crate) fn has_pam_exec() -> bool {
    let mut folders: Vec<PathBuf> =
        ["/lib/security", "/lib64/security", "/usr/lib/security", "/usr/lib64/security"]
            .map(PathBuf::from)
            .into();
    // Debian: one for each architecture.
    for entry in fs::read_dir("/usr/lib").into_iter().flatten().flatten() {
        folders.push(entry.path().join("security"));
    }
    folders.iter().any(|folder| folder.join("pam_exec.so").exists())
}
