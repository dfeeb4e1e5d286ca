//! The linter of host certificates: as `lint`, reads a body again through `ssh-key` and not through our own
//! reader, and checks each rule before the host CA's key touches it.

use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;

use super::lint::{Findings, in_key_id, names, with_placeholder};
use super::{HostBody, HostProfile, LintFinding};
use crate::limits;

/// Checks that `body` is a host certificate's and says exactly what `profile` says. All findings.
pub fn lint_host(body: &HostBody, profile: &HostProfile) -> Result<(), Vec<LintFinding>> {
    let mut findings = Findings(Vec::new());
    let bytes = with_placeholder(body.as_bytes());
    match ssh_key::Certificate::from_bytes(&bytes) {
        Err(error) => findings.add("format.unreadable", error.to_string()),
        Ok(read) => {
            if !read.to_bytes().is_ok_and(|again| again == bytes) {
                findings.add("format.spelling", "another encoder writes other bytes");
            }
            check(&read, profile, &mut findings);
        }
    }
    if bytes.len() > limits::CERTIFICATE {
        findings.add("format.size", bytes.len().to_string());
    }
    if findings.0.is_empty() { Ok(()) } else { Err(findings.0) }
}

fn check(read: &ssh_key::Certificate, profile: &HostProfile, findings: &mut Findings) {
    findings.check("type.host", read.cert_type() == CertType::Host, || format!("{:?}", read.cert_type()));
    findings.check("nonce", read.nonce() == profile.nonce, || format!("{} bytes", read.nonce().len()));
    let is = |key: &KeyData, ours: &[u8; 32]| matches!(key, KeyData::Ed25519(data) if data.0 == *ours);
    findings.check("public_key", is(read.public_key(), &profile.public_key.0), || {
        read.public_key().algorithm().to_string()
    });
    findings.check("ca_key", is(read.signature_key(), &profile.ca_key.0), || {
        read.signature_key().algorithm().to_string()
    });
    findings.check("ca_key.own", read.public_key() != read.signature_key(), String::new);

    let serial = read.serial();
    findings.check("serial.reserved", serial != 0 && serial < limits::CANARY_SERIAL, || serial.to_string());
    findings.check("serial", serial == profile.serial, || serial.to_string());
    let id = read.key_id();
    findings.check("key_id.alphabet", id.bytes().all(in_key_id), || id.to_owned());
    findings.check("key_id.length", id.len() <= limits::KEY_ID, || id.len().to_string());
    findings.check("key_id", id == profile.key_id, || id.to_owned());

    let principals = read.valid_principals();
    findings.check("principals.empty", !principals.is_empty(), String::new);
    let same = matches!(principals, [one] if one == profile.host.as_str());
    findings.check("principals", same, || principals.join(" "));

    let (after, before) = (read.valid_after(), read.valid_before());
    findings.check("times.order", after < before, || format!("{after} {before}"));
    let longest = limits::HOST_CERTIFICATE_S + limits::BACKDATE_S;
    let lifetime = before.saturating_sub(after);
    findings.check("times.lifetime", lifetime <= longest, || lifetime.to_string());
    let same = (after, before) == (profile.valid_after, profile.valid_before);
    findings.check("times", same, || format!("{after} {before}"));

    findings.check("critical", read.critical_options().is_empty(), || names(read.critical_options()));
    findings.check("extensions", read.extensions().is_empty(), || names(read.extensions()));
}
