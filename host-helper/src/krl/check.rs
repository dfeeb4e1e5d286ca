//! Whether a list may be put in force: pure, on bytes. What sshd would make of the file on disk is left to
//! [`super::self_test`].

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::krl::{RevocationList, canary_ca};
use fireaxe_protocol::limits;
use fireaxe_protocol::log::{Hash, KrlNote};

use crate::config::Config;
use crate::krl::KrlError;

/// A list as it came, with its note.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The list.
    pub bytes: &'a [u8],
    /// The header `fireaxe-krl-note`: base64 of the signed note.
    pub note: &'a str,
}

/// A list that may be put in force once the host's own `ssh-keygen` agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Its version.
    pub version: u64,
    /// When its note was signed, unix seconds.
    pub signed_at: u64,
}

/// A list on disk that revokes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    /// Its version.
    pub version: u64,
    /// SHA-256 of its bytes.
    pub hash: Hash,
}

/// The smallest list that is more than its header: below, sshd reads "nothing is revoked".
const SMALLEST: usize = 45;

/// Checks a list that came: it must be what its note says, signed by the configured key for the configured
/// log, not older than `last` (version, time of signing), and revoke the canary for a CA trusted here.
pub fn check(
    received: &Received<'_>,
    config: &Config,
    user_ca: &[Ed25519Key],
    last: Option<(u64, u64)>,
) -> Result<Checked, KrlError> {
    let note = STANDARD.decode(received.note).map_err(|_| KrlError::Note("not base64".into()))?;
    let note = String::from_utf8(note).map_err(|_| KrlError::Note("not text".into()))?;
    let note = KrlNote::open(&note, &config.krl_key, &config.origin)
        .map_err(|error| KrlError::Note(error.to_string()))?;
    if note.krl != Hash::of(received.bytes) {
        return Err(KrlError::OtherBytes);
    }
    let list = read(received.bytes)?;
    if list.version != note.version {
        return Err(KrlError::VersionsDiffer { list: list.version, note: note.version });
    }
    if !user_ca.iter().any(|key| list.is_revoked(key, limits::CANARY_SERIAL)) {
        return Err(KrlError::OtherCa);
    }
    match last {
        Some(have) if (note.version, note.time) < have => {
            Err(KrlError::Older { found: note.version, have: have.0 })
        }
        _ => Ok(Checked { version: note.version, signed_at: note.time }),
    }
}

/// Looks at the list on disk: one of ours, that revokes.
pub fn installed(path: &Path) -> Result<Installed, KrlError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(KrlError::Missing),
        Err(error) => return Err(KrlError::Unreadable(error.to_string())),
    };
    Ok(Installed { version: read(&bytes)?.version, hash: Hash::of(&bytes) })
}

/// [`installed`], and that the list speaks of each of these CAs: it revokes the canary for them.
pub fn installed_for(path: &Path, user_ca: &[Ed25519Key]) -> Result<Installed, KrlError> {
    let found = installed(path)?;
    let bytes = fs::read(path).map_err(|error| KrlError::Unreadable(error.to_string()))?;
    let list = read(&bytes)?;
    match user_ca.iter().any(|key| list.is_revoked(key, limits::CANARY_SERIAL)) {
        true => Ok(found),
        false => Err(KrlError::OtherCa),
    }
}

fn read(bytes: &[u8]) -> Result<RevocationList, KrlError> {
    if bytes.len() < SMALLEST {
        return Err(KrlError::Short(bytes.len()));
    }
    let list = RevocationList::read(bytes).map_err(|error| KrlError::Unreadable(error.to_string()))?;
    if !list.is_revoked(&canary_ca(), limits::CANARY_SERIAL) {
        return Err(KrlError::NoCanary);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use fireaxe_protocol::krl::Krl;
    use fireaxe_protocol::log::NoteSigner;
    use fireaxe_protocol::names::Origin;

    use super::*;

    const CA: [u8; 32] = [7; 32];

    fn ca() -> Ed25519Key {
        Ed25519Key(SigningKey::from_bytes(&CA).verifying_key().to_bytes())
    }

    fn origin() -> Origin {
        "ca.fireaxe.test/0123456789abcdef".parse().unwrap()
    }

    fn signer(seed: u8) -> NoteSigner {
        NoteSigner::new(&KrlNote::key_name(&origin()), SigningKey::from_bytes(&[seed; 32])).unwrap()
    }

    fn config() -> Config {
        Config {
            addr: "https://127.0.0.1:1".parse().unwrap(),
            pin: format!("sha256:{}", "00".repeat(32)).parse().unwrap(),
            krl_key: signer(2).key().clone(),
            origin: origin(),
            user_ca: "/x".into(),
            revoked_keys: "/x".into(),
            state: "/x".into(),
            enrolled: None,
        }
    }

    fn list(version: u64, ca: Ed25519Key) -> Vec<u8> {
        let mut krl = Krl::new(version, 1_700_000_000, ca);
        krl.revoke(ca, 42).unwrap();
        krl.write()
    }

    fn note(bytes: &[u8], version: u64, time: u64, seed: u8) -> String {
        let note = KrlNote { origin: origin(), krl: Hash::of(bytes), version, time };
        STANDARD.encode(note.sign(&signer(seed)).unwrap())
    }

    fn verdict(bytes: &[u8], note: &str, last: Option<(u64, u64)>) -> Result<Checked, KrlError> {
        check(&Received { bytes, note }, &config(), &[ca()], last)
    }

    #[test]
    fn the_list_its_note_speaks_of_is_taken() {
        let bytes = list(9, ca());
        assert_eq!(
            verdict(&bytes, &note(&bytes, 9, 100, 2), None),
            Ok(Checked { version: 9, signed_at: 100 })
        );
    }

    #[test]
    fn no_cut_of_a_list_is_taken_even_with_a_note_of_its_own() {
        let bytes = list(9, ca());
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            assert!(verdict(cut, &note(cut, 9, 100, 2), None).is_err(), "{length} bytes were taken");
        }
        let longer = [bytes.as_slice(), b"\0"].concat();
        assert!(verdict(&longer, &note(&longer, 9, 100, 2), None).is_err());
        assert_eq!(verdict(&bytes[..44], &note(&bytes[..44], 9, 100, 2), None), Err(KrlError::Short(44)));
    }

    #[test]
    fn no_changed_byte_is_taken() {
        let bytes = list(9, ca());
        let note = note(&bytes, 9, 100, 2);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(verdict(&changed, &note, None), Err(KrlError::OtherBytes));
        }
    }

    #[test]
    fn another_key_another_log_and_no_note_are_refused() {
        let bytes = list(9, ca());
        assert!(matches!(verdict(&bytes, &note(&bytes, 9, 100, 3), None), Err(KrlError::Note(_))));
        assert!(matches!(verdict(&bytes, "", None), Err(KrlError::Note(_))));
        assert!(matches!(verdict(&bytes, "?", None), Err(KrlError::Note(_))));
        let other = KrlNote {
            origin: "cb/0123456789abcdef".parse().unwrap(),
            krl: Hash::of(&bytes),
            version: 9,
            time: 100,
        };
        let name = KrlNote::key_name(&other.origin);
        let signer = NoteSigner::new(&name, SigningKey::from_bytes(&[2; 32])).unwrap();
        let other = STANDARD.encode(other.sign(&signer).unwrap());
        assert!(matches!(verdict(&bytes, &other, None), Err(KrlError::Note(_))));
    }

    #[test]
    fn versions_never_go_backwards_and_neither_does_time_within_one() {
        let bytes = list(9, ca());
        let note = note(&bytes, 9, 100, 2);
        for fine in [(8, 500), (9, 100), (9, 99)] {
            assert!(verdict(&bytes, &note, Some(fine)).is_ok(), "{fine:?}");
        }
        for newer in [(10, 0), (9, 101)] {
            assert!(matches!(verdict(&bytes, &note, Some(newer)), Err(KrlError::Older { .. })), "{newer:?}");
        }
    }

    #[test]
    fn a_list_that_says_another_version_than_its_note_is_refused() {
        let bytes = list(9, ca());
        let error = verdict(&bytes, &note(&bytes, 10, 100, 2), None);
        assert_eq!(error, Err(KrlError::VersionsDiffer { list: 9, note: 10 }));
    }

    #[test]
    fn a_list_for_another_ca_is_refused() {
        let bytes = list(9, Ed25519Key([8; 32]));
        let bytes_error = verdict(&bytes, &note(&bytes, 9, 100, 2), None);
        // Whether the reader or the comparison notices first, it is not taken.
        assert!(bytes_error.is_err());
        let elsewhere = Ed25519Key(SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes());
        let bytes = list(9, elsewhere);
        assert_eq!(verdict(&bytes, &note(&bytes, 9, 100, 2), None), Err(KrlError::OtherCa));
    }
}
