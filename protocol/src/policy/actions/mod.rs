//! One command instead of a tier. What is asked of it (`action`); its words (`command`) reach a `shell`
//! unchanged, because `param_pattern` and the rule for all values say what may be filled in.

pub(super) mod action;
pub(super) mod command;
pub(super) mod param_pattern;

pub use command::{Command, CommandFault, CommandPart};
pub use param_pattern::ParamPattern;
