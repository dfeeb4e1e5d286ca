//! The one clock of this program.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Unix seconds; 0 when the machine believes it is before 1970.
#[allow(clippy::disallowed_methods, reason = "the one clock of this program")]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Milliseconds since the host was started, sleep included: nobody sets this one.
pub fn since_boot_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (s, ms) =
        (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000);
    s.saturating_mul(1000).saturating_add(ms)
}

/// Unix microseconds.
#[allow(clippy::disallowed_methods, reason = "the one clock of this program")]
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// How long something has gone on, on a clock that nobody sets.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// From now.
    #[allow(clippy::disallowed_methods, reason = "the one clock of this program")]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// One that was started so long ago.
    #[cfg(test)]
    #[allow(clippy::disallowed_methods, reason = "the one clock of this program")]
    pub(crate) fn ago(time: Duration) -> Stopwatch {
        Stopwatch(Instant::now().checked_sub(time).unwrap())
    }

    /// How long so far.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// The same in microseconds.
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A moment to be done by, on a clock that nobody sets.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    #[allow(clippy::disallowed_methods, reason = "the one clock of this program")]
    pub fn after(time: Duration) -> Deadline {
        Deadline(Instant::now() + time)
    }

    /// How long until then; nothing: it has passed.
    #[allow(clippy::disallowed_methods, reason = "the one clock of this program")]
    pub fn left(&self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}
