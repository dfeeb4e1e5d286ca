//! The spool's folder, of mode 0700. What is in it is the host's own word, unsigned until it is sent; whoever can write
//! there is root, who can say anything under the host key anyway.
//!
//! | file | what it is |
//! |---|---|
//! | `<20 digits>.json` | a report that waits: [`Said`]; the digits are the order in which they were said |
//! | `batch.json` | those that have numbers, as they are sent, until the CA has them |
//! | `state.json` | the next number, and the last file that is done |
//! | `lost.json` | how many had to be dropped, until an alarm tells |
//! | `damaged/` | files that could not be read |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fireaxe_protocol::api::Reports as Batch;
use fireaxe_protocol::host::Report;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{Envelope, Nonce};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Filled, MOST, MOST_BYTES, Voice, fit, overflowed};
use crate::error::HostError;
use crate::{atomic, clock, journal, randomness};

/// A report as it was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// The nonce of its statement.
    pub nonce: Nonce,
    /// When. Unix seconds.
    pub at: u64,
    /// What.
    pub report: Report,
}

/// A report that has its number, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbered {
    /// Its number.
    pub seq: u64,
    /// The file that it was; 0: it was none.
    pub file: u64,
    /// What was said.
    pub said: Said,
    /// Signed.
    pub envelope: Envelope,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Under which enrolment the count began.
    enrolment: Option<Hash>,
    /// The next number.
    next: u64,
    /// Files up to this one are done with.
    done: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    bytes: u64,
    worth: u8,
}

/// The folder, and what of it is in memory.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    state: State,
    waiting: BTreeMap<u64, Waiting>,
    bytes: u64,
    newest: u64,
    batch: Vec<Numbered>,
    lost: u64,
    /// So many of them are on the disk: it is written when the number has doubled.
    lost_written: u64,
    /// [`MOST`], but in tests.
    pub(super) most: usize,
}

impl Store {
    /// Opens or makes it. Also what could not be read: those files are in `damaged/` now.
    pub(super) fn open(folder: &Path, enrolment: Option<Hash>) -> Result<(Store, Vec<Reason>), HostError> {
        atomic::folder(folder)?;
        // Who came from where, and what an alarm says, is nobody's on this host to read.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .map_err(|error| HostError::write(folder, &error))?;
        let mut damaged = Vec::new();
        let state: Option<State> = read(&folder.join(STATE), &mut damaged);
        let batch: Option<Vec<Numbered>> = read(&folder.join(BATCH), &mut damaged);
        let lost: Option<u64> = read(&folder.join(LOST), &mut damaged);
        let state = state.unwrap_or(State { enrolment, next: 1, done: 0 });
        let mut store = Store {
            folder: folder.into(),
            waiting: BTreeMap::new(),
            bytes: 0,
            newest: state.done,
            batch: batch.unwrap_or_default(),
            state,
            lost: lost.unwrap_or(0),
            lost_written: lost.unwrap_or(0),
            most: MOST,
        };
        // A crash after `state.json` was written and before `batch.json` was removed leaves a batch that
        // the CA has.
        store.batch.retain(|numbered| numbered.seq >= store.state.next);
        let batched = store.batch.iter().map(|numbered| numbered.file).max().unwrap_or(0);
        store.newest = store.newest.max(batched);
        let entries = fs::read_dir(folder).map_err(|error| HostError::read(folder, &error))?;
        for entry in entries.flatten() {
            let Some(number) = number_of(&entry.path()) else { continue };
            store.newest = store.newest.max(number);
            // Done, or in the batch: a crash came before it was removed.
            if number <= store.state.done.max(batched) {
                // Not removed: passed over again at the next start.
                let _ = fs::remove_file(entry.path());
                continue;
            }
            if let Some(said) = read::<Said>(&entry.path(), &mut damaged) {
                let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
                store.bytes += bytes;
                store.waiting.insert(number, Waiting { bytes, worth: fit::worth(&said.report) });
            }
        }
        if enrolment.is_some() && store.state.enrolment != enrolment {
            // Numbers count from an enrolment. What has one by an older count and was not taken gets a new one.
            store.state = State { enrolment, next: 1, done: store.state.done };
            if let Err(error) = store.write(STATE, &store.state) {
                // Written with the next number that is taken; until then a start counts anew, as this one.
                journal::say(&format!("the spool's count is not on the disk yet: {error}"));
            }
            for (seq, numbered) in (1..).zip(&mut store.batch) {
                numbered.seq = seq;
                numbered.envelope = Envelope { statement: String::new(), signature: String::new() };
            }
        }
        Ok((store, damaged))
    }

    /// Keeps one, in order. When there is no room one that is worth less goes for it, of those the newest:
    /// how something began tells most.
    pub(super) fn add(&mut self, said: &Said) -> Result<(), HostError> {
        let text = serde_json::to_vec(said).map_err(|error| HostError::Unsaid(error.to_string()))?;
        let (bytes, worth) = (text.len() as u64, fit::worth(&said.report));
        while self.waiting.len() >= self.most || self.bytes + bytes > MOST_BYTES {
            let waiting = self.waiting.iter().rev().map(|(number, waiting)| (*number, waiting.worth));
            match waiting.min_by_key(|(_, worth)| *worth) {
                Some((number, least)) if least < worth => {
                    self.remove(number)?;
                    self.lose();
                }
                _ => {
                    self.lose();
                    return Err(HostError::Unsaid(format!("{} wait already", self.waiting.len())));
                }
            }
        }
        let number = self.newest + 1;
        if let Err(error) = self.put(number, &text) {
            // No room on the disk, most likely. What was written of it must not be found as damaged.
            let _ = fs::remove_file(self.file(number));
            self.lose();
            return Err(HostError::Unsaid(error.to_string()));
        }
        self.newest = number;
        self.bytes += bytes;
        self.waiting.insert(number, Waiting { bytes, worth });
        Ok(())
    }

    /// A crash in here: a file that is cut, which is set aside at the next start with an alarm; whoever said
    /// it was not told that it is kept.
    fn put(&self, number: u64, text: &[u8]) -> Result<(), HostError> {
        let path = self.file(number);
        let failed = |error| HostError::write(&path, &error);
        let mut file =
            File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        file.write_all(text).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    /// The batch to be sent: the one that was not taken yet, or a new one of the oldest that wait.
    pub(super) fn batch(&mut self, voice: &Voice) -> Result<&[Numbered], HostError> {
        if self.batch.is_empty() {
            let mut batch = Vec::new();
            if self.lost > 0 {
                let report = Report::Alarmed(overflowed(self.lost));
                let said = Said { nonce: randomness::nonce()?, at: clock::now(), report };
                batch.push((0, said));
            }
            let mut damaged = Vec::new();
            let files: Vec<u64> = self.waiting.keys().take(Batch::MOST - batch.len()).copied().collect();
            for file in files {
                match read::<Said>(&self.file(file), &mut damaged) {
                    Some(said) => batch.push((file, said)),
                    None => self.forget(file),
                }
            }
            for alarm in damaged {
                let report = Report::Alarmed(alarm);
                self.add(&Said { nonce: randomness::nonce()?, at: clock::now(), report })?;
            }
            let numbered = |(seq, (file, said)): (u64, (u64, Said))| {
                let envelope = voice.sign(&said, seq);
                Numbered { seq, file, said, envelope }
            };
            let batch: Vec<Numbered> = (self.state.next..).zip(batch).map(numbered).collect();
            if batch.is_empty() {
                return Ok(&[]);
            }
            self.write(BATCH, &batch)?;
            // A crash here: they are in the batch and in their files; the files go at the next start.
            for numbered in batch.iter().filter(|numbered| numbered.file > 0) {
                self.remove(numbered.file)?;
            }
            if self.lost > 0 {
                (self.lost, self.lost_written) = (0, 0);
                // A crash before this line: they are told twice.
                atomic::remove(&self.folder.join(LOST))?;
            }
            self.batch = batch;
        } else if self.batch.iter().any(|numbered| numbered.envelope.statement.is_empty()) {
            let first = self.state.next;
            self.renumber(first, voice)?;
        }
        Ok(&self.batch)
    }

    /// The CA has all numbers up to this one. Whether this host had ever given that number; if not, its count
    /// was lost, and goes on behind the CA's.
    pub(super) fn taken(&mut self, seq: u64, voice: &Voice) -> Result<bool, HostError> {
        let given = self.batch.last().map_or(self.state.next.saturating_sub(1), |numbered| numbered.seq);
        if seq > given {
            return self.renumber(seq.saturating_add(1), voice).map(|()| false);
        }
        let Some(last) = self.batch.iter().rev().find(|numbered| numbered.seq <= seq).map(|n| n.seq) else {
            return Ok(true);
        };
        let done = self.batch.iter().filter(|numbered| numbered.seq <= last).map(|numbered| numbered.file);
        let done = done.max().unwrap_or(0).max(self.state.done);
        let state = State { next: last + 1, done, ..self.state.clone() };
        self.write(STATE, &state)?;
        // A crash here: a batch whose numbers are all below the next; it is dropped at the next start.
        self.state = state;
        self.batch.retain(|numbered| numbered.seq > last);
        match self.batch.is_empty() {
            true => atomic::remove(&self.folder.join(BATCH)).map(|_| true),
            false => self.write(BATCH, &self.batch).map(|()| true),
        }
    }

    /// Gives the batch other numbers: the CA counts otherwise, and took none of these.
    pub(super) fn renumber(&mut self, first: u64, voice: &Voice) -> Result<(), HostError> {
        let mut batch = self.batch.clone();
        for (seq, numbered) in (first..).zip(&mut batch) {
            numbered.seq = seq;
            numbered.envelope = voice.sign(&numbered.said, seq);
        }
        if !batch.is_empty() {
            self.write(BATCH, &batch)?;
        }
        // A crash here: the batch has the new numbers, and the state an older next one, or a later one: the
        // CA says again what it expects.
        let state = State { next: first, ..self.state.clone() };
        self.write(STATE, &state)?;
        (self.batch, self.state) = (batch, state);
        Ok(())
    }

    /// Puts an alarm in the place and under the number of one that the CA will never take.
    pub(super) fn refused(&mut self, seq: u64, alarm: Reason, voice: &Voice) -> Result<(), HostError> {
        let mut batch = self.batch.clone();
        let Some(numbered) = batch.iter_mut().find(|numbered| numbered.seq == seq) else { return Ok(()) };
        let aside = self.folder.join(DAMAGED);
        atomic::folder(&aside)?;
        let text = serde_json::to_vec(&*numbered).unwrap_or_default();
        atomic::write(&aside.join(format!("refused-{seq}.json")), &text)?;
        numbered.said =
            Said { report: Report::Alarmed(alarm), nonce: randomness::nonce()?, at: clock::now() };
        numbered.envelope = voice.sign(&numbered.said, seq);
        self.write(BATCH, &batch)?;
        self.batch = batch;
        Ok(())
    }

    pub(super) fn has_something(&self) -> bool {
        !self.waiting.is_empty() || !self.batch.is_empty() || self.lost > 0
    }

    pub(super) fn filled(&self) -> Filled {
        Filled {
            reports: self.waiting.len() + self.batch.len(),
            bytes: self.bytes,
            lost: self.lost,
            taken: self.state.next.saturating_sub(1),
        }
    }

    fn lose(&mut self) {
        self.lost += 1;
        // A crash loses less than half of the count, not that there was a loss.
        if self.lost >= self.lost_written.saturating_mul(2).max(1) && self.write(LOST, &self.lost).is_ok() {
            self.lost_written = self.lost;
        }
    }

    fn remove(&mut self, number: u64) -> Result<(), HostError> {
        let path = self.file(number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(HostError::write(&path, &error));
            }
            _ => self.forget(number),
        }
        Ok(())
    }

    fn forget(&mut self, number: u64) {
        if let Some(waiting) = self.waiting.remove(&number) {
            self.bytes = self.bytes.saturating_sub(waiting.bytes);
        }
    }

    fn file(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:020}.json"))
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), HostError> {
        let path = self.folder.join(name);
        let text = serde_json::to_vec(value)
            .map_err(|error| HostError::Write { path: path.clone(), why: error.to_string() })?;
        atomic::write(&path, &text).map(|_| ())
    }
}

/// Reads a file of ours; nothing when there is none. One that cannot be read is moved to `damaged/`, if there
/// is room for that, and an alarm added: it is no reason not to go on.
fn read<T: DeserializeOwned>(path: &Path, damaged: &mut Vec<Reason>) -> Option<T> {
    let why = match fs::read(path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(value) => return Some(value),
            Err(error) => error.to_string(),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => error.to_string(),
    };
    let (folder, name) = (path.parent()?, path.file_name()?);
    let aside = folder.join(DAMAGED);
    let moved = atomic::folder(&aside)
        .and_then(|()| fs::rename(path, aside.join(name)).map_err(|error| HostError::write(path, &error)));
    let done = moved.map_or_else(|error| format!("is left there ({error})"), |()| "is set aside".into());
    let name = name.to_string_lossy();
    let sentence = format!("a file of the spool could not be read and {done}: {name}: {why}");
    damaged.push(Reason::new("spool.damaged", sentence));
    None
}

fn number_of(path: &Path) -> Option<u64> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".json")?;
    if stem.len() == 20 { stem.parse().ok() } else { None }
}

const STATE: &str = "state.json";
const BATCH: &str = "batch.json";
const LOST: &str = "lost.json";
const DAMAGED: &str = "damaged";
