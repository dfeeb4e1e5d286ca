//! Who may read entries and recordings, and what the log is told of it. Access to evidence is evidence: what is
//! handed out is in the log before its first byte leaves, and what the log cannot be told is not handed out.
//!
//! One entry says that somebody reads the same for an hour, so that a log that is fetched tile by tile does not
//! grow by being read. Refusals are entries too, of one person at most so many an hour: nobody fills the log by
//! being refused. Why so is `docs/decisions/0029-reading-is-logged-before-it-is-answered.md`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, Uri};
use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::limits::{EVIDENCE_READ_S, EVIDENCE_REFUSED, EVIDENCE_REMEMBERED, RECORDINGS_READ};
use fireaxe_protocol::log::{Evidence, EvidenceReader};
use fireaxe_protocol::names::PersonName;
use fireaxe_protocol::policy::Role;
use fireaxe_protocol::reason::Reason;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::Door;
use super::problem::Answer;
use super::reading::{self, Proved, Scope};
use crate::road::{Access, AccessOutcome, Refusal};

/// What was read lately and by whom, who was refused lately, and the places of those who read recordings. In
/// memory: after a restart everything is logged anew.
#[derive(Debug)]
pub(super) struct Accesses {
    read: Mutex<HashMap<Reading, Arc<Logged>>>,
    refused: Mutex<HashMap<PersonName, Window>>,
    places: Arc<Semaphore>,
}

/// The enrolled key, which the entry names, and what is read. Not the session's: whoever logs in again and again
/// must not fill the log by it.
type Reading = (Fingerprint, Evidence);

/// A read that is in the log, or is just being told to it.
#[derive(Debug)]
struct Logged {
    since_ms: u64,
    entry: OnceCell<()>,
}

/// So many since then, by the clock's tick.
#[derive(Debug, Clone, Copy)]
struct Window {
    since_ms: u64,
    many: u32,
}

impl Default for Accesses {
    fn default() -> Accesses {
        Accesses {
            read: Mutex::default(),
            refused: Mutex::default(),
            places: Arc::new(Semaphore::new(RECORDINGS_READ)),
        }
    }
}

impl Accesses {
    /// The read that this one goes on with: the same, begun less than an hour ago. Else a new one.
    fn reading(&self, reading: Reading, now_ms: u64) -> Arc<Logged> {
        let mut read = lock(&self.read);
        if let Some(found) = read.get(&reading).filter(|logged| is_recent(logged.since_ms, now_ms)) {
            return found.clone();
        }
        if read.len() >= EVIDENCE_REMEMBERED {
            read.retain(|_, logged| is_recent(logged.since_ms, now_ms));
        }
        if read.len() >= EVIDENCE_REMEMBERED {
            let oldest = read.iter().min_by_key(|(_, logged)| logged.since_ms).map(|(of, _)| of.clone());
            oldest.and_then(|oldest| read.remove(&oldest));
        }
        let new = Arc::new(Logged { since_ms: now_ms, entry: OnceCell::new() });
        read.insert(reading, new.clone());
        new
    }

    /// Whether a refusal of this person is one of those that are logged. There are no more people in here than
    /// in the roster.
    fn is_logged(&self, person: &PersonName, now_ms: u64) -> bool {
        let mut refused = lock(&self.refused);
        let window = refused.entry(person.clone()).or_insert(Window { since_ms: now_ms, many: 0 });
        if !is_recent(window.since_ms, now_ms) {
            *window = Window { since_ms: now_ms, many: 0 };
        }
        window.many = window.many.saturating_add(1);
        window.many <= EVIDENCE_REFUSED
    }

    /// A place among those who read recordings.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.places.clone().try_acquire_owned().map_err(|_| Refusal::Busy)
    }
}

fn is_recent(since_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(since_ms) < EVIDENCE_READ_S * 1000
}

/// Somebody who may read, and what; the log has not been told yet.
#[derive(Debug)]
pub(super) struct Auditor {
    person: PersonName,
    session: Fingerprint,
    enrolled: Fingerprint,
    what: Evidence,
}

/// Whoever signed this `GET`, if the roster of now gives them the role and they read in their own name. Everybody
/// else of the roster is refused, and the log is told; a stranger is not known, and it is not.
pub(super) async fn auditor(door: &Door, headers: &HeaderMap, uri: &Uri, what: Evidence) -> Answer<Auditor> {
    let Proved { scope, key, enrolled } = reading::proved(door, headers, "GET", uri).await?;
    let person = scope.person().clone();
    let is_auditor = door.road.published().gate().bundle.roster.has_role(&person, Role::Auditor);
    // The fresh key of an emergency reads that emergency, whatever else its holder may do: it lies in the memory
    // of a machine that somebody just logs in from.
    if matches!(scope, Scope::Person(_)) && is_auditor {
        return Ok(Auditor { person, session: key, enrolled, what });
    }
    let now_ms = door.clock.now().tick_ms;
    let mut outcome = "refused_unlogged";
    if door.sessions.accesses.is_logged(&person, now_ms) {
        let why = Reason::new("role.auditor", Refusal::NotAuditor.to_string());
        let by = EvidenceReader::Person { person, key: enrolled };
        let access = Access { by, what, outcome: AccessOutcome::Refused(why) };
        // Whatever becomes of the entry: nothing is handed out.
        match door.road.evidence_accessed(access).await {
            Ok(_) => outcome = "refused",
            Err(error) => tracing::warn!(event = "evidence.refusal_not_logged", %error),
        }
    }
    door.metrics.evidence(outcome);
    Err(Refusal::NotAuditor.into())
}

impl Auditor {
    /// Tells the log, unless it was told within the hour. Only after this may anything be handed out; a log that
    /// cannot be told is a refusal.
    pub(super) async fn tell_the_log(self, door: &Door) -> Answer<Told> {
        let Auditor { person, session, enrolled, what } = self;
        let reading = (enrolled, what.clone());
        let logged = door.sessions.accesses.reading(reading, door.clock.now().tick_ms);
        let by = EvidenceReader::Person { person: person.clone(), key: enrolled };
        let access = Access { by, what, outcome: AccessOutcome::Read };
        // Several requests at once wait for the one that tells; when it fails, the next one tries.
        logged
            .entry
            .get_or_try_init(|| async { door.road.evidence_accessed(access).await.map(drop) })
            .await?;
        door.metrics.evidence("read");
        Ok(Told { person, session })
    }
}

/// An auditor of whose read the log has been told.
#[derive(Debug)]
pub(super) struct Told {
    person: PersonName,
    session: Fingerprint,
}

impl Told {
    /// Whether they still may: a long answer is cut off when they lose the role, the key or the session.
    pub(super) fn still(&self, door: &Door) -> bool {
        let roster_of_now = door.road.published().gate().bundle;
        roster_of_now.roster.has_role(&self.person, Role::Auditor)
            && reading::still(door, &self.session, &Scope::Person(self.person.clone()))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(n: u64, what: Evidence) -> Reading {
        let key = |n: u64| fireaxe_protocol::keys::Ed25519Key([n as u8; 32]).fingerprint();
        (key(n), what)
    }

    #[test]
    fn a_read_goes_on_for_an_hour_and_another_key_or_another_thing_is_another() {
        let accesses = Accesses::default();
        let hour = EVIDENCE_READ_S * 1000;
        let first = accesses.reading(reading(1, Evidence::Entries), 5);
        let same = |n, what, now| Arc::ptr_eq(&first, &accesses.reading(reading(n, what), now));
        assert!(same(1, Evidence::Entries, 5) && same(1, Evidence::Entries, hour + 4));
        assert!(!same(2, Evidence::Entries, 6) && !same(1, Evidence::Recordings, 6));
        assert!(!same(1, Evidence::Entries, hour + 5));
    }

    #[test]
    fn what_is_remembered_has_a_limit_and_the_oldest_goes_first() {
        let accesses = Accesses::default();
        let of = |n: usize| {
            let period = Evidence::Period { from: n as u64, to: n as u64 + 1 };
            accesses.reading(reading(1, period), n as u64)
        };
        let all: Vec<_> = (0..=EVIDENCE_REMEMBERED).map(of).collect();
        assert_eq!(lock(&accesses.read).len(), EVIDENCE_REMEMBERED);
        assert!(Arc::ptr_eq(&all[EVIDENCE_REMEMBERED], &of(EVIDENCE_REMEMBERED)));
        assert!(!Arc::ptr_eq(&all[0], &of(0)));
    }

    #[test]
    fn sixty_refusals_an_hour_are_logged_of_each() {
        let accesses = Accesses::default();
        let (ana, ben): (PersonName, PersonName) = ("ana".parse().unwrap(), "ben".parse().unwrap());
        let logged = (0..100).filter(|n| accesses.is_logged(&ana, *n)).count();
        assert_eq!(logged, EVIDENCE_REFUSED as usize);
        assert!(accesses.is_logged(&ben, 100) && !accesses.is_logged(&ana, EVIDENCE_READ_S * 1000 - 1));
        assert!(accesses.is_logged(&ana, EVIDENCE_READ_S * 1000));
    }
}
