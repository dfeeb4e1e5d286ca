//! This program where sshd and PAM find it: root's alone, under the name that certificates have in them.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use fireaxe_protocol::host::RECORDER;

use super::ApplyError;
use crate::atomic;
use crate::error::HostError;

/// The recorder, by the name that certificates have in them.
pub(super) fn link_recorder(program: &Path) -> Result<(), HostError> {
    let link = Path::new(RECORDER);
    if fs::read_link(link).is_ok_and(|to| to == program) {
        return Ok(());
    }
    if let Some(folder) = link.parent() {
        atomic::folder(folder)?;
    }
    // A crash between the two: no recorder, so recorded tiers are refused until the next run.
    atomic::remove(link)?;
    symlink(program, link).map_err(|error| HostError::write(link, &error))
}

/// Whether root alone can change a program and every folder above it: sshd refuses it otherwise, and PAM
/// does not ask.
pub(crate) fn only_roots(program: &Path) -> Result<(), ApplyError> {
    let wrong = |path: &Path, why: &str| ApplyError::Program {
        path: program.into(),
        why: format!("{} {why}", path.display()),
    };
    // The words of the drop-in and of PAM's file are split at blanks.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !program.is_absolute() || !program.to_str().is_some_and(|path| path.chars().all(plain)) {
        return Err(wrong(program, "has characters that sshd or PAM would read otherwise"));
    }
    let real = program.canonicalize().map_err(|error| wrong(program, &error.to_string()))?;
    for path in real.ancestors() {
        let meta = fs::metadata(path).map_err(|error| wrong(path, &error.to_string()))?;
        if meta.uid() != 0 {
            return Err(wrong(path, "belongs to somebody else than root"));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(wrong(path, "can be changed by others than root"));
        }
    }
    Ok(())
}

/// Whether PAM's module that runs a program is there.
pub(crate) fn has_pam_exec() -> bool {
    let mut folders: Vec<PathBuf> =
        ["/lib/security", "/lib64/security", "/usr/lib/security", "/usr/lib64/security"]
            .map(PathBuf::from)
            .into();
    // Debian: one for each architecture.
    for entry in fs::read_dir("/usr/lib").into_iter().flatten().flatten() {
        folders.push(entry.path().join("security"));
    }
    folders.iter().any(|folder| folder.join("pam_exec.so").exists())
}
