//! What must stand next. An entry brings others about, and they stand directly after it, in the order of the
//! road; and what the clock owed by an entry's time stands before it. So nothing can be left out, and nothing
//! that needs no signature (a decision made anew, a certificate, a countdown) can be put in.

use std::collections::VecDeque;
use std::fmt;

use fireaxe_protocol::log::{Closer, Entry, Event, Hash};
use fireaxe_protocol::names::{EmergencyId, HostName, IncidentId};
use fireaxe_protocol::policy::raised;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Statement;

use crate::road::{Due, due, is_removed, resting, unusual_approval};
use crate::state::State;

/// An entry that another brings about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owed {
    /// Its declarer is no longer in the roster.
    Removed(EmergencyId),
    /// It waited when the bundle changed.
    Again(EmergencyId),
    /// What a decision or the last approval gives.
    Certificate { of: Hash, terms: Hash },
    /// What an enrolment gives.
    HostCertificate { of: Hash, host: HostName },
    /// What is unusual.
    Anomaly { emergency: EmergencyId, of: Hash, signals: Vec<Reason> },
    /// Its incident is over.
    Closing { emergency: EmergencyId, incident: IncidentId, until: u64 },
}

/// See the file's top.
#[derive(Debug, Default)]
pub(super) struct Follows {
    owed: VecDeque<Owed>,
    /// Whether the clock had done, at the newest entry's time, all that it owed before others were heard.
    clock_done: bool,
    /// Of an approval that is being taken: the terms it may give, and what is unusual about it.
    approval: Option<(Hash, Vec<Reason>)>,
}

impl Follows {
    /// What is wrong with where `entry` stands; `state` is that before it.
    pub(super) fn before(&mut self, state: &State, entry: &Entry) -> Vec<String> {
        let mut out = Vec::new();
        self.approval = approval(state, entry);
        let later = entry.at > state.last_at();
        let place = self.owed.iter().position(|owed| !later && owed.is(&entry.event));
        let passed = self.owed.drain(..place.unwrap_or(self.owed.len()));
        out.extend(passed.map(|owed| format!("before it is missing {owed}")));
        if self.owed.pop_front().is_some() {
            return out;
        }
        let narrows = state.narrowing(entry.index, entry.at, &entry.event, entry.body.as_deref()).is_some();
        if needs_cause(&entry.event) && !narrows {
            out.push("nothing directly before it brings it about".to_owned());
        }
        out.extend(self.clock(state, entry, later));
        out
    }

    /// Each batch of the road has one time. It begins with what the clock owes by then, and ends with what it
    /// owes by then of what was done in it; between the two, others are heard. After a restart or a stop of
    /// the clock the first batch is no other: whatever came due meanwhile stands first in it.
    fn clock(&mut self, state: &State, entry: &Entry, later: bool) -> Option<String> {
        if later {
            self.clock_done = false;
            if let Some(owed) = due(state, state.last_at()) {
                self.clock_done = true;
                return Some(format!(
                    "the clock had not done before it, at the time of that: {}",
                    told(&owed)
                ));
            }
        }
        if self.clock_done {
            return None;
        }
        match due(state, entry.at) {
            Some(owed) if is_due(&entry.event, &owed) => None,
            Some(owed) => {
                self.clock_done = true;
                Some(format!("the clock had not done before it: {}", told(&owed)))
            }
            None => {
                self.clock_done = true;
                None
            }
        }
    }

    /// Takes what `entry` brings about; `state` is that after it.
    pub(super) fn after(&mut self, state: &State, entry: &Entry, leaf: Hash) {
        let Some(bundle) = state.bundle() else { return };
        let mut next = Vec::new();
        match &entry.event {
            Event::BundleActivated { .. } => {
                let removed = state.emergencies.iter().filter(|live| is_removed(bundle, live));
                next.extend(removed.map(|live| Owed::Removed(live.id)));
                let waiting = state.emergencies.waiting().filter(|live| !is_removed(bundle, live));
                next.extend(waiting.map(|live| Owed::Again(live.id)));
            }
            Event::IncidentUpdated(update) => {
                let incident = &update.incident;
                let resting = resting(state, bundle, update, entry.at).into_iter();
                next.extend(resting.map(|(emergency, until)| Owed::Closing {
                    emergency,
                    incident: incident.clone(),
                    until,
                }));
            }
            Event::HostEnrolled { host, .. } => {
                next.push(Owed::HostCertificate { of: leaf, host: host.clone() });
            }
            Event::SelfTestGranted { terms, .. } => {
                next.push(Owed::Certificate { of: leaf, terms: terms.hash() });
            }
            Event::ApprovalGiven { emergency, of, .. } => {
                let Some((terms, signals)) = self.approval.take() else { return };
                if state.emergencies.get(*emergency).is_some_and(|live| live.request.waiting.is_none()) {
                    next.push(Owed::Certificate { of: *of, terms });
                }
                next.extend(anomaly(*emergency, *of, signals));
            }
            event => {
                let Some(decided) = event.decided() else { return };
                if let Some(terms) = decided.decision.terms_now().map(|terms| terms.hash()) {
                    // More time is given beside what is held; the same again is not.
                    let more = matches!(event, Event::ExtensionRequested { .. });
                    let live = state.emergencies.get(decided.emergency);
                    if more || !live.is_some_and(|live| live.holds(&terms, entry.at)) {
                        next.push(Owed::Certificate { of: leaf, terms });
                    }
                }
                next.extend(anomaly(decided.emergency, leaf, raised(decided.facts)));
            }
        }
        // Before what was owed already: of several that are decided anew, each is followed by its own.
        next.into_iter().rev().for_each(|owed| self.owed.push_front(owed));
    }

    /// What is missing where a signed head says that a batch ends. Entries, their consequences and the head
    /// over them become durable in one transaction, so that no crash leaves a head between them: a log that
    /// ends there was cut or signed by hand. What came due since the newest entry is owed to the next batch.
    pub(super) fn at_head(&self, state: &State) -> Vec<String> {
        let owed = self.owed.iter().map(|owed| format!("the batch ends here without {owed}"));
        let clock = due(state, state.last_at());
        let clock = clock.map(|owed| format!("the clock had not done where the batch ends: {}", told(&owed)));
        owed.chain(clock).collect()
    }
}

/// Read before the state takes the approval, as the road does.
fn approval(state: &State, entry: &Entry) -> Option<(Hash, Vec<Reason>)> {
    let Event::ApprovalGiven { emergency, by, .. } = &entry.event else { return None };
    let live = state.emergencies.get(*emergency)?;
    let wait = live.request.waiting.as_ref()?;
    let Ok(Statement::Approve(words)) = Statement::read(&by.said.statement) else { return None };
    let unusual = unusual_approval(state, state.bundle()?, live, &words, by, entry.at);
    Some((wait.full.hash(), unusual))
}

fn anomaly(emergency: EmergencyId, of: Hash, signals: Vec<Reason>) -> Option<Owed> {
    (!signals.is_empty()).then_some(Owed::Anomaly { emergency, of, signals })
}

/// Entries that nobody signed and no clock makes: something before them does. Not what is narrowed on demand:
/// the holder of the fresh key asks for it, and nobody else can use it.
fn needs_cause(event: &Event) -> bool {
    matches!(
        event,
        Event::EmergencyRedecided { .. }
            | Event::CertificateIssued { .. }
            | Event::AnomalyRaised { .. }
            | Event::EmergencyClosing { .. }
            | Event::EmergencyClosed { by: Closer::Removed, .. }
    )
}

fn is_due(event: &Event, (id, what): &(EmergencyId, Due)) -> bool {
    match (event, what) {
        (Event::EmergencyClosed { emergency, by, .. }, Due::Close(closer)) => emergency == id && by == closer,
        (Event::RungCalled { emergency, .. }, Due::Rung)
        | (Event::RequestLapsed { emergency, .. }, Due::Lapse) => emergency == id,
        _ => false,
    }
}

fn told((id, what): &(EmergencyId, Due)) -> String {
    match what {
        Due::Close(Closer::Grace) => format!("the end of {id}, whose countdown was over"),
        Due::Close(Closer::Unlinked) => format!("the end of {id}, which was tied to no incident"),
        Due::Close(_) => format!("the end of {id}, whose time was over"),
        Due::Rung => format!("the next rung of {id}"),
        Due::Lapse => format!("the lapse of what waited in {id}"),
    }
}

impl Owed {
    fn is(&self, event: &Event) -> bool {
        match (self, event) {
            (Owed::Removed(id), Event::EmergencyClosed { emergency, by: Closer::Removed, .. })
            | (Owed::Again(id), Event::EmergencyRedecided { emergency, .. }) => emergency == id,
            (Owed::Certificate { of, terms }, Event::CertificateIssued { of: o, terms: t }) => {
                (of, terms) == (o, t)
            }
            (Owed::HostCertificate { of, .. }, Event::HostCertified { of: o, .. }) => of == o,
            (
                Owed::Anomaly { emergency, of, signals },
                Event::AnomalyRaised { emergency: e, of: o, signals: s },
            ) => (emergency, of, signals) == (e, o, s),
            (
                Owed::Closing { emergency, incident, until },
                Event::EmergencyClosing { emergency: e, incident: i, until: u },
            ) => (emergency, incident, until) == (e, i, u),
            _ => false,
        }
    }
}

impl fmt::Display for Owed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owed::Removed(id) => write!(out, "the end of {id}: who declared it was removed"),
            Owed::Again(id) => {
                write!(out, "the new decision about {id}, which waited when the bundle changed")
            }
            Owed::Certificate { of, .. } => write!(out, "the certificate that {of} gives"),
            Owed::HostCertificate { host, .. } => write!(out, "the host certificate of {host}"),
            Owed::Anomaly { emergency, .. } => write!(out, "what is unusual about {emergency}"),
            Owed::Closing { emergency, incident, until } => {
                write!(out, "the countdown of {emergency} to {until}: {incident} was resolved")
            }
        }
    }
}
