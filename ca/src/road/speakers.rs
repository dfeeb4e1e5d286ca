//! Which hosts may speak: those that are enrolled, and those that an open invitation lets join. Signed reports in,
//! [`Heard`] out; `hosts/caller.rs` has the ways in that are not reports. Published by the writer after each
//! commit; asked by many at once, so that no signature is checked on the writer's thread and nobody waits there
//! for what is not to be logged.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use fireaxe_protocol::host::Report;
use fireaxe_protocol::keys::{Ed25519Key, Fingerprint};
use fireaxe_protocol::limits::STATEMENT_WINDOW_S;
use fireaxe_protocol::log::{Event, Hash};
use fireaxe_protocol::names::{HostName, Origin, SystemName};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{Claimed, EnrolledKey, Envelope, HostReport, Kind, Signed, Statement};

use super::{HostRefusal, Refusal};
use crate::state::{EnrolledHost, Hour, Invitation, Reported, Speaker, State};

/// All of them, as of the newest commit.
#[derive(Debug, Default)]
pub struct Speakers {
    held: RwLock<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by_name: HashMap<HostName, Arc<KnownHost>>,
    by_key: HashMap<Fingerprint, HostName>,
    invited: HashMap<HostName, Invitation>,
    /// The newest closing of each scope that is owed confirmations.
    closings: HashMap<String, u64>,
}

/// A host that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHost {
    /// Its name.
    pub host: HostName,
    /// The system it belongs to.
    pub system: SystemName,
    /// What it signs with, ready to check.
    pub key: EnrolledKey,
    /// The same key as it stands in the log.
    pub public_key: Ed25519Key,
    /// Hash of the join token that it used.
    pub token: Hash,
    /// Leaf of its `host.enrolled` entry.
    pub enrolment: Hash,
    /// When that was, unix seconds.
    pub enrolled_at: u64,
    /// Number of its last report in the log.
    pub seq: u64,
    /// How many came in the last hour that had any.
    pub hour: Hour,
    /// Closings up to this entry need no word of it.
    pub confirmed: u64,
}

/// What an enrolled host said, its signatures checked. Made only by [`Speakers::hear`].
#[derive(Debug)]
pub struct Heard {
    host: Arc<KnownHost>,
    numbered: Vec<(HostReport, Envelope)>,
    unnumbered: Vec<HostReport>,
}

impl Heard {
    /// Who said it.
    pub fn host(&self) -> &KnownHost {
        &self.host
    }

    /// What is to be logged, in order.
    pub fn numbered(&self) -> &[(HostReport, Envelope)] {
        &self.numbered
    }

    /// Whether something is in it that was not logged when it was checked.
    pub fn has_news(&self) -> bool {
        self.numbered.last().is_some_and(|(words, _)| words.seq > self.host.seq)
    }

    /// Whether something is to be logged.
    pub fn is_for_the_log(&self) -> bool {
        !self.numbered.is_empty()
    }

    /// What is not.
    pub fn unnumbered(&self) -> &[HostReport] {
        &self.unnumbered
    }
}

impl Speakers {
    /// One by name.
    pub fn get(&self, host: &HostName) -> Option<Arc<KnownHost>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).by_name.get(host).cloned()
    }

    /// One by its key.
    pub fn by_key(&self, key: &Fingerprint) -> Option<Arc<KnownHost>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.by_name.get(held.by_key.get(key)?).cloned()
    }

    /// Whether `host` is enrolled by that entry still.
    pub fn is(&self, host: &HostName, enrolment: &Hash) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.by_name.get(host).is_some_and(|known| known.enrolment == *enrolment)
    }

    /// The invitation of `host` that is open.
    pub fn invitation(&self, host: &HostName) -> Option<Invitation> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).invited.get(host).cloned()
    }

    /// All, in no order.
    pub fn all(&self) -> Vec<Arc<KnownHost>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).by_name.values().cloned().collect()
    }

    /// The version of the list that `host` owes a confirmation of, if the log waits for one.
    pub fn owes(&self, host: &HostName) -> Option<u64> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let known = held.by_name.get(host)?;
        let scopes = [known.system.as_str(), host.as_str()];
        let newest = scopes.into_iter().filter_map(|scope| held.closings.get(scope).copied()).max();
        newest.filter(|entry| *entry > known.confirmed)
    }

    /// The newest closing of each scope, if it came after entry `after` and a list of `version` reflects it.
    pub fn closed_since(&self, after: u64, version: u64) -> Vec<(Arc<str>, u64)> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let fresh = held.closings.iter().filter(|(_, entry)| **entry > after && **entry <= version);
        fresh.map(|(scope, entry)| (scope.as_str().into(), *entry)).collect()
    }

    /// Checks reports of `host` in order of cost: shape, kind, log, host, key, signature. Those with numbers
    /// must follow each other, and none of them may be older than the enrolment.
    pub fn hear(&self, origin: &Origin, host: &HostName, said: Vec<Envelope>) -> Result<Heard, Refusal> {
        let known = self.get(host).ok_or_else(|| HostRefusal::NotEnrolled(host.clone()))?;
        let mut heard = Heard { host: known.clone(), numbered: Vec::new(), unnumbered: Vec::new() };
        for envelope in said {
            let claimed = claimed(origin, envelope, Kind::Report)?;
            let signed = known.signed(claimed)?.ok_or_else(|| Refusal::NotThatHost(host.clone()))?;
            let Statement::Report(words) = signed.statement else {
                return Err(Refusal::WrongKind { expected: Kind::Report, found: Kind::Report });
            };
            if words.host != *host {
                return Err(Refusal::NotThatHost(host.clone()));
            }
            misplaced(&words).map_or(Ok(()), |reason| Err(Refusal::MayNot { reasons: vec![reason] }))?;
            if words.seq != 0 && said_before(&words, known.enrolled_at) {
                return Err(Refusal::ReportBefore(host.clone()));
            }
            match heard.numbered.last() {
                _ if words.seq == 0 => heard.unnumbered.push(*words),
                Some((before, _)) if words.seq != before.seq.saturating_add(1) => {
                    let expected = before.seq.saturating_add(1);
                    return Err(Refusal::ReportGap { expected, found: words.seq, logged: Vec::new() });
                }
                _ => heard.numbered.push((*words, signed.envelope)),
            }
        }
        Ok(heard)
    }

    /// Takes over everything.
    pub(super) fn set_all(&self, state: &State) {
        let mut fresh = Held { closings: state.reported.newest_closings(), ..Held::default() };
        for host in state.hosts.enrolled().keys().chain(state.hosts.invited().keys()) {
            fresh.look(state, host);
        }
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// Takes over what entries changed about these hosts.
    pub(super) fn set(&self, state: &State, changed: &[HostName]) {
        if changed.is_empty() {
            return;
        }
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        changed.iter().for_each(|host| held.look(state, host));
    }

    /// Takes over which closings are owed confirmations.
    pub(super) fn set_closings(&self, reported: &Reported) {
        let newest = reported.newest_closings();
        self.held.write().unwrap_or_else(PoisonError::into_inner).closings = newest;
    }
}

impl KnownHost {
    /// What it signed; nothing if that names another key.
    pub(super) fn signed(&self, claimed: Claimed) -> Result<Option<Signed>, Refusal> {
        if *claimed.fingerprint() != self.key.fingerprint {
            return Ok(None);
        }
        Ok(Some(claimed.verify(&self.key)?))
    }
}

/// What a host's envelope says, of the kind that is expected and for this log. Not whether it is signed.
pub(super) fn claimed(origin: &Origin, envelope: Envelope, expected: Kind) -> Result<Claimed, Refusal> {
    let claimed = Claimed::read(envelope)?;
    let header = claimed.statement().header();
    if header.kind != expected {
        return Err(Refusal::WrongKind { expected, found: header.kind });
    }
    if header.to != *origin {
        return Err(Refusal::WrongLog { found: header.to.clone(), ours: origin.clone() });
    }
    Ok(claimed)
}

impl Held {
    /// Takes over what the log says of one host now.
    fn look(&mut self, state: &State, host: &HostName) {
        match state.hosts.invited().get(host) {
            Some(invited) => drop(self.invited.insert(host.clone(), invited.clone())),
            None => drop(self.invited.remove(host)),
        }
        match (state.hosts.enrolled().get(host), state.reported.host(host)) {
            (Some(enrolled), Some(speaker)) => self.put(host, enrolled, speaker),
            _ => self.remove(host),
        }
    }

    fn put(&mut self, host: &HostName, enrolled: &EnrolledHost, speaker: &Speaker) {
        let same = self.by_name.get(host).filter(|known| known.enrolment == enrolled.enrolment);
        // Its point is decompressed once an enrolment. One whose key proves nothing is nobody's.
        let key = match same {
            Some(known) => Some(known.key.clone()),
            None => EnrolledKey::of_host(&enrolled.key),
        };
        if same.is_none() {
            self.remove(host);
        }
        let Some(key) = key else { return };
        self.by_key.insert(key.fingerprint, host.clone());
        let known = KnownHost {
            host: host.clone(),
            system: enrolled.system.clone(),
            key,
            public_key: enrolled.key,
            token: enrolled.token,
            enrolment: enrolled.enrolment,
            enrolled_at: enrolled.enrolled_at,
            seq: speaker.seq,
            hour: speaker.hour,
            confirmed: speaker.confirmed,
        };
        self.by_name.insert(host.clone(), Arc::new(known));
    }

    fn remove(&mut self, host: &HostName) {
        if let Some(known) = self.by_name.remove(host) {
            self.by_key.remove(&known.key.fingerprint);
        }
    }
}

/// The host whose standing an entry changes.
pub(super) fn spoke(event: &Event) -> Option<&HostName> {
    match event {
        Event::HostInvited { host, .. }
        | Event::HostEnrolled { host, .. }
        | Event::HostRetired { host, .. } => Some(host),
        Event::SessionOpened { by, .. }
        | Event::SessionClosed { by, .. }
        | Event::HostConfirmed { by, .. }
        | Event::HostAlarmed { by } => Some(&by.host),
        _ => None,
    }
}

/// Whether a report is the word of an earlier enrolment: a host that joins anew with the same key counts from
/// one again, and what it had said before would fit once more. Its clock may be as wrong as a statement's.
pub(crate) fn said_before(words: &HostReport, enrolled_at: u64) -> bool {
    words.header.at.saturating_add(STATEMENT_WINDOW_S) < enrolled_at
}

/// Why a report does not belong here, or not with that number.
fn misplaced(words: &HostReport) -> Option<Reason> {
    match (&words.report, words.seq) {
        (Report::SelfTest(_), _) => Some(Reason::new(
            "report.self_test",
            "a self-test is asked for at /v1/hosts/{host}/self-tests, where it is answered",
        )),
        (Report::Heartbeat(_), 1..) => {
            Some(Reason::new("report.numbered", "a heartbeat has number 0: it is never logged"))
        }
        (Report::SessionOpened(_) | Report::SessionClosed(_), 0) => {
            Some(Reason::new("report.unnumbered", "what happened to a session has a number: it is logged"))
        }
        _ => None,
    }
}
