//! The certificate as a whole: body, receipt and signature put together, and the one line of text that
//! carries it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::TYPE;
use super::fields::CertificateError;
use crate::limits;
use crate::wire::{put_string, put_u32};

/// The certificate's bytes: what was signed, and the CA's Ed25519 signature over it.
pub fn assemble(signed: Vec<u8>, signature: &[u8; 64]) -> Vec<u8> {
    let mut out = signed;
    out.reserve_exact(SIGNATURE + 4);
    put_u32(&mut out, SIGNATURE as u32);
    put_string(&mut out, b"ssh-ed25519");
    put_string(&mut out, signature);
    out
}

/// `ssh-ed25519-cert-v01@openssh.com AAAA...`, no comment, no newline.
pub fn to_openssh(certificate: &[u8]) -> String {
    let mut out = String::with_capacity(TYPE.len() + 1 + certificate.len().div_ceil(3) * 4);
    out.push_str(TYPE);
    out.push(' ');
    STANDARD.encode_string(certificate, &mut out);
    out
}

/// Reads only what [`to_openssh`] writes: one spelling.
pub fn from_openssh(line: &str) -> Result<Vec<u8>, CertificateError> {
    let base64 = line
        .strip_prefix(TYPE)
        .and_then(|rest| rest.strip_prefix(' '))
        .ok_or(CertificateError::NotOpenSsh)?;
    if base64.len() > limits::CERTIFICATE.div_ceil(3) * 4 {
        return Err(CertificateError::TooLong(base64.len() / 4 * 3));
    }
    STANDARD.decode(base64).map_err(|_| CertificateError::NotOpenSsh)
}

/// `string "ssh-ed25519"` and `string` of 64 bytes.
const SIGNATURE: usize = 4 + 11 + 4 + 64;
