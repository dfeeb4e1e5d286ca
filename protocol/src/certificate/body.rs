//! The body: the exact bytes that the log holds before the CA key touches them, and the place in them
//! where the receipt goes.
//!
//! *Body* = what is signed, up to and including the signature key, without `receipt@fireaxe` and with the
//! extension list's length as if there were none. The receipt goes in and out on raw bytes, never by
//! parsing and writing again.

use super::fields::{CertificateError, Fields, Places};
use super::{Profile, RECEIPT, TERMS, TYPE};
use crate::wire::{put_string, put_u32, put_u64};

/// A certificate body. Made by [`Body::of`], [`Body::read`] or a cut; its layout is known to be sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    bytes: Vec<u8>,
    places: Places,
}

impl Body {
    /// Writes the body of a profile. The same profile, the same bytes.
    pub fn of(profile: &Profile) -> Body {
        let mut out = Vec::with_capacity(512);
        put_string(&mut out, TYPE.as_bytes());
        put_string(&mut out, &profile.nonce);
        put_string(&mut out, &profile.public_key.0);
        put_u64(&mut out, profile.serial);
        put_u32(&mut out, USER);
        put_string(&mut out, profile.key_id.as_bytes());
        put_list(&mut out, |out| {
            for principal in profile.principals.iter() {
                put_string(out, principal.to_string().as_bytes());
            }
        });
        put_u64(&mut out, profile.valid_after);
        put_u64(&mut out, profile.valid_before);
        put_list(&mut out, |out| {
            if let Some(command) = &profile.force_command {
                put_pair(out, "force-command", Some(command));
            }
            if !profile.source_address.is_empty() {
                let ranges: Vec<String> = profile.source_address.iter().map(ToString::to_string).collect();
                put_pair(out, "source-address", Some(&ranges.join(",")));
            }
        });
        // Lexical: permit-port-forwarding, permit-pty, (receipt@fireaxe,) terms@fireaxe. `Extension` is
        // ordered like its OpenSSH names, and the profile's list is sorted.
        let mut receipt = 0;
        let list = put_list(&mut out, |out| {
            for extension in &profile.extensions {
                put_pair(out, extension.openssh(), None);
            }
            receipt = out.len();
            put_pair(out, TERMS, Some(&profile.host_terms));
        });
        put_string(&mut out, b"");
        put_string(&mut out, &profile.ca_key.to_blob());
        let places = Places { list, receipt: receipt..receipt, signed_end: out.len() };
        Body { bytes: out, places }
    }

    /// Reads a body back, strictly: as the log holds it.
    pub fn read(bytes: &[u8]) -> Result<Body, CertificateError> {
        let places = Fields::of_unsigned(bytes)?.places;
        if !places.receipt.is_empty() {
            return Err(CertificateError::HasReceipt);
        }
        Ok(Body { bytes: bytes.to_vec(), places })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it says, read back from its bytes.
    pub fn fields(&self) -> Result<Fields<'_>, CertificateError> {
        Fields::of_unsigned(&self.bytes)
    }

    /// The bytes to sign: the body with the receipt at its lexical place and the list's length put right.
    /// `receipt` is not empty and at most [`crate::limits::RECEIPT`] bytes, or no host will cut it again.
    pub fn with_receipt(&self, receipt: &str) -> Vec<u8> {
        let mut pair = Vec::with_capacity(receipt.len() + 32);
        put_pair(&mut pair, RECEIPT, Some(receipt));
        let Places { list, receipt: place, .. } = &self.places;
        let mut out = Vec::with_capacity(self.bytes.len() + pair.len() + 96);
        out.extend_from_slice(part(&self.bytes, 0, list.start - LENGTH));
        put_u32(&mut out, length(list.len() + pair.len()));
        out.extend_from_slice(part(&self.bytes, list.start, place.start));
        out.extend_from_slice(&pair);
        out.extend_from_slice(part(&self.bytes, place.start, self.bytes.len()));
        out
    }

    /// The body within a certificate's bytes, whose receipt stands where `places` says.
    pub(super) fn cut_from(bytes: &[u8], places: &Places) -> Body {
        let Places { list, receipt, signed_end } = places;
        let mut out = Vec::with_capacity(signed_end - receipt.len());
        out.extend_from_slice(part(bytes, 0, list.start - LENGTH));
        put_u32(&mut out, length(list.len() - receipt.len()));
        out.extend_from_slice(part(bytes, list.start, receipt.start));
        out.extend_from_slice(part(bytes, receipt.end, *signed_end));
        let places = Places {
            list: list.start..list.end - receipt.len(),
            receipt: receipt.start..receipt.start,
            signed_end: out.len(),
        };
        Body { bytes: out, places }
    }
}

/// Writes a length-prefixed list; returns where it stands.
fn put_list(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) -> std::ops::Range<usize> {
    let start = out.len() + LENGTH;
    put_u32(out, 0);
    fill(out);
    let list = start..out.len();
    let bytes = length(list.len()).to_be_bytes();
    for (place, byte) in out.iter_mut().skip(start - LENGTH).zip(bytes) {
        *place = byte;
    }
    list
}

/// A flag has empty data; a value is one SSH string inside the data.
fn put_pair(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    put_string(out, name.as_bytes());
    match value {
        None => put_string(out, b""),
        Some(value) => {
            put_u32(out, length(value.len() + LENGTH));
            put_string(out, value.as_bytes());
        }
    }
}

/// Places are offsets into these very bytes, so the empty answer never comes.
fn part(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    bytes.get(start..end).unwrap_or_default()
}

fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// SSH2_CERT_TYPE_USER.
const USER: u32 = 1;
/// Bytes of a length.
const LENGTH: usize = 4;
