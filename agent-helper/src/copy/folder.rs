//! The folder of a copy: this user's alone (0700, files 0600), each file whole or not there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fireaxe_protocol::log::tiles::TilePath;

use super::CopyError;

/// A folder, and the lock of whoever writes in it.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    _lock: File,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CopyError + use<> {
    let path = path.display().to_string();
    move |error| CopyError::File { path, why: error.to_string() }
}

impl Folder {
    /// Makes it, or takes the one that is there. One process at a time.
    pub(crate) fn open(root: &Path) -> Result<Folder, CopyError> {
        make(root)?;
        let path = root.join(".lock");
        let lock = private().open(&path).map_err(failed(&path))?;
        lock.try_lock().map_err(|_| CopyError::Busy(root.display().to_string()))?;
        Ok(Folder { root: root.to_owned(), _lock: lock })
    }

    /// Where a part of it lies. `name` is this program's own: a tile's path, a host's and a recording's name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A tile, if it is there.
    pub(super) fn tile(&self, path: &TilePath) -> Option<Vec<u8>> {
        fs::read(self.path(&path.to_string())).ok()
    }

    /// Whether a tile is there.
    pub(super) fn has(&self, path: &TilePath) -> bool {
        fs::metadata(self.path(&path.to_string())).is_ok_and(|found| found.is_file())
    }

    /// Keeps a tile.
    pub(super) fn keep(&self, path: &TilePath, bytes: &[u8]) -> Result<(), CopyError> {
        self.replace(&path.to_string(), bytes)
    }

    /// Takes a partial tile away that a fuller one took the place of.
    pub(super) fn drop(&self, path: &TilePath) {
        let path = self.path(&path.to_string());
        // What stays is in nobody's way.
        let _ = fs::remove_file(&path);
        if let Some(folder) = path.parent() {
            let _ = fs::remove_dir(folder);
        }
    }

    /// A small text, if it is there.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, CopyError> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path)(error)),
        }
    }

    /// Replaces a file whole. A crash leaves the old one, but for what [`Folder::settle`] has not reached yet.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), CopyError> {
        let path = self.path(name);
        let beside = path.with_extension("new");
        if let Some(parent) = path.parent() {
            make(parent)?;
        }
        let mut file = private().truncate(true).open(&beside).map_err(failed(&beside))?;
        file.write_all(bytes).map_err(failed(&beside))?;
        fs::rename(&beside, &path).map_err(failed(&path))
    }

    /// Takes a file away.
    pub(super) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
    }

    /// Everything that was written is on the disk: one call for thousands of tiles.
    pub(super) fn settle(&self) -> Result<(), CopyError> {
        let folder = File::open(&self.root).map_err(failed(&self.root))?;
        rustix::fs::syncfs(&folder).map_err(|error| failed(&self.root)(error.into()))
    }

    /// A recording's file, made if it is not there.
    pub(crate) fn recording(&self, host: &str, name: &str) -> Result<File, CopyError> {
        let folder = self.path("recordings").join(host);
        make(&folder)?;
        let path = folder.join(name);
        private().read(true).open(&path).map_err(failed(&path))
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}

fn make(folder: &Path) -> Result<(), CopyError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))
}
