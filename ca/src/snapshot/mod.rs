//! A snapshot of the state, so that a start reads the entries since and not all of them.
//!
//! A cache: without one, or with one that does not fit, the log is folded from entry 0 on. It is bound by a
//! signed note ([`SnapshotNote`]) to this log, to how many entries it holds, to the head of the tree of those
//! and to its own bytes.
//!
//! **Trusted or not.** The file is not; the note's signature is. Whoever can change the file but has no key of
//! the log can destroy it or put an older one back: then a start takes longer and comes to the same. Whoever has
//! the log's key as well can make the CA decide from a past that never was; the log then shows decisions that do
//! not follow from it (`log verify`), and the next fold from entry 0 on ([`Maker`]) finds the difference.
//!
//! | file | what it holds |
//! |---|---|
//! | `file` | the file: read and believed, or not; written whole |
//! | `fold` | entries into a state, all of them or those after a snapshot |
//! | `maker` | makes the next one, beside the road |
//!
//! [`SnapshotNote`]: fireaxe_protocol::log::SnapshotNote

mod file;
mod fold;
mod maker;

pub use file::{Snapshot, Unfit, read, write};
pub use fold::{FoldFailed, fold, latest};
pub use maker::{Made, MakeFailed, Maker, WORTH, is_due};
