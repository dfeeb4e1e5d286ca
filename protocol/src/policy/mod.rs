//! The policy: what the bundle says, whether it may be used, and what it decides.
//!
//! `decide(policy, facts) -> Decision` is pure and total.
//!
//! The rooms, in the order a bundle meets them: `files` (reading it), [`Bundle`], `proving` (whether it may be
//! used), `comparing` (it beside another). A request meets `severity`, `rate`, `tighten`, `ladder` and
//! [`decide`], or `actions` when it is for one command; `quorum` counts who approved;
//! `narrowed` makes the terms of a grant those of one of its hosts.

mod actions;
mod bundle;
mod comparing;
mod decide;
mod decision;
mod facts;
mod files;
mod finding;
mod hosts;
mod ladder;
mod narrowed;
mod proving;
mod quorum;
mod rate;
mod severity;
mod shape;
mod signals;
mod terms;
mod tighten;

pub use actions::{Command, CommandFault, CommandPart, ParamPattern};
pub use bundle::Bundle;
pub use comparing::{
    BundleDiff, Cell, Change, ChangeVerdict, DiffLine, How, Scope, compare, compare_terms, compare_under,
    decide_again, diff, gains, own_gains, simulate,
};
pub use decide::decide;
pub use decision::{Awaits, Decision, Outcome, Rung, Smaller};
pub use facts::{Facts, IncidentFact, IncidentState, Target, Want};
pub use files::{Person, Role, RoleHolders, Roster};
pub use finding::{At, Finding};
pub use hosts::Pattern;
pub use narrowed::NotNarrowed;
pub use proving::{Report, TestOutcome, check, run_cases, run_tests, unsound};
pub use quorum::{is_met, missing};
pub use shape::{
    Action, Band, Case, CaseIncident, Exception, Expect, Given, Keep, Limits, Policy, Quorum, Reviews, Risk,
    Rule, System, Tier, Tightening, Trigger, TriggerSource, Unknown, When,
};
pub use signals::{
    MIN_HISTORY, NEAR_H, PAIR, RAISED_WITHIN_S, RATE, RATE_WITHIN_S, READ_S, Signal, Signals, UNUSED, raised,
    raised_by_approval,
};
pub use terms::{Approvals, Cidr, Extension, Presence, Record, Terms};
