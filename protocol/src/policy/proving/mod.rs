//! What is shown of a bundle before it may be used: there are people enough (`enough`), it is total, monotone
//! and reachable (`check`, `check_actions`, `check_lists`; `table` prints what was walked), and its own tests hold (`cases`).

mod cases;
pub(super) mod check;
mod check_actions;
mod check_lists;
pub(super) mod enough;
mod table;

pub use cases::{TestOutcome, run_cases, run_tests, unsound};
pub use check::{Report, check};
