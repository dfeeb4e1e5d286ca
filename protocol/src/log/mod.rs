//! The log: one append-only Merkle tree of entries, its signed heads, and proofs.
//!
//! RFC 6962 hashing; C2SP `signed-note`, `tlog-checkpoint`, `tlog-proof` and `tlog-tiles` formats.
//! Anything that refers to something refers to it by the leaf hash of its entry.
//!
//! | file | what it holds |
//! |---|---|
//! | `event`, `author`, `evidence` | the facts that entries record; who is behind them, who reads them |
//! | `entry` | the exact bytes of an entry |
//! | `hash` | SHA-256 values |
//! | [`tree`] | leaf and node hashes, heads, proofs and their checks |
//! | [`note`] | signed notes and their keys |
//! | `checkpoint` | the signed head |
//! | `memory` | what a head says to whoever remembers an earlier one |
//! | [`cosignature`] | what a witness adds to it |
//! | `witness_policy` | which witnesses are enough |
//! | [`receipt`] | the proof inside a certificate, and a host's check of it |
//! | `krl_note` | the signed note beside a revocation list |
//! | `snapshot_note` | the signed note in front of the CA's snapshot |
//! | [`tiles`] | the tree as immutable pieces with paths |

mod author;
mod checkpoint;
pub mod cosignature;
mod entry;
mod event;
mod evidence;
mod hash;
mod krl_note;
mod memory;
pub mod note;
pub mod receipt;
mod snapshot_note;
pub mod tiles;
pub mod tree;
mod witness_policy;

pub use author::{Activation, Closer, HostSaid, SignedBy};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use cosignature::{Cosigned, Cosigner, WitnessKey};
pub use entry::{Entry, EntryError, encode_entry, line1, with_body};
pub use event::{Decided, Event, HostPattern, IncidentUpdate, PinnedKeys, Succeeded};
pub use evidence::{Evidence, EvidenceReader};
pub use hash::Hash;
pub use krl_note::{KrlNote, KrlNoteError};
pub use memory::{Beside, Gap};
pub use note::{NoteError, NoteKey, NoteSigner};
pub use receipt::{Proved, Receipt, ReceiptError};
pub use snapshot_note::{SnapshotNote, SnapshotNoteError};
pub use witness_policy::{PolicyError, PolicyWitness, WitnessPolicy};
