//! A chunk that only auditors can read. Framing, numbers and hashes are in clear, and so is what the events come
//! to; the events are one age file (age-encryption.org/v1) for each auditor's X25519 key. Neither made nor opened
//! here: the host makes it, whoever has an identity opens it.
//!
//! | field | bytes | what |
//! |---|---|---|
//! | latest | 8 | offset of the last event in it, microseconds |
//! | totals | 32 | output, error, input, lost: of the recording up to here |
//! | age | the rest | an age file, not armored, of: recording 16, seq 8, events |
//!
//! The sums in clear are the host's word until an auditor has opened the chunk ([`Opened`]): they let a host
//! close a recording that a crash cut, without any key. The name and the number within keep a chunk from being
//! taken for one of another place.

use serde::{Deserialize, Serialize};

use super::chunk::{Header, RecordingError, Totals};
use super::event::Event;
use crate::limits;
use crate::statement::Nonce;
use crate::wire::{Reader, put_u64};

/// An auditor's public key as age writes it, `age1...`: its length and letters are right. Whether its checksum
/// is, age says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AuditorKey(String);

/// What a sealed chunk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Offset of the last event, microseconds since the recording began.
    pub latest_us: u64,
    /// What the recording comes to with these events.
    pub totals: Totals,
    /// The age file.
    pub age: Vec<u8>,
}

/// How far a sealed recording has been opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    recording: Nonce,
    totals: Totals,
    latest_us: u64,
}

/// What stands in clear before the age file.
const CLEAR: usize = 8 + 4 * 8;

impl AuditorKey {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for AuditorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for AuditorKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<AuditorKey, &'static str> {
        let letters = text.strip_prefix("age1").ok_or("an auditor's key begins with age1")?;
        match letters.len() == LETTERS && letters.bytes().all(|letter| BECH32.contains(&letter)) {
            true => Ok(AuditorKey(text)),
            false => {
                Err("an auditor's key is age1 and 58 small letters and digits (no plugins, no ssh keys)")
            }
        }
    }
}

impl From<AuditorKey> for String {
    fn from(key: AuditorKey) -> String {
        key.0
    }
}

impl Sealed {
    /// What is to be sealed: the events, and where they belong.
    pub fn plain(recording: Nonce, seq: u64, events: &[Event]) -> Vec<u8> {
        let mut out = recording.0.to_vec();
        put_u64(&mut out, seq);
        events.iter().for_each(|event| event.put(&mut out));
        out
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let Totals { output, error, input, lost } = self.totals;
        [self.latest_us, output, error, input, lost].into_iter().for_each(|n| put_u64(out, n));
        out.extend_from_slice(&self.age);
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Sealed, RecordingError> {
        let mut reader = Reader::new(bytes);
        let latest_us = reader.u64()?;
        let totals =
            Totals { output: reader.u64()?, error: reader.u64()?, input: reader.u64()?, lost: reader.u64()? };
        match bytes.get(CLEAR..).unwrap_or_default() {
            [] => Err(RecordingError::Body),
            age => Ok(Sealed { latest_us, totals, age: age.to_vec() }),
        }
    }
}

impl Opened {
    /// Nothing is opened yet.
    pub fn of(header: &Header) -> Opened {
        Opened { recording: header.recording, totals: Totals::default(), latest_us: 0 }
    }

    /// Takes what was within chunk `seq`, in order; gives its events if they are for this place, and what the
    /// host said in clear that they are.
    pub fn take(&mut self, seq: u64, sealed: &Sealed, plain: &[u8]) -> Result<Vec<Event>, RecordingError> {
        let mut reader = Reader::new(plain);
        if reader.take(16)? != self.recording.0 || reader.u64()? != seq {
            return Err(RecordingError::Displaced(seq));
        }
        let mut after = self.clone();
        let (mut rest, mut events) = (reader.rest(), Vec::new());
        while !rest.is_empty() {
            let (event, taken) = Event::read(rest)?.ok_or(RecordingError::Body)?;
            rest = rest.get(taken..).unwrap_or_default();
            if event.offset_us < after.latest_us {
                return Err(RecordingError::Time(seq));
            }
            after.latest_us = event.offset_us;
            after.totals.count(&event);
            events.push(event);
        }
        if (after.totals, after.latest_us) != (sealed.totals, sealed.latest_us) {
            return Err(RecordingError::SealedTotals(seq));
        }
        *self = after;
        Ok(events)
    }
}

impl super::chunk::Chunk {
    /// Bytes of events that fit in one that is sealed.
    pub const SEALED_EVENTS: usize = Self::EVENTS - limits::RECORDING_SEALING;
}

/// Letters of a key after `age1`: 32 bytes and a checksum.
const LETTERS: usize = 58;
const BECH32: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
