//! Verifying a whole log from its bytes: tree, checkpoints, statements, decisions, certificates, state.
//!
//! Independent of the code that wrote it where it can be: the tree is recomputed here from the leaves
//! alone, signatures are checked again, facts gathered again from the words and the state before them and
//! decided again (`said.rs`, `hosts.rs`, `evidence.rs`), what must stand next is asked for (`follows.rs`), and
//! only then the fold is asked whether the entries may follow each other.
//! Reads only. Where the bytes come from is `source/`; `read.rs` looks at them without state, on all cores
//! (`pipeline.rs`), and `check.rs` goes over them in order.

mod check;
mod evidence;
mod follows;
mod hosts;
mod known;
pub(crate) mod pipeline;
mod read;
mod reported;
mod said;
pub mod source;
mod tree;

use std::collections::BTreeMap;

use fireaxe_protocol::log::{Checkpoint, Entry, Event, Hash, NoteKey};
use fireaxe_protocol::names::Origin;
use thiserror::Error;

use self::check::Check;
use self::read::Looker;
use self::source::{Database, Source};
use crate::log::{LogError, Reader};

/// Something wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("entry {entry}: {what}")]
pub struct Found {
    /// Index of the entry, or size of the checkpoint.
    pub entry: u64,
    /// What is wrong. Text of the log in it is escaped.
    pub what: String,
}

/// What was read and found good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries.
    pub entries: u64,
    /// Signed heads.
    pub checkpoints: u64,
    /// Full and partial hash tiles that lie there and are those of the entries.
    pub tiles: u64,
    /// Signed statements.
    pub statements: u64,
    /// Decisions that came out the same again.
    pub decisions: u64,
    /// Reports of hosts.
    pub reports: u64,
    /// Certificate bodies that are what their terms say.
    pub certificates: u64,
    /// Entries by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Time of entry 0, unix seconds.
    pub first_at: u64,
    /// Time of the newest entry, unix seconds.
    pub last_at: u64,
    /// The key that entry 0 names as the one that signs heads.
    pub key: Option<NoteKey>,
    /// The root over all entries, if there are any and all were read.
    pub root: Option<Hash>,
}

/// What whoever verifies knew before: without it, a log that was made anew with other keys is a good log.
#[derive(Debug, Clone, Default)]
pub struct Beforehand {
    /// The key that signs the log's heads.
    pub key: Option<NoteKey>,
    /// A head of the log, as its signed note: this log must contain it.
    pub since: Option<String>,
}

/// At most this many findings are collected: a log that is wrong throughout says so early.
pub const FINDINGS: usize = 100;

/// Reads all of the log that `reader` has open. `progress` is told the number of entries read so far.
pub fn verify(reader: &Reader, progress: &mut dyn FnMut(u64)) -> Result<(Tally, Vec<Found>), LogError> {
    let mut source = Database::of(reader.another()?)?;
    Ok(verify_source(&mut source, &Beforehand::default(), progress))
}

/// Reads all of `source`. `progress` is told the number of entries read so far.
pub fn verify_source(
    source: &mut dyn Source,
    before: &Beforehand,
    progress: &mut dyn FnMut(u64),
) -> (Tally, Vec<Found>) {
    let log = log_key(source);
    let mut check = Check::of(source.owes_tiles());
    known_before(&mut check, log.as_ref(), before);
    let look = || {
        let mut looker = Looker::new(log.as_ref());
        move |piece| looker.look(piece)
    };
    pipeline::run(source, look, |piece| {
        let goes_on = check.piece(piece);
        progress(check.tally.entries);
        goes_on
    });
    check.tally.key = log.map(|(key, _)| key);
    (check.tally, check.found)
}

/// The key and the name that entry 0 gives the log, if it can be read. It is read again with the rest.
fn log_key(source: &mut dyn Source) -> Option<(NoteKey, Origin)> {
    let first = source.entries(0).ok()?;
    let Event::LogCreated { origin, keys, .. } = Entry::decode(first.first()?).ok()?.event else {
        return None;
    };
    Some((NoteKey::new(origin.as_str(), &keys.log).ok()?, origin))
}

fn known_before(check: &mut Check, log: Option<&(NoteKey, Origin)>, before: &Beforehand) {
    let Some((key, origin)) = log else { return };
    if let Some(known) = before.key.as_ref().filter(|known| *known != key) {
        let what =
            format!("this log is signed by {key}, not by {known}: it is another log, or was made anew");
        check.note(0, what);
    }
    let Some(note) = &before.since else { return };
    match Checkpoint::open(note, key, origin) {
        Ok(since) => check.since = Some(since),
        Err(error) => {
            let what = "the head known before is not one of this log, which is another or was made anew";
            check.note(0, format!("{what}: {error}"));
        }
    }
}
