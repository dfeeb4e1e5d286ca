//! How far a long reading is: on a terminal only, on one line.

use std::io::{IsTerminal, Write};

use crate::clock::{Clock, SystemClock};

/// See the file's top. The line is wiped when it is dropped.
pub(super) struct Bar {
    of: u64,
    shown: bool,
    began_ms: u64,
    last_ms: u64,
}

impl Bar {
    /// For `of` entries.
    pub(super) fn new(of: u64) -> Bar {
        let now = SystemClock.now().tick_ms;
        Bar { of, shown: of > 10_000 && std::io::stderr().is_terminal(), began_ms: now, last_ms: now }
    }

    /// So many have been read.
    pub(super) fn at(&mut self, read: u64) {
        if !self.shown {
            return;
        }
        let now = SystemClock.now().tick_ms;
        if now.saturating_sub(self.last_ms) < STEP_MS {
            return;
        }
        self.last_ms = now;
        let line = line(read, self.of, now.saturating_sub(self.began_ms));
        let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(read: u64, of: u64, took_ms: u64) -> String {
    let percent = read.saturating_mul(100).checked_div(of).unwrap_or(100).min(100);
    let left_ms = took_ms.saturating_mul(of.saturating_sub(read)).checked_div(read).unwrap_or(0);
    let done = usize::try_from(percent / 5).unwrap_or(0);
    let (full, rest) = ("#".repeat(done), ".".repeat(20usize.saturating_sub(done)));
    format!("[{full}{rest}] {percent} %, {read} of {of} entries, {} s left", left_ms.div_ceil(1000))
}

/// Between two of its lines, milliseconds.
const STEP_MS: u64 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_far_and_how_long() {
        let half = line(500, 1000, 2500);
        assert_eq!(half, "[##########..........] 50 %, 500 of 1000 entries, 3 s left");
        assert!(line(0, 0, 0).contains("100 %"));
        assert!(line(u64::MAX, 1, u64::MAX).contains("100 %"));
    }
}
