//! The policy: what the bundle says, whether it may be used, and what it decides.
//!
//! `decide(policy, facts) -> Decision` is pure and total. The bundle is strict TOML; what it does not
//! know it refuses, with file, line, column and the nearest valid name.
//!
//! The rooms, in the order a bundle meets them: `reading` (strict TOML), `policy_file`, `case_file` and
//! `roster` (which keys there are), `references` (do the parts fit), [`Bundle`]; then `severity`,
//! `tighten` and [`decide`]; then [`check`] (total, monotone, reachable) and [`run_tests`].
//!
//! Beside the road: `action` (one `command` instead of a tier), whose words reach a `shell` unchanged because
//! `param_pattern` and the rule for all values say what may be filled in.

mod action;
mod bundle;
mod case_file;
mod cases;
mod check;
mod check_actions;
mod command;
mod decide;
mod decision;
mod facts;
mod finding;
mod hosts;
mod param_pattern;
mod policy_file;
mod quorum;
mod reading;
mod references;
mod roster;
mod severity;
mod shape;
mod shell;
mod signals;
mod table;
mod terms;
mod tighten;

pub use bundle::Bundle;
pub use cases::{TestOutcome, run_cases, run_tests};
pub use check::{Report, check};
pub use command::{Command, CommandFault, CommandPart};
pub use decide::decide;
pub use decision::{Awaits, Decision, Outcome, Rung, Smaller};
pub use facts::{Facts, IncidentFact, IncidentState, Target, Want};
pub use finding::{At, Finding};
pub use hosts::Pattern;
pub use param_pattern::ParamPattern;
pub use quorum::{is_met, missing};
pub use roster::{Person, Role, RoleHolders, Roster};
pub use shape::{
    Action, Band, Case, CaseIncident, Exception, Expect, Given, Limits, Policy, Quorum, Reviews, Risk, Rule,
    System, Tier, Tightening, Trigger, TriggerSource, Unknown, When,
};
pub use signals::{PAIR, RATE, READ_S, Signal, Signals, raised, raised_by_approval};
pub use terms::{Approvals, Cidr, Extension, Presence, Record, Terms};
