//! The strict reader of certificate bytes: one walk, every offset remembered, nothing tolerated.
//!
//! Reads what a plain sshd would read and refuses what two readers could read differently: repeated or
//! unordered options, a nested certificate as authority, a filled reserved field, trailing bytes. Whether
//! the values are the right ones is `compare`'s and `lint`'s.

use std::ops::Range;

use thiserror::Error;

use super::{HostTerms, RECEIPT, TERMS, TYPE, Within};
use crate::keys::Ed25519Key;
use crate::limits;
use crate::names::{HostName, Principal};
use crate::wire::{Reader, Short};

/// Why bytes are not a certificate that we read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// Longer than [`limits::CERTIFICATE`].
    #[error("the certificate has {0} bytes; at most {max} are taken", max = limits::CERTIFICATE)]
    TooLong(usize),
    /// Not `ssh-ed25519-cert-v01@openssh.com` and its base64.
    #[error("not one line of {TYPE} and its base64")]
    NotOpenSsh,
    /// The bytes end within a field, or a length is wrong.
    #[error("the certificate's bytes end too early")]
    Short,
    /// Another type than [`TYPE`].
    #[error("the certificate is not of type {TYPE}")]
    Type,
    /// A field that is not text as it should be, or not of its length.
    #[error("the certificate's {0} is not valid")]
    Field(&'static str),
    /// Critical options or extensions are repeated or not in lexical order.
    #[error("the certificate's {0} are repeated or out of order")]
    Order(&'static str),
    /// The authority is not one plain ssh-ed25519 key (a nested certificate, another type).
    #[error("the certificate's signature key is not a plain ssh-ed25519 key")]
    CaKey,
    /// Bytes after the end.
    #[error("there are bytes after the certificate's end")]
    Trailing,
    /// No `receipt@fireaxe` where one is needed.
    #[error("the certificate carries no receipt")]
    NoReceipt,
    /// A `receipt@fireaxe` where there must be none: in a body.
    #[error("the body carries a receipt")]
    HasReceipt,
}

impl From<Short> for CertificateError {
    fn from(_: Short) -> CertificateError {
        CertificateError::Short
    }
}

/// A critical option or extension: its data is empty (a flag) or one SSH string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    /// Printable ASCII.
    pub name: &'a str,
    /// `None` for a flag.
    pub value: Option<&'a str>,
}

/// The fields of a certificate, borrowed from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields<'a> {
    /// 32 bytes.
    pub nonce: &'a [u8],
    /// The certified key.
    pub public_key: Ed25519Key,
    /// Its serial.
    pub serial: u64,
    /// 1 is a user certificate, 2 a host's.
    pub kind: u32,
    /// Printable ASCII.
    pub key_id: &'a str,
    /// Printable ASCII each. May be empty: that is for the checks to refuse.
    pub principals: Vec<&'a str>,
    /// Unix seconds.
    pub valid_after: u64,
    /// Unix seconds.
    pub valid_before: u64,
    /// In lexical order, no name twice.
    pub critical_options: Vec<Pair<'a>>,
    /// In lexical order, no name twice.
    pub extensions: Vec<Pair<'a>>,
    /// The key that is said to have signed.
    pub ca_key: Ed25519Key,
    pub(super) places: Places,
}

/// Where things stand in the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    /// The extension list without its four length bytes.
    pub(super) list: Range<usize>,
    /// Where `receipt@fireaxe` stands, or the empty place where it belongs.
    pub(super) receipt: Range<usize>,
    /// End of the signature key: the end of what is signed.
    pub(super) signed_end: usize,
}

impl<'a> Fields<'a> {
    /// The host of its only principal, if it has one alone and that is one host's.
    pub fn only_host(&self) -> Option<HostName> {
        let [principal] = self.principals.as_slice() else { return None };
        principal.parse::<Principal>().ok()?.host()
    }

    /// The certificate that it says it was made of.
    pub fn within(&self) -> Option<Within> {
        HostTerms::from_json(self.extension(TERMS)?.value?)?.within
    }

    /// Reads the to-be-signed bytes: no signature, nothing after the signature key.
    pub fn of_unsigned(bytes: &'a [u8]) -> Result<Fields<'a>, CertificateError> {
        let (fields, rest) = Fields::walk(bytes)?;
        if rest.is_empty() { Ok(fields) } else { Err(CertificateError::Trailing) }
    }

    /// Reads a whole certificate; returns its raw Ed25519 signature too, unchecked.
    pub fn of_signed(bytes: &'a [u8]) -> Result<(Fields<'a>, [u8; 64]), CertificateError> {
        let (fields, rest) = Fields::walk(bytes)?;
        let mut outer = Reader::new(rest);
        let mut inner = Reader::new(outer.string()?);
        if !outer.is_done() {
            return Err(CertificateError::Trailing);
        }
        let wrong = |_| CertificateError::Field("signature");
        let name = inner.string().map_err(wrong)?;
        let raw = inner.string().map_err(wrong)?;
        match <[u8; 64]>::try_from(raw) {
            Ok(signature) if name == b"ssh-ed25519" && inner.is_done() => Ok((fields, signature)),
            _ => Err(CertificateError::Field("signature")),
        }
    }

    /// The extension of that name, if it is there.
    pub fn extension(&self, name: &str) -> Option<Pair<'a>> {
        self.extensions.iter().find(|pair| pair.name == name).copied()
    }

    fn walk(bytes: &'a [u8]) -> Result<(Fields<'a>, &'a [u8]), CertificateError> {
        if bytes.len() > limits::CERTIFICATE {
            return Err(CertificateError::TooLong(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        if reader.string()? != TYPE.as_bytes() {
            return Err(CertificateError::Type);
        }
        let nonce = reader.string()?;
        if nonce.len() != 32 {
            return Err(CertificateError::Field("nonce"));
        }
        let public_key: [u8; 32] =
            reader.string()?.try_into().map_err(|_| CertificateError::Field("public key"))?;
        let serial = reader.u64()?;
        let kind = reader.u32()?;
        let key_id = text("key id", reader.string()?)?;
        let principals = read_principals(reader.string()?)?;
        let valid_after = reader.u64()?;
        let valid_before = reader.u64()?;
        let (critical_options, _) = read_pairs("critical options", reader.string()?)?;
        let list = reader.string()?;
        let list_end = bytes.len() - reader.rest().len();
        let list_start = list_end - list.len();
        let (extensions, receipt) = read_pairs("extensions", list)?;
        if !reader.string()?.is_empty() {
            return Err(CertificateError::Field("reserved field"));
        }
        let ca_key = Ed25519Key::from_blob(reader.string()?).ok_or(CertificateError::CaKey)?;
        let places = Places {
            list: list_start..list_end,
            receipt: list_start + receipt.start..list_start + receipt.end,
            signed_end: bytes.len() - reader.rest().len(),
        };
        let fields = Fields {
            nonce,
            public_key: Ed25519Key(public_key),
            serial,
            kind,
            key_id,
            principals,
            valid_after,
            valid_before,
            critical_options,
            extensions,
            ca_key,
            places,
        };
        Ok((fields, reader.rest()))
    }
}

fn read_principals(list: &[u8]) -> Result<Vec<&str>, CertificateError> {
    let mut reader = Reader::new(list);
    let mut principals = Vec::new();
    while !reader.is_done() {
        principals.push(text("principals", reader.string()?)?);
        if principals.len() > SSHD_PRINCIPALS {
            return Err(CertificateError::Field("principals"));
        }
    }
    Ok(principals)
}

/// Reads a list of options; also where in it `receipt@fireaxe` stands or belongs.
fn read_pairs<'a>(
    what: &'static str,
    list: &'a [u8],
) -> Result<(Vec<Pair<'a>>, Range<usize>), CertificateError> {
    let mut reader = Reader::new(list);
    let mut pairs: Vec<Pair<'a>> = Vec::new();
    let mut receipt = 0..0;
    while !reader.is_done() {
        let start = list.len() - reader.rest().len();
        let name = text(what, reader.string()?)?;
        let data = reader.string()?;
        let value = if data.is_empty() {
            None
        } else {
            let mut inner = Reader::new(data);
            let value = inner.string().map_err(|_| CertificateError::Field(what))?;
            if !inner.is_done() {
                return Err(CertificateError::Field(what));
            }
            Some(std::str::from_utf8(value).map_err(|_| CertificateError::Field(what))?)
        };
        if pairs.last().is_some_and(|last| last.name >= name) {
            return Err(CertificateError::Order(what));
        }
        let end = list.len() - reader.rest().len();
        if name < RECEIPT {
            receipt = end..end;
        } else if name == RECEIPT {
            receipt = start..end;
        }
        pairs.push(Pair { name, value });
    }
    Ok((pairs, receipt))
}

/// Printable ASCII: what no log line, terminal or second reader can take for something else.
fn text<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str, CertificateError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(|b| b.is_ascii_graphic() || *b == b' ') => Ok(text),
        _ => Err(CertificateError::Field(what)),
    }
}

/// sshd takes 256 (SSHKEY_CERT_MAX_PRINCIPALS) and refuses the certificate at one more.
const SSHD_PRINCIPALS: usize = 256;
