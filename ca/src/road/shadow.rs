//! A candidate that decides beside the bundle in force. What it says is logged and counted, and given to
//! nobody. In memory: a CA that starts has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fireaxe_protocol::names::PersonName;
use fireaxe_protocol::policy::{Bundle, Change, ChangeVerdict, Decision, Facts, simulate};

use super::turn::Turn;

/// How often the candidate said what, beside the bundle in force.
#[derive(Debug, Default)]
pub struct ShadowCounts {
    same: AtomicU64,
    tighter: AtomicU64,
    looser: AtomicU64,
    denied: AtomicU64,
}

impl ShadowCounts {
    fn of(&self, verdict: ChangeVerdict) -> &AtomicU64 {
        match verdict {
            ChangeVerdict::Same => &self.same,
            ChangeVerdict::Tighter => &self.tighter,
            ChangeVerdict::Looser => &self.looser,
            ChangeVerdict::Denied => &self.denied,
        }
    }

    /// Each verdict and how often it came, since the CA started.
    pub fn read(&self) -> [(&'static str, u64); 4] {
        use ChangeVerdict::{Denied, Looser, Same, Tighter};
        [Same, Tighter, Looser, Denied].map(|v| (v.as_str(), self.of(v).load(Ordering::Relaxed)))
    }

    /// Counts one, and says where it differs.
    pub(super) fn note(&self, difference: &Difference) {
        let Difference { person, target, change } = difference;
        self.of(change.verdict).fetch_add(1, Ordering::Relaxed);
        if change.verdict != ChangeVerdict::Same {
            tracing::warn!(
                event = "shadow.differs",
                %person,
                target_asked = %target,
                verdict = change.verdict.as_str(),
                what = change.what.join("; ")
            );
        }
    }
}

/// What the candidate would have decided instead, about one request that is in the log.
#[derive(Debug)]
pub(super) struct Difference {
    person: PersonName,
    target: String,
    change: Change,
}

impl Turn<'_> {
    /// Asks the candidate, if there is one. What it says is told after the commit, so that only what the
    /// log holds is spoken of.
    pub(super) fn ask_shadow(&mut self, facts: &Facts, decision: &Decision) {
        let Some(candidate) = &self.shadow else { return };
        let change = simulate(candidate, Some(&self.bundle.policy), facts, decision);
        let target = facts.target.host.as_ref().map_or(facts.target.system.as_str(), |host| host.as_str());
        let (person, target) = (facts.person.clone(), target.to_owned());
        self.differences.push(Difference { person, target, change });
    }
}

/// The candidate, shared with the writer.
pub(super) type Candidate = Option<Arc<Bundle>>;
