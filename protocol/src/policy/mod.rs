//! The policy: what the bundle says, whether it may be used, and what it decides.
//!
//! `decide(policy, facts) -> Decision` is pure and total. The bundle is strict TOML; what it does not
//! know it refuses, with file, line, column and the nearest valid name.

mod decision;
mod facts;
mod terms;

pub use decision::{Decision, Outcome, Smaller};
pub use facts::{Facts, IncidentFact, IncidentState, Target, Want};
pub use terms::{Approvals, Cidr, Extension, Presence, Record, Terms};
