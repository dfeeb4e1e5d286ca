//! Step 4 for hosts: the exact body of a host certificate, linted; logged; signed from what the log holds.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer;
use fireaxe_protocol::certificate::{
    HostBody, HostIssue, HostProfile, host_certificate, lint_host, to_openssh,
};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits::HOST_CERTIFICATE_S;
use fireaxe_protocol::log::{Event, Hash};
use fireaxe_protocol::names::HostName;

use super::{Certificate, HostRefusal, may_stay};
use crate::road::refusal::{Internal, Refusal};
use crate::road::turn::Turn;
use crate::state::{Certified, EnrolledHost};

/// A body that passed the linter and is not in the log yet. Made only by `prepare_host`.
pub(super) struct PreparedHost {
    body: HostBody,
}

/// Whether a host's certificate may be followed by another at `now`: from half of its time on.
pub(crate) fn is_due(newest: &Certified, now: u64) -> bool {
    now.saturating_sub(newest.at) >= HOST_CERTIFICATE_S / 2
}

/// Whether `body` is the host certificate that an entry of that index and time may hold for host and key.
pub(crate) fn is_of(
    body: &HostBody,
    host: &HostName,
    key: Ed25519Key,
    ca: Ed25519Key,
    entry: (u64, u64),
) -> bool {
    let (serial, at) = entry;
    let nonce = body.fields().ok().and_then(|fields| fields.nonce.try_into().ok());
    let issue = nonce.map(|nonce| HostIssue { nonce, public_key: key, serial, host, at, ca_key: ca });
    let expected = issue.and_then(|issue| HostProfile::of(&issue).ok());
    expected.is_some_and(|profile| HostBody::of(&profile) == *body)
}

impl Turn<'_> {
    /// Makes the exact body and lints it from its own bytes.
    pub(super) fn prepare_host(
        &mut self,
        host: &HostName,
        public_key: Ed25519Key,
        serial: u64,
    ) -> Result<PreparedHost, Refusal> {
        let nonce = self.random.bytes32().map_err(|_| Internal::Randomness)?;
        let ca_key = self.state.keys().host_ca;
        let issue = HostIssue { nonce, public_key, serial, host, at: self.now, ca_key };
        let profile = HostProfile::of(&issue).map_err(|e| Internal::Lint(e.to_string()))?;
        let body = HostBody::of(&profile);
        lint_host(&body, &profile).map_err(|findings| {
            let all: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.rule, f.found)).collect();
            Internal::Lint(all.join("; "))
        })?;
        Ok(PreparedHost { body })
    }

    /// Puts it into the log. It is signed when it is read back.
    pub(super) fn put_host_certificate(
        &mut self,
        prepared: PreparedHost,
        of: Hash,
        host: &HostName,
    ) -> Result<(), Refusal> {
        let body = STANDARD.encode(prepared.body.as_bytes());
        self.append(Event::HostCertified { of, host: host.clone(), body }).map(drop)
    }

    /// The newest certificate, if the log holds it; nothing once it has been put into this batch.
    pub(super) fn newest_certificate(
        &mut self,
        host: &HostName,
        key: &Ed25519Key,
    ) -> Result<Option<Certificate>, Refusal> {
        let unknown = || Refusal::from(HostRefusal::NotEnrolled(host.clone()));
        let enrolled = self.state.hosts.enrolled().get(host).filter(|enrolled| enrolled.key == *key);
        let enrolled = enrolled.ok_or_else(unknown)?.clone();
        let newest = self.state.hosts.certified(host);
        match newest {
            Some(newest) if newest.serial >= self.committed => Ok(None),
            Some(newest) if !is_due(&newest, self.now) => {
                self.certificate_of(host, &enrolled, newest.serial).map(Some)
            }
            _ => {
                may_stay(&self.bundle, host, &enrolled.system)?;
                let prepared = self.prepare_host(host, *key, self.batch.next_index())?;
                // A crash before the commit: the one before goes on. After it: the new one is logged, and given
                // to the same host when it asks again.
                self.put_host_certificate(prepared, enrolled.enrolment, host)?;
                Ok(None)
            }
        }
    }

    /// The certificate of a logged body: a function of its entry, so a retry gives the same.
    pub(super) fn certificate_of(
        &self,
        host: &HostName,
        enrolled: &EnrolledHost,
        serial: u64,
    ) -> Result<Certificate, Refusal> {
        let (entry, _) = self.read_back(serial)?;
        let broken = || Refusal::from(Internal::Entry(serial));
        let Event::HostCertified { host: of, body, .. } = &entry.event else { return Err(broken()) };
        let body = STANDARD.decode(body).ok().and_then(|bytes| HostBody::read(&bytes).ok());
        let body = body.filter(|_| of == host).ok_or_else(broken)?;
        let valid_before = body.fields().map_err(|_| broken())?.valid_before;
        let signature = self.host_ca.sign(body.as_bytes()).to_bytes();
        Ok(Certificate {
            host: host.clone(),
            system: enrolled.system.clone(),
            enrolment: enrolled.enrolment,
            certificate: to_openssh(&host_certificate(&body, &signature)),
            valid_before,
        })
    }
}
