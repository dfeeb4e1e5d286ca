//! The CA's one clock. Everything else takes time as an argument.
//!
//! Two hands: the wall (unix seconds, what certificates and entries carry) and the tick (milliseconds
//! since some start, never goes back), so that a jump of the wall can be seen.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What the writer reads at each batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Unix seconds.
    pub wall_s: u64,
    /// Milliseconds since an arbitrary start; monotonic.
    pub tick_ms: u64,
}

/// A source of moments; tests bring their own.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Moment;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
    fn now(&self) -> Moment {
        static START: OnceLock<Instant> = OnceLock::new();
        let start = START.get_or_init(Instant::now);
        let wall_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Moment { wall_s, tick_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX) }
    }
}
