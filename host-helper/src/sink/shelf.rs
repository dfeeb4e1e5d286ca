//! The folder of recordings: a file a recording, named by its random id, mode 0600 in a folder of mode 0700,
//! only ever appended to. When it has its last chunk, a file `<id>.end` beside it says what it comes to.
//!
//! Whoever can write here (root) can forge and remove what the CA does not have yet, and is found out by what
//! it has. Whoever sends the files reads whole chunks from one that grows, and removes it when the CA has all.

use std::fs::{self, File, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fireaxe_protocol::host::Recorded;
use fireaxe_protocol::limits;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::recording::{Chain, Ended, RecordingError};
use fireaxe_protocol::statement::Nonce;

use crate::atomic;
use crate::error::HostError;

/// The folder.
#[derive(Debug, Clone)]
pub struct Shelf {
    folder: PathBuf,
}

/// A recording on the shelf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub recording: Nonce,
    /// Its file. Whole chunks but for the last, which may be half written while it grows.
    pub path: PathBuf,
    /// What it comes to, when it has its last chunk.
    pub ended: Option<Recorded>,
}

/// A recording that an earlier daemon left open, and that is closed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The connection that it belongs to.
    pub connection: Nonce,
    /// What it comes to.
    pub recorded: Recorded,
}

/// What recordings may still take of their disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Free {
    /// Bytes.
    pub(super) bytes: u64,
    /// Inodes, where they are counted.
    pub(super) files: Option<u64>,
}

impl Shelf {
    /// The shelf in this folder, made when missing.
    pub fn open(folder: &Path) -> Result<Shelf, HostError> {
        atomic::folder(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))
            .map_err(|error| HostError::write(folder, &error))?;
        Ok(Shelf { folder: folder.into() })
    }

    /// All recordings, by name.
    pub fn kept(&self) -> Result<Vec<Kept>, HostError> {
        let failed = |error| HostError::read(&self.folder, &error);
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(recording) = name.to_str().and_then(|name| name.parse::<Nonce>().ok()) else { continue };
            let ended =
                fs::read(self.mark(recording)).ok().and_then(|text| serde_json::from_slice(&text).ok());
            kept.push(Kept { recording, path: self.path(recording), ended });
        }
        kept.sort_by_key(|kept| kept.recording.0);
        Ok(kept)
    }

    /// Takes a recording off the shelf: the CA has all of it.
    pub fn remove(&self, recording: Nonce) -> Result<(), HostError> {
        // A crash between the two: a recording without its mark, which the next start closes again in the
        // same words, and which the CA has already.
        atomic::remove(&self.mark(recording))?;
        atomic::remove(&self.path(recording)).map(|_| ())
    }

    /// What is free on its disk above what must stay free: `reserve` bytes or a twentieth, the smaller, and a
    /// twentieth of the inodes. The inner error says what there is too little of.
    pub(super) fn free(&self, reserve: u64) -> Result<Result<Free, String>, HostError> {
        let disk = rustix::fs::statvfs(&self.folder)
            .map_err(|error| HostError::read(&self.folder, &std::io::Error::from(error)))?;
        let (free, size) =
            (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
        let Some(bytes) = free.checked_sub(reserve.min(size / 20)) else {
            return Ok(Err(format!("{} MiB are free on the disk of the recordings", free >> 20)));
        };
        // Some file systems make inodes as they are needed, and say that they have none.
        let files = match disk.f_files {
            0 => None,
            all => match disk.f_favail.checked_sub(all / 20) {
                Some(files) => Some(files),
                None => {
                    return Ok(Err(format!("{} files more fit the disk of the recordings", disk.f_favail)));
                }
            },
        };
        Ok(Ok(Free { bytes, files }))
    }

    /// Whether a recording is on the shelf.
    pub(super) fn has(&self, recording: Nonce) -> bool {
        self.path(recording).exists()
    }

    /// A new file for a recording.
    pub(super) fn create(&self, recording: Nonce) -> Result<File, HostError> {
        let path = self.path(recording);
        // Read too: so that a chunk that was written in part can be cut off again.
        let open = File::options().read(true).append(true).create_new(true).mode(0o600).open(&path);
        open.map_err(|error| HostError::write(&path, &error))
    }

    /// Marks a recording as finished; its file is on the disk by now.
    pub(super) fn finish(&self, recorded: &Recorded) -> Result<(), HostError> {
        let text = serde_json::to_vec(recorded).unwrap_or_default();
        // A crash before the mark is whole: the next start reads the last chunk and makes the mark again.
        atomic::write(&self.mark(recorded.recording), &text).map(|_| ())
    }

    /// Closes what was left open: cuts off a chunk that is not whole, appends the last one, marks it. A file
    /// that never had its first chunk held nothing, and goes. What cannot be closed, for a full disk most
    /// likely, stays as it is for the next start: nobody's login waits for it. No connection hears of it, so it is
    /// told by name: the second of what this gives.
    pub(super) fn recover(&self) -> (Vec<Found>, Vec<Reason>) {
        let (mut found, mut untold) = (Vec::new(), Vec::new());
        let kept = self.kept().unwrap_or_else(|error| {
            let sentence =
                format!("no recording that was left open is closed, and no connection told: {error}");
            untold.push(Reason::new(LEFT_OPEN, sentence));
            Vec::new()
        });
        for kept in kept.iter().filter(|kept| kept.ended.is_none()) {
            match self.close(kept, &mut untold) {
                Ok(closed) => found.extend(closed),
                Err(error) => {
                    let of = self.connection_of(kept).map_or_else(
                        || "of a connection that it does not name".to_owned(),
                        |connection| format!("of connection {connection}"),
                    );
                    let name = kept.recording;
                    let sentence = format!(
                        "recording {name} {of} was left open and is not closed before the next start: {error}"
                    );
                    untold.push(Reason::new(LEFT_OPEN, sentence));
                }
            }
        }
        (found, untold)
    }

    fn connection_of(&self, kept: &Kept) -> Option<Nonce> {
        let (chain, ..) = read(&mut File::open(&kept.path).ok()?).ok()?;
        chain.header().map(|header| header.connection)
    }

    /// Also what of it nobody would hear otherwise.
    fn close(&self, kept: &Kept, untold: &mut Vec<Reason>) -> Result<Option<Found>, HostError> {
        let failed = |error| HostError::write(&kept.path, &error);
        let mut file = File::options().read(true).write(true).open(&kept.path).map_err(failed)?;
        let (chain, whole, wrong) = read(&mut file).map_err(failed)?;
        let Some(header) = chain.header() else {
            return match wrong {
                None => atomic::remove(&kept.path).map(|_| None),
                // None of ours, or damaged. Who sends the files sets it aside.
                Some(wrong) => Err(HostError::read(&kept.path, &std::io::Error::other(wrong.to_string()))),
            };
        };
        if let Some(wrong) = wrong {
            let (name, of, size) =
                (kept.recording, header.connection, file.metadata().map_or(whole, |metadata| metadata.len()));
            let more = size.saturating_sub(whole);
            let sentence =
                format!("the last {more} bytes of recording {name} of connection {of} are lost: {wrong}");
            untold.push(Reason::new("recording.cut_off", sentence));
        }
        let connection = header.connection;
        let recorded = match chain.resume() {
            None => chain.recorded(),
            Some(writer) => {
                file.set_len(whole).map_err(failed)?;
                file.seek(SeekFrom::End(0)).map_err(failed)?;
                let (last, recorded) = writer.end(Ended::Restarted, chain.latest_us());
                // A crash within, or no room: the next start cuts it off and writes the same chunk again.
                file.write_all(&last).map_err(failed)?;
                file.sync_all().map_err(failed)?;
                Some(recorded)
            }
        };
        let Some(recorded) = recorded else { return Ok(None) };
        self.finish(&recorded)?;
        Ok(Some(Found { connection, recorded }))
    }

    pub(super) fn path(&self, recording: Nonce) -> PathBuf {
        self.folder.join(recording.to_string())
    }

    fn mark(&self, recording: Nonce) -> PathBuf {
        self.folder.join(format!("{recording}.end"))
    }
}

/// Reads as far as the chunks continue each other; gives how many bytes that are, and what is wrong with what
/// comes after, unless that is a chunk that is cut: it was never said to anybody, since the daemon writes in order.
fn read(file: &mut File) -> std::io::Result<(Chain, u64, Option<RecordingError>)> {
    let (mut chain, mut have, mut whole) = (Chain::default(), Vec::new(), 0u64);
    loop {
        match chain.next(&have) {
            Ok(Some((_, taken))) => {
                have.drain(..taken);
                whole += taken as u64;
            }
            Ok(None) => {
                let room = (limits::RECORDING_CHUNK as u64) * 8;
                if Read::by_ref(file).take(room).read_to_end(&mut have)? == 0 {
                    return Ok((chain, whole, None));
                }
            }
            Err(error) => return Ok((chain, whole, Some(error))),
        }
    }
}

const LEFT_OPEN: &str = "recording.left_open";
