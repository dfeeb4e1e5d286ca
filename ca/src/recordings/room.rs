//! How much is kept: bytes and recordings of each host, recordings of all, and what stays free of the disk. What is
//! there is counted once and kept: who removes recordings starts the CA again.

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
}

/// What is there, as far as it was asked since the start.
#[derive(Debug)]
pub(super) struct Counted {
    room: Room,
    used: Mutex<HashMap<HostName, Used>>,
    /// Recordings of all hosts.
    all: Mutex<Option<u64>>,
}

impl Counted {
    pub(super) fn new(room: Room) -> Counted {
        Counted { room, used: Mutex::default(), all: Mutex::default() }
    }

    /// Whether a file may grow so: by what its host has already, and by what the disk has left.
    pub(super) fn may_grow(
        &self,
        root: &Path,
        host: &HostName,
        size: u64,
        grown: u64,
    ) -> Result<(), RecordingFault> {
        let more = blocks(grown) - blocks(size);
        let used = match lock(&self.used).get(host).copied() {
            Some(used) => used,
            None => all_of(&root.join(host.as_str())),
        };
        lock(&self.used).entry(host.clone()).or_insert(used);
        if used.bytes.saturating_add(more) > RECORDINGS_OF_HOST {
            return Err(RecordingFault::TooLarge("the recordings of one host are kept up to 64 GiB"));
        }
        let is_new = size == 0;
        if is_new && used.recordings >= self.room.of_host {
            return Err(RecordingFault::TooMany(used.recordings));
        }
        if is_new && *lock(&self.all).get_or_insert_with(|| many_of_all(root)) >= self.room.all {
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

    /// A file of this host has grown so.
    pub(super) fn grew(&self, host: &HostName, size: u64, grown: u64) {
        let is_new = u64::from(size == 0);
        let mut used = lock(&self.used);
        let used = used.entry(host.clone()).or_default();
        used.bytes += blocks(grown) - blocks(size);
        used.recordings += is_new;
        if let Some(all) = &mut *lock(&self.all) {
            *all += is_new;
        }
    }

    /// As if a host had so many bytes of one recording.
    #[cfg(test)]
    pub(super) fn had(&self, host: &HostName, bytes: u64) {
        lock(&self.used).insert(host.clone(), Used { bytes, recordings: 1 });
    }
}

/// Whether one more file, and the folder it may need, would leave less than `reserve` of `left`. A file system that
/// counts no inodes says that it has none at all.
fn lacks_inodes(all: u64, left: u64, reserve: u64) -> bool {
    all > 0 && left < reserve.saturating_add(2)
}

/// What all files of a folder come to.
fn all_of(folder: &Path) -> Used {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).fold(Used::default(), |used, known| Used {
        bytes: used.bytes + blocks(known.len()),
        recordings: used.recordings + 1,
    })
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

    #[test]
    fn a_file_system_that_counts_no_inodes_never_lacks_them() {
        assert!(lacks_inodes(9000, 4097, 4096) && !lacks_inodes(9000, 4098, 4096));
        assert!(!lacks_inodes(0, 0, 4096));
    }
}
