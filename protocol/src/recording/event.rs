//! One event of a recording: when, on which stream, which bytes. The recorder sends the same bytes to the sink
//! that the chunks hold.
//!
//! `byte stream, uint64 offset, uint32 length, bytes`: 13 bytes and what was said.

use super::chunk::RecordingError;
use crate::limits;
use crate::wire::{Reader, put_string, put_u64};

/// What an event's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, or everything a terminal showed.
    Output,
    /// Standard error of a session without a terminal.
    Error,
    /// Standard input of a session without a terminal: data. What is typed at a terminal is never recorded.
    Input,
    /// The terminal has another size: columns and rows, two `uint16`.
    Resize,
    /// What the recorder itself told its user: UTF-8.
    Notice,
    /// So many bytes were not recorded here: a `uint64`.
    Lost,
    /// The command as the client asked for it, whole, when the header could hold its beginning only.
    Asked,
}

impl Stream {
    /// Its number in the format.
    pub fn number(self) -> u8 {
        match self {
            Stream::Output => 1,
            Stream::Error => 2,
            Stream::Input => 3,
            Stream::Resize => 4,
            Stream::Notice => 5,
            Stream::Lost => 6,
            Stream::Asked => 7,
        }
    }

    fn of(number: u8) -> Option<Stream> {
        use Stream::{Asked, Error, Input, Lost, Notice, Output, Resize};
        [Output, Error, Input, Resize, Notice, Lost, Asked]
            .into_iter()
            .find(|stream| stream.number() == number)
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Microseconds since the recording began.
    pub offset_us: u64,
    /// What the bytes are.
    pub stream: Stream,
    /// At most [`limits::RECORDING_EVENT`]; never empty.
    pub bytes: Vec<u8>,
}

impl Event {
    /// What an event has beside its bytes.
    pub const OVERHEAD: usize = 1 + 8 + 4;

    /// The terminal's new size.
    pub fn resize(offset_us: u64, columns: u16, rows: u16) -> Event {
        let bytes = [columns.to_be_bytes(), rows.to_be_bytes()].concat();
        Event { offset_us, stream: Stream::Resize, bytes }
    }

    /// So many bytes were not recorded.
    pub fn lost(offset_us: u64, bytes: u64) -> Event {
        Event { offset_us, stream: Stream::Lost, bytes: bytes.to_be_bytes().to_vec() }
    }

    /// Columns and rows, of a resize.
    pub fn size(&self) -> Option<(u16, u16)> {
        let [a, b, c, d] = *self.bytes.as_slice() else { return None };
        (self.stream == Stream::Resize).then(|| (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }

    /// How many bytes are marked as lost; 0 of any other event.
    pub fn lost_bytes(&self) -> u64 {
        match (self.stream, self.bytes.first_chunk::<8>()) {
            (Stream::Lost, Some(bytes)) => u64::from_be_bytes(*bytes),
            _ => 0,
        }
    }

    /// Bytes that it takes.
    pub fn length(&self) -> usize {
        Event::OVERHEAD + self.bytes.len()
    }

    /// Appends it to `out`.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(self.stream.number());
        put_u64(out, self.offset_us);
        put_string(out, &self.bytes);
    }

    /// Reads one from the front of `bytes`, and says how many it took; nothing: more must come first.
    pub fn read(bytes: &[u8]) -> Result<Option<(Event, usize)>, RecordingError> {
        let Some((number, rest)) = bytes.split_first() else { return Ok(None) };
        let stream = Stream::of(*number).ok_or(RecordingError::Stream(*number))?;
        let mut reader = Reader::new(rest);
        let (Ok(offset_us), Ok(length)) = (reader.u64(), reader.u32()) else { return Ok(None) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let fits = match stream {
            Stream::Resize => length == 4,
            Stream::Lost => length == 8,
            _ => (1..=limits::RECORDING_EVENT).contains(&length),
        };
        if !fits {
            return Err(RecordingError::Length(length));
        }
        let Ok(said) = reader.take(length) else { return Ok(None) };
        if stream == Stream::Notice && std::str::from_utf8(said).is_err() {
            return Err(RecordingError::Notice);
        }
        let event = Event { offset_us, stream, bytes: said.to_vec() };
        let taken = event.length();
        Ok(Some((event, taken)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_back_and_a_part_of_it_waits_for_the_rest() {
        for event in [
            Event { offset_us: 7, stream: Stream::Output, bytes: b"hello".to_vec() },
            Event::resize(u64::MAX, 80, 24),
            Event::lost(0, u64::MAX),
        ] {
            let mut bytes = Vec::new();
            event.put(&mut bytes);
            assert_eq!(bytes.len(), event.length());
            for cut in 0..bytes.len() {
                assert_eq!(Event::read(&bytes[..cut]), Ok(None));
            }
            bytes.push(9);
            assert_eq!(Event::read(&bytes), Ok(Some((event.clone(), event.length()))));
        }
    }

    #[test]
    fn a_length_past_the_limit_is_refused_before_its_bytes_are_there() {
        let at = |stream: Stream, length: u32| {
            let head = [&[stream.number()][..], &[0; 8], &length.to_be_bytes()].concat();
            Event::read(&head)
        };
        let most = u32::try_from(limits::RECORDING_EVENT).unwrap();
        assert_eq!(at(Stream::Output, most), Ok(None));
        assert_eq!(at(Stream::Output, most + 1), Err(RecordingError::Length(limits::RECORDING_EVENT + 1)));
        assert_eq!(at(Stream::Output, 0), Err(RecordingError::Length(0)));
        assert_eq!(at(Stream::Resize, 5), Err(RecordingError::Length(5)));
        assert_eq!(at(Stream::Lost, 4), Err(RecordingError::Length(4)));
        assert_eq!(Event::read(&[0]), Err(RecordingError::Stream(0)));
        assert_eq!(Event::read(&[8]), Err(RecordingError::Stream(8)));
    }
}
