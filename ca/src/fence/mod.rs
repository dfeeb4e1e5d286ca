//! The fence: a CA that may have lost entries signs nothing until that is resolved by proof.
//!
//! A serial is an index of the log. A CA whose log was put back to an older state, or that runs beside another
//! with a copy of its log, would give a second certificate one serial, and its hosts two pasts. What stands
//! against that here:
//!
//! - a head that the log's own key signed and that this log does not have ([`Fence::raise`]): from the mirror, a
//!   host, a witness. Nobody's word alone raises it. The note is kept, so that a restart is fenced at once, and
//!   the fence ends when the log has grown to contain that head, never by removing a flag;
//! - a log that was restored or copied ([`home`]) is in doubt until its head is confirmed ([`Fence::confirm`],
//!   [`doubt`]).
//!
//! While it stands nothing is appended and nothing signed; what is read, what hosts follow and the revocation
//! list go on. Who looks at heads, and who refuses, is left to the door, the commands and the road. Why this and
//! what it does not see: `docs/decisions/0025-a-ca-that-may-have-lost-entries-signs-nothing.md`.

mod doubt;
mod home;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use fireaxe_protocol::limits;
use fireaxe_protocol::log::Checkpoint;
use fireaxe_protocol::names::HostName;
use thiserror::Error;

pub use doubt::Why;
use doubt::{Dispelled, Doubt, Mark};

use crate::data_dir::{DataDir, put_whole};
use crate::log::{LogError, Reader, Relation};

/// Why nothing is signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fenced {
    /// The log has lost entries.
    #[error(
        "{from} has a head of {size} entries signed by this log's key, and this log has {ours}: it was put back to \
         an older state, or is a copy"
    )]
    Behind {
        /// Who has it.
        from: Source,
        /// Its size.
        size: u64,
        /// The log's size when it was seen.
        ours: u64,
    },
    /// There are two logs of one name.
    #[error(
        "{from} has a head of {size} entries signed by this log's key that is not the beginning of this log: there \
         are two of it"
    )]
    Forked {
        /// Who has it.
        from: Source,
        /// Its size.
        size: u64,
    },
    /// Nobody has said yet that nothing is missing.
    #[error(
        "this log was {why}, and nobody has confirmed that it is the newest yet; hosts that did: {heard}"
    )]
    Unconfirmed {
        /// How it came here.
        why: Why,
        /// Hosts whose newest head lies in it.
        heard: usize,
    },
}

/// Who has a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The second copy.
    Mirror,
    /// A host.
    Host(HostName),
    /// So many hosts.
    Hosts(usize),
    /// A witness, by its name.
    Witness(String),
    /// The note that an earlier run kept.
    Kept,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Mirror => f.write_str("the mirror"),
            Source::Host(host) => write!(f, "host {host}"),
            Source::Hosts(count) => write!(f, "{count} hosts"),
            Source::Witness(name) => {
                write!(f, "witness {}", fireaxe_protocol::names::shown(name))
            }
            Source::Kept => f.write_str("a note kept in fence.note"),
        }
    }
}

/// Why the fence cannot be looked at: then the CA does not start.
#[derive(Debug, Error)]
pub enum FenceError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// One of its files.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of it says nothing that this program knows.
    #[error("{0} is damaged, or another log's")]
    Damaged(PathBuf),
}

/// See the file's top. Shared by whoever sees heads and whoever signs.
#[derive(Debug)]
pub struct Fence {
    dir: DataDir,
    held: RwLock<Held>,
    /// A note that could not be kept yet. Locked while one is taken and written: the file has the one that stands.
    unkept: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Held {
    /// A head that the log does not have.
    beyond: Option<Fenced>,
    doubt: Option<Doubt>,
}

impl Fence {
    /// Looks whether this log is where it was and whether a note was kept that it still does not have. The
    /// process holds the log's lock.
    ///
    /// A crash in here: the mark is written before the new place is, so that a copy is in doubt at every start
    /// until it is confirmed.
    pub fn open(dir: &DataDir, reader: &Reader) -> Result<Fence, FenceError> {
        let mark = home::settle(dir, reader.size()?)?;
        let held = Held { beyond: kept(dir, reader)?, doubt: mark.map(Doubt::of) };
        let fence = Fence { dir: dir.clone(), held: RwLock::new(held), unkept: Mutex::new(None) };
        if let Some(why) = fence.now() {
            tracing::error!(event = "ca.fenced", %why);
        }
        Ok(fence)
    }

    /// What is in the way of signing now, if anything is.
    pub fn now(&self) -> Option<Fenced> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.beyond.clone().or_else(|| held.doubt.as_ref().map(Doubt::said))
    }

    /// Whether a head of that size, signed by the log's key, would say anything that is not known.
    pub fn asks(&self, size: u64) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        match &held.beyond {
            Some(Fenced::Behind { size: known, .. }) => size > *known,
            Some(_) => false,
            None => true,
        }
    }

    /// Whether confirmations are awaited.
    pub fn is_in_doubt(&self) -> bool {
        self.held.read().unwrap_or_else(PoisonError::into_inner).doubt.is_some()
    }

    /// Whether the log is in doubt and its newest entries came from a mirror: then no mirror confirms it that may lack
    /// what was answered.
    pub fn was_refilled(&self) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.doubt.as_ref().is_some_and(|doubt| doubt.refilled)
    }

    /// Takes a head that the log's own key signed, and that `from` has: `note`, opened as `head`, standing so to
    /// a log of `ours` entries. One that the log had says nothing.
    pub fn raise(
        &self,
        from: Source,
        note: &str,
        head: &Checkpoint,
        relation: Relation,
        ours: u64,
    ) -> Result<(), FenceError> {
        let fenced = match relation {
            Relation::Contained => return Ok(()),
            Relation::Beyond => Fenced::Behind { from, size: head.size, ours },
            Relation::Other => Fenced::Forked { from, size: head.size },
        };
        let mut unkept = self.unkept();
        if !self.asks(head.size) {
            return self.put(&mut unkept);
        }
        tracing::error!(event = "ca.fenced", why = %fenced);
        // In memory first: nothing more is signed, whatever becomes of the file.
        self.held.write().unwrap_or_else(PoisonError::into_inner).beyond = Some(fenced);
        *unkept = Some(note.to_owned());
        self.put(&mut unkept)
    }

    /// Writes the note that could not be written before, if there is one. Called again and again while the fence
    /// stands, so that a disk that was full costs no restart its fence.
    pub fn keep(&self) -> Result<(), FenceError> {
        self.put(&mut self.unkept())
    }

    fn unkept(&self) -> MutexGuard<'_, Option<String>> {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A crash in here: the note before or this one, whole. Whoever has this one says it again.
    fn put(&self, unkept: &mut Option<String>) -> Result<(), FenceError> {
        let Some(note) = unkept.as_deref() else { return Ok(()) };
        let path = self.dir.fence_note();
        put_whole(&path, note.as_bytes()).map_err(|source| FenceError::File { path, source })?;
        *unkept = None;
        Ok(())
    }

    /// Takes the word that this log's newest head is the newest there is. Ends a doubt; ends no other fence.
    ///
    /// A crash in here: in doubt at the next start, and confirmed again.
    pub fn confirm(&self, from: &Source) -> Result<(), FenceError> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.doubt.is_none() {
            return Ok(());
        }
        home::confirmed(&self.dir)?;
        held.doubt = None;
        tracing::warn!(event = "ca.confirmed", by = %from);
        Ok(())
    }

    /// Takes a host's word on the newest head that it saw: whether that lies in this log. Enough of them end a
    /// doubt ([`doubt`]). `enrolled` is how many hosts there are, `tick_ms` the clock's even hand.
    pub fn heard(
        &self,
        host: &HostName,
        lies_in_it: bool,
        enrolled: usize,
        tick_ms: u64,
    ) -> Result<(), FenceError> {
        let enough = {
            let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
            let Some(doubt) = &mut held.doubt else { return Ok(()) };
            doubt.heard(host, lies_in_it, tick_ms);
            doubt.is_dispelled(enrolled, tick_ms)
        };
        match enough {
            Some(Dispelled { by, ignored }) => {
                for host in ignored {
                    tracing::warn!(event = "host.shows_nothing", %host, "it says that it saw more of this log");
                }
                self.confirm(&Source::Hosts(by))
            }
            None => Ok(()),
        }
    }
}

/// Marks a folder that nobody uses yet as restored; `refilled`: its newest entries came from a mirror.
pub fn mark_restored(dir: &DataDir, size: u64, refilled: bool) -> Result<(), FenceError> {
    home::mark(dir, &Mark { v: 1, why: Why::Restored, size, refilled })
}

/// What lies in a folder, for who looks at it from outside while nobody serves it.
pub fn look(dir: &DataDir, reader: &Reader) -> Result<Option<Fenced>, FenceError> {
    let beyond = kept(dir, reader)?;
    Ok(beyond.or(home::look(dir)?.map(|mark| Doubt::of(mark).said())))
}

/// The kept note, if the log still does not have it.
fn kept(dir: &DataDir, reader: &Reader) -> Result<Option<Fenced>, FenceError> {
    let path = dir.fence_note();
    let Some(bytes) = read(&path)? else { return Ok(None) };
    let note = String::from_utf8(bytes).map_err(|_| FenceError::Damaged(path.clone()))?;
    let head = Checkpoint::open(&note, reader.key(), reader.origin())
        .map_err(|_| FenceError::Damaged(path.clone()))?;
    let (from, size) = (Source::Kept, head.size);
    match reader.relation(&head)? {
        Relation::Beyond => Ok(Some(Fenced::Behind { from, size, ours: reader.size()? })),
        Relation::Other => Ok(Some(Fenced::Forked { from, size })),
        // The log has grown to contain it: it says nothing any more.
        Relation::Contained => Ok(None),
    }
}

/// A small file, whole.
fn read(path: &Path) -> Result<Option<Vec<u8>>, FenceError> {
    use std::io::Read;
    let failed = |source| FenceError::File { path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(limits::NOTE as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limits::NOTE { Err(FenceError::Damaged(path.to_owned())) } else { Ok(Some(bytes)) }
}
