//! A witness's own memory: of each log that it knows, the head that it cosigned last. Whatever is asked, by whom and
//! however often at once, no two heads are cosigned of which one does not continue the other.
//!
//! **Trusted.** The folder is all that a witness is: whoever holds its key can cosign anything in its name; whoever
//! sets a file of `logs/` back, or removes one, makes it cosign another past. It is never restored from a copy: a
//! witness that lost its disk is made anew, with another key.
//!
//! | in the folder | what |
//! |---|---|
//! | `key` | private key, OpenSSH format, mode 0600 |
//! | `name` | the witness's name, a line |
//! | `logs/<SHA-256 of the log's name>` | the signed note of the head that was cosigned last |
//! | `lock` | held by the one process that may cosign |

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fireaxe_protocol::limits;
use fireaxe_protocol::log::tree::verify_consistency;
use fireaxe_protocol::log::{
    Checkpoint, CheckpointError, Cosigner, Hash, NoteError, NoteKey, WitnessKey, note,
};
use fireaxe_protocol::names::Origin;
use thiserror::Error;

use super::exchange::AddCheckpoint;
use crate::keys::{self, KeyError};
use crate::randomness::Randomness;

/// Why there is no witness here.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// A file or folder.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The name.
    #[error("{0} is no name for a witness: no blanks, no control characters, no +")]
    Name(String),
    /// A log whose checkpoints are not this program's.
    #[error("{0} is not the name of a fireaxe log")]
    OtherLog(String),
    /// Twice the same log.
    #[error("the log {0} is given twice")]
    Twice(String),
    /// There is one already.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// Another process.
    #[error("another process cosigns from {0}")]
    Locked(PathBuf),
    /// What it remembers is not to be read, or another key's.
    #[error("{path} is not a head that {log} signed with the key that was given: {why}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Of which log.
        log: String,
        /// What is wrong.
        why: CheckpointError,
    },
}

/// What came of a request, as C2SP tlog-witness numbers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// 200: cosigned, and remembered. Signature lines.
    Cosigned(String),
    /// 400: no request, or the old size is larger than the new one.
    Malformed,
    /// 403: no known key of that log signed it.
    NotSigned,
    /// 404: not a log of this witness.
    UnknownLog,
    /// 409: the size that was cosigned last is this one; or the root of it is another.
    Has(u64),
    /// 422: the proof does not lead from that head to the new one.
    NoProof,
    /// 500: it could not be remembered, so it was not cosigned.
    NotKept,
}

/// See the file's top.
pub struct Memory {
    folder: PathBuf,
    cosigner: Cosigner,
    logs: HashMap<String, Known>,
    _lock: File,
}

struct Known {
    key: NoteKey,
    origin: Origin,
    path: PathBuf,
    /// Held from the comparison until the new head is durable: requests of one log come one after the other.
    last: Mutex<Option<Checkpoint>>,
}

impl Memory {
    /// Makes the folder of a new witness called `name`; gives its public key. The folder must not exist.
    pub fn create(folder: &Path, name: &str, random: &mut dyn Randomness) -> Result<WitnessKey, MemoryError> {
        let failed = |source| MemoryError::File { path: folder.to_owned(), source };
        if folder.exists() {
            return Err(MemoryError::Exists(folder.to_owned()));
        }
        // Before anything is made: a name that no line can carry.
        let wrong = || MemoryError::Name(fireaxe_protocol::names::shown(name));
        let probe = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
        Cosigner::new(name, probe).map_err(|_| wrong())?;
        let private = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path);
        private(folder).and_then(|()| private(&folder.join(LOGS))).map_err(failed)?;
        keys::create_one(&folder.join(KEY), "fireaxe witness", random)?;
        // Its name comes last: a folder without one is no witness.
        write(&folder.join(NAME), format!("{name}\n").as_bytes()).map_err(failed)?;
        let key = keys::load_file(&folder.join(KEY))?;
        Ok(Cosigner::new(name, key).map_err(|_| wrong())?.key().clone())
    }

    /// Opens a witness for these logs. One process at a time.
    pub fn open(folder: &Path, logs: &[NoteKey]) -> Result<Memory, MemoryError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| MemoryError::File { path, source }
        };
        let name = fs::read_to_string(folder.join(NAME)).map_err(file(&folder.join(NAME)))?;
        let name = name.trim_end_matches('\n');
        let lock = lock(folder)?;
        let cosigner = Cosigner::new(name, keys::load_file(&folder.join(KEY))?)
            .map_err(|_| MemoryError::Name(fireaxe_protocol::names::shown(name)))?;
        let mut known = HashMap::new();
        for key in logs {
            let log = fireaxe_protocol::names::shown(key.name());
            let origin: Origin = key.name().parse().map_err(|_| MemoryError::OtherLog(log.clone()))?;
            let path = folder.join(LOGS).join(Hash::of(origin.as_str().as_bytes()).to_string());
            let last = match fs::read_to_string(&path) {
                Ok(note) => {
                    let head = Checkpoint::open(&note, key, &origin);
                    let damaged = |why| MemoryError::Damaged { path: path.clone(), log: log.clone(), why };
                    Some(head.map_err(damaged)?)
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(file(&path)(error)),
            };
            let one = Known { key: key.clone(), origin, path, last: Mutex::new(last) };
            if known.insert(key.name().to_owned(), one).is_some() {
                return Err(MemoryError::Twice(log));
            }
        }
        Ok(Memory { folder: folder.to_owned(), cosigner, logs: known, _lock: lock })
    }

    /// Its public key.
    pub fn key(&self) -> &WitnessKey {
        self.cosigner.key()
    }

    /// Of each log, the size of the head that was cosigned last.
    pub fn sizes(&self) -> Vec<(String, u64)> {
        let size = |known: &Known| known.last().as_ref().map_or(0, |head| head.size);
        let mut all: Vec<_> = self.logs.iter().map(|(name, known)| (name.clone(), size(known))).collect();
        all.sort();
        all
    }

    /// `add-checkpoint`, at `now` (unix seconds). The checks are those of C2SP tlog-witness, in its order.
    pub fn add(&self, body: &[u8], now: u64) -> Verdict {
        let Some(request) = AddCheckpoint::decode(body) else { return Verdict::Malformed };
        let origin = request.checkpoint.split('\n').next().unwrap_or_default();
        let Some(known) = self.logs.get(origin) else { return Verdict::UnknownLog };
        let opened = match note::open(&request.checkpoint, &[&known.key]) {
            Ok(opened) => opened,
            Err(NoteError::Unsigned | NoteError::BadSignature) => return Verdict::NotSigned,
            Err(_) => return Verdict::Malformed,
        };
        let Ok(head) = Checkpoint::parse(opened.text) else { return Verdict::Malformed };
        if request.old > head.size {
            return Verdict::Malformed;
        }

        let mut last = known.last();
        let has = last.as_ref().map_or(0, |head| head.size);
        if request.old != has || last.as_ref().is_some_and(|l| l.size == head.size && l.root != head.root) {
            return Verdict::Has(has);
        }
        let before = last.as_ref().map_or(Hash::of(b""), |head| head.root);
        if verify_consistency(has, head.size, &request.proof, &before, &head.root).is_err() {
            return Verdict::NoProof;
        }
        if last.as_ref() != Some(&head) {
            // A crash before the new name is durable: the head before it is remembered, and nobody was told of this
            // one. After it: this one is, whether anybody was told or not, and it is cosigned again when asked.
            if let Err(error) = self.keep(known, &request.checkpoint) {
                tracing::error!(event = "witness.not_kept", log = known.origin.as_str(), %error);
                return Verdict::NotKept;
            }
            *last = Some(head);
        }
        Verdict::Cosigned(self.cosigner.cosign(opened.text, now))
    }

    fn keep(&self, known: &Known, note: &str) -> std::io::Result<()> {
        let beside = known.path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(note.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &known.path)?;
        File::open(self.folder.join(LOGS))?.sync_all()
    }
}

impl Known {
    fn last(&self) -> std::sync::MutexGuard<'_, Option<Checkpoint>> {
        // Whoever panicked in between had not told anybody: what is there was durable.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn lock(folder: &Path) -> Result<File, MemoryError> {
    let path = folder.join(LOCK);
    let failed = |source| MemoryError::File { path: path.clone(), source };
    let file = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(MemoryError::Locked(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The largest body that [`Memory::add`] looks at.
pub(super) const BODY: usize = limits::ADD_CHECKPOINT;
const KEY: &str = "key";
const NAME: &str = "name";
const LOGS: &str = "logs";
const LOCK: &str = "lock";
