//! Where rooms put what the CA must learn. They know this and not the spool behind it.

use fireaxe_protocol::host::Report;

use crate::error::HostError;

/// Takes reports for the CA.
pub trait Reports: Send + Sync {
    /// Takes one. When this returns it is on the disk, and will be sent in this order, once.
    fn say(&self, report: Report) -> Result<(), HostError>;
}
