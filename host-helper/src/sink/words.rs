//! What a recorder says on its socket after [`Answer::Run`](crate::daemon::words::Answer::Run): that it has
//! begun, events as a recording's chunks hold them, and at last how the session ended. The first and the last
//! are byte 255, a kind, a value.
//!
//! A recorder says that it has begun before anything runs. One that asked, and was gone before the answer came,
//! has said nothing: of its session nothing ran.
//!
//! Offsets are the recorder's word. The sink lets none go back, and none lie in the future.

use fireaxe_protocol::recording::{Event, RecordingError};

/// One thing that a recorder says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The answer was heard: what follows is recorded.
    Begun,
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
const OURS: u8 = 255;
/// The bytes of [`Said::Begun`].
pub const BEGUN: [u8; 3] = [OURS, 0, 0];

impl Over {
    /// Its bytes.
    pub fn write(self) -> Vec<u8> {
        match self {
            Over::Exited(code) => vec![OURS, 1, code],
            Over::Signalled(signal) => vec![OURS, 2, signal],
        }
    }
}

/// Reads one from the front of `bytes`, and says how many it took; nothing: more must come first.
pub fn read(bytes: &[u8]) -> Result<Option<(Said, usize)>, RecordingError> {
    if bytes.first() != Some(&OURS) {
        return Ok(Event::read(bytes)?.map(|(event, taken)| (Said::Event(event), taken)));
    }
    let said = match bytes {
        [_, 0, 0, ..] => Said::Begun,
        [_, 1, code, ..] => Said::Over(Over::Exited(*code)),
        [_, 2, signal, ..] => Said::Over(Over::Signalled(*signal)),
        [_] | [_, 0..=2] => return Ok(None),
        _ => return Err(RecordingError::Body),
    };
    Ok(Some((said, 3)))
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
        assert_eq!(read(&[&BEGUN[..], rest].concat()), Ok(Some((Said::Begun, 3))));
        assert_eq!(read(&BEGUN[..2]), Ok(None));
        assert!(read(&[255, 3]).is_err() && read(&[255, 0, 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
        }
    }
}
