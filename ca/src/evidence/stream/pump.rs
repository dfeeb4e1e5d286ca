//! The loop of a stream: read a batch, deliver it, move on; or wait, longer each time, and deliver it again. Knows no
//! log and no socket: both are parameters, and so is waiting.

use std::time::Duration;

use fireaxe_protocol::limits::STREAM_BATCH;
use fireaxe_protocol::log::Hash;
use thiserror::Error;

use super::position::{PositionError, PositionFile};
use super::{Item, TlsError};

/// Entries in order, some at a time.
pub trait Source {
    /// How many entries the log has under its newest head.
    fn size(&mut self) -> Result<u64, String>;
    /// The leaf of one.
    fn leaf(&mut self, index: u64) -> Option<Hash>;
    /// Events from `from` on, in order, up to `until`: into `batch` as long as it has room, at least one.
    fn read(&mut self, from: u64, until: u64, batch: &mut Batch) -> Result<(), String>;
}

/// What is sent at once.
#[derive(Debug, Default)]
pub struct Batch {
    items: Vec<Item>,
    bytes: usize,
}

/// Events of one batch: a connection for 1,000 of them costs each nothing.
const MANY: usize = 1000;

impl Batch {
    /// One more, whatever its size; whether there is room for another.
    pub fn push(&mut self, item: Item) -> bool {
        self.bytes += item.text.len() + item.short.len();
        self.items.push(item);
        self.items.len() < MANY && self.bytes < STREAM_BATCH
    }
}

/// Why delivering did not succeed.
#[derive(Debug)]
pub enum Undelivered {
    /// It may the next time.
    Again(TlsError),
    /// It never will.
    Never(String),
}

/// Why a stream ended before its end.
#[derive(Debug, Error)]
pub enum PumpError {
    /// The log cannot be read.
    #[error("{0}")]
    Source(String),
    /// The position does not fit, or cannot be kept.
    #[error("{0}")]
    Position(#[from] PositionError),
    /// The target takes nothing.
    #[error("{0}")]
    Target(String),
    /// It was tried often enough.
    #[error("not delivered after {tries} tries: {last}")]
    Tried {
        /// How often.
        tries: u32,
        /// What came of the last.
        last: TlsError,
    },
}

/// Whether it goes on at the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// It waits for more, and tries for ever.
    Forever,
    /// It ends there, and gives up after some tries.
    ToTheEnd,
}

/// How it waits; tests bring their own.
pub trait Pace {
    /// Waits; false: it is to end.
    fn wait(&mut self, time: Duration) -> bool;
    /// A line for the operator.
    fn tell(&mut self, line: &str);
}

/// See the file's top.
pub struct Pump<'p> {
    /// Where the events come from.
    pub source: &'p mut dyn Source,
    /// Where they go.
    pub deliver: &'p mut dyn FnMut(&[Item]) -> Result<(), Undelivered>,
    /// Where it stands.
    pub position: &'p mut PositionFile,
    /// How it waits.
    pub pace: &'p mut dyn Pace,
}

/// How often is looked for more.
const LOOK: Duration = Duration::from_secs(1);
/// The longest between two tries.
const PATIENCE: Duration = Duration::from_secs(60);
/// Tries of a batch when it does not go on for ever: some half a minute.
const TRIES: u32 = 6;

impl Pump<'_> {
    /// Runs to its end. Gives how many events have arrived.
    pub fn run(&mut self, follow: Follow) -> Result<u64, PumpError> {
        let source = &mut *self.source;
        self.position.fits(|index| source.leaf(index))?;
        let mut arrived = 0;
        loop {
            let next = self.position.position().next;
            let size = self.source.size().map_err(PumpError::Source)?;
            if next >= size {
                match follow {
                    Follow::ToTheEnd => return Ok(arrived),
                    Follow::Forever if !self.pace.wait(LOOK) => return Ok(arrived),
                    Follow::Forever => continue,
                }
            }
            let mut batch = Batch::default();
            self.source.read(next, size, &mut batch).map_err(PumpError::Source)?;
            let Some(last) = batch.items.last().map(|last| (last.index, last.leaf)) else {
                return Err(PumpError::Source(format!("entry {next} cannot be read")));
            };
            if !self.send(&batch, follow)? {
                return Ok(arrived);
            }
            self.position.arrived(last.0 + 1, last.1)?;
            arrived += batch.items.len() as u64;
        }
    }

    /// Delivers a batch, however often it takes; false: it is to end.
    fn send(&mut self, batch: &Batch, follow: Follow) -> Result<bool, PumpError> {
        let (mut tries, mut wait, mut told) = (0, LOOK, String::new());
        loop {
            let failed = match (self.deliver)(&batch.items) {
                Ok(()) => return Ok(true),
                Err(Undelivered::Never(why)) => return Err(PumpError::Target(why)),
                Err(Undelivered::Again(failed)) => failed,
            };
            tries += 1;
            if follow == Follow::ToTheEnd && tries == TRIES {
                return Err(PumpError::Tried { tries, last: failed });
            }
            // The same again is no news.
            let line = failed.to_string();
            if line != told {
                let from = batch.items.first().map_or(0, |item| item.index);
                self.pace.tell(&format!("not delivered from entry {from} on, tried again: {line}"));
                told = line;
            }
            if !self.pace.wait(wait) {
                return Ok(false);
            }
            wait = (wait * 2).min(PATIENCE);
        }
    }
}
