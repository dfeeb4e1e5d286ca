//! The two files of a bundle: strict TOML. `reading` knows how, `policy_file`, `rule_file`, `case_file` and
//! `roster` which keys there are (`date` reads theirs), `references` whether the parts fit. What is not known
//! is refused, with file, line, column and the nearest valid name.

pub(super) mod case_file;
mod date;
pub(super) mod policy_file;
pub(super) mod reading;
pub(super) mod references;
pub(super) mod roster;
mod rule_file;

pub use roster::{Person, Role, RoleHolders, Roster};
