//! What of a log needs no state: each entry's bytes, its leaf, whether its statements carry a good signature of
//! the key that they name, whether heads are signed. Done on all cores; whether that key was the right person's
//! at that time is asked afterwards, in order.

use std::collections::{BTreeMap, HashMap};

use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::log::tiles::TilePath;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Activation, Checkpoint, Closer, Entry, EntryError, Event, Hash, NoteKey, line1};
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::statement::{Claimed, EnrolledKey, Envelope, SignatureError, Signed, Statement};
use ssh_key::public::KeyData;

use super::source::Piece;

/// A piece of the log as far as it can be looked at by itself.
pub(super) struct Looked {
    pub(super) from: u64,
    pub(super) entries: Vec<One>,
    /// Heads: how many entries, and what was signed.
    pub(super) heads: Vec<(u64, Option<Checkpoint>)>,
    pub(super) tiles: Vec<(TilePath, Option<Vec<u8>>)>,
    /// Entries by kind.
    pub(super) kinds: BTreeMap<String, u64>,
}

/// One entry.
pub(super) struct One {
    pub(super) leaf: Hash,
    pub(super) entry: Result<Entry, EntryError>,
    pub(super) spoken: Vec<Spoken>,
}

/// A statement and a key, and whether that key signed it.
pub(super) struct Spoken {
    pub(super) envelope: Envelope,
    pub(super) statement: Statement,
    pub(super) fingerprint: Fingerprint,
    pub(super) key: KeyData,
    pub(super) signed: Result<Signed, SignatureError>,
}

/// Looks at pieces; one a thread.
pub(super) struct Looker<'k> {
    log: Option<&'k (NoteKey, Origin)>,
    /// Keys that signed lately: to take a point apart costs as much as half a signature.
    keys: HashMap<Fingerprint, EnrolledKey>,
}

impl<'k> Looker<'k> {
    pub(super) fn new(log: Option<&'k (NoteKey, Origin)>) -> Looker<'k> {
        Looker { log, keys: HashMap::new() }
    }

    pub(super) fn look(&mut self, piece: Piece) -> Looked {
        let mut kinds = BTreeMap::new();
        let entries = piece.entries.iter().map(|bytes| self.entry(bytes, &mut kinds)).collect();
        let open = |note: &str| {
            let (key, origin) = self.log?;
            Checkpoint::open(note, key, origin).ok()
        };
        let heads = piece.heads.iter().map(|(size, note)| (*size, open(note))).collect();
        Looked { from: piece.from, entries, heads, tiles: piece.tiles, kinds }
    }

    fn entry(&mut self, bytes: &[u8], kinds: &mut BTreeMap<String, u64>) -> One {
        let leaf = leaf_hash(bytes);
        let entry = Entry::decode(bytes);
        let mut spoken = Vec::new();
        if let Ok(entry) = &entry {
            if let Some(kind) = kind(bytes) {
                match kinds.get_mut(kind) {
                    Some(count) => *count += 1,
                    None => drop(kinds.insert(kind.to_owned(), 1)),
                }
            }
            spoken.extend(envelopes(&entry.event).into_iter().filter_map(|said| self.spoken(said).ok()));
        }
        One { leaf, entry, spoken }
    }

    /// Checks a statement's signature with the key that it names.
    pub(super) fn spoken(&mut self, envelope: &Envelope) -> Result<Spoken, SignatureError> {
        let claimed = Claimed::read(envelope.clone())?;
        let (fingerprint, key) = (*claimed.fingerprint(), claimed.key().clone());
        let statement = claimed.statement().clone();
        if self.keys.len() >= KEYS {
            self.keys.clear();
        }
        let signed = match self.keys.get(&fingerprint) {
            Some(enrolled) => claimed.verify(enrolled),
            None => match EnrolledKey::of_signature(&key) {
                Some(enrolled) => claimed.verify(self.keys.entry(fingerprint).or_insert(enrolled)),
                None => Err(SignatureError::Mismatch),
            },
        };
        Ok(Spoken { envelope: envelope.clone(), statement, fingerprint, key, signed })
    }
}

/// The statements that an entry keeps.
fn envelopes(event: &Event) -> Vec<&Envelope> {
    match event {
        Event::EmergencyDeclared { declared, .. } | Event::DeclarationRefused { declared, .. } => {
            vec![declared]
        }
        Event::EmergencySeconded { by, .. }
        | Event::ExtensionRequested { by, .. }
        | Event::ExtensionRefused { by, .. }
        | Event::ApprovalGiven { by, .. }
        | Event::ApprovalRefused { by, .. }
        | Event::EmergencyReviewed { by, .. } => vec![&by.said],
        Event::EmergencyClosed { by: Closer::Person { closed, .. }, .. } => vec![closed],
        Event::BundleActivated { by: Activation::Admins(admins), .. } => {
            admins.iter().map(|by| &by.said).collect()
        }
        Event::HostEnrolled { said, .. } => vec![said],
        Event::SelfTestGranted { by, .. }
        | Event::SessionOpened { by, .. }
        | Event::SessionClosed { by, .. }
        | Event::HostConfirmed { by, .. }
        | Event::HostAlarmed { by } => vec![&by.said],
        _ => Vec::new(),
    }
}

/// The kind of an entry that was decoded: its one spelling has it at one place.
fn kind(bytes: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line1(bytes)).ok()?;
    let (_, rest) = line.split_once(",\"kind\":\"")?;
    rest.split('"').next()
}

/// Keys that are kept in this shape: 4,096 of half a KiB.
const KEYS: usize = 4096;
