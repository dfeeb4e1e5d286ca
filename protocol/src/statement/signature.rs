//! Who signed, and what the signature proves: SSHSIG over the exact bytes (PROTOCOL.sshsig), with the
//! presence flags of FIDO keys (PROTOCOL.u2f), which neither `ssh-keygen -Y verify` nor `ssh-key` checks.

use ssh_key::public::KeyData;
use thiserror::Error;

use crate::keys::Fingerprint;
use crate::names::NameError;
use crate::policy::Presence;
use crate::statement::{Envelope, Statement, StatementError};

/// A key that a roster may hold: `ssh-ed25519`, `sk-ssh-ed25519@openssh.com` or
/// `sk-ecdsa-sha2-nistp256@openssh.com`, with its comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledKey {
    /// The key.
    pub key: KeyData,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its comment in the roster, e.g. `ana-key-1`.
    pub comment: String,
}

impl EnrolledKey {
    /// Reads one `authorized_keys`-style line without options. Refuses any other type, with the reason
    /// (RSA, ECDSA without hardware, certificates).
    pub fn read(line: &str) -> Result<EnrolledKey, NameError> {
        let wrong = |rule| NameError { what: "key", shown: crate::names::shown(line), rule };
        let key = ssh_key::PublicKey::from_openssh(line)
            .map_err(|_| wrong("a public key line: type, base64, comment; no options"))?;
        match key.key_data() {
            KeyData::Ed25519(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {}
            _ => {
                return Err(wrong(
                    "ssh-ed25519, sk-ssh-ed25519 or sk-ecdsa; RSA and plain ECDSA are not taken",
                ));
            }
        }
        let comment = key.comment().as_str_lossy().to_owned();
        Ok(EnrolledKey { key: key.key_data().clone(), fingerprint: Fingerprint::of(key.key_data()), comment })
    }

    /// Whether the private half lives in a FIDO authenticator.
    pub fn is_hardware(&self) -> bool {
        !matches!(self.key, KeyData::Ed25519(_))
    }
}

/// An envelope, read but not yet believed: it names the key that is said to have signed, so that a
/// stranger's is refused before any signature is checked.
#[derive(Debug)]
pub struct Claimed {
    envelope: Envelope,
    statement: Statement,
    fingerprint: Fingerprint,
}

/// A statement and the proof of who signed it. Made only by [`Claimed::verify`].
#[derive(Debug)]
pub struct Signed {
    /// The signed bytes and the signature, verbatim.
    pub envelope: Envelope,
    /// What they say.
    pub statement: Statement,
    /// The key that signed.
    pub fingerprint: Fingerprint,
    /// What the signature proves about the human.
    pub presence: Presence,
    /// A FIDO key's signature counter.
    pub counter: Option<u32>,
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The statement itself.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// Longer than [`crate::limits::SIGNATURE`].
    #[error("the signature has {0} bytes; at most {max} are taken", max = crate::limits::SIGNATURE)]
    TooLong(usize),
    /// Not an armored SSHSIG.
    #[error("the signature is not an armored SSHSIG")]
    Unreadable,
    /// Made for another purpose.
    #[error("the signature is for namespace {found}, this statement needs {expected}")]
    Namespace {
        /// Escaped.
        found: String,
        /// What the statement's kind needs.
        expected: &'static str,
    },
    /// A key type, hash or signature algorithm that is not taken.
    #[error("{0} is not taken: ssh-ed25519, sk-ssh-ed25519 and sk-ecdsa keys sign statements")]
    Algorithm(String),
    /// The bytes were altered, or another key signed them.
    #[error("the signature does not match the statement")]
    Mismatch,
}

impl Claimed {
    /// Reads statement and signature; checks sizes, kind, namespace and algorithm.
    pub fn read(_envelope: Envelope) -> Result<Claimed, SignatureError> {
        todo!()
    }

    /// The key that is said to have signed.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// What it says.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Checks the signature with the enrolled key (whose fingerprint must be the claimed one).
    pub fn verify(self, _key: &EnrolledKey) -> Result<Signed, SignatureError> {
        let _ = self.envelope;
        todo!()
    }
}
