//! What can go wrong between a program and the CA, told apart by what a person does next.

use fireaxe_protocol::api::Problem;
use thiserror::Error;

use crate::Pin;

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransportError {
    /// The address is not `https://HOST:PORT`.
    #[error("{0} is not the address of a CA: https://HOST:PORT, nothing after it")]
    Address(String),
    /// Nobody listens there.
    #[error("the CA is not running at {addr}: the connection was refused")]
    NotRunning {
        /// Where.
        addr: String,
    },
    /// The name is unknown or the network does not reach it.
    #[error("the CA at {addr} cannot be reached: {why}")]
    Unreachable {
        /// Where.
        addr: String,
        /// What the system said.
        why: String,
    },
    /// No answer in time.
    #[error("the CA at {addr} did not answer within {seconds} s while {during}")]
    Timeout {
        /// Where.
        addr: String,
        /// The limit that ran out, rounded up to seconds.
        seconds: u64,
        /// `connecting` or `answering`.
        during: &'static str,
    },
    /// Somebody else answers, or the CA has another certificate than the one pinned.
    #[error("the CA at {addr} shows another certificate: pinned {expected}, found {found}")]
    WrongPin {
        /// Where.
        addr: String,
        /// What the configuration says.
        expected: Pin,
        /// What was shown.
        found: Pin,
    },
    /// What answers does not speak TLS, or breaks it.
    #[error("what answers at {addr} does not speak TLS as the CA does: {why}")]
    NotTls {
        /// Where.
        addr: String,
        /// What the TLS library said.
        why: String,
    },
    /// The connection ended before the answer did.
    #[error("the connection to the CA at {addr} ended before its answer: {why}")]
    Lost {
        /// Where.
        addr: String,
        /// What the system said.
        why: String,
    },
    /// An answer that no CA of ours gives.
    #[error("the CA at {addr} answered {status} with something that cannot be read: {why}")]
    Garbage {
        /// Where.
        addr: String,
        /// HTTP status, 0 if there was none.
        status: u16,
        /// What is wrong with it.
        why: String,
    },
    /// A longer answer than the caller takes.
    #[error("the CA at {addr} answered with more than {limit} bytes")]
    TooLarge {
        /// Where.
        addr: String,
        /// Bytes.
        limit: u64,
    },
    /// The CA answered, and said no (RFC 9457).
    #[error("{}", .0.title)]
    Problem(Box<Problem>),
    /// This program's own TLS set-up failed.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

impl TransportError {
    /// Whether a request may have reached the CA without its answer coming back: then the same signed
    /// statement is sent again, and the same answer expected.
    pub fn may_have_arrived(&self) -> bool {
        matches!(
            self,
            TransportError::Timeout { during: "answering", .. }
                | TransportError::Lost { .. }
                | TransportError::Garbage { .. }
        )
    }

    /// Whether the CA, as far as this program can tell, is not there: what is held goes on working.
    pub fn is_unavailable(&self) -> bool {
        match self {
            TransportError::NotRunning { .. }
            | TransportError::Unreachable { .. }
            | TransportError::Timeout { .. }
            | TransportError::Lost { .. } => true,
            TransportError::Problem(problem) => matches!(problem.status, 502..=504),
            _ => false,
        }
    }

    /// The refusal, if the CA gave one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            TransportError::Problem(problem) => Some(problem),
            _ => None,
        }
    }
}
