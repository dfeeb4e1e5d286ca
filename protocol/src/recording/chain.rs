//! The reader of a recording: takes chunk after chunk and refuses whatever does not continue what it has. Its
//! state is small, and unchanged by what it refuses.

use super::chunk::{Body, Chunk, End, Header, RecordingError, Totals};
use super::write::Writer;
use crate::host::Recorded;
use crate::log::Hash;

/// How far a recording has been read. A new one expects a header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    header: Option<Header>,
    chunks: u64,
    head: Option<Hash>,
    totals: Totals,
    latest_us: u64,
    end: Option<End>,
}

impl Chain {
    /// Takes one chunk from the front of `bytes` if it is whole and the next one; says how many bytes it had.
    /// Nothing: more must come first.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Option<(Chunk, usize)>, RecordingError> {
        let Some((chunk, taken)) = Chunk::read(bytes)? else { return Ok(None) };
        let mut after = self.clone();
        after.take(&chunk, Chunk::hash(bytes.get(..taken).unwrap_or_default()))?;
        *self = after;
        Ok(Some((chunk, taken)))
    }

    /// Takes `bytes` if they are nothing but whole chunks, each the next one; else none of them.
    pub fn all(&mut self, mut bytes: &[u8]) -> Result<Vec<Chunk>, RecordingError> {
        let mut after = self.clone();
        let mut chunks = Vec::new();
        while !bytes.is_empty() {
            let (chunk, taken) = after.next(bytes)?.ok_or(RecordingError::Cut)?;
            bytes = bytes.get(taken..).unwrap_or_default();
            chunks.push(chunk);
        }
        *self = after;
        Ok(chunks)
    }

    /// Whose recording it is, once its header was read.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// How many chunks were taken: the number of the next.
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// How it ended, once its last chunk was read.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Offset of the latest event, microseconds.
    pub fn latest_us(&self) -> u64 {
        self.latest_us
    }

    /// What the chunks come to that were taken so far. It is the recording's last word only with
    /// [`Chain::end`].
    pub fn recorded(&self) -> Option<Recorded> {
        let recording = self.header.as_ref()?.recording;
        let (bytes, lost) = (self.totals.bytes(), self.totals.lost);
        Some(Recorded { recording, chunks: self.chunks, bytes, head: self.head?, lost })
    }

    /// Goes on writing where reading stopped; nothing when there is no header yet or it has ended.
    pub fn resume(&self) -> Option<Writer> {
        match self.end {
            Some(_) => None,
            None => Some(Writer::resume(&self.recorded()?, self.totals, self.latest_us)),
        }
    }

    fn take(&mut self, chunk: &Chunk, hash: Hash) -> Result<(), RecordingError> {
        if self.end.is_some() {
            return Err(RecordingError::AfterEnd);
        }
        if chunk.seq != self.chunks {
            return Err(RecordingError::Seq { expected: self.chunks, found: chunk.seq });
        }
        if chunk.before != self.head.unwrap_or(Hash([0; 32])) {
            return Err(RecordingError::Before(chunk.seq));
        }
        match (&chunk.body, &self.header) {
            (Body::Header(header), None) => self.header = Some((**header).clone()),
            (Body::Data(_), Some(header)) if !header.sealed.is_empty() => {
                return Err(RecordingError::Mixed(chunk.seq));
            }
            (Body::Sealed(_), Some(header)) if header.sealed.is_empty() => {
                return Err(RecordingError::Mixed(chunk.seq));
            }
            (Body::Sealed(sealed), Some(_)) => {
                if sealed.latest_us < self.latest_us {
                    return Err(RecordingError::Time(chunk.seq));
                }
                // Sums only grow. What they are the sums of, whoever opens it sees.
                if !sealed.totals.is_at_least(&self.totals) {
                    return Err(RecordingError::Totals);
                }
                (self.latest_us, self.totals) = (sealed.latest_us, sealed.totals);
            }
            (Body::Data(events), Some(_)) => {
                for event in events {
                    if event.offset_us < self.latest_us {
                        return Err(RecordingError::Time(chunk.seq));
                    }
                    self.latest_us = event.offset_us;
                    self.totals.count(event);
                }
            }
            (Body::End(end), Some(_)) => {
                if end.offset_us < self.latest_us {
                    return Err(RecordingError::Time(chunk.seq));
                }
                if end.totals != self.totals {
                    return Err(RecordingError::Totals);
                }
                self.end = Some(*end);
            }
            _ => return Err(RecordingError::Order(chunk.seq)),
        }
        self.chunks += 1;
        self.head = Some(hash);
        Ok(())
    }
}
