//! Entries: the exact bytes whose leaf hashes make the tree.
//!
//! Line 1 is JSON, `{"v":1,"index":N,"at":T,"kind":"...",...}`. Only `certificate.issued` has a second
//! line: the certificate body in base64. No newline at the end. One entry has one spelling: reading
//! parses, writes again, and refuses bytes that differ, so unknown, repeated or reordered keys, blanks
//! and other escapes all fall out. What an event *means* is left to who folds the log.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::limits;
use crate::log::Event;

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place, counted from 0.
    pub index: u64,
    /// When it was appended, unix seconds. Never decreases along the log.
    pub at: u64,
    /// What it says.
    pub event: Event,
    /// The certificate body: for `certificate.issued` always, never empty; for all others never.
    pub body: Option<Vec<u8>>,
}

/// Why bytes are not an entry, or an entry has no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EntryError {
    /// Longer than [`limits::ENTRY`].
    #[error("the entry is {0} bytes long, {limit} are allowed", limit = limits::ENTRY)]
    TooLong(usize),
    /// Line 1 does not begin with version, index and time in their one spelling.
    #[error("the entry does not begin with {{\"v\":1,\"index\":N,\"at\":T,")]
    Header,
    /// What follows the header is no known event.
    #[error("the entry holds no event that is known here")]
    Event,
    /// `certificate.issued` without a body, or another kind with one.
    #[error("a second line belongs to certificate.issued, and only there")]
    Body,
    /// The same value has another spelling, and that is the one allowed.
    #[error("the entry is not spelled the one allowed way")]
    Spelling,
}

const V_INDEX: &[u8] = b"{\"v\":1,\"index\":";
const AT: &[u8] = b",\"at\":";

/// The entry bytes of an event, without taking it apart. Fails on a missing or surplus `body`, and
/// beyond [`limits::ENTRY`].
pub fn encode_entry(index: u64, at: u64, event: &Event, body: Option<&[u8]>) -> Result<Vec<u8>, EntryError> {
    let issued = matches!(event, Event::CertificateIssued { .. });
    if body.is_some_and(<[u8]>::is_empty) || body.is_some() != issued {
        return Err(EntryError::Body);
    }
    let json = serde_json::to_vec(event).map_err(|_| EntryError::Event)?;
    // The event's own object opens with '{'; its keys go on in the header's object.
    let (_, keys) = json.split_first().ok_or(EntryError::Event)?;
    let mut out = Vec::with_capacity(64 + keys.len() + body.map_or(0, |b| 1 + b.len().div_ceil(3) * 4));
    out.extend_from_slice(V_INDEX);
    put_decimal(&mut out, index);
    out.extend_from_slice(AT);
    put_decimal(&mut out, at);
    out.push(b',');
    out.extend_from_slice(keys);
    if let Some(body) = body {
        put_body(&mut out, body);
    }
    if out.len() > limits::ENTRY {
        return Err(EntryError::TooLong(out.len()));
    }
    Ok(out)
}

impl Entry {
    /// The entry's bytes. Fails on a missing or surplus body, and beyond [`limits::ENTRY`].
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        encode_entry(self.index, self.at, &self.event, self.body.as_deref())
    }

    /// Its kind, as its line names it: `emergency.declared`.
    pub fn kind(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Tag {
            kind: String,
        }
        let json = serde_json::to_vec(&self.event).unwrap_or_default();
        serde_json::from_slice::<Tag>(&json).map(|tag| tag.kind).unwrap_or_default()
    }

    /// Reads entry bytes; every other spelling of the same entry is refused.
    pub fn decode(bytes: &[u8]) -> Result<Entry, EntryError> {
        if bytes.len() > limits::ENTRY {
            return Err(EntryError::TooLong(bytes.len()));
        }
        let (line, second) = match bytes.iter().position(|b| *b == b'\n') {
            Some(end) => (line1(bytes), bytes.get(end + 1..)),
            None => (bytes, None),
        };
        let rest = line.strip_prefix(V_INDEX).ok_or(EntryError::Header)?;
        let (index, rest) = take_decimal(rest).ok_or(EntryError::Header)?;
        let rest = rest.strip_prefix(AT).ok_or(EntryError::Header)?;
        let (at, rest) = take_decimal(rest).ok_or(EntryError::Header)?;
        let keys = rest.strip_prefix(b",").ok_or(EntryError::Header)?;
        let mut json = Vec::with_capacity(1 + keys.len());
        json.push(b'{');
        json.extend_from_slice(keys);
        let event: Event = serde_json::from_slice(&json).map_err(|_| EntryError::Event)?;
        let body = second.map(|text| STANDARD.decode(text)).transpose().map_err(|_| EntryError::Body)?;
        let entry = Entry { index, at, event, body };
        if entry.encode()? == bytes { Ok(entry) } else { Err(EntryError::Spelling) }
    }
}

/// Line 1 of entry bytes: what travels in a receipt.
pub fn line1(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == b'\n').next().unwrap_or_default()
}

/// The bytes of a `certificate.issued` entry from its line 1 and the certificate's body: how a host
/// comes to the leaf without having the log.
pub fn with_body(line1: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line1.len() + 1 + body.len().div_ceil(3) * 4);
    out.extend_from_slice(line1);
    put_body(&mut out, body);
    out
}

fn put_body(out: &mut Vec<u8>, body: &[u8]) {
    out.push(b'\n');
    out.extend_from_slice(STANDARD.encode(body).as_bytes());
}

fn put_decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// A decimal number at the front. Leading zeroes pass here and fall out when written again.
fn take_decimal(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().position(|b| !b.is_ascii_digit()).unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at_checked(end)?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::Hash;

    fn issued() -> Entry {
        Entry {
            index: 7,
            at: 1_700_000_000,
            event: Event::CertificateIssued { of: Hash([1; 32]), terms: Hash([2; 32]) },
            body: Some(b"the body".to_vec()),
        }
    }

    fn abandoned(why: &str) -> Entry {
        Entry {
            index: 0,
            at: u64::MAX,
            event: Event::CertificateAbandoned { serial: 3, why: why.into() },
            body: None,
        }
    }

    #[test]
    fn an_entry_is_a_json_line_and_a_certificate_body_is_its_second() {
        let text = String::from_utf8(issued().encode().unwrap()).unwrap();
        let hex = |digits: &str| digits.repeat(32);
        assert_eq!(
            text,
            format!(
                "{{\"v\":1,\"index\":7,\"at\":1700000000,\"kind\":\"certificate.issued\",\"of\":\"{}\",\"terms\":\"{}\"}}\ndGhlIGJvZHk=",
                hex("01"),
                hex("02")
            )
        );
        assert_eq!(Entry::decode(text.as_bytes()), Ok(issued()));
        assert_eq!(line1(text.as_bytes()), text.split('\n').next().unwrap().as_bytes());
        assert_eq!(with_body(line1(text.as_bytes()), b"the body"), text.as_bytes());
        let other = abandoned("certificate.revoked");
        assert_eq!(Entry::decode(&other.encode().unwrap()), Ok(other));
    }

    #[test]
    fn events_with_their_own_shapes_come_back() {
        use crate::keys::Ed25519Key;
        use crate::log::{Closer, IncidentUpdate, PinnedKeys, Succeeded};
        use crate::names::{EmergencyId, Severity};
        use crate::policy::IncidentState;
        let key = Ed25519Key([9; 32]);
        for event in [
            Event::LogCreated {
                origin: "ca/0123456789abcdef".parse().unwrap(),
                keys: PinnedKeys { user_ca: key, log: key, krl: key, host_ca: key },
                succeeds: None,
            },
            Event::LogCreated {
                origin: "ca/0123456789abcdef".parse().unwrap(),
                keys: PinnedKeys { user_ca: key, log: key, krl: key, host_ca: key },
                succeeds: Some(Succeeded {
                    origin: "ca/fedcba9876543210".parse().unwrap(),
                    note: "ca/fedcba9876543210\n7\nAAAA\n\n\u{2014} ca/fedcba9876543210 AAAA\n".into(),
                }),
            },
            Event::IncidentUpdated(IncidentUpdate {
                incident: "pd:PGR0VU2".parse().unwrap(),
                state: IncidentState::Open,
                severity: Severity::try_from(1).unwrap(),
                systems: vec!["payments-db".parse().unwrap()],
                title: Some("primary \"refuses\" writes: Schlüssel".parse().unwrap()),
                by: "operator uid 0".into(),
            }),
            Event::EmergencyClosed {
                emergency: EmergencyId(42),
                by: Closer::Deadline,
                revoked: vec![3, 9],
                review_due: None,
            },
        ] {
            let entry = Entry { index: 1, at: 2, event, body: None };
            assert_eq!(Entry::decode(&entry.encode().unwrap()), Ok(entry));
        }
    }

    #[test]
    fn a_body_belongs_to_certificate_issued_and_only_there() {
        let without = Entry { body: None, ..issued() };
        assert_eq!(without.encode(), Err(EntryError::Body));
        assert_eq!(Entry { body: Some(Vec::new()), ..issued() }.encode(), Err(EntryError::Body));
        assert_eq!(Entry { body: Some(vec![1]), ..abandoned("x") }.encode(), Err(EntryError::Body));
        let bytes = issued().encode().unwrap();
        assert_eq!(Entry::decode(line1(&bytes)), Err(EntryError::Body));
        let mut surplus = abandoned("x").encode().unwrap();
        surplus.extend_from_slice(b"\nAAAA");
        assert_eq!(Entry::decode(&surplus), Err(EntryError::Body));
    }

    #[test]
    fn only_one_spelling_is_read() {
        let good = String::from_utf8(abandoned("x").encode().unwrap()).unwrap();
        let with = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}");
            good.replacen(from, to, 1)
        };
        for bad in [
            String::new(),
            "{}".into(),
            "\n".into(),
            format!("{good}\n"),
            format!("{good} "),
            format!(" {good}"),
            with("\"v\":1", "\"v\":2"),
            with("\"v\":1", "\"v\": 1"),
            with("\"index\":0", "\"index\":00"),
            with("\"index\":0", "\"index\":-0"),
            with("\"index\":0", "\"index\":0.0"),
            with("\"index\":0", "\"index\":18446744073709551616"),
            with("\"index\":0", "\"index\":"),
            with("\"serial\":3", "\"serial\":3,\"serial\":3"),
            with("\"serial\":3", "\"serial\":3,\"more\":1"),
            with("\"serial\":3", "\"serial\":3,\"index\":9"),
            with("\"x\"", "\"\\u0078\""),
            with("certificate.abandoned", "certificate.unknown"),
            with(
                "\"kind\":\"certificate.abandoned\",\"serial\":3",
                "\"serial\":3,\"kind\":\"certificate.abandoned\"",
            ),
        ] {
            assert!(Entry::decode(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in ["dGhlIGJvZHk", "dGhlIGJvZHl=", "dGhlIGJvZHk=\n", "dGhl\nIGJvZHk=", " dGhlIGJvZHk=", ""] {
            let entry = issued().encode().unwrap();
            let bytes = [line1(&entry), b"\n", bad.as_bytes()].concat();
            assert!(Entry::decode(&bytes).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_entry_is_taken_at_its_limit_and_refused_one_past_it() {
        let empty = abandoned("").encode().unwrap().len();
        let at_limit = abandoned(&"a".repeat(limits::ENTRY - empty));
        let bytes = at_limit.encode().unwrap();
        assert_eq!(bytes.len(), limits::ENTRY);
        assert_eq!(Entry::decode(&bytes), Ok(at_limit));
        let past = abandoned(&"a".repeat(limits::ENTRY - empty + 1));
        assert_eq!(past.encode(), Err(EntryError::TooLong(limits::ENTRY + 1)));
        assert_eq!(Entry::decode(&[bytes, vec![b' ']].concat()), Err(EntryError::TooLong(limits::ENTRY + 1)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(index: u64, at: u64, why: String, body in proptest::collection::vec(any::<u8>(), 1..600)) {
            let plain = Entry { index, at, ..abandoned(&why) };
            prop_assert_eq!(Entry::decode(&plain.encode().unwrap()), Ok(plain));
            let entry = Entry { index, at, body: Some(body), ..issued() };
            prop_assert_eq!(Entry::decode(&entry.encode().unwrap()), Ok(entry));
        }

        #[test]
        fn a_changed_byte_is_another_entry_or_none(at in 0usize..1000, to: u8) {
            let entry = issued();
            let mut bytes = entry.encode().unwrap();
            let place = at % bytes.len();
            prop_assume!(bytes[place] != to);
            bytes[place] = to;
            prop_assert!(Entry::decode(&bytes).is_err() || Entry::decode(&bytes).unwrap() != entry);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Entry::decode(&bytes);
            let _ = Entry::decode(&[V_INDEX, &bytes].concat());
        }
    }
}
