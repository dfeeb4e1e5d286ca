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
use std::time::Duration;

use fireaxe_protocol::reason::Reason;

use crate::clock::Deadline;
use crate::daemon::call;
use crate::daemon::words::{Answer, Ask, Run, SOCKET, Terminal};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
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
        Err((code, reason)) => return refused(code, &reason),
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
    let deadline = Deadline::after(PATIENCE);
    let stream = call::say(Path::new(SOCKET), begin, deadline).map_err(|error| away(error.to_string()))?;
    match call::answer(&stream, deadline) {
        Some(Answer::Run(run)) => Ok((*run, stream)),
        Some(Answer::Refused(reason)) => Err((REFUSED, reason)),
        Some(_) => Err(away("it does not know this question".into())),
        None => Err(away("it said nothing in time".into())),
    }
}

/// One line that names the reason, one with what to do; on standard error, which sshd brings to the client.
fn refused(code: u8, reason: &Reason) -> ExitCode {
    let next = match code {
        NOBODY => "whoever runs this host: systemctl start fireaxe-host; then log in again",
        CANNOT_RUN => "whoever runs this host: fireaxe-host doctor",
        _ => "fireaxe status",
    };
    let line = format!("fireaxe: {}\r\n  next: {next}\r\n", reason.sentence);
    let _ = std::io::stderr().write_all(line.as_bytes());
    ExitCode::from(code)
}

/// The shell that the daemon names, with the command that the certificate names, else the client, else none.
fn command(run: &Run, asked: Option<&std::ffi::OsStr>) -> Command {
    let mut command = Command::new(&run.shell);
    let name = Path::new(&run.shell).file_name().unwrap_or_default();
    let line = run.command.as_ref().map(OsString::from).or_else(|| asked.map(called::with_sftp_server));
    match line {
        Some(line) => command.arg0(name).arg("-c").arg(line),
        None => {
            let mut login = OsString::from("-");
            login.push(name);
            command.arg0(login)
        }
    };
    command.env_clear().envs(environment::kept(std::env::vars_os(), &run.shell, run.command.is_some()));
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
