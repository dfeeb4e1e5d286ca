//! `fireaxe-host hook`: PAM's `session` phase, once for each connection of sshd, `ssh -N` too. Registers with
//! the daemon what came in with a certificate of ours; everything else is none of its business, and is let
//! through before anything is asked: a plain key, a password and root's console never wait for us.
//!
//! | the login | daemon answers | away or hung (2 s) |
//! |---|---|---|
//! | no certificate of our CAs | not asked: let in | let in |
//! | ours, may be admitted | registered: let in; else refused | `record = required`: refused; else let in, and left in a file that the daemon picks up |
//! | ours, may not be admitted | refused | refused |
//!
//! A refusal here comes after sshd let somebody in: their commands fail, but the connection would stay. So
//! its monitor is hung up as well.
//!
//! It must run before `pam_env` reads files of the user, and only at `open_session`: PAM hands its environment
//! to what it runs as root, `LD_PRELOAD` too.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::certificate::{TYPE, from_openssh};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::AccountName;
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::reason::Reason;

use super::judge;
use super::known::Known;
use crate::config::Config;
use crate::connections::record::{self, Waiting};
use crate::daemon::call;
use crate::daemon::words::{Answer, Ask};
use crate::journal::{Line, Severity};
use crate::processes::{Mark, Process, ProcessId};
use crate::teardown;
use crate::{files, randomness};

/// What PAM says, from the environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pam {
    /// `PAM_TYPE`
    pub phase: String,
    /// `PAM_USER`
    pub user: String,
    /// `PAM_RHOST`: an address, or with `UseDNS` a name.
    pub rhost: String,
    /// `SSH_CONNECTION`: the client's address comes first.
    pub connection: String,
    /// `SSH_AUTH_INFO_0`: a line for each method that succeeded.
    pub auth_info: String,
}

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The configuration.
    pub config: PathBuf,
    /// The daemon's socket.
    pub socket: PathBuf,
    /// Where a connection is left for a daemon that is away.
    pub run: PathBuf,
}

/// What became of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// None of our business.
    NotOurs,
    /// It is registered.
    Registered,
    /// It is let in and left in a file: the daemon is away.
    Left,
    /// It is refused.
    Refused(Reason),
}

impl Pam {
    /// Of this process.
    pub fn of_environment() -> Pam {
        let variable = |name| std::env::var_os(name).unwrap_or_default().to_string_lossy().into_owned();
        Pam {
            phase: variable("PAM_TYPE"),
            user: variable("PAM_USER"),
            rhost: variable("PAM_RHOST"),
            connection: variable("SSH_CONNECTION"),
            auth_info: variable("SSH_AUTH_INFO_0"),
        }
    }

    /// The certificates that were used. One method, one line: `publickey <type> <base64>`.
    fn certificates(&self) -> Vec<Vec<u8>> {
        let lines = self.auth_info.lines().filter_map(|line| line.strip_prefix("publickey "));
        lines.filter_map(|line| from_openssh(line.trim_end()).ok()).collect()
    }

    /// Whether a certificate was used at all, one that we can read or not.
    fn has_certificate(&self) -> bool {
        self.auth_info.contains(TYPE)
    }

    fn from(&self) -> &str {
        let client = self.connection.split(' ').next().unwrap_or_default();
        let is_address =
            |text: &str| text.split('%').next().is_some_and(|a| a.parse::<std::net::IpAddr>().is_ok());
        if is_address(&self.rhost) || !is_address(client) { &self.rhost } else { client }
    }
}

/// Opens; `now` is unix seconds, `monitor` this process's parent.
pub fn run(pam: &Pam, places: &Places, now: u64, monitor: u32) -> Verdict {
    // Step 1: whose login is it? No file is read for one without a certificate. Its end is not waited for: the
    // daemon watches the monitor.
    if pam.phase != "open_session" || !pam.has_certificate() {
        return Verdict::NotOurs;
    }
    let config = Config::read(&places.config);
    let user_ca = config.as_ref().ok().and_then(|config| files::read_user_ca(&config.user_ca).ok());
    let Some(certificate) = ours(pam, user_ca.as_deref()) else { return Verdict::NotOurs };
    let verdict = open(pam, places, now, monitor, &certificate, config.ok().zip(user_ca));
    say(pam, &verdict, &certificate, monitor);
    if let Verdict::Refused(_) = verdict {
        hang_up(monitor);
    }
    verdict
}

/// The certificate of ours that was used. When our own files cannot be read, what carries terms of ours is
/// taken for ours: an unknown certificate is refused rather than let in without anybody watching.
fn ours(pam: &Pam, user_ca: Option<&[Ed25519Key]>) -> Option<Vec<u8>> {
    pam.certificates().into_iter().find(|certificate| match user_ca {
        Some(keys) => judge::is_ours(certificate, keys),
        None => judge::claimed_record(certificate).is_some(),
    })
}

fn open(
    pam: &Pam,
    places: &Places,
    now: u64,
    monitor: u32,
    certificate: &[u8],
    known: Option<(Config, Vec<Ed25519Key>)>,
) -> Verdict {
    let refused = |code: &str, sentence: String| Verdict::Refused(Reason::new(code, sentence));
    let Ok(account) = pam.user.parse::<AccountName>() else {
        return Verdict::Refused(judge::reason(&[judge::Refusal::Account]));
    };

    // Step 2: the daemon, which judges, registers and answers.
    let base64 = STANDARD.encode(certificate);
    let from = pam.from().to_owned();
    let ask = Ask::Opened { account: account.clone(), from: from.clone(), certificate: base64.clone() };
    let away = match call::ask(&places.socket, &ask, PATIENCE) {
        Ok(Answer::Registered { .. }) => return Verdict::Registered,
        Ok(Answer::Refused(reason)) => return Verdict::Refused(reason),
        Ok(_) => "the daemon answered something else".to_owned(),
        Err(error) => error.to_string(),
    };

    // Step 3: without it, what can be judged here; and only what need not be recorded goes on.
    let Some((config, user_ca)) = known else {
        return refused("login.config", "this host's configuration cannot be read".into());
    };
    let known = Known::of(&config, user_ca);
    let admitted = match judge::judge(certificate, &account, &known.here(&config, now)) {
        Ok(admitted) => admitted,
        Err(refusals) => return Verdict::Refused(judge::reason(&refusals)),
    };
    if admitted.terms.record == Record::Required {
        return refused("login.daemon_away", format!("it must be recorded, and {away}"));
    }
    let left = monitor_id(monitor).zip(randomness::nonce().ok()).map(|(monitor, name)| {
        let mark = Mark::of(monitor);
        record::leave(&places.run, name, &Waiting { mark, account, from, at: now, certificate: base64 })
    });
    // A host without room even for that: the login is in the journal, and its certificate ends by itself.
    let line = Line::new("left_for_daemon").with("serial", admitted.serial).with("why", away);
    match left {
        Some(Ok(())) => line.say(Severity::Warning),
        Some(Err(error)) => line.with("failed", error).say(Severity::Warning),
        None => line.with("failed", "its monitor is gone").say(Severity::Warning),
    }
    Verdict::Left
}

fn say(pam: &Pam, verdict: &Verdict, certificate: &[u8], monitor: u32) {
    let (word, severity, reason) = match verdict {
        Verdict::NotOurs => return,
        Verdict::Registered => ("registered", Severity::Info, None),
        Verdict::Left => ("left", Severity::Warning, None),
        Verdict::Refused(reason) => ("refused", Severity::Warning, Some(reason)),
    };
    Line::new("hook")
        .with("verdict", word)
        .with("account", &pam.user)
        .with("from", pam.from())
        .with_some("serial", judge::serial(certificate))
        .with("monitor", monitor)
        .with_some("reason", reason.map(|reason| &reason.code))
        .with_some("why", reason.map(|reason| &reason.sentence))
        .say(severity);
}

/// Ends the connection behind a refusal. Only an sshd is hung up: somebody may try this by hand.
fn hang_up(monitor: u32) {
    if let Some(monitor) = monitor_id(monitor) {
        teardown::hang_up(monitor);
    }
}

fn monitor_id(pid: u32) -> Option<ProcessId> {
    Process::read(pid).filter(Process::is_sshd).map(|process| process.id)
}

/// How long a login waits for the daemon, in all.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The usual places.
pub fn places(config: &Path) -> Places {
    Places { config: config.into(), socket: crate::daemon::words::SOCKET.into(), run: record::RUN.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nowhere() -> (tempfile::TempDir, Places) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let places = Places { config: at("host.toml"), socket: at("host.sock"), run: at("run") };
        (dir, places)
    }

    #[test]
    fn a_login_without_a_certificate_is_let_in_whatever_state_we_are_in() {
        let (_dir, places) = nowhere();
        for auth_info in ["", "publickey ssh-ed25519 AAAA\n", "password\n", "gssapi-with-mic\n", "\u{0}"] {
            for phase in ["open_session", "close_session", "auth", ""] {
                let pam = Pam { phase: phase.into(), auth_info: auth_info.into(), ..Pam::default() };
                assert_eq!(run(&pam, &places, 0, 1), Verdict::NotOurs, "{auth_info:?} {phase}");
            }
        }
    }

    #[test]
    fn something_like_a_certificate_that_cannot_be_read_is_not_ours() {
        let (_dir, places) = nowhere();
        for base64 in ["", "AAAA", "!!!", &"A".repeat(100_000)] {
            let auth_info = format!("publickey {TYPE} {base64}\n");
            let pam = Pam { phase: "open_session".into(), auth_info, ..Pam::default() };
            assert_eq!(run(&pam, &places, 0, 1), Verdict::NotOurs);
        }
    }

    #[test]
    fn the_address_is_sshds_even_where_names_are_looked_up() {
        let with = |rhost: &str, connection: &str| {
            Pam { rhost: rhost.into(), connection: connection.into(), ..Pam::default() }.from().to_owned()
        };
        assert_eq!(with("10.0.0.1", ""), "10.0.0.1");
        assert_eq!(with("laptop.example", "10.0.0.1 5 10.0.0.2 22"), "10.0.0.1");
        assert_eq!(with("laptop.example", ""), "laptop.example");
        assert_eq!(with("fe80::1%eth0", "x"), "fe80::1%eth0");
    }
}
