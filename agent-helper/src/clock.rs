//! The one clock of this program. Everything below takes the time as a parameter.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Unix seconds; 0 when the machine's clock stands before 1970.
#[allow(clippy::disallowed_methods, reason = "this file is the clock")]
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// A limit on how long something is waited for. Does not run backwards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    #[allow(clippy::disallowed_methods, reason = "this file is the clock")]
    pub(crate) fn after(limit: Duration) -> Deadline {
        let now = Instant::now();
        Deadline(now.checked_add(limit).unwrap_or(now))
    }

    /// What is left; zero when it has passed.
    #[allow(clippy::disallowed_methods, reason = "this file is the clock")]
    pub(crate) fn left(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// How long something has been there, e.g. a card on the screen. Does not run backwards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since(Instant);

impl Since {
    /// From now on.
    #[allow(clippy::disallowed_methods, reason = "this file is the clock")]
    pub(crate) fn now() -> Since {
        Since(Instant::now())
    }

    /// Whole seconds so far.
    pub(crate) fn seconds(&self) -> u32 {
        u32::try_from(self.0.elapsed().as_secs()).unwrap_or(u32::MAX)
    }
}
