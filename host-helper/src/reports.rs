//! Where rooms put what the CA must learn. They know this and not the spool behind it.

use fireaxe_protocol::host::{Report, SessionOpened};
use fireaxe_protocol::names::PersonName;

use crate::error::HostError;

/// Takes reports for the CA.
pub trait Reports: Send + Sync {
    /// Takes one. When this returns it is on the disk, and will be sent in this order, once. An error: there
    /// was no room for it. Beginnings and ends of connections may be said again; of the rest, one alarm will
    /// say how many were lost.
    ///
    /// Three kinds do not wait on the disk. Of heartbeats and confirmations the newest is sent (the spool
    /// confirms in order, again, when the CA asks for it); alarms beyond what the CA logs in an hour are only
    /// counted there.
    fn say(&self, report: Report) -> Result<(), HostError>;

    /// The same for a connection that `person`'s certificate opened. Beyond what one person may have waiting,
    /// one that need not be recorded is only counted, which is told in an alarm; one that must be is an error.
    fn opened(&self, opened: SessionOpened, person: Option<&PersonName>) -> Result<(), HostError> {
        let _ = person;
        self.say(Report::SessionOpened(opened))
    }
}
