//! Hosts: invited, enrolled, certified, retired.

use fireaxe_protocol::log::{Event, Hash};

use super::FoldError;

/// All hosts that were ever invited and are not retired.
#[derive(Debug, Default)]
pub struct Hosts {}

impl Hosts {
    pub(super) fn take(&mut self, _: u64, _: u64, _: &Event, _: Hash) -> Result<(), FoldError> {
        Ok(())
    }
}
