//! The thread that sends recordings: what a sink has written, in whole chunks, as it grows. A recording's file
//! is removed when it has ended and the CA has all of it.
//!
//! How far the CA is it says itself; nothing is remembered here across a restart. A recording that cannot be
//! read, or that the CA will never take, is set aside with an alarm: it stops no other.

use std::collections::BTreeMap;
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Progress {
    /// Chunks that the CA has.
    chunks: u64,
    /// Where the next begins.
    offset: u64,
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
    /// The CA has no room for it, or wants none of it now: others may have more luck.
    Skipped,
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
                Ok(true) => {
                    pause = AWAY;
                    self.grown.wait(if self.progress.is_empty() { IDLE } else { GROWING });
                }
                Ok(false) => {
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

    /// Sends all that is there. False: not all of it could be, now.
    pub fn round(&mut self) -> Result<bool, HostError> {
        let found = self.found()?;
        self.progress.retain(|recording, _| found.contains(recording));
        let mut all = true;
        for recording in found {
            loop {
                let progress = self.progress.get(&recording).copied().unwrap_or_default();
                let step = match self.step(recording, progress) {
                    Ok(step) => step,
                    Err(why) => {
                        self.set_aside(recording, &why)?;
                        Step::Over
                    }
                };
                match step {
                    Step::Sent => {}
                    Step::Waits => break,
                    Step::Skipped => {
                        all = false;
                        break;
                    }
                    Step::Away => return Ok(false),
                    Step::Over => {
                        self.progress.remove(&recording);
                        break;
                    }
                }
            }
        }
        Ok(all)
    }

    fn found(&self) -> Result<Vec<Nonce>, HostError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(HostError::read(&self.folder, &error)),
        };
        let name = |entry: fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse().ok());
        Ok(entries.flatten().filter_map(name).collect())
    }

    /// One request at most. An error: the recording is not to be sent any more, and why.
    fn step(&mut self, recording: Nonce, progress: Progress) -> Result<Step, String> {
        let path = self.folder.join(recording.to_string());
        let chunks = match read_chunks(&path, progress.offset) {
            Ok(chunks) => chunks?,
            // Removed meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Step::Over),
            Err(error) => return Err(error.to_string()),
        };
        self.progress.insert(recording, progress);
        if chunks.count == 0 {
            // All of it is there; its mark may have come since.
            let over = ended(&path, progress.chunks).map_err(|error| error.to_string())?
                && self.remove(recording).map_err(|error| error.to_string())?;
            return Ok(if over { Step::Over } else { Step::Waits });
        }
        let has = match self.carrier.carry(recording, progress.chunks, &chunks.bytes) {
            Ok(taken) => taken.chunks,
            Err(error) => match error.problem() {
                Some(problem) if problem.expected.is_some_and(|has| has != progress.chunks) => {
                    problem.expected.unwrap_or_default()
                }
                Some(problem) if matches!(problem.status, 400 | 413 | 415 | 422) => {
                    return Err(format!("the CA does not take it: {} ({})", problem.title, problem.code));
                }
                problem => {
                    journal::say(&format!("recording {recording} waits: {error}"));
                    let there = problem.is_some() && !error.is_unavailable();
                    return Ok(if there { Step::Skipped } else { Step::Away });
                }
            },
        };
        let after = if has == progress.chunks + chunks.count {
            Progress { chunks: has, offset: progress.offset + chunks.bytes.len() as u64 }
        } else {
            // It has more than was known here, after a restart; or less, after one of its own.
            let offset = offset_of(&path, has).map_err(|error| error.to_string())?;
            let offset =
                offset.ok_or_else(|| format!("the CA has {has} chunks of it, and here are fewer"))?;
            Progress { chunks: has, offset }
        };
        if after.offset == fs::metadata(&path).map_or(0, |metadata| metadata.len())
            && ended(&path, after.chunks).map_err(|error| error.to_string())?
            && self.remove(recording).map_err(|error| error.to_string())?
        {
            return Ok(Step::Over);
        }
        if after == progress {
            return Ok(Step::Skipped);
        }
        self.progress.insert(recording, after);
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

    fn set_aside(&self, recording: Nonce, why: &str) -> Result<(), HostError> {
        let aside = self.folder.join("damaged");
        atomic::folder(&aside)?;
        let (from, to) = (self.folder.join(recording.to_string()), aside.join(recording.to_string()));
        fs::rename(&from, &to).map_err(|error| HostError::write(&to, &error))?;
        let sentence = format!("recording {recording} is set aside on the host, unsent: {why}");
        // Not kept: it is in the journal, and the file is there.
        let _ = self.reports.say(Report::Alarmed(Reason::new("recording.damaged", sentence)));
        Ok(())
    }
}

struct Chunks {
    bytes: Vec<u8>,
    count: u64,
}

/// The whole chunks from `offset` on, as many as fit in one request. A chunk that is cut is not whole yet.
fn read_chunks(path: &Path, offset: u64) -> std::io::Result<Result<Chunks, String>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(REQUEST).read_to_end(&mut bytes)?;
    let (mut whole, mut count) = (0, 0);
    loop {
        match Chunk::read(bytes.get(whole..).unwrap_or_default()) {
            Ok(Some((_, taken))) => (whole, count) = (whole + taken, count + 1),
            Ok(None) => break,
            // What is whole before it is sent first.
            Err(_) if count > 0 => break,
            Err(error) => return Ok(Err(format!("it cannot be read: {error}"))),
        }
    }
    bytes.truncate(whole);
    Ok(Ok(Chunks { bytes, count }))
}

/// Where the chunk of that number begins, or would; nothing when the file has fewer.
fn offset_of(path: &Path, chunk: u64) -> std::io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    let mut offset = 0;
    for _ in 0..chunk {
        let mut length = [0u8; 4];
        if offset + 4 > end {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut length)?;
        offset += 4 + u64::from(u32::from_be_bytes(length));
    }
    Ok((offset <= end).then_some(offset))
}

/// Whether the last of so many chunks says that the recording has ended.
fn ended(path: &Path, chunks: u64) -> std::io::Result<bool> {
    let Some(last) = chunks.checked_sub(1) else { return Ok(false) };
    let Some(offset) = offset_of(path, last)? else { return Ok(false) };
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(limits::RECORDING_CHUNK as u64).read_to_end(&mut bytes)?;
    Ok(matches!(Chunk::read(&bytes), Ok(Some((Chunk { body: Body::End(_), .. }, _)))))
}

/// Bytes of chunks in one request: as many as the CA takes.
const REQUEST: u64 = 1024 * 1024;
/// How often it is looked whether something grew that nobody told of.
const GROWING: Duration = Duration::from_secs(10);
/// The same while there is no recording, and the longest pause while the CA is away.
const IDLE: Duration = Duration::from_secs(60);
/// The first pause when the CA is away.
const AWAY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use fireaxe_protocol::recording::{Chain, Ended, Event, Header, SessionKind, Stream, Writer};

    use super::*;

    #[derive(Default)]
    struct Taking {
        chain: RefCell<Chain>,
        requests: RefCell<Vec<u64>>,
        away: RefCell<bool>,
        /// It has no room for this one.
        full: Option<Nonce>,
    }

    fn problem(status: u16, expected: Option<u64>) -> TransportError {
        let json = serde_json::json!({
            "type": "t", "title": "no", "status": status, "code": "x", "reasons": [], "expected": expected
        });
        TransportError::Problem(serde_json::from_value(json).unwrap())
    }

    impl Carrier for &Taking {
        fn carry(&self, recording: Nonce, from: u64, chunks: &[u8]) -> Result<ChunksTaken, TransportError> {
            self.requests.borrow_mut().push(from);
            if *self.away.borrow() {
                return Err(TransportError::NotRunning { addr: "x".into() });
            }
            if self.full == Some(recording) {
                return Err(problem(507, None));
            }
            let mut chain = self.chain.borrow_mut();
            if from != chain.chunks() {
                return Err(problem(409, Some(chain.chunks())));
            }
            chain.all(chunks).map_err(|_| problem(400, None))?;
            Ok(ChunksTaken { schema: "fireaxe.chunks-taken/v1".into(), chunks: chain.chunks() })
        }
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<Report>>);

    impl Reports for Heard {
        fn say(&self, report: Report) -> Result<(), HostError> {
            self.0.lock().unwrap().push(report);
            Ok(())
        }
    }

    fn header(recording: Nonce) -> Header {
        Header {
            v: 1,
            recording,
            connection: Nonce([6; 16]),
            serial: 7,
            host: "db-3.payments.prod".parse().unwrap(),
            account: "ops".parse().unwrap(),
            from: None,
            began_us: 1,
            kind: SessionKind::Shell,
            command: None,
            asked: None,
            terminal: None,
        }
    }

    fn event(n: u64) -> Vec<Event> {
        vec![Event { offset_us: n, stream: Stream::Output, bytes: vec![b'x'; 5000] }]
    }

    fn uploads<'c>(dir: &Path, ca: &'c Taking, heard: &Arc<Heard>) -> Uploads<&'c Taking> {
        Uploads::new(dir.into(), Arc::default(), heard.clone(), ca)
    }

    #[test]
    fn a_recording_is_sent_as_it_grows_in_whole_chunks_and_goes_when_it_is_over() {
        let (dir, ca, heard) = (tempfile::tempdir().unwrap(), Taking::default(), Arc::<Heard>::default());
        let name = Nonce([5; 16]);
        let path = dir.path().join(name.to_string());
        let mut sends = uploads(dir.path(), &ca, &heard);
        let (mut writer, mut bytes) = Writer::begin(header(name));
        let whole = bytes.len();
        bytes.extend(writer.data(event(1)));
        // The second chunk is half written.
        fs::write(&path, &bytes[..whole + 100]).unwrap();
        assert!(sends.round().unwrap());
        assert_eq!(ca.chain.borrow().chunks(), 1);
        fs::write(&path, &bytes).unwrap();
        *ca.away.borrow_mut() = true;
        assert!(!sends.round().unwrap());
        *ca.away.borrow_mut() = false;
        // A restart knows nothing: the CA says how far it is.
        let mut sends = uploads(dir.path(), &ca, &heard);
        assert!(sends.round().unwrap());
        assert_eq!(ca.chain.borrow().chunks(), 2);
        let (last, recorded) = writer.end(Ended::Exited(0), 9);
        bytes.extend(last);
        fs::write(&path, &bytes).unwrap();
        assert!(sends.round().unwrap());
        assert!(path.exists(), "it went before its sink was done with it");
        fs::write(dir.path().join(format!("{name}.end")), "{}").unwrap();
        assert!(sends.round().unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(ca.chain.borrow().recorded(), Some(recorded));
        assert_eq!(*ca.requests.borrow(), [0, 1, 0, 1, 2]);
        assert!(heard.0.lock().unwrap().is_empty());
    }

    #[test]
    fn one_that_cannot_be_read_is_set_aside_and_one_without_room_waits_and_neither_stops_the_next() {
        let (dir, heard) = (tempfile::tempdir().unwrap(), Arc::<Heard>::default());
        let ca = Taking { full: Some(Nonce([2; 16])), ..Taking::default() };
        fs::write(dir.path().join(Nonce([1; 16]).to_string()), [0xff; 200]).unwrap();
        for name in [Nonce([2; 16]), Nonce([3; 16])] {
            fs::write(dir.path().join(name.to_string()), Writer::begin(header(name)).1).unwrap();
        }
        assert!(!uploads(dir.path(), &ca, &heard).round().unwrap());
        assert_eq!(ca.chain.borrow().chunks(), 1);
        assert!(dir.path().join("damaged").join(Nonce([1; 16]).to_string()).exists());
        let heard = heard.0.lock().unwrap();
        assert!(matches!(&heard[..], [Report::Alarmed(alarm)] if alarm.code == "recording.damaged"));
    }
}
