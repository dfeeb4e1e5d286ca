//! The framing of a recording.
//!
//! | field | bytes | what |
//! |---|---|---|
//! | length | 4 | bytes that follow, big-endian; the whole is at most [`limits::RECORDING_CHUNK`] |
//! | kind | 1 | 1 header, 2 data, 3 end, 4 sealed |
//! | seq | 8 | 0, 1, 2 ... |
//! | before | 32 | hash of the chunk before this one; zeros in the header |
//! | body | the rest | header: JSON; data: events; end: how, offset, totals; sealed: `sealed` |
//!
//! A chunk's hash is SHA-256 over `fireaxe-chunk/v1`, a zero byte, and all of its bytes, the length included.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::event::Event;
use super::sealed::{AuditorKey, Sealed};
use crate::limits;
use crate::log::Hash;
use crate::names::{AccountName, HostName};
use crate::statement::Nonce;
use crate::wire::{Reader, Short, put_u32, put_u64};

/// Why bytes are not the recording that they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordingError {
    /// A length that no chunk or event of ours has.
    #[error("a length of {0} bytes in a recording is not valid")]
    Length(usize),
    /// A kind of chunk that is not defined.
    #[error("a chunk of unknown kind {0}")]
    Kind(u8),
    /// A stream that is not defined.
    #[error("an event on unknown stream {0}")]
    Stream(u8),
    /// The header is not ours.
    #[error("the header of the recording cannot be read: {0}")]
    Header(String),
    /// A body that ends within a value or goes on after it.
    #[error("a chunk of the recording is cut off or too long")]
    Body,
    /// A notice that is no text.
    #[error("a notice in the recording is not UTF-8")]
    Notice,
    /// Another number than the next.
    #[error("chunk {found} of the recording where {expected} should be")]
    Seq {
        /// The next.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// It names another chunk before it than the one that is there.
    #[error("chunk {0} of the recording does not continue the one before it")]
    Before(u64),
    /// A header within, or something else at the start.
    #[error("chunk {0} of the recording is of a kind that cannot stand there")]
    Order(u64),
    /// Something after the end.
    #[error("the recording goes on after its end")]
    AfterEnd,
    /// An event before the one that precedes it.
    #[error("chunk {0} of the recording goes back in time")]
    Time(u64),
    /// The totals at the end are not what the chunks hold.
    #[error("the totals at the end of the recording are not what it holds")]
    Totals,
    /// Events in clear where the header says that they are sealed, or the other way round.
    #[error("chunk {0} is in clear in a sealed recording, or sealed in one that is not")]
    Mixed(u64),
    /// It was sealed for another recording, or another number.
    #[error("what chunk {0} holds sealed belongs to another place")]
    Displaced(u64),
    /// The sums in clear are not those of what is sealed.
    #[error("what chunk {0} holds sealed is not what the host said in clear that it holds")]
    SealedTotals(u64),
    /// Bytes are left that are no whole chunk.
    #[error("the recording is cut off within a chunk")]
    Cut,
}

impl From<Short> for RecordingError {
    fn from(_: Short) -> RecordingError {
        RecordingError::Body
    }
}

/// What a session is, as the host saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// A shell: the client asked for nothing.
    Shell,
    /// A command.
    Exec,
    /// A subsystem, i.e. sftp.
    Subsystem,
}

/// A terminal at the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// `TERM`, as the client says it; at most 64 bytes.
    pub term: String,
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// Whose recording this is. Everything in it is what the host's daemon knows, except where it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The format: 1.
    pub v: u8,
    /// Its random name.
    pub recording: Nonce,
    /// The connection that it belongs to.
    pub connection: Nonce,
    /// The certificate's serial.
    pub serial: u64,
    /// The host, by its enrolled name.
    pub host: HostName,
    /// The account.
    pub account: AccountName,
    /// Where from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<IpAddr>,
    /// When it began: the host's clock, unix microseconds.
    pub began_us: u64,
    /// What it is.
    pub kind: SessionKind,
    /// The one command that the certificate names.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<String>,
    /// What the client asked to run, in its own words, at most [`limits::RECORDING_ASKED`] bytes of it; the
    /// whole then follows as events.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked: Option<String>,
    /// Its terminal, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub terminal: Option<Size>,
    /// To whom its events are sealed, at most [`limits::RECORDING_AUDITORS`]; nobody: they are in clear. When
    /// they are sealed, `asked` is not here but among them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sealed: Vec<AuditorKey>,
}

/// How a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The session's program exited with this code.
    Exited(u8),
    /// This signal ended it.
    Signalled(u8),
    /// The recorder was gone before it said how the session ended. What came after is not here.
    Broken,
    /// The daemon was restarted meanwhile. What came after is not here, and up to a second before.
    Restarted,
    /// It had to be recorded and no longer could be: no room. The session was ended.
    Full,
}

/// What a recording holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Totals {
    /// Of output.
    pub output: u64,
    /// Of standard error.
    pub error: u64,
    /// Of input.
    pub input: u64,
    /// That are marked as lost.
    pub lost: u64,
}

/// The last chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// How.
    pub how: Ended,
    /// When, microseconds since the recording began.
    pub offset_us: u64,
    /// What it holds.
    pub totals: Totals,
}

/// One chunk, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its number.
    pub seq: u64,
    /// Hash of the one before it.
    pub before: Hash,
    /// What is in it.
    pub body: Body,
}

/// What a chunk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The first.
    Header(Box<Header>),
    /// Events, at least one.
    Data(Vec<Event>),
    /// The last.
    End(End),
    /// Events that only auditors can read.
    Sealed(Sealed),
}

impl Totals {
    /// Counts an event.
    pub(super) fn count(&mut self, event: &Event) {
        use super::event::Stream;
        let bytes = event.bytes.len() as u64;
        match event.stream {
            Stream::Output => self.output = self.output.saturating_add(bytes),
            Stream::Error => self.error = self.error.saturating_add(bytes),
            Stream::Input => self.input = self.input.saturating_add(bytes),
            Stream::Lost => self.lost = self.lost.saturating_add(event.lost_bytes()),
            Stream::Resize | Stream::Notice | Stream::Asked => {}
        }
    }

    /// Whether no sum is smaller than the other's.
    pub(super) fn is_at_least(&self, other: &Totals) -> bool {
        let all = |of: &Totals| [of.output, of.error, of.input, of.lost];
        all(self).into_iter().zip(all(other)).all(|(this, that)| this >= that)
    }

    /// Input and output together.
    pub fn bytes(&self) -> u64 {
        self.output.saturating_add(self.error).saturating_add(self.input)
    }
}

/// Kind, seq and before.
const FRAME: usize = 1 + 8 + 32;
/// What a hash begins with: no other hash of ours does.
const DOMAIN: &[u8] = b"fireaxe-chunk/v1\0";

impl Chunk {
    /// What a chunk has beside its body.
    pub const OVERHEAD: usize = 4 + FRAME;
    /// Bytes of events that fit in one.
    pub const EVENTS: usize = limits::RECORDING_CHUNK - Chunk::OVERHEAD;

    /// The hash of a chunk with these bytes.
    pub fn hash(bytes: &[u8]) -> Hash {
        Hash(Sha256::new().chain_update(DOMAIN).chain_update(bytes).finalize().into())
    }

    /// Its bytes. They are readable again when the events fit ([`Chunk::EVENTS`]) and the header's texts keep
    /// their limits.
    pub fn write(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        out.push(match self.body {
            Body::Header(_) => 1,
            Body::Data(_) => 2,
            Body::End(_) => 3,
            Body::Sealed(_) => 4,
        });
        put_u64(&mut out, self.seq);
        out.extend_from_slice(&self.before.0);
        match &self.body {
            Body::Header(header) => out.extend(serde_json::to_vec(header).unwrap_or_default()),
            Body::Data(events) => events.iter().for_each(|event| event.put(&mut out)),
            Body::Sealed(sealed) => sealed.put(&mut out),
            Body::End(end) => {
                let (how, value) = match end.how {
                    Ended::Exited(code) => (1, code),
                    Ended::Signalled(signal) => (2, signal),
                    Ended::Broken => (3, 0),
                    Ended::Restarted => (4, 0),
                    Ended::Full => (5, 0),
                };
                out.extend([how, value]);
                let Totals { output, error, input, lost } = end.totals;
                [end.offset_us, output, error, input, lost].into_iter().for_each(|n| put_u64(&mut out, n));
            }
        }
        let mut length = Vec::with_capacity(4);
        put_u32(&mut length, u32::try_from(out.len() - 4).unwrap_or(u32::MAX));
        out.splice(..4, length);
        out
    }

    /// Reads one from the front of `bytes`, and says how many it took; nothing: more must come first.
    pub fn read(bytes: &[u8]) -> Result<Option<(Chunk, usize)>, RecordingError> {
        let mut reader = Reader::new(bytes);
        let Ok(length) = reader.u32() else { return Ok(None) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length <= FRAME || length > limits::RECORDING_CHUNK - 4 {
            return Err(RecordingError::Length(length));
        }
        let Ok(inner) = reader.take(length) else { return Ok(None) };
        let mut inner = Reader::new(inner);
        let (kind, seq) = (inner.byte()?, inner.u64()?);
        let before = Hash(*inner.take(32)?.first_chunk::<32>().ok_or(Short)?);
        let body = match kind {
            1 => Body::Header(Box::new(header(inner.rest())?)),
            2 => Body::Data(events(inner.rest())?),
            3 => Body::End(end(inner)?),
            4 => Body::Sealed(Sealed::read(inner.rest())?),
            other => return Err(RecordingError::Kind(other)),
        };
        Ok(Some((Chunk { seq, before, body }, 4 + length)))
    }
}

fn header(bytes: &[u8]) -> Result<Header, RecordingError> {
    let wrong = |why: &str| RecordingError::Header(why.to_owned());
    let header: Header =
        serde_json::from_slice(bytes).map_err(|error| RecordingError::Header(error.to_string()))?;
    if header.v != 1 {
        return Err(wrong("it is of another version"));
    }
    let long = |text: &Option<String>, most: usize| text.as_ref().is_some_and(|text| text.len() > most);
    if long(&header.asked, limits::RECORDING_ASKED) || long(&header.command, limits::FORCE_COMMAND) {
        return Err(wrong("a command in it is too long"));
    }
    if header.terminal.as_ref().is_some_and(|terminal| terminal.term.len() > limits::RECORDING_TERM) {
        return Err(wrong("its terminal has too long a name"));
    }
    if header.sealed.len() > limits::RECORDING_AUDITORS {
        return Err(wrong("it is sealed to too many"));
    }
    if !header.sealed.is_empty() && header.asked.is_some() {
        return Err(wrong("what was asked for is in clear, and the rest is sealed"));
    }
    // One spelling: what is signed for is found again byte by byte, and nothing hides between the values.
    if serde_json::to_vec(&header).unwrap_or_default() != bytes {
        return Err(wrong("it is spelled otherwise than it is written"));
    }
    Ok(header)
}

fn events(mut bytes: &[u8]) -> Result<Vec<Event>, RecordingError> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let (event, taken) = Event::read(bytes)?.ok_or(RecordingError::Body)?;
        bytes = bytes.get(taken..).unwrap_or_default();
        events.push(event);
    }
    Ok(events)
}

fn end(mut reader: Reader<'_>) -> Result<End, RecordingError> {
    let how = match (reader.byte()?, reader.byte()?) {
        (1, code) => Ended::Exited(code),
        (2, signal) => Ended::Signalled(signal),
        (3, 0) => Ended::Broken,
        (4, 0) => Ended::Restarted,
        (5, 0) => Ended::Full,
        _ => return Err(RecordingError::Body),
    };
    let offset_us = reader.u64()?;
    let totals =
        Totals { output: reader.u64()?, error: reader.u64()?, input: reader.u64()?, lost: reader.u64()? };
    if !reader.is_done() {
        return Err(RecordingError::Body);
    }
    Ok(End { how, offset_us, totals })
}
