//! The linter: reads a body again, through `ssh-key` and not through our own reader, and checks each rule
//! of the profile before the CA key touches it. Runs at each issue.

use ssh_key::certificate::{CertType, OptionsMap};
use ssh_key::public::KeyData;

use super::profile::is_command;
use super::{Body, HostTerms, Profile, RECEIPT, TERMS, Within};
use crate::keys::Ed25519Key;
use crate::limits;
use crate::names::{EmergencyId, PersonName, Principal, shown};
use crate::wire::{put_string, put_u32};

/// A rule that a body breaks. A finding means a bug in this program or broken memory: nothing is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintFinding {
    /// Which rule: `principals.empty`.
    pub rule: &'static str,
    /// What was found, escaped.
    pub found: String,
}

/// Checks that `body` keeps every rule of the profile and says exactly what `profile` says. All findings.
pub fn lint(body: &Body, profile: &Profile) -> Result<(), Vec<LintFinding>> {
    reread(body.as_bytes(), limits::RECEIPT, |read, findings| {
        identity(read, profile, findings);
        times(read, profile, findings);
        options(read, profile, findings);
    })
}

/// Reads a body through `ssh-key` and lets `check` look at it. `room` bytes of a certificate's limit are for what
/// comes into it later.
pub(super) fn reread(
    body: &[u8],
    room: usize,
    check: impl FnOnce(&ssh_key::Certificate, &mut Findings),
) -> Result<(), Vec<LintFinding>> {
    let mut findings = Findings(Vec::new());
    let bytes = with_placeholder(body);
    match ssh_key::Certificate::from_bytes(&bytes) {
        Err(error) => findings.add("format.unreadable", error.to_string()),
        Ok(read) => {
            // `ssh-key` writes by its own code: one spelling of these values, and it is ours.
            if !read.to_bytes().is_ok_and(|again| again == bytes) {
                findings.add("format.spelling", "another encoder writes other bytes");
            }
            check(&read, &mut findings);
        }
    }
    if bytes.len() + room > limits::CERTIFICATE {
        findings.add("format.size", bytes.len().to_string());
    }
    if findings.0.is_empty() { Ok(()) } else { Err(findings.0) }
}

pub(super) struct Findings(pub(super) Vec<LintFinding>);

impl Findings {
    pub(super) fn add(&mut self, rule: &'static str, found: impl AsRef<str>) {
        self.0.push(LintFinding { rule, found: shown(found.as_ref()) });
    }

    pub(super) fn check(&mut self, rule: &'static str, holds: bool, found: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, found());
        }
    }
}

/// Type, keys, serial, key id, principals.
fn identity(read: &ssh_key::Certificate, profile: &Profile, findings: &mut Findings) {
    findings.check("type.user", read.cert_type() == CertType::User, || format!("{:?}", read.cert_type()));
    let Profile { nonce, public_key, ca_key, serial, key_id, .. } = profile;
    whose(read, &Whose { nonce, public_key, ca_key, serial: *serial, key_id }, findings);
    let id = read.key_id();
    findings.check("key_id.template", follows_template(id, read.serial()), || id.to_owned());

    let principals = read.valid_principals();
    findings.check("principals.empty", !principals.is_empty(), String::new);
    findings
        .check("principals.many", principals.len() <= limits::PRINCIPALS, || principals.len().to_string());
    findings.check("principals.order", principals.is_sorted_by(|a, b| a < b), || principals.join(" "));
    for principal in principals {
        let valid = principal.parse::<Principal>().is_ok_and(|parsed| parsed.to_string() == *principal);
        findings.check("principals.grammar", valid, || principal.clone());
    }
    let same = principals.iter().cloned().eq(profile.principals.iter().map(ToString::to_string));
    findings.check("principals", same, || principals.join(" "));
}

/// What certificates of people and of hosts have alike.
pub(super) struct Whose<'p> {
    pub(super) nonce: &'p [u8; 32],
    pub(super) public_key: &'p Ed25519Key,
    pub(super) ca_key: &'p Ed25519Key,
    pub(super) serial: u64,
    pub(super) key_id: &'p str,
}

/// Nonce, keys, serial, key id.
pub(super) fn whose(read: &ssh_key::Certificate, whose: &Whose<'_>, findings: &mut Findings) {
    findings.check("nonce", read.nonce() == *whose.nonce, || format!("{} bytes", read.nonce().len()));
    let is = |key: &KeyData, ours: &[u8; 32]| matches!(key, KeyData::Ed25519(data) if data.0 == *ours);
    findings.check("public_key", is(read.public_key(), &whose.public_key.0), || {
        read.public_key().algorithm().to_string()
    });
    findings.check("ca_key", is(read.signature_key(), &whose.ca_key.0), || {
        read.signature_key().algorithm().to_string()
    });
    findings.check("ca_key.own", read.public_key() != read.signature_key(), String::new);

    let serial = read.serial();
    let issuable = serial != 0 && serial < limits::CANARY_SERIAL;
    findings.check("serial.reserved", issuable, || serial.to_string());
    findings.check("serial", serial == whose.serial, || serial.to_string());

    let id = read.key_id();
    findings.check("key_id.alphabet", id.bytes().all(in_key_id), || id.to_owned());
    findings.check("key_id.length", id.len() <= limits::KEY_ID, || id.len().to_string());
    findings.check("key_id", id == whose.key_id, || id.to_owned());
}

fn times(read: &ssh_key::Certificate, profile: &Profile, findings: &mut Findings) {
    let (after, before) = (read.valid_after(), read.valid_before());
    findings.check("times.order", after < before, || format!("{after} {before}"));
    let lifetime = before.saturating_sub(after);
    let longest = limits::LIFETIME_MAX_S + limits::BACKDATE_S;
    findings.check("times.lifetime", lifetime <= longest, || lifetime.to_string());
    let same = (after, before) == (profile.valid_after, profile.valid_before);
    findings.check("times", same, || format!("{after} {before}"));
}

/// Critical options and extensions: the allowed ones, with the profile's values, and no other.
fn options(read: &ssh_key::Certificate, profile: &Profile, findings: &mut Findings) {
    let ranges = profile.source_address.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut critical = OptionsMap::new();
    if let Some(command) = &profile.force_command {
        critical.insert("force-command".to_owned(), command.clone());
    }
    if !ranges.is_empty() {
        critical.insert("source-address".to_owned(), ranges);
    }
    for name in read.critical_options().keys() {
        let allowed = matches!(name.as_str(), "force-command" | "source-address");
        findings.check("critical.unknown", allowed, || name.clone());
    }
    if let Some(command) = read.critical_options().get("force-command") {
        findings.check("critical.force_command", is_command(command, limits::FORCED), || command.clone());
    }
    findings.check("critical", *read.critical_options() == critical, || names(read.critical_options()));

    for (name, value) in read.extensions().iter() {
        match name.as_str() {
            "permit-pty" | "permit-port-forwarding" => {
                findings.check("extension.data", value.is_empty(), || name.clone());
            }
            TERMS => {
                let terms = HostTerms::from_json(value);
                findings.check("extension.terms", terms.is_some(), || value.clone());
                let within = terms.and_then(|terms| terms.within);
                findings
                    .check("extension.within", within.is_none_or(|w| is_within(read, w)), || value.clone());
            }
            RECEIPT => findings.add("extension.receipt", "the body holds one already"),
            _ => findings.add("extension.unknown", name),
        }
    }
    let mut extensions: OptionsMap =
        profile.extensions.iter().map(|e| (e.openssh().to_owned(), String::new())).collect();
    extensions.insert(TERMS.to_owned(), profile.host_terms.clone());
    findings.check("extensions", *read.extensions() == extensions, || names(read.extensions()));
}

/// A certificate that says what it was made of is a person's for one host, and can have been made of that.
fn is_within(read: &ssh_key::Certificate, within: Within) -> bool {
    let at = read.valid_after().saturating_add(limits::BACKDATE_S);
    let one_host = match read.valid_principals() {
        [only] => only.parse::<Principal>().is_ok_and(|principal| principal.host().is_some()),
        _ => false,
    };
    let of_a_person = read.key_id() != self_test_id(read.serial());
    one_host && of_a_person && within.may_hold(read.serial(), at, read.valid_before())
}

pub(super) fn names(map: &OptionsMap) -> String {
    map.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn in_key_id(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'/' | b'-')
}

/// `fireaxe/EM-<n>/<person>/<serial>`, or `fireaxe/self-test/<serial>`.
fn follows_template(id: &str, serial: u64) -> bool {
    if id == self_test_id(serial) {
        return true;
    }
    let mut parts = id.split('/');
    let [fireaxe, emergency, person, last, end] = std::array::from_fn(|_| parts.next());
    fireaxe == Some("fireaxe")
        && emergency.is_some_and(|e| e.starts_with("EM-") && e.parse::<EmergencyId>().is_ok())
        && person.is_some_and(|p| p.parse::<PersonName>().is_ok())
        && last == Some(serial.to_string().as_str())
        && end.is_none()
}

fn self_test_id(serial: u64) -> String {
    format!("fireaxe/self-test/{serial}")
}

/// `ssh-key` reads only whole certificates and does not check the signature while reading; this one is
/// zeros and signs nothing.
fn with_placeholder(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 87);
    out.extend_from_slice(body);
    put_u32(&mut out, 83);
    put_string(&mut out, b"ssh-ed25519");
    put_string(&mut out, &[0; 64]);
    out
}
