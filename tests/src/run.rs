//! A command run to its end, with a limit, and what came of it.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use crate::clock;

/// What a command printed and how it ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output, lossy UTF-8.
    pub stdout: String,
    /// Standard error, lossy UTF-8.
    pub stderr: String,
}

impl Ran {
    /// Expects exit code 0, and gives standard output without its last line break.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert!(self.code == 0, "expected success:\n{self}");
        self.stdout.trim_end_matches('\n')
    }

    /// Expects this exit code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Ran {
        assert!(self.code == code, "expected exit code {code}:\n{self}");
        self
    }

    /// Expects another exit code than 0.
    #[track_caller]
    pub fn fails(&self) -> &Ran {
        assert!(self.code != 0, "expected failure:\n{self}");
        self
    }

    /// Expects standard error to hold `text`.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Ran {
        assert!(self.stderr.contains(text), "expected {text:?} on standard error:\n{self}");
        self
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}\nexit code {}", self.command, self.code)?;
        writeln!(f, "--- stdout\n{}", self.stdout)?;
        write!(f, "--- stderr\n{}", self.stderr)
    }
}

/// Runs `command` to its end without standard input; kills it after [`clock::LIMIT`] and panics.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    finish(command, Stdio::null(), &[])
}

/// The same with this as its standard input, at most what a pipe holds.
#[track_caller]
pub fn run_with_input(command: &mut Command, input: impl AsRef<[u8]>) -> Ran {
    finish(command, Stdio::piped(), input.as_ref())
}

#[track_caller]
fn finish(command: &mut Command, stdin: Stdio, input: &[u8]) -> Ran {
    let shown = shown(command);
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {shown}: {error}"));
    if let Some(mut pipe) = child.stdin.take() {
        // One that does not read it says why by itself.
        let _ = pipe.write_all(input);
    }
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = clock::wait_for(clock::LIMIT, || child.try_wait().expect("child can be waited for"));
    let Some(status) = status else {
        end(&mut child);
        panic!("did not end in {:?}: {shown}", clock::LIMIT);
    };
    Ran { command: shown, code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

/// A command whose process the kernel ends when the thread that started it does: also when a test is
/// killed and can clean up no more.
pub fn bound(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Kills a child and reaps it.
pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A command line as it could be typed.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let plain =
        |word: &str| !word.is_empty() && !word.contains([' ', '\'', '"', '$', ';', '\n', '*', '|', '&']);
    let word = |word: std::borrow::Cow<'_, str>| {
        if plain(&word) { word.into_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
    };
    words.map(|w| word(w.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn text(bytes: JoinHandle<Vec<u8>>) -> String {
    // A background process that kept the pipe (a ControlMaster, an agent) must not hold the test up.
    match clock::wait_for(std::time::Duration::from_secs(5), || bytes.is_finished().then_some(())) {
        Some(()) => String::from_utf8_lossy(&bytes.join().expect("reader thread")).into_owned(),
        None => String::from("(the pipe is still open)"),
    }
}
