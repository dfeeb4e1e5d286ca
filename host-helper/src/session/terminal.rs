//! A terminal within sshd's terminal. The outer one is made raw and passes bytes; the inner one is what the
//! session's programs have. Nobody of the same account can open the outer one meanwhile (`TIOCEXCL`; root
//! can), so what the client sees went through here.

use std::os::fd::{AsFd, OwnedFd};

use pty_process::blocking::{Pts, Pty};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::daemon::words::Terminal;

/// The terminal on standard input, if there is one.
pub(super) fn of_stdin() -> Option<Terminal> {
    let size = tcgetwinsize(rustix::stdio::stdin()).ok()?;
    let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".into());
    Some(Terminal { term, columns: size.ws_col, rows: size.ws_row })
}

/// The outer terminal, raw, with what it must get back.
pub(super) struct Outer {
    /// Of our own: standard input is closed before the end.
    fd: OwnedFd,
    was: Termios,
    flags: Option<OFlags>,
}

impl Outer {
    pub(super) fn raw() -> rustix::io::Result<Outer> {
        let fd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let was = tcgetattr(&fd)?;
        let _ = rustix::termios::ioctl_tiocexcl(&fd);
        let mut raw = was.clone();
        raw.make_raw();
        tcsetattr(&fd, OptionalActions::Now, &raw)?;
        let flags = super::flow::unblock(fd.as_fd());
        Ok(Outer { fd, was, flags })
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        if let Some(flags) = self.flags {
            let _ = rustix::fs::fcntl_setfl(&self.fd, flags);
        }
        let _ = rustix::termios::ioctl_tiocnxcl(&self.fd);
        let _ = tcsetattr(&self.fd, OptionalActions::Now, &self.was);
    }
}

/// Opens the inner terminal, with the settings and the size of the outer one.
pub(super) fn inner() -> std::io::Result<(Pty, Pts)> {
    let (pty, pts) = pty_process::blocking::open().map_err(std::io::Error::other)?;
    let stdin = rustix::stdio::stdin();
    if let Ok(settings) = tcgetattr(stdin) {
        let _ = tcsetattr(pts.as_fd(), OptionalActions::Now, &settings);
    }
    if let Ok(size) = tcgetwinsize(stdin) {
        let _ = tcsetwinsize(pty.as_fd(), size);
    }
    Ok((pty, pts))
}

/// Gives the inner terminal the size of the outer one; gives columns and rows.
pub(super) fn resize(inner: impl AsFd) -> Option<(u16, u16)> {
    let size = tcgetwinsize(rustix::stdio::stdin()).ok()?;
    tcsetwinsize(inner, size).ok()?;
    Some((size.ws_col, size.ws_row))
}
