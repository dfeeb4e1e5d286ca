//! Checkpoints (C2SP tlog-checkpoint): the log's name, size and head, signed under the log's key.
//!
//! Three lines and no extension lines: one spelling. Cosignatures of witnesses are further signature lines
//! of the same note and are skipped here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::log::Hash;
use crate::log::note::{self, NoteError, NoteKey, NoteSigner};
use crate::names::Origin;

/// The log's head at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name; also the name of the key that signs.
    pub origin: Origin,
    /// How many entries.
    pub size: u64,
    /// The root hash over them.
    pub root: Hash,
}

/// Why a note is not a checkpoint of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Not origin, size and root hash, a line each, in their one spelling.
    #[error("not a checkpoint: origin, size and root hash, one a line")]
    Text,
    /// Another log's.
    #[error("the checkpoint is another log's")]
    Origin,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// Reads the text of a checkpoint.
    pub fn parse(text: &str) -> Result<Checkpoint, CheckpointError> {
        let lines = text.strip_suffix('\n').ok_or(CheckpointError::Text)?;
        let mut lines = lines.split('\n');
        let mut line = || lines.next().ok_or(CheckpointError::Text);
        let origin: Origin = line()?.parse().map_err(|_| CheckpointError::Text)?;
        let size = line()?.parse().map_err(|_| CheckpointError::Text)?;
        let root = hash_of_base64(line()?).ok_or(CheckpointError::Text)?;
        let checkpoint = Checkpoint { origin, size, root };
        // Also refuses signs, leading zeroes and further lines.
        if checkpoint.text() == text { Ok(checkpoint) } else { Err(CheckpointError::Text) }
    }

    /// The signed note. The signer's name must be the origin.
    pub fn sign(&self, signer: &NoteSigner) -> Result<String, CheckpointError> {
        if signer.key().name() != self.origin.as_str() {
            return Err(CheckpointError::Origin);
        }
        Ok(signer.sign(&self.text())?)
    }

    /// Opens a signed checkpoint of the log `origin`. The key's name must be the origin too, so that a
    /// key configured for another log opens nothing here.
    pub fn open(note: &str, key: &NoteKey, origin: &Origin) -> Result<Checkpoint, CheckpointError> {
        if key.name() != origin.as_str() {
            return Err(CheckpointError::Origin);
        }
        let checkpoint = Checkpoint::parse(note::open(note, &[key])?.text)?;
        if checkpoint.origin == *origin { Ok(checkpoint) } else { Err(CheckpointError::Origin) }
    }
}

/// 32 bytes from standard base64 with its padding.
pub(crate) fn hash_of_base64(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok().map(Hash)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    fn origin(name: &str) -> Origin {
        format!("{name}/0123456789abcdef").parse().unwrap()
    }

    fn signer(name: &str) -> NoteSigner {
        NoteSigner::new(origin(name).as_str(), SigningKey::from_bytes(&[1; 32])).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: origin("ca"), size: 42, root: Hash([7; 32]) }
    }

    #[test]
    fn a_checkpoint_is_three_lines_and_comes_back_from_its_note() {
        let note = checkpoint().sign(&signer("ca")).unwrap();
        assert!(
            note.starts_with("ca/0123456789abcdef\n42\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n\n")
        );
        assert_eq!(Checkpoint::open(&note, signer("ca").key(), &origin("ca")), Ok(checkpoint()));
        let theirs = tlog_tiles::Checkpoint::from_bytes(checkpoint().text().as_bytes()).unwrap();
        assert_eq!((theirs.origin(), theirs.size()), ("ca/0123456789abcdef", 42));
        assert_eq!(theirs.hash().0, [7; 32]);
    }

    #[test]
    fn another_logs_checkpoint_and_another_logs_key_are_refused() {
        let note = checkpoint().sign(&signer("ca")).unwrap();
        assert_eq!(checkpoint().sign(&signer("cb")), Err(CheckpointError::Origin));
        assert_eq!(Checkpoint::open(&note, signer("cb").key(), &origin("ca")), Err(CheckpointError::Origin));
        assert_eq!(Checkpoint::open(&note, signer("ca").key(), &origin("cb")), Err(CheckpointError::Origin));
        let text = Checkpoint { origin: origin("cb"), ..checkpoint() }.text();
        let crossed = signer("ca").sign(&text).unwrap();
        assert_eq!(
            Checkpoint::open(&crossed, signer("ca").key(), &origin("ca")),
            Err(CheckpointError::Origin)
        );
    }

    #[test]
    fn only_one_spelling_is_read() {
        let good = checkpoint().text();
        assert_eq!(Checkpoint::parse(&good), Ok(checkpoint()));
        for bad in [
            "",
            "\n",
            good.trim_end(),
            &good.replace("\n42", "\n042"),
            &good.replace("\n42", "\n+42"),
            &good.replace("\n42", "\n-42"),
            &good.replace("\n42", "\n18446744073709551616"),
            &good.replace("\n42", ""),
            &good.replace("Bwc=", "Bwc"),
            &good.replace("Bwc=", "Bwd="),
            &format!("{good}\n"),
            &format!("{good}extension\n"),
            &format!(" {good}"),
            &good.replace('\n', "\r\n"),
        ] {
            assert_eq!(Checkpoint::parse(bad), Err(CheckpointError::Text), "{bad:?}");
        }
    }
}
