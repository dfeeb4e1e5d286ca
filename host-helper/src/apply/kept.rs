//! What was there before: files as they were, kept beside the state, and put back byte by byte.
//!
//! Whoever can change this folder decides what sshd and PAM read after a restore: it is root's alone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic::{self, Owned};
use crate::error::HostError;

const LIST: &str = "list.json";

/// One path as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Was {
    path: PathBuf,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// Nothing was there.
    Nothing,
    /// A file; its bytes are in the file of this name beside the list.
    File { mode: u32, uid: u32, gid: u32, bytes: String },
    /// A symbolic link.
    Link { to: PathBuf },
}

/// Keeps these paths in `folder`, which is made anew. When this returns, all of it is on the disk.
pub(crate) fn keep(folder: &Path, paths: &[PathBuf]) -> Result<(), HostError> {
    forget(folder)?;
    atomic::folder(folder)?;
    // Copies of sshd's and PAM's configuration: nobody else's to read.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
        .map_err(|error| HostError::write(folder, &error))?;
    let mut list = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        let what = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => What::Nothing,
            Err(error) => return Err(HostError::read(path, &error)),
            Ok(meta) if meta.is_symlink() => {
                What::Link { to: fs::read_link(path).map_err(|error| HostError::read(path, &error))? }
            }
            Ok(meta) => {
                let bytes = fs::read(path).map_err(|error| HostError::read(path, &error))?;
                let name = format!("{at}");
                atomic::write(&folder.join(&name), &bytes)?;
                What::File { mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), bytes: name }
            }
        };
        list.push(Was { path: path.clone(), what });
    }
    // Last, and whole: without a list nothing is put back. A crash before it: as if nothing were kept.
    let text = serde_json::to_vec(&list).map_err(|error| unreadable(folder, &error))?;
    atomic::write(&folder.join(LIST), &text).map(drop)
}

/// Puts back what [`keep`] found, in the order in which it was given. Safe to do again.
pub(crate) fn put_back(folder: &Path) -> Result<(), HostError> {
    let path = folder.join(LIST);
    let text = fs::read(&path).map_err(|error| HostError::read(&path, &error))?;
    let list: Vec<Was> = serde_json::from_slice(&text).map_err(|error| unreadable(&path, &error))?;
    for Was { path, what } in list {
        match what {
            What::Nothing => {
                atomic::remove(&path)?;
            }
            What::File { mode, uid, gid, bytes } => {
                let kept = folder.join(bytes);
                let bytes = fs::read(&kept).map_err(|error| HostError::read(&kept, &error))?;
                atomic::write_owned(&path, &bytes, Owned { mode, uid, gid })?;
            }
            What::Link { to } => {
                if fs::read_link(&path).ok().as_ref() != Some(&to) {
                    atomic::remove(&path)?;
                    symlink(&to, &path).map_err(|error| HostError::write(&path, &error))?;
                }
            }
        }
    }
    Ok(())
}

/// Removes what was kept.
pub(crate) fn forget(folder: &Path) -> Result<(), HostError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(HostError::write(folder, &error)),
        _ => Ok(()),
    }
}

fn unreadable(path: &Path, error: &serde_json::Error) -> HostError {
    HostError::Read { path: path.into(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_links_and_nothing_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), b"old\0bytes").unwrap();
        fs::set_permissions(at("file"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("elsewhere", at("link")).unwrap();
        let paths = ["file", "link", "nothing"].map(at);
        keep(&at("kept"), &paths).unwrap();

        for path in &paths {
            let _ = fs::remove_file(path);
            fs::write(path, b"new").unwrap();
        }
        for _ in 0..2 {
            put_back(&at("kept")).unwrap();
            assert_eq!(fs::read(at("file")).unwrap(), b"old\0bytes");
            assert_eq!(fs::metadata(at("file")).unwrap().mode() & 0o7777, 0o640);
            assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("elsewhere"));
            assert!(!at("nothing").exists());
        }
    }

    #[test]
    fn without_its_list_nothing_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("0"), b"x").unwrap();
        assert!(put_back(dir.path()).is_err());
    }
}
