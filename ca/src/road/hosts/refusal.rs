//! Why a host is not invited, enrolled, certified or tested.

use fireaxe_protocol::names::{AccountName, HostName, SystemName};
use thiserror::Error;

/// See the file's top. What the caller is told is made of it in `door/problem.rs`'s company.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostRefusal {
    /// No pattern of the policy in force.
    #[error("no system of the policy in force has a host {host}")]
    NotInPolicy {
        /// Which.
        host: HostName,
        /// Names like it.
        nearest: Vec<String>,
    },
    /// The operator named another system than the policy does.
    #[error("{host} is a host of {is}, not of {said}")]
    OtherSystem {
        /// Which.
        host: HostName,
        /// What the policy says.
        is: SystemName,
        /// What the operator said.
        said: SystemName,
    },
    /// The policy in force gives it to another system than it was invited or enrolled for.
    #[error("{host} was invited for {was}; the policy in force has it in {is}")]
    Moved {
        /// Which.
        host: HostName,
        /// As it was invited.
        was: SystemName,
        /// What the policy says now.
        is: SystemName,
    },
    /// No invitation of it has this token.
    #[error(
        "no open invitation of {0} has this token: it was used, a newer one took its place, or it never was"
    )]
    NotInvited(HostName),
    /// The token's time is over.
    #[error("the invitation of {host} was good until {until}")]
    InvitationOver {
        /// Which.
        host: HostName,
        /// Unix seconds.
        until: u64,
    },
    /// What signed is not the key that is to be enrolled.
    #[error("the statement is not signed by the host key that it names")]
    OtherKey,
    /// The key is a person's, a CA's, an emergency's or another host's.
    #[error("that host key is in use elsewhere: {0}")]
    KeyInUse(String),
    /// It is not enrolled (any more), or another key is.
    #[error("no host {0} is enrolled with that key")]
    NotEnrolled(HostName),
    /// It speaks of another host than the path.
    #[error("the report speaks of another host than {0}, or is of another kind")]
    OtherReport(HostName),
    /// An account that no tier and no action uses.
    #[error("no tier and no action of the policy logs in to {account}; they use: {}", used.join(", "))]
    OtherAccount {
        /// What was asked.
        account: AccountName,
        /// What there is.
        used: Vec<String>,
    },
    /// The key to certify is not fresh.
    #[error("the key to certify for the self-test is enrolled or in use already")]
    KeyNotFresh,
    /// Too many within the hour.
    #[error("{host} was granted {many} self-tests within an hour")]
    TooManySelfTests {
        /// Which.
        host: HostName,
        /// How many.
        many: usize,
    },
}
