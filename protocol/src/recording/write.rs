//! Makes the chunks of one recording, in order. It keeps nothing but what the next chunk needs.

use super::chunk::{Body, Chunk, End, Ended, Header, Totals};
use super::event::Event;
use super::sealed::Sealed;
use crate::host::Recorded;
use crate::limits;
use crate::log::Hash;
use crate::statement::Nonce;

/// One recording as it is written.
#[derive(Debug, Clone)]
pub struct Writer {
    recording: Nonce,
    chunks: u64,
    head: Hash,
    totals: Totals,
    latest_us: u64,
}

impl Writer {
    /// Begins a recording; gives its first chunk. Texts of the header that are too long are cut at a character:
    /// give the whole command again as events.
    pub fn begin(mut header: Header) -> (Writer, Vec<u8>) {
        header.v = 1;
        if !header.sealed.is_empty() {
            header.asked = None;
        }
        cut(header.asked.as_mut(), limits::RECORDING_ASKED);
        cut(header.command.as_mut(), limits::FORCE_COMMAND);
        cut(header.terminal.as_mut().map(|terminal| &mut terminal.term), limits::RECORDING_TERM);
        let mut writer = Writer {
            recording: header.recording,
            chunks: 0,
            head: Hash([0; 32]),
            totals: Totals::default(),
            latest_us: 0,
        };
        let first = writer.chunk(Body::Header(Box::new(header)));
        (writer, first)
    }

    /// The next chunk with these events, which fit in one ([`Chunk::EVENTS`]). One that is dated before the
    /// last is dated like the last: time does not go back in a recording.
    pub fn data(&mut self, mut events: Vec<Event>) -> Vec<u8> {
        self.count(&mut events);
        self.chunk(Body::Data(events))
    }

    /// The same, sealed: `seal` makes an age file of what it is given, at most [`limits::RECORDING_SEALING`] less
    /// 64 bytes longer than that. The events fit ([`Chunk::SEALED_EVENTS`]). When it fails, nothing is written.
    pub fn sealed<E>(
        &mut self,
        mut events: Vec<Event>,
        seal: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let mut after = self.clone();
        after.count(&mut events);
        let age = seal(&Sealed::plain(after.recording, after.chunks, &events))?;
        let body = Body::Sealed(Sealed { latest_us: after.latest_us, totals: after.totals, age });
        let chunk = after.chunk(body);
        *self = after;
        Ok(chunk)
    }

    /// The last chunk, and what the recording comes to.
    pub fn end(mut self, how: Ended, offset_us: u64) -> (Vec<u8>, Recorded) {
        let end = End { how, offset_us: offset_us.max(self.latest_us), totals: self.totals };
        let last = self.chunk(Body::End(end));
        (last, self.recorded())
    }

    /// What the chunks come to that were written so far.
    pub fn recorded(&self) -> Recorded {
        Recorded {
            recording: self.recording,
            chunks: self.chunks,
            bytes: self.totals.bytes(),
            head: self.head,
            lost: self.totals.lost,
        }
    }

    /// One that goes on where a chain stands which has not ended.
    pub(super) fn resume(recorded: &Recorded, totals: Totals, latest_us: u64) -> Writer {
        let Recorded { recording, chunks, head, .. } = *recorded;
        Writer { recording, chunks, head, totals, latest_us }
    }

    fn count(&mut self, events: &mut [Event]) {
        for event in events {
            self.latest_us = self.latest_us.max(event.offset_us);
            event.offset_us = self.latest_us;
            self.totals.count(event);
        }
    }

    fn chunk(&mut self, body: Body) -> Vec<u8> {
        let bytes = Chunk { seq: self.chunks, before: self.head, body }.write();
        self.chunks += 1;
        self.head = Chunk::hash(&bytes);
        bytes
    }
}

fn cut(text: Option<&mut String>, most: usize) {
    if let Some(text) = text {
        let mut at = most.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.truncate(at);
    }
}
