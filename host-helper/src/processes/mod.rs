//! The host's processes, and which of them came in with a connection.
//!
//! | file | what it does |
//! |---|---|
//! | [`process`] | reads `/proc`; holds a process so that a signal meets no other |
//! | [`cgroup`] | a cgroup for each connection, where there can be one |
//! | [`belonging`] | pure: what belongs to a connection, and what never does |

pub mod belonging;
pub mod cgroup;
pub mod process;

pub use belonging::{Mark, Others, members};
pub use cgroup::Cgroups;
pub use process::{Held, Process, ProcessId};
