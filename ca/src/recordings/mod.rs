//! Recordings on disk: one file each, `recordings/<host>/<recording>`, the chunks as the host sent them and
//! nothing else. Appends what continues a recording exactly, and never at the cost of the log: what would leave
//! less than the reserve free is refused (`room.rs`), and the writer's thread never comes here.
//!
//! **Trusted or not.** Whoever can change these files can destroy recordings, and no more: what a recording must
//! be, the host signed when its connection closed and the log keeps (`session.closed`). Before that, a file is
//! as good as its chain.

pub mod catalog;
pub mod expiry;
pub mod opening;
mod room;
pub mod search;
mod shelf;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fireaxe_protocol::limits::{RECORDING, RECORDING_CHUNK};
use fireaxe_protocol::names::HostName;
use fireaxe_protocol::recording::{Chain, Chunk, RecordingError};
use fireaxe_protocol::statement::Nonce;
use thiserror::Error;

use room::Counted;
pub use room::Room;

/// Recordings whose chains are kept in memory: those that were sent to lately. 1,024 of about 1 KiB.
const KEPT: usize = 1024;
/// Why chunks are not taken.
#[derive(Debug, Error)]
pub enum RecordingFault {
    /// Chunks are missing before them.
    #[error("chunk {from} cannot be taken: chunk {expected} is the next")]
    Gap {
        /// The number of the next.
        expected: u64,
        /// What was sent.
        from: u64,
    },
    /// They do not continue what is there.
    #[error("{0}")]
    Chunks(#[from] RecordingError),
    /// The number of the first is another than the request says.
    #[error("the first chunk is not number {0}")]
    Number(u64),
    /// Its header says that it is another host's, or another.
    #[error("the recording's own header names another host or another recording")]
    Named,
    /// It, or all of that host together, would be larger than is kept.
    #[error("{0}")]
    TooLarge(&'static str),
    /// That host has as many as are kept of one.
    #[error("the CA has {0} recordings of this host, and keeps no more of one")]
    TooMany(u64),
    /// The disk would be too full for the log, or there are as many as are kept of all hosts.
    #[error("the CA has no room for recordings: {0}")]
    Full(&'static str),
    /// The disk.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// See the file's top.
#[derive(Debug)]
pub struct Recordings {
    root: PathBuf,
    room: Counted,
    kept: Mutex<HashMap<Name, Lately>>,
    /// The number of the next request.
    asked: AtomicU64,
}

/// A recording's host and its own name.
type Name = (HostName, Nonce);
/// The number of the request that asked for one last, and the one.
type Lately = (u64, Arc<Mutex<Kept>>);

/// How far a recording has come; nothing before it was read from disk.
#[derive(Debug, Default)]
struct Kept {
    read: Option<(Chain, u64)>,
}

impl Recordings {
    /// Those below `root`, which is made when there is something to keep.
    pub fn at(root: &Path) -> Recordings {
        Recordings::with_room(root, Room::default())
    }

    /// The same with other limits.
    pub fn with_room(root: &Path, room: Room) -> Recordings {
        Recordings {
            root: root.to_owned(),
            room: Counted::new(room),
            kept: Mutex::default(),
            asked: AtomicU64::new(0),
        }
    }

    /// Appends whole chunks, the first of which is number `from`; gives how many there are then. Those that are
    /// there already are passed over. `now_ms` is the clock's tick. Blocks on the disk.
    pub fn append(
        &self,
        host: &HostName,
        name: Nonce,
        from: u64,
        sent: &[u8],
        now_ms: u64,
    ) -> Result<u64, RecordingFault> {
        let kept = self.kept(host, name);
        let mut kept = lock(&kept);
        let path = self.path(host, name);
        let (chain, size) = match kept.read.take() {
            Some(read) => read,
            None => reopen(&path)?,
        };
        let appended = self.add(host, name, (&chain, size), from, sent, now_ms);
        // After a fault of the disk, what is there is looked at again before anything is added.
        match appended {
            Ok(after) => {
                let chunks = after.0.chunks();
                kept.read = Some(after);
                Ok(chunks)
            }
            Err(fault @ RecordingFault::File { .. }) => Err(fault),
            Err(fault) => {
                kept.read = Some((chain, size));
                Err(fault)
            }
        }
    }

    /// Removes one, if it is there; forgets how far it had come. Blocks on the disk.
    pub fn remove(&self, host: &HostName, name: Nonce) -> Result<(), RecordingFault> {
        let kept = self.kept(host, name);
        let mut kept = lock(&kept);
        kept.read = None;
        let path = self.path(host, name);
        let failed = |source| RecordingFault::File { path: path.clone(), source };
        let size = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        fs::remove_file(&path).map_err(failed)?;
        let folder = self.root.join(host.as_str());
        sync(&folder).map_err(|source| RecordingFault::File { path: folder, source })?;
        self.room.shrank(host, size);
        Ok(())
    }

    /// All that are on the disk, with when each was written to last, unix seconds.
    pub fn there(&self) -> impl Iterator<Item = (catalog::Name, u64)> {
        files(&self.root).into_iter().map(|(name, path)| {
            let changed = fs::metadata(&path).ok().map(|known| known.mtime().max(0).cast_unsigned());
            (name, changed.unwrap_or(u64::MAX))
        })
    }

    fn add(
        &self,
        host: &HostName,
        name: Nonce,
        (chain, size): (&Chain, u64),
        from: u64,
        sent: &[u8],
        now_ms: u64,
    ) -> Result<(Chain, u64), RecordingFault> {
        if from > chain.chunks() {
            return Err(RecordingFault::Gap { expected: chain.chunks(), from });
        }
        let fresh = beyond(chain.chunks(), from, sent)?;
        let mut after = chain.clone();
        after.all(fresh)?;
        if fresh.is_empty() {
            return Ok((after, size));
        }
        if after.header().is_none_or(|header| header.host != *host || header.recording != name) {
            return Err(RecordingFault::Named);
        }
        let grown = size.saturating_add(fresh.len() as u64);
        if grown > RECORDING {
            return Err(RecordingFault::TooLarge("one recording is kept up to 4 GiB"));
        }
        self.room.may_grow(&self.root, host, size, grown, now_ms)?;
        self.write(host, &self.path(host, name), fresh)?;
        self.room.grew(host, size, grown);
        Ok((after, grown))
    }

    /// A crash in here: the file may end within a chunk. Whoever reads it next cuts that off, the host was not
    /// answered, and sends those chunks again.
    fn write(&self, host: &HostName, path: &Path, bytes: &[u8]) -> Result<(), RecordingFault> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| RecordingFault::File { path, source }
        };
        let folder = self.root.join(host.as_str());
        if !folder.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed(&folder))?;
            sync(&self.root).map_err(failed(&self.root))?;
            let above = self.root.parent().unwrap_or(&self.root);
            sync(above).map_err(failed(above))?;
        }
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).mode(0o600).open(path).map_err(failed(path))?;
        file.write_all(bytes).map_err(failed(path))?;
        file.sync_data().map_err(failed(path))?;
        if is_new {
            sync(&folder).map_err(failed(&folder))?;
        }
        Ok(())
    }

    fn path(&self, host: &HostName, name: Nonce) -> PathBuf {
        self.root.join(host.as_str()).join(name.to_string())
    }

    fn kept(&self, host: &HostName, name: Nonce) -> Arc<Mutex<Kept>> {
        let now = self.asked.fetch_add(1, Ordering::Relaxed);
        let mut kept = lock(&self.kept);
        let name = (host.clone(), name);
        if kept.len() >= KEPT && !kept.contains_key(&name) {
            // The one that was sent to longest ago, and by nobody at this moment: it is read again from disk.
            let idle = kept.iter().filter(|(_, (_, one))| Arc::strong_count(one) == 1);
            let oldest = idle.min_by_key(|(_, (asked, _))| *asked).map(|(name, _)| name.clone());
            oldest.map(|oldest| kept.remove(&oldest));
        }
        let (asked, one) = kept.entry(name).or_default();
        *asked = now;
        one.clone()
    }
}

/// The recordings below `root`, as far as their names are ones.
pub fn files(root: &Path) -> Vec<(catalog::Name, PathBuf)> {
    let mut found = Vec::new();
    for folder in fs::read_dir(root).into_iter().flatten().flatten() {
        let Some(host) = folder.file_name().to_str().and_then(|name| name.parse::<HostName>().ok()) else {
            continue;
        };
        for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            if let Some(name) = file.file_name().to_str().and_then(|name| name.parse::<Nonce>().ok()) {
                found.push(((host.clone(), name), file.path()));
            }
        }
    }
    found.sort();
    found
}

/// Reads a recording to its end, a piece at a time; `each` is given every chunk. Gives the chain and how many bytes
/// it has; what comes after them is no whole next chunk, and why, if something does.
pub fn read(
    path: &Path,
    mut each: impl FnMut(&Chunk),
) -> Result<(Chain, u64, Option<RecordingError>), std::io::Error> {
    let mut file = File::open(path)?;
    let (mut chain, mut good, mut left) = (Chain::default(), 0u64, Vec::new());
    let mut piece = vec![0; 2 * RECORDING_CHUNK];
    loop {
        let got = file.read(&mut piece)?;
        left.extend_from_slice(piece.get(..got).unwrap_or_default());
        let mut rest = left.as_slice();
        loop {
            match chain.next(rest) {
                Ok(Some((chunk, taken))) => {
                    each(&chunk);
                    good += taken as u64;
                    rest = rest.get(taken..).unwrap_or_default();
                }
                Ok(None) => break,
                Err(error) => return Ok((chain, good, Some(error))),
            }
        }
        left = rest.to_vec();
        if got == 0 {
            let cut = (!left.is_empty()).then_some(RecordingError::Cut);
            return Ok((chain, good, cut));
        }
    }
}

/// What is on disk of a recording; the rest of a chunk at its end, which was never answered, is cut off.
fn reopen(path: &Path) -> Result<(Chain, u64), RecordingFault> {
    let failed = |source| RecordingFault::File { path: path.to_owned(), source };
    match read(path, |_| ()) {
        Ok((chain, size, None)) => Ok((chain, size)),
        Ok((chain, size, Some(error))) => {
            tracing::warn!(event = "recording.cut", path = %path.display(), size, %error);
            let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
            file.set_len(size).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok((chain, size))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((Chain::default(), 0)),
        Err(error) => Err(failed(error)),
    }
}

/// The part of `sent`, whose first chunk is number `from`, that begins with chunk `next`.
fn beyond(next: u64, from: u64, sent: &[u8]) -> Result<&[u8], RecordingFault> {
    let (mut rest, mut number) = (sent, from);
    while !rest.is_empty() {
        let (chunk, taken) = Chunk::read(rest)?.ok_or(RecordingError::Cut)?;
        if chunk.seq != number {
            return Err(RecordingFault::Number(number));
        }
        if number >= next {
            break;
        }
        rest = rest.get(taken..).unwrap_or_default();
        number += 1;
    }
    Ok(rest)
}

fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use fireaxe_protocol::limits::RECORDINGS_OF_HOST;
    use fireaxe_protocol::recording::{Ended, Event, Header, SessionKind, Stream, Writer};

    use super::*;

    const NAME: Nonce = Nonce([7; 16]);

    fn host() -> HostName {
        "db-3.payments.prod".parse().unwrap()
    }

    /// Four chunks: header, two of data, end.
    fn chunks() -> Vec<Vec<u8>> {
        let header = Header {
            v: 1,
            recording: NAME,
            connection: Nonce([1; 16]),
            serial: 7,
            host: host(),
            account: "ops".parse().unwrap(),
            from: None,
            began_us: 0,
            kind: SessionKind::Shell,
            command: None,
            asked: None,
            terminal: None,
            sealed: Vec::new(),
        };
        let (mut writer, first) = Writer::begin(header);
        let event = |offset_us| Event { offset_us, stream: Stream::Output, bytes: b"hello".to_vec() };
        let second = writer.data(vec![event(1)]);
        let third = writer.data(vec![event(2)]);
        let (last, _) = writer.end(Ended::Exited(0), 3);
        vec![first, second, third, last]
    }

    fn store(dir: &Path) -> Recordings {
        with(dir, Room::default())
    }

    /// With these limits, on a disk as full as it may be.
    fn with(dir: &Path, room: Room) -> Recordings {
        Recordings::with_room(&dir.join("recordings"), Room { free: 0, inodes: 0, ..room })
    }

    #[test]
    fn chunks_are_appended_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (store, chunks) = (store(dir.path()), chunks());
        let gap = store.append(&host(), NAME, 1, &chunks[1], 0);
        assert!(matches!(gap, Err(RecordingFault::Gap { expected: 0, from: 1 })), "{gap:?}");
        assert_eq!(store.append(&host(), NAME, 0, &chunks[0], 0).unwrap(), 1);
        assert_eq!(
            store.append(&host(), NAME, 0, &chunks[..2].concat(), 0).unwrap(),
            2,
            "half of it repeated"
        );
        assert_eq!(store.append(&host(), NAME, 0, &chunks[0], 0).unwrap(), 2, "all of it repeated");
        assert_eq!(store.append(&host(), NAME, 2, &chunks[2..].concat(), 0).unwrap(), 4);
        let path = dir.path().join("recordings/db-3.payments.prod").join(NAME.to_string());
        assert_eq!(fs::read(&path).unwrap(), chunks.concat());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let after = store.append(&host(), NAME, 4, &chunks[3], 0);
        assert!(matches!(after, Err(RecordingFault::Number(4))), "{after:?}");
    }

    #[test]
    fn what_does_not_continue_it_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (store, chunks) = (store(dir.path()), chunks());
        store.append(&host(), NAME, 0, &chunks[..2].concat(), 0).unwrap();
        let mut changed = chunks[2].clone();
        let end = changed.len() - 1;
        changed[end] ^= 1;
        // The chain alone does not see a change of the newest chunk; the end's totals, and the report, do.
        assert!(store.append(&host(), NAME, 2, &chunks[2][..end], 0).is_err(), "cut");
        assert!(store.append(&host(), NAME, 2, &[&chunks[2][..], b"x"].concat(), 0).is_err(), "more");
        assert!(
            store.append(&host(), NAME, 2, &[changed, chunks[3].clone()].concat(), 0).is_err(),
            "changed"
        );
        assert_eq!(store.append(&host(), NAME, 2, &chunks[2], 0).unwrap(), 3);
        let other: HostName = "db-4.payments.prod".parse().unwrap();
        let named = store.append(&other, NAME, 0, &chunks[0], 0);
        assert!(matches!(named, Err(RecordingFault::Named)), "{named:?}");
        let named = store.append(&host(), Nonce([8; 16]), 0, &chunks[0], 0);
        assert!(matches!(named, Err(RecordingFault::Named)), "{named:?}");
    }

    #[test]
    fn half_a_chunk_that_a_crash_left_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let chunks = chunks();
        store(dir.path()).append(&host(), NAME, 0, &chunks[..2].concat(), 0).unwrap();
        let path = dir.path().join("recordings/db-3.payments.prod").join(NAME.to_string());
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&chunks[2][..20]).unwrap();
        assert_eq!(store(dir.path()).append(&host(), NAME, 2, &chunks[2..].concat(), 0).unwrap(), 4);
        assert_eq!(fs::read(&path).unwrap(), chunks.concat());
    }

    #[test]
    fn one_recording_too_many_in_memory_drops_the_one_that_was_sent_to_longest_ago() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let name = |n: u64| Nonce(u128::from(n).to_be_bytes());
        let in_use = store.kept(&host(), name(0));
        (1..KEPT as u64).for_each(|n| drop(store.kept(&host(), name(n))));
        store.kept(&host(), name(1));
        store.kept(&host(), name(9999));
        let kept = lock(&store.kept);
        let has = |n: u64| kept.contains_key(&(host(), name(n)));
        assert_eq!(kept.len(), KEPT);
        assert!(has(0) && has(1) && !has(2) && has(3) && has(9999));
        drop(in_use);
    }

    #[test]
    fn a_disk_that_the_log_needs_takes_no_recording() {
        let dir = tempfile::tempdir().unwrap();
        let full = |room| {
            let store = Recordings::with_room(&dir.path().join("recordings"), room);
            let full = store.append(&host(), NAME, 0, &chunks()[0], 0);
            assert!(matches!(full, Err(RecordingFault::Full(_))), "{full:?}");
            assert!(!dir.path().join("recordings").exists());
        };
        full(Room { free: u64::MAX / 2, inodes: 0, ..Room::default() });
        let disk = rustix::fs::statvfs(dir.path()).unwrap();
        if disk.f_files > 0 {
            full(Room { free: 0, inodes: disk.f_files, ..Room::default() });
        }
    }

    /// The only chunk of a recording that has not ended.
    fn begun(host: &HostName, name: Nonce) -> Vec<u8> {
        let body = Chunk::read(&chunks()[0]).unwrap().unwrap().0.body;
        let fireaxe_protocol::recording::Body::Header(header) = body else { panic!("no header") };
        Writer::begin(Header { host: host.clone(), recording: name, ..*header }).1
    }

    #[test]
    fn as_many_recordings_are_begun_as_are_kept_of_one_host_and_of_all_and_those_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room { of_host: 2, all: 3, ..Room::default() };
        let (first, second, third): (HostName, HostName, HostName) =
            (host(), "db-4.payments.prod".parse().unwrap(), "db-5.payments.prod".parse().unwrap());
        let begin = |store: &Recordings, host: &HostName, n: u8| {
            store.append(host, Nonce([n; 16]), 0, &begun(host, Nonce([n; 16])), 0)
        };
        let store = with(dir.path(), room);
        begin(&store, &first, 7).unwrap();
        begin(&store, &first, 8).unwrap();
        let many = begin(&store, &first, 9);
        assert!(matches!(many, Err(RecordingFault::TooMany(2))), "{many:?}");
        begin(&store, &second, 7).unwrap();
        // The same after a start, when nothing is counted yet; and none of it stops what has begun.
        for store in [store, with(dir.path(), room)] {
            let many = begin(&store, &first, 9);
            assert!(matches!(many, Err(RecordingFault::TooMany(2))), "{many:?}");
            for host in [&second, &third] {
                let full = begin(&store, host, 8);
                assert!(matches!(full, Err(RecordingFault::Full(_))), "{full:?}");
            }
            assert_eq!(begin(&store, &first, 8).unwrap(), 1, "sent again");
        }
        assert_eq!(with(dir.path(), room).append(&first, NAME, 1, &chunks()[1], 0).unwrap(), 2);
        assert!(!dir.path().join("recordings/db-5.payments.prod").exists());
    }

    #[test]
    fn a_recording_at_its_limit_does_not_grow() {
        let dir = tempfile::tempdir().unwrap();
        let (store, chunks) = (store(dir.path()), chunks());
        store.append(&host(), NAME, 0, &chunks[0], 0).unwrap();
        let so_large = |size| lock(&store.kept(&host(), NAME)).read.as_mut().unwrap().1 = size;
        so_large(RECORDING - chunks[1].len() as u64 + 1);
        let refused = store.append(&host(), NAME, 1, &chunks[1], 0);
        assert!(matches!(refused, Err(RecordingFault::TooLarge(_))), "{refused:?}");
        so_large(RECORDING - chunks[1].len() as u64);
        assert_eq!(store.append(&host(), NAME, 1, &chunks[1], 0).unwrap(), 2);
    }

    #[test]
    fn a_host_that_has_its_share_gets_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let (store, chunks) = (store(dir.path()), chunks());
        store.room.had(&host(), RECORDINGS_OF_HOST - 4096);
        store.append(&host(), NAME, 0, &chunks[0], 0).unwrap();
        assert_eq!(store.append(&host(), NAME, 1, &chunks[1], 0).unwrap(), 2, "within the same block");
        let name = Nonce([8; 16]);
        let refused = store.append(&host(), name, 0, &begun(&host(), name), 0);
        assert!(matches!(refused, Err(RecordingFault::TooLarge(_))), "{refused:?}");
    }
}
