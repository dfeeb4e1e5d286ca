//! The folder that a dossier was unpacked into. Plain files only: a link could lead anywhere, a pipe never end.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fireaxe_protocol::evidence::{MANIFEST, Parts, is_name};
use fireaxe_protocol::limits::EVIDENCE_PARTS;
use fireaxe_protocol::names::shown;

use super::pieces;

/// See the file's top.
pub(super) struct Folder {
    root: PathBuf,
    names: BTreeMap<String, u64>,
}

/// How many files there may be, and how many folders: the parts, and what lies outside the manifest. What we write
/// has fewer folders than parts.
const MOST: usize = EVIDENCE_PARTS + 4;
/// `log/tile/entries/x001/x002/003.p` and its file: no part lies deeper.
const DEPTH: usize = 12;

/// What may still come.
struct Room {
    files: usize,
    folders: usize,
}

impl Folder {
    pub(super) fn open(root: &Path) -> Result<Folder, String> {
        Folder::with(root, MOST)
    }

    fn with(root: &Path, most: usize) -> Result<Folder, String> {
        let mut folder = Folder { root: root.to_owned(), names: BTreeMap::new() };
        if !root.join(MANIFEST).is_file() {
            return Err(format!("there is no {MANIFEST} in it"));
        }
        folder.walk(root, "", 0, &mut Room { files: most, folders: most })?;
        Ok(folder)
    }

    fn walk(&mut self, at: &Path, under: &str, depth: usize, room: &mut Room) -> Result<(), String> {
        if depth > DEPTH {
            return Err("folders in it lie too deep".into());
        }
        for one in std::fs::read_dir(at).map_err(|error| error.to_string())? {
            let one = one.map_err(|error| error.to_string())?;
            let own = one.file_name();
            let name = format!("{under}{}", own.to_string_lossy());
            if own.to_str().is_none() || !is_name(&name) {
                return Err(format!("no part is named {}", shown(&name)));
            }
            let kind = one.file_type().map_err(|error| error.to_string())?;
            if kind.is_dir() {
                room.folders = room.folders.checked_sub(1).ok_or("it has more folders than parts may be")?;
                self.walk(&one.path(), &format!("{name}/"), depth + 1, room)?;
            } else if kind.is_file() {
                let more = || format!("it has more than {EVIDENCE_PARTS} parts");
                room.files = room.files.checked_sub(1).ok_or_else(more)?;
                let bytes = one.metadata().map_err(|error| error.to_string())?.len();
                self.names.insert(name, bytes);
            } else {
                return Err(format!("{} is no plain file", shown(&name)));
            }
        }
        Ok(())
    }
}

impl Parts for Folder {
    fn list(&self) -> Vec<(String, u64)> {
        self.names.iter().map(|(name, bytes)| (name.clone(), *bytes)).collect()
    }

    fn pieces(&mut self, name: &str, each: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        let bytes = *self.names.get(name).ok_or("it is missing")?;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let file: Result<File, _> =
            OpenOptions::new().read(true).custom_flags(flags).open(self.root.join(name));
        pieces(file.map_err(|error| format!("it cannot be read: {error}"))?, bytes, each)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MANIFEST), "{}").unwrap();
        fs::create_dir(dir.path().join("entries")).unwrap();
        fs::write(dir.path().join("entries/000000.json"), "x").unwrap();
        dir
    }

    #[test]
    fn plain_files_are_its_parts() {
        let dir = folder();
        let mut folder = Folder::open(dir.path()).unwrap();
        assert_eq!(folder.list(), [("entries/000000.json".to_owned(), 1), (MANIFEST.to_owned(), 2)]);
        // It grows while it is read.
        fs::write(dir.path().join("entries/000000.json"), "xy").unwrap();
        assert!(folder.pieces("entries/000000.json", &mut |_| ()).is_err());
    }

    #[test]
    fn more_files_or_more_folders_than_may_be_are_refused() {
        let dir = folder();
        assert!(Folder::with(dir.path(), 2).is_ok());
        for name in ["entries/a", "entries/a/b"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert!(Folder::with(dir.path(), 3).is_ok());
        assert!(Folder::with(dir.path(), 2).err().unwrap_or_default().contains("more folders"));
        let dir = folder();
        fs::write(dir.path().join("entries/000001.json"), "x").unwrap();
        assert!(Folder::with(dir.path(), 3).is_ok());
        assert!(Folder::with(dir.path(), 2).err().unwrap_or_default().contains("more than 200000 parts"));
    }

    #[test]
    fn links_pipes_and_names_that_are_none_are_refused() {
        for name in ["a b", "-a", "a\u{1b}[2J"] {
            let dir = folder();
            fs::write(dir.path().join(name), "").unwrap();
            let error = Folder::open(dir.path()).err().unwrap_or_default();
            assert!(error.contains("no part is named") && !error.contains('\u{1b}'), "{error}");
        }
        let dir = folder();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("entries/link")).unwrap();
        assert!(Folder::open(dir.path()).err().unwrap_or_default().contains("no plain file"));
        let dir = folder();
        fs::remove_file(dir.path().join(MANIFEST)).unwrap();
        assert!(Folder::open(dir.path()).err().unwrap_or_default().contains("there is no manifest.json"));
        // A part that became a link after it was listed.
        let dir = folder();
        let mut folder = Folder::open(dir.path()).unwrap();
        let part = dir.path().join("entries/000000.json");
        fs::remove_file(&part).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &part).unwrap();
        assert!(folder.pieces("entries/000000.json", &mut |_| ()).is_err());
    }
}
