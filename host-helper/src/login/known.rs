//! What this host knows when a certificate is judged, read from its files.

use std::fs;

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::Hash;

use super::judge::{Here, ListAge};
use super::witnesses::Witnesses;
use crate::config::Config;
use crate::krl::State;

/// The keys that are trusted, the list in force, and which witnesses are asked for.
#[derive(Debug, Clone)]
pub struct Known {
    user_ca: Vec<Ed25519Key>,
    list: Option<ListAge>,
    witnesses: Witnesses,
}

impl Known {
    /// Reads what is said of the list; whatever cannot be read is not known.
    pub fn of(config: &Config, user_ca: Vec<Ed25519Key>) -> Known {
        Known { user_ca, list: list(config), witnesses: Witnesses::of(config) }
    }

    /// With the moment.
    pub fn here<'a>(&'a self, config: &'a Config, now: u64) -> Here<'a> {
        Here { config, user_ca: &self.user_ca, witnesses: &self.witnesses, list: self.list, now }
    }

    /// The version of the list in force.
    pub fn version(&self) -> Option<u64> {
        self.list.map(|list| list.version)
    }
}

/// How old the list is counts only of the very bytes that the CA's note was about.
fn list(config: &Config) -> Option<ListAge> {
    let state = State::read(&config.state)?;
    let length = fs::metadata(&config.revoked_keys).ok()?.len();
    if length > limits::KRL as u64 {
        return None;
    }
    let there = Hash::of(&fs::read(&config.revoked_keys).ok()?);
    (there == state.hash).then_some(ListAge { version: state.version, signed_at: state.signed_at })
}
