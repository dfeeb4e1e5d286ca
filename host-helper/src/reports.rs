//! Where rooms put what the CA must learn. They know this and not the spool behind it.

use fireaxe_protocol::host::Report;

use crate::error::HostError;

/// Takes reports for the CA.
pub trait Reports: Send + Sync {
    /// Takes one. When this returns it is on the disk, and will be sent in this order, once. An error: there
    /// was no room for it; it is counted, and one alarm will say how many were lost.
    ///
    /// Three kinds do not wait on the disk. Of heartbeats and confirmations the newest is sent (the spool
    /// confirms in order, again, when the CA asks for it); alarms beyond what the CA logs in an hour are only
    /// counted there.
    fn say(&self, report: Report) -> Result<(), HostError>;
}
