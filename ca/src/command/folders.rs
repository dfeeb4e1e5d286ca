//! Folders that are made beside their place and moved there whole.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Failed;

/// A name beside `target`, which must not be there or be empty.
pub(super) fn beside(target: &Path, what: &str) -> Result<PathBuf, Failed> {
    if target.exists() && !fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none()) {
        return Err(Failed::error(format!("{} exists and is not empty", target.display()))
            .hint("nothing is ever written over: choose another folder"));
    }
    let name = target
        .file_name()
        .ok_or_else(|| Failed::error(format!("{} does not name a folder", target.display())))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{what}-{}", std::process::id()));
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|e| Failed::error(format!("{}: {e}", parent.display())))?;
    Ok(parent.join(hidden))
}

/// Gives a finished folder its name.
///
/// Dying before it: a folder beside the target that nobody uses. After it: the whole. The name is durable once
/// the folder around it is.
pub(super) fn move_whole(beside: &Path, target: &Path) -> Result<(), Failed> {
    fs::rename(beside, target)
        .and_then(|()| fs::File::open(beside.parent().unwrap_or(target))?.sync_all())
        .map_err(|e| Failed::error(format!("{}: {e}", target.display())))
}

/// Copies files and folders; nothing if `from` is not there. Links and whatever else is no file are left out. A
/// file that goes meanwhile is left out, one that grows is copied as far as it was.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<(), Failed> {
    let failed = |path: &Path, error: std::io::Error| Failed::error(format!("{}: {error}", path.display()));
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| failed(from, error))?,
    };
    fs::DirBuilder::new().mode(0o700).create(to).map_err(|error| failed(to, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed(from, error))?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(|error| failed(&path, error))?;
        if kind.is_dir() {
            copy_tree(&path, &copy)?;
        } else if kind.is_file() {
            let mut source = match fs::File::open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(|error| failed(&path, error))?,
            };
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy);
            let mut made = made.map_err(|error| failed(&copy, error))?;
            std::io::copy(&mut source, &mut made).map_err(|error| failed(&copy, error))?;
        }
    }
    Ok(())
}

/// Returns once everything on that file system is on the disk.
pub(super) fn flush(folder: &Path) -> Result<(), Failed> {
    fs::File::open(folder)
        .and_then(|folder| Ok(rustix::fs::syncfs(folder)?))
        .map_err(|error| Failed::error(format!("{}: {error}", folder.display())))
}
