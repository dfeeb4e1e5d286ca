//! The proof of a reader: who reads, proved for each read, without a bearer token.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey};
use thiserror::Error;

use crate::keys::{Ed25519Key, Fingerprint};
use crate::names::Origin;

/// The proof of a reader: the `Authorization` header of every read that is not open to everyone,
/// `Fireaxe <key> <unix s> <base64 signature>` where key is the reader's fingerprint.
///
/// The signature is Ed25519 by a session key (`login`) or an emergency's fresh key over
/// [`ReadProof::message`]. Valid for [`crate::limits::STATEMENT_WINDOW_S`] around the CA's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadProof {
    /// Which key.
    pub key: Fingerprint,
    /// When, unix seconds.
    pub at: u64,
    /// Raw Ed25519 signature.
    pub signature: [u8; 64],
}

/// Why a read proof does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadProofError {
    /// Not `Fireaxe <key> <unix s> <base64 signature>`.
    #[error("the Authorization header is not `Fireaxe <key> <unix s> <base64 signature>`")]
    Unreadable,
    /// Another key signed, or another request was signed.
    #[error("the signature in the Authorization header does not match this request")]
    Mismatch,
}

impl ReadProof {
    /// The bytes that are signed: origin, method, path with query, time; each on its own line.
    pub fn message(origin: &Origin, method: &str, path: &str, at: u64) -> Vec<u8> {
        format!("read.v1@fireaxe\n{origin}\n{method}\n{path}\n{at}\n").into_bytes()
    }

    /// Signs one request with a session key or an emergency's fresh key.
    pub fn sign(key: &SigningKey, origin: &Origin, method: &str, path: &str, at: u64) -> ReadProof {
        let signature = key.sign(&ReadProof::message(origin, method, path, at)).to_bytes();
        ReadProof { key: Ed25519Key::from(key).fingerprint(), at, signature }
    }

    /// The value of the `Authorization` header.
    pub fn header(&self) -> String {
        format!("Fireaxe {} {} {}", self.key, self.at, STANDARD.encode(self.signature))
    }

    /// Reads the header's value: only the spelling that [`ReadProof::header`] writes.
    pub fn read(header: &str) -> Result<ReadProof, ReadProofError> {
        let wrong = ReadProofError::Unreadable;
        let mut words = header.split(' ');
        let [scheme, key, at, signature, end] = std::array::from_fn(|_| words.next());
        let (Some("Fireaxe"), Some(key), Some(at), Some(signature), None) = (scheme, key, at, signature, end)
        else {
            return Err(wrong);
        };
        let raw = STANDARD.decode(signature).map_err(|_| wrong)?;
        let proof = ReadProof {
            key: key.parse().map_err(|_| wrong)?,
            at: at.parse().map_err(|_| wrong)?,
            signature: raw.try_into().map_err(|_| wrong)?,
        };
        if proof.at.to_string() == at { Ok(proof) } else { Err(wrong) }
    }

    /// Checks the signature over this very request by `key`, which must be the one the header names.
    /// Whether `at` is near enough to now is the caller's, who has the clock.
    pub fn verify(
        &self,
        key: &Ed25519Key,
        origin: &Origin,
        method: &str,
        path: &str,
    ) -> Result<(), ReadProofError> {
        if key.fingerprint() != self.key {
            return Err(ReadProofError::Mismatch);
        }
        let point = key.verifying().ok_or(ReadProofError::Mismatch)?;
        let message = ReadProof::message(origin, method, path, self.at);
        point
            .verify_strict(&message, &Signature::from_bytes(&self.signature))
            .map_err(|_| ReadProofError::Mismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> (SigningKey, Origin, ReadProof) {
        let key = SigningKey::from_bytes(&[5; 32]);
        let origin: Origin = "ca.example/0123456789abcdef".parse().unwrap();
        let proof = ReadProof::sign(&key, &origin, "GET", "/v1/emergencies?n=1", 1_800_000_000);
        (key, origin, proof)
    }

    #[test]
    fn a_read_proof_counts_for_its_request_only() {
        let (key, origin, proof) = proof();
        let read = ReadProof::read(&proof.header()).unwrap();
        assert_eq!(read, proof);
        let public = Ed25519Key::from(&key);
        assert_eq!(read.verify(&public, &origin, "GET", "/v1/emergencies?n=1"), Ok(()));
        let no = Err(ReadProofError::Mismatch);
        assert_eq!(read.verify(&public, &origin, "POST", "/v1/emergencies?n=1"), no);
        assert_eq!(read.verify(&public, &origin, "GET", "/v1/emergencies"), no);
        let elsewhere: Origin = "ca.example/0123456789abcdee".parse().unwrap();
        assert_eq!(read.verify(&public, &elsewhere, "GET", "/v1/emergencies?n=1"), no);
        let later = ReadProof { at: proof.at + 1, ..proof.clone() };
        assert_eq!(later.verify(&public, &origin, "GET", "/v1/emergencies?n=1"), no);
        let other = Ed25519Key::from(&SigningKey::from_bytes(&[6; 32]));
        assert_eq!(read.verify(&other, &origin, "GET", "/v1/emergencies?n=1"), no);
    }

    #[test]
    fn a_read_proof_has_one_spelling() {
        let (_, _, proof) = proof();
        let header = proof.header();
        for other in [
            header.replace("Fireaxe", "fireaxe"),
            header.replace("Fireaxe", "Bearer"),
            header.replace("1800000000", "01800000000"),
            header.replace("1800000000", "+1800000000"),
            header.replace("1800000000", "99999999999999999999"),
            header.replace(' ', "  "),
            format!("{header} "),
            format!("{header}="),
            header.trim_end_matches('=').to_owned(),
            header.replace("SHA256:", "MD5:"),
            String::new(),
            "Fireaxe".to_owned(),
        ] {
            assert_eq!(ReadProof::read(&other), Err(ReadProofError::Unreadable), "{other}");
        }
    }
}
