//! Bytes from one descriptor to another, recorded on their way. What was read and is not written yet is all
//! that is held: at most one read.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fireaxe_protocol::recording::Stream;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::sink::Link;

/// A descriptor that is ours alone, or one of the three that we were born with.
pub(super) enum End {
    /// Ours: closed when the flow is over.
    Ours(OwnedFd),
    /// Standard input, output or error.
    Born(Born),
    /// Closed.
    Gone,
}

/// The three.
#[derive(Clone, Copy)]
pub(super) enum Born {
    Stdin,
    Stdout,
    Stderr,
}

impl End {
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            End::Ours(fd) => Some(fd.as_fd()),
            End::Born(Born::Stdin) => Some(rustix::stdio::stdin()),
            End::Born(Born::Stdout) => Some(rustix::stdio::stdout()),
            End::Born(Born::Stderr) => Some(rustix::stdio::stderr()),
            End::Gone => None,
        }
    }

    /// Closes it for good, so that the other end reads its end.
    pub(super) fn close(&mut self) {
        if let End::Born(born) = self {
            // Something must have these numbers, or the next file that is opened would.
            let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty());
            if let Ok(null) = null {
                let _ = match born {
                    Born::Stdin => rustix::stdio::dup2_stdin(&null),
                    Born::Stdout => rustix::stdio::dup2_stdout(&null),
                    Born::Stderr => rustix::stdio::dup2_stderr(&null),
                };
            }
        }
        *self = End::Gone;
    }
}

/// One direction.
pub(super) struct Flow {
    from: End,
    to: End,
    /// What its bytes are recorded as; nothing: they are not, as what is typed at a terminal.
    stream: Option<Stream>,
    waiting: Vec<u8>,
    written: usize,
    /// Bytes of one read.
    room: usize,
}

impl Flow {
    pub(super) fn new(from: End, to: End, stream: Option<Stream>, room: usize) -> Flow {
        Flow { from, to, stream, waiting: Vec::new(), written: 0, room }
    }

    /// Whether no more comes.
    pub(super) fn is_over(&self) -> bool {
        self.from.fd().is_none() && self.waiting.is_empty()
    }

    /// Whether something was read and not written yet.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Ends it: nothing more is read, and what waits goes nowhere.
    pub(super) fn stop(&mut self) {
        self.from.close();
        self.to.close();
        self.waiting.clear();
    }

    /// What it waits for: to read when nothing waits and the sink has room, to write when something waits and
    /// the sink has it.
    pub(super) fn wants<'a>(&'a self, link: &Link, into: &mut Vec<PollFd<'a>>) -> Wants {
        let mut wants = Wants::default();
        if self.waiting.is_empty() {
            if let Some(fd) = self.from.fd().filter(|_| self.stream.is_none() || link.has_room()) {
                wants.read = Some(into.len());
                into.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
        } else if let Some(fd) = self.to.fd().filter(|_| self.stream.is_none() || link.has_it()) {
            wants.write = Some(into.len());
            into.push(PollFd::from_borrowed_fd(fd, PollFlags::OUT));
        }
        wants
    }

    /// Reads once, and hands it to the sink.
    pub(super) fn read(&mut self, buffer: &mut [u8], link: &mut Link) {
        let Some(fd) = self.from.fd() else { return };
        let room = self.room.min(buffer.len());
        match rustix::io::read(fd, buffer.get_mut(..room).unwrap_or_default()) {
            Ok(0) => self.ended(),
            Ok(n) => {
                let bytes = buffer.get(..n).unwrap_or_default();
                self.waiting.clear();
                self.written = 0;
                // Nobody hears it any more: it goes nowhere, and the writer will notice.
                if self.to.fd().is_some() {
                    self.waiting.extend_from_slice(bytes);
                }
                if let Some(stream) = self.stream {
                    link.say(stream, bytes);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A terminal whose last program has closed it says EIO.
            Err(_) => self.ended(),
        }
    }

    /// Writes what waits, once the sink has it.
    pub(super) fn write(&mut self, link: &Link) {
        if self.waiting.is_empty() || (self.stream.is_some() && !link.has_it()) {
            return;
        }
        let Some(fd) = self.to.fd() else {
            self.waiting.clear();
            return;
        };
        match rustix::io::write(fd, self.waiting.get(self.written..).unwrap_or_default()) {
            Ok(n) => {
                self.written += n;
                if self.written >= self.waiting.len() {
                    self.waiting.clear();
                    if self.from.fd().is_none() {
                        self.to.close();
                    }
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // The reader is gone. So is the writer's pipe then: it gets SIGPIPE as it always would.
            Err(_) => self.stop(),
        }
    }

    fn ended(&mut self) {
        self.from.close();
        if self.waiting.is_empty() {
            self.to.close();
        }
    }
}

/// Which of the polled descriptors are a flow's.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wants {
    pub(super) read: Option<usize>,
    pub(super) write: Option<usize>,
}

/// Makes reads and writes of a descriptor return at once; gives how it was.
pub(super) fn unblock(fd: BorrowedFd<'_>) -> Option<rustix::fs::OFlags> {
    let before = rustix::fs::fcntl_getfl(fd).ok()?;
    rustix::fs::fcntl_setfl(fd, before | rustix::fs::OFlags::NONBLOCK).ok()?;
    Some(before)
}
