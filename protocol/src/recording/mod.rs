//! A recording: what a session said and was told, as raw bytes with their times, in hash-chained and
//! sequence-numbered chunks. Evidence is the chunks; a picture of them ([`Cast`]) is made anew whenever
//! somebody wants to look.
//!
//! | file | what it holds |
//! |---|---|
//! | `event` | one event: an offset, a stream, its bytes |
//! | `chunk` | the framing: header, data and end chunks, their hashes |
//! | `write` | makes the chunks of one recording, in order |
//! | `chain` | reads them back and refuses whatever does not continue what came before |
//! | `sealed` | a chunk whose events only auditors can read |
//! | `cast` | asciicast v3 of a recording |
//!
//! Whoever holds the hash of the last chunk ([`crate::host::Recorded`], which the host signs and the log keeps)
//! can find any change, gap or cut in what comes before it. Before that is reported, the chain proves order
//! and completeness of what has left the host, and nothing about what root there may do to the rest.

mod cast;
mod chain;
mod chunk;
mod event;
mod sealed;
mod write;

pub use cast::{Cast, cast};
pub use chain::Chain;
pub use chunk::{Body, Chunk, End, Ended, Header, RecordingError, SessionKind, Size, Totals};
pub use event::{Event, Stream};
pub use sealed::{AuditorKey, Opened, Sealed};
pub use write::Writer;
