//! A dossier: what it is made of, and what is derived from that. Who writes one and who checks one derive the same.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::html::plain;
use super::manifest::{Made, Missing};
use super::said::{allowed_signers, said};
use super::{layout, page, utc, verify_txt, words};
use crate::host::Recorded;
use crate::log::{Checkpoint, Entry, Event, Hash};
use crate::names::{EmergencyId, HostName};
use crate::statement::Nonce;

/// The parts that are not derived. What they say is nowhere believed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dossier {
    /// Which emergency.
    pub emergency: EmergencyId,
    /// The log's key, a C2SP verifier key.
    pub log_key: String,
    /// The head that all proofs end in.
    pub head: Checkpoint,
    /// How it came to be.
    pub made: Made,
    /// The entries, by index.
    pub entries: BTreeMap<u64, Kept>,
    /// Serials of certificates that are here as they went out.
    pub certificates: BTreeSet<u64>,
    /// Recordings that are here. Sorted.
    pub recordings: Vec<RecordingPart>,
    /// Recordings that were reported and are not. Sorted.
    pub missing: Vec<Missing>,
}

/// An entry, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it says.
    pub entry: Entry,
    /// Its leaf.
    pub leaf: Hash,
}

/// A recording that is in the dossier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordingPart {
    /// The host.
    pub host: HostName,
    /// Its name.
    pub name: Nonce,
    /// How many bytes.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: Hash,
    /// Whether its picture is here too.
    pub cast: bool,
}

impl Dossier {
    /// What the host reported of a recording, and in which entry.
    pub fn reported(&self) -> impl Iterator<Item = (u64, &HostName, Recorded)> {
        self.entries.values().flat_map(|kept| {
            let of = words::SessionWords::of(&kept.entry.event);
            let (host, recordings) = match of {
                Some((by, words::SessionWords::Closed(said))) => (Some(&by.host), said.recordings),
                _ => (None, Vec::new()),
            };
            let index = kept.entry.index;
            recordings.into_iter().filter_map(move |one| Some((index, host?, one)))
        })
    }

    /// The bytes that blobs hold together, if all of them are here.
    pub(super) fn blobs(&self, leaves: &[Hash]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for leaf in leaves {
            let kept = self.entries.values().find(|kept| kept.leaf == *leaf)?;
            let Event::BlobStored { base64 } = &kept.entry.event else { return None };
            out.extend(STANDARD.decode(base64).ok()?);
        }
        Some(out)
    }
}

/// Parts that are a format: they are what they are, whichever version wrote them. Then parts that are words, which
/// another version may put otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Derived {
    /// Statements, signers, policies.
    pub exact: BTreeMap<String, Vec<u8>>,
    /// The page, the timeline, how to verify.
    pub words: BTreeMap<String, Vec<u8>>,
}

/// Everything that follows from the rest.
pub fn derived(dossier: &Dossier) -> Derived {
    let mut out = Derived::default();
    for kept in dossier.entries.values() {
        for (n, one) in said(&kept.entry.event).into_iter().enumerate() {
            let [words, signature] = layout::statement(kept.entry.index, n);
            out.exact.insert(words, one.envelope.statement.clone().into_bytes());
            out.exact.insert(signature, one.envelope.signature.clone().into_bytes());
        }
        if let Event::BundleActivated { policy, roster, .. } = &kept.entry.event {
            let names = layout::policy(kept.entry.index);
            for (name, leaves) in names.into_iter().zip([policy, roster]) {
                if let Some(bytes) = dossier.blobs(leaves) {
                    out.exact.insert(name, bytes);
                }
            }
        }
    }
    let all = dossier.entries.values().flat_map(|kept| said(&kept.entry.event));
    out.exact.insert(layout::ALLOWED_SIGNERS.into(), allowed_signers(all).into_bytes());
    out.exact.insert(layout::KEY.into(), format!("{}\n", dossier.log_key).into_bytes());
    out.words.insert(layout::TIMELINE.into(), timeline(dossier).into_bytes());
    out.words.insert(layout::PAGE.into(), page::page(dossier).into_bytes());
    out.words.insert(layout::VERIFY.into(), verify_txt::of_dossier(dossier).into_bytes());
    out
}

fn timeline(dossier: &Dossier) -> String {
    let line = |kept: &Kept| {
        format!("{}  {:06}  {}\n", utc(kept.entry.at), kept.entry.index, plain(&words::in_words(&kept.entry)))
    };
    let told = dossier.entries.values().filter(|kept| !matches!(kept.entry.event, Event::BlobStored { .. }));
    told.map(line).collect()
}
