//! What hosts said: which report of each was the last, which connections are there, what is confirmed.

use fireaxe_protocol::log::Event;

use super::FoldError;

/// See the file's top.
#[derive(Debug, Default)]
pub struct Reported {}

impl Reported {
    pub(super) fn take(&mut self, _: u64, _: u64, _: &Event) -> Result<(), FoldError> {
        Ok(())
    }
}
