//! Why something is so: a stable code, the facts behind it, one sentence, and where the policy says it.
//!
//! A reason is a value. The same one stands in the log entry, in the answer and on the screen; nothing
//! rewrites it on the way.

use serde::{Deserialize, Serialize};

/// One reason, complete in itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Stable, dotted, lower case: `severity.above_cap`. Documented in `docs/PROTOCOL.http.md`.
    pub code: String,
    /// One sentence that a half-asleep engineer understands, with its facts in it.
    pub sentence: String,
    /// `policy.toml:14`, when the policy is what says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<String>,
}

impl Reason {
    /// A reason that is not the policy's.
    pub fn new(code: &str, sentence: impl Into<String>) -> Reason {
        Reason { code: code.to_owned(), sentence: sentence.into(), at: None }
    }

    /// The same reason with the line of the bundle that gives it.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Reason {
        self.at = Some(place.into());
        self
    }
}
