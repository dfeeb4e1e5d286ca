//! The writer thread: takes whatever waits, makes one batch of it, commits once, signs, answers.
//!
//! Group commit without a timer: while one batch is being written, the next gathers; so a lone request
//! waits for nobody and a crowd shares the cost of one fsync.
//!
//! Any fault of the log throws batch and state away and rebuilds both from what is on disk
//! (`recover`): the same code as at every start.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::FeedClosing;
use fireaxe_protocol::log::{Event, NoteSigner};
use thiserror::Error;

use super::clockwork::JumpGuard;
use super::hosts::HostAsked;
use super::shadow::Candidate;
use super::turn::{Done, Turn};
use super::watch::{Change, Extended, Published};
use super::{Asked, Cosigners, Gate, Pager, QUEUE, Refusal, Road};
use crate::clock::Clock;
use crate::fence::Fence;
use crate::log::{Log, LogError, Reader};
use crate::randomness::Randomness;
use crate::snapshot::{FoldFailed, latest};
use crate::state::{FoldError, Issued, Live, Phase, State};

/// At most this many requests share a commit: past it the last one's wait grows faster than the cost
/// of an fsync shrinks.
const BATCH: usize = 256;

/// How often, in seconds, the list is published anew and the clock is looked at without any request.
const SWEEP_S: u64 = 30;

/// How often, in seconds, it is looked for what witnesses said while nobody waited for them.
const LOOK_S: u64 = 1;

/// What the writer works with.
pub struct Deps {
    /// The log, open for writing.
    pub log: Log,
    /// Reads back what is committed.
    pub reader: Reader,
    /// Where the snapshot lies that a start may begin with; nothing: each start reads the whole log.
    pub snapshot: Option<PathBuf>,
    /// Signs certificates.
    pub user_ca: SigningKey,
    /// Signs host certificates.
    pub host_ca: SigningKey,
    /// Signs checkpoints.
    pub checkpoints: NoteSigner,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Nonces.
    pub random: Box<dyn Randomness>,
    /// Wakes people, if there is anything to wake them with.
    pub pager: Option<Pager>,
    /// What may stand in the way of all of it.
    pub fence: Arc<Fence>,
    /// Cosign heads, if anybody does.
    pub witnesses: Option<Box<dyn Cosigners>>,
}

/// Why the writer cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log has no entry.
    #[error("the log is empty: fireaxe-ca init makes one")]
    Empty,
    /// Its entries are not what this program writes.
    #[error("the log cannot be folded: {0}; look with: fireaxe-ca log verify")]
    Fold(#[from] FoldError),
    /// No bundle was ever activated.
    #[error("no bundle is active: fireaxe-ca init was interrupted; start again in an empty folder")]
    NoBundle,
    /// The key files are not those that entry 0 pins.
    #[error("the key files are not those of this log (entry 0 pins {pinned}, the file holds {found})")]
    OtherKeys {
        /// What the log says.
        pinned: String,
        /// What the file says.
        found: String,
    },
    /// The thread.
    #[error("the writer thread cannot start: {0}")]
    Thread(std::io::Error),
}

impl From<FoldFailed> for StartError {
    fn from(error: FoldFailed) -> StartError {
        match error {
            FoldFailed::Log(error) => StartError::Log(error),
            FoldFailed::Fold(error) => StartError::Fold(error),
            FoldFailed::Empty => StartError::Empty,
        }
    }
}

/// See the file's top.
pub struct Conductor {
    deps: Deps,
    state: State,
    guard: JumpGuard,
    queue: Receiver<Asked>,
    published: Arc<Published>,
    deferred: Vec<Asked>,
    /// A bundle that decides beside the one in force.
    shadow: Candidate,
    /// The fault that the log has not recovered from.
    broken: Option<LogError>,
    /// Whether it was said already that the clock stopped the CA: once a stop, not once a second.
    told_stopped: bool,
    swept_at: u64,
}

impl Conductor {
    /// Folds the log, or what came since the snapshot, starts the thread, gives the way to it.
    pub fn start(deps: Deps) -> Result<(Road, JoinHandle<()>), StartError> {
        let now = deps.clock.now();
        // Before anything is believed that is signed by the key that entry 0 names: it must be ours.
        for pinned in [deps.log.key(), deps.reader.key()] {
            if *pinned != *deps.checkpoints.key() {
                let (pinned, found) = (pinned.to_string(), deps.checkpoints.key().to_string());
                return Err(StartError::OtherKeys { pinned, found });
            }
        }
        let state = latest(&deps.reader, deps.snapshot.as_deref())?;
        let pinned = state.keys();
        for (pinned, key) in [(pinned.user_ca, &deps.user_ca), (pinned.host_ca, &deps.host_ca)] {
            let ours = crate::keys::public(key);
            if pinned != ours {
                let (pinned, found) = (pinned.to_string(), ours.to_string());
                return Err(StartError::OtherKeys { pinned, found });
            }
        }
        let bundle = state.bundle().ok_or(StartError::NoBundle)?.clone();
        let gate = Gate { origin: state.origin().clone(), bundle };
        let published = Arc::new(Published::new(gate, state.keys().clone(), deps.fence.clone()));
        let (send, queue) = sync_channel(QUEUE);
        let guard = JumpGuard::new(now, state.last_at());
        let mut conductor = Conductor {
            deps,
            state,
            guard,
            queue,
            published: published.clone(),
            deferred: Vec::new(),
            shadow: None,
            broken: None,
            told_stopped: false,
            swept_at: 0,
        };
        conductor.published.speakers().set_all(&conductor.state);
        conductor.publish_countdowns(now.wall_s);
        conductor.publish(true, now.wall_s);
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || {
                conductor.run();
                conductor.published.set_stopped();
            })
            .map_err(StartError::Thread)?;
        Ok((Road { queue: send, published }, thread))
    }

    fn run(&mut self) {
        loop {
            let mut asked = std::mem::take(&mut self.deferred);
            if asked.is_empty() {
                match self.queue.recv_timeout(self.patience()) {
                    Ok(first) => asked.push(first),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            while asked.len() < BATCH
                && let Ok(next) = self.queue.try_recv()
            {
                asked.push(next);
            }
            let stop = asked.iter().any(|a| matches!(a, Asked::Stop));
            self.batch(asked);
            if stop {
                return;
            }
        }
    }

    /// Takes over what witnesses said beside the road; whether one of them is ahead of this log.
    fn heard_of_witnesses(&mut self) -> Option<super::Ahead> {
        let witnesses = self.deps.witnesses.as_deref()?;
        let ahead = witnesses.ahead();
        self.published.set_behind(ahead.is_some());
        if ahead.is_none()
            && self.broken.is_none()
            && let Some(note) = witnesses.arrived()
            && let Err(error) = self.deps.log.keep_cosigned(&note)
        {
            tracing::error!(event = "log.failed", %error);
            self.broken = Some(error);
        }
        ahead
    }

    /// What the fence says; while it stands, its note is kept.
    fn fenced(&self) -> Option<Refusal> {
        let why = self.deps.fence.now()?;
        if let Err(error) = self.deps.fence.keep() {
            tracing::error!(event = "fence.not_kept", %error);
        }
        Some(Refusal::Fenced(Box::new(why)))
    }

    /// Until the clock changes something, at most [`SWEEP_S`].
    fn patience(&self) -> Duration {
        let now = self.deps.clock.now().wall_s;
        let due = self.state.emergencies.next_due().map_or(u64::MAX, |(at, _)| at);
        // What witnesses say beside the road is looked for, not waited for.
        let most = if self.deps.witnesses.is_some() { LOOK_S } else { SWEEP_S };
        Duration::from_secs(due.saturating_sub(now).clamp(1, most))
    }

    fn batch(&mut self, asked: Vec<Asked>) {
        let ahead = self.heard_of_witnesses();
        if let Some(why) = self.broken
            && !self.recover()
        {
            return refuse_all(asked, &Refusal::of_log(&self.broken.unwrap_or(why)));
        }
        // Nothing is appended behind the fence, by the clock neither, nor by a closing: another may hold these
        // indices. The same where a witness knows more. A batch under way looks again in its commit.
        let fenced = ahead.map(Refusal::Ahead).or_else(|| self.fenced());
        let asked = match &fenced {
            None => asked,
            Some(why) => {
                let (reads, others) = asked.into_iter().partition(Asked::only_reads);
                refuse_all(others, why);
                reads
            }
        };
        let moment = self.deps.clock.now();
        let time = self.guard.time(moment, self.state.last_at());
        let confirmed = asked.iter().any(|a| matches!(a, Asked::Clock { .. }));
        let (now, asked) = match time {
            Some(now) => {
                self.told_stopped = false;
                (now, asked)
            }
            None if confirmed && self.guard.is_stopped() => {
                self.guard.corrected(moment);
                // Only the confirmation goes into this batch: it may have to be dated at the log's end,
                // and a certificate so dated might not be valid yet. The next batch looks again.
                let (clock, others) = asked.into_iter().partition(|a| matches!(a, Asked::Clock { .. }));
                refuse_all(others, &Refusal::ClockStopped);
                (moment.wall_s.max(self.state.last_at()), clock)
            }
            None => {
                if !self.told_stopped {
                    tracing::error!(
                        event = "clock.stopped",
                        wall_s = moment.wall_s,
                        log_s = self.state.last_at()
                    );
                    self.told_stopped = true;
                }
                self.published.set_ok(true, false);
                return refuse_all(asked, &Refusal::ClockStopped);
            }
        };
        let Some(bundle) = self.state.bundle().cloned() else {
            return refuse_all(asked, &Refusal::Internal(super::refusal::Internal::NoBundle));
        };
        let batch = match self.deps.log.batch() {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(event = "log.failed", %error);
                self.broken = Some(error);
                return refuse_all(asked, &Refusal::of_log(&error));
            }
        };
        let mut turn = Turn::new(
            &mut self.state,
            batch,
            &self.deps.reader,
            (&self.deps.user_ca, &self.deps.host_ca),
            &mut *self.deps.random,
            bundle,
            now,
        );
        for one in &asked {
            if let Asked::Shadow(candidate, _) = one {
                self.shadow.clone_from(candidate);
            }
        }
        turn.shadow = self.shadow.clone();
        if fenced.is_none() {
            turn.clockwork();
        }
        for one in asked {
            turn.take(one);
        }
        if fenced.is_none() {
            turn.clockwork();
        }
        match turn.commit(&self.deps.checkpoints, self.deps.witnesses.as_deref(), &self.deps.fence) {
            Ok(Done { deferred, revoked, touched, spoke, pages, differences, answers }) => {
                self.deferred = deferred;
                // Readers first: whoever is told of a closing finds it in the revocation list.
                self.published.speakers().set(&self.state, &spoke);
                if !touched.is_empty() {
                    self.publish_countdowns(now);
                }
                self.publish(revoked, now);
                differences.iter().for_each(|difference| self.published.shadow().note(difference));
                answers.send();
                for (emergency, entry) in touched {
                    let over = self.state.emergencies.get(emergency).is_none();
                    self.published.changed(Change { emergency, entry, over });
                }
                if let Some(pager) = &self.deps.pager {
                    pages.into_iter().for_each(|page| pager.page(page));
                }
            }
            Err(error) => {
                tracing::error!(event = "batch.failed", %error);
                // A fault of our own state is mended as one of the log is: from the disk.
                self.broken = Some(error.of_log().unwrap_or(LogError::Poisoned));
                self.published.set_ok(false, !self.guard.is_stopped());
                // At once, not at the next request: the first one after a passing fault should succeed.
                self.recover();
            }
        }
    }

    /// Rebuilds log head and state from disk. Whether what failed was kept or not, the disk decides.
    fn recover(&mut self) -> bool {
        let now = self.deps.clock.now().wall_s;
        let recovered = self.deps.log.recover().map_err(StartError::from);
        let snapshot = self.deps.snapshot.as_deref();
        match recovered.and_then(|_| Ok(latest(&self.deps.reader, snapshot)?)) {
            Ok(state) => {
                tracing::warn!(event = "log.recovered", entries = state.entries());
                self.state = state;
                if let Some(LogError::Mirror(_)) = self.broken.take() {
                    self.published.set_mirror_ok(true);
                }
                self.published.speakers().set_all(&self.state);
                self.publish_countdowns(now);
                self.publish(true, now);
                true
            }
            Err(error) => {
                tracing::error!(event = "log.unavailable", %error);
                if let StartError::Log(error) = error {
                    self.broken = Some(error);
                }
                if let Some(LogError::Mirror(_)) = self.broken {
                    self.published.set_mirror_ok(false);
                }
                false
            }
        }
    }

    fn publish(&mut self, revoked: bool, now: u64) {
        let sweep = now >= self.swept_at.saturating_add(SWEEP_S);
        if sweep {
            self.swept_at = now;
        }
        if revoked || sweep {
            let version = self.state.revocations.version();
            let serials = self.state.revocations.listed();
            // Who owes a word before the list that it is about.
            self.published.speakers().set_closings(&self.state.reported);
            self.published.missing().set_closings(&self.state);
            self.published.set_revocations(version, serials, now);
        }
        if let Some(bundle) = self.state.bundle() {
            self.published.set_bundle(bundle);
        }
        self.published.missing().set_counted(&self.state);
        self.published.set_head(self.state.entries(), self.state.emergencies.count());
        self.published.set_ok(self.broken.is_none(), !self.guard.is_stopped());
        self.published.ring();
    }

    /// What hosts are told of emergencies that end soon, and of those that go on longer. Heard of when the bell
    /// rings next.
    fn publish_countdowns(&self, now: u64) {
        // Whatever ends or is looked back at is an emergency that was touched.
        self.published.missing().set_reviews(&self.state);
        let closing = self.state.emergencies.closing_ones();
        let countdowns = closing.filter_map(|live| match live.phase {
            Phase::Closing { until } => Some(FeedClosing {
                emergency: live.id,
                serials: live.alive(now),
                until: until.min(live.until),
            }),
            Phase::Open => None,
        });
        self.published.set_countdowns(countdowns.collect());
        self.publish_more_time(now);
    }

    /// Certificates that gave more time, for hosts where sessions of an earlier one are alive. What was signed
    /// once is not signed again.
    fn publish_more_time(&self, now: u64) {
        let before = self.published.extended();
        let mut extended = Vec::new();
        for live in self.state.emergencies.extended_ones() {
            let scope = live.host.as_ref().map_or(live.system.as_str(), |host| host.as_str());
            for one in live.certificates().iter().filter(|one| one.valid_before > now) {
                match before.iter().find(|known| known.serial == one.serial) {
                    Some(known) => extended.push(known.clone()),
                    None => extended.extend(self.more_time(live, one).map(|certificate| Extended {
                        serial: one.serial,
                        scope: scope.into(),
                        certificate,
                    })),
                }
            }
        }
        self.published.set_extended(extended);
    }

    /// The certificate, if it is one that an extension gave. One that cannot be read back is left out: its
    /// session ends with the certificate before it.
    fn more_time(&self, live: &Live, issued: &Issued) -> Option<String> {
        let ahead = self.deps.witnesses.as_ref().and_then(|witnesses| witnesses.ahead());
        if ahead.is_some() || self.deps.fence.now().is_some() {
            return None;
        }
        let of =
            if live.request.leaf == issued.of { live.request.index } else { live.superseded(&issued.of)? };
        let reader = &self.deps.reader;
        let decided = reader.entry(of).ok()?;
        if !matches!(decided.event, Event::ExtensionRequested { .. }) {
            return None;
        }
        let certified = reader.logged(issued.serial, |entry| entry).ok()?;
        let text = super::issue::sign_again(&certified, &self.deps.user_ca).ok()?;
        text.split(' ').nth(1).map(str::to_owned)
    }
}

fn refuse_all(asked: Vec<Asked>, refusal: &Refusal) {
    for one in asked {
        one.refuse(refusal.clone());
    }
}

impl Asked {
    /// Whether answering it neither appends nor signs.
    fn only_reads(&self) -> bool {
        match self {
            Asked::IsRequester(..)
            | Asked::IsLive(..)
            | Asked::Card(..)
            | Asked::Requests(..)
            | Asked::Shadow(..)
            | Asked::Explain(..)
            | Asked::Reader(..)
            | Asked::Host(HostAsked::List(_))
            | Asked::Stop => true,
            Asked::Declare(..)
            | Asked::Close(..)
            | Asked::Say(..)
            | Asked::Grant(..)
            | Asked::Narrow(..)
            | Asked::Certificates(..)
            | Asked::Host(_)
            | Asked::Activate(..)
            | Asked::Incident(..)
            | Asked::Clock { .. }
            | Asked::Evidence(..)
            | Asked::Report(..) => false,
        }
    }

    /// Tells whoever asked that it is not to be. They may have gone: then nobody needs to know.
    pub(super) fn refuse(self, refusal: Refusal) {
        match self {
            Asked::Declare(_, reply) => drop(reply.send(Err(refusal))),
            Asked::Close(_, _, reply) => drop(reply.send(Err(refusal))),
            Asked::Say(_, _, reply) => drop(reply.send(Err(refusal))),
            Asked::Host(asked) => asked.refuse(refusal),
            Asked::Grant(_, reply) => drop(reply.send(Err(refusal))),
            Asked::Narrow(_, _, reply) => drop(reply.send(Err(refusal))),
            Asked::IsRequester(_, _, reply) => drop(reply.send(Err(refusal))),
            Asked::IsLive(_, reply) => drop(reply.send(Err(refusal))),
            Asked::Card(_, _, reply) => drop(reply.send(Err(refusal))),
            Asked::Requests(_, reply) => drop(reply.send(Err(refusal))),
            Asked::Activate(_, reply) => drop(reply.send(Err(refusal))),
            Asked::Shadow(_, reply) => drop(reply.send(Err(refusal))),
            Asked::Incident(_, reply) | Asked::Evidence(_, reply) | Asked::Clock { reply, .. } => {
                drop(reply.send(Err(refusal)));
            }
            Asked::Certificates(_, reply) => drop(reply.send(Err(refusal))),
            Asked::Explain(_, _, reply) => drop(reply.send(Err(refusal))),
            Asked::Reader(_, reply) => drop(reply.send(Err(refusal))),
            Asked::Report(_, reply) => drop(reply.send(Err(refusal))),
            Asked::Stop => {}
        }
    }
}
