//! What ends a connection, and what of it stays.
//!
//! | file | what it does |
//! |---|---|
//! | [`deadline`] | pure: when a connection ends, and why |
//! | [`mod@sweep`] | ends it with everything that came in with it |
//! | [`planted`] | what was left on the host meanwhile |
//!
//! Who is connected is left to [`crate::connections`], which calls these.

pub mod deadline;
pub mod planted;
mod sweep;

pub use deadline::{Countdown, End, Life, Moment};
pub use sweep::{ASKED, ASKED_WITHOUT_GRACE, MOST, Outcome, hang_up, sweep};
