//! Signing in memory with a software key.
//!
//! People sign through `ssh-keygen -Y sign` (agents, FIDO keys and key files alike). This is for keys that
//! a program holds itself: tests and the load generator.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha512};

use crate::keys::Ed25519Key;
use crate::statement::{Envelope, Kind};
use crate::wire::{put_string, put_u32};

/// Signs `statement` under `kind`'s namespace with a software key: SSHSIG with SHA-512, armored like
/// `ssh-keygen -Y sign` does (PROTOCOL.sshsig). Proves no presence.
pub fn sign_ed25519(key: &SigningKey, kind: Kind, statement: &str) -> Envelope {
    let signature = key.sign(&signed_data(kind.namespace(), "sha512", &Sha512::digest(statement)));
    let mut value = Vec::with_capacity(83);
    put_string(&mut value, b"ssh-ed25519");
    put_string(&mut value, &signature.to_bytes());

    let mut blob = Vec::with_capacity(256);
    blob.extend_from_slice(b"SSHSIG");
    put_u32(&mut blob, 1);
    put_string(&mut blob, &Ed25519Key::from(key).to_blob());
    put_string(&mut blob, kind.namespace().as_bytes());
    put_string(&mut blob, b"");
    put_string(&mut blob, b"sha512");
    put_string(&mut blob, &value);
    Envelope { statement: statement.to_owned(), signature: armor(&blob) }
}

/// What an SSHSIG's signature is over: magic, namespace, empty reserved, hash name, hash.
pub(super) fn signed_data(namespace: &str, hash: &str, digest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(6 + 4 * 4 + namespace.len() + hash.len() + digest.len());
    out.extend_from_slice(b"SSHSIG");
    put_string(&mut out, namespace.as_bytes());
    put_string(&mut out, b"");
    put_string(&mut out, hash.as_bytes());
    put_string(&mut out, digest);
    out
}

/// 70 characters a line, as `ssh-keygen` writes.
fn armor(blob: &[u8]) -> String {
    let mut out = String::with_capacity(blob.len() * 4 / 3 + 80);
    out.push_str("-----BEGIN SSH SIGNATURE-----");
    for (n, c) in STANDARD.encode(blob).chars().enumerate() {
        if n % 70 == 0 {
            out.push('\n');
        }
        out.push(c);
    }
    out.push_str("\n-----END SSH SIGNATURE-----\n");
    out
}
