//! The client's check: the certificate that came back is exactly the one that was agreed, or it is refused.
//!
//! Exact equality field by field, nothing "contained in": any surplus is a difference. All differences are
//! told.

use ed25519_dalek::Signature;

use super::fields::{CertificateError, Fields, Pair};
use super::profile::{forced, is_command};
use super::receipt::receipt_of;
use super::{Body, HostTerms, RECEIPT, Subject, TERMS, Within, from_openssh, key_id};
use crate::keys::Ed25519Key;
use crate::limits;
use crate::names::shown;
use crate::policy::Terms;

/// What the client expects. Times in unix seconds.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    /// The fresh key it sent.
    pub public_key: Ed25519Key,
    /// The terms it was shown.
    pub terms: &'a Terms,
    /// The CA key it pinned.
    pub ca_key: Ed25519Key,
    /// Whose it must be: the emergency it was told and who it is, or a self-test.
    pub subject: Subject<'a>,
    /// Of a certificate for one host made on demand: the one that is held and that it must be made of.
    pub within: Option<Within>,
    /// Its own clock; may be off by [`limits::STATEMENT_WINDOW_S`].
    pub now: u64,
}

/// A certificate that is what was agreed. The receipt in it has been cut, not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its serial.
    pub serial: u64,
    /// Unix seconds.
    pub valid_after: u64,
    /// Unix seconds.
    pub valid_before: u64,
    /// `fireaxe/EM-42/ana/1234`.
    pub key_id: String,
    /// As in the terms.
    pub principals: Vec<String>,
    /// The receipt's text.
    pub receipt: String,
    /// What the log must hold.
    pub body: Body,
}

/// One thing that is not as agreed. Texts are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which field.
    pub field: &'static str,
    /// What was agreed.
    pub expected: String,
    /// What the certificate says.
    pub found: String,
}

/// Compares a certificate with what was agreed: CA signature (RFC 8032, strict), type, keys, key id,
/// principals, options, extensions, times, receipt.
pub fn compare(certificate: &str, expected: &Expected<'_>) -> Result<Accepted, Vec<Difference>> {
    let bytes = from_openssh(certificate).map_err(unreadable)?;
    let (fields, signature) = Fields::of_signed(&bytes).map_err(unreadable)?;
    let mut differences = Differences(Vec::new());

    let good = is_signed_by(&bytes, &fields, &signature, &expected.ca_key);
    differences.check("signature", good, "by the CA", "another's, or altered bytes");
    differences.equal("CA key", &expected.ca_key.to_string(), &fields.ca_key.to_string());
    differences.equal("type", "1", &fields.kind.to_string());
    differences.equal("public key", &expected.public_key.to_string(), &fields.public_key.to_string());
    let serial = fields.serial;
    let issuable = serial != 0 && serial < limits::CANARY_SERIAL;
    differences.check("serial", issuable, "a serial that can be revoked", &serial.to_string());
    match key_id(expected.subject, serial) {
        Ok(id) => differences.equal("key id", &id, fields.key_id),
        Err(error) => differences.add("key id", &error.to_string(), &shown(fields.key_id)),
    }
    let principals: Vec<String> = expected.terms.principals.iter().map(ToString::to_string).collect();
    differences.check("principals", !fields.principals.is_empty(), "at least one", "none");
    if fields.principals != principals {
        differences.add("principals", &shown(&principals.join(", ")), &shown(&fields.principals.join(", ")));
    }
    compare_times(&fields, expected, &mut differences);
    compare_options(&fields, expected, &mut differences);

    match receipt_of(&fields) {
        Ok(receipt) if differences.0.is_empty() => Ok(Accepted {
            serial,
            valid_after: fields.valid_after,
            valid_before: fields.valid_before,
            key_id: fields.key_id.to_owned(),
            principals,
            receipt: receipt.to_owned(),
            body: Body::cut_from(&bytes, &fields.places),
        }),
        Ok(_) => Err(differences.0),
        Err(error) => {
            differences.check("receipt", false, "a receipt", &error.to_string());
            Err(differences.0)
        }
    }
}

/// A certificate that cannot be read is none.
pub(super) fn unreadable(error: CertificateError) -> Vec<Difference> {
    vec![Difference { field: "format", expected: "a certificate".to_owned(), found: error.to_string() }]
}

/// Whether `ca` made the signature over these bytes (RFC 8032, strict).
pub(super) fn is_signed_by(bytes: &[u8], fields: &Fields<'_>, signature: &[u8; 64], ca: &Ed25519Key) -> bool {
    let signed = bytes.get(..fields.places.signed_end).unwrap_or_default();
    ca.verifying().is_some_and(|key| key.verify_strict(signed, &Signature::from_bytes(signature)).is_ok())
}

/// Begun, not over, and not longer than agreed, as far as two clocks can tell.
fn compare_times(fields: &Fields<'_>, expected: &Expected<'_>, differences: &mut Differences) {
    let (after, before) = (fields.valid_after, fields.valid_before);
    let skew = limits::STATEMENT_WINDOW_S;
    let lifetime = u64::from(expected.terms.lifetime_s);
    let latest_start = expected.now.saturating_add(skew);
    differences.check(
        "valid after",
        after <= latest_start,
        &format!("at most {latest_start}"),
        &after.to_string(),
    );
    let earliest_end = expected.now.saturating_sub(skew).max(after.saturating_add(1));
    differences.check(
        "valid before",
        before >= earliest_end,
        &format!("at least {earliest_end}"),
        &before.to_string(),
    );
    let latest_end = expected
        .now
        .saturating_add(lifetime)
        .saturating_add(skew)
        .min(after.saturating_add(limits::BACKDATE_S).saturating_add(lifetime));
    differences.check(
        "valid before",
        before <= latest_end,
        &format!("at most {latest_end}"),
        &before.to_string(),
    );
}

fn compare_options(fields: &Fields<'_>, expected: &Expected<'_>, differences: &mut Differences) {
    let terms = expected.terms;
    let ranges = terms.source_address.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut critical = Vec::new();
    let command = forced(terms);
    if let Some(command) = &command {
        let own = terms.force_command.as_ref().is_none_or(|own| is_command(own, limits::FORCE_COMMAND));
        let good = own && is_command(command, limits::FORCED);
        differences.check("force-command", good, "one printable command", &shown(command));
        critical.push(Pair { name: "force-command", value: Some(command) });
    }
    if !ranges.is_empty() {
        critical.push(Pair { name: "source-address", value: Some(&ranges) });
    }
    if fields.critical_options != critical {
        differences.add("critical options", &listed(&critical), &listed(&fields.critical_options));
    }

    // Terms that call themselves an action and give more than its command are none that a CA makes.
    if terms.action.is_some() {
        let only = terms.force_command.is_some() && terms.extensions.is_empty();
        differences.check("action", only, "one command and no extensions", "more, or no command");
    }

    let host_terms = HostTerms::of(terms, expected.within).to_json();
    let mut extensions: Vec<Pair<'_>> =
        terms.extensions.iter().map(|e| Pair { name: e.openssh(), value: None }).collect();
    extensions.push(Pair { name: TERMS, value: Some(&host_terms) });
    // The receipt's own value is checked as a receipt.
    let found: Vec<Pair<'_>> =
        fields.extensions.iter().filter(|pair| pair.name != RECEIPT).copied().collect();
    if found != extensions {
        differences.add("extensions", &listed(&extensions), &listed(&found));
    }
}

fn listed(pairs: &[Pair<'_>]) -> String {
    if pairs.is_empty() {
        return "none".to_owned();
    }
    let one = |pair: &Pair<'_>| match pair.value {
        None => pair.name.to_owned(),
        Some(value) => format!("{}={}", pair.name, shown(value)),
    };
    pairs.iter().map(one).collect::<Vec<_>>().join(" ")
}

pub(super) struct Differences(pub(super) Vec<Difference>);

impl Differences {
    pub(super) fn add(&mut self, field: &'static str, expected: &str, found: &str) {
        self.0.push(Difference { field, expected: expected.to_owned(), found: found.to_owned() });
    }

    pub(super) fn check(&mut self, field: &'static str, holds: bool, expected: &str, found: &str) {
        if !holds {
            self.add(field, expected, found);
        }
    }

    pub(super) fn equal(&mut self, field: &'static str, expected: &str, found: &str) {
        if expected != found {
            self.add(field, &shown(expected), &shown(found));
        }
    }
}
