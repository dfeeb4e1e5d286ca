//! Public keys and fingerprints, one spelling each.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ssh_key::public::{Ed25519PublicKey, KeyData};

use crate::names::{NameError, shown};

/// An Ed25519 public key. Text form: `ssh-ed25519 AAAA...`, no comment (RFC 8709).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ed25519Key(pub [u8; 32]);

impl Ed25519Key {
    /// The OpenSSH fingerprint, `SHA256:...`.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.key_data())
    }

    /// The point behind the bytes, if they are one and not of small order: a signature by a key of small
    /// order proves nothing. (RFC 8032, 5.1.3; decompression costs some microseconds.)
    pub fn verifying(&self) -> Option<ed25519_dalek::VerifyingKey> {
        ed25519_dalek::VerifyingKey::from_bytes(&self.0).ok().filter(|key| !key.is_weak())
    }

    /// The key's SSH wire form: `string "ssh-ed25519"`, `string` of 32 bytes (RFC 8709, section 4).
    pub fn to_blob(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(51);
        crate::wire::put_string(&mut out, b"ssh-ed25519");
        crate::wire::put_string(&mut out, &self.0);
        out
    }

    /// Reads exactly the form that [`Ed25519Key::to_blob`] writes; any other type, a certificate too,
    /// is `None`.
    pub fn from_blob(blob: &[u8]) -> Option<Ed25519Key> {
        let mut reader = crate::wire::Reader::new(blob);
        let name = reader.string().ok()?;
        let key: [u8; 32] = reader.string().ok()?.try_into().ok()?;
        (name == b"ssh-ed25519" && reader.is_done()).then_some(Ed25519Key(key))
    }

    /// The same key as `ssh-key` knows it.
    pub fn key_data(&self) -> KeyData {
        KeyData::Ed25519(Ed25519PublicKey(self.0))
    }
}

impl From<&ed25519_dalek::SigningKey> for Ed25519Key {
    fn from(key: &ed25519_dalek::SigningKey) -> Ed25519Key {
        Ed25519Key(key.verifying_key().to_bytes())
    }
}

impl fmt::Display for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = ssh_key::PublicKey::from(self.key_data()).to_openssh().map_err(|_| fmt::Error)?;
        f.write_str(text.trim_end())
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Ed25519Key {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError {
            what: "public key",
            shown: shown(text),
            rule: "ssh-ed25519 and its base64, without a comment",
        };
        let key = ssh_key::PublicKey::from_openssh(text).map_err(|_| wrong())?;
        match key.key_data() {
            KeyData::Ed25519(data) if Ed25519Key(data.0).to_string() == text => Ok(Ed25519Key(data.0)),
            _ => Err(wrong()),
        }
    }
}

/// An OpenSSH key fingerprint: SHA-256 of the key's blob. Text form: `SHA256:` and 43 base64 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a key of any type.
    pub fn of(key: &KeyData) -> Fingerprint {
        match key.fingerprint(ssh_key::HashAlg::Sha256) {
            ssh_key::Fingerprint::Sha256(digest) => Fingerprint(digest),
            // Asked for SHA-256, so there is no other; any fixed value names nobody.
            _ => Fingerprint([0; 32]),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Fingerprint {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let digest = text.strip_prefix("SHA256:").and_then(|rest| STANDARD_NO_PAD.decode(rest).ok());
        match digest.and_then(|digest| digest.try_into().ok()) {
            Some(digest) => Ok(Fingerprint(digest)),
            None => Err(NameError {
                what: "fingerprint",
                shown: shown(text),
                rule: "SHA256: and 43 base64 characters",
            }),
        }
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'de, str>>::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(Ed25519Key, Fingerprint);
