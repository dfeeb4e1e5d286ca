//! Enrolled keys: what a roster line may hold, and what it may not.

use ed25519_dalek::VerifyingKey;
use ssh_key::public::KeyData;

use crate::keys::{Ed25519Key, Fingerprint};
use crate::names::{NameError, shown};

/// A key that a roster may hold: `ssh-ed25519`, `sk-ssh-ed25519@openssh.com` or
/// `sk-ecdsa-sha2-nistp256@openssh.com`, with its comment. Made only by [`EnrolledKey::read`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledKey {
    /// The key.
    pub key: KeyData,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its comment in the roster, e.g. `ana-key-1`; printable ASCII, maybe empty.
    pub comment: String,
    /// A plain key's point, decompressed once here instead of at each signature.
    pub(super) point: Option<VerifyingKey>,
}

impl EnrolledKey {
    /// Reads one `authorized_keys`-style line without options. Refuses any other type, with the reason
    /// (RSA, ECDSA without hardware, certificates), a FIDO key for anything but `ssh:` (a web site's
    /// credential is no login key), a point of small order, and comments beyond printable ASCII.
    pub fn read(line: &str) -> Result<EnrolledKey, NameError> {
        let wrong = |rule| NameError { what: "enrolled key", shown: shown(line), rule };
        if line.len() > LINE {
            return Err(wrong("the line is longer than 1024 bytes"));
        }
        if !line.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return Err(wrong("one line of printable ASCII"));
        }
        let (algorithm, _) = line.split_once(' ').ok_or_else(|| wrong(GRAMMAR))?;
        refuse_algorithm(algorithm).map_or(Ok(()), |rule| Err(wrong(rule)))?;
        let public = ssh_key::PublicKey::from_openssh(line).map_err(|_| wrong(GRAMMAR))?;
        let key = public.key_data().clone();
        let point = point_of(&key).map_err(wrong)?;
        let comment = public.comment().as_str_lossy().to_owned();
        Ok(EnrolledKey { fingerprint: Fingerprint::of(&key), key, comment, point })
    }

    /// A host's key as a key that signs statements; none if its point is of small order.
    pub fn of_host(key: &Ed25519Key) -> Option<EnrolledKey> {
        let point = Some(key.verifying()?);
        let (fingerprint, key) = (key.fingerprint(), key.key_data());
        Some(EnrolledKey { key, fingerprint, comment: String::new(), point })
    }

    /// The key that a signature names, so that the signature can be checked before it is known whose key that
    /// is; none if no roster could hold it.
    pub fn of_signature(key: &KeyData) -> Option<EnrolledKey> {
        let point = point_of(key).ok()?;
        Some(EnrolledKey {
            fingerprint: Fingerprint::of(key),
            key: key.clone(),
            comment: String::new(),
            point,
        })
    }

    /// Whether the private half lives in a FIDO authenticator.
    pub fn is_hardware(&self) -> bool {
        !matches!(self.key, KeyData::Ed25519(_))
    }
}

/// A plain key's point, decompressed; none for a FIDO key. Else the rule that the key breaks.
fn point_of(key: &KeyData) -> Result<Option<VerifyingKey>, &'static str> {
    match key {
        KeyData::Ed25519(data) => Ed25519Key(data.0).verifying().ok_or(WEAK).map(Some),
        KeyData::SkEd25519(data) => {
            Ed25519Key(data.public_key().0).verifying().ok_or(WEAK)?;
            ssh_application(data.application()).ok_or(APPLICATION)?;
            Ok(None)
        }
        KeyData::SkEcdsaSha2NistP256(data) => {
            ssh_application(data.application()).ok_or(APPLICATION)?;
            Ok(None)
        }
        _ => Err(GRAMMAR),
    }
}

/// Why an algorithm's name is refused before its key is even decoded; `None` if it is taken.
fn refuse_algorithm(name: &str) -> Option<&'static str> {
    match name {
        "ssh-ed25519" | "sk-ssh-ed25519@openssh.com" | "sk-ecdsa-sha2-nistp256@openssh.com" => None,
        "ssh-rsa" | "ssh-dss" => Some("RSA and DSA keys are not taken; use ssh-ed25519 or a FIDO sk- key"),
        _ if name.starts_with("ecdsa-") => {
            Some("ECDSA without hardware is not taken; use ssh-ed25519 or a FIDO sk- key")
        }
        _ if name.contains("-cert-v0") => Some("a certificate is no key; enrol the key inside it"),
        _ => Some(GRAMMAR),
    }
}

/// `ssh-keygen` makes only applications that begin so; a web site's id does not.
fn ssh_application(application: &str) -> Option<()> {
    application.starts_with("ssh:").then_some(())
}

const GRAMMAR: &str = "ssh-ed25519, sk-ssh-ed25519@openssh.com or sk-ecdsa-sha2-nistp256@openssh.com, its base64, \
     and a comment; no options before it";
const WEAK: &str = "a point on the curve, not of small order";
const APPLICATION: &str = "a FIDO key made for SSH: its application begins with ssh:";
/// An sk-ecdsa key with a 255-byte application is 560 characters of base64; the rest is comment.
const LINE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";

    #[test]
    fn reads_a_plain_key_and_its_comment() {
        let key = EnrolledKey::read(&format!("{KEY} ana-spare")).unwrap();
        assert_eq!(key.comment, "ana-spare");
        assert!(!key.is_hardware());
        assert_eq!(EnrolledKey::read(KEY).unwrap().comment, "");
    }

    #[test]
    fn says_why_another_type_is_refused() {
        for (line, word) in [
            ("ssh-rsa AAAA ana", "RSA"),
            ("ecdsa-sha2-nistp256 AAAA ana", "hardware"),
            ("ssh-ed25519-cert-v01@openssh.com AAAA ana", "certificate"),
            ("sk-ssh-ed25519-cert-v01@openssh.com AAAA ana", "certificate"),
            (&format!("restrict {KEY} ana"), "options"),
            (&format!("command=\"id\" {KEY} ana"), "options"),
            ("ssh-ed25519 AAAA ana", "base64"),
            ("ssh-ed25519", "base64"),
            (&format!("{KEY} a\nssh-rsa"), "one line"),
            (&format!("{KEY} a\u{1b}[2J"), "one line"),
            (&format!("{KEY} {}", "a".repeat(1024)), "longer"),
        ] {
            let error = EnrolledKey::read(line).unwrap_err();
            assert!(error.rule.contains(word), "{line:?}: {error}");
        }
    }

    #[test]
    fn a_signatures_key_is_taken_as_a_roster_takes_it() {
        let enrolled = EnrolledKey::read(KEY).unwrap();
        assert_eq!(EnrolledKey::of_signature(&enrolled.key), Some(enrolled));
        let weak = KeyData::Ed25519(ssh_key::public::Ed25519PublicKey([0; 32]));
        assert_eq!(EnrolledKey::of_signature(&weak), None);
    }

    #[test]
    fn refuses_a_key_whose_blob_is_of_another_type() {
        let line = KEY.replace("ssh-ed25519 ", "sk-ssh-ed25519@openssh.com ");
        assert!(EnrolledKey::read(&line).is_err());
    }
}
