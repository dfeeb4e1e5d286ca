//! The certificate profile: what a certificate of ours is made of, its exact bytes, and every check of them.
//!
//! PROTOCOL.certkeys, `ssh-ed25519-cert-v01@openssh.com`, user certificates signed by `ssh-ed25519` keys; and,
//! with a road of their own and no options at all, host certificates (`host`, `host_lint`).
//! The road: [`Profile`] (all inputs, checked) -> [`Body`] (bytes without receipt) -> [`lint`] -> the log
//! -> [`Body::with_receipt`] -> signature -> [`assemble`]. Back: [`cut_receipt`] on a host, [`compare`] on
//! the client. Writing and reading share no code, and `lint` reads through `ssh-key` instead of either.

mod body;
mod compare;
mod fields;
mod host;
mod host_lint;
mod lint;
mod openssh;
mod profile;
mod receipt;

pub use body::Body;
pub use compare::{Accepted, Difference, Expected, compare};
pub use fields::{CertificateError, Fields, Pair};
pub use host::{
    AcceptedHost, ExpectedHost, HostBody, HostIssue, HostProfile, compare_host, host_certificate, host_key_id,
};
pub use host_lint::lint_host;
pub use lint::{LintFinding, lint};
pub use openssh::{assemble, from_openssh, to_openssh};
pub use profile::{HostTerms, Issue, Principals, Profile, ProfileError, Subject, Within, key_id};
pub use receipt::{Cut, cut_receipt};

/// The certificate's type, on the wire and in text.
pub const TYPE: &str = "ssh-ed25519-cert-v01@openssh.com";
/// The extension that carries the proof that the certificate's entry is in the log.
pub const RECEIPT: &str = "receipt@fireaxe";
/// The extension that tells a host what it must know of the terms: [`HostTerms`] as JSON.
pub const TERMS: &str = "terms@fireaxe";
