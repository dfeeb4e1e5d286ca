//! Where things lie (XDG base directories), and that they are this user's alone.
//!
//! | place | trusted | what whoever can change it gains |
//! |---|---|---|
//! | the configuration | yes | another CA, another key: refused when others could write it |
//! | `ca.json` (remembered keys) | yes | a CA of theirs is believed, as far as the pin lets them answer |
//! | `known_hosts` (the host CA's line) | yes | ssh takes another machine for a host of the policy |
//! | the sockets' directory | yes | an agent of theirs is asked; mode 0700 and owner are checked |

use std::fs::{DirBuilder, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a place cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum PlaceError {
    /// There is no home to put anything in.
    #[error(
        "HOME is not set to an absolute path; set it, or FIREAXE_CONFIG, XDG_STATE_HOME and XDG_RUNTIME_DIR"
    )]
    NoHome,
    /// Somebody else could have put it there.
    #[error("{0} belongs to another user or others can write it; it must be yours alone (chmod go-w)")]
    NotOwn(String),
    /// A socket's path has its limit.
    #[error("{0} is too long for a socket's path (107 bytes); set XDG_RUNTIME_DIR to a shorter one")]
    TooLong(String),
    /// The system says no.
    #[error("{path}: {why}")]
    Io {
        /// Which.
        path: String,
        /// What the system said.
        why: String,
    },
}

/// The places of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// `config.toml`.
    pub(crate) config: PathBuf,
    /// What is remembered between runs.
    pub(crate) state: PathBuf,
    /// The agent's sockets and lock.
    pub(crate) run: PathBuf,
    /// The user's home, if there is one.
    pub(crate) home: Option<PathBuf>,
}

impl Places {
    /// Finds them by the environment; `get` is `std::env::var_os`, made a path. Makes nothing.
    pub(crate) fn find(get: impl Fn(&str) -> Option<PathBuf>) -> Result<Places, PlaceError> {
        // The XDG specification: a relative path is to be ignored.
        let absolute = |name: &str| get(name).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let under = |name: &str, rest: &str| {
            absolute(name).or_else(|| home.as_ref().map(|h| h.join(rest))).ok_or(PlaceError::NoHome)
        };
        let config = match get("FIREAXE_CONFIG") {
            Some(path) => path,
            None => under("XDG_CONFIG_HOME", ".config")?.join("fireaxe/config.toml"),
        };
        let state = under("XDG_STATE_HOME", ".local/state")?.join("fireaxe");
        let run = match absolute("XDG_RUNTIME_DIR") {
            Some(runtime) => runtime.join("fireaxe"),
            None => state.join("run"),
        };
        Ok(Places { config, state, run, home })
    }

    /// The socket ssh speaks to.
    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.run.join("agent.sock")
    }

    /// The socket the verbs speak to.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.run.join("control.sock")
    }

    /// Held by the agent that runs.
    pub(crate) fn lock(&self) -> PathBuf {
        self.run.join("agent.lock")
    }

    /// Who vouches for hosts.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.state.join("known_hosts")
    }

    /// The CA's keys as first seen.
    pub(crate) fn known_ca(&self) -> PathBuf {
        self.state.join("ca.json")
    }
}

fn io(path: &Path, error: &io::Error) -> PlaceError {
    PlaceError::Io { path: path.display().to_string(), why: error.to_string() }
}

/// Makes a directory of this user's alone (0700), or checks the one that is there.
pub(crate) fn own_directory(path: &Path) -> Result<(), PlaceError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| io(path, &e))?;
    let found = std::fs::symlink_metadata(path).map_err(|e| io(path, &e))?;
    if found.is_dir() && is_own(&found) && found.mode() & 0o077 == 0 {
        Ok(())
    } else if found.is_dir() && is_own(&found) {
        // Ours, but open: an older umask. Closing it harms nobody.
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(path, closed).map_err(|e| io(path, &e))
    } else {
        Err(PlaceError::NotOwn(path.display().to_string()))
    }
}

/// Makes the directory a key goes into (0700) if it is not there; one that is there is left as it is.
pub(crate) fn make_parent(path: &Path) -> Result<(), PlaceError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| io(path, &e))
}

/// Whether a file is this user's (or root's) and nobody else can write it.
pub(crate) fn check_own_file(path: &Path, found: &Metadata) -> Result<(), PlaceError> {
    if (is_own(found) || found.uid() == 0) && found.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(PlaceError::NotOwn(path.display().to_string()))
    }
}

fn is_own(found: &Metadata) -> bool {
    found.uid() == rustix::process::getuid().as_raw()
}

/// Replaces a file whole: written beside it (0600), flushed, renamed. A crash leaves the old one.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), PlaceError> {
    if let Some(parent) = path.parent() {
        make_parent(parent)?;
    }
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    })();
    written.map_err(|e| {
        // Best effort: the error that matters is the one being returned.
        let _ = std::fs::remove_file(&beside);
        io(path, &e)
    })
}

/// Checks that a socket can be bound at `path` at all.
pub(crate) fn check_socket_path(path: &Path) -> Result<(), PlaceError> {
    if path.as_os_str().len() > 107 { Err(PlaceError::TooLong(path.display().to_string())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn find(set: &[(&str, &str)]) -> Result<Places, PlaceError> {
        Places::find(|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| PathBuf::from(v)))
    }

    #[test]
    fn places_follow_xdg_and_relative_ones_are_ignored() {
        let plain = find(&[("HOME", "/home/ana")]).unwrap();
        assert_eq!(plain.config, Path::new("/home/ana/.config/fireaxe/config.toml"));
        assert_eq!(plain.run, Path::new("/home/ana/.local/state/fireaxe/run"));
        let xdg = find(&[
            ("HOME", "/home/ana"),
            ("XDG_CONFIG_HOME", "relative"),
            ("XDG_STATE_HOME", "/s"),
            ("XDG_RUNTIME_DIR", "/run/user/1"),
        ])
        .unwrap();
        assert_eq!(xdg.config, Path::new("/home/ana/.config/fireaxe/config.toml"));
        assert_eq!(
            (xdg.state.as_path(), xdg.run.as_path()),
            (Path::new("/s/fireaxe"), Path::new("/run/user/1/fireaxe"))
        );
        assert_eq!(find(&[("FIREAXE_CONFIG", "/c"), ("HOME", "/h")]).unwrap().config, Path::new("/c"));
        assert_eq!(find(&[]), Err(PlaceError::NoHome));
    }

    #[test]
    fn a_directory_is_closed_to_others_and_a_file_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        own_directory(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        own_directory(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let file = path.join("config.toml");
        replace(&file, "x").unwrap();
        check_own_file(&file, &std::fs::metadata(&file).unwrap()).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o664)).unwrap();
        assert!(check_own_file(&file, &std::fs::metadata(&file).unwrap()).is_err());
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "something was left beside the file");
    }
}
