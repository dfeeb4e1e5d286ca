//! A command that goes on while the test does other things: an `open` that waits for people, a session on a
//! host; on a terminal of its own where it needs one.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::clock;
use crate::run::{Ran, end, shown};

/// A command that was started. It ends with this value.
pub struct Running {
    command: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Heard,
    stderr: Heard,
}

/// What came out of a pipe so far, and the thread that reads on.
struct Heard(Arc<Mutex<Vec<u8>>>, Option<JoinHandle<()>>);

/// Starts `command`; what it reads is what [`Running::types`] says.
#[track_caller]
pub fn start(command: &mut Command) -> Running {
    let shown = shown(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {shown}: {error}"));
    Running {
        command: shown,
        stdin: child.stdin.take(),
        stdout: Heard::listen(child.stdout.take()),
        stderr: Heard::listen(child.stderr.take()),
        child,
    }
}

/// The same on a terminal of its own (`script`, of util-linux): everything it says is its standard output, and
/// a byte 3 that is typed is Ctrl-C.
#[track_caller]
pub fn start_on_a_terminal(command: &Command) -> Running {
    let mut script = Command::new("script");
    script.args(["-qfec", &shown(command), "/dev/null"]).env_clear();
    script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
    if let Some(dir) = command.get_current_dir() {
        script.current_dir(dir);
    }
    start(&mut script)
}

impl Running {
    /// Types `text`: a line ends with its line break.
    pub fn types(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("it reads");
    }

    /// Waits until it has said `text`, on either output.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        let said = clock::wait_for(clock::LIMIT, || self.said().contains(text).then_some(()));
        assert!(said.is_some(), "{} never said {text:?}:\n{}", self.command, self.said());
    }

    /// Everything it has said so far, standard output first.
    pub fn said(&self) -> String {
        self.stdout.text() + &self.stderr.text()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it goes on.
    pub fn goes_on(&mut self) -> bool {
        self.child.try_wait().expect("child can be waited for").is_none()
    }

    /// `kill -INT`, to this process alone.
    pub fn interrupt(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::INT).expect("kill -INT");
    }

    /// Waits until it has ended; its input ends now.
    #[track_caller]
    pub fn ends(mut self) -> Ran {
        self.stdin.take();
        self.ended()
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn ends_by_itself(mut self) -> Ran {
        self.ended()
    }

    #[track_caller]
    fn ended(&mut self) -> Ran {
        let status =
            clock::wait_for(clock::LIMIT, || self.child.try_wait().expect("child can be waited for"));
        let Some(status) = status else {
            panic!("did not end in {:?}: {}\n{}", clock::LIMIT, self.command, self.said());
        };
        let (stdout, stderr) = (self.stdout.end(), self.stderr.end());
        Ran { command: self.command.clone(), code: status.code().unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Heard {
    fn listen(pipe: Option<impl Read + Send + 'static>) -> Heard {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = heard.clone();
        let reader = std::thread::spawn(move || {
            let mut pipe = pipe.expect("a pipe");
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut bytes) {
                into.lock().expect("lock").extend_from_slice(&bytes[..n]);
            }
        });
        Heard(heard, Some(reader))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("lock")).into_owned()
    }

    /// Everything, once the pipe has ended; a process in the background that kept it holds nobody up.
    fn end(&mut self) -> String {
        if let Some(reader) = self.1.take() {
            let _ = clock::wait_for(std::time::Duration::from_secs(5), || reader.is_finished().then_some(()));
        }
        self.text()
    }
}
