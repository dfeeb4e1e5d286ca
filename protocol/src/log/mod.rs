//! The log: one append-only Merkle tree of entries, its signed heads, and proofs.
//!
//! RFC 6962 hashing; C2SP `signed-note`, `tlog-checkpoint`, `tlog-proof` and `tlog-tiles` formats.
//! Anything that refers to something refers to it by the leaf hash of its entry.

mod event;
mod hash;

pub use event::{Event, HostPattern, IncidentUpdate, PinnedKeys};
pub use hash::Hash;
