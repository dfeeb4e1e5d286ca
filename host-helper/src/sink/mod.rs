//! Where recordings are written: by the daemon, as root, in a folder that nobody else can enter. A recorder
//! says raw events; numbers, hashes, times beyond its own and the file are the sink's. So whoever holds the
//! recorder's end can lie about its own session from then on, and about nothing that it said before.
//!
//! | file | what it does |
//! |---|---|
//! | `words` | what a recorder says after it was let in |
//! | `sealing` | to whom recordings are sealed, and the age files |
//! | `recording` | one recording: events into chunks, chunks into its file |
//! | `shelf` | the folder: names, marks of what is finished, what a crash left, room on the disk |
//! | `places` | who holds how much of what recordings share |
//! | `taking` | one session, from its answer to its end |
//!
//! Durability: a chunk is written within [`FLUSH`] of its first event and synced within [`SYNC`]; the last is
//! synced before anything is said of it. A crash of the host loses at most that second of a session that the
//! crash ended too; a crash of the daemon at most [`FLUSH`].
//!
//! | limit | value | why |
//! |---|---|---|
//! | [`AT_ONCE`] | 256 recordings | a thread of 256 KiB, a chunk of 48 KiB and a read of 64 KiB each: 92 MiB |
//! | [`OF_ONE`] | 16 of one connection | sshd's `MaxSessions` is 10 |
//! | of what all share, one person | half of what the others leave | `shares` |
//! | [`SAID`] | 1,024 connections that found no place | 16 bytes each; an alarm each, and not one a session |
//! | [`KEPT`] | 65,536 recordings on the disk | two inodes each; what the CA has not taken |
//! | [`UNENDED`] | 64 recordings without room for their end | a descriptor and a chunk each: 3 MiB |
//! | [`Limits::recording`] | 2 GiB a recording | 8 hours of 70 KB/s; 40 s of a 50 MB/s flood |
//! | [`Limits::reserve`] | 512 MiB or 5 % of the disk, the smaller, stay free, and 5 % of its inodes | what sshd, logs and the KRL need |

mod places;
mod recording;
mod sealing;
mod shelf;
mod taking;
pub mod words;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fireaxe_protocol::host::{Recorded, Report};
use fireaxe_protocol::names::HostName;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::recording::Ended;

use places::Places;
use recording::Recording;
pub use sealing::{Seal, Sealing};
use shelf::Free;
pub use shelf::{Found, Kept, Shelf};

use crate::daemon::{Beginning, Begun, Sink, Took};
use crate::error::HostError;
use crate::reports::Reports;

/// How long events may wait for their chunk to be full.
pub const FLUSH: Duration = Duration::from_millis(250);
/// How long a chunk may wait to be synced.
pub const SYNC: Duration = Duration::from_secs(1);
/// Recordings at once.
pub const AT_ONCE: usize = 256;
/// Recordings of one connection at once.
pub const OF_ONE: usize = 16;
/// Recordings on the disk, of all together.
pub const KEPT: usize = 65_536;
/// Recordings that are over and whose end waits for room. Beyond them, it waits for the daemon's next start.
pub const UNENDED: usize = 64;
/// Connections remembered as said to have found no place. Beyond them, they are said again.
pub const SAID: usize = 1024;

/// What recordings may take, and what happens when it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of one recording.
    pub recording: u64,
    /// Free on the disk: below it nothing is recorded. The smaller of this and a twentieth of the disk.
    pub reserve: u64,
    /// How long a session goes on that must be recorded and no longer can be.
    pub notice: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { recording: 2 << 30, reserve: 512 << 20, notice: Duration::from_secs(60) }
    }
}

/// The daemon's sink.
#[derive(Clone)]
pub struct Recordings {
    inner: Arc<Inner>,
}

struct Inner {
    shelf: Shelf,
    host: HostName,
    sealing: Sealing,
    limits: Limits,
    reports: Arc<dyn Reports>,
    places: Mutex<Places>,
    /// Recordings that are over, with how, and that had no room for their last chunk.
    unended: Mutex<Vec<(Recording, Ended)>>,
    /// Whether somebody was told that there is no room, since there last was.
    alarmed: AtomicBool,
    /// Whether somebody was told that there is nobody to seal to, since there last was.
    unsealed: AtomicBool,
    /// Called when a file has grown or ended: wakes who sends them.
    grown: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Recordings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Recordings").field(&self.inner.shelf).finish()
    }
}

impl Recordings {
    /// Opens the shelf in `folder` and closes what an earlier daemon left open: gives what those recordings
    /// come to, with their connections ([`Connections::left_open`](crate::daemon::Connections::left_open) takes them).
    /// Called once, before the socket answers. `grown` is called when a file has grown or ended.
    pub fn open(
        folder: &Path,
        host: HostName,
        sealing: Sealing,
        limits: Limits,
        reports: Arc<dyn Reports>,
        grown: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Recordings, Vec<Found>), HostError> {
        let shelf = Shelf::open(folder)?;
        let (found, untold) = shelf.recover();
        for reason in untold {
            // Not kept: it is in the journal. A full disk is the likeliest cause of both.
            let _ = reports.say(Report::Alarmed(reason));
        }
        let inner = Inner {
            shelf,
            host,
            sealing,
            limits,
            reports,
            places: Mutex::default(),
            unended: Mutex::default(),
            alarmed: AtomicBool::new(false),
            unsealed: AtomicBool::new(false),
            grown: Box::new(grown),
        };
        Ok((Recordings { inner: Arc::new(inner) }, found))
    }

    /// The folder, for who sends its files.
    pub fn shelf(&self) -> &Shelf {
        &self.inner.shelf
    }
}

impl Sink for Recordings {
    fn record(&self, begun: Begun, beginning: Beginning, stream: UnixStream) -> Took {
        taking::take(&self.inner, begun, beginning, stream)
    }
}

impl Inner {
    /// What is free above the reserve: else why nothing is, and an alarm, one for each time that it runs out.
    fn room(&self) -> Result<Free, Reason> {
        let lacks = match self.shelf.free(self.limits.reserve) {
            Ok(Ok(free)) => {
                self.alarmed.store(false, Ordering::Relaxed);
                self.close_left();
                return Ok(free);
            }
            Ok(Err(lacks)) => lacks,
            Err(error) => error.to_string(),
        };
        let reason = Reason::new("recording.no_room", format!("no session can be recorded: {lacks}"));
        self.alarm(&self.alarmed, &reason);
        Err(reason)
    }

    /// To whom the next recording is sealed; nothing: to nobody, it is in clear. When that cannot be known, why,
    /// and an alarm, one for each time that it begins.
    fn seal(&self) -> Result<Option<Seal>, Reason> {
        match self.sealing.read() {
            Ok(seal) => {
                self.unsealed.store(false, Ordering::Relaxed);
                Ok(seal)
            }
            Err(error) => {
                let sentence = format!("nothing is recorded, for nobody is known to seal it to: {error}");
                let reason = Reason::new("recording.not_sealed", sentence);
                self.alarm(&self.unsealed, &reason);
                Err(reason)
            }
        }
    }

    /// Keeps a recording whose end had no room, for when there is.
    fn leave(&self, recording: Recording, how: Ended) {
        let mut unended = self.unended.lock().unwrap_or_else(PoisonError::into_inner);
        if unended.len() < UNENDED {
            unended.push((recording, how));
        }
    }

    /// Ends what had no room for it. Called when there is room.
    fn close_left(&self) {
        let left = std::mem::take(&mut *self.unended.lock().unwrap_or_else(PoisonError::into_inner));
        let mut closed = false;
        for (mut recording, how) in left {
            match recording.end(how) {
                Ok(_) => closed = true,
                Err(_) => self.leave(recording, how),
            }
        }
        if closed {
            (self.grown)();
        }
    }

    /// Says it once.
    fn alarm(&self, said: &AtomicBool, reason: &Reason) {
        if !said.swap(true, Ordering::Relaxed) {
            // A report that cannot be kept: the disk is full. The refusals tell it, too.
            let _ = self.reports.say(Report::Alarmed(reason.clone()));
        }
    }
}

/// What came of a session that was recorded to its end, or need not have been.
fn took(recorded: Option<Recorded>) -> Took {
    Took { recorded, ..Took::default() }
}

#[cfg(test)]
mod tests;
