//! What is to be in sshd's and PAM's files, what of it differs from what is there, and what sshd must then say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fireaxe_protocol::names::AccountName;

use super::effective::Effective;
use super::{Apply, ApplyError, accounts, pam, program};
use crate::atomic;
use crate::config::Enrolled;
use crate::drop_in::{DROP_IN, DropIn, PRINCIPALS, Principals, REVOKED};
use crate::error::HostError;
use crate::files::Files;

/// What is to be in sshd's and PAM's files.
pub(super) struct Wanted {
    pub(super) drop_in: DropIn,
    /// `/etc/pam.d/sshd`, if it is to change.
    pub(super) pam: Option<String>,
    /// Path and text of each principals file; none when sshd asks the program.
    pub(super) principals: Vec<(PathBuf, String)>,
}

impl Wanted {
    /// Which of the files would change.
    pub(super) fn changes(&self) -> Result<Vec<String>, HostError> {
        let differs = |path: &Path, text: &str| !fs::read(path).is_ok_and(|there| there == text.as_bytes());
        let mut changes: Vec<String> = Vec::new();
        for (path, text) in &self.principals {
            changes.extend(differs(path, text).then(|| path.display().to_string()));
        }
        changes.extend(self.pam.is_some().then(|| pam::PAM.to_owned()));
        let drop_in = Path::new("/").join(DROP_IN);
        changes.extend(differs(&drop_in, &self.drop_in.text()).then(|| drop_in.display().to_string()));
        Ok(changes)
    }

    /// Every file that may change, in the order in which it is put back: the drop-in first, since it names the
    /// others.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let mut paths = vec![Path::new("/").join(DROP_IN), PathBuf::from(pam::PAM)];
        paths.extend(self.principals.iter().map(|(path, _)| path.clone()));
        paths
    }

    /// Removes principals files that nobody reads; gives which.
    pub(super) fn remove_stale(&self) -> Result<Vec<String>, HostError> {
        let folder = Path::new("/").join(PRINCIPALS);
        let mut removed = Vec::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let ours = entry.file_name().to_str().is_some_and(|name| name.parse::<AccountName>().is_ok());
            if ours && !self.principals.iter().any(|(kept, _)| *kept == path) && atomic::remove(&path)? {
                removed.push(path.display().to_string());
            }
        }
        removed.sort();
        Ok(removed)
    }
}

impl Apply {
    /// Step 1: what is to be there. Nothing is written.
    pub(super) fn wanted(&self, enrolled: &Enrolled, root: &Effective) -> Result<Wanted, HostError> {
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
            if !program::has_pam_exec() {
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

    /// sshd's settings now: of the accounts that change, of root, and of others that must not.
    pub(super) fn effective(&self) -> Result<Vec<(String, Effective)>, HostError> {
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
    pub(super) fn meant(
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

/// The drop-in as it is on the disk, if it is ours.
pub(crate) fn there() -> Option<DropIn> {
    DropIn::read(&fs::read_to_string(Path::new("/").join(DROP_IN)).ok()?)
}

/// The accounts that the drop-in on the disk names.
pub(crate) fn accounts_there() -> Result<BTreeSet<AccountName>, ApplyError> {
    there().map(|drop_in| drop_in.accounts).ok_or(ApplyError::NoAccounts)
}

/// Where a host's certificate is: beside its key, as OpenSSH names it.
pub(crate) fn host_certificate(enrolled: &Enrolled) -> PathBuf {
    let mut path = enrolled.host_key.clone().into_os_string();
    path.push("-cert.pub");
    path.into()
}

fn principals_file(account: &AccountName) -> PathBuf {
    Path::new("/").join(PRINCIPALS).join(account.as_str())
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

/// Whether these are the settings of an account of ours.
pub(super) fn is_ours(effective: &Effective) -> bool {
    effective.is("revokedkeys", &format!("/{REVOKED}"))
}
