//! Step 4: issue. Terms in, exact bytes out; logged before they are signed.
//!
//! `Prepared` (linted body) -> `Logged<Prepared>` (durable, made only by the log) -> signed. Each step
//! consumes the one before it, so none can be skipped or repeated.

use ed25519_dalek::{Signer, SigningKey};
use fireaxe_protocol::api::Waiting;
use fireaxe_protocol::certificate::{self, Body, Issue, Profile, Subject, Within};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{Entry, Event, Hash, Receipt};
use fireaxe_protocol::policy::Terms;

use super::refusal::{Internal, Refusal};
use crate::log::Logged;

/// A body that passed the linter and is not in the log yet. Made only by [`prepare`].
#[derive(Debug)]
pub(super) struct Prepared {
    body: Body,
}

impl Prepared {
    /// The bytes that go into the log.
    pub(super) fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }
}

/// Everything a certificate is made of.
pub(super) struct Order<'a> {
    pub(super) terms: &'a Terms,
    pub(super) subject: Subject<'a>,
    pub(super) public_key: Ed25519Key,
    /// Index that its entry will have.
    pub(super) serial: u64,
    pub(super) now: u64,
    /// When the grant ends: the certificate never outlives it.
    pub(super) grant_end: u64,
    /// What a certificate for one host is made of; nothing for any other.
    pub(super) within: Option<Within>,
    pub(super) nonce: [u8; 32],
    pub(super) ca_key: Ed25519Key,
}

/// Makes the exact body and lints it from its own bytes.
pub(super) fn prepare(order: &Order<'_>) -> Result<Prepared, Refusal> {
    let issue = Issue {
        nonce: order.nonce,
        public_key: order.public_key,
        serial: order.serial,
        subject: order.subject,
        at: order.now,
        grant_end: order.grant_end,
        within: order.within,
        ca_key: order.ca_key,
    };
    let profile = Profile::from_terms(order.terms, &issue).map_err(|e| Internal::Lint(e.to_string()))?;
    let body = Body::of(&profile);
    certificate::lint(&body, &profile).map_err(|findings| {
        Internal::Lint(
            findings.iter().map(|f| format!("{}: {}", f.rule, f.found)).collect::<Vec<_>>().join("; "),
        )
    })?;
    Ok(Prepared { body })
}

/// The certificate of a logged body: a function of its entry and its receipt, so a retry gives the same.
pub(super) fn sign(logged: &Logged<Prepared>, receipt: &Receipt, ca: &SigningKey) -> Result<String, Refusal> {
    certificate_of(&logged.thing().body, receipt, ca)
}

/// The certificate of an entry read back from the log, which proved it to be there.
pub(super) fn sign_again(logged: &Logged<Entry>, ca: &SigningKey) -> Result<String, Refusal> {
    let unreadable = || Internal::Entry(logged.index());
    let body = logged.thing().body.as_deref().ok_or_else(unreadable)?;
    let body = Body::read(body).map_err(|_| unreadable())?;
    certificate_of(&body, &logged.receipt().map_err(|_| unreadable())?, ca)
}

fn certificate_of(body: &Body, receipt: &Receipt, ca: &SigningKey) -> Result<String, Refusal> {
    let receipt = String::from_utf8(receipt.encode()).map_err(|_| Internal::Entry(receipt.index))?;
    let to_be_signed = body.with_receipt(&receipt);
    let signature = ca.sign(&to_be_signed).to_bytes();
    Ok(certificate::to_openssh(&certificate::assemble(to_be_signed, &signature)))
}

/// What a declaration came to: the entry that says so, and the certificate when one was given.
#[derive(Debug)]
pub struct Opening {
    /// The `emergency.declared` event.
    pub declared: Event,
    /// Leaf of its entry.
    pub leaf: Hash,
    /// Its time, unix seconds.
    pub at: u64,
    /// The certificate, when something was given at once.
    pub certificate: Option<String>,
    /// What waits for approval, and who was asked.
    pub waiting: Option<Waiting>,
    /// Whether this answers a statement for the first time.
    pub first: bool,
}
