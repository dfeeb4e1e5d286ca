//! What a recorder says on its socket after [`Answer::Run`](crate::daemon::words::Answer::Run): events as a
//! recording's chunks hold them, and at last how the session ended: byte 255, a kind, a value.
//!
//! Offsets are the recorder's word. The sink lets none go back, and none lie in the future.

use fireaxe_protocol::recording::{Event, RecordingError};

/// One thing that a recorder says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Something happened.
    Event(Event),
    /// The session is over; nothing follows.
    Over(Over),
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Its program exited with this code.
    Exited(u8),
    /// This signal ended it.
    Signalled(u8),
}

/// No stream of events has this number.
const OVER: u8 = 255;

impl Over {
    /// Its bytes.
    pub fn write(self) -> Vec<u8> {
        match self {
            Over::Exited(code) => vec![OVER, 1, code],
            Over::Signalled(signal) => vec![OVER, 2, signal],
        }
    }
}

/// Reads one from the front of `bytes`, and says how many it took; nothing: more must come first.
pub fn read(bytes: &[u8]) -> Result<Option<(Said, usize)>, RecordingError> {
    if bytes.first() != Some(&OVER) {
        return Ok(Event::read(bytes)?.map(|(event, taken)| (Said::Event(event), taken)));
    }
    let over = match bytes {
        [_, 1, code, ..] => Over::Exited(*code),
        [_, 2, signal, ..] => Over::Signalled(*signal),
        [_] | [_, 1 | 2] => return Ok(None),
        _ => return Err(RecordingError::Body),
    };
    Ok(Some((Said::Over(over), 3)))
}

#[cfg(test)]
mod tests {
    use fireaxe_protocol::recording::Stream;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_recorder_says_is_read_back_from_any_pieces() {
        let event = Event { offset_us: 5, stream: Stream::Output, bytes: b"x".to_vec() };
        let mut bytes = Vec::new();
        event.put(&mut bytes);
        bytes.extend(Over::Exited(7).write());
        for cut in 0..event.length() {
            assert_eq!(read(&bytes[..cut]), Ok(None));
        }
        assert_eq!(read(&bytes), Ok(Some((Said::Event(event.clone()), event.length()))));
        let rest = &bytes[event.length()..];
        assert_eq!((read(&rest[..1]), read(&rest[..2])), (Ok(None), Ok(None)));
        assert_eq!(read(rest), Ok(Some((Said::Over(Over::Exited(7)), 3))));
        assert!(read(&[255, 3]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
        }
    }
}
