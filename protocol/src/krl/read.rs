//! The reader: any revocation list that sshd would read, ours or another's, and what it revokes.
//!
//! As strict as sshd and a little stricter: what locks a host out there (a bitmap above 2 KiB, serial 0, a
//! cut-off section) or silently revokes nothing (a header alone) is an error here, with its name.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{
    CERTIFICATES_EXTENSION, FORMAT, KEY_ID, MAGIC, SECTION_CERTIFICATES, SECTION_EXTENSION, SECTION_KEY,
    SECTION_SHA1, SECTION_SHA256, SECTION_SIGNATURE, SERIAL_BITMAP, SERIAL_LIST, SERIAL_RANGE,
};
use crate::keys::Ed25519Key;
use crate::limits;
use crate::wire::{Reader, Short};

/// Why bytes are not a revocation list that may reach sshd.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KrlError {
    /// Longer than [`limits::KRL`].
    #[error("the revocation list has {0} bytes; at most {max} are taken", max = limits::KRL)]
    TooLong(usize),
    /// Another file: empty, text, HTML.
    #[error("not an OpenSSH revocation list")]
    Magic,
    /// A format this program and sshd do not speak.
    #[error("revocation list format {0}; only 1 is known")]
    Format(u32),
    /// The bytes end within a field.
    #[error("the revocation list is cut off")]
    Short,
    /// A header alone: sshd reads it and lets everybody in.
    #[error("the revocation list has no section: it revokes nothing")]
    HeaderOnly,
    /// A section or subsection that is not defined.
    #[error("the revocation list has a section of unknown type {0}")]
    Section(u8),
    /// An embedded signature: sshd refuses these since 9.4.
    #[error("the revocation list has an embedded signature, which sshd no longer reads")]
    Signature,
    /// An extension that must be understood and is not.
    #[error("the revocation list has a critical extension")]
    Extension,
    /// A value that its section does not allow: serial 0, a range backwards, a hash of another length.
    #[error("the revocation list has a {0} that is not valid")]
    Value(&'static str),
    /// More separate ranges than a list of [`limits::KRL`] bytes could name one by one, once bitmaps are
    /// spread out.
    #[error("the revocation list has more than {RANGES} separate ranges")]
    TooMany,
}

impl From<Short> for KrlError {
    fn from(_: Short) -> KrlError {
        KrlError::Short
    }
}

/// A revocation list, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RevocationList {
    /// Its number.
    pub version: u64,
    /// When it was made, unix seconds.
    pub generated_at: u64,
    /// By CA key blob; the empty blob is "every CA".
    sections: BTreeMap<Vec<u8>, Certificates>,
    keys: BTreeSet<Vec<u8>>,
    sha1: BTreeSet<Vec<u8>>,
    sha256: BTreeSet<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Certificates {
    /// Sorted by first, neither overlapping nor touching.
    serials: Vec<(u64, u64)>,
    key_ids: BTreeSet<Vec<u8>>,
}

impl RevocationList {
    /// Reads a list strictly: all sections that OpenSSH defines but signatures, at least one of them, and
    /// not a byte more. At most [`limits::KRL`] bytes.
    pub fn read(bytes: &[u8]) -> Result<RevocationList, KrlError> {
        if bytes.len() > limits::KRL {
            return Err(KrlError::TooLong(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len()).map_err(|_| KrlError::Magic)? != MAGIC {
            return Err(KrlError::Magic);
        }
        let format = reader.u32()?;
        if format != FORMAT {
            return Err(KrlError::Format(format));
        }
        let mut list =
            RevocationList { version: reader.u64()?, generated_at: reader.u64()?, ..Default::default() };
        reader.u64()?; // flags and reserved: to be ignored, says PROTOCOL.krl
        reader.string()?;
        reader.string()?; // comment
        if reader.is_done() {
            return Err(KrlError::HeaderOnly);
        }
        let mut ranges_left = RANGES;
        while !reader.is_done() {
            let kind = reader.byte()?;
            let section = reader.string()?;
            match kind {
                SECTION_CERTIFICATES => list.read_certificates(section, &mut ranges_left)?,
                SECTION_KEY => read_strings(section, "key", None, &mut list.keys)?,
                SECTION_SHA1 => read_strings(section, "SHA-1 fingerprint", Some(20), &mut list.sha1)?,
                SECTION_SHA256 => read_strings(section, "SHA-256 fingerprint", Some(32), &mut list.sha256)?,
                SECTION_SIGNATURE => return Err(KrlError::Signature),
                SECTION_EXTENSION => read_extension(section)?,
                other => return Err(KrlError::Section(other)),
            }
        }
        for certificates in list.sections.values_mut() {
            merge(&mut certificates.serials);
        }
        Ok(list)
    }

    /// Whether a certificate of that serial by that CA is revoked: by its serial or because the CA key is.
    pub fn is_revoked(&self, ca: &Ed25519Key, serial: u64) -> bool {
        let blob = ca.to_blob();
        self.revokes_key(&blob)
            || [blob.as_slice(), b""].iter().any(|section| {
                self.sections
                    .get(*section)
                    .is_some_and(|certificates| contains(&certificates.serials, serial))
            })
    }

    /// Whether certificates of that CA with that key id are revoked.
    pub fn revokes_key_id(&self, ca: &Ed25519Key, key_id: &str) -> bool {
        [ca.to_blob().as_slice(), b""]
            .iter()
            .any(|section| self.sections.get(*section).is_some_and(|c| c.key_ids.contains(key_id.as_bytes())))
    }

    /// Whether a key is revoked itself, by its wire form or its SHA-256. SHA-1 fingerprints are read (sshd
    /// honours them) but not compared: see [`RevocationList::has_sha1`].
    pub fn revokes_key(&self, blob: &[u8]) -> bool {
        self.keys.contains(blob) || self.sha256.contains(Sha256::digest(blob).as_slice())
    }

    /// Whether it revokes by SHA-1 fingerprints too, which this reader cannot judge.
    pub fn has_sha1(&self) -> bool {
        !self.sha1.is_empty()
    }

    fn read_certificates(&mut self, section: &[u8], ranges_left: &mut usize) -> Result<(), KrlError> {
        let mut reader = Reader::new(section);
        let ca = reader.string()?;
        if !ca.is_empty() && ssh_key::PublicKey::from_bytes(ca).is_err() {
            return Err(KrlError::Value("CA key"));
        }
        reader.string()?; // reserved
        let certificates = self.sections.entry(ca.to_vec()).or_default();
        while !reader.is_done() {
            let kind = reader.byte()?;
            let data = reader.string()?;
            let before = certificates.serials.len();
            match kind {
                SERIAL_LIST => {
                    let mut serials = Reader::new(data);
                    while !serials.is_done() {
                        let serial = serials.u64()?;
                        certificates.serials.push((serial, serial));
                    }
                }
                SERIAL_RANGE => {
                    let mut range = Reader::new(data);
                    certificates.serials.push((range.u64()?, range.u64()?));
                    if !range.is_done() {
                        return Err(KrlError::Value("range"));
                    }
                }
                SERIAL_BITMAP => read_bitmap(data, &mut certificates.serials)?,
                KEY_ID => read_strings(data, "key id", None, &mut certificates.key_ids)?,
                CERTIFICATES_EXTENSION => read_extension(data)?,
                other => return Err(KrlError::Section(other)),
            }
            let fresh = certificates.serials.get(before..).unwrap_or_default();
            if fresh.iter().any(|(first, last)| *first == 0 || first > last) {
                return Err(KrlError::Value("serial"));
            }
            *ranges_left = ranges_left.checked_sub(fresh.len()).ok_or(KrlError::TooMany)?;
        }
        Ok(())
    }
}

/// `uint64` offset and an mpint whose bit n revokes offset + n. sshd takes at most 16,384 bits.
fn read_bitmap(data: &[u8], serials: &mut Vec<(u64, u64)>) -> Result<(), KrlError> {
    let wrong = KrlError::Value("bitmap");
    let mut reader = Reader::new(data);
    let offset = reader.u64()?;
    let bits = reader.string()?;
    let bits = match bits {
        [0, rest @ ..] => rest,
        [first, ..] if *first >= 0x80 => return Err(wrong), // a negative number
        _ => bits,
    };
    if !reader.is_done() || bits.len() > BITMAP {
        return Err(wrong);
    }
    for (n, byte) in (0u64..).zip(bits.iter().rev()) {
        for bit in 0..8 {
            if byte & (1 << bit) != 0 {
                let serial = offset.checked_add(n * 8 + bit).ok_or(KrlError::Value("bitmap"))?;
                serials.push((serial, serial));
            }
        }
    }
    Ok(())
}

fn read_strings(
    data: &[u8],
    what: &'static str,
    length: Option<usize>,
    into: &mut BTreeSet<Vec<u8>>,
) -> Result<(), KrlError> {
    let mut reader = Reader::new(data);
    while !reader.is_done() {
        let value = reader.string()?;
        if value.is_empty() || length.is_some_and(|length| value.len() != length) {
            return Err(KrlError::Value(what));
        }
        into.insert(value.to_vec());
    }
    Ok(())
}

/// Name, critical or not, contents. None are defined so far.
fn read_extension(data: &[u8]) -> Result<(), KrlError> {
    let mut reader = Reader::new(data);
    reader.string()?;
    let critical = reader.byte()?;
    reader.string()?;
    match critical {
        _ if !reader.is_done() => Err(KrlError::Value("extension")),
        0 => Ok(()),
        _ => Err(KrlError::Extension),
    }
}

fn merge(serials: &mut Vec<(u64, u64)>) {
    serials.sort_unstable();
    serials.dedup_by(|later, kept| {
        let joins = later.0 <= kept.1.saturating_add(1);
        if joins {
            kept.1 = kept.1.max(later.1);
        }
        joins
    });
}

fn contains(serials: &[(u64, u64)], serial: u64) -> bool {
    let after = serials.partition_point(|(first, _)| *first <= serial);
    after.checked_sub(1).and_then(|n| serials.get(n)).is_some_and(|(_, last)| serial <= *last)
}

/// SSHBUF_MAX_BIGNUM: sshd refuses more, and with it every login.
const BITMAP: usize = 2048;
/// Two million separate ranges, 32 MiB in memory: what [`limits::KRL`] holds as a plain list.
const RANGES: usize = limits::KRL / 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_exactly_the_serials() {
        let mut serials = vec![(9, 9), (1, 2), (3, 5), (4, 4), (u64::MAX, u64::MAX), (9, 9)];
        merge(&mut serials);
        assert_eq!(serials, [(1, 5), (9, 9), (u64::MAX, u64::MAX)]);
        let inside: Vec<u64> = (0..12).filter(|n| contains(&serials, *n)).collect();
        assert_eq!(inside, [1, 2, 3, 4, 5, 9]);
        assert!(contains(&serials, u64::MAX) && !contains(&serials, u64::MAX - 1) && !contains(&[], 1));
    }
}
