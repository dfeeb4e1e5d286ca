//! Which entries an emergency is, and which it rests on. One pass over the log, in order: whatever refers to an
//! entry stands after it. Most entries are of others and are not taken apart.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use fireaxe_protocol::evidence::{SessionWords, Who, said};
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Entry, Event, Evidence, Hash};
use fireaxe_protocol::names::{EmergencyId, HostName, IncidentId};
use fireaxe_protocol::statement::Nonce;

use crate::log::{LogError, Reader};

/// What was found.
#[derive(Debug, Default)]
pub struct Collected {
    /// Indices of entries, all of them.
    pub entries: BTreeSet<u64>,
    /// Certificates that the CA may be asked for: issued, and not abandoned.
    pub serials: BTreeSet<u64>,
    /// Whether it was declared at all.
    pub declared: bool,
}

/// Reads the first `size` entries.
pub fn collect(reader: &Reader, id: EmergencyId, size: u64) -> Result<Collected, LogError> {
    let mut walk = Walk::new(id);
    let mut fault = None;
    reader.entries(0, size, |index, bytes| match walk.entry(index, bytes) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            fault = Some(error);
            ControlFlow::Break(())
        }
    })?;
    match fault {
        Some(error) => Err(error),
        None => Ok(walk.end()),
    }
}

struct Walk {
    id: EmergencyId,
    /// As entries name it.
    token: Vec<u8>,
    found: Collected,
    declared_at: u64,
    last: u64,
    /// Leaves of entries of ours.
    leaves: HashSet<Hash>,
    recordings: HashSet<(HostName, Nonce)>,
    speakers: HashSet<Hash>,
    incidents: HashSet<IncidentId>,
    /// Of everybody: what an entry of ours may turn out to rest on.
    blobs: HashMap<Hash, u64>,
    activations: Vec<(u64, Vec<Hash>)>,
    updates: BTreeMap<IncidentId, Vec<u64>>,
    enrolled: HashMap<Hash, (u64, Hash)>,
    invited: HashMap<Hash, u64>,
}

impl Walk {
    fn new(id: EmergencyId) -> Walk {
        Walk {
            id,
            token: format!("\"{id}\"").into_bytes(),
            found: Collected::default(),
            declared_at: 0,
            last: 0,
            leaves: HashSet::new(),
            recordings: HashSet::new(),
            speakers: HashSet::new(),
            incidents: HashSet::new(),
            blobs: HashMap::new(),
            activations: Vec::new(),
            updates: BTreeMap::new(),
            enrolled: HashMap::new(),
            invited: HashMap::new(),
        }
    }

    fn entry(&mut self, index: u64, bytes: &[u8]) -> Result<(), LogError> {
        match kind(bytes) {
            b"log.created" => drop(self.found.entries.insert(index)),
            b"blob.stored" => drop(self.blobs.insert(leaf_hash(bytes), index)),
            b"host.invited" => drop(self.invited.insert(leaf_hash(bytes), index)),
            b"bundle.activated" | b"incident.updated" | b"host.enrolled" => self.may_rest_on(index, bytes)?,
            b"certificate.issued" | b"certificate.abandoned" | b"host.confirmed" | b"recording.expired"
                if self.found.declared =>
            {
                self.may_refer(index, bytes)?;
            }
            b"evidence.read" | b"evidence.exported" if self.found.declared => self.may_read(index, bytes)?,
            _ if contains(bytes, &self.token) => self.may_be_ours(index, bytes)?,
            _ => {}
        }
        Ok(())
    }

    fn may_rest_on(&mut self, index: u64, bytes: &[u8]) -> Result<(), LogError> {
        match Entry::decode(bytes)?.event {
            Event::BundleActivated { mut policy, roster, .. } => {
                policy.extend(roster);
                self.activations.push((index, policy));
            }
            Event::IncidentUpdated(update) => self.updates.entry(update.incident).or_default().push(index),
            Event::HostEnrolled { of, .. } => drop(self.enrolled.insert(leaf_hash(bytes), (index, of))),
            _ => {}
        }
        Ok(())
    }

    fn may_refer(&mut self, index: u64, bytes: &[u8]) -> Result<(), LogError> {
        let entry = Entry::decode(bytes)?;
        let ours = match &entry.event {
            Event::CertificateIssued { of, .. } => {
                let ours = self.leaves.contains(of);
                if ours {
                    self.found.serials.insert(index);
                }
                ours
            }
            Event::CertificateAbandoned { serial, .. } => self.found.serials.remove(serial),
            Event::HostConfirmed { closed, .. } => closed.iter().any(|leaf| self.leaves.contains(leaf)),
            Event::RecordingExpired { of, .. } => self.leaves.contains(of),
            _ => false,
        };
        if ours {
            self.take(index, bytes, &entry);
        }
        Ok(())
    }

    /// Who read of it. What comes years later changes nothing of what it rests on.
    fn may_read(&mut self, index: u64, bytes: &[u8]) -> Result<(), LogError> {
        let (Event::EvidenceRead { what, .. } | Event::EvidenceExported { what, .. }) =
            Entry::decode(bytes)?.event
        else {
            return Ok(());
        };
        let ours = match what {
            Evidence::Emergency(id) => id == self.id,
            Evidence::Recording { host, recording } => self.recordings.contains(&(host, recording)),
            _ => false,
        };
        if ours {
            self.found.entries.insert(index);
        }
        Ok(())
    }

    fn may_be_ours(&mut self, index: u64, bytes: &[u8]) -> Result<(), LogError> {
        let entry = Entry::decode(bytes)?;
        if entry.event.emergency() != Some(self.id) {
            return Ok(());
        }
        match &entry.event {
            Event::EmergencyDeclared { .. } => {
                self.found.declared = true;
                self.declared_at = index;
            }
            Event::EmergencyClosing { incident, .. } => drop(self.incidents.insert(incident.clone())),
            _ => {}
        }
        let facts = match &entry.event {
            Event::ExtensionRefused { facts, .. } => Some(facts),
            event => event.decided().map(|decided| decided.facts),
        };
        let incident = facts.and_then(|facts| facts.incident.as_ref()).map(|incident| incident.id.clone());
        self.incidents.extend(incident);
        if let Some((by, SessionWords::Closed(said))) = SessionWords::of(&entry.event) {
            self.recordings.extend(said.recordings.iter().map(|one| (by.host.clone(), one.recording)));
        }
        self.take(index, bytes, &entry);
        Ok(())
    }

    fn take(&mut self, index: u64, bytes: &[u8], entry: &Entry) {
        for one in said(&entry.event) {
            if let Who::Host { of: Some(of), .. } = one.who {
                self.speakers.insert(of);
            }
        }
        self.leaves.insert(leaf_hash(bytes));
        self.found.entries.insert(index);
        self.last = index;
    }

    /// What it turned out to rest on.
    fn end(mut self) -> Collected {
        for speaker in &self.speakers {
            if let Some((index, of)) = self.enrolled.get(speaker) {
                self.found.entries.insert(*index);
                self.found.entries.extend(self.invited.get(of));
            }
        }
        for incident in &self.incidents {
            let updates = self.updates.get(incident).into_iter().flatten();
            self.found.entries.extend(updates.filter(|index| **index <= self.last));
        }
        let first = self.activations.iter().rposition(|(index, _)| *index <= self.declared_at).unwrap_or(0);
        for (index, blobs) in self.activations.iter().skip(first).filter(|(index, _)| *index <= self.last) {
            self.found.entries.insert(*index);
            self.found.entries.extend(blobs.iter().filter_map(|leaf| self.blobs.get(leaf)));
        }
        self.found
    }
}

/// The kind in an entry's header, without taking it apart.
pub(super) fn kind(bytes: &[u8]) -> &[u8] {
    const KEY: &[u8] = b"\"kind\":\"";
    let head = bytes.get(..128).unwrap_or(bytes);
    let start = head.windows(KEY.len()).position(|part| part == KEY).map(|at| at + KEY.len());
    let rest = start.and_then(|start| head.get(start..)).unwrap_or_default();
    rest.split(|b| *b == b'"').next().unwrap_or_default()
}

fn contains(bytes: &[u8], token: &[u8]) -> bool {
    bytes.windows(token.len()).any(|part| part == token)
}
