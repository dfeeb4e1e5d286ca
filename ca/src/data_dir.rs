//! Where everything of one CA lies on disk.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The folder that `init` makes and everything else takes as `--data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// The folder at `path`.
    pub fn at(path: &Path) -> DataDir {
        DataDir(path.to_owned())
    }

    /// Itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The log: the truth. Backed up, never edited.
    pub fn log(&self) -> PathBuf {
        self.0.join("log.sqlite")
    }

    /// The state as of some entry of it, signed: may be deleted; the next start then reads the whole log.
    pub fn snapshot(&self) -> PathBuf {
        self.0.join("state.snapshot")
    }

    /// Lists made from it: may be deleted.
    pub fn views(&self) -> PathBuf {
        self.0.join("views.sqlite")
    }

    /// The index of what recordings showed: a view, may be deleted. In clear, as they are.
    pub fn search(&self) -> PathBuf {
        self.0.join("search.sqlite")
    }

    /// What hosts recorded: evidence that the log holds the hashes of.
    pub fn recordings(&self) -> PathBuf {
        self.0.join("recordings")
    }

    /// Private keys.
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// The TLS certificate that clients pin.
    pub fn tls_certificate(&self) -> PathBuf {
        self.0.join("tls.crt")
    }

    /// Its private key.
    pub fn tls_key(&self) -> PathBuf {
        self.keys().join("tls")
    }

    /// A head that the log's key signed and that this log does not have.
    pub fn fence_note(&self) -> PathBuf {
        self.0.join("fence.note")
    }

    /// Which file on which machine was served last.
    pub fn log_home(&self) -> PathBuf {
        self.0.join("log.home")
    }

    /// Says that this log was copied or restored, and that nobody has confirmed its head since.
    pub fn unconfirmed(&self) -> PathBuf {
        self.0.join("unconfirmed")
    }

    /// The operator's local socket, while `serve` runs.
    pub fn operator_socket(&self) -> PathBuf {
        self.0.join("operator.sock")
    }
}

/// Puts a small file in place of whatever has its name, whole or not at all, and returns once that is on the disk.
pub(crate) fn put_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file =
        fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
