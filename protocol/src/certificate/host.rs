//! Host certificates: their profile, their exact bytes, and the host's own check of what it got.
//!
//! PROTOCOL.certkeys type 2, signed by the host CA. One principal, the host's name; no options, so that
//! nothing but name, key and time is said. They carry no receipt: OpenSSH's clients check none. What the log
//! holds is the bytes that are signed, whole.

use super::compare::{Difference, Differences, is_signed_by, unreadable};
use super::fields::{CertificateError, Fields};
use super::profile::ProfileError;
use super::{TYPE, assemble, from_openssh};
use crate::keys::Ed25519Key;
use crate::limits;
use crate::names::HostName;
use crate::wire::{put_string, put_u32, put_u64};

/// What a host certificate is made of. Times in unix seconds.
#[derive(Debug, Clone)]
pub struct HostIssue<'a> {
    /// 32 fresh random bytes: part of the body, so that a retry has them too.
    pub nonce: [u8; 32],
    /// The host key to certify.
    pub public_key: Ed25519Key,
    /// Index of the entry that will hold the body.
    pub serial: u64,
    /// Its name: the one principal.
    pub host: &'a HostName,
    /// The entry's time.
    pub at: u64,
    /// The host CA's key, which will sign.
    pub ca_key: Ed25519Key,
}

/// All inputs of one host certificate, valid together. Made only by [`HostProfile::of`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostProfile {
    pub(super) nonce: [u8; 32],
    pub(super) public_key: Ed25519Key,
    pub(super) serial: u64,
    pub(super) key_id: String,
    pub(super) host: HostName,
    pub(super) valid_after: u64,
    pub(super) valid_before: u64,
    pub(super) ca_key: Ed25519Key,
}

impl HostProfile {
    /// Makes the profile. `valid_after` is [`limits::BACKDATE_S`] before `issue.at`, `valid_before`
    /// [`limits::HOST_CERTIFICATE_S`] after it.
    pub fn of(issue: &HostIssue<'_>) -> Result<HostProfile, ProfileError> {
        if issue.serial == 0 || issue.serial >= limits::CANARY_SERIAL {
            return Err(ProfileError::Serial(issue.serial));
        }
        issue.public_key.verifying().ok_or(ProfileError::PublicKey)?;
        if issue.public_key == issue.ca_key {
            return Err(ProfileError::CaKey);
        }
        Ok(HostProfile {
            nonce: issue.nonce,
            public_key: issue.public_key,
            serial: issue.serial,
            key_id: host_key_id(issue.serial),
            host: issue.host.clone(),
            valid_after: issue.at.saturating_sub(limits::BACKDATE_S),
            valid_before: issue.at.saturating_add(limits::HOST_CERTIFICATE_S),
            ca_key: issue.ca_key,
        })
    }
}

/// Ids only, the serial last: `fireaxe/host/1234`. Always within [`limits::KEY_ID`].
pub fn host_key_id(serial: u64) -> String {
    format!("fireaxe/host/{serial}")
}

/// The bytes of a host certificate that are signed: what the log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostBody(Vec<u8>);

impl HostBody {
    /// Writes the body of a profile. The same profile, the same bytes.
    pub fn of(profile: &HostProfile) -> HostBody {
        let mut out = Vec::with_capacity(512);
        put_string(&mut out, TYPE.as_bytes());
        put_string(&mut out, &profile.nonce);
        put_string(&mut out, &profile.public_key.0);
        put_u64(&mut out, profile.serial);
        put_u32(&mut out, HOST);
        put_string(&mut out, profile.key_id.as_bytes());
        let mut principals = Vec::with_capacity(profile.host.as_str().len() + 4);
        put_string(&mut principals, profile.host.as_str().as_bytes());
        put_string(&mut out, &principals);
        put_u64(&mut out, profile.valid_after);
        put_u64(&mut out, profile.valid_before);
        // Critical options, extensions, reserved: nothing.
        for _ in 0..3 {
            put_string(&mut out, b"");
        }
        put_string(&mut out, &profile.ca_key.to_blob());
        HostBody(out)
    }

    /// Reads a body back, strictly: of a host, without any option.
    pub fn read(bytes: &[u8]) -> Result<HostBody, CertificateError> {
        let fields = Fields::of_unsigned(bytes)?;
        if fields.kind != HOST {
            return Err(CertificateError::Field("type"));
        }
        if !fields.critical_options.is_empty() {
            return Err(CertificateError::Field("critical options"));
        }
        if !fields.extensions.is_empty() {
            return Err(CertificateError::Field("extensions"));
        }
        if fields.principals.len() != 1 {
            return Err(CertificateError::Field("principals"));
        }
        Ok(HostBody(bytes.to_vec()))
    }

    /// Its bytes: what is signed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What it says, read back from its bytes.
    pub fn fields(&self) -> Result<Fields<'_>, CertificateError> {
        Fields::of_unsigned(&self.0)
    }
}

/// The certificate's bytes: the body, and the host CA's Ed25519 signature over it.
pub fn host_certificate(body: &HostBody, signature: &[u8; 64]) -> Vec<u8> {
    assemble(body.0.clone(), signature)
}

/// What a host expects of its certificate.
#[derive(Debug, Clone)]
pub struct ExpectedHost<'a> {
    /// Its host key.
    pub public_key: Ed25519Key,
    /// The host CA that it pinned.
    pub ca_key: Ed25519Key,
    /// Its name.
    pub host: &'a HostName,
    /// Its own clock, unix seconds; may be off by [`limits::STATEMENT_WINDOW_S`].
    pub now: u64,
}

/// A host certificate that is what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedHost {
    /// Its serial.
    pub serial: u64,
    /// Unix seconds.
    pub valid_after: u64,
    /// Unix seconds.
    pub valid_before: u64,
}

/// Compares a host certificate, `ssh-ed25519-cert-v01@openssh.com AAAA...`, with what its host expects: CA
/// signature (RFC 8032, strict), type, keys, key id, the one principal, times, and no options. All
/// differences are told.
pub fn compare_host(certificate: &str, expected: &ExpectedHost<'_>) -> Result<AcceptedHost, Vec<Difference>> {
    let bytes = from_openssh(certificate).map_err(unreadable)?;
    let (fields, signature) = Fields::of_signed(&bytes).map_err(unreadable)?;
    let mut differences = Differences(Vec::new());
    let good = is_signed_by(&bytes, &fields, &signature, &expected.ca_key);
    differences.check("signature", good, "by the host CA", "another's, or altered bytes");
    differences.equal("CA key", &expected.ca_key.to_string(), &fields.ca_key.to_string());
    differences.equal("type", &HOST.to_string(), &fields.kind.to_string());
    differences.equal("public key", &expected.public_key.to_string(), &fields.public_key.to_string());
    differences.equal("key id", &host_key_id(fields.serial), fields.key_id);
    differences.equal("principals", expected.host.as_str(), &fields.principals.join(","));
    differences.check("critical options", fields.critical_options.is_empty(), "none", "some");
    differences.check("extensions", fields.extensions.is_empty(), "none", "some");
    let (after, before) = (fields.valid_after, fields.valid_before);
    let skew = limits::STATEMENT_WINDOW_S;
    let begun = after <= expected.now.saturating_add(skew);
    differences.check("valid after", begun, "a time that has come", &after.to_string());
    let goes_on = before > after && before >= expected.now.saturating_sub(skew);
    differences.check("valid before", goes_on, "a time to come", &before.to_string());
    let longest = limits::HOST_CERTIFICATE_S + limits::BACKDATE_S;
    let lasts = before.saturating_sub(after);
    differences.check("valid before", lasts <= longest, &format!("{longest} s at most"), &lasts.to_string());
    if differences.0.is_empty() {
        Ok(AcceptedHost { serial: fields.serial, valid_after: after, valid_before: before })
    } else {
        Err(differences.0)
    }
}

/// SSH2_CERT_TYPE_HOST.
pub(super) const HOST: u32 = 2;
