//! Where everything of one CA lies on disk.

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

    /// The operator's local socket, while `serve` runs.
    pub fn operator_socket(&self) -> PathBuf {
        self.0.join("operator.sock")
    }
}
