//! One file replaced as a whole: whoever opens it, at any moment and after any crash, reads the old bytes
//! or the new ones, never a part and never nothing.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::HostError;

/// A file written in full beside the one it will replace. Deleted unless [`Pending::replace`] is called.
#[derive(Debug)]
pub struct Pending {
    at: PathBuf,
    target: PathBuf,
    done: bool,
}

impl Pending {
    /// Writes `bytes` beside `target` (same folder, so that the rename is atomic) and syncs them.
    ///
    /// The file is readable by all: sshd reads principals as the account that logs in.
    pub fn write(target: &Path, bytes: &[u8]) -> Result<Pending, HostError> {
        let at = beside(target);
        let failed = |error| HostError::write(&at, &error);
        // One left by a crash is not ours to continue, and may be a link: gone, then made anew.
        match fs::remove_file(&at) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let pending = Pending { at: at.clone(), target: target.to_path_buf(), done: false };
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(&at).map_err(failed)?;
        // Whatever the umask is.
        file.set_permissions(fs::Permissions::from_mode(0o644)).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        // A crash after the rename must not leave a file of the right name without its bytes: an empty
        // revocation list revokes nothing.
        file.sync_all().map_err(failed)?;
        Ok(pending)
    }

    /// Where the new bytes are until they replace the old ones.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Puts it in the place of the target.
    pub fn replace(mut self) -> Result<(), HostError> {
        // A crash before the next line: the old file. After it: the old or the new one, whole.
        fs::rename(&self.at, &self.target).map_err(|error| HostError::write(&self.target, &error))?;
        self.done = true;
        sync_folder(folder_of(&self.target))
        // A crash from here on: the new file.
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.done {
            // Nothing reads a file of this name; the next write removes it too.
            let _ = fs::remove_file(&self.at);
        }
    }
}

/// Where a file is written before it replaces `target`. sshd reads `*.conf` in the drop-in folder: a leading dot
/// and another ending keep this one out.
fn beside(target: &Path) -> PathBuf {
    let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    folder_of(target).join(format!(".{name}.new"))
}

/// [`remove`], and what a crash left of a write of it; gives whether the file itself was there.
pub fn remove_with_rest(target: &Path) -> Result<bool, HostError> {
    remove(&beside(target))?;
    remove(target)
}

/// [`Pending::write`] and [`Pending::replace`]; gives whether the bytes differ from what was there.
pub fn write(target: &Path, bytes: &[u8]) -> Result<bool, HostError> {
    if fs::read(target).is_ok_and(|there| there == bytes) {
        return Ok(false);
    }
    Pending::write(target, bytes)?.replace()?;
    Ok(true)
}

/// Who a file is to belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owned {
    /// Permission bits.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Owned {
    /// As the file at `path` is now; root's and readable by all, if there is none.
    pub fn like(path: &Path) -> Owned {
        fs::metadata(path).map_or(Owned { mode: 0o644, uid: 0, gid: 0 }, |meta| Owned {
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
        })
    }
}

/// [`write()`] for a file that is not ours alone: mode and owner are given. They are set before it replaces
/// the old one.
pub fn write_owned(target: &Path, bytes: &[u8], owned: Owned) -> Result<bool, HostError> {
    if fs::read(target).is_ok_and(|there| there == bytes) && Owned::like(target) == owned {
        return Ok(false);
    }
    let pending = Pending::write(target, bytes)?;
    let failed = |error| HostError::write(target, &error);
    std::os::unix::fs::chown(pending.path(), Some(owned.uid), Some(owned.gid)).map_err(failed)?;
    fs::set_permissions(pending.path(), fs::Permissions::from_mode(owned.mode)).map_err(failed)?;
    pending.replace()?;
    Ok(true)
}

/// Makes a folder and its parents, readable by all as sshd demands, writable by root alone.
pub fn folder(path: &Path) -> Result<(), HostError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|p| !p.exists()).collect();
    for path in missing.into_iter().rev() {
        let failed = |error| HostError::write(path, &error);
        fs::create_dir(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        sync_folder(folder_of(path))?;
    }
    Ok(())
}

/// Removes a file, if it is there, durably; gives whether it was.
pub fn remove(path: &Path) -> Result<bool, HostError> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(folder_of(path)).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(HostError::write(path, &error)),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn sync_folder(folder: &Path) -> Result<(), HostError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|error| HostError::write(folder, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_is_not_finished_leaves_the_old_bytes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        assert!(write(&target, b"old").unwrap());
        let pending = Pending::write(&target, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        drop(pending);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_left_where_the_new_file_is_written_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "mine").unwrap();
        std::os::unix::fs::symlink(&elsewhere, dir.path().join(".file.new")).unwrap();
        write(&dir.path().join("file"), b"new").unwrap();
        assert_eq!(fs::read(&elsewhere).unwrap(), b"mine");
        assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"new");
    }

    #[test]
    fn the_same_bytes_are_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        assert!(write(&target, b"x").unwrap());
        assert!(!write(&target, b"x").unwrap());
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o644);
    }
}
