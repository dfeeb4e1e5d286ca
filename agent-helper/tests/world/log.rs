//! A log of entries of its own, served as C2SP tiles by a CA that may tamper with them.

use std::sync::{Arc, Mutex};

use fireaxe_protocol::log::tiles::{TileKind, TilePath, encode_bundle, encode_tile};
use fireaxe_protocol::log::{Checkpoint, Hash, tree};
use serde_json::json;

use super::ca::{Answer, FakeCa, Request, bytes, log_signer, origin};

/// Entries, and their tree.
#[derive(Clone)]
pub(crate) struct Entries(pub(crate) Vec<Vec<u8>>);

impl tree::Nodes for Entries {
    type Error = std::convert::Infallible;
    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        if level == 0 {
            return Ok(tree::leaf_hash(&self.0[usize::try_from(index).unwrap()]));
        }
        Ok(tree::node_hash(&self.node(level - 1, index * 2)?, &self.node(level - 1, index * 2 + 1)?))
    }
}

impl Entries {
    pub(crate) fn new(numbers: impl IntoIterator<Item = u64>) -> Entries {
        Entries(numbers.into_iter().map(|n| format!("entry {n}").into_bytes()).collect())
    }

    pub(crate) fn note(&self, size: u64) -> String {
        let root = tree::root(size, self).unwrap();
        Checkpoint { origin: origin(), size, root }.sign(&log_signer()).unwrap()
    }

    pub(crate) fn tile(&self, path: &TilePath) -> Vec<u8> {
        let range = path.index * 256..path.index * 256 + u64::from(path.width);
        match path.kind {
            TileKind::Entries => encode_bundle(range.map(|n| &self.0[n as usize])).unwrap(),
            TileKind::Hashes(level) => {
                let hashes: Vec<Hash> =
                    range.map(|n| tree::Nodes::node(self, level * 8, n).unwrap()).collect();
                encode_tile(&hashes)
            }
        }
    }
}

/// What such a CA shows now, and what it does to a tile before it is sent.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) log: Entries,
    pub(crate) size: u64,
    pub(crate) lie: fn(&TilePath, Vec<u8>) -> Option<Vec<u8>>,
}

impl Shown {
    pub(crate) fn of(log: Entries, size: u64) -> Arc<Mutex<Shown>> {
        Arc::new(Mutex::new(Shown { log, size, lie: |_, bytes| Some(bytes) }))
    }

    fn answer(&self, request: &Request) -> Answer {
        let path = request.line.strip_prefix("GET /log/").unwrap_or_default();
        if request.line == "POST /v1/sessions" {
            return Some((200, json!({"schema": "fireaxe.session/v1", "person": "ana", "until": u64::MAX})));
        }
        if path == "checkpoint" {
            return bytes(self.log.note(self.size).as_bytes());
        }
        if let Some(sizes) = path.strip_prefix("consistency?from=") {
            let (from, to) = sizes.split_once("&to=").unwrap();
            let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
            let proof = tree::consistency_proof(from, to, &self.log).unwrap();
            return Some((
                200,
                json!({"schema": "fireaxe.consistency/v1", "from": from, "to": to, "proof": proof}),
            ));
        }
        let tile: TilePath = path.parse().unwrap();
        assert!(tile.is_within(self.size), "{path} of {}", self.size);
        assert_eq!(request.authorization.is_some(), tile.kind == TileKind::Entries);
        (self.lie)(&tile, self.log.tile(&tile)).and_then(|tile| bytes(&tile))
    }
}

/// A CA that serves it.
pub(crate) fn serve(shown: &Arc<Mutex<Shown>>) -> FakeCa {
    let shown = shown.clone();
    FakeCa::start(move |request, _| shown.lock().unwrap().clone().answer(request))
}
