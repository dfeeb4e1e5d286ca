//! Statements: what a person signs with their own key, word for word.
//!
//! A statement is a UTF-8 JSON object, signed as sent (SSHSIG, PROTOCOL.sshsig) under the namespace
//! `<kind>.v1@fireaxe`; a signature for one kind is none for another. Nobody re-serialises it: the log
//! keeps the signed bytes, and `ssh-keygen -Y verify` checks them years later.

mod enrolled;
mod kinds;
mod params;
mod sign;
mod signature;
mod text;

pub use enrolled::EnrolledKey;
pub use kinds::{
    Approve, BundleChange, Close, Declare, Enrol, Extend, Header, HostReport, Kind, Login, Nonce, Refuse,
    Review, Second, Statement, StatementError, Verdict,
};
pub use params::Params;
pub use sign::sign_ed25519;
pub use signature::{Claimed, SignatureError, Signed};

use serde::{Deserialize, Serialize};

/// A statement and its signature, as sent and as kept in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The JSON text, byte for byte as signed.
    pub statement: String,
    /// Armored SSHSIG.
    pub signature: String,
}
