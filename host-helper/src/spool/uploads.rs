//! The thread that sends recordings: what a sink has written, in whole chunks, as it grows. A recording's file
//! is removed when it has ended and the CA has all of it.
//!
//! They take turns, a request of at most a mebibyte each: one that grows faster than it can be sent holds up no
//! other. How far the CA is it says itself; nothing is remembered here across a restart, after which a file is
//! walked through once. A recording that cannot be read, or that the CA will never take, is set aside with an
//! alarm. One that the CA has no room for waits alone, with an alarm, and is tried again later and later: it
//! stays on this host's disk until the CA takes it, since it is nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use fireaxe_protocol::api::ChunksTaken;
use fireaxe_protocol::host::Report;
use fireaxe_protocol::limits;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::recording::{Body, Chunk};
use fireaxe_protocol::statement::Nonce;
use fireaxe_transport::TransportError;

use crate::authority::Authority;
use crate::clock::Deadline;
use crate::error::HostError;
use crate::reports::Reports;
use crate::{atomic, journal, randomness};

/// Takes chunks to the CA.
pub trait Carrier {
    /// Whole chunks of a recording, at most a mebibyte, of which the first has the number `from`.
    fn carry(&self, recording: Nonce, from: u64, chunks: &[u8]) -> Result<ChunksTaken, TransportError>;
}

impl Carrier for Authority {
    fn carry(&self, recording: Nonce, from: u64, chunks: &[u8]) -> Result<ChunksTaken, TransportError> {
        self.chunks(recording, from, chunks)
    }
}

/// Says that there is more to send. Called by sinks.
#[derive(Debug, Default)]
pub struct Grown {
    more: Mutex<bool>,
    woken: Condvar,
}

impl Grown {
    /// A recording has grown or ended.
    pub fn grew(&self) {
        *self.more.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.woken.notify_one();
    }

    fn wait(&self, time: Duration) {
        let more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.woken.wait_timeout_while(more, time, |more| !*more);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

/// Sends the recordings of one folder.
pub struct Uploads<C> {
    folder: PathBuf,
    grown: Arc<Grown>,
    reports: Arc<dyn Reports>,
    carrier: C,
    /// How far each is, of those that are not over.
    progress: BTreeMap<Nonce, Progress>,
}

impl<C> std::fmt::Debug for Uploads<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Uploads")
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// What the CA has.
    sent: Reached,
    /// Until when it is left alone, and how long that is.
    held: Option<(Deadline, Duration)>,
    /// Whether that is since the CA has no room for it.
    no_room: bool,
}

/// A place between two chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Reached {
    /// Chunks before it.
    chunks: u64,
    /// Where the next begins.
    offset: u64,
    /// Whether the last of them says that the recording has ended.
    over: bool,
}

/// What came of one step with one recording.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Nothing whole is there to be sent.
    Waits,
    /// Some was sent.
    Sent,
    /// It is over and gone.
    Over,
    /// The CA has no room for it, and what it said: others may have more luck.
    NoRoom(String),
    /// The CA, or this host's disk, wants none of it now.
    Later,
    /// The CA is not there.
    Away,
}

/// What came of a turn of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turns {
    /// All that is there is sent, or is left alone for a while.
    Idle,
    /// There may be more.
    More,
    /// The CA is not there.
    Away,
}

impl<C: Carrier> Uploads<C> {
    /// Sends what is in `folder`.
    pub fn new(folder: PathBuf, grown: Arc<Grown>, reports: Arc<dyn Reports>, carrier: C) -> Uploads<C> {
        Uploads { folder, grown, reports, carrier, progress: BTreeMap::new() }
    }

    /// Sends for ever.
    pub fn run(&mut self) {
        let mut pause = AWAY;
        loop {
            match self.round() {
                Ok(Turns::More) => pause = AWAY,
                Ok(Turns::Idle) => {
                    pause = AWAY;
                    self.grown.wait(if self.progress.is_empty() { IDLE } else { GROWING });
                }
                Ok(Turns::Away) => {
                    // Not the wait above: recordings that grow would end it at once, and the CA is away.
                    std::thread::sleep(pause / 2 + randomness::jitter(pause));
                    pause = (pause * 2).min(IDLE);
                }
                Err(error) => {
                    journal::say(&format!("recordings cannot be sent: {error}"));
                    std::thread::sleep(IDLE);
                }
            }
        }
    }

    /// Gives each recording one turn: a request at most. An error: the folder cannot be read.
    pub fn round(&mut self) -> Result<Turns, HostError> {
        let found = self.found()?;
        self.progress.retain(|recording, _| found.contains(recording));
        let mut turns = Turns::Idle;
        for recording in found {
            let progress = self.progress.entry(recording).or_default();
            if progress.held.is_some_and(|(until, _)| until.left().is_some()) {
                continue;
            }
            let sent = progress.sent;
            let step = self.step(recording, sent).or_else(|why| self.set_aside(recording, &why));
            let step = step.unwrap_or_else(|error| {
                journal::say(&format!("recording {recording} waits: {error}"));
                Step::Later
            });
            match step {
                Step::Waits => {}
                Step::Sent => turns = Turns::More,
                Step::Over => drop(self.progress.remove(&recording)),
                Step::NoRoom(why) => self.no_room(recording, &why),
                Step::Later => self.hold(recording, AWAY),
                Step::Away => return Ok(Turns::Away),
            }
        }
        Ok(turns)
    }

    /// Leaves it alone for a while, the longer the more often.
    fn hold(&mut self, recording: Nonce, first: Duration) {
        let Some(progress) = self.progress.get_mut(&recording) else { return };
        let pause = progress.held.map_or(first, |(_, pause)| (pause * 2).min(HELD_MOST));
        progress.held = Some((Deadline::after(pause), pause));
    }

    /// The same; said when it is the first of which that is so.
    fn no_room(&mut self, recording: Nonce, why: &str) {
        self.hold(recording, HELD);
        let first = !self.progress.values().any(|progress| progress.no_room);
        if let Some(progress) = self.progress.get_mut(&recording) {
            progress.no_room = true;
        }
        if first {
            let sentence = format!("recording {recording}, and maybe others, must wait on the host: {why}");
            // Not kept: it is in the journal, and the file is there.
            let _ = self.reports.say(Report::Alarmed(Reason::new("recording.held", sentence)));
        }
    }

    fn found(&self) -> Result<BTreeSet<Nonce>, HostError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(HostError::read(&self.folder, &error)),
        };
        let name = |entry: fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse().ok());
        Ok(entries.flatten().filter_map(name).collect())
    }

    /// One request at most. An error: the recording is not to be sent any more, and why.
    fn step(&mut self, recording: Nonce, sent: Reached) -> Result<Step, String> {
        let path = self.folder.join(recording.to_string());
        let chunks = match read_chunks(&path, sent.offset) {
            Ok(chunks) => chunks?,
            // Removed meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Step::Over),
            Err(error) => return Err(error.to_string()),
        };
        if chunks.count == 0 {
            // All of it is there; its mark may have come since.
            let over = sent.over && self.remove(recording).map_err(|error| error.to_string())?;
            return Ok(if over { Step::Over } else { Step::Waits });
        }
        let has = match self.carrier.carry(recording, sent.chunks, &chunks.bytes) {
            Ok(taken) => taken.chunks,
            Err(error) => match error.problem() {
                Some(problem) if problem.expected.is_some_and(|has| has != sent.chunks) => {
                    problem.expected.unwrap_or_default()
                }
                Some(problem) if matches!(problem.status, 400 | 413 | 415 | 422) => {
                    return Err(format!("the CA does not take it: {} ({})", problem.title, problem.code));
                }
                // It has no room.
                Some(problem) if problem.status == 507 => {
                    return Ok(Step::NoRoom(format!("{} ({})", problem.title, problem.code)));
                }
                problem => {
                    journal::say(&format!("recording {recording} waits: {error}"));
                    let there = problem.is_some() && !error.is_unavailable();
                    return Ok(if there { Step::Later } else { Step::Away });
                }
            },
        };
        let after = if has == sent.chunks + chunks.count {
            Reached { chunks: has, offset: sent.offset + chunks.bytes.len() as u64, over: chunks.over }
        } else {
            // It has more than was known here, after a restart; or less, after one of its own.
            let from = if has >= sent.chunks { sent } else { Reached::default() };
            let reached = walk(&path, from, has).map_err(|error| error.to_string())?;
            reached.ok_or_else(|| format!("the CA has {has} chunks of it, and here are fewer"))?
        };
        if after.over
            && after.offset == fs::metadata(&path).map_or(0, |metadata| metadata.len())
            && self.remove(recording).map_err(|error| error.to_string())?
        {
            return Ok(Step::Over);
        }
        if after == sent {
            return Ok(Step::Later);
        }
        self.progress.insert(recording, Progress { sent: after, ..Progress::default() });
        Ok(Step::Sent)
    }

    /// Removes a recording that the CA has, once its sink has said with a mark that it is done with it; else
    /// the next round asks again.
    fn remove(&self, recording: Nonce) -> Result<bool, HostError> {
        // A crash between the two: a recording without its mark. The sink marks it again at the next start,
        // it is sent once more, and the CA says that it has it.
        let marked = atomic::remove(&self.folder.join(format!("{recording}.end")))?;
        Ok(marked && atomic::remove(&self.folder.join(recording.to_string()))?)
    }

    fn set_aside(&self, recording: Nonce, why: &str) -> Result<Step, HostError> {
        let aside = self.folder.join("damaged");
        atomic::folder(&aside)?;
        let (from, to) = (self.folder.join(recording.to_string()), aside.join(recording.to_string()));
        fs::rename(&from, &to).map_err(|error| HostError::write(&to, &error))?;
        // A mark without its recording says nothing; there may be none yet.
        let _ = fs::remove_file(self.folder.join(format!("{recording}.end")));
        let sentence = format!("recording {recording} is set aside on the host, unsent: {why}");
        // Not kept: it is in the journal, and the file is there.
        let _ = self.reports.say(Report::Alarmed(Reason::new("recording.damaged", sentence)));
        Ok(Step::Over)
    }
}

struct Chunks {
    bytes: Vec<u8>,
    count: u64,
    /// Whether the last of them says that the recording has ended.
    over: bool,
}

/// The whole chunks from `offset` on, as many as fit in one request. A chunk that is cut is not whole yet.
fn read_chunks(path: &Path, offset: u64) -> std::io::Result<Result<Chunks, String>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(REQUEST).read_to_end(&mut bytes)?;
    let (mut whole, mut count, mut over) = (0, 0, false);
    loop {
        match Chunk::read(bytes.get(whole..).unwrap_or_default()) {
            Ok(Some((chunk, taken))) => (whole, count, over) = (whole + taken, count + 1, is_last(&chunk)),
            Ok(None) => break,
            // What is whole before it is sent first.
            Err(_) if count > 0 => break,
            Err(error) => return Ok(Err(format!("it cannot be read: {error}"))),
        }
    }
    bytes.truncate(whole);
    Ok(Ok(Chunks { bytes, count, over }))
}

/// Goes on from there to the chunk of that number, or to where it would begin; nothing when the file has fewer.
fn walk(path: &Path, from: Reached, chunk: u64) -> std::io::Result<Option<Reached>> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    let (mut offset, mut last) = (from.offset, None);
    for _ in from.chunks..chunk {
        let mut length = [0u8; 4];
        if offset + 4 > end {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut length)?;
        last = Some(offset);
        offset += 4 + u64::from(u32::from_be_bytes(length));
    }
    if offset > end {
        return Ok(None);
    }
    let Some(last) = last else { return Ok(Some(from)) };
    file.seek(SeekFrom::Start(last))?;
    let mut bytes = Vec::new();
    file.take(limits::RECORDING_CHUNK as u64).read_to_end(&mut bytes)?;
    let over = matches!(Chunk::read(&bytes), Ok(Some((chunk, _))) if is_last(&chunk));
    Ok(Some(Reached { chunks: chunk, offset, over }))
}

fn is_last(chunk: &Chunk) -> bool {
    matches!(chunk.body, Body::End(_))
}

/// Bytes of chunks in one request: as many as the CA takes.
const REQUEST: u64 = 1024 * 1024;
/// How often it is looked whether something grew that nobody told of.
const GROWING: Duration = Duration::from_secs(10);
/// The same while there is no recording, and the longest pause while the CA is away.
const IDLE: Duration = Duration::from_secs(60);
/// The first pause when the CA is away.
const AWAY: Duration = Duration::from_secs(1);
/// How long one that the CA has no room for is left alone first, and at most. Each try costs a request of it.
const HELD: Duration = Duration::from_secs(60);
const HELD_MOST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
