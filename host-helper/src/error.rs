//! What can go wrong on a host, and which exit code says so.

use std::path::{Path, PathBuf};

use fireaxe_protocol::api::Problem;
use fireaxe_protocol::names::NameError;
use fireaxe_transport::TransportError;
use thiserror::Error;

use crate::apply::ApplyError;
use crate::drop_in::Conflict;
use crate::krl::KrlError;

/// Why a command did not do what it should. What was in force before is in force still.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostError {
    /// A file or folder cannot be written.
    #[error("cannot write {}: {why}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A name that could not stand in a path or a principal.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The file of CA keys holds something else.
    #[error("{}, line {line}: {why}", path.display())]
    UserCa {
        /// Which.
        path: PathBuf,
        /// Its line, from 1; 0 when there is none.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The file of auditors' keys is not one.
    #[error("{}: {}", path.display(), lines.join("; "))]
    Auditors {
        /// Which.
        path: PathBuf,
        /// All that is wrong with it, each with its line.
        lines: Vec<String>,
    },
    /// A chunk of a recording could not be sealed.
    #[error("cannot seal a part of a recording: {0}")]
    NotSealed(String),
    /// sshd's configuration stands against the drop-in.
    #[error("sshd's configuration stands against our file for sshd (10-fireaxe.conf):{}", list(.0))]
    Conflicts(Vec<Conflict>),
    /// There is no revocation list yet: trusting the CA without one could not be taken back.
    #[error(
        "there is no usable revocation list at {} yet ({why}): the CA is not trusted without one",
        path.display()
    )]
    NoList {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong with what is there.
        why: KrlError,
    },
    /// sshd does not take the configuration with the drop-in; the drop-in was taken back.
    #[error(
        "sshd refuses the configuration with our file for sshd (10-fireaxe.conf), which was taken back: {0}"
    )]
    SshdRefuses(String),
    /// The configuration file is not as it must be.
    #[error("{}: {why}", path.display())]
    Config {
        /// Which.
        path: PathBuf,
        /// What is wrong, with line and column.
        why: String,
    },
    /// What this host asks for cannot be taken over from the configuration that is there.
    #[error("what this host asks for is not known, since {} is there and cannot be used: {why}", path.display())]
    Before {
        /// Which.
        path: PathBuf,
        /// What is wrong, with line and column.
        why: String,
    },
    /// No list came from the CA.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The CA cannot be asked to enrol this host.
    #[error(transparent)]
    NotJoined(TransportError),
    /// A list came that is not taken; the last good one stays.
    #[error("the new revocation list is not taken, the last good one stays: {0}")]
    Krl(#[from] KrlError),
    /// sshd's way in was not changed, or was changed back.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The kernel gave no random bytes. Nothing is made without them.
    #[error("the system gives no random bytes: {0}")]
    NoRandomness(String),
    /// The daemon is not there, or does not answer in time.
    #[error("the daemon cannot be asked at {}: {why}", path.display())]
    NoDaemon {
        /// Its socket.
        path: PathBuf,
        /// What happened.
        why: String,
    },
    /// Another daemon has this state.
    #[error("another fireaxe-host runs already: it holds {}", .0.display())]
    Running(PathBuf),
    /// The host key cannot be used.
    #[error("the host key {} cannot be used: {why}", path.display())]
    HostKey {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The CA does not enrol this host.
    #[error("the CA does not enrol this host: {}{}", .0.title, reasons(.0))]
    Refused(Box<Problem>),
    /// The CA's keys are not what they must be.
    #[error("the CA's keys cannot be used: {0}")]
    Keys(&'static str),
    /// The file that says which witnesses are asked for.
    #[error("the witness policy is not taken: {0}")]
    Witnesses(String),
    /// sshd trusts another CA here.
    #[error("sshd trusts another CA here: {} does not hold this one's key", path.display())]
    OtherCa {
        /// The file of CA keys.
        path: PathBuf,
    },
    /// A host certificate came that is not what it must be. The one that is there stays.
    #[error("the host certificate is not taken: {0}")]
    Certificate(String),
    /// A thread of the daemon cannot go on.
    #[error("the daemon's thread {name}: {why}")]
    Thread {
        /// Which.
        name: &'static str,
        /// What happened.
        why: String,
    },
    /// A report is not kept. It is counted, and one alarm will say how many were not.
    #[error("the report is not kept: {0}")]
    Unsaid(String),
    /// The verb needs what enrolment writes.
    #[error("{} has no [enrolled]: this host is not enrolled", .0.display())]
    NotEnrolled(PathBuf),
    /// `files` writes what only a host without a daemon has.
    #[error("{} says that this host is enrolled: `files` would take its host certificate and the daemon out of the way", .0.display())]
    Enrolled(PathBuf),
    /// The folder of this host's state is a CA's.
    #[error("{} holds a CA", .0.display())]
    HoldsCa(PathBuf),
}

impl HostError {
    /// A write that failed.
    pub fn write(path: &Path, error: &std::io::Error) -> HostError {
        HostError::Write { path: path.into(), why: error.to_string() }
    }

    /// A read that failed.
    pub fn read(path: &Path, error: &std::io::Error) -> HostError {
        HostError::Read { path: path.into(), why: error.to_string() }
    }

    /// Exit code: 69 CA unavailable, 75 try again later, 78 bad configuration, 1 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            HostError::Transport(error) | HostError::NotJoined(error) if error.is_unavailable() => 69,
            HostError::Apply(error) => error.exit_code(),
            HostError::NoList { .. } | HostError::NoDaemon { .. } | HostError::Running(_) => 75,
            HostError::Name(_)
            | HostError::UserCa { .. }
            | HostError::Auditors { .. }
            | HostError::Conflicts(_)
            | HostError::Config { .. }
            | HostError::Before { .. }
            | HostError::NotEnrolled(_)
            | HostError::Enrolled(_)
            | HostError::HoldsCa(_)
            | HostError::HostKey { .. }
            | HostError::Witnesses(_)
            | HostError::Transport(TransportError::WrongPin { .. } | TransportError::Address(_))
            | HostError::NotJoined(TransportError::WrongPin { .. } | TransportError::Address(_)) => 78,
            _ => 1,
        }
    }

    /// What to do next.
    pub fn next(&self) -> &str {
        match self {
            HostError::NoList { .. } => "run `fireaxe-host krl` first, then this again",
            HostError::Conflicts(_) => {
                "move these settings out of the way of the tier accounts, or give --replace to go on"
            }
            HostError::Transport(TransportError::WrongPin { .. }) => {
                "if the CA was moved on purpose, put the new pin into the configuration"
            }
            HostError::Transport(error) if !error.is_unavailable() => {
                "the list in force stays; look at the CA with fireaxe-ca doctor"
            }
            HostError::Transport(_) => "the list in force stays; the next run tries again",
            HostError::NotJoined(TransportError::WrongPin { .. }) => {
                "give --pin as `fireaxe-ca host invite` printed it; if it is that, another program answers"
            }
            HostError::NotJoined(error) if !error.is_unavailable() => {
                "look at the CA with fireaxe-ca doctor, then the same again: the token is still good"
            }
            HostError::NotJoined(_) => "is the CA at --addr? then the same again: the token is still good",
            HostError::Config { .. } => {
                "fireaxe-host enrol, with a token from `fireaxe-ca host invite`; or by hand (docs/OPERATIONS.md)"
            }
            HostError::Before { .. } => {
                "mend it; or move it away and say what this host shall ask for: --witness-policy, --auditors (neither: \
                 nothing); the token is still good"
            }
            HostError::UserCa { .. } => {
                "put the CA's public key there, one a line: the `user CA` that `fireaxe-ca init` printed"
            }
            HostError::Auditors { .. } => {
                "one age1... key a line, as `age-keygen -y` prints it, in a file that root alone can change"
            }
            HostError::Read { .. } => {
                "put that file there, readable for root (docs/OPERATIONS.md says what is in it)"
            }
            HostError::NotSealed(_) => "look at the file of auditors with fireaxe-host doctor",
            HostError::Write { .. } => {
                "run it as root, with room on the disk; what was in force is in force still"
            }
            HostError::SshdRefuses(_) => "mend sshd's own configuration first: sshd -t says what it dislikes",
            HostError::Krl(_) => {
                "fireaxe-host status shows what is in force; look at the CA with fireaxe-ca doctor"
            }
            HostError::Name(error) if error.what == "join token" => {
                "give the whole line that `fireaxe-ca host invite` printed"
            }
            HostError::Name(_) => "`fireaxe-host VERB --help` says what a name looks like",
            HostError::Apply(error) => error.next(),
            HostError::NoRandomness(_) => "look at /dev/urandom and at the kernel's log",
            HostError::NoDaemon { .. } => "systemctl start fireaxe-host, or `fireaxe-host run`",
            HostError::Running(_) => "systemctl status fireaxe-host",
            HostError::Refused(problem) => problem
                .next
                .as_deref()
                .unwrap_or("at the CA: `fireaxe-ca host invite HOST` makes a new token"),
            HostError::Keys(_) => "look at the CA with fireaxe-ca doctor",
            HostError::Witnesses(_) => {
                "mend the file, or give another with --witness-policy FILE; the token is still good"
            }
            HostError::OtherCa { .. } => {
                "fireaxe-host remove, then this again; or add the new CA's key to that file first"
            }
            HostError::Certificate(_) => {
                "is this host's clock right (NTP)? then the same again: the token is still good; \
                 else fireaxe-ca doctor"
            }
            HostError::Thread { .. } => "its lines above say why; systemctl restart fireaxe-host",
            HostError::Unsaid(_) => "make room on /var; look whether the CA is there: fireaxe-host status",
            HostError::HostKey { .. } => {
                "ssh-keygen -A makes the host keys that are missing; then this again"
            }
            HostError::NotEnrolled(_) => {
                "fireaxe-host enrol, with a token from `fireaxe-ca host invite` (docs/OPERATIONS.md)"
            }
            HostError::Enrolled(_) => {
                "fireaxe-host apply --account NAME; with --stock sshd reads files there, too"
            }
            HostError::HoldsCa(_) => {
                "fireaxe-host enrol --state /var/lib/fireaxe-host, a folder of its own; \
                 `remove --keep-state` leaves the folder"
            }
        }
    }

    /// A stable code, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            HostError::Write { .. } | HostError::Read { .. } => "host.file",
            HostError::Name(_) => "usage",
            HostError::UserCa { .. } => "host.user_ca",
            HostError::Auditors { .. } => "host.auditors",
            HostError::NotSealed(_) => "recording.not_sealed",
            HostError::Conflicts(_) => "host.conflict",
            HostError::NoList { .. } => "host.no_list",
            HostError::SshdRefuses(_) => "host.sshd_refuses",
            HostError::Config { .. } | HostError::Before { .. } => "config.invalid",
            HostError::Transport(TransportError::WrongPin { .. })
            | HostError::NotJoined(TransportError::WrongPin { .. }) => "ca.wrong_pin",
            HostError::Transport(error) | HostError::NotJoined(error) if error.is_unavailable() => {
                "ca.unavailable"
            }
            HostError::Transport(_) | HostError::NotJoined(_) => "ca.unreadable",
            HostError::Krl(_) => "host.list_refused",
            HostError::Apply(error) => error.code(),
            HostError::NoRandomness(_) => "host.no_randomness",
            HostError::NoDaemon { .. } => "host.no_daemon",
            HostError::Running(_) => "host.running",
            HostError::Refused(_) => "host.refused",
            HostError::Keys(_) => "ca.keys",
            HostError::Witnesses(_) => "host.witnesses",
            HostError::OtherCa { .. } => "host.other_ca",
            HostError::Certificate(_) => "host.certificate",
            HostError::Thread { .. } => "host.thread",
            HostError::Unsaid(_) => "host.unsaid",
            HostError::HostKey { .. } => "host.key",
            HostError::NotEnrolled(_) => "host.not_enrolled",
            HostError::Enrolled(_) => "host.enrolled",
            HostError::HoldsCa(_) => "host.holds_ca",
        }
    }
}

fn list(conflicts: &[Conflict]) -> String {
    conflicts.iter().map(|c| format!("\n  {} line {}: {}", c.file, c.line, c.what)).collect()
}

/// All of them, but one that is the title already.
fn reasons(problem: &Problem) -> String {
    let further = problem.reasons.iter().filter(|reason| reason.sentence != problem.title);
    further.map(|reason| format!("\n  {} ({})", reason.sentence, reason.code)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: serde_json::Value) -> HostError {
        HostError::Refused(Box::new(serde_json::from_value(json).unwrap()))
    }

    #[test]
    fn a_refusal_is_said_once_and_with_the_next_step_that_the_ca_names() {
        let reason = serde_json::json!({"code": "host.token", "sentence": "the token is used up"});
        let mut json = serde_json::json!({
            "type": "t", "title": "the token is used up", "status": 403, "code": "host.token", "reasons": [reason]
        });
        let plain = refused(json.clone());
        assert_eq!(plain.to_string(), "the CA does not enrol this host: the token is used up");
        assert_eq!(plain.next(), "at the CA: `fireaxe-ca host invite HOST` makes a new token");
        json["next"] = "fireaxe-ca host ls".into();
        assert_eq!(refused(json).next(), "fireaxe-ca host ls");
    }

    #[test]
    fn a_ca_that_is_away_costs_no_token_and_says_so() {
        let away = TransportError::NotRunning { addr: "https://ca:8443".into() };
        let error = HostError::NotJoined(away);
        assert_eq!((error.code(), error.exit_code()), ("ca.unavailable", 69));
        assert!(error.next().contains("the token is still good"));
    }
}
