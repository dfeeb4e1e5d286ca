//! Which report has which number. A number, and with it a signature, is given when a batch is made; the batch is
//! on the disk (`batch.json`) before it is sent, and stays, byte for byte, until the CA says how far it has it.
//! So what is sent again is the same, whatever crashed in between; only a CA that counts otherwise, or a new
//! enrolment, changes it.
//!
//! `state.json`: the next number, the last file that is done, under which enrolment that is, since when.

use std::path::{Path, PathBuf};

use fireaxe_protocol::host::Report;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Envelope;
use serde::{Deserialize, Serialize};

use super::Voice;
use super::waiting::{DAMAGED, Said, read, write};
use crate::error::HostError;
use crate::{atomic, clock, journal, randomness};

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
    /// When the count last began anew, unix seconds. No statement says an earlier time: the CA takes none that
    /// is older than the enrolment.
    #[serde(default)]
    since: u64,
}

/// The count, and the batch that is being sent.
#[derive(Debug)]
pub(super) struct Numbers {
    folder: PathBuf,
    state: State,
    batch: Vec<Numbered>,
}

impl Numbers {
    /// What the folder has. `enrolment` is the leaf under which this host is enrolled, if that is known.
    pub(super) fn open(folder: &Path, enrolment: Option<Hash>, damaged: &mut Vec<Reason>) -> Numbers {
        let state: Option<State> = read(&folder.join(STATE), damaged);
        let batch: Option<Vec<Numbered>> = read(&folder.join(BATCH), damaged);
        // A count that is lost begins anew too, but what is in the batch may have been sent as it is.
        let known = state.is_some();
        let state = state.unwrap_or(State { enrolment, next: 1, done: 0, since: 0 });
        let other = enrolment.is_some() && state.enrolment != enrolment;
        let mut numbers = Numbers { folder: folder.into(), state, batch: batch.unwrap_or_default() };
        // A crash after `state.json` was written and before `batch.json` was removed leaves a batch that
        // the CA has.
        numbers.batch.retain(|numbered| numbered.seq >= numbers.state.next);
        if other || !known {
            // Numbers count from an enrolment. The batch, if there is one, has others now: see `batch`.
            numbers.state = State { enrolment, next: 1, done: numbers.state.done, since: clock::now() };
            if let Err(error) = write(&folder.join(STATE), &numbers.state) {
                // Written with the next number that is taken; until then a start counts anew, as this one.
                journal::say(&format!("the spool's count is not on the disk yet: {error}"));
            }
        }
        if other {
            // Signed before the enrolment, even if the number is the same.
            for numbered in &mut numbers.batch {
                numbered.seq = 0;
            }
        }
        numbers
    }

    /// Files up to this one are done with.
    pub(super) fn done(&self) -> u64 {
        self.state.done
    }

    /// The number of the last report that the CA has.
    pub(super) fn taken_up_to(&self) -> u64 {
        self.state.next.saturating_sub(1)
    }

    /// The number of the last report that has one.
    pub(super) fn given(&self) -> u64 {
        self.batch.last().map_or(self.taken_up_to(), |numbered| numbered.seq)
    }

    /// What is in the batch as it is, with the files that it was.
    pub(super) fn there(&self) -> &[Numbered] {
        &self.batch
    }

    /// The batch to be sent; empty: one is to be made.
    pub(super) fn batch(&mut self, voice: &Voice) -> Result<&[Numbered], HostError> {
        // A crash between the two writes of a new count, or a new enrolment: nothing was sent under these.
        let first = self.batch.first().map(|numbered| numbered.seq);
        if first.is_some_and(|first| first != self.state.next) {
            self.renumber(self.state.next, &[], voice)?;
        }
        Ok(&self.batch)
    }

    /// Makes a batch of these, with the files that they were. It is on the disk then.
    pub(super) fn make(&mut self, said: Vec<(u64, Said)>, voice: &Voice) -> Result<(), HostError> {
        let since = self.state.since;
        let numbered = |(seq, (file, said)): (u64, (u64, Said))| numbered(seq, file, said, since, voice);
        let batch: Vec<Numbered> = (self.state.next..).zip(said).map(numbered).collect();
        if !batch.is_empty() {
            write(&self.folder.join(BATCH), &batch)?;
        }
        self.batch = batch;
        Ok(())
    }

    /// The CA has the batch up to this number: it has compared it, or just taken it.
    pub(super) fn taken(&mut self, seq: u64) -> Result<(), HostError> {
        let Some(last) = self.batch.iter().rev().find(|numbered| numbered.seq <= seq).map(|n| n.seq) else {
            return Ok(());
        };
        let done = self.batch.iter().filter(|numbered| numbered.seq <= last).map(|numbered| numbered.file);
        let done = done.max().unwrap_or(0).max(self.state.done);
        let state = State { next: last + 1, done, ..self.state.clone() };
        write(&self.folder.join(STATE), &state)?;
        // A crash here: a batch whose numbers are all below the next; it is dropped at the next start.
        self.state = state;
        self.batch.retain(|numbered| numbered.seq > last);
        self.write_batch(&self.batch)
    }

    /// Drops from the batch what the CA has word for word, `logged`, and gives the rest other numbers, and the time
    /// at which it gets them: the CA counts otherwise, and took none of these. What happened when stays in the
    /// reports.
    pub(super) fn renumber(&mut self, first: u64, logged: &[u64], voice: &Voice) -> Result<(), HostError> {
        let (there, rest): (Vec<Numbered>, Vec<Numbered>) =
            self.batch.iter().cloned().partition(|numbered| logged.contains(&numbered.seq));
        let done = there.iter().map(|numbered| numbered.file).max().unwrap_or(0).max(self.state.done);
        let state = State { next: first, done, since: clock::now(), ..self.state.clone() };
        let renumbered = |(seq, n): (u64, Numbered)| numbered(seq, n.file, n.said, state.since, voice);
        let batch: Vec<Numbered> = (first..).zip(rest).map(renumbered).collect();
        let at_state = self.folder.join(STATE);
        // A crash between the two leaves numbers that are not below the next one, or the batch would be taken
        // for one that the CA has; and not the next one, so that they are given anew. One that is dropped whole
        // is one that the CA has.
        let down = self.batch.first().is_none_or(|numbered| first <= numbered.seq);
        if down || batch.is_empty() {
            write(&at_state, &state)?;
            self.write_batch(&batch)?;
        } else {
            self.write_batch(&batch)?;
            write(&at_state, &state)?;
        }
        (self.batch, self.state) = (batch, state);
        Ok(())
    }

    /// An empty one is none.
    fn write_batch(&self, batch: &[Numbered]) -> Result<(), HostError> {
        match batch.is_empty() {
            true => atomic::remove(&self.folder.join(BATCH)).map(drop),
            false => write(&self.folder.join(BATCH), &batch),
        }
    }

    /// The CA says that the batch is older than the enrolment: the host was enrolled while this ran, or what is
    /// in it was said before. It gets the time that it is now. False: it has that already, by a clock that is
    /// behind.
    pub(super) fn stamp_anew(&mut self, voice: &Voice) -> Result<bool, HostError> {
        let now = clock::now();
        let older = self.batch.iter().any(|numbered| numbered.said.at.saturating_add(YOUNG_S) < now);
        if older {
            self.renumber(self.state.next, &[], voice)?;
        }
        Ok(older)
    }

    /// Puts an alarm in the place and under the number of one that the CA will never take.
    pub(super) fn refused(&mut self, seq: u64, alarm: Reason, voice: &Voice) -> Result<(), HostError> {
        let mut batch = self.batch.clone();
        let Some(there) = batch.iter_mut().find(|numbered| numbered.seq == seq) else { return Ok(()) };
        let aside = self.folder.join(DAMAGED);
        atomic::folder(&aside)?;
        let name = format!("refused-{seq}-{}.json", there.said.nonce);
        write(&aside.join(name), there)?;
        let said = Said {
            report: Report::Alarmed(alarm),
            nonce: randomness::nonce()?,
            at: clock::now(),
            holder: None,
        };
        *there = numbered(seq, there.file, said, 0, voice);
        write(&self.folder.join(BATCH), &batch)?;
        self.batch = batch;
        Ok(())
    }
}

/// Under its number; said not before `since`. An alarm has no other time, so its old one goes into its words.
fn numbered(seq: u64, file: u64, mut said: Said, since: u64, voice: &Voice) -> Numbered {
    if said.at < since {
        if let Report::Alarmed(reason) = &mut said.report
            && !reason.sentence.contains(SAID)
        {
            reason.sentence.push_str(&format!("{SAID}{})", said.at));
        }
        said.at = since;
    }
    let envelope = voice.sign(&said, seq);
    Numbered { seq, file, said, envelope }
}

/// What goes before the time at which an alarm was said first.
const SAID: &str = " (said at ";
/// A report of so many seconds ago gains nothing by a newer time.
const YOUNG_S: u64 = 60;
const STATE: &str = "state.json";
const BATCH: &str = "batch.json";
