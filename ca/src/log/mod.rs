//! The log on disk: the one durable store, and the only maker of [`Logged`].
//!
//! One file, `log.sqlite`, one writer ([`Log`]), any number of [`Reader`]s. A batch of entries, the tiles
//! it completes and the checkpoint over it become durable in one transaction; only then is there a
//! [`Logged`], and nothing leaves the CA that is not one. Notes that witnesses cosigned are kept beside the
//! checkpoints, each in a transaction of its own. What entries mean, and when to append them, is
//! left to the road; who is asked for signatures of witnesses, to the road too.
//!
//! **Trusted or not.** The file is trusted for order and secrecy, not for truth. Whoever can change it:
//!
//! - reads all entries: names, reasons, systems (nothing secret enters the log, but it is private);
//! - can destroy the log, or put back an older state of it, on which the CA would then sign a second entry
//!   for an index it has used: a fork. Heads held by others (hosts, witnesses, a second copy) show it;
//! - cannot add, change or remove an entry unseen: [`Reader::replay`] recomputes the tree and compares it with
//!   a head signed by a key that is not in the file. A start from a snapshot does so from there on only
//!   ([`Reader::replay_after`]); an older entry is proved when it is read back ([`Reader::entry`]), before
//!   anything is signed or decided by it. The key that entry 0 names proves nothing by itself: compare it with
//!   one's own ([`Log::key`]); a commit with another key is refused.
//!
//! | file | what it holds |
//! |---|---|
//! | `store` | the SQLite file behind a port, the writer's lock, the WAL's keeper |
//! | `edge` | the right edge of the tree, as values |
//! | `writer` | [`Log`], [`Batch`], [`Committed`], recovery |
//! | `logged` | [`Pending`] and [`Logged`] |
//! | `reader` | entries, receipts, tiles and proofs from the file |
//! | `mirror`, `shelf` | the second copy: tiles in a folder on another disk, and that folder behind a port |
//! | `refill` | the way back: a log from its mirror, byte for byte |

mod edge;
mod error;
mod logged;
mod mirror;
mod reader;
mod refill;
mod shelf;
mod store;
mod writer;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod mirrored;

pub use error::LogError;
pub use logged::{Logged, Pending};
pub use mirror::{Mirror, MirrorError, Relation, Standing};
pub use reader::{Beginning, Reader};
pub use refill::{Mirrored, Refilled};
pub use store::WalKeeper;
pub use writer::{Batch, Committed, Kept, Log, Recovery};
