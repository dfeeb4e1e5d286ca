//! The note beside a revocation list: which list, which version, when. Signed under its own key.
//!
//! A list alone is unsigned; the note lets a host refuse an older or another log's list. How old is too
//! old is left to the host.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::log::Hash;
use crate::log::checkpoint::hash_of_base64;
use crate::log::note::{self, NoteError, NoteKey, NoteSigner};
use crate::names::Origin;

/// What is said of one revocation list. Lists are ordered by (version, time).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KrlNote {
    /// The log's name. The note's first line, and the name of its key, is `<origin>/krl`.
    pub origin: Origin,
    /// SHA-256 of the list's bytes.
    pub krl: Hash,
    /// Index of the newest entry the list reflects.
    pub version: u64,
    /// When it was made, unix seconds.
    pub time: u64,
}

/// Why a note does not speak for a revocation list of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KrlNoteError {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Not name, hash, version and time, a line each, in their one spelling.
    #[error("not a revocation list's note: name, hash, version and time, one a line")]
    Text,
    /// Another log's.
    #[error("the revocation list's note is another log's")]
    Origin,
}

impl KrlNote {
    /// The name that keys for these notes carry: `<origin>/krl`.
    pub fn key_name(origin: &Origin) -> String {
        format!("{origin}/krl")
    }

    fn text(&self) -> String {
        let (name, hash) = (KrlNote::key_name(&self.origin), STANDARD.encode(self.krl.0));
        format!("{name}\n{hash}\n{}\n{}\n", self.version, self.time)
    }

    fn parse(text: &str) -> Option<KrlNote> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let note = KrlNote {
            origin: lines.next()?.strip_suffix("/krl")?.parse().ok()?,
            krl: hash_of_base64(lines.next()?)?,
            version: lines.next()?.parse().ok()?,
            time: lines.next()?.parse().ok()?,
        };
        // Also refuses signs, leading zeroes and further lines.
        (note.text() == text).then_some(note)
    }

    /// The signed note. The signer's name must be [`KrlNote::key_name`].
    pub fn sign(&self, signer: &NoteSigner) -> Result<String, KrlNoteError> {
        if signer.key().name() != KrlNote::key_name(&self.origin) {
            return Err(KrlNoteError::Origin);
        }
        Ok(signer.sign(&self.text())?)
    }

    /// Opens the note of a revocation list of the log `origin`.
    pub fn open(note: &str, key: &NoteKey, origin: &Origin) -> Result<KrlNote, KrlNoteError> {
        if key.name() != KrlNote::key_name(origin) {
            return Err(KrlNoteError::Origin);
        }
        let opened = KrlNote::parse(note::open(note, &[key])?.text).ok_or(KrlNoteError::Text)?;
        if opened.origin == *origin { Ok(opened) } else { Err(KrlNoteError::Origin) }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    fn origin(name: &str) -> Origin {
        format!("{name}/0123456789abcdef").parse().unwrap()
    }

    fn signer(name: &str) -> NoteSigner {
        NoteSigner::new(&KrlNote::key_name(&origin(name)), SigningKey::from_bytes(&[2; 32])).unwrap()
    }

    fn note() -> KrlNote {
        KrlNote { origin: origin("ca"), krl: Hash::of(b"list"), version: 9, time: 1_700_000_000 }
    }

    #[test]
    fn it_binds_list_version_and_time() {
        let text = note().sign(&signer("ca")).unwrap();
        assert!(text.starts_with("ca/0123456789abcdef/krl\n"));
        assert_eq!(KrlNote::open(&text, signer("ca").key(), &origin("ca")), Ok(note()));
        for (from, to) in [("\n9\n", "\n8\n"), ("1700000000", "1700000001"), ("ca/", "cb/")] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(KrlNote::open(&changed, signer("ca").key(), &origin("ca")).is_err());
        }
    }

    #[test]
    fn another_logs_note_or_key_and_a_checkpoints_key_are_refused() {
        let text = note().sign(&signer("ca")).unwrap();
        assert_eq!(note().sign(&signer("cb")), Err(KrlNoteError::Origin));
        assert_eq!(KrlNote::open(&text, signer("cb").key(), &origin("cb")), Err(NoteError::Unsigned.into()));
        let checkpoints = NoteSigner::new(origin("ca").as_str(), SigningKey::from_bytes(&[2; 32])).unwrap();
        assert_eq!(KrlNote::open(&text, checkpoints.key(), &origin("ca")), Err(KrlNoteError::Origin));
        let crossed = signer("ca").sign(&KrlNote { origin: origin("cb"), ..note() }.text()).unwrap();
        assert_eq!(KrlNote::open(&crossed, signer("ca").key(), &origin("ca")), Err(KrlNoteError::Origin));
    }

    #[test]
    fn only_one_spelling_is_read() {
        let good = note().text();
        for bad in [
            good.replace("\n9", "\n09"),
            good.replace("\n9", "\n+9"),
            good.replace("/krl", ""),
            format!("{good}more\n"),
            good.trim_end().to_string(),
        ] {
            let signed = signer("ca").sign(&bad);
            let opened = signed.map(|note| KrlNote::open(&note, signer("ca").key(), &origin("ca")));
            assert!(!matches!(opened, Ok(Ok(_))), "{bad:?}");
        }
    }
}
