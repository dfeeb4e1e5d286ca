//! Asking the daemon, from a program that sshd waits for: never longer than it was told to.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::socket::line;
use super::words::{Answer, Ask};
use crate::clock::Deadline;
use crate::error::HostError;

/// Connects and says the question; the stream is open still, for what follows. A daemon that hangs leaves
/// its queue full, and connecting would wait for ever: hence not by `UnixStream::connect`.
pub fn say(socket: &Path, ask: &Ask, deadline: Deadline) -> Result<UnixStream, HostError> {
    let failed = |why: &dyn ToString| HostError::NoDaemon { path: socket.into(), why: why.to_string() };
    let address = SocketAddrUnix::new(socket).map_err(|error| failed(&error))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|error| failed(&error))?;
    loop {
        match rustix::net::connect(&stream, &address) {
            Ok(()) => break,
            Err(Errno::AGAIN | Errno::INTR) if deadline.left().is_some() => std::thread::sleep(AGAIN),
            Err(error) => return Err(failed(&error)),
        }
    }
    let mut stream = UnixStream::from(stream);
    let mut said = serde_json::to_vec(ask).map_err(|error| failed(&error))?;
    said.push(b'\n');
    stream.set_nonblocking(false).map_err(|error| failed(&error))?;
    stream.set_write_timeout(deadline.left().or(Some(AGAIN))).map_err(|error| failed(&error))?;
    stream.write_all(&said).map_err(|error| failed(&error))?;
    Ok(stream)
}

/// Asks and waits for the answer.
pub fn ask(socket: &Path, ask: &Ask, patience: Duration) -> Result<Answer, HostError> {
    let deadline = Deadline::after(patience);
    let stream = say(socket, ask, deadline)?;
    answer(&stream, deadline).ok_or_else(|| HostError::NoDaemon {
        path: socket.into(),
        why: "it did not answer in time, or not in its words".into(),
    })
}

/// The answer on a stream of [`say`].
pub fn answer(stream: &UnixStream, deadline: Deadline) -> Option<Answer> {
    serde_json::from_slice(&line(stream, deadline)?).ok()
}

/// How long until the next try when the queue is full.
const AGAIN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_daemon_that_hangs_or_is_gone_costs_no_more_than_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let patience = Duration::from_millis(200);
        let limit = Deadline::after(Duration::from_secs(5));
        assert!(ask(&path, &Ask::Status, patience).is_err());
        // Bound, never accepted from: the queue fills up.
        let _listener = UnixListener::bind(&path).unwrap();
        assert!(ask(&path, &Ask::Status, patience).is_err());
        let full: Vec<_> = std::iter::from_fn(|| say(&path, &Ask::Status, Deadline::after(patience)).ok())
            .take(5000)
            .collect();
        assert!(full.len() < 5000);
        assert!(ask(&path, &Ask::Status, patience).is_err());
        assert!(limit.left().is_some());
    }
}
