//! The one clock of this program.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix seconds; 0 when the machine believes it is before 1970.
#[allow(clippy::disallowed_methods, reason = "the one clock of this program")]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
