//! The file: a signed note, a zero byte, the state's bytes. Nothing of the state is parsed before the note's
//! signature and the hash of its bytes hold.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fireaxe_protocol::limits;
use fireaxe_protocol::log::{Hash, NoteError, NoteKey, NoteSigner, SnapshotNote, SnapshotNoteError};
use thiserror::Error;

use crate::log::{Beginning, LogError, Reader};
use crate::state::{State, Unreadable};

/// A state and how much of the log it holds. Made by a fold, or read from a file that the CA signed.
#[derive(Debug)]
pub struct Snapshot {
    /// The state.
    pub state: State,
    /// The entries that are folded into it.
    pub beginning: Beginning,
    /// When the log was last folded from entry 0 on for it, unix seconds.
    pub whole_at: u64,
}

/// Why a snapshot is not used. None of these is a fault of the log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unfit {
    /// The file cannot be read or written.
    #[error("the snapshot's file: {0}")]
    File(String),
    /// Larger than [`limits::SNAPSHOT`].
    #[error("it is larger than {limit} bytes", limit = limits::SNAPSHOT)]
    TooLarge,
    /// There is no note in front, or one that is not signed by this log's key for a snapshot of this log.
    #[error(transparent)]
    Note(#[from] SnapshotNoteError),
    /// The bytes are not those that were signed.
    #[error("its bytes are not those that were signed")]
    Damaged,
    /// Another version of the program made it.
    #[error("another version of this program made it")]
    Shape,
    /// The log has fewer entries.
    #[error("it is of {0} entries, and the log has fewer")]
    Beyond(u64),
    /// The log begins with other entries.
    #[error("the log begins with other entries than those in it")]
    OtherTree,
    /// The tree cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Signed, and no state all the same.
    #[error(transparent)]
    State(#[from] Unreadable),
    /// The state says that it is of another log or of another size than the note.
    #[error("the state in it is not the one that its note names")]
    OtherState,
}

impl Unfit {
    fn file(error: &io::Error) -> Unfit {
        Unfit::File(error.to_string())
    }
}

/// Reads the snapshot at `path`, if there is one, and believes it only if it is of the log that `reader` reads:
/// signed by that log's key, of a beginning that the tree on the disk has. That the tree is the one under the
/// newest signed head is shown by who folds the rest ([`Reader::replay_after`]). In memory while it reads: the
/// file, and the state.
pub fn read(path: &Path, reader: &Reader) -> Result<Option<Snapshot>, Unfit> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Unfit::file(&error)),
    };
    let most = limits::SNAPSHOT as u64;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| Unfit::file(&error))?;
    if bytes.len() as u64 > most {
        return Err(Unfit::TooLarge);
    }
    let (note, state) = split(&bytes).ok_or(SnapshotNoteError::Note(NoteError::Malformed))?;
    let origin = reader.origin();
    let key = NoteKey::new(&SnapshotNote::key_name(origin), &reader.key().key());
    let note = SnapshotNote::open(note, &key.map_err(SnapshotNoteError::Note)?, origin)?;
    if note.state != Hash::of(state) {
        return Err(Unfit::Damaged);
    }
    if note.shape != shape() {
        return Err(Unfit::Shape);
    }
    match reader.root_at(note.size) {
        Ok(root) if root == note.root => {}
        Ok(_) => return Err(Unfit::OtherTree),
        Err(LogError::OutOfRange) => return Err(Unfit::Beyond(note.size)),
        Err(error) => return Err(error.into()),
    }
    let state = State::load(state)?;
    if state.entries() != note.size || state.origin() != origin {
        return Err(Unfit::OtherState);
    }
    let beginning = Beginning { size: note.size, root: note.root, last_at: state.last_at() };
    Ok(Some(Snapshot { state, beginning, whole_at: note.whole_at }))
}

/// Writes it beside `path`, makes it durable, and renames it. A crash in here leaves the one before, and at
/// most a file beside it that the next one replaces. In memory while it writes: the bytes, beside the state.
/// Returns how many there are.
pub fn write(path: &Path, snapshot: &Snapshot, signer: &NoteSigner) -> Result<usize, Unfit> {
    let state = snapshot.state.save()?;
    let Beginning { size, root, last_at: _ } = snapshot.beginning;
    let note = SnapshotNote {
        origin: snapshot.state.origin().clone(),
        size,
        root,
        shape: shape(),
        state: Hash::of(&state),
        whole_at: snapshot.whole_at,
    };
    let note = note.sign(signer)?;
    let length = note.len() + 1 + state.len();
    if length > limits::SNAPSHOT {
        return Err(Unfit::TooLarge);
    }
    put(path, &[note.as_bytes(), &[0], &state]).map_err(|error| Unfit::file(&error))?;
    Ok(length)
}

/// Moves it out of the way, to be looked at; the one set aside before is gone.
pub(super) fn set_aside(path: &Path) -> io::Result<()> {
    fs::rename(path, beside(path, "unfit"))
}

fn put(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let new = beside(path, "new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// The note and the state's bytes.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let within = bytes.get(..bytes.len().min(limits::NOTE + 1))?;
    let end = within.iter().position(|byte| *byte == 0)?;
    let (note, rest) = bytes.split_at_checked(end)?;
    Some((std::str::from_utf8(note).ok()?, rest.get(1..)?))
}

/// Who may read what this program writes: itself. What another version folded by other rules is folded anew.
fn shape() -> String {
    format!("state/{} fireaxe-ca/{}", State::SHAPE, env!("CARGO_PKG_VERSION"))
}
