//! The canary: a certificate that every list of ours revokes, so that a host can see that a list works.
//!
//! `ssh-keygen -Q -f KRL canary-cert.pub` must exit with exactly 1. The CA behind it has a public seed and
//! is trusted by nobody; its certificate has been over since 1970. Both are constants.

use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

use crate::certificate::{TYPE, assemble, to_openssh};
use crate::keys::Ed25519Key;
use crate::limits;
use crate::wire::{put_string, put_u32, put_u64};

/// The canary CA's public key. Its seed is SHA-256 of `fireaxe canary`, for all to see: never trust it.
pub fn canary_ca() -> Ed25519Key {
    Ed25519Key::from(&signing_key(b"fireaxe canary"))
}

/// The canary certificate, one line without a newline: serial [`limits::CANARY_SERIAL`], signed by
/// [`canary_ca`], valid for the first second of 1970. Always the same text.
pub fn canary_certificate() -> String {
    let subject = Ed25519Key::from(&signing_key(b"fireaxe canary subject"));
    let mut principals = Vec::new();
    put_string(&mut principals, b"nobody:canary.invalid");

    let mut signed = Vec::with_capacity(512);
    put_string(&mut signed, TYPE.as_bytes());
    put_string(&mut signed, &[0; 32]);
    put_string(&mut signed, &subject.0);
    put_u64(&mut signed, limits::CANARY_SERIAL);
    put_u32(&mut signed, 1); // a user certificate
    put_string(&mut signed, b"fireaxe/canary");
    put_string(&mut signed, &principals);
    put_u64(&mut signed, 0);
    put_u64(&mut signed, 1);
    put_string(&mut signed, b"");
    put_string(&mut signed, b"");
    put_string(&mut signed, b"");
    put_string(&mut signed, &canary_ca().to_blob());
    let signature = signing_key(b"fireaxe canary").sign(&signed);
    to_openssh(&assemble(signed, &signature.to_bytes()))
}

fn signing_key(name: &[u8]) -> SigningKey {
    SigningKey::from_bytes(&Sha256::digest(name).into())
}
