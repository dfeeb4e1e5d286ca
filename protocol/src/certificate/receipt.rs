//! The receipt, cut out of a certificate's raw bytes.
//!
//! What remains is the body whose hash is in the log, bit for bit. Cutting believes nothing: neither the
//! CA's signature nor the receipt has been checked here.

use super::RECEIPT;
use super::body::Body;
use super::fields::{CertificateError, Fields};
use crate::limits;

/// A certificate taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// What the log holds.
    pub body: Body,
    /// The receipt's text.
    pub receipt: String,
}

/// Takes the receipt out of a whole certificate's bytes. Refuses repeated or unordered options, nested
/// certificates, another CA key type than plain ssh-ed25519, trailing bytes, a missing, empty or oversized
/// receipt, and more than [`limits::CERTIFICATE`] bytes.
pub fn cut_receipt(certificate: &[u8]) -> Result<Cut, CertificateError> {
    let (fields, _) = Fields::of_signed(certificate)?;
    let receipt = receipt_of(&fields)?.to_owned();
    Ok(Cut { body: Body::cut_from(certificate, &fields.places), receipt })
}

/// The receipt's text, which is there, not empty and within its limit.
pub(super) fn receipt_of<'a>(fields: &Fields<'a>) -> Result<&'a str, CertificateError> {
    let pair = fields.extension(RECEIPT).ok_or(CertificateError::NoReceipt)?;
    match pair.value {
        Some(text) if !text.is_empty() && text.len() <= limits::RECEIPT => Ok(text),
        _ => Err(CertificateError::Field(RECEIPT)),
    }
}
