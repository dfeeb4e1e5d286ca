//! The terminal itself: its name, its width, Ctrl-C as a key while something is waited for, and a line for
//! a terminal that belongs to somebody who went on working.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};

/// Columns of the terminal at stderr; 80 where it does not say.
pub(crate) fn width() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stderr())
        .ok()
        .map(|size| size.ws_col)
        .filter(|n| *n > 20)
        .unwrap_or(80)
}

/// The device of the terminal at stderr, if it is one.
pub(crate) fn name() -> Option<PathBuf> {
    let name = rustix::termios::ttyname(std::io::stderr(), Vec::new()).ok()?;
    Some(PathBuf::from(std::ffi::OsString::from_vec(name.into_bytes())))
}

/// While it lives, Ctrl-C is a key and not a signal that kills: held back at first, heard once something
/// listens. What is typed ahead stays for whoever reads the terminal next, until then. The terminal is put
/// back as it was when it goes.
pub(crate) struct Keys {
    before: Termios,
}

impl Keys {
    /// Holds Ctrl-C back; `None` when stdin is no terminal or belongs to another job.
    pub(crate) fn hold() -> Option<Keys> {
        let stdin = std::io::stdin();
        let before = rustix::termios::tcgetattr(&stdin).ok()?;
        if rustix::termios::tcgetpgrp(&stdin).ok()? != rustix::process::getpgrp() {
            return None;
        }
        let mut held = before.clone();
        held.local_modes.remove(LocalModes::ISIG);
        rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &held).ok()?;
        Some(Keys { before })
    }

    /// Calls `pressed` at Ctrl-C, Ctrl-D and when the terminal has gone away, also for what was pressed while
    /// it was held back. A second time ends the process at once. Reads the terminal from now on, to the end
    /// of the process: once.
    pub(crate) fn listen(&self, pressed: impl Fn() + Send + 'static) {
        let mut raw = self.before.clone();
        raw.local_modes.remove(LocalModes::ISIG | LocalModes::ICANON | LocalModes::ECHO);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        if rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).is_err() {
            return;
        }
        let before = self.before.clone();
        std::thread::spawn(move || {
            let (mut heard, mut key) = (false, [0u8; 1]);
            loop {
                let gone = !std::io::stdin().read(&mut key).is_ok_and(|n| n == 1);
                if gone || matches!(key, [CTRL_C | CTRL_D | CTRL_BACKSLASH]) {
                    if heard {
                        let _ = rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
                        std::process::exit(INTERRUPTED);
                    }
                    heard = true;
                    pressed();
                }
                if gone {
                    return;
                }
            }
        });
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to put back.
        let _ = rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Writes one line to a terminal that this user still owns. Whether it could.
pub(crate) fn warn(path: &Path, line: &str) -> bool {
    open_own(path).is_some_and(|mut terminal| {
        // In a session the terminal may be raw: each end of line is both characters.
        terminal.write_all(format!("\r\n{line}\r\n").as_bytes()).is_ok()
    })
}

/// Opens a terminal of this user's, and nothing else: the device may have been given to somebody since.
fn open_own(path: &Path) -> Option<File> {
    let flags = (rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::NONBLOCK).bits();
    let terminal = OpenOptions::new().write(true).custom_flags(i32::try_from(flags).ok()?).open(path).ok()?;
    let found = terminal.metadata().ok()?;
    let own = found.file_type().is_char_device()
        && found.uid() == rustix::process::getuid().as_raw()
        && rustix::termios::isatty(&terminal);
    own.then_some(terminal)
}

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const CTRL_BACKSLASH: u8 = 28;
/// As a shell says it of a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_terminal_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(!warn(&file, "hello") && !warn(Path::new("/dev/null"), "hello"));
        assert!(!warn(&dir.path().join("none"), "hello"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x");
    }
}
