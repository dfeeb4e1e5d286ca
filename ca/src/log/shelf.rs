//! A folder of files that are replaced whole: what a mirror is written to, behind a small port so that a test can
//! fail each call.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::mirror::MirrorError;

/// What the mirror does to its folder. Paths are relative, of the mirror's own making.
pub(super) trait Shelf: Send {
    /// A file's bytes, at most `most` of them; nothing: there is none.
    fn read(&self, path: &str, most: usize) -> Result<Option<Vec<u8>>, MirrorError>;
    /// Puts a file in place of whatever has its name, whole or not at all. Durable after [`Shelf::sync`].
    fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), MirrorError>;
    /// Returns after all that was put has reached the disk, names too.
    fn sync(&mut self) -> Result<(), MirrorError>;
    /// Removes the files of a folder that are called by a number, but for the `keep` highest; the folder too if
    /// none is kept.
    fn clear(&mut self, folder: &str, keep: usize) -> Result<(), MirrorError>;
}

/// A folder of the file system.
pub(super) struct Folder {
    root: PathBuf,
    /// Folders with a name in them that may not be durable.
    touched: BTreeSet<PathBuf>,
    /// Files put since the last sync.
    put: usize,
    _lock: Option<File>,
}

impl Folder {
    /// For writing, by this process alone. The lock ends with the process, however it ends.
    pub(super) fn lock(root: &Path) -> Result<Folder, MirrorError> {
        let mut folder = Folder::look(root)?;
        let name = root.join(LOCK);
        let file = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(name)?;
        match file.try_lock() {
            Ok(()) => folder._lock = Some(file),
            Err(TryLockError::WouldBlock) => return Err(MirrorError::Locked),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(folder)
    }

    /// For reading.
    pub(super) fn look(root: &Path) -> Result<Folder, MirrorError> {
        if !fs::metadata(root)?.is_dir() {
            return Err(MirrorError::Missing);
        }
        Ok(Folder { root: root.to_owned(), touched: BTreeSet::new(), put: 0, _lock: None })
    }

    /// Makes the folder of a file, and notes each that gained a name.
    fn folder_of(&mut self, path: &Path) -> Result<(), MirrorError> {
        let Some(folder) = path.parent() else { return Ok(()) };
        self.touched.insert(folder.to_owned());
        if folder == self.root || folder.is_dir() {
            return Ok(());
        }
        // Never the root itself: a disk that is gone must not be replaced by a folder of its name.
        if !self.root.is_dir() {
            return Err(MirrorError::Missing);
        }
        self.folder_of(folder)?;
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Shelf for Folder {
    fn read(&self, path: &str, most: usize) -> Result<Option<Vec<u8>>, MirrorError> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(self.root.join(path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut bytes = Vec::new();
        if !file.metadata()?.is_file() {
            return Err(MirrorError::Foreign);
        }
        // One more than there may be, so that a longer one is told from one that just fits.
        file.take(most as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > most { Err(MirrorError::Foreign) } else { Ok(Some(bytes)) }
    }

    fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), MirrorError> {
        let path = self.root.join(path);
        self.folder_of(&path)?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let mut file =
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        self.put += 1;
        // Past so many, one flush of the whole file system is cheaper than one for each.
        if self.put <= FEW {
            file.sync_all()?;
        }
        Ok(fs::rename(&beside, &path)?)
    }

    fn sync(&mut self) -> Result<(), MirrorError> {
        if self.put > FEW {
            rustix::fs::syncfs(File::open(&self.root)?).map_err(std::io::Error::from)?;
        } else {
            for folder in &self.touched {
                File::open(folder)?.sync_all()?;
            }
        }
        self.touched.clear();
        self.put = 0;
        Ok(())
    }

    fn clear(&mut self, folder: &str, keep: usize) -> Result<(), MirrorError> {
        let folder = self.root.join(folder);
        let names = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let mut numbers: Vec<u16> =
            names.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        for number in numbers.iter().skip(keep) {
            fs::remove_file(folder.join(number.to_string()))?;
        }
        if keep == 0 {
            fs::remove_dir(&folder)?;
        }
        Ok(())
    }
}

impl From<std::io::Error> for MirrorError {
    fn from(error: std::io::Error) -> MirrorError {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => MirrorError::Missing,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => MirrorError::ReadOnly,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => MirrorError::Full,
            _ => MirrorError::Io(error.raw_os_error().unwrap_or(0)),
        }
    }
}

const LOCK: &str = ".lock";
/// Files that are flushed one by one: a commit puts four or five.
const FEW: usize = 16;
