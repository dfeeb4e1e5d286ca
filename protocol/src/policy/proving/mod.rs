//! What is shown of a bundle before it may be used: there are people enough (`enough`), it is total, monotone
//! and reachable (`check`, `check_actions`; `table` prints what was walked), and its own tests hold (`cases`).

mod cases;
pub(super) mod check;
mod check_actions;
pub(super) mod enough;
mod table;

pub use cases::{TestOutcome, run_cases, run_tests, unsound};
pub use check::{Report, check};
