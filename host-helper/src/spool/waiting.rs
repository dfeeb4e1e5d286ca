//! Reports that wait: a file each in the spool's folder, of mode 0700. What is in it is the host's own word,
//! unsigned until it is sent; whoever can write there is root, who can say anything under the host key anyway.
//!
//! | file | what it is |
//! |---|---|
//! | `<20 digits>.json` | a report that waits: [`Said`]; the digits are the order in which they were said |
//! | `batch.json`, `state.json` | the room `numbers`' |
//! | `lost.json` | how many of the host's own had to be dropped, until an alarm tells |
//! | `counted.json` | what is only counted, by holder, until an alarm tells |
//! | `damaged/` | files that could not be read |
//!
//! A report is written and synced without the spool's lock, so that many are on their way to the disk at once
//! and the file system makes one commit of them. Until it is there, none that was said later is sent: files go
//! in order, and the last that is done stands for all before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fireaxe_protocol::host::Report;
use fireaxe_protocol::names::PersonName;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Nonce;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::counted::Counted;
use super::shares::{Holder, Place, Shares, Verdict};
use super::{MOST, overflowed};
use crate::error::HostError;
use crate::{atomic, journal};

/// A report as it was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// The nonce of its statement.
    pub nonce: Nonce,
    /// When. Unix seconds.
    pub at: u64,
    /// Whose place it has; the host's own word has nobody's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub holder: Option<Holder>,
    /// What.
    pub report: Report,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Waits {
    bytes: u64,
    holder: Option<Holder>,
}

/// A report on its way to the disk.
#[derive(Debug)]
pub(super) struct Placed {
    number: u64,
    path: PathBuf,
    text: Vec<u8>,
    place: Place,
}

/// What is to be told first in a batch.
#[derive(Debug, Default)]
pub(super) struct Due {
    lost: u64,
    counted: Vec<(Holder, Counted)>,
}

/// What waits, and who has how much of it.
#[derive(Debug)]
pub(super) struct Waiting {
    folder: PathBuf,
    files: BTreeMap<u64, Waits>,
    bytes: u64,
    newest: u64,
    /// Numbers of those that are on their way.
    coming: BTreeSet<u64>,
    shares: Shares,
    lost: u64,
    counted: BTreeMap<Holder, Counted>,
}

impl Waiting {
    /// What is in the folder. `done`: files up to this one are; `batch`: those that have numbers, with theirs.
    /// What could not be read is in `damaged/` now.
    pub(super) fn open(
        folder: &Path,
        done: u64,
        batch: &[(u64, Said)],
        damaged: &mut Vec<Reason>,
    ) -> Result<Waiting, HostError> {
        let counted: Option<Vec<(Holder, Counted)>> = read(&folder.join(COUNTED), damaged);
        let batched = batch.iter().map(|(file, _)| *file).max().unwrap_or(0);
        let mut waiting = Waiting {
            folder: folder.into(),
            files: BTreeMap::new(),
            bytes: 0,
            newest: done.max(batched),
            coming: BTreeSet::new(),
            shares: Shares::of(MOST),
            lost: read(&folder.join(LOST), damaged).unwrap_or(0),
            counted: counted.unwrap_or_default().into_iter().collect(),
        };
        for (_, said) in batch {
            waiting.shares.found(&said.report, said.holder.as_ref(), false);
        }
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(|error| HostError::read(folder, &error))?.flatten() {
            let Some(number) = number_of(&entry.path()) else { continue };
            waiting.newest = waiting.newest.max(number);
            // Done, or in the batch: a crash came before it was removed.
            if number <= done.max(batched) {
                // Not removed: passed over again at the next start.
                let _ = fs::remove_file(entry.path());
                continue;
            }
            if let Some(said) = read::<Said>(&entry.path(), damaged) {
                found.insert(number, (entry.metadata().map_or(0, |metadata| metadata.len()), said));
            }
        }
        for (number, (bytes, said)) in found {
            let holder = said.holder.or_else(|| Holder::of(&said.report));
            waiting.shares.found(&said.report, holder.as_ref(), true);
            waiting.bytes += bytes;
            waiting.files.insert(number, Waits { bytes, holder });
        }
        Ok(waiting)
    }

    /// Gives a report a place, to be [`put`](Placed::put) there without the spool's lock, and then
    /// [`settled`](Waiting::settle). Nothing: it is counted. An error: it is not taken.
    pub(super) fn place(
        &mut self,
        mut said: Said,
        person: Option<&PersonName>,
    ) -> Result<Option<Placed>, HostError> {
        let place = match self.shares.place(&said.report, person, said.at) {
            Verdict::Kept(place) => place,
            Verdict::Known => return Ok(None),
            Verdict::Counted(holder) => {
                self.count(holder, &said, false);
                return Ok(None);
            }
            Verdict::Full => {
                match (Holder::of(&said.report), person) {
                    (Some(_), Some(person)) => self.count(Holder::Person(person.clone()), &said, true),
                    (Some(serial), None) => self.count(serial, &said, true),
                    (None, _) => self.lose(),
                }
                let full = "its holder, or all together, have as many waiting as are kept";
                return Err(HostError::Unsaid(full.into()));
            }
        };
        said.holder = place.holder.clone();
        let text = match serde_json::to_vec(&said) {
            Ok(text) => text,
            Err(error) => {
                self.shares.undo(&place);
                return Err(HostError::Unsaid(error.to_string()));
            }
        };
        self.newest += 1;
        let number = self.newest;
        self.coming.insert(number);
        Ok(Some(Placed { number, path: self.file(number), text, place }))
    }

    /// What came of it.
    pub(super) fn settle(&mut self, placed: Placed, put: Result<(), HostError>) -> Result<(), HostError> {
        self.coming.remove(&placed.number);
        let holder = placed.place.holder.clone();
        match put {
            Ok(()) => {
                let bytes = placed.text.len() as u64;
                self.bytes += bytes;
                self.files.insert(placed.number, Waits { bytes, holder });
                Ok(())
            }
            Err(error) => {
                // No room on the disk, most likely. What was written of it must not be found as damaged.
                let _ = fs::remove_file(&placed.path);
                self.shares.undo(&placed.place);
                // Beginnings and ends are said again by who says them; the host's own word is not.
                if holder.is_none() {
                    self.lose();
                }
                Err(HostError::Unsaid(error.to_string()))
            }
        }
    }

    /// The files that are next, at most `most`: all that were said before them are there.
    pub(super) fn oldest(&self, most: usize) -> Vec<(u64, PathBuf)> {
        self.ready().take(most).map(|number| (number, self.file(number))).collect()
    }

    fn ready(&self) -> impl Iterator<Item = u64> {
        let before = self.coming.first().copied().unwrap_or(u64::MAX);
        self.files.range(..before).map(|(number, _)| *number)
    }

    /// What is to be told at `now`, unix seconds: at most `most` alarms.
    pub(super) fn due(&self, now: u64, most: usize) -> Due {
        let counted = self.counted.iter().filter(|(_, counted)| counted.is_due(now));
        let counted =
            counted.take(most.saturating_sub(1)).map(|(holder, counted)| (holder.clone(), *counted));
        Due { lost: self.lost, counted: counted.collect() }
    }

    /// It is told by a batch that is on the disk. A crash in here: it is told twice.
    pub(super) fn told(&mut self, due: Due) -> Result<(), HostError> {
        if due.lost > 0 {
            self.lost = self.lost.saturating_sub(due.lost);
            match self.lost {
                0 => drop(atomic::remove(&self.folder.join(LOST))?),
                lost => write(&self.folder.join(LOST), &lost)?,
            }
        }
        for (holder, told) in &due.counted {
            let left = self.counted.remove(holder).unwrap_or_default().without(told);
            if left.reports() > 0 {
                self.counted.insert(holder.clone(), left);
            }
        }
        if due.counted.is_empty() { Ok(()) } else { self.write_counted() }
    }

    /// A report has its number, in a batch that is on the disk, or cannot be read.
    pub(super) fn left(&mut self, number: u64) {
        // Not removed: the next start does, by the batch or by the last that is done.
        let _ = fs::remove_file(self.file(number));
        if let Some(waits) = self.files.remove(&number) {
            self.bytes = self.bytes.saturating_sub(waits.bytes);
            self.shares.free(waits.holder.as_ref());
        }
    }

    /// Whether something can be sent at `now`, unix seconds.
    pub(super) fn has_something(&self, now: u64) -> bool {
        self.ready().next().is_some()
            || self.lost > 0
            || self.counted.values().any(|counted| counted.is_due(now))
    }

    /// How many wait, their bytes, and how many were dropped and are not told yet.
    pub(super) fn filled(&self) -> (usize, u64, u64) {
        let counted: u64 = self.counted.values().map(Counted::reports).sum();
        (self.files.len() + self.coming.len(), self.bytes, self.lost.saturating_add(counted))
    }

    /// Another number of places, for tests.
    #[cfg(test)]
    pub(super) fn with_places(&mut self, most: usize) {
        self.shares = Shares::of(most);
    }

    /// A crash loses less than half of the count, not that there was a loss.
    fn lose(&mut self) {
        self.lost += 1;
        if self.lost.is_power_of_two() {
            journal_failed(write(&self.folder.join(LOST), &self.lost));
        }
    }

    /// The same of what is counted; what was planted is on the disk at once.
    fn count(&mut self, holder: Holder, said: &Said, refused: bool) {
        let counted = self.counted.entry(holder).or_default();
        counted.count(&said.report, refused, said.at);
        let planted = matches!(&said.report, Report::SessionClosed(closed) if !closed.planted.is_empty());
        if planted || counted.reports().is_power_of_two() {
            journal_failed(self.write_counted());
        }
    }

    fn write_counted(&self) -> Result<(), HostError> {
        let counted: Vec<(&Holder, &Counted)> = self.counted.iter().collect();
        write(&self.folder.join(COUNTED), &counted)
    }

    fn file(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:020}.json"))
    }
}

impl Placed {
    /// Writes it and syncs it. A crash in here: a file that is cut, which is set aside at the next start with an
    /// alarm; whoever said it was not told that it is kept.
    pub(super) fn put(&self) -> Result<(), HostError> {
        let failed = |error| HostError::write(&self.path, &error);
        let mut file =
            File::options().write(true).create_new(true).mode(0o600).open(&self.path).map_err(failed)?;
        file.write_all(&self.text).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

impl Due {
    /// The alarms that tell it.
    pub(super) fn alarms(&self) -> Vec<Reason> {
        let lost = (self.lost > 0).then(|| overflowed(self.lost));
        let counted = self.counted.iter().map(|(holder, counted)| counted.alarm(holder));
        lost.into_iter().chain(counted).collect()
    }
}

pub(super) fn write(path: &Path, value: &impl Serialize) -> Result<(), HostError> {
    let text = serde_json::to_vec(value)
        .map_err(|error| HostError::Write { path: path.into(), why: error.to_string() })?;
    atomic::write(path, &text).map(|_| ())
}

/// A count that is in memory only: written when it has grown to twice that.
fn journal_failed(written: Result<(), HostError>) {
    if let Err(error) = written {
        journal::say(&format!("a count of the spool is not on the disk: {error}"));
    }
}

/// Reads a file of ours; nothing when there is none. One that cannot be read is moved to `damaged/`, if there
/// is room for that, and an alarm added: it is no reason not to go on.
pub(super) fn read<T: DeserializeOwned>(path: &Path, damaged: &mut Vec<Reason>) -> Option<T> {
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

const LOST: &str = "lost.json";
const COUNTED: &str = "counted.json";
pub(super) const DAMAGED: &str = "damaged";
