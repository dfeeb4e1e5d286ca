//! Deciding again: every decision of a log, from the policy, roster and facts that the log itself has.
//!
//! Shares nothing with the fold or with `verify`: it knows blobs, bundles, and entries that decided. Whether the
//! facts were those of their time, and whether the entries are the log's at all, `verify` asks.

mod difference;

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Entry, EntryError, Event, Hash};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::{Bundle, Decision, Facts, decide};

pub use self::difference::Difference;
use crate::verify::pipeline;
use crate::verify::source::{Piece, Source};
use crate::verify::{FINDINGS, Found};

/// What came of it.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Entries read.
    pub entries: u64,
    /// Bundles that were in force.
    pub bundles: u64,
    /// Decisions made again.
    pub decisions: u64,
    /// What came out otherwise; at most [`FINDINGS`].
    pub differences: Vec<Difference>,
    /// What could not be decided again, and why; at most [`FINDINGS`].
    pub found: Vec<Found>,
    /// The decisions of the emergency that was asked about.
    pub told: Vec<Told>,
}

/// One decision, as the log has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its entry.
    pub entry: u64,
    /// When, unix seconds.
    pub at: u64,
    /// Why it was decided, in words.
    pub occasion: &'static str,
    /// On what.
    pub facts: Facts,
    /// What came of it.
    pub decision: Decision,
}

impl Replayed {
    /// Whether every decision came out as it was recorded.
    pub fn is_same(&self) -> bool {
        self.differences.is_empty() && self.found.is_empty()
    }

    fn is_enough(&self) -> bool {
        self.differences.len() >= FINDINGS || self.found.len() >= FINDINGS
    }

    fn note(&mut self, entry: u64, what: impl Into<String>) {
        if self.found.len() < FINDINGS {
            self.found.push(Found { entry, what: what.into() });
        }
    }
}

/// Decides all of `source` again. `about` is the emergency whose decisions are told. `progress` is told the number
/// of entries read so far.
pub fn replay(
    source: &mut dyn Source,
    about: Option<EmergencyId>,
    progress: &mut dyn FnMut(u64),
) -> Replayed {
    let mut replay = Replay { about, ..Replay::default() };
    pipeline::run(
        source,
        || look,
        |piece| {
            match piece {
                Ok(entries) => pipeline::guarded(replay.out.entries, || replay.take(entries))
                    .unwrap_or_else(|fault| replay.out.note(fault.entry, fault.what)),
                Err(error) => replay.out.note(error.entry, error.what),
            }
            progress(replay.out.entries);
            replay.out.found.is_empty() && !replay.out.is_enough()
        },
    );
    replay.out
}

/// An entry as far as a replay cares.
enum One {
    Blob { leaf: Hash, bytes: Option<Vec<u8>> },
    Bundle { hash: Hash, policy: Vec<Hash>, roster: Vec<Hash> },
    Decided(Box<Event>, u64),
    Other,
    Unreadable(EntryError),
}

fn look(piece: Piece) -> Vec<One> {
    piece.entries.iter().map(|bytes| one(bytes)).collect()
}

fn one(bytes: &[u8]) -> One {
    let entry = match Entry::decode(bytes) {
        Ok(entry) => entry,
        Err(error) => return One::Unreadable(error),
    };
    match entry.event {
        Event::BlobStored { base64 } => {
            One::Blob { leaf: leaf_hash(bytes), bytes: STANDARD.decode(base64).ok() }
        }
        Event::BundleActivated { bundle, policy, roster, .. } => One::Bundle { hash: bundle, policy, roster },
        event if parts(&event).is_some() => One::Decided(Box::new(event), entry.at),
        _ => One::Other,
    }
}

/// Of an entry that decided: whose, under which bundle, on what, and what came of it; and why it did.
struct Parts<'e> {
    emergency: Option<EmergencyId>,
    bundle: &'e Hash,
    facts: &'e Facts,
    decision: &'e Decision,
    occasion: &'static str,
}

fn parts(event: &Event) -> Option<Parts<'_>> {
    let (bundle, facts, decision, occasion) = match event {
        Event::EmergencyDeclared { bundle, facts, decision, .. } => (bundle, facts, decision, "declared"),
        Event::DeclarationRefused { bundle, facts, decision, .. } => (bundle, facts, decision, "refused"),
        Event::EmergencySeconded { bundle, facts, decision, .. } => {
            (bundle, facts, decision, "signed by another too")
        }
        Event::EmergencyRedecided { bundle, facts, decision, .. } => {
            (bundle, facts, decision, "decided anew, for the bundle changed")
        }
        Event::ExtensionRequested { bundle, facts, decision, .. } => {
            (bundle, facts, decision, "more time asked for")
        }
        Event::ExtensionRefused { bundle, facts, decision, .. } => {
            (bundle, facts, decision, "more time refused")
        }
        _ => return None,
    };
    Some(Parts { emergency: event.emergency(), bundle, facts, decision, occasion })
}

#[derive(Default)]
struct Replay {
    about: Option<EmergencyId>,
    blobs: HashMap<Hash, Vec<u8>>,
    stored: usize,
    bundle: Option<Bundle>,
    out: Replayed,
}

impl Replay {
    fn take(&mut self, entries: Vec<One>) {
        for one in entries {
            let index = self.out.entries;
            self.out.entries += 1;
            match one {
                One::Blob { leaf, bytes } => self.blob(index, leaf, bytes),
                One::Bundle { hash, policy, roster } => self.activate(index, hash, &policy, &roster),
                One::Decided(event, at) => self.decided(index, at, &event),
                One::Other => {}
                One::Unreadable(error) => self.out.note(index, error.to_string()),
            }
        }
    }

    fn blob(&mut self, index: u64, leaf: Hash, bytes: Option<Vec<u8>>) {
        let Some(bytes) = bytes else { return self.out.note(index, "its bytes are no base64") };
        self.stored += bytes.len();
        if self.stored > STORED {
            return self.out.note(index, "more bytes are stored here than any bundle has");
        }
        self.blobs.insert(leaf, bytes);
    }

    fn activate(&mut self, index: u64, hash: Hash, policy: &[Hash], roster: &[Hash]) {
        let text = |leaves: &[Hash]| {
            let mut bytes = Vec::new();
            for leaf in leaves {
                bytes.extend_from_slice(self.blobs.get(leaf)?);
            }
            String::from_utf8(bytes).ok()
        };
        let bundle = text(policy).zip(text(roster)).map(|(policy, roster)| Bundle::parse(&policy, &roster));
        self.bundle = match bundle {
            Some(Ok(bundle)) => Some(bundle),
            Some(Err(findings)) => {
                let first = findings.first().map(ToString::to_string).unwrap_or_default();
                self.out.note(index, format!("the bundle in it cannot be used: {first}"));
                None
            }
            None => {
                self.out.note(index, "the bundle's text is not in the entries that it names");
                None
            }
        };
        if self.bundle.as_ref().is_some_and(|bundle| bundle.hash != hash) {
            self.out.note(index, "the bundle's text has another hash than it says");
        }
        self.out.bundles += 1;
        self.blobs.clear();
        self.stored = 0;
    }

    fn decided(&mut self, index: u64, at: u64, event: &Event) {
        let Some(parts) = parts(event) else { return };
        let Some(bundle) = &self.bundle else {
            return self.out.note(index, "it decides, and no bundle is in force");
        };
        self.out.decisions += 1;
        let derived = decide(&bundle.policy, parts.facts);
        let place = (index, parts.emergency);
        let mut found = Vec::new();
        if *parts.bundle != bundle.hash {
            found.push(Difference::new(place, "bundle", parts.bundle, &bundle.hash));
        }
        if derived != *parts.decision {
            found.extend(Difference::between(place, parts.decision, &derived));
        }
        // What the roster of that time says of whoever asked.
        let person = bundle.roster.person(&parts.facts.person);
        let groups = person.map(|person| person.groups.clone()).unwrap_or_default();
        if groups != parts.facts.groups {
            found.push(Difference::new(place, "facts.groups", &parts.facts.groups, &groups));
        }
        let room = FINDINGS.saturating_sub(self.out.differences.len());
        self.out.differences.extend(found.into_iter().take(room));
        if self.about.is_some() && parts.emergency == self.about {
            self.out.told.push(Told {
                entry: index,
                at,
                occasion: parts.occasion,
                facts: parts.facts.clone(),
                decision: parts.decision.clone(),
            });
        }
    }
}

/// Bytes that may be stored for one bundle: both its files at their limits, several times over.
const STORED: usize = 64 * 1024 * 1024;
