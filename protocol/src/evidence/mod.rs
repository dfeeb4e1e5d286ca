//! Evidence that leaves the CA in one file, for people who have neither the CA nor its log: a *dossier* (all that
//! belongs to one emergency) and a *period* (all that happened from one time to another).
//!
//! No I/O: parts come through [`Parts`], a name and bytes at a time, from a zip or a folder. What can be derived
//! from entries (statements, signers, policy, the page, the timeline) is derived here by one function, for who
//! writes a dossier and for who checks one: so a page that says something else than the entries is found.
//!
//! | file | what it holds |
//! |---|---|
//! | `parts` | a file's parts: names that are safe everywhere, bounded bytes |
//! | `layout` | which part has which name |
//! | [`manifest`] | what is in the file, with its hashes; the log's key signs it by an entry |
//! | `dossier` | the parts of a dossier that are not derived; what is derived from them |
//! | `said` | the statements of entries, and who signed them, as `ssh-keygen` takes them |
//! | `words`, `utc` | entries in words, times as people read them |
//! | `page`, `html` | the page that is read and printed |
//! | `verify_txt` | how to check it with nothing of ours, and what that cannot show |
//! | `check` | every check of a dossier |
//! | [`range`] | that entries in a row lie in the log |
//! | `period` | every check of a period |
//!
//! What a file cannot show by itself: that nothing was left out, and that the log's key is the right one.

mod check;
mod dossier;
pub mod html;
mod layout;
pub mod manifest;
mod page;
mod parts;
mod period;
pub mod range;
mod said;
mod utc;
mod verify_txt;
mod words;

pub use check::{Finding, Told, Trust, check};
pub use dossier::{Derived, Dossier, Kept, RecordingPart, derived};
pub use layout::{
    ALLOWED_SIGNERS, CHECKPOINT, ENTRIES, KEY, MANIFEST, MANIFEST_ENTRY, MANIFEST_PROOF, OUTSIDE, PAGE,
    RANGE, SUMS, TIMELINE, VERIFY, cast, certificate, entry, policy, proof, recording, statement,
};
pub use manifest::{Made, Manifest, Missing, Part};
pub use parts::{Parts, is_name, whole};
pub use period::Line;
pub use said::{Said, Who, said};
pub use utc::utc;
pub use verify_txt::of_period as verify_period;
pub use words::{SessionWords, in_words, report_of};
