//! What a verb ends with when it does not succeed: what happened, the exit code, and what to type next.

use clap::CommandFactory;
use fireaxe_protocol::certificate::Difference;
use fireaxe_protocol::log::{NoteError, ReceiptError};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::Outcome;
use fireaxe_protocol::reason::Reason;
use fireaxe_transport::TransportError;
use serde::Serialize;
use thiserror::Error;

use crate::cli;
use crate::config::ConfigError;
use crate::control::client::ControlError;
use crate::copy::CopyError;
use crate::exit::{self, Exit};
use crate::places::PlaceError;
use crate::randomness::NoRandomness;
use crate::screen::{self, Screen};
use crate::signing::SigningError;
use crate::words::{self, Typed};

/// Everything that can go wrong in a verb.
#[derive(Debug, Clone, PartialEq, Error)]
pub(crate) enum Failure {
    /// See [`ConfigError`].
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// See [`PlaceError`].
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// See [`SigningError`].
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// See [`ControlError`].
    #[error(transparent)]
    Control(#[from] ControlError),
    /// See [`TransportError`].
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// See [`NoRandomness`].
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The keys the CA shows are not those it showed first.
    #[error("the CA's {what} is not the one remembered: {remembered} before, {found} now")]
    KeysChanged {
        /// `log's name`, `user CA key`, `log key`.
        what: &'static str,
        /// As first seen.
        remembered: String,
        /// As shown now.
        found: String,
    },
    /// The CA's log key is not one.
    #[error("the CA's log key cannot be read: {0}")]
    LogKey(NoteError),
    /// The certificate is not what was agreed.
    #[error("the certificate is not what was agreed and was thrown away")]
    Differs(Vec<Difference>),
    /// The certificate is not proved to be in the log.
    #[error("the certificate was thrown away: {0}")]
    Receipt(ReceiptError),
    /// The receipt's entry is about something else.
    #[error("the certificate was thrown away: its entry in the log is of another declaration or other terms")]
    OtherEntry,
    /// The CA's answer contradicts itself.
    #[error("the CA's answer does not hold together: {0}")]
    Answer(&'static str),
    /// An incident or a reason is needed and there is nobody to ask.
    #[error("a reason is needed")]
    NoReason(String),
    /// The command line is not one.
    #[error("{message}")]
    Usage {
        /// What is wrong with it.
        message: String,
        /// What to type.
        next: String,
    },
    /// What was typed is not valid.
    #[error("{0}")]
    NotValid(fireaxe_protocol::names::NameError),
    /// The card says why somebody else must do it.
    #[error("not yours to do: {}", .0.sentence)]
    NotYours(Reason),
    /// Nothing of it waits for that.
    #[error("nothing of {emergency} waits for that: {state}")]
    NothingWaits {
        /// Which.
        emergency: EmergencyId,
        /// How it stands.
        state: String,
    },
    /// Its key is not here.
    #[error("{0} is not held here: only the agent that holds its key can have more time for it")]
    NotHeld(EmergencyId),
    /// Nothing it could be done to: the verb.
    #[error("nothing is held that could be {}", if *.0 == "extend" { "extended" } else { "closed" })]
    NothingHeld(&'static str),
    /// Which one?
    #[error("several emergencies are held: {}", words::some_of(&.0.iter().map(ToString::to_string).collect::<Vec<_>>()))]
    WhichOne(Vec<EmergencyId>, &'static str),
    /// The key's place in `enrol`.
    #[error("{0} exists, but its public half {0}.pub does not")]
    HalfAKey(String),
    /// A path that ssh's configuration cannot carry safely.
    #[error("{0} cannot be written into an ssh configuration: letters, digits and / . _ - + only")]
    UnsafePath(String),
    /// A second agent.
    #[error("an agent is running already")]
    AgentRuns,
    /// The agent's sockets.
    #[error("the agent cannot listen at {path}: {why}")]
    Listen {
        /// Where.
        path: String,
        /// What the system said.
        why: String,
    },
    /// A dossier or a period that cannot be opened.
    #[error("{path}: {why}")]
    Evidence {
        /// What was named.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// OpenSSH's client could not be started.
    #[error("ssh cannot be run: {0}")]
    Ssh(String),
    /// See [`CopyError`].
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Recordings that are not what they must be, a line each.
    #[error("{} of the recordings are not what they must be", .0.len())]
    Recordings(Vec<String>),
    /// `doctor` found something that does not work.
    #[error("{0} of the checks failed")]
    Unwell(usize),
}

impl Failure {
    /// Its exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::Config(_) | Failure::Place(_) => Exit::Config,
            Failure::NotYours(_) => Exit::Denied,
            Failure::Transport(TransportError::Problem(problem)) => exit::of_problem(problem),
            Failure::Transport(TransportError::Address(_) | TransportError::WrongPin { .. }) => Exit::Config,
            Failure::Transport(e) if e.is_unavailable() => Exit::Unavailable,
            Failure::NoReason(_) | Failure::NotValid(_) | Failure::WhichOne(..) | Failure::Usage { .. } => {
                Exit::Usage
            }
            _ => Exit::Error,
        }
    }

    /// A stable code, for programs.
    pub(crate) fn code(&self) -> &str {
        match self {
            Failure::Config(ConfigError::Missing(_)) => "config.missing",
            Failure::Config(ConfigError::Incomplete { .. }) => "config.incomplete",
            Failure::Config(_) | Failure::Place(_) => "config.invalid",
            Failure::Signing(SigningError::NotHeld(_)) => "key.not_held",
            Failure::Signing(_) => "key.failed",
            Failure::Control(ControlError::NotRunning) => "agent.not_running",
            Failure::Control(_) => "agent.failed",
            Failure::AgentRuns => "agent.running",
            Failure::Listen { .. } => "agent.listen",
            Failure::Transport(TransportError::Problem(problem)) => &problem.code,
            Failure::Transport(TransportError::WrongPin { .. }) => "ca.wrong_pin",
            Failure::Transport(e) if e.is_unavailable() => "ca.unavailable",
            Failure::Transport(_) => "ca.unreadable",
            Failure::KeysChanged { .. } | Failure::LogKey(_) => "ca.keys_changed",
            Failure::Differs(_) | Failure::Receipt(_) | Failure::OtherEntry => "certificate.refused",
            Failure::Answer(_) => "ca.contradiction",
            Failure::Randomness(_) => "system.randomness",
            Failure::NotYours(reason) => &reason.code,
            Failure::NothingWaits { .. } => "request.none",
            Failure::NothingHeld(_) | Failure::NotHeld(_) => "emergency.not_held",
            Failure::Evidence { .. } => "evidence.unreadable",
            Failure::Ssh(_) => "ssh.failed",
            Failure::Copy(error) => error.code(),
            Failure::Recordings(_) => "recording.refused",
            Failure::Unwell(_) => "doctor.failed",
            Failure::HalfAKey(_) => "key.half",
            Failure::UnsafePath(_) => "path.unsafe",
            Failure::NoReason(_) | Failure::NotValid(_) | Failure::WhichOne(..) | Failure::Usage { .. } => {
                "usage"
            }
        }
    }

    /// A command line that could not be read. `verb` is the first word typed.
    pub(crate) fn usage(error: &clap::Error, verb: Option<&str>) -> Failure {
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        // What clap says first is what is wrong; its usage and pointer to --help follow.
        let said = text.split("\n\nUsage:").next().unwrap_or(text);
        let said = said.split("\n\nFor more information").next().unwrap_or(said);
        let message =
            said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        let known = verb.filter(|verb| cli::Cli::command().find_subcommand(verb).is_some());
        let next = known.map_or("fireaxe --help".to_owned(), |verb| format!("fireaxe {verb} --help"));
        Failure::Usage { message, next }
    }

    /// The same; when the CA knows no such target, with the whole command that was meant.
    pub(crate) fn with_target_corrected(self, typed: &Typed) -> Failure {
        match self {
            Failure::Transport(TransportError::Problem(mut problem)) if problem.code == "target.unknown" => {
                let command = problem.nearest.first().and_then(|near| typed.corrected(near));
                problem.next = Some(command.unwrap_or_else(|| "fireaxe explain --systems".to_owned()));
                Failure::Transport(TransportError::Problem(problem))
            }
            other => other,
        }
    }

    /// All reasons behind it, one line each, without what its own line says.
    pub(crate) fn reasons(&self) -> Vec<String> {
        match self {
            Failure::Transport(_) if self.said_twice().is_some() => Vec::new(),
            Failure::Transport(e) => e.problem().map(all_reasons).unwrap_or_default(),
            Failure::NotYours(reason) => vec![screen::reason(reason)],
            Failure::Recordings(found) => found.clone(),
            Failure::Differs(differences) => differences
                .iter()
                .map(|d| format!("{}: agreed {}, found {}", d.field, d.expected, d.found))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The code of the only reason, when its sentence is the message itself.
    fn said_twice(&self) -> Option<&str> {
        let Failure::Transport(error) = self else { return None };
        match error.problem() {
            Some(problem) if problem.decision.is_none() && problem.changed.is_empty() => {
                match problem.reasons.as_slice() {
                    [only] if only.at.is_none() && only.sentence == self.to_string() => Some(&only.code),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// What to type next.
    pub(crate) fn next(&self) -> Option<String> {
        let text = match self {
            Failure::Config(ConfigError::Missing(_) | ConfigError::Incomplete { .. }) => {
                "fireaxe enrol --person NAME --addr https://HOST:PORT --pin sha256:..."
            }
            Failure::Signing(SigningError::NotHeld(path) | SigningError::Passphrase(path)) => {
                return Some(format!("ssh-add {}", path.strip_suffix(".pub").unwrap_or(path)));
            }
            Failure::Signing(SigningError::NoPublicHalf(path)) | Failure::HalfAKey(path) => {
                return Some(format!("ssh-keygen -y -f {path} > {path}.pub"));
            }
            Failure::Signing(SigningError::NoKey(_)) => "fireaxe enrol --person NAME --key PATH",
            Failure::Signing(SigningError::NoKeygen(_)) => "install OpenSSH's client tools (openssh-client)",
            Failure::Control(
                ControlError::NotRunning | ControlError::NotStarted(_) | ControlError::CannotStart(_),
            ) => "fireaxe agent   (in the foreground: it says why)",
            Failure::Control(ControlError::Unexpected) => "fireaxe agent --stop   and try again",
            Failure::Ssh(_) => "install OpenSSH's client tools (openssh-client)",
            Failure::AgentRuns => "fireaxe status",
            Failure::Transport(TransportError::Problem(problem)) => return Some(next_of(problem)),
            Failure::Transport(TransportError::WrongPin { .. }) => {
                "ask the CA's operator for its pin by another way; then fireaxe enrol --person NAME --addr ... --pin ..."
            }
            Failure::Transport(e) if e.is_unavailable() => "fireaxe status   (what is held goes on working)",
            Failure::KeysChanged { .. } => {
                "ask the CA's operator; if the change is meant, delete ca.json (fireaxe doctor shows where) and try again"
            }
            Failure::Differs(_) | Failure::Receipt(_) | Failure::OtherEntry => {
                "tell the CA's operator: this must not happen"
            }
            Failure::NoReason(command) => return Some(command.clone()),
            Failure::Usage { next, .. } => return Some(next.clone()),
            Failure::NotValid(_) => "fireaxe open --help",
            Failure::Unwell(_) => "do what the lines after FAIL say; then fireaxe doctor",
            Failure::Listen { .. } => "fireaxe doctor   (XDG_RUNTIME_DIR must be a directory of yours alone)",
            Failure::Copy(error) => error.next(),
            Failure::Recordings(_) => "keep what is here, and tell security; fireaxe rec fetch asks again",
            Failure::UnsafePath(_) => "move it to a path of those characters, then fireaxe ssh-config",
            Failure::Answer(_) | Failure::LogKey(_) => "tell the CA's operator: this must not happen",
            Failure::Config(ConfigError::Environment(_)) => {
                "unset FIREAXE_ADDR, or set it to https://HOST:PORT"
            }
            Failure::Config(ConfigError::Invalid { path, .. }) => {
                return Some(format!(
                    "mend {path}, or delete it and fireaxe enrol again; then fireaxe doctor"
                ));
            }
            Failure::Transport(TransportError::Address(_)) => {
                "fireaxe enrol --person NAME --addr https://HOST:PORT --pin sha256:..."
            }
            Failure::Signing(SigningError::Untouched(_)) => {
                "the same again, and touch the key when it blinks"
            }
            Failure::NothingHeld("extend") => "fireaxe open TARGET -r \"...\"   |   fireaxe ls",
            Failure::NothingHeld(_) => "fireaxe ls   |   fireaxe close EM-...",
            Failure::WhichOne(held, verb) => return held.first().map(|em| format!("fireaxe {verb} {em}")),
            Failure::NotYours(_) => "fireaxe approve   (lists what waits for you)",
            Failure::NothingWaits { .. } => "fireaxe approve   |   fireaxe ls",
            Failure::NotHeld(_) => "fireaxe status   |   fireaxe ls",
            _ => "fireaxe doctor",
        };
        Some(text.to_owned())
    }

    /// Prints it: an error line, the reasons, then the next command; or one JSON object.
    pub(crate) fn print(&self, screen: &Screen) {
        if screen.is_json() {
            #[derive(Serialize)]
            struct Error<'a> {
                schema: &'static str,
                code: &'a str,
                message: String,
                #[serde(skip_serializing_if = "Option::is_none")]
                reasons: Option<&'a [Reason]>,
                #[serde(skip_serializing_if = "<[String]>::is_empty")]
                changed: &'a [String],
                #[serde(skip_serializing_if = "Vec::is_empty")]
                details: Vec<String>,
                next: Option<String>,
                exit: u8,
            }
            let problem = match self {
                Failure::Transport(e) => e.problem(),
                _ => None,
            };
            screen.json(&Error {
                schema: "fireaxe.error/v1",
                code: self.code(),
                message: self.to_string(),
                reasons: problem.map(|p| p.reasons.as_slice()),
                changed: problem.map(|p| p.changed.as_slice()).unwrap_or_default(),
                details: if problem.is_none() { self.reasons() } else { Vec::new() },
                next: self.next(),
                exit: self.exit() as u8,
            });
            return;
        }
        // One reason that the line itself gives needs no line of its own, only its code.
        match self.said_twice() {
            Some(code) => screen.say(&format!("fireaxe: {self}  [{code}]")),
            None => screen.say(&format!("fireaxe: {self}")),
        }
        for reason in self.reasons() {
            screen.say(&format!("  {reason}"));
        }
        if let Some(next) = self.next() {
            screen.say(&format!("  next: {next}"));
        }
    }
}

/// The problem's reasons, and the decision's where they are not the same.
fn all_reasons(problem: &fireaxe_protocol::api::Problem) -> Vec<String> {
    let mut all: Vec<&Reason> = problem.reasons.iter().collect();
    if let Some(decision) = &problem.decision
        && let Outcome::Refuse { reasons, .. } = &decision.outcome
    {
        all.extend(reasons.iter().filter(|r| !problem.reasons.contains(r)));
    }
    let changed = problem.changed.iter().map(|what| format!("changed: {what}"));
    all.into_iter().map(screen::reason).chain(changed).collect()
}

/// What the CA suggests; where it has nothing to say, what helps a person here.
fn next_of(problem: &fireaxe_protocol::api::Problem) -> String {
    if let Some(next) = &problem.next {
        return next.clone();
    }
    match problem.code.as_str() {
        "request.changed" => "fireaxe approve   (look at it again)",
        "internal" => "tell the CA's operator; its log of this minute says what went wrong",
        _ => "fireaxe doctor",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        let addr = || "https://127.0.0.1:1".to_owned();
        for (failure, exit) in [
            (Failure::Config(ConfigError::Missing("x".into())), 78),
            (Failure::Place(PlaceError::NoHome), 78),
            (Failure::Transport(TransportError::NotRunning { addr: addr() }), 69),
            (
                Failure::Transport(TransportError::Garbage { addr: addr(), status: 200, why: String::new() }),
                1,
            ),
            (Failure::Signing(SigningError::NotHeld("x".into())), 1),
            (Failure::Control(ControlError::NotRunning), 1),
            (Failure::NoReason(String::new()), 2),
            (Failure::WhichOne(vec![EmergencyId(1), EmergencyId(2)], "close"), 2),
        ] {
            assert_eq!(failure.exit() as u8, exit, "{failure}");
        }
    }

    #[test]
    fn a_failure_a_person_can_mend_names_the_next_command() {
        for failure in [
            Failure::Config(ConfigError::Missing("x".into())),
            Failure::Signing(SigningError::NotHeld("/k.pub".into())),
            Failure::Control(ControlError::NotRunning),
            Failure::Transport(TransportError::NotRunning { addr: String::new() }),
            Failure::NoReason(String::new()),
            Failure::Answer("x"),
            Failure::Unwell(1),
            Failure::UnsafePath("/a b".into()),
            Failure::NothingHeld("close"),
            Failure::NothingHeld("extend"),
        ] {
            assert!(failure.next().is_some(), "{failure}");
        }
    }
}
