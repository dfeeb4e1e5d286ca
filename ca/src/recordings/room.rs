//! How much is kept: bytes and recordings of each host, recordings of all, and what stays free of the disk. What is
//! there is counted once and kept, and counted again when it comes to a limit: an operator may have removed some.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use fireaxe_protocol::limits::{
    RECORDINGS_MANY, RECORDINGS_OF_HOST, RECORDINGS_OF_HOST_MANY, RECORDINGS_RESERVE,
    RECORDINGS_RESERVE_INODES,
};
use fireaxe_protocol::names::HostName;

use super::{RecordingFault, lock};

/// What even the smallest file takes on a disk, bytes.
const BLOCK: u64 = 4096;

/// Between two counts of the same, milliseconds: whoever stays at a limit does not keep the disk busy.
const AGAIN_MS: u64 = 60_000;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes of the disk that stay free.
    pub free: u64,
    /// Inodes that stay free.
    pub inodes: u64,
    /// Recordings of one host.
    pub of_host: u64,
    /// Recordings of all.
    pub all: u64,
}

impl Default for Room {
    fn default() -> Room {
        Room {
            free: RECORDINGS_RESERVE,
            inodes: RECORDINGS_RESERVE_INODES,
            of_host: RECORDINGS_OF_HOST_MANY,
            all: RECORDINGS_MANY,
        }
    }
}

/// What a host has.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    bytes: u64,
    recordings: u64,
    /// When it was counted, by the clock's tick.
    counted_ms: u64,
}

/// What is there, as far as it was asked since the start. Trusted for no longer than it keeps nobody out.
#[derive(Debug)]
pub(super) struct Counted {
    room: Room,
    used: Mutex<HashMap<HostName, Used>>,
    /// Recordings of all hosts, and when they were counted.
    all: Mutex<Option<(u64, u64)>>,
}

impl Counted {
    pub(super) fn new(room: Room) -> Counted {
        Counted { room, used: Mutex::default(), all: Mutex::default() }
    }

    /// Whether a file may grow so: by what its host has already, and by what the disk has left. `now_ms` is the
    /// clock's tick.
    pub(super) fn may_grow(
        &self,
        root: &Path,
        host: &HostName,
        size: u64,
        grown: u64,
        now_ms: u64,
    ) -> Result<(), RecordingFault> {
        let (more, is_new) = (blocks(grown) - blocks(size), size == 0);
        let known = lock(&self.used).get(host).copied();
        let still =
            known.filter(|used| self.takes(*used, more, is_new).is_ok() || !is_due(used.counted_ms, now_ms));
        let used = still.unwrap_or_else(|| all_of(&root.join(host.as_str()), now_ms));
        lock(&self.used).insert(host.clone(), used);
        self.takes(used, more, is_new)?;
        if is_new && self.of_all(root, now_ms) >= self.room.all {
            return Err(RecordingFault::Full("there are as many as it keeps of all hosts"));
        }
        // Of the folder above, which is there.
        let above = root.parent().unwrap_or(root);
        let disk = rustix::fs::statvfs(above)
            .map_err(|e| RecordingFault::File { path: above.to_owned(), source: e.into() })?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < self.room.free.saturating_add(more) {
            return Err(RecordingFault::Full("its disk is full up to what the log needs"));
        }
        if is_new && lacks_inodes(disk.f_files, disk.f_favail, self.room.inodes) {
            return Err(RecordingFault::Full("its file system has few inodes left"));
        }
        Ok(())
    }

    /// Whether a host that has so much may have so many bytes more, and another recording.
    fn takes(&self, used: Used, more: u64, is_new: bool) -> Result<(), RecordingFault> {
        if used.bytes.saturating_add(more) > RECORDINGS_OF_HOST {
            return Err(RecordingFault::TooLarge("the recordings of one host are kept up to 64 GiB"));
        }
        if is_new && used.recordings >= self.room.of_host {
            return Err(RecordingFault::TooMany(used.recordings));
        }
        Ok(())
    }

    /// How many recordings there are of all hosts.
    fn of_all(&self, root: &Path, now_ms: u64) -> u64 {
        let mut all = lock(&self.all);
        let still = all.filter(|(many, counted)| *many < self.room.all || !is_due(*counted, now_ms));
        let (many, counted) = still.unwrap_or_else(|| (many_of_all(root), now_ms));
        *all = Some((many, counted));
        many
    }

    /// A file of this host has grown so.
    pub(super) fn grew(&self, host: &HostName, size: u64, grown: u64) {
        let is_new = u64::from(size == 0);
        let mut used = lock(&self.used);
        let used = used.entry(host.clone()).or_default();
        used.bytes += blocks(grown) - blocks(size);
        used.recordings += is_new;
        if let Some((all, _)) = &mut *lock(&self.all) {
            *all += is_new;
        }
    }

    /// A file of so many bytes is gone.
    pub(super) fn shrank(&self, host: &HostName, size: u64) {
        if let Some(used) = lock(&self.used).get_mut(host) {
            used.bytes = used.bytes.saturating_sub(blocks(size));
            used.recordings = used.recordings.saturating_sub(1);
        }
        if let Some((all, _)) = &mut *lock(&self.all) {
            *all = all.saturating_sub(1);
        }
    }

    /// As if a host had so many bytes of one recording.
    #[cfg(test)]
    pub(super) fn had(&self, host: &HostName, bytes: u64) {
        lock(&self.used).insert(host.clone(), Used { bytes, recordings: 1, counted_ms: 0 });
    }
}

/// Whether one more file, and the folder it may need, would leave less than `reserve` of `left`. A file system that
/// counts no inodes says that it has none at all.
fn lacks_inodes(all: u64, left: u64, reserve: u64) -> bool {
    all > 0 && left < reserve.saturating_add(2)
}

fn is_due(counted_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(counted_ms) >= AGAIN_MS
}

/// What all files of a folder come to.
fn all_of(folder: &Path, now_ms: u64) -> Used {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).fold(
        Used { counted_ms: now_ms, ..Used::default() },
        |used, known| Used {
            bytes: used.bytes + blocks(known.len()),
            recordings: used.recordings + 1,
            ..used
        },
    )
}

/// How many recordings there are of all hosts.
fn many_of_all(root: &Path) -> u64 {
    let names = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    names(root).map(|host| names(&host.path()).count() as u64).sum()
}

fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK) * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recording begins, if it may.
    fn begin(
        counted: &Counted,
        root: &Path,
        host: &HostName,
        n: u8,
        now_ms: u64,
    ) -> Result<(), RecordingFault> {
        counted.may_grow(root, host, 0, 1, now_ms)?;
        fs::create_dir_all(root.join(host.as_str())).unwrap();
        fs::write(root.join(host.as_str()).join(n.to_string()), "x").unwrap();
        counted.grew(host, 0, 1);
        Ok(())
    }

    #[test]
    fn who_removes_recordings_has_room_again_within_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let root = &dir.path().join("recordings");
        let (first, second): (HostName, HostName) =
            ("db-3.payments.prod".parse().unwrap(), "db-4.payments.prod".parse().unwrap());
        let remove = |host: &HostName, n: u8| {
            fs::remove_file(root.join(host.as_str()).join(n.to_string())).unwrap();
        };
        let counted = Counted::new(Room { free: 0, inodes: 0, of_host: 2, all: 3 });
        let begin = |host: &HostName, n: u8, now_ms: u64| begin(&counted, root, host, n, now_ms);
        for (host, n) in [(&first, 1), (&first, 2), (&second, 1)] {
            begin(host, n, 0).unwrap();
        }
        remove(&first, 1);
        // Not at every request.
        assert!(matches!(begin(&first, 3, AGAIN_MS - 1), Err(RecordingFault::TooMany(2))));
        assert!(matches!(begin(&second, 2, AGAIN_MS - 1), Err(RecordingFault::Full(_))));
        begin(&first, 3, AGAIN_MS).unwrap();
        // The limits hold as before.
        assert!(matches!(begin(&first, 4, 2 * AGAIN_MS), Err(RecordingFault::TooMany(2))));
        assert!(matches!(begin(&second, 2, 2 * AGAIN_MS), Err(RecordingFault::Full(_))));
        remove(&first, 2);
        begin(&second, 2, 3 * AGAIN_MS).unwrap();
        // The same for a host's bytes.
        remove(&second, 1);
        counted.had(&second, RECORDINGS_OF_HOST);
        assert!(matches!(begin(&second, 3, AGAIN_MS - 1), Err(RecordingFault::TooLarge(_))));
        begin(&second, 3, 4 * AGAIN_MS).unwrap();
    }

    #[test]
    fn a_file_system_that_counts_no_inodes_never_lacks_them() {
        assert!(lacks_inodes(9000, 4097, 4096) && !lacks_inodes(9000, 4098, 4096));
        assert!(!lacks_inodes(0, 0, 4096));
    }
}
