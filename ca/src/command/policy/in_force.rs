//! Which bundle a log has in force, found by reading it: for commands that look and do not fold.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::log::{Event, Hash};
use fireaxe_protocol::policy::Bundle;

/// The bundle in force after the entries seen so far.
#[derive(Default)]
pub(super) struct InForce {
    blobs: HashMap<Hash, Vec<u8>>,
    activated: Option<Activated>,
}

/// An activation.
pub(super) struct Activated {
    /// Leaf of its entry: what a change names as the one that it replaces.
    pub(super) leaf: Hash,
    /// What it names.
    pub(super) hash: Hash,
    /// What it put in force; `None` when this program cannot read it.
    pub(super) bundle: Option<Bundle>,
}

impl InForce {
    /// Takes the next entry.
    pub(super) fn see(&mut self, event: &Event, leaf: Hash) {
        match event {
            Event::BlobStored { base64 } => {
                self.blobs.insert(leaf, STANDARD.decode(base64).unwrap_or_default());
            }
            Event::BundleActivated { bundle: hash, policy, roster, .. } => {
                let bundle = match (self.text(policy), self.text(roster)) {
                    (Some(policy), Some(roster)) => Bundle::parse(&policy, &roster).ok(),
                    _ => None,
                };
                let bundle = bundle.filter(|bundle| bundle.hash == *hash);
                self.activated = Some(Activated { leaf, hash: *hash, bundle });
                self.blobs.clear();
            }
            _ => {}
        }
    }

    fn text(&self, leaves: &[Hash]) -> Option<String> {
        let chunks: Option<Vec<&[u8]>> =
            leaves.iter().map(|leaf| self.blobs.get(leaf).map(Vec::as_slice)).collect();
        String::from_utf8(chunks?.concat()).ok()
    }

    /// The newest activation.
    pub(super) fn newest(&self) -> Option<&Activated> {
        self.activated.as_ref()
    }

    /// The bundle of that hash, if it is the one in force.
    pub(super) fn of(&self, hash: &Hash) -> Option<&Bundle> {
        self.activated.as_ref().filter(|newest| newest.hash == *hash)?.bundle.as_ref()
    }
}
