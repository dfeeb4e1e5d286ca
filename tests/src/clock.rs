//! The one clock of the tests, and waiting for a condition instead of sleeping for luck.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The limit for anything that ends by itself: generous, since the machine may be busy; nothing is
/// asserted about how much of it is used.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The monotonic clock.
#[allow(clippy::disallowed_methods, reason = "the one clock of the tests")]
pub fn now() -> Instant {
    Instant::now()
}

/// Unix seconds.
#[allow(clippy::disallowed_methods, reason = "the one clock of the tests")]
pub fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Asks `condition` again and again until it gives a value, at most for `limit`.
pub fn wait_for<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let until = now() + limit;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if now() >= until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
