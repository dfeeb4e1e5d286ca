//! Steps 6 and 7: approvals. A signed yes or no to one decision with its exact terms, named by the leaf of
//! its entry; when everybody who is needed has said yes, the terms are issued in the same batch.

use fireaxe_protocol::log::{Event, Hash, SignedBy};
use fireaxe_protocol::names::{EmergencyId, PersonName, Severity};
use fireaxe_protocol::policy::{Bundle, Presence, raised_by_approval};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{Approve, Refuse};

use super::refusal::{Internal, Refusal};
use super::request::live;
use super::said::Said;
use super::turn::Turn;
use crate::state::{Live, Phase, Settled, State, Wait};

/// The request that `of` names, if it waits and can be answered now.
pub(crate) fn waiting<'a>(
    state: &'a State,
    id: EmergencyId,
    named: EmergencyId,
    of: &Hash,
) -> Result<(&'a Live, &'a Wait), Refusal> {
    let live = open(state, id)?;
    decided_last(live, id, named, of)?;
    match (&live.request.waiting, &live.request.settled) {
        (Some(wait), _) => Ok((live, wait)),
        (None, Some(how)) => Err(Refusal::Settled { id, how: how.clone() }),
        (None, None) => Err(Refusal::NothingWaits(id)),
    }
}

/// An emergency for which something can be issued.
pub(crate) fn open(state: &State, id: EmergencyId) -> Result<&Live, Refusal> {
    let live = live(state, id)?;
    match live.phase {
        Phase::Open => Ok(live),
        Phase::Closing { until } => Err(Refusal::Closing { id, until }),
    }
}

/// Whether a statement is about what was decided last.
pub(crate) fn decided_last(
    live: &Live,
    id: EmergencyId,
    named: EmergencyId,
    of: &Hash,
) -> Result<(), Refusal> {
    if named == id && *of == live.request.leaf {
        return Ok(());
    }
    match live.superseded(of) {
        Some(before) if named == id => Err(Refusal::Superseded { id, before, now: live.request.index }),
        _ => Err(Refusal::WrongDeclaration(id)),
    }
}

/// Everything that keeps `person` from answering a request; empty if they may.
pub(crate) fn may_not_answer(bundle: &Bundle, live: &Live, wait: &Wait, person: &PersonName) -> Vec<Reason> {
    let mut out = Vec::new();
    let canonical = bundle.roster.canonical(person);
    if live.is_asked_by(&bundle.roster, person) {
        let sentence = format!(
            "{canonical} asked for it: nobody answers their own request, under any name or with any key"
        );
        out.push(Reason::new("approval.own", sentence));
    }
    let groups = bundle.roster.person(person).map(|p| p.groups.as_slice()).unwrap_or_default();
    if !wait.may_answer(groups) {
        let from: Vec<String> = wait
            .full
            .approvals
            .iter()
            .map(|quorum| {
                let groups: Vec<&str> = quorum.from.iter().map(|group| group.as_str()).collect();
                groups.join(" or ")
            })
            .collect();
        let sentence = format!("{person} is not one of {}", from.join(", nor of "));
        out.push(Reason::new("approval.not_asked", sentence));
    }
    out
}

/// What keeps `person` from approving beside that.
pub(crate) fn may_not_approve(
    state: &State,
    bundle: &Bundle,
    live: &Live,
    wait: &Wait,
    by: (&PersonName, Presence),
    now: u64,
) -> Vec<Reason> {
    let (person, presence) = by;
    let mut out = may_not_answer(bundle, live, wait, person);
    let canonical = bundle.roster.canonical(person);
    if wait.approvals.iter().any(|one| one.person == *canonical) {
        out.push(Reason::new("approval.twice", format!("{canonical} has approved it already")));
    }
    if presence < wait.full.presence {
        let needed = if wait.full.presence == Presence::Verified {
            "a touch with PIN or fingerprint"
        } else {
            "a touch"
        };
        let sentence = format!("tier {} needs {needed} of who approves it, too", wait.full.tier);
        out.push(Reason::new("approval.presence", sentence));
    }
    // Never what keeps the worst waiting.
    let worst = live.severity.is_some_and(|severity: Severity| severity.number() == 1);
    if let Some(limit) = bundle.policy.limits().approvals.filter(|_| !worst) {
        let given = state.history.approvals_1h(&bundle.roster, person, now);
        if given >= u32::from(limit.value) {
            let sentence = format!(
                "{canonical} has approved {given} requests within the hour; the policy takes {}: let another approver read this one",
                limit.value
            );
            out.push(Reason::new("rate.approvals", sentence).at(format!("policy.toml:{}", limit.line)));
        }
    }
    out
}

impl Turn<'_> {
    /// Step 6, and Step 7 when the quorum is met.
    pub(super) fn approve(
        &mut self,
        id: EmergencyId,
        words: &Approve,
        by: SignedBy,
    ) -> Result<Said, Refusal> {
        let (live, wait) = waiting(self.state, id, words.emergency, &words.of)?;
        let reasons =
            may_not_approve(self.state, &self.bundle, live, wait, (&by.person, by.presence), self.now);
        if !reasons.is_empty() {
            return Err(Refusal::MayNot { reasons });
        }
        let full = wait.full.clone();
        let signals = self.unusual_approval(live, words, &by);
        let of = words.of;
        let entry = self.append(Event::ApprovalGiven { emergency: id, of, by })?.index;
        let live = self.state.emergencies.get(id).ok_or_else(|| Internal::Fold(format!("{id} is gone")))?;
        let missing = live.request.waiting.as_ref().map(|wait| wait.missing()).unwrap_or_default();
        // Dying before the commit: nobody approved, nothing is given; the same words again do both. After
        // it: the certificate's entry is there, and whoever holds its key fetches it.
        if missing.is_empty() {
            self.issue(id, of, &full)?;
        }
        if !signals.is_empty() {
            self.append_too(Event::AnomalyRaised { emergency: id, of, signals })?;
        }
        Ok(Said::Approved { of, entry, missing })
    }

    fn unusual_approval(&self, live: &Live, words: &Approve, by: &SignedBy) -> Vec<Reason> {
        unusual_approval(self.state, &self.bundle, live, words, by, self.now)
    }

    pub(super) fn refuse(&mut self, id: EmergencyId, words: &Refuse, by: SignedBy) -> Result<Said, Refusal> {
        let (live, wait) = waiting(self.state, id, words.emergency, &words.of)?;
        let reasons = may_not_answer(&self.bundle, live, wait, &by.person);
        if !reasons.is_empty() {
            return Err(Refusal::MayNot { reasons });
        }
        let of = words.of;
        let entry = self.append(Event::ApprovalRefused { emergency: id, of, by })?.index;
        Ok(Said::Refused { of, entry })
    }
}

/// What is unusual about an approval, as its entry's own anomaly says it.
pub(crate) fn unusual_approval(
    state: &State,
    bundle: &Bundle,
    live: &Live,
    words: &Approve,
    by: &SignedBy,
    now: u64,
) -> Vec<Reason> {
    let requester = bundle.roster.canonical(&live.person);
    let in_a_row = state.history.in_a_row(&bundle.roster, requester, &by.person);
    let age_s = now.saturating_sub(live.request.at);
    raised_by_approval(bundle.roster.canonical(&by.person), requester, in_a_row, words.shown_s, age_s)
}

impl Settled {
    /// In words.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Settled::Given => "it is approved already".to_owned(),
            Settled::Refused { by, .. } => format!("{by} has refused it"),
            Settled::Lapsed => "nobody answered in time: it has lapsed".to_owned(),
        }
    }
}
