//! The policy: what the bundle says, whether it may be used, and what it decides.
//!
//! `decide(policy, facts) -> Decision` is pure and total. The bundle is strict TOML; what it does not
//! know it refuses, with file, line, column and the nearest valid name.
//!
//! The rooms, in the order a bundle meets them: `reading` (strict TOML), `policy_file`, `rule_file`,
//! `case_file` and `roster` (which keys there are; `date` reads theirs), `references` (do the parts fit),
//! `enough` (are there people enough),
//! [`Bundle`]; then `severity`, `rate`, `tighten`, `ladder` and [`decide`]; then [`check`] (total, monotone,
//! reachable) and [`run_tests`]; `quorum` counts who approved.
//!
//! A bundle beside another: [`compare`] and `fields` (two decisions), `parts` (what the files say), `axes`,
//! `walk` and `cells` (what is decided); from them [`diff`], [`gains`] and [`simulate`].
//!
//! Beside the road: `action` (one `command` instead of a tier), whose words reach a `shell` unchanged because
//! `param_pattern` and the rule for all values say what may be filled in.

mod action;
mod axes;
mod beneficiaries;
mod bundle;
mod case_file;
mod cases;
mod cells;
mod check;
mod check_actions;
mod command;
mod compare;
mod date;
mod decide;
mod decision;
mod diff;
mod enough;
mod facts;
mod fields;
mod finding;
mod hosts;
mod ladder;
mod param_pattern;
mod parts;
mod policy_file;
mod quorum;
mod rate;
mod reading;
mod references;
mod roster;
mod rule_file;
mod severity;
mod shape;
mod shell;
mod signals;
mod simulate;
mod table;
mod terms;
mod tighten;
mod walk;

pub use beneficiaries::{gains, own_gains};
pub use bundle::Bundle;
pub use cases::{TestOutcome, run_cases, run_tests, unsound};
pub use cells::{Cell, Scope};
pub use check::{Report, check};
pub use command::{Command, CommandFault, CommandPart};
pub use compare::{Change, ChangeVerdict, compare, compare_terms, compare_under};
pub use decide::decide;
pub use decision::{Awaits, Decision, Outcome, Rung, Smaller};
pub use diff::{BundleDiff, DiffLine, How, diff};
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
pub use signals::{
    MIN_HISTORY, NEAR_H, PAIR, RAISED_WITHIN_S, RATE, RATE_WITHIN_S, READ_S, Signal, Signals, UNUSED, raised,
    raised_by_approval,
};
pub use simulate::{decide_again, simulate};
pub use terms::{Approvals, Cidr, Extension, Presence, Record, Terms};
