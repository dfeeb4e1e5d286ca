//! Why `apply` or `remove` did not do what it should, and what to do then.

use std::path::PathBuf;

use fireaxe_transport::TransportError;
use thiserror::Error;

use super::effective::Surprise;
use crate::error::HostError;

/// Why not. Unless it says so itself, what was in force before is in force still.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// Only root can.
    #[error("only root can change how sshd lets people in")]
    NotRoot,
    /// The daemon would go on writing what is removed.
    #[error("the daemon runs")]
    DaemonRuns,
    /// Nobody says which accounts.
    #[error(
        "no account is named, and our file for sshd (10-fireaxe.conf), which would name some, is not there"
    )]
    NoAccounts,
    /// The configuration names other files than the drop-in does.
    #[error("the configuration names other files for sshd than apply writes: {0}")]
    OtherFiles(String),
    /// Another apply or remove is going on.
    #[error("another `fireaxe-host apply` or `remove` is going on")]
    Busy,
    /// sshd cannot be asked, or refuses its configuration as it is.
    #[error("sshd cannot say what its configuration is: {0}")]
    Sshd(String),
    /// Somebody else than root could change a program that sshd or PAM runs as root.
    #[error("{} cannot be run from sshd: {why}", path.display())]
    Program {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// PAM cannot run the hook here.
    #[error("connections cannot be registered: {0}")]
    Pam(String),
    /// An account could not be made or removed.
    #[error("account {account}: {why}")]
    Account {
        /// Which.
        account: String,
        /// What the system said.
        why: String,
    },
    /// sshd would do something else than was meant.
    #[error("sshd would not do what was meant:{}", list(.0))]
    Surprises(Vec<Surprise>),
    /// sshd did not come back after it was told to read its configuration.
    #[error("sshd did not read its configuration again: {0}")]
    Reload(String),
    /// The login did not succeed.
    #[error("the self-test login to {account} failed: {why}")]
    SelfTest {
        /// The account.
        account: String,
        /// What ssh or the CA said.
        why: String,
    },
    /// The timer ran out first.
    #[error("it was not confirmed in time; the timer has put the old state back")]
    TooLate,
    /// The timer that would put the old state back did not start.
    #[error("the timer that would put the old state back does not start: {0}")]
    NoTimer(String),
    /// Something failed after the first change; everything is as it was.
    #[error("{0}\n  everything is as it was before, and sshd has read it")]
    TakenBack(Box<HostError>),
    /// Something failed, and then the way back did too.
    #[error("{why}\n  AND THE OLD STATE IS NOT BACK: {also}\n  keep this session open; the old files are in {}", kept.display())]
    Stuck {
        /// What failed first.
        why: Box<HostError>,
        /// What failed on the way back.
        also: Box<HostError>,
        /// Where the old bytes are.
        kept: PathBuf,
    },
}

impl ApplyError {
    /// A stable code, for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            ApplyError::TakenBack(_) | ApplyError::TooLate => "host.taken_back",
            ApplyError::Stuck { .. } => "host.not_taken_back",
            ApplyError::Surprises(_) => "host.sshd_differs",
            ApplyError::SelfTest { .. } => "host.self_test_failed",
            ApplyError::Busy => "host.busy",
            ApplyError::OtherFiles(_) => "config.invalid",
            ApplyError::NoAccounts => "usage",
            _ => "host.apply_refused",
        }
    }

    /// 2 what the command line must say, 78 what the configuration must say first, 75 try again later, 1
    /// anything else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            ApplyError::NoAccounts => 2,
            ApplyError::OtherFiles(_) => 78,
            ApplyError::Busy | ApplyError::DaemonRuns => 75,
            ApplyError::TakenBack(why) if why.exit_code() == 69 => 69,
            _ => 1,
        }
    }

    /// What to do next.
    pub(crate) fn next(&self) -> &str {
        match self {
            ApplyError::NotRoot => "run it as root",
            ApplyError::DaemonRuns => "systemctl disable --now fireaxe-host, then this again",
            ApplyError::NoAccounts => "fireaxe-host apply --account NAME, each account that a tier uses",
            ApplyError::OtherFiles(_) => "leave user_ca and revoked_keys out of the configuration",
            ApplyError::Busy => "wait for it; its timer ends it at the latest",
            ApplyError::Sshd(_) => "mend sshd's own configuration first: sshd -t says what it dislikes",
            ApplyError::Program { .. } => {
                "install fireaxe-host where root alone can change it and every folder above it, e.g. /usr/bin"
            }
            ApplyError::Pam(_) => {
                "set `UsePAM yes` and install libpam-modules, or use --stock: no receipts, no deadlines, no recording"
            }
            ApplyError::Account { .. } => "make the account by hand (useradd), then this again",
            ApplyError::Surprises(_) => {
                "another file in sshd_config.d or a Match decides this: move it behind 10-fireaxe.conf"
            }
            ApplyError::Reload(_) => "look at sshd's log: journalctl -u ssh",
            // After a change it is in `TakenBack`.
            ApplyError::SelfTest { .. } => {
                "nothing was changed and logins fail now: fireaxe-host doctor, sshd's log"
            }
            ApplyError::TakenBack(why) => after_going_back(why),
            ApplyError::TooLate => LOGIN_FAILED,
            ApplyError::NoTimer(_) => "fireaxe-host doctor; disk space and /var/lib/fireaxe",
            ApplyError::Stuck { .. } => {
                "put the old files back by hand, then: sshd -t && systemctl reload ssh"
            }
        }
    }
}

/// A login that was never tried is in no log of sshd's: then it is the CA that gave no certificate for it.
fn after_going_back(why: &HostError) -> &str {
    match why {
        HostError::Transport(error) if error.is_unavailable() => {
            "is the CA there? then the same again; --no-self-test lets it stay unproved"
        }
        HostError::Transport(TransportError::Problem(problem)) => problem
            .next
            .as_deref()
            .unwrap_or("fireaxe-host apply --account NAME, with an account that a tier uses"),
        HostError::Transport(_) => why.next(),
        _ => LOGIN_FAILED,
    }
}

const LOGIN_FAILED: &str =
    "fireaxe-host doctor; journalctl -u ssh, or /var/log/auth.log, says why a login failed";

fn list(surprises: &[Surprise]) -> String {
    let line = |s: &Surprise| {
        format!("\n  {} for {}: should be `{}`, is `{}`", s.keyword, s.account, s.expected, s.found)
    };
    surprises.iter().take(SHOWN).map(line).collect()
}

/// Surprises that are shown; one wrong file makes the same one for every account.
const SHOWN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn next_after(why: HostError) -> String {
        ApplyError::TakenBack(Box::new(why)).next().to_owned()
    }

    #[test]
    fn what_to_do_after_going_back_is_about_what_failed() {
        let away = TransportError::NotRunning { addr: "https://ca:8443".into() };
        assert!(next_after(away.into()).starts_with("is the CA there?"));
        let mut json = serde_json::json!({
            "type": "t", "title": "no tier uses it", "status": 403, "code": "self_test.account", "reasons": []
        });
        let refused = |json: &serde_json::Value| {
            TransportError::Problem(Box::new(serde_json::from_value(json.clone()).unwrap())).into()
        };
        assert!(next_after(refused(&json)).contains("with an account that a tier uses"));
        json["next"] = "fireaxe-host apply --account ops".into();
        assert_eq!(next_after(refused(&json)), "fireaxe-host apply --account ops");
        let failed = ApplyError::SelfTest { account: "ops".into(), why: "Permission denied".into() };
        assert!(failed.next().starts_with("nothing was changed and logins fail now"));
        assert!(next_after(failed.into()).contains("journalctl -u ssh"));
    }
}
