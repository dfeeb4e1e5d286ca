//! A bundle beside another. `compare` and `fields`: two decisions; `parts`: what the files say; `axes`,
//! `walk` and `cells`: what is decided. From them `diff`, `beneficiaries` (who gains) and `simulate` (what the
//! other would have decided about what happened).

mod axes;
mod beneficiaries;
pub(super) mod cells;
mod compare;
mod diff;
mod fields;
mod parts;
mod simulate;
mod walk;

pub use beneficiaries::{gains, own_gains};
pub use cells::{Cell, Scope};
pub use compare::{Change, ChangeVerdict, compare, compare_terms, compare_under};
pub use diff::{BundleDiff, DiffLine, How, diff};
pub use simulate::{decide_again, simulate};
