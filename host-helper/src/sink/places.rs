//! Who holds how much of what recordings share: places, and the disk. What one person may hold of it is said in
//! [`crate::shares`]; what all may, in [`super`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use fireaxe_protocol::host::Report;
use fireaxe_protocol::names::PersonName;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Nonce;

use super::shelf::{Free, Shelf};
use super::{AT_ONCE, Inner, KEPT, OF_ONE, SAID};
use crate::daemon::Begun;
use crate::shares;

/// Whose a recording is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    connection: Nonce,
    person: Option<PersonName>,
}

/// What is held.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Recordings at once, by name.
    taken: BTreeMap<Nonce, Holder>,
    /// Recordings of this daemon that are on the shelf, with the bytes they were last known to have.
    kept: BTreeMap<Nonce, (Option<PersonName>, u64)>,
    /// Connections to which others left none, and of which that was said.
    said: BTreeSet<Nonce>,
}

impl Places {
    /// A recording of this person has so many bytes on the shelf.
    pub(super) fn keep(&mut self, recording: Nonce, person: Option<PersonName>, bytes: u64) {
        self.kept.insert(recording, (person, bytes));
    }

    /// Forgets recordings that the CA has by now: of one person, or all.
    fn look(&mut self, shelf: &Shelf, of: Option<&Option<PersonName>>) {
        let taken = &self.taken;
        self.kept.retain(|recording, (person, _)| {
            of.is_some_and(|of| of != person) || taken.contains_key(recording) || shelf.has(*recording)
        });
    }

    /// Whether this recording of that person may take more of the disk. Else why not.
    pub(super) fn disk(
        &self,
        recording: Nonce,
        person: Option<&PersonName>,
        free: &Free,
    ) -> Result<(), Reason> {
        let (mut others, mut mine, mut bytes) = (0, 0, 0u64);
        for (name, (holder, held)) in &self.kept {
            if holder.as_ref() == person {
                // Itself is what it is about.
                mine += usize::from(*name != recording);
                // Its last block, and its mark.
                bytes = bytes.saturating_add(held.div_ceil(BLOCK).saturating_add(1).saturating_mul(BLOCK));
            } else {
                others += 1;
            }
        }
        if bytes >= LEAST && bytes >= shares::of(bytes.saturating_add(free.bytes.max(1))) {
            let why = format!(
                "recordings of this person take {} MiB of this host's disk, half of what others leave: \
                 wait until the CA has taken some",
                bytes >> 20
            );
            return Err(Reason::new(OWN_BYTES, why));
        }
        // A file and its mark each.
        let room = free.files.map_or(KEPT, |files| usize::try_from(files / 2).unwrap_or(KEPT));
        let all = KEPT.min(others + mine + room);
        if !shares::has_one_more(all, others, mine) {
            let why = format!(
                "{mine} recordings of this person are on this host, half of what others leave: \
                 wait until the CA has taken some"
            );
            return Err(Reason::new(OWN_KEPT, why));
        }
        Ok(())
    }
}

impl Inner {
    /// A place for a recording. Else why not; when others have them all an alarm too, one a connection: who
    /// fills the places must not fill the spool as well.
    pub(super) fn place(self: &Arc<Inner>, begun: &Begun) -> Result<Place, Reason> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let (connection, person) = (begun.connection, &begun.person);
        let of_it = places.taken.values().filter(|holder| holder.connection == connection).count();
        if of_it >= OF_ONE {
            let why = format!("{of_it} sessions of this connection are recorded already: end some");
            return Err(Reason::new(OWN_PLACES, why));
        }
        let all = places.taken.len();
        let mine = places.taken.values().filter(|holder| holder.person == *person).count();
        if all < AT_ONCE && !shares::has_one_more(AT_ONCE, all - mine, mine) {
            let why =
                format!("{mine} sessions of yours are recorded here, half of what others leave: end some");
            return Err(Reason::new(OWN_PLACES, why));
        }
        if all < AT_ONCE {
            places.look(&self.shelf, Some(person));
            let recording = begun.run.recording;
            places.taken.insert(recording, Holder { connection, person: person.clone() });
            places.keep(recording, person.clone(), 0);
            return Ok(Place { inner: self.clone(), recording, person: person.clone() });
        }
        if places.said.len() >= SAID {
            places.said.clear();
        }
        let first = places.said.insert(connection);
        drop(places);
        let why =
            format!("no session of connection {connection} can be recorded: {AT_ONCE} are, of all together");
        let reason = Reason::new("recording.no_place", why);
        if first {
            // A report that cannot be kept: as with an alarm of the disk.
            let _ = self.reports.say(Report::Alarmed(reason.clone()));
        }
        Err(reason)
    }
}

/// What a person is refused because of what is theirs: who fills it must not go on unrecorded for that.
pub(super) fn is_own(reason: &Reason) -> bool {
    [OWN_PLACES, OWN_BYTES, OWN_KEPT].contains(&reason.code.as_str())
}

/// A connection or a person has all the places that one may.
const OWN_PLACES: &str = "recording.too_many";
const OWN_BYTES: &str = "recording.too_much";
const OWN_KEPT: &str = "recording.too_many_kept";
/// What everybody may have on a disk that has room at all, bytes: on one that is nearly full for another reason,
/// nobody is refused for a recording that the CA has long had.
const LEAST: u64 = 64 << 20;
/// What a file takes at least. Bytes.
const BLOCK: u64 = 4096;

/// One recording's place; given back when dropped. What it has on the disk stays counted until the CA has it.
pub(super) struct Place {
    inner: Arc<Inner>,
    recording: Nonce,
    person: Option<PersonName>,
}

impl Place {
    /// Its recording has so many bytes.
    pub(super) fn holds(&self, bytes: u64) {
        let mut places = self.inner.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.keep(self.recording, self.person.clone(), bytes);
    }

    /// Whether there is room on the disk for more, for everybody and for this person.
    pub(super) fn room(&self) -> Result<(), Reason> {
        let free = self.inner.room()?;
        let mut places = self.inner.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.disk(self.recording, self.person.as_ref(), &free).or_else(|_| {
            places.look(&self.inner.shelf, None);
            places.disk(self.recording, self.person.as_ref(), &free)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.inner.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.taken.remove(&self.recording);
    }
}
