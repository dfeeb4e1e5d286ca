//! One recording as it is written: events into chunks, chunks into its file, in order and never anything else.
//! When it is sealed, events are nowhere but in this process until they are.

use std::fs::File;
use std::io::Write;

use fireaxe_protocol::host::Recorded;
use fireaxe_protocol::recording::{Chunk, Ended, Event, Header, Stream, Writer};

use super::{FLUSH, SYNC, Seal, Shelf};
use crate::clock::Stopwatch;
use crate::error::HostError;

/// Bytes of events that make a chunk full.
const FULL: usize = 32 * 1024;

/// One recording.
pub(super) struct Recording {
    shelf: Shelf,
    file: File,
    writer: Writer,
    seal: Option<Seal>,
    began: Stopwatch,
    /// Events that wait for their chunk.
    events: Vec<Event>,
    waiting: usize,
    /// Since when the first of them waits.
    since: Stopwatch,
    /// Bytes in the file.
    written: u64,
    /// Since when a chunk waits to be synced.
    unsynced: Option<Stopwatch>,
    /// Whether a part of a chunk may stand after them.
    torn: bool,
    /// Bytes that were dropped and are not marked yet.
    lost: u64,
    latest_us: u64,
    /// When it was first to end, and what it comes to once its last chunk is written.
    over_us: Option<u64>,
    ended: Option<Recorded>,
}

impl Recording {
    /// Begins one. Its first chunk is in the file when this returns, and on the disk within [`SYNC`].
    pub(super) fn begin(shelf: &Shelf, header: Header, seal: Option<Seal>) -> Result<Recording, HostError> {
        let mut file = shelf.create(header.recording)?;
        let (writer, first) = Writer::begin(header);
        let recording = writer.recorded().recording;
        // A crash here: a file without a whole first chunk, which the next start removes.
        file.write_all(&first).map_err(|error| {
            let _ = shelf.remove(recording);
            HostError::Write { path: recording.to_string().into(), why: error.to_string() }
        })?;
        Ok(Recording {
            shelf: shelf.clone(),
            file,
            writer,
            seal,
            began: Stopwatch::start(),
            events: Vec::new(),
            waiting: 0,
            since: Stopwatch::start(),
            written: first.len() as u64,
            unsynced: Some(Stopwatch::start()),
            torn: false,
            lost: 0,
            latest_us: 0,
            over_us: None,
            ended: None,
        })
    }

    /// Bytes in its file.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Microseconds since it began.
    pub(super) fn now_us(&self) -> u64 {
        self.began.elapsed_us()
    }

    /// Takes an event. Its time is believed as far as it is neither before the last nor in the future. One that
    /// is not taken is counted as lost, with what waited before it.
    pub(super) fn take(&mut self, mut event: Event) -> Result<(), HostError> {
        event.offset_us = event.offset_us.min(self.now_us()).max(self.latest_us);
        self.latest_us = event.offset_us;
        if let Err(error) = self.mark_lost(event.offset_us) {
            self.drop(&event);
            return Err(error);
        }
        self.push(event)
    }

    fn mark_lost(&mut self, offset_us: u64) -> Result<(), HostError> {
        match std::mem::take(&mut self.lost) {
            0 => Ok(()),
            lost => self.push(Event::lost(offset_us, lost)),
        }
    }

    /// Takes note of an event that is not written; the next that is, or the end, says how many bytes.
    pub(super) fn drop(&mut self, event: &Event) {
        let bytes = match event.stream {
            Stream::Output | Stream::Error | Stream::Input => event.bytes.len() as u64,
            Stream::Lost => event.lost_bytes(),
            Stream::Resize | Stream::Notice | Stream::Asked => 0,
        };
        self.lost = self.lost.saturating_add(bytes);
    }

    /// Whether anything waits: then [`Recording::tend`] is due within [`FLUSH`].
    pub(super) fn waits(&self) -> bool {
        !self.events.is_empty() || self.unsynced.is_some()
    }

    /// Writes what has waited long enough, and syncs what has.
    pub(super) fn tend(&mut self) -> Result<(), HostError> {
        if !self.events.is_empty() && self.since.elapsed() >= FLUSH {
            self.flush()?;
        }
        if self.unsynced.is_some_and(|since| since.elapsed() >= SYNC) {
            self.file.sync_data().map_err(|error| self.failed(&error))?;
            self.unsynced = None;
        }
        Ok(())
    }

    /// Ends it: what waits, the last chunk, the mark beside it. When this returns it is on the disk. After an
    /// error it may be tried again; what could not be written meanwhile is counted as lost.
    pub(super) fn end(&mut self, how: Ended) -> Result<Recorded, HostError> {
        let over_us = self.now_us();
        let over_us = *self.over_us.get_or_insert(over_us);
        let recorded = match &self.ended {
            Some(recorded) => recorded.clone(),
            None => {
                self.mark_lost(over_us)?;
                self.flush()?;
                // What the flush before that failed to write.
                self.mark_lost(over_us)?;
                self.flush()?;
                let (last, recorded) = self.writer.clone().end(how, over_us);
                self.append(&last)?;
                self.ended.insert(recorded).clone()
            }
        };
        // A crash before the next line: the next start finds the last chunk or closes the file anew.
        self.file.sync_all().map_err(|error| self.failed(&error))?;
        self.shelf.finish(&recorded)?;
        Ok(recorded)
    }

    /// Takes it off the shelf again: nothing ran of what it was begun for.
    pub(super) fn discard(self) {
        let _ = self.shelf.remove(self.writer.recorded().recording);
    }

    fn push(&mut self, event: Event) -> Result<(), HostError> {
        if self.waiting + event.length() > self.fits()
            && let Err(error) = self.flush()
        {
            self.drop(&event);
            return Err(error);
        }
        if self.events.is_empty() {
            self.since = Stopwatch::start();
        }
        self.waiting += event.length();
        self.events.push(event);
        if self.waiting >= FULL { self.flush() } else { Ok(()) }
    }

    /// Bytes of events that fit in a chunk.
    fn fits(&self) -> usize {
        if self.seal.is_some() { Chunk::SEALED_EVENTS } else { Chunk::EVENTS }
    }

    /// Writes what waits, or counts it as lost.
    fn flush(&mut self) -> Result<(), HostError> {
        if self.events.is_empty() {
            return Ok(());
        }
        self.waiting = 0;
        let events = std::mem::take(&mut self.events);
        let mut after = self.writer.clone();
        let chunk = match &self.seal {
            None => Ok(after.data(events.clone())),
            Some(seal) => after.sealed(events.clone(), |plain| seal.seal(plain)),
        };
        if let Err(error) = chunk.and_then(|chunk| self.append(&chunk)) {
            events.iter().for_each(|event| self.drop(event));
            return Err(error);
        }
        self.writer = after;
        Ok(())
    }

    /// Appends a chunk whole or not at all, so that the recording goes on after a moment without room.
    fn append(&mut self, chunk: &[u8]) -> Result<(), HostError> {
        if self.torn {
            self.file.set_len(self.written).map_err(|error| self.failed(&error))?;
            self.torn = false;
        }
        // A crash within: a part of a chunk at the end, which the next start cuts off.
        if let Err(error) = self.file.write_all(chunk) {
            let failed = self.failed(&error);
            self.torn = self.file.set_len(self.written).is_err();
            return Err(failed);
        }
        self.written += chunk.len() as u64;
        self.unsynced.get_or_insert_with(Stopwatch::start);
        Ok(())
    }

    fn failed(&self, error: &std::io::Error) -> HostError {
        HostError::Write { path: self.writer.recorded().recording.to_string().into(), why: error.to_string() }
    }
}
