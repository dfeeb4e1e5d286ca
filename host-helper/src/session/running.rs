//! The session while it runs: one thread, one loop, which sleeps until something can be read or written, a
//! signal came, or something is due.
//!
//! It is over when its program has ended and (without a terminal) everybody has closed the outputs, as sshd
//! itself would wait; with a terminal, when what the terminal still held was shown.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fireaxe_protocol::limits;
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::recording::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};

use super::banner::{Warnings, banner, ends};
use super::flow::{Born, End, Flow, unblock};
use super::sink::Link;
use super::terminal::{self, Outer};
use super::{Left, is_sane};
use crate::clock::{self, Stopwatch};
use crate::daemon::words::{Ask, Notice, Run, Terminal};
use crate::escape::{SAID, plain};
use crate::sink::words::Over;

/// How long a session goes on that must be recorded while the daemon is away.
const AWAY: Duration = Duration::from_secs(60);
/// The daemon ends a session in its time; while it is away the recorder does, this much later. Seconds.
const SECOND_HAND: u64 = 5;
/// How long a terminal may be silent after its program ended before nothing more is expected of it. Only
/// something in the background that keeps it open lets this count.
const SILENT_NS: i64 = 50_000_000;
/// How long a program has to end after it was asked to.
const ASKED: Duration = Duration::from_secs(2);
/// How long the sink may take for the rest.
const REST: Duration = Duration::from_secs(5);
/// The longest sleep while something is due by the wall clock, which may be set.
const NAP: u64 = 30;

struct Session<'a> {
    run: &'a Run,
    begin: Ask,
    child: Child,
    status: Option<ExitStatus>,
    link: Link,
    flows: Vec<Flow>,
    /// The inner terminal, kept for its size.
    inner: Option<OwnedFd>,
    signals: Signals,
    until: u64,
    /// The daemon ends it then.
    ends_at: Option<u64>,
    warnings: Warnings,
    /// Since when it is being ended.
    ending: Option<Stopwatch>,
    told_away: bool,
}

/// Runs it to its end.
pub(super) fn run(
    run: &Run,
    begin: Ask,
    link: UnixStream,
    command: Command,
    terminal: Option<&Terminal>,
) -> std::io::Result<Left> {
    let signals = Signals::hear()?;
    let mut link = Link::new(link, run.record);
    say_banner(run, &mut link, terminal);
    let (child, flows, inner, _outer) = match terminal {
        Some(_) => with_terminal(command)?,
        None => with_pipes(command)?,
    };
    let now = clock::now();
    let session = Session {
        run,
        begin,
        child,
        status: None,
        link,
        flows,
        inner,
        signals,
        until: run.until,
        ends_at: None,
        warnings: Warnings::ahead(run.until, now),
        ending: None,
        told_away: false,
    };
    Ok(session.carry())
}

fn say_banner(run: &Run, link: &mut Link, terminal: Option<&Terminal>) {
    if !terminal.is_some_and(is_sane) {
        return;
    }
    let account = std::env::var("USER").unwrap_or_default();
    let host = rustix::system::uname();
    let line = banner(run, &account, &host.nodename().to_string_lossy(), clock::now());
    let _ = rustix::io::write(rustix::stdio::stdout(), format!("{line}\r\n").as_bytes());
    link.say(Stream::Notice, line.as_bytes());
}

type Started = (Child, Vec<Flow>, Option<OwnedFd>, Option<Outer>);

fn with_terminal(command: Command) -> std::io::Result<Started> {
    let (pty, pts) = terminal::inner()?;
    let mut command = pty_process::blocking::Command::from(command);
    if let Ok(name) = rustix::termios::ttyname(pts.as_fd(), Vec::new()) {
        command = command.env("SSH_TTY", name.to_string_lossy().as_ref());
    }
    let child = command.spawn(pts).map_err(std::io::Error::other)?;
    let outer = Outer::raw()?;
    let master = OwnedFd::from(pty);
    unblock(master.as_fd());
    let (read, write, size) = (master.try_clone()?, master.try_clone()?, master);
    let room = limits::RECORDING_EVENT;
    let flows = vec![
        // Passwords are typed: never recorded.
        Flow::new(End::Born(Born::Stdin), End::Ours(write), None, room),
        Flow::new(End::Ours(read), End::Born(Born::Stdout), Some(Stream::Output), room),
    ];
    Ok((child, flows, Some(size), Some(outer)))
}

fn with_pipes(mut command: Command) -> std::io::Result<Started> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        unblock(fd);
    }
    let ours = |fd: Option<OwnedFd>| match fd {
        Some(fd) => {
            unblock(fd.as_fd());
            End::Ours(fd)
        }
        None => End::Gone,
    };
    let (input, output, error) = (
        ours(child.stdin.take().map(OwnedFd::from)),
        ours(child.stdout.take().map(OwnedFd::from)),
        ours(child.stderr.take().map(OwnedFd::from)),
    );
    let room = limits::RECORDING_EVENT;
    let flows = vec![
        Flow::new(End::Born(Born::Stdin), input, Some(Stream::Input), room),
        Flow::new(output, End::Born(Born::Stdout), Some(Stream::Output), room),
        Flow::new(error, End::Born(Born::Stderr), Some(Stream::Error), room),
    ];
    Ok((child, flows, None, None))
}

/// The flow of what is typed or fed; the others are outputs.
const INPUT: usize = 0;

impl Session<'_> {
    fn carry(mut self) -> Left {
        let mut buffer = vec![0u8; limits::RECORDING_EVENT];
        loop {
            let drained = !self.wait(&mut buffer);
            self.link.pump();
            self.flows.iter_mut().for_each(|flow| flow.write(&self.link));
            if self.status.is_none() {
                self.status = self.child.try_wait().ok().flatten();
            }
            self.attend();
            if let Some(status) = self.status {
                let outputs_over = self.flows.iter().skip(1).all(Flow::is_over);
                // Whoever else has the terminal open keeps it from ending, and need not be waited for.
                if outputs_over || self.ending.is_some() || (self.inner.is_some() && drained) {
                    return self.over(status);
                }
            }
        }
    }

    /// Sleeps until something is to be done, and moves bytes; `false`: no output had anything to show.
    fn wait(&mut self, buffer: &mut [u8]) -> bool {
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(8);
        let wants: Vec<_> = self.flows.iter().map(|flow| flow.wants(&self.link, &mut fds)).collect();
        fds.push(PollFd::from_borrowed_fd(self.signals.fd.as_fd(), PollFlags::IN));
        let of_link = self.link.stream().map(|stream| {
            let out = if self.link.waits() { PollFlags::OUT } else { PollFlags::empty() };
            fds.push(PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN | out));
            fds.len() - 1
        });
        let timeout = self.timeout();
        // Interrupted by a signal: its byte is there at the next turn.
        let _ = poll(&mut fds, timeout.as_ref());
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let heard = of_link.is_some_and(|n| {
            let there = fds.get(n).map(|fd| fd.revents()).unwrap_or(PollFlags::empty());
            there.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
        });
        drop(fds);
        let is_ready = |n: Option<usize>| n.and_then(|n| ready.get(n)).copied().unwrap_or(false);
        if heard {
            for notice in self.link.hear() {
                self.noticed(notice);
            }
        }
        let mut moved = false;
        for (n, (flow, wants)) in self.flows.iter_mut().zip(&wants).enumerate() {
            if is_ready(wants.read) {
                flow.read(buffer, &mut self.link);
                moved |= n != INPUT;
            }
            // At once, not at the next turn: a key's echo must not wait for a second sleep.
            flow.write(&self.link);
            moved |= n != INPUT && wants.write.is_some();
        }
        moved || self.flows.iter().skip(1).any(Flow::waits)
    }

    fn timeout(&self) -> Option<Timespec> {
        let now = clock::now();
        let due = [self.own_end(), self.ends_at, self.warnings.next()];
        let mut seconds =
            due.into_iter().flatten().min().map_or(NAP, |at| at.saturating_sub(now).clamp(1, NAP));
        if self.ending.is_some() || self.link.away().is_some() {
            seconds = 1;
        }
        if self.status.is_some() && self.inner.is_some() && !self.flows.iter().skip(1).any(Flow::waits) {
            return Some(Timespec { tv_sec: 0, tv_nsec: SILENT_NS });
        }
        Some(Timespec { tv_sec: i64::try_from(seconds).unwrap_or(1), tv_nsec: 0 })
    }

    /// What signals, clocks and the daemon ask for.
    fn attend(&mut self) {
        self.signals.clear();
        if self.signals.winch.swap(false, Ordering::Relaxed)
            && let Some((columns, rows)) = self.inner.as_ref().and_then(terminal::resize)
        {
            self.link.resized(columns, rows);
        }
        // The client is gone, or somebody wants us to end. Without a terminal the program was asked itself, or
        // reads the end of its input: as ever, it is its own affair what it does then.
        let hup = self.signals.hup.swap(false, Ordering::Relaxed);
        if self.inner.is_some() && (hup || self.flows.first().is_some_and(Flow::is_over)) {
            self.end();
        }
        let now = clock::now();
        if self.warnings.due(now) {
            self.tell(&format!("{} -- extend: fireaxe extend", ends(self.until, now)));
        }
        if self.ends_at.or_else(|| self.own_end()).is_some_and(|at| at <= now) {
            self.end();
        }
        self.attend_away();
        if self.ending.is_some_and(|since| since.elapsed() >= ASKED) {
            let _ = self.child.kill();
        }
    }

    /// When it ends without the daemon.
    fn own_end(&self) -> Option<u64> {
        self.link.stream().is_none().then_some(self.until + SECOND_HAND)
    }

    fn attend_away(&mut self) {
        let Some(away) = self.link.away() else { return };
        if self.status.is_none() && self.link.return_to(&self.begin) {
            if self.told_away {
                self.told_away = false;
                self.tell("this session is recorded again");
            }
        } else if self.run.record == Record::Required {
            if !self.told_away {
                self.told_away = true;
                self.tell(
                    "this session can no longer be recorded: it ends in 60 s unless the daemon returns",
                );
            }
            if away >= AWAY {
                self.end();
            }
        }
    }

    fn noticed(&mut self, notice: Notice) {
        let now = clock::now();
        match notice {
            Notice::Ends { at, why } => {
                self.ends_at = Some(at);
                self.tell(&format!("{}: {why}", ends(at, now)));
            }
            Notice::Goes { until } => {
                (self.until, self.ends_at) = (until, None);
                self.warnings = Warnings::ahead(until, now);
                self.tell(&ends(until, now));
            }
        }
    }

    /// A line for the user: on their terminal, and in the recording; never into a program's data.
    fn tell(&mut self, line: &str) {
        let emergency = self.run.emergency.as_ref().map(|id| format!("{id} ")).unwrap_or_default();
        let line = plain(&format!("fireaxe: {emergency}{line}"), SAID);
        let shown = format!("\r\n{line}\r\n");
        if self.inner.is_some() {
            let _ = rustix::io::write(rustix::stdio::stdout(), shown.as_bytes());
        } else if rustix::termios::isatty(rustix::stdio::stderr()) {
            let _ = rustix::io::write(rustix::stdio::stderr(), shown.as_bytes());
        }
        self.link.say(Stream::Notice, line.as_bytes());
    }

    /// Ends it: a terminal is hung up, which ends what is on it; a program is asked, then killed.
    fn end(&mut self) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(Stopwatch::start());
        if self.inner.take().is_some() {
            self.flows.iter_mut().for_each(Flow::stop);
        } else if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
            && self.status.is_none()
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    fn over(mut self, status: ExitStatus) -> Left {
        let left = match (status.code(), status.signal()) {
            (Some(code), _) => Left::Exited(u8::try_from(code & 0xff).unwrap_or(255)),
            (None, signal) => Left::Signalled(signal.unwrap_or(9)),
        };
        self.link.over(match left {
            Left::Exited(code) => Over::Exited(code),
            Left::Signalled(signal) => Over::Signalled(u8::try_from(signal).unwrap_or(255)),
        });
        self.link.finish(REST);
        left
    }
}

/// Signals, as bytes of a socket and marks.
struct Signals {
    fd: UnixStream,
    winch: Arc<AtomicBool>,
    hup: Arc<AtomicBool>,
}

impl Signals {
    fn hear() -> std::io::Result<Signals> {
        let (fd, into) = UnixStream::pair()?;
        fd.set_nonblocking(true)?;
        let (winch, hup) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        signal_hook::flag::register(SIGWINCH, winch.clone())?;
        signal_hook::flag::register(SIGHUP, hup.clone())?;
        signal_hook::flag::register(SIGTERM, hup.clone())?;
        // Those two are meant for the program, which gets them itself; here they only wake.
        for signal in [SIGWINCH, SIGHUP, SIGTERM, SIGCHLD, SIGINT, SIGQUIT] {
            signal_hook::low_level::pipe::register(signal, into.try_clone()?)?;
        }
        Ok(Signals { fd, winch, hup })
    }

    fn clear(&mut self) {
        use std::io::Read;
        let mut buffer = [0u8; 64];
        while matches!(self.fd.read(&mut buffer), Ok(n) if n == buffer.len()) {}
    }
}
