//! What is wrong with an entry that the state cannot take.

use fireaxe_protocol::log::Hash;
use thiserror::Error;

/// Why an entry does not fit the state: the log was not written by this program's rules.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FoldError {
    /// Entry 0 is something else, or `log.created` stands elsewhere.
    #[error("entry {0}: log.created stands exactly once, at index 0")]
    Created(u64),
    /// A time before the one of the entry before it.
    #[error("entry {0}: its time is before that of the entry before it")]
    TimeRuns(u64),
    /// Emergency numbers have a gap or repeat.
    #[error("entry {0}: emergency number {1} is not the next one")]
    Number(u64, u64),
    /// Refers to an emergency that is not there or not in that phase.
    #[error("entry {0}: refers to an emergency that is not open")]
    NotOpen(u64),
    /// Refers to something that no earlier entry holds.
    #[error("entry {0}: refers to leaf {1}, which is not there")]
    Dangling(u64, Hash),
    /// A bundle that does not parse or whose hash differs.
    #[error("entry {0}: the bundle it activates is not readable or not the one it names")]
    Bundle(u64),
    /// A statement inside an entry cannot be read.
    #[error("entry {0}: the statement in it cannot be read")]
    Statement(u64),
    /// A certificate for other terms, a second one, one that outlives its emergency, or one too late.
    #[error("entry {0}: a certificate that no declaration allows")]
    Certificate(u64),
    /// A closing that does not revoke exactly what is alive.
    #[error("entry {0}: it does not revoke exactly what is alive")]
    Revoked(u64),
    /// Another rung than the next one, or other groups than the ladder's.
    #[error("entry {0}: that rung is not the next one")]
    Rung(u64),
    /// An approval by somebody who may not, or for the second time.
    #[error("entry {0}: an approval that does not count")]
    Approval(u64),
    /// A review that nobody owes, or by somebody who took part.
    #[error("entry {0}: a review that is not owed")]
    Review(u64),
    /// An enrolment that its invitation does not allow, or a key that is another host's.
    #[error("entry {0}: no host can be enrolled so")]
    Host(u64),
    /// A host certificate's body that is none.
    #[error("entry {0}: the host certificate in it cannot be read")]
    HostCertificate(u64),
    /// A host's report that is not its next one.
    #[error("entry {0}: a report that is not the host's next one")]
    Report(u64),
    /// A confirmation of other closings than those that reached the host and that its list reflects.
    #[error("entry {0}: it does not confirm exactly the closings that reached that host")]
    Confirmed(u64),
    /// A decision while no bundle is active.
    #[error("entry {0}: no bundle is active")]
    NoBundle(u64),
}
