//! Who signed, and what the signature proves: SSHSIG over the exact bytes (PROTOCOL.sshsig), with the
//! presence flags of FIDO keys (PROTOCOL.u2f), which neither `ssh-keygen -Y verify` nor `ssh-key` checks.

use ed25519_dalek::Verifier as _;
use sha2::{Digest, Sha256, Sha512};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, SshSig};
use thiserror::Error;

use super::sign::signed_data;
use crate::keys::Fingerprint;
use crate::limits;
use crate::names::shown;
use crate::policy::Presence;
use crate::statement::{EnrolledKey, Envelope, Statement, StatementError};

/// An envelope, read but not yet believed: it names the key that is said to have signed, so that a
/// stranger's is refused before any signature is checked.
#[derive(Debug)]
pub struct Claimed {
    envelope: Envelope,
    statement: Statement,
    fingerprint: Fingerprint,
    sshsig: SshSig,
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
    /// Reads statement and signature; checks sizes, kind, namespace and algorithm. Nothing is believed yet.
    pub fn read(envelope: Envelope) -> Result<Claimed, SignatureError> {
        let sshsig = read_sshsig(&envelope.signature)?;
        let statement = Statement::read(&envelope.statement)?;
        let expected = statement.header().kind.namespace();
        if sshsig.namespace() != expected {
            return Err(SignatureError::Namespace { found: shown(sshsig.namespace()), expected });
        }
        let fingerprint = Fingerprint::of(sshsig.public_key());
        Ok(Claimed { envelope, statement, fingerprint, sshsig })
    }

    /// The key that is said to have signed.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// That key itself.
    pub fn key(&self) -> &KeyData {
        self.sshsig.public_key()
    }

    /// What it says.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// That key as `allowed_signers` has it: its type and its base64, no comment.
    pub fn key_line(&self) -> Option<String> {
        let key = ssh_key::PublicKey::from(self.sshsig.public_key().clone());
        key.to_openssh().ok().map(|line| line.trim_end().to_owned())
    }

    /// Checks the signature with the enrolled key, which must be the claimed one whole (a FIDO key's
    /// application too). Says what it proves; whether that suffices is the policy's.
    pub fn verify(self, key: &EnrolledKey) -> Result<Signed, SignatureError> {
        if self.sshsig.public_key() != &key.key {
            return Err(SignatureError::Mismatch);
        }
        let text = self.envelope.statement.as_bytes();
        let namespace = self.statement.header().kind.namespace();
        let message = match self.sshsig.hash_alg() {
            HashAlg::Sha512 => signed_data(namespace, "sha512", &Sha512::digest(text)),
            HashAlg::Sha256 => signed_data(namespace, "sha256", &Sha256::digest(text)),
            _ => return Err(SignatureError::Mismatch),
        };
        let signature = self.sshsig.signature();
        let (presence, counter) = if let Some(point) = &key.point {
            let raw = ed25519_dalek::Signature::from_slice(signature.as_bytes())
                .map_err(|_| SignatureError::Mismatch)?;
            point.verify_strict(&message, &raw).map_err(|_| SignatureError::Mismatch)?;
            (Presence::None, None)
        } else {
            key.key.verify(&message, signature).map_err(|_| SignatureError::Mismatch)?;
            presence(signature.as_bytes()).ok_or(SignatureError::Mismatch)?
        };
        Ok(Signed {
            envelope: self.envelope,
            statement: self.statement,
            fingerprint: self.fingerprint,
            presence,
            counter,
        })
    }
}

/// The armor as `ssh-keygen` writes it (no text around it), an algorithm that fits its key, and nothing
/// reserved: what `signed_data` cannot say is not signed.
fn read_sshsig(armored: &str) -> Result<SshSig, SignatureError> {
    if armored.len() > limits::SIGNATURE {
        return Err(SignatureError::TooLong(armored.len()));
    }
    let inner = armored.strip_suffix('\n').unwrap_or(armored);
    if !inner.starts_with(BEGIN) || !inner.ends_with(END) {
        return Err(SignatureError::Unreadable);
    }
    let sshsig = SshSig::from_pem(armored).map_err(|_| SignatureError::Unreadable)?;
    let wanted = match sshsig.public_key() {
        KeyData::Ed25519(_) => Algorithm::Ed25519,
        KeyData::SkEd25519(_) => Algorithm::SkEd25519,
        KeyData::SkEcdsaSha2NistP256(_) => Algorithm::SkEcdsaSha2NistP256,
        KeyData::Certificate(_) => return Err(SignatureError::Algorithm("a certificate".to_owned())),
        other => return Err(SignatureError::Algorithm(shown(other.algorithm().as_str()))),
    };
    if sshsig.algorithm() != wanted {
        return Err(SignatureError::Algorithm(shown(sshsig.algorithm().as_str())));
    }
    if !matches!(sshsig.hash_alg(), HashAlg::Sha256 | HashAlg::Sha512) {
        return Err(SignatureError::Algorithm(shown(sshsig.hash_alg().as_str())));
    }
    if sshsig.version() != SshSig::VERSION || !sshsig.reserved().is_empty() {
        return Err(SignatureError::Unreadable);
    }
    Ok(sshsig)
}

/// The authenticator's word, signed with the message: one byte of flags, four of counter, at the end.
/// Verification counts only with presence, as the WebAuthn authenticator data has it.
fn presence(signature: &[u8]) -> Option<(Presence, Option<u32>)> {
    let (_, [flags, counter @ ..]) = signature.split_last_chunk::<5>()?;
    let presence = match (flags & USER_PRESENT != 0, flags & USER_VERIFIED != 0) {
        (false, _) => Presence::None,
        (true, false) => Presence::Touch,
        (true, true) => Presence::Verified,
    };
    Some((presence, Some(u32::from_be_bytes(*counter))))
}

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "\n-----END SSH SIGNATURE-----";
const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
