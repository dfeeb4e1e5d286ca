//! What stands in the places at one moment: bounded in files and bytes, no link followed, nothing opened that
//! could hold us up.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fireaxe_protocol::host::PlantedKind;
use fireaxe_protocol::log::Hash;
use rustix::fs::{Mode, OFlags};

use super::places::Place;

/// One file, as far as it matters whether it is the same later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What something there is.
    pub kind: PlantedKind,
    /// What it is; nothing of it changes by reading.
    pub what: What,
    /// When its bytes, owner or mode last changed, unix seconds. Root can set the clock, not this.
    pub changed_at: i64,
    /// When it was made, where the file system keeps that.
    pub born_at: Option<u64>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct What {
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Hash of its bytes, or of where a link points. Of one that is not read its size and times.
    pub content: Hash,
}

/// What there was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By path.
    pub entries: BTreeMap<PathBuf, Entry>,
    /// Whether a limit cut it short.
    pub cut: bool,
}

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Directory entries, in all.
    pub entries: usize,
    /// Bytes of one file that is read; of a larger one size and times count.
    pub file: u64,
    /// Bytes of all files that are read.
    pub bytes: u64,
}

/// 200,000 names are a second of a busy disk; rules and keys are small.
pub(super) const LIMITS: Limits = Limits { entries: 200_000, file: 256 * 1024, bytes: 32 * 1024 * 1024 };

impl Snapshot {
    /// Looks at the places, in order: a path that is in two of them is what the first says. `skip` are paths
    /// that this program itself changes.
    pub(super) fn take(places: &[Place], skip: &[PathBuf], limits: Limits) -> Snapshot {
        let mut taking = Taking { snapshot: Snapshot::default(), left: limits, skip };
        for place in places {
            taking.look(&place.path, place, place.depth);
        }
        taking.snapshot
    }
}

struct Taking<'a> {
    snapshot: Snapshot,
    left: Limits,
    skip: &'a [PathBuf],
}

impl Taking<'_> {
    fn look(&mut self, path: &Path, place: &Place, depth: usize) {
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        if !metadata.is_dir() {
            self.enter(path, place, &metadata);
            return;
        }
        let Ok(entries) = fs::read_dir(path) else { return };
        for entry in entries.flatten() {
            if self.left.entries == 0 {
                self.snapshot.cut = true;
                return;
            }
            self.left.entries -= 1;
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() {
                if depth > 0 {
                    self.look(&path, place, depth - 1);
                }
            } else if (!place.setuid || kind.is_file())
                && let Ok(metadata) = fs::symlink_metadata(&path)
            {
                self.enter(&path, place, &metadata);
            }
        }
    }

    fn enter(&mut self, path: &Path, place: &Place, metadata: &Metadata) {
        let setuid = metadata.is_file() && metadata.mode() & SET_ID != 0;
        if place.setuid && !setuid
            || self.skip.iter().any(|skipped| skipped == path)
            || is_sessions_own(path)
            || self.snapshot.entries.contains_key(path)
        {
            return;
        }
        let content = self.content(path, metadata, place);
        let what = What { mode: metadata.mode(), uid: metadata.uid(), gid: metadata.gid(), content };
        let born_at = metadata.created().ok();
        let born_at = born_at.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let entry = Entry {
            kind: place.kind,
            what,
            changed_at: metadata.ctime(),
            born_at: born_at.map(|at| at.as_secs()),
        };
        self.snapshot.entries.insert(path.into(), entry);
    }

    fn content(&mut self, path: &Path, metadata: &Metadata, place: &Place) -> Hash {
        if metadata.is_symlink() {
            return fs::read_link(path).map_or(Hash([0; 32]), |to| Hash::of(to.as_os_str().as_bytes()));
        }
        let small = metadata.len() <= self.left.file.min(self.left.bytes);
        if metadata.is_file() && small && !place.setuid {
            self.left.bytes -= metadata.len();
            if let Some(bytes) = read(path, metadata.len()) {
                return Hash::of(&bytes);
            }
        }
        let times = (metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ino());
        Hash::of(format!("{times:?}").as_bytes())
    }
}

/// Reads a regular file of at most that many bytes. Opened so that neither a link nor a pipe put there
/// meanwhile holds us up.
fn read(path: &Path, length: u64) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Units that systemd makes for each login.
fn is_sessions_own(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.starts_with("/run/systemd/transient")
        && (name.starts_with("session-") && name.ends_with(".scope") || name.starts_with("user-"))
}

/// Setuid or setgid.
const SET_ID: u32 = 0o6000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn place(path: &Path, depth: usize, setuid: bool) -> Place {
        Place { path: path.into(), kind: PlantedKind::Cron, depth, setuid }
    }

    #[test]
    fn links_are_not_followed_and_pipes_hold_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("rule"), "x").unwrap();
        symlink("/etc/shadow", dir.path().join("link")).unwrap();
        symlink("/", dir.path().join("folder")).unwrap();
        let pipe = rustix::fs::mknodat;
        pipe(rustix::fs::CWD, dir.path().join("pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let snapshot = Snapshot::take(&[place(dir.path(), 5, false)], &[], LIMITS);
        assert_eq!(snapshot.entries.len(), 4);
        let link = &snapshot.entries[&dir.path().join("link")];
        assert_eq!(link.what.content, Hash::of(b"/etc/shadow"));
        assert!(!snapshot.cut);
    }

    #[test]
    fn it_stops_at_its_limit_of_names_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..10 {
            fs::write(dir.path().join(n.to_string()), "x").unwrap();
        }
        let limited =
            |entries| Snapshot::take(&[place(dir.path(), 0, false)], &[], Limits { entries, ..LIMITS });
        assert_eq!((limited(10).entries.len(), limited(10).cut), (10, false));
        assert_eq!((limited(9).entries.len(), limited(9).cut), (9, true));
    }

    #[test]
    fn a_file_beyond_the_limit_is_known_by_size_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "12345").unwrap();
        let with = |file| {
            let limits = Limits { file, ..LIMITS };
            Snapshot::take(&[place(&path, 0, false)], &[], limits).entries[&path].what.content
        };
        assert_eq!(with(5), Hash::of(b"12345"));
        assert!(with(4) != Hash::of(b"12345"));
    }

    #[test]
    fn of_programs_only_those_with_the_bit_count_and_only_as_deep_as_said() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        for (path, mode) in [(dir.path().join("plain"), 0o755), (deep.join("sh"), 0o4755)] {
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let found = |depth| Snapshot::take(&[place(dir.path(), depth, true)], &[], LIMITS).entries.len();
        assert_eq!((found(1), found(2)), (0, 1));
    }
}
