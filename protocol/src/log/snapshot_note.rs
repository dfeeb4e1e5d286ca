//! The note in front of a snapshot: which state, of how much of the log, by which program. Signed under the
//! log's key, by a name of its own.
//!
//! A snapshot is the CA's cache: nobody else reads one. The note lets the CA refuse one that it did not make,
//! of another log, or of entries that the log does not have. Reading the tree is left to the CA.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::limits;
use crate::log::Hash;
use crate::log::checkpoint::hash_of_base64;
use crate::log::note::{self, NoteError, NoteKey, NoteSigner};
use crate::names::Origin;

/// What is said of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotNote {
    /// The log's name. The note's first line, and the name of its key, is `<origin>/snapshot`.
    pub origin: Origin,
    /// How many entries are folded into it.
    pub size: u64,
    /// Head of the tree of those entries.
    pub root: Hash,
    /// Who can read it: the shape of the state, and the program that folded it. Printable ASCII, 1 to
    /// [`limits::SNAPSHOT_SHAPE`] bytes. Any other than one's own is not read.
    pub shape: String,
    /// SHA-256 of the state's bytes.
    pub state: Hash,
    /// When the log was last folded from entry 0 on for it, unix seconds; what it was made from since is
    /// snapshots.
    pub whole_at: u64,
}

/// Why a note does not speak for a snapshot of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SnapshotNoteError {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Not name, size, head, shape, hash and time, a line each, in their one spelling.
    #[error("not a snapshot's note: name, size, head, shape, hash and time, one a line")]
    Text,
    /// Another log's.
    #[error("the snapshot's note is another log's")]
    Origin,
}

impl SnapshotNote {
    /// The name that keys for these notes carry: `<origin>/snapshot`. No origin ends like that, so no
    /// checkpoint is a snapshot's note and no snapshot's note a checkpoint, though one key signs both.
    pub fn key_name(origin: &Origin) -> String {
        format!("{origin}/snapshot")
    }

    fn text(&self) -> String {
        let (name, root) = (SnapshotNote::key_name(&self.origin), STANDARD.encode(self.root.0));
        let state = STANDARD.encode(self.state.0);
        format!("{name}\n{}\n{root}\n{}\n{state}\n{}\n", self.size, self.shape, self.whole_at)
    }

    fn parse(text: &str) -> Option<SnapshotNote> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let note = SnapshotNote {
            origin: lines.next()?.strip_suffix("/snapshot")?.parse().ok()?,
            size: lines.next()?.parse().ok()?,
            root: hash_of_base64(lines.next()?)?,
            shape: lines.next().filter(|shape| is_shape(shape))?.to_owned(),
            state: hash_of_base64(lines.next()?)?,
            whole_at: lines.next()?.parse().ok()?,
        };
        // Also refuses signs, leading zeroes and further lines.
        (note.text() == text).then_some(note)
    }

    /// The signed note. The signer's name must be [`SnapshotNote::key_name`].
    pub fn sign(&self, signer: &NoteSigner) -> Result<String, SnapshotNoteError> {
        if signer.key().name() != SnapshotNote::key_name(&self.origin) {
            return Err(SnapshotNoteError::Origin);
        }
        if !is_shape(&self.shape) {
            return Err(SnapshotNoteError::Text);
        }
        Ok(signer.sign(&self.text())?)
    }

    /// Opens the note of a snapshot of the log `origin`.
    pub fn open(note: &str, key: &NoteKey, origin: &Origin) -> Result<SnapshotNote, SnapshotNoteError> {
        if key.name() != SnapshotNote::key_name(origin) {
            return Err(SnapshotNoteError::Origin);
        }
        let opened = SnapshotNote::parse(note::open(note, &[key])?.text).ok_or(SnapshotNoteError::Text)?;
        if opened.origin == *origin { Ok(opened) } else { Err(SnapshotNoteError::Origin) }
    }
}

fn is_shape(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    (1..=limits::SNAPSHOT_SHAPE).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::log::Checkpoint;

    fn origin(name: &str) -> Origin {
        format!("{name}/0123456789abcdef").parse().unwrap()
    }

    fn named(name: &str) -> NoteSigner {
        NoteSigner::new(name, SigningKey::from_bytes(&[1; 32])).unwrap()
    }

    fn signer(name: &str) -> NoteSigner {
        named(&SnapshotNote::key_name(&origin(name)))
    }

    fn note() -> SnapshotNote {
        let (root, state) = (Hash([7; 32]), Hash::of(b"state"));
        let shape = "state/1 fireaxe-ca/0.1.0".to_owned();
        SnapshotNote { origin: origin("ca"), size: 42, root, shape, state, whole_at: 1_700_000_000 }
    }

    #[test]
    fn it_binds_log_size_head_shape_state_and_time() {
        let text = note().sign(&signer("ca")).unwrap();
        assert!(text.starts_with("ca/0123456789abcdef/snapshot\n42\nBwcH"));
        assert_eq!(SnapshotNote::open(&text, signer("ca").key(), &origin("ca")), Ok(note()));
        let state = STANDARD.encode(note().state.0);
        let other = STANDARD.encode(Hash::of(b"other").0);
        for (from, to) in [
            ("ca/", "cb/"),
            ("\n42\n", "\n43\n"),
            ("BwcH", "BwcI"),
            ("state/1", "state/2"),
            (&state, &other),
            ("1700000000", "1700000001"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(SnapshotNote::open(&changed, signer("ca").key(), &origin("ca")).is_err(), "{from}");
        }
    }

    #[test]
    fn no_checkpoint_is_one_and_it_is_no_checkpoint_though_one_key_signs_both() {
        let snapshot = note().sign(&signer("ca")).unwrap();
        let of_heads = named(origin("ca").as_str());
        assert!(Checkpoint::open(&snapshot, of_heads.key(), &origin("ca")).is_err());
        assert!(SnapshotNote::key_name(&origin("ca")).parse::<Origin>().is_err(), "no log is called so");
        let head = Checkpoint { origin: origin("ca"), size: 42, root: Hash([7; 32]) };
        let head = head.sign(&of_heads).unwrap();
        let opened = SnapshotNote::open(&head, signer("ca").key(), &origin("ca"));
        assert_eq!(opened, Err(NoteError::Unsigned.into()));
        // Nor under each other's name, were somebody to ask for it.
        assert_eq!(note().sign(&of_heads), Err(SnapshotNoteError::Origin));
        assert!(
            Checkpoint { origin: origin("ca"), size: 42, root: Hash([7; 32]) }.sign(&signer("ca")).is_err()
        );
    }

    #[test]
    fn another_logs_note_or_key_is_refused() {
        let text = note().sign(&signer("ca")).unwrap();
        let theirs = SnapshotNote::open(&text, signer("cb").key(), &origin("cb"));
        assert_eq!(theirs, Err(NoteError::Unsigned.into()));
        let crossed = signer("ca").sign(&SnapshotNote { origin: origin("cb"), ..note() }.text()).unwrap();
        let opened = SnapshotNote::open(&crossed, signer("ca").key(), &origin("ca"));
        assert_eq!(opened, Err(SnapshotNoteError::Origin));
    }

    #[test]
    fn only_one_spelling_is_read() {
        let good = note().text();
        for bad in [
            good.replace("\n42", "\n042"),
            good.replace("\n42", "\n+42"),
            good.replace("/snapshot", ""),
            good.replace("state/1 fireaxe-ca/0.1.0", ""),
            good.replace("state/1", &"x".repeat(limits::SNAPSHOT_SHAPE + 1)),
            format!("{good}more\n"),
            good.trim_end().to_string(),
        ] {
            let signed = signer("ca").sign(&bad);
            let opened = signed.map(|note| SnapshotNote::open(&note, signer("ca").key(), &origin("ca")));
            assert!(!matches!(opened, Ok(Ok(_))), "{bad:?}");
        }
        let at_the_limit = SnapshotNote { shape: "x".repeat(limits::SNAPSHOT_SHAPE), ..note() };
        let text = at_the_limit.sign(&signer("ca")).unwrap();
        assert_eq!(SnapshotNote::open(&text, signer("ca").key(), &origin("ca")), Ok(at_the_limit));
    }
}
