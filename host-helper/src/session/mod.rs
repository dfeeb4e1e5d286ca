//! `fireaxe-host session`, the recorder: named by the certificate's own forced command, and the login shell of
//! accounts made for tiers. It runs as the account that logged in, so it is no boundary: it asks the daemon what
//! it may run, and hands what is said to a sink that the account cannot touch.
//!
//! | file | what it does |
//! |---|---|
//! | `called` | how it was called, and what the client asks to run |
//! | `environment` | what of sshd's environment the session gets |
//! | `sink` | the socket to the daemon: events out, notices in, what happens when it is away |
//! | `flow` | bytes from one descriptor to another, recorded on their way |
//! | `terminal` | a terminal within sshd's terminal |
//! | `running` | the session while it runs: one loop that waits for whatever is next |
//! | `banner` | what its user is told |
//!
//! In a session that must be recorded nothing is shown, and nothing reaches the program, before it was handed
//! to the sink: who kills the recorder has not seen more than the recording holds.

mod banner;
pub mod called;
mod environment;
mod flow;
mod running;
mod sink;
mod terminal;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use fireaxe_protocol::reason::Reason;

use crate::daemon::words::{Answer, Ask, Run, Terminal};
use crate::escape::{SAID, plain};

/// Exit code: the session may not be.
const REFUSED: u8 = 77;
/// Exit code: nobody could be asked.
const NOBODY: u8 = 75;
/// Exit code, as of a shell: it cannot be run.
const CANNOT_RUN: u8 = 126;

/// Runs the session that this process was called for; `words` are its arguments after the verb.
pub fn main(words: &[OsString]) -> ExitCode {
    // Other processes of the account may not look into this one, trace it, or open what it has open.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let asked = called::asked(words, std::env::var_os("SSH_ORIGINAL_COMMAND"));
    let terminal = terminal::of_stdin();
    let begin = Ask::Begin { terminal: terminal.clone(), asked: asked.as_ref().map(|asked| text(asked)) };
    let (run, link) = match ask(&begin) {
        Ok(begun) => begun,
        Err((code, reason)) => {
            // A daemon that is gone must not lock out those who need not be recorded.
            let called = std::env::args_os().next().unwrap_or_default();
            let alone = called::unrecorded(&called, words).filter(|_| code == NOBODY);
            return alone.map_or_else(|| refused(code, &reason), |line| without(line.as_deref(), &reason));
        }
    };
    let command = command(&run, asked.as_deref());
    match running::run(&run, begin, link, command, terminal.as_ref()) {
        Ok(ended) => ended.leave(),
        Err(error) => {
            let reason = Reason::new("session.not_run", format!("{} cannot be run: {error}", run.shell));
            refused(CANNOT_RUN, &reason)
        }
    }
}

fn ask(begin: &Ask) -> Result<(Run, std::os::unix::net::UnixStream), (u8, Reason)> {
    let away = |why: String| {
        let sentence =
            format!("this session cannot begin: the daemon that records it does not answer ({why})");
        (NOBODY, Reason::new("session.no_daemon", sentence))
    };
    match sink::ask(begin).map_err(away)? {
        (Answer::Run(run), stream) => Ok((*run, stream)),
        (Answer::Refused(reason), _) => Err((REFUSED, reason)),
        _ => Err(away("it does not know this question".into())),
    }
}

/// One line that names the reason, one with what to do; on standard error, which sshd brings to the client.
fn refused(code: u8, reason: &Reason) -> ExitCode {
    let next = match code {
        NOBODY => "whoever runs this host: systemctl start fireaxe-host; then log in again",
        CANNOT_RUN => "whoever runs this host: fireaxe-host doctor",
        _ => next_after(&reason.code),
    };
    let line = format!("fireaxe: {}\r\n  next: {next}\r\n", plain(&reason.sentence, SAID));
    let _ = std::io::stderr().write_all(line.as_bytes());
    ExitCode::from(code)
}

/// What helps against what the daemon refused.
fn next_after(code: &str) -> &'static str {
    match code {
        "session.unknown" => "this account opens by ssh with a certificate: fireaxe open HOST",
        "recording.too_many" => "end some of your sessions, then again",
        _ if code.starts_with("session.too_many") => "end some of your sessions, then again",
        _ if code.starts_with("recording.") => "whoever runs this host: fireaxe-host doctor",
        _ => "on your own machine: fireaxe status",
    }
}

/// Runs in this process's place what sshd asks, since nobody can be asked and its certificate names no recorder.
fn without(line: Option<&std::ffi::OsStr>, reason: &Reason) -> ExitCode {
    if rustix::termios::isatty(rustix::stdio::stderr()) {
        let told =
            format!("fireaxe: {}; nobody warns of this session's end\r\n", plain(&reason.sentence, SAID));
        let _ = std::io::stderr().write_all(told.as_bytes());
    }
    let shell = SHELLS.iter().find(|path| Path::new(path).exists()).unwrap_or(&SHELLS[1]);
    let error = shell_with(shell, line.map(called::with_sftp_server), true).exec();
    refused(CANNOT_RUN, &Reason::new("session.not_run", format!("{shell} cannot be run: {error}")))
}

/// What runs when nobody says what: as the daemon would choose for an account whose shell is the recorder.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// The shell that the daemon names, with the command that the certificate names, else the client, else none.
fn command(run: &Run, asked: Option<&std::ffi::OsStr>) -> Command {
    let line = run.command.as_ref().map(OsString::from).or_else(|| asked.map(called::with_sftp_server));
    shell_with(&run.shell, line, run.command.is_some())
}

fn shell_with(shell: &str, line: Option<OsString>, forced: bool) -> Command {
    let mut command = Command::new(shell);
    let name = Path::new(shell).file_name().unwrap_or_default();
    match line {
        Some(line) => command.arg0(name).arg("-c").arg(line),
        None => {
            let mut login = OsString::from("-");
            login.push(name);
            command.arg0(login)
        }
    };
    command.env_clear().envs(environment::kept(std::env::vars_os(), shell, forced));
    command
}

/// For the record: what is no UTF-8 is shown as U+FFFD; what runs are the bytes as they came.
fn text(asked: &std::ffi::OsStr) -> String {
    asked.to_string_lossy().into_owned()
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// With this exit code.
    Exited(u8),
    /// By this signal.
    Signalled(i32),
}

impl Left {
    /// Ends as the session's program did, so that sshd tells the client what it always tells.
    fn leave(self) -> ExitCode {
        match self {
            Left::Exited(code) => ExitCode::from(code),
            Left::Signalled(signal) => {
                // Returns only for a signal that ends nothing.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
                ExitCode::from(u8::try_from(128 + signal).unwrap_or(255))
            }
        }
    }
}

/// Whether our terminal's type and size are worth telling.
fn is_sane(terminal: &Terminal) -> bool {
    terminal.columns > 0 && terminal.rows > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_is_sent_where_it_can_be_mended() {
        for (code, next) in [
            ("session.unknown", "fireaxe open HOST"),
            ("session.too_many", "end some"),
            ("session.too_many_of_one", "end some"),
            ("recording.too_many", "end some"),
            ("recording.no_room", "whoever runs this host"),
            ("recording.too_many_kept", "whoever runs this host"),
            ("session.over", "on your own machine"),
        ] {
            assert!(next_after(code).contains(next), "{code}");
        }
    }
}
