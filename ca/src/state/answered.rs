//! Statements answered in the last minutes: the same one again gets the same answer, the same nonce
//! with other bytes is an error.
//!
//! Bounded by the log's time, not the wall's: what is older than twice the window, by the newest entry, is
//! dropped. A statement that old is refused as stale, also when the wall was wrong for a while.

use std::collections::{HashMap, VecDeque};

use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::limits::STATEMENT_WINDOW_S;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::statement::{Header, Nonce};
use serde::{Deserialize, Serialize};

/// Where the answer to a statement stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// This very statement was answered by that entry.
    Same {
        /// Index of the entry.
        entry: u64,
    },
    /// The nonce was used for other bytes.
    Other,
}

/// What is remembered of one statement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Remembered {
    statement: Hash,
    entry: u64,
}

/// See the file's top.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnsweredStatements {
    by_nonce: HashMap<(Fingerprint, Nonce), Remembered>,
    by_age: VecDeque<(u64, Fingerprint, Nonce)>,
}

impl AnsweredStatements {
    /// Looks a statement up by its signer, nonce and bytes.
    pub fn find(&self, key: &Fingerprint, header: &Header, statement: &str) -> Option<Answered> {
        let found = self.by_nonce.get(&(*key, header.nonce))?;
        Some(if found.statement == Hash::of(statement.as_bytes()) {
            Answered::Same { entry: found.entry }
        } else {
            Answered::Other
        })
    }

    pub(super) fn remember(&mut self, key: &Fingerprint, header: &Header, statement: &str, entry: u64) {
        let remembered = Remembered { statement: Hash::of(statement.as_bytes()), entry };
        self.by_nonce.insert((*key, header.nonce), remembered);
        self.by_age.push_back((header.at, *key, header.nonce));
    }

    /// Drops what is too old to be retried once the log's time is `reached`.
    pub(super) fn forget(&mut self, reached: u64) {
        while let Some((at, ..)) = self.by_age.front() {
            if at.saturating_add(2 * STATEMENT_WINDOW_S) >= reached {
                break;
            }
            if let Some((_, key, nonce)) = self.by_age.pop_front() {
                self.by_nonce.remove(&(key, nonce));
            }
        }
    }
}
