//! Cases that two bundles decide otherwise, as a reader meets them: how it changes, and where.

use serde::Serialize;

use super::compare::Change;
use super::fields::{list, of_presence};
use crate::names::{Severity, SystemName};
use crate::policy::Presence;

/// Cases that change in the same way, said together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// How.
    pub change: Change,
    /// Which systems. Sorted.
    pub systems: Vec<SystemName>,
    /// What is asked for; all of them when the target does not matter.
    pub scopes: Vec<Scope>,
    /// What the emergency rests on: `pd` for an incident whose id begins so, `claim`, `co-declared`.
    pub begun_by: Vec<String>,
    /// Worst first.
    pub severities: Vec<Severity>,
    /// `None`: nobody can tell.
    pub on_call: Vec<Option<bool>>,
    /// What the signature proves.
    pub presence: Vec<Presence>,
    /// What is out of the ordinary, if it takes that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circumstance: Option<String>,
    /// Whether the other dimensions are whole, so that they need not be said.
    #[serde(skip)]
    pub(in crate::policy) whole: [bool; DIMENSIONS],
}

/// What of a system is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// All of it.
    System,
    /// One host alone.
    Host,
    /// One host while another is open.
    FurtherHost,
    /// A host that only the second bundle has in this system.
    NewHost,
    /// A host that only the first has.
    GoneHost,
}

/// Scope, way to begin, severity, on-call, presence.
pub(in crate::policy) const DIMENSIONS: usize = 5;

/// Where cases lie: one mask of bits a dimension.
pub(in crate::policy) type Place = [u32; DIMENSIONS];

/// The bit of the `n`th value of a dimension.
pub(in crate::policy) fn bit(n: usize) -> u32 {
    u32::try_from(n).ok().and_then(|n| 1u32.checked_shl(n)).unwrap_or(0)
}

impl Cell {
    /// Where it is found, in words, without how it changes.
    pub fn place(&self) -> String {
        let [scope, way, severity, on_call, presence] = self.whole;
        let shown = 5;
        let mut systems = list(self.systems.iter().take(shown), ", ");
        if self.systems.len() > shown {
            systems = format!("{systems} and {} more", self.systems.len() - shown);
        }
        let mut parts = vec![systems];
        if !scope {
            let word = |scope: &Scope| match scope {
                Scope::System => "the whole system",
                Scope::Host => "one host alone",
                Scope::FurtherHost => "a further host",
                Scope::NewHost => "a host that is new in it",
                Scope::GoneHost => "a host that is no longer in it",
            };
            parts.push(list(self.scopes.iter().map(word), " or "));
        }
        if !severity {
            parts.push(format!("severity {}", list(&self.severities, " or ")));
        }
        if !on_call {
            let word = |on_call: &Option<bool>| match on_call {
                Some(true) => "on call",
                Some(false) => "not on call",
                None => "nobody can tell who is on call",
            };
            parts.push(list(self.on_call.iter().map(word), " or "));
        }
        if !presence {
            parts.push(format!("with {}", list(self.presence.iter().map(|p| of_presence(*p)), " or ")));
        }
        if !way {
            let word = |way: &String| match way.as_str() {
                "claim" => "a bare claim".to_owned(),
                "co-declared" => "a claim that others sign too".to_owned(),
                ids => format!("an incident of {ids}"),
            };
            parts.push(format!("begun by {}", list(self.begun_by.iter().map(word), " or ")));
        }
        parts.extend(self.circumstance.clone());
        parts.join("; ")
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place(), self.change.what.join("; "))
    }
}
