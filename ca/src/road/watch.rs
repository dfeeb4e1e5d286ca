//! What the writer publishes for readers after each commit: the gate, the revocations, the head.
//! Readers never wait for the writer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use fireaxe_protocol::api::FeedClosing;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::krl::Krl;
use fireaxe_protocol::log::PinnedKeys;
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::Bundle;
use tokio::sync::broadcast;

use super::{Gate, ShadowCounts, Speakers};
use crate::fence::Fence;

/// Changes that a watcher may be behind: four full batches.
const CHANGES: usize = 1024;

/// The latest of everything that readers share.
#[derive(Debug)]
pub struct Published {
    gate: RwLock<Gate>,
    keys: PinnedKeys,
    revocations: RwLock<Arc<RevocationView>>,
    entries: AtomicU64,
    open: AtomicU64,
    log_ok: AtomicBool,
    mirror_ok: AtomicBool,
    fence: Arc<Fence>,
    clock_ok: AtomicBool,
    behind: AtomicBool,
    stopped: AtomicBool,
    changes: broadcast::Sender<Change>,
    shadow: ShadowCounts,
    speakers: Speakers,
    missing: super::Missing,
    countdowns: RwLock<Arc<Vec<FeedClosing>>>,
    extended: RwLock<Arc<Vec<Extended>>>,
    rung: Mutex<SinceThen>,
    bell: Condvar,
}

/// A certificate that gave more time to an emergency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extended {
    /// Its serial.
    pub serial: u64,
    /// What it opens: the name of a system or of a host.
    pub scope: Arc<str>,
    /// Base64 of its bytes. They are no secret: its key is.
    pub certificate: String,
}

/// How often something was published: who has heard the bell so often has heard of everything until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinceThen(u64);

/// An entry about an emergency is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Which emergency.
    pub emergency: EmergencyId,
    /// Its newest entry.
    pub entry: u64,
    /// It is over: nothing more happens to it but a review.
    pub over: bool,
}

/// The serials to list, as of one version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RevocationView {
    /// Index of the newest entry that revoked something.
    pub version: u64,
    /// Ascending.
    pub serials: Vec<u64>,
    /// When it last changed, unix seconds: the list's own date, so that an unchanged list has unchanged
    /// bytes. How fresh it is, the note beside it says.
    pub at: u64,
}

/// Whether the CA can issue, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Entries in the log.
    pub entries: u64,
    /// Emergencies open or closing.
    pub open: u64,
    /// The log can be written.
    pub log_ok: bool,
    /// The clock did not jump.
    pub clock_ok: bool,
    /// The second copy of the log can be written, or there is none.
    pub mirror_ok: bool,
    /// Nothing says that the log has lost entries.
    pub fence_ok: bool,
    /// No witness knows more of this log than it has.
    pub witnesses_ok: bool,
}

impl Health {
    /// Whether the CA can issue.
    pub fn can_issue(&self) -> bool {
        self.log_ok && self.clock_ok && self.fence_ok && self.witnesses_ok
    }
}

impl RevocationView {
    /// The list's bytes as sshd reads them.
    pub fn list(&self, user_ca: Ed25519Key) -> Vec<u8> {
        let mut list = Krl::new(self.version, self.at, user_ca);
        for serial in &self.serials {
            // Serial 0 is `log.created`'s index: never issued, so never revoked.
            let _ = list.revoke(user_ca, *serial);
        }
        list.write()
    }
}

impl Published {
    pub(super) fn new(gate: Gate, keys: PinnedKeys, fence: Arc<Fence>) -> Published {
        Published {
            gate: RwLock::new(gate),
            keys,
            fence,
            mirror_ok: AtomicBool::new(true),
            revocations: RwLock::default(),
            entries: AtomicU64::new(0),
            open: AtomicU64::new(0),
            log_ok: AtomicBool::new(true),
            clock_ok: AtomicBool::new(true),
            behind: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            changes: broadcast::Sender::new(CHANGES),
            shadow: ShadowCounts::default(),
            speakers: Speakers::default(),
            missing: super::Missing::default(),
            countdowns: RwLock::default(),
            extended: RwLock::default(),
            rung: Mutex::default(),
            bell: Condvar::new(),
        }
    }

    /// What is needed to know a caller now.
    pub fn gate(&self) -> Gate {
        self.gate.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The public keys of this installation.
    pub fn keys(&self) -> &PinnedKeys {
        &self.keys
    }

    /// Tells of every emergency that an entry is about, once the entry is in the log. Who falls more than
    /// [`CHANGES`] behind is told that they did.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// What a candidate said beside the bundle in force.
    pub fn shadow(&self) -> &ShadowCounts {
        &self.shadow
    }

    /// Hosts that are ours or may become so.
    pub fn speakers(&self) -> &Speakers {
        &self.speakers
    }

    /// What is missing, as far as is known without looking for it.
    pub fn missing(&self) -> &super::Missing {
        &self.missing
    }

    /// Emergencies whose countdown runs, by number.
    pub fn countdowns(&self) -> Arc<Vec<FeedClosing>> {
        self.countdowns.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Certificates of emergencies that go on which gave more time, by serial.
    pub fn extended(&self) -> Arc<Vec<Extended>> {
        self.extended.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_extended(&self, extended: Vec<Extended>) {
        let mut held = self.extended.write().unwrap_or_else(PoisonError::into_inner);
        if **held != extended {
            *held = Arc::new(extended);
        }
    }

    /// Waits, blocking this thread, until something was published after `then`, at most `patience`.
    pub fn wait(&self, then: SinceThen, patience: Duration) -> SinceThen {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.wait_timeout_while(rung, patience, |rung| *rung == then);
        let (rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *rung
    }

    pub(super) fn ring(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        rung.0 = rung.0.wrapping_add(1);
        self.bell.notify_all();
    }

    pub(super) fn set_countdowns(&self, countdowns: Vec<FeedClosing>) {
        let mut held = self.countdowns.write().unwrap_or_else(PoisonError::into_inner);
        if **held != countdowns {
            *held = Arc::new(countdowns);
        }
    }

    pub(super) fn changed(&self, change: Change) {
        // Nobody watches: then nobody needs to know.
        let _ = self.changes.send(change);
    }

    pub(super) fn set_bundle(&self, bundle: &Arc<Bundle>) {
        let mut gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&gate.bundle, bundle) {
            gate.bundle = bundle.clone();
        }
    }

    /// The serials to list now.
    pub fn revocations(&self) -> Arc<RevocationView> {
        self.revocations.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the CA can issue.
    pub fn health(&self) -> Health {
        Health {
            entries: self.entries.load(Ordering::Relaxed),
            open: self.open.load(Ordering::Relaxed),
            log_ok: self.log_ok.load(Ordering::Relaxed),
            clock_ok: self.clock_ok.load(Ordering::Relaxed),
            mirror_ok: self.mirror_ok.load(Ordering::Relaxed),
            fence_ok: self.fence.now().is_none(),
            witnesses_ok: !self.behind.load(Ordering::Relaxed),
        }
    }

    /// What may stand in the way of signing.
    pub fn fence(&self) -> &Arc<Fence> {
        &self.fence
    }

    /// Says whether the second copy of the log is written.
    pub fn set_mirror_ok(&self, ok: bool) {
        self.mirror_ok.store(ok, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(super) fn set_stopped(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_revocations(&self, version: u64, serials: Vec<u64>, now: u64) {
        let mut held = self.revocations.write().unwrap_or_else(PoisonError::into_inner);
        // `at` is 0 before the first.
        if held.at == 0 || held.version != version || held.serials != serials {
            *held = Arc::new(RevocationView { version, serials, at: now });
        }
    }

    pub(super) fn set_head(&self, entries: u64, open: usize) {
        self.entries.store(entries, Ordering::Relaxed);
        self.open.store(open as u64, Ordering::Relaxed);
    }

    pub(super) fn set_behind(&self, behind: bool) {
        self.behind.store(behind, Ordering::Relaxed);
    }

    pub(super) fn set_ok(&self, log: bool, clock: bool) {
        self.log_ok.store(log, Ordering::Relaxed);
        self.clock_ok.store(clock, Ordering::Relaxed);
    }
}
