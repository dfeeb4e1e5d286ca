//! The policy: what the bundle says, whether it may be used, and what it decides.
//!
//! `decide(policy, facts) -> Decision` is pure and total. The bundle is strict TOML; what it does not
//! know it refuses, with file, line, column and the nearest valid name.
//!
//! The rooms, in the order a bundle meets them: `reading` (strict TOML), `policy_file`, `case_file` and
//! `roster` (which keys there are), `references` (do the parts fit), [`Bundle`]; then `severity`,
//! `tighten` and [`decide`]; then [`check`] (total, monotone, reachable) and [`run_tests`].
//!
//! A bundle beside another: [`compare`] and `fields` (two decisions), `parts` (what the files say), `axes`,
//! `walk` and `cells` (what is decided); from them [`diff`], [`gains`] and [`simulate`].

mod axes;
mod beneficiaries;
mod bundle;
mod case_file;
mod cases;
mod cells;
mod check;
mod compare;
mod decide;
mod decision;
mod diff;
mod facts;
mod fields;
mod finding;
mod hosts;
mod parts;
mod policy_file;
mod quorum;
mod reading;
mod references;
mod roster;
mod severity;
mod shape;
mod signals;
mod simulate;
mod table;
mod terms;
mod tighten;
mod walk;

pub use beneficiaries::{gains, own_gains};
pub use bundle::Bundle;
pub use cases::{TestOutcome, run_cases, run_tests};
pub use cells::{Cell, Scope};
pub use check::{Report, check};
pub use compare::{Change, ChangeVerdict, compare, compare_terms, compare_under};
pub use decide::decide;
pub use decision::{Awaits, Decision, Outcome, Rung, Smaller};
pub use diff::{BundleDiff, DiffLine, How, diff};
pub use facts::{Facts, IncidentFact, IncidentState, Target, Want};
pub use finding::{At, Finding};
pub use hosts::Pattern;
pub use quorum::{is_met, missing};
pub use roster::{Person, Role, RoleHolders, Roster};
pub use shape::{
    Action, Band, Case, CaseIncident, Exception, Expect, Given, Limits, Policy, Quorum, Reviews, Risk, Rule,
    System, Tier, Tightening, Trigger, TriggerSource, Unknown, When,
};
pub use signals::{PAIR, RATE, READ_S, Signal, Signals, raised, raised_by_approval};
pub use simulate::{decide_again, simulate};
pub use terms::{Approvals, Cidr, Extension, Presence, Record, Terms};
