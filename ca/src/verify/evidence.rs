//! Who read evidence, and whether they might; and which recordings the policy no longer keeps.

use std::collections::HashMap;

use fireaxe_protocol::host::Report;
use fireaxe_protocol::log::{Entry, Event, Evidence, EvidenceReader, Hash};
use fireaxe_protocol::names::HostName;
use fireaxe_protocol::policy::{Bundle, Role};
use fireaxe_protocol::statement::{Nonce, Statement};

use super::check::Check;
use crate::state::State;

/// Recordings that hosts reported and that did not expire, by the leaf of the `session.closed` that names them.
/// 100 bytes each: a log keeps them as long as the policy does.
#[derive(Default)]
pub(super) struct Reported {
    closings: HashMap<Hash, Closing>,
}

struct Closing {
    host: HostName,
    at: u64,
    recordings: Vec<Nonce>,
}

impl Reported {
    /// What the entry reports.
    pub(super) fn take(&mut self, entry: &Entry, leaf: Hash) {
        let Event::SessionClosed { by, .. } = &entry.event else { return };
        let Ok(Statement::Report(words)) = Statement::read(&by.said.statement) else { return };
        let Report::SessionClosed(closed) = words.report else { return };
        if closed.recordings.is_empty() {
            return;
        }
        let recordings = closed.recordings.iter().map(|recorded| recorded.recording).collect();
        self.closings.insert(leaf, Closing { host: by.host.clone(), at: entry.at, recordings });
    }

    /// When the host reported that recording there, if it did and it has not expired; forgets it.
    fn expire(&mut self, of: &Hash, host: &HostName, recording: &Nonce) -> Option<u64> {
        let closing = self.closings.get_mut(of).filter(|closing| closing.host == *host)?;
        let place = closing.recordings.iter().position(|one| one == recording)?;
        closing.recordings.swap_remove(place);
        let at = closing.at;
        if closing.recordings.is_empty() {
            self.closings.remove(of);
        }
        Some(at)
    }
}

impl Check {
    /// What an entry about evidence says, before the state takes it.
    pub(super) fn evidence(&mut self, state: &State, entry: &Entry) {
        let index = entry.index;
        match &entry.event {
            Event::EvidenceRead { by, what } | Event::EvidenceExported { by, what, .. } => {
                self.evidence_reader(state, index, by, what, true);
            }
            Event::EvidenceRefused { by, what, .. } => {
                self.evidence_reader(state, index, by, what, false);
            }
            Event::RecordingExpired { of, host, recording } => {
                let Some(reported) = self.recordings.expire(of, host, recording) else {
                    let what = format!("{host} reported no such recording there, or it expired before");
                    return self.note(index, what);
                };
                if !state.bundle().is_some_and(|bundle| is_kept_no_longer(bundle, reported, entry.at)) {
                    self.note(index, format!("the policy of its time keeps that recording of {host} longer"));
                }
            }
            _ => {}
        }
    }

    fn evidence_reader(
        &mut self,
        state: &State,
        index: u64,
        by: &EvidenceReader,
        what: &Evidence,
        given: bool,
    ) {
        if matches!(what, Evidence::Period { from, to } if from >= to) {
            self.note(index, "the period in it has no length");
        }
        let (person, key) = match by {
            EvidenceReader::Operator(operator) => {
                if !is_operator(operator) {
                    self.note(index, "who read it is no operator of this machine");
                }
                return;
            }
            EvidenceReader::Person { person, key } => (person, key),
        };
        let Some(bundle) = state.bundle() else { return };
        if bundle.roster.by_key(key).is_none_or(|(owner, _)| owner.name != *person) {
            self.note(index, format!("the roster of its time does not give that key to {person}"));
        }
        let auditor = bundle.roster.has_role(person, Role::Auditor);
        if given && !auditor {
            self.note(index, format!("{person} was no auditor at its time, and read evidence"));
        }
        if !given && auditor {
            self.note(index, format!("{person} was an auditor at its time, and was refused evidence"));
        }
    }
}

/// As the operator's socket names whoever is at its other end: the kernel's user id.
fn is_operator(text: &str) -> bool {
    let uid = text.strip_prefix("operator uid ");
    uid.and_then(|uid| uid.parse::<u32>().ok()).is_some_and(|uid| text == format!("operator uid {uid}"))
}

/// Whether the policy lets a recording go at `at` that was reported at `reported`, unix seconds. A policy that
/// says nothing of it keeps all.
fn is_kept_no_longer(bundle: &Bundle, reported: u64, at: u64) -> bool {
    bundle.policy.keep().is_some_and(|keep| keep.is_over(reported, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_a_uid_in_its_one_spelling() {
        assert!(is_operator("operator uid 0") && is_operator("operator uid 4294967295"));
        for not in ["operator uid ", "operator uid 00", "operator uid +1", "operator uid 4294967296", "ana"] {
            assert!(!is_operator(not), "{not}");
        }
    }
}
