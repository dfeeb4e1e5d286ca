//! The linter of host certificates: as `lint`, reads a body again through `ssh-key` and not through our own
//! reader, and checks each rule before the host CA's key touches it.

use ssh_key::certificate::CertType;

use super::lint::{Findings, Whose, names, reread, whose};
use super::{HostBody, HostProfile, LintFinding};
use crate::limits;

/// Checks that `body` is a host certificate's and says exactly what `profile` says. All findings.
pub fn lint_host(body: &HostBody, profile: &HostProfile) -> Result<(), Vec<LintFinding>> {
    reread(body.as_bytes(), 0, |read, findings| check(read, profile, findings))
}

fn check(read: &ssh_key::Certificate, profile: &HostProfile, findings: &mut Findings) {
    findings.check("type.host", read.cert_type() == CertType::Host, || format!("{:?}", read.cert_type()));
    let HostProfile { nonce, public_key, ca_key, serial, key_id, .. } = profile;
    whose(read, &Whose { nonce, public_key, ca_key, serial: *serial, key_id }, findings);

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
