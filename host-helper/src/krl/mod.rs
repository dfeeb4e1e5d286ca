//! `fireaxe-host krl`: the newest revocation list, fetched, checked and put in the place of the last one.
//!
//! sshd reads the list at every login and forgives nothing: an empty or cut list revokes nobody, one it
//! cannot read refuses everybody. So a list takes these steps, in this order, and the last good one stays
//! whenever one of them fails:
//!
//! 1. fetch it with its note, bounded in time and size ([`crate::krl::update`]);
//! 2. check the note's signature, that it is about these bytes, and that it is not older ([`check`]);
//! 3. read it with our reader and find the canary ([`check`]);
//! 4. write it beside the one in force and let the host's own `ssh-keygen` judge that file ([`self_test`]);
//! 5. rename it into place.

mod check;
mod self_test;
mod state;
mod update;

use thiserror::Error;

pub use check::{Checked, Installed, Received, check, installed, installed_for};
pub use self_test::self_test;
pub use state::State;
pub use update::{Outcome, renew, take, update};

/// Why a list is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KrlError {
    /// There is no file.
    #[error("there is none")]
    Missing,
    /// Shorter than any list with one section: sshd would take it, and revoke nothing.
    #[error("{0} bytes are no revocation list: sshd would take it and revoke nobody")]
    Short(usize),
    /// Our reader does not take it.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// It does not revoke the serial that every list revokes.
    #[error("it does not revoke the canary")]
    NoCanary,
    /// It has no section for any key that sshd trusts here.
    #[error("it is the list of another CA than those trusted here")]
    OtherCa,
    /// The CA sent a list without a note.
    #[error("it came without its note (header fireaxe-krl-note)")]
    NoNote,
    /// The note is not one, is for another log, or is signed by another key.
    #[error("its note is not good: {0}")]
    Note(String),
    /// The note is about other bytes.
    #[error("its note is about other bytes")]
    OtherBytes,
    /// The list and its note say different versions.
    #[error("it says version {list}, its note {note}")]
    VersionsDiffer {
        /// In the list's header.
        list: u64,
        /// In the note.
        note: u64,
    },
    /// A newer one is in force.
    #[error("version {found} is older than version {have}, which is in force")]
    Older {
        /// What came.
        found: u64,
        /// What is there.
        have: u64,
    },
    /// The host's own `ssh-keygen -Q` does not answer as it must.
    #[error("ssh-keygen -Q does not answer as it must about {what}: exit code {found}, {said}")]
    SelfTest {
        /// What was asked about.
        what: String,
        /// What it was; -1 when a signal ended it.
        found: i32,
        /// What it printed.
        said: String,
    },
    /// It revokes every CA key that sshd trusts here.
    #[error("it revokes every CA key that is trusted here")]
    AllRevoked,
    /// There is no `ssh-keygen` to ask.
    #[error("ssh-keygen cannot be run: {0}")]
    NoKeygen(String),
    /// The CA said that what we have is the newest, and we have nothing good.
    #[error("the CA sent nothing new, and what is there is not good")]
    NothingNew,
}
