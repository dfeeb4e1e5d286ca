//! What happened when a request is not granted. What the caller is told is made of it in one other
//! place, `door/problem.rs`.

use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{EmergencyId, HostName, Origin, PersonName};
use fireaxe_protocol::policy::Decision;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{Kind, SignatureError};
use thiserror::Error;

use crate::fence::Fenced;
use crate::log::{LogError, MirrorError};
use crate::state::{CannotNarrow, Settled};

/// Why there is no grant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No person of the roster has this key. Counted, not logged.
    #[error("no person of the roster has this key")]
    Stranger,
    /// The envelope.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A statement of another kind than this door takes.
    #[error("this takes a statement of kind {expected:?}, not {found:?}")]
    WrongKind {
        /// What is taken.
        expected: Kind,
        /// What came.
        found: Kind,
    },
    /// For another log.
    #[error("the statement is for {found}, this is {ours}")]
    WrongLog {
        /// The statement's.
        found: Origin,
        /// Ours.
        ours: Origin,
    },
    /// Too old or from the future.
    #[error("the statement's time is {skew_s} s away from the CA's")]
    Stale {
        /// Positive: the statement is older than now.
        skew_s: i64,
    },
    /// The nonce was used for other bytes.
    #[error("this nonce was used for another statement")]
    NonceReused,
    /// A FIDO key's counter went back: a clone, or statements out of order.
    #[error("the key's counter is {now}, an earlier statement had {before}")]
    CounterBack {
        /// Seen before.
        before: u32,
        /// Seen now.
        now: u32,
    },
    /// The key to certify is not fresh.
    #[error("the key to certify is enrolled or in use already")]
    KeyNotFresh,
    /// Neither a system nor a host of the policy.
    #[error("there is no system or host {name}")]
    UnknownTarget {
        /// What was asked for.
        name: String,
        /// Names like it.
        nearest: Vec<String>,
    },
    /// The policy refused; it is in the log.
    #[error("the policy refuses")]
    Denied {
        /// With all reasons.
        decision: Box<Decision>,
        /// Leaf of the `declaration.refused` entry.
        leaf: Hash,
        /// Its index.
        index: u64,
    },
    /// No such emergency.
    #[error("there is no {0}")]
    UnknownEmergency(EmergencyId),
    /// The statement's `of` is not that emergency's declaration.
    #[error("the statement refers to another declaration than {0}'s")]
    WrongDeclaration(EmergencyId),
    /// It is over.
    #[error("{0} is closed")]
    Closed(EmergencyId),
    /// It is ending; nothing is issued any more.
    #[error("{id} is closing")]
    Closing {
        /// Which.
        id: EmergencyId,
        /// When it ends, unix seconds.
        until: u64,
    },
    /// Neither whoever declared it nor somebody with the role.
    #[error("{id} is not {person}'s to close or extend")]
    NotYours {
        /// Who asked.
        person: PersonName,
        /// Which.
        id: EmergencyId,
    },
    /// Something was decided anew since; what was answered is not what waits now.
    #[error("{id} was decided anew since: what was answered is not what waits now")]
    Superseded {
        /// Which.
        id: EmergencyId,
        /// Index of the entry that was answered.
        before: u64,
        /// Index of the entry that was decided last.
        now: u64,
    },
    /// The same, with what is different, in words.
    #[error("{id} was decided anew since: what was answered is not what waits now")]
    Changed {
        /// Which.
        id: EmergencyId,
        /// What is different.
        changed: Vec<String>,
    },
    /// The waiting is over.
    #[error("what waited in {id} is settled: {}", how.in_words())]
    Settled {
        /// Which.
        id: EmergencyId,
        /// How it ended.
        how: Settled,
    },
    /// Nothing waits.
    #[error("nothing waits for approval in {0}")]
    NothingWaits(EmergencyId),
    /// No further signature is awaited.
    #[error("the claim of {0} needs no further signature")]
    NoSecondAwaited(EmergencyId),
    /// No certificate for that one host is made of it.
    #[error("no certificate for {host} alone is made of {id}: {why}")]
    NotNarrowed {
        /// Which.
        id: EmergencyId,
        /// The host.
        host: HostName,
        /// Why not.
        why: CannotNarrow,
    },
    /// It goes on: nothing to look back at.
    #[error("{0} is not over yet")]
    NotOver(EmergencyId),
    /// Reviewed already, or it never gave anything.
    #[error("no review is owed for {0}")]
    NoReviewOwed(EmergencyId),
    /// This person may not, for all these reasons.
    #[error("{}", reasons.first().map_or("not for you", |r| r.sentence.as_str()))]
    MayNot {
        /// All of them; never empty.
        reasons: Vec<Reason>,
    },
    /// A bundle that cannot be put in force, for all these reasons.
    #[error("{}", reasons.first().map_or("the bundle cannot be put in force", |r| r.sentence.as_str()))]
    Bundle {
        /// All of them; never empty.
        reasons: Vec<Reason>,
    },
    /// About a host.
    #[error(transparent)]
    Host(#[from] super::HostRefusal),
    /// No key of that fingerprint may read.
    #[error("that key may not read this, or did not sign this read")]
    UnknownReader,
    /// Evidence, and they have not the role.
    #[error("entries and recordings are for people with the role auditor")]
    NotAuditor,
    /// Another key than the enrolled one signed, or it speaks of another host.
    #[error("the report was not signed by the key with which {0} is enrolled, or speaks of another host")]
    NotThatHost(HostName),
    /// Reports are missing before it.
    #[error("report {found} cannot be taken: report {expected} is the next")]
    ReportGap {
        /// The number of the next.
        expected: u64,
        /// The number that came.
        found: u64,
        /// Numbers of those in the same request that the log has word for word.
        logged: Vec<u64>,
    },
    /// The log has a report of that number, in which the host said something else.
    #[error("report {found} was taken before with other words: report {expected} is the next")]
    OtherWords {
        /// The number of the next.
        expected: u64,
        /// The number that came.
        found: u64,
        /// Numbers of those in the same request that the log has word for word.
        logged: Vec<u64>,
    },
    /// It was said under an earlier enrolment; the log, which anybody may copy, has many of those.
    #[error("the report was signed before {0} was enrolled as it is now")]
    ReportBefore(HostName),
    /// One host says more than anybody reads.
    #[error("{0} has made all the reports that it may within this hour")]
    TooManyReports(HostName),
    /// No such system in an incident.
    #[error("the policy has no system {0}")]
    UnknownSystem(String),
    /// The log cannot be written. Nothing was signed.
    #[error("the log cannot be written")]
    LogUnavailable,
    /// The second copy of the log cannot be written, and answers wait for it. Nothing was signed.
    #[error("the second copy of the log cannot be written: {0}")]
    MirrorUnavailable(MirrorError),
    /// The log may have lost entries, or there may be two of it. Nothing is signed until that is resolved.
    #[error("nothing is signed: {0}")]
    Fenced(Box<Fenced>),
    /// The clock jumped. Nothing is signed until an operator says that it is right.
    #[error("the clock jumped; nothing is signed until an operator confirms it")]
    ClockStopped,
    /// A witness knows more of this log than it has, or another past of it. Nothing is signed on top of that.
    #[error("{0}; nothing is signed")]
    Ahead(super::Ahead),
    /// Too many wait already.
    #[error("too many requests are waiting")]
    Busy,
    /// The writer has not answered yet; what was asked may still come to pass.
    #[error("the CA takes long to write its log; it may yet do what was asked")]
    Slow,
    /// The CA is going down.
    #[error("the CA is stopping")]
    Stopping,
    /// A rule of our own was about to be broken; nothing was signed.
    #[error("internal: {0}")]
    Internal(Internal),
}

/// Our own faults, told apart for the log; the caller is told "internal".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Internal {
    /// The linter refused a body we made.
    #[error("the linter refused a certificate body: {0}")]
    Lint(String),
    /// Our own entry does not fit our own state.
    #[error("an entry does not fit the state: {0}")]
    Fold(String),
    /// An entry that should be there cannot be read back.
    #[error("entry {0} cannot be read back")]
    Entry(u64),
    /// An entry is larger than the log takes.
    #[error("an entry cannot be appended: {0}")]
    Append(String),
    /// No random bytes.
    #[error("no random bytes")]
    Randomness,
    /// No bundle is active.
    #[error("no bundle is active")]
    NoBundle,
}

impl Refusal {
    /// What is told while the log is not to be had.
    pub(super) fn of_log(error: &LogError) -> Refusal {
        match error {
            LogError::Mirror(error) => Refusal::MirrorUnavailable(*error),
            _ => Refusal::LogUnavailable,
        }
    }
}

impl From<Internal> for Refusal {
    fn from(internal: Internal) -> Refusal {
        Refusal::Internal(internal)
    }
}
