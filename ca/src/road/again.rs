//! Certificates as they went out, for evidence. Signs nothing that could open a door which is shut: only what is
//! over, and what would be given to its holder at this moment all the same. What is revoked before its time, or was
//! abandoned, is not signed again; its body stands in the log.

use fireaxe_protocol::certificate::Fields;
use fireaxe_protocol::log::Event;

use super::issue::sign_again;
use super::refusal::{Internal, Refusal};
use super::turn::Turn;

/// Certificates in one answer: 64 signatures hold up the writer for 4 ms.
pub const CERTIFICATES: usize = 64;

impl Turn<'_> {
    /// Those of `serials` that may be signed again.
    pub(super) fn certificates(&self, serials: &[u64]) -> Result<Vec<(u64, String)>, Refusal> {
        let mut out = Vec::new();
        for serial in serials.iter().copied().filter(|serial| *serial < self.committed).take(CERTIFICATES) {
            out.extend(self.signed_for_evidence(serial)?.map(|certificate| (serial, certificate)));
        }
        Ok(out)
    }

    fn signed_for_evidence(&self, serial: u64) -> Result<Option<String>, Refusal> {
        // Proved to be what the log's head is over: nothing else is signed.
        let logged = self.logged(serial)?;
        let entry = logged.thing();
        let (Event::CertificateIssued { .. }, Some(body)) = (&entry.event, &entry.body) else {
            return Ok(None);
        };
        let fields = Fields::of_unsigned(body).map_err(|_| Internal::Entry(serial))?;
        let id = fields.key_id.split('/').nth(1).and_then(|id| id.parse().ok());
        let held = id.is_some_and(|id| self.must_be_open(id).is_ok());
        let shut = self.state.revocations.is_revoked(serial) || self.state.revocations.is_abandoned(serial);
        let over = fields.valid_before <= self.now;
        if !over && (shut || !held) || self.state.revocations.is_abandoned(serial) {
            return Ok(None);
        }
        sign_again(&logged, self.user_ca).map(Some)
    }
}
