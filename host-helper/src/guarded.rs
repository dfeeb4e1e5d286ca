//! Files that say whom this host trusts with something: who opens its recordings, whose cosignatures it asks for.
//! They are opened without waiting, since who put a pipe there would hold up each login; and who but root, or the
//! account that this runs as, can change one, could say it themselves.

use std::fs::{File, OpenOptions};
use std::io::{Error, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Why a file is not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// What the system said.
    System(Error),
    /// It is not as it must be.
    Wrong(&'static str),
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unread::System(error) => error.fmt(f),
            Unread::Wrong(why) => f.write_str(why),
        }
    }
}

/// At most `most` bytes of a plain file, whoever can change it: one that somebody gives on the command line.
pub(crate) fn given(path: &Path, most: u64) -> Result<Vec<u8>, Unread> {
    read(opened(path)?, most)
}

/// At most `most` bytes of a plain file that root or this process's account has, and nobody else can change.
pub(crate) fn kept(path: &Path, most: u64) -> Result<Vec<u8>, Unread> {
    let file = opened(path)?;
    let meta = file.metadata().map_err(Unread::System)?;
    match fault(meta.mode(), meta.uid(), rustix::process::geteuid().as_raw()) {
        Some(why) => Err(Unread::Wrong(why)),
        None => read(file, most),
    }
}

fn opened(path: &Path) -> Result<File, Unread> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(Unread::System)?;
    match file.metadata().map_err(Unread::System)?.is_file() {
        true => Ok(file),
        false => Err(Unread::Wrong("it is no file")),
    }
}

fn read(file: File, most: u64) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(Unread::System)?;
    Ok(bytes)
}

/// Who else can change a file of this mode and owner, as the account `own` sees it.
fn fault(mode: u32, owner: u32, own: u32) -> Option<&'static str> {
    if owner != 0 && owner != own {
        return Some("it belongs to another account, which can change it: chown root");
    }
    (mode & 0o022 != 0).then_some("it can be changed by others than its owner: chmod go-w")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_what_root_or_oneself_alone_can_change_is_kept() {
        for (mode, owner, own, good) in [
            (0o100_644, 0, 0, true),
            (0o100_644, 0, 1000, true),
            (0o100_600, 1000, 1000, true),
            (0o100_644, 1000, 0, false),
            (0o100_400, 1000, 1001, false),
            (0o100_664, 0, 0, false),
            (0o100_646, 0, 0, false),
        ] {
            assert_eq!(fault(mode, owner, own).is_none(), good, "{mode:o} of {owner}, seen by {own}");
        }
    }

    #[test]
    fn another_accounts_file_may_be_given_and_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auditors");
        std::fs::write(&path, "abc").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(kept(&path, 2).unwrap(), b"ab");
        // Nobody but root can give a file away.
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(65_534), None).unwrap();
            assert!(matches!(kept(&path, 2), Err(Unread::Wrong(_))));
        }
        assert_eq!(given(&path, 3).unwrap(), b"abc");
    }

    #[test]
    fn a_pipe_and_a_folder_are_refused_and_nobody_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        let pipe = path.clone();
        std::thread::spawn(move || {
            let _ = told.send(given(&pipe, 1).is_err() && kept(&pipe, 1).is_err());
        });
        assert_eq!(heard.recv_timeout(std::time::Duration::from_secs(20)), Ok(true), "it waits for a writer");
        assert!(matches!(kept(dir.path(), 1), Err(Unread::Wrong("it is no file"))));
        assert!(matches!(kept(&dir.path().join("missing"), 1), Err(Unread::System(_))));
    }
}
