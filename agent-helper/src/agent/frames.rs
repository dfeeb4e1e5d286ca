//! The ssh-agent protocol on the wire (draft-ietf-sshm-ssh-agent): frames, the three requests that are
//! understood, the answers. Knows no keys; what a request may do is left to `keyring`.

use std::io::{self, Read, Write};

use fireaxe_protocol::wire::{self, Reader, Short};

use super::binding::SessionBind;

/// Largest frame that is read. A certificate is at most 16 KiB and a request holds it twice; ssh-agent
/// itself takes 256 KiB. Checked before memory is taken.
pub(crate) const FRAME: usize = 256 * 1024;

const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const EXTENSION: u8 = 27;
const SESSION_BIND: &[u8] = b"session-bind@openssh.com";

/// What a client asks. Everything that is not understood is one thing: no keys can be added, removed,
/// locked or loaded from outside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// Which keys are there?
    Identities,
    /// Sign this with that key.
    Sign {
        /// The key as it was listed.
        key: &'a [u8],
        /// What to sign.
        data: &'a [u8],
    },
    /// This connection serves that SSH session; or bytes that should have said so.
    Bind(Result<SessionBind<'a>, Short>),
    /// Anything else, malformed requests too.
    Other,
}

/// Reads a request out of a frame. Never fails: what cannot be read is [`Request::Other`], except for a
/// binding, which must not be lost.
pub(crate) fn parse(frame: &[u8]) -> Request<'_> {
    let mut reader = Reader::new(frame);
    match reader.byte() {
        Ok(REQUEST_IDENTITIES) if reader.is_done() => Request::Identities,
        Ok(SIGN_REQUEST) => sign(reader).unwrap_or(Request::Other),
        Ok(EXTENSION) => match reader.string() {
            Ok(SESSION_BIND) => Request::Bind(SessionBind::parse(reader.rest())),
            _ => Request::Other,
        },
        _ => Request::Other,
    }
}

fn sign(mut reader: Reader<'_>) -> Result<Request<'_>, Short> {
    let (key, data, _flags) = (reader.string()?, reader.string()?, reader.u32()?);
    if reader.is_done() { Ok(Request::Sign { key, data }) } else { Err(Short) }
}

/// "No", without a reason: the protocol has none.
pub(crate) fn failure() -> Vec<u8> {
    vec![FAILURE]
}

/// "Done."
pub(crate) fn success() -> Vec<u8> {
    vec![SUCCESS]
}

/// The keys on offer, each with its comment.
pub(crate) fn identities(keys: &[(Vec<u8>, String)]) -> Vec<u8> {
    let mut out = vec![IDENTITIES_ANSWER];
    wire::put_u32(&mut out, u32::try_from(keys.len()).unwrap_or(0));
    for (blob, comment) in keys {
        wire::put_string(&mut out, blob);
        wire::put_string(&mut out, comment.as_bytes());
    }
    out
}

/// An Ed25519 signature.
pub(crate) fn signature(raw: &[u8; 64]) -> Vec<u8> {
    let mut inner = Vec::with_capacity(96);
    wire::put_string(&mut inner, b"ssh-ed25519");
    wire::put_string(&mut inner, raw);
    let mut out = vec![SIGN_RESPONSE];
    wire::put_string(&mut out, &inner);
    out
}

/// Reads one frame; `None` when the peer has gone. A frame that says it is empty or longer than
/// [`FRAME`] is an error: where the next one begins is not known any more.
pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0u8; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame of an impossible length"));
    }
    let mut frame = vec![0u8; length];
    from.read_exact(&mut frame)?;
    Ok(Some(frame))
}

/// Writes one frame.
pub(crate) fn write(to: &mut impl Write, body: &[u8]) -> io::Result<()> {
    let mut out = Vec::with_capacity(body.len() + 4);
    wire::put_string(&mut out, body);
    to.write_all(&out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sign_request(key: &[u8], data: &[u8]) -> Vec<u8> {
        let mut out = vec![SIGN_REQUEST];
        wire::put_string(&mut out, key);
        wire::put_string(&mut out, data);
        wire::put_u32(&mut out, 0);
        out
    }

    #[test]
    fn a_sign_request_is_read_and_one_with_a_tail_is_not() {
        let mut frame = sign_request(b"key", b"data");
        assert_eq!(parse(&frame), Request::Sign { key: b"key", data: b"data" });
        frame.push(0);
        assert_eq!(parse(&frame), Request::Other);
    }

    #[test]
    fn adding_removing_locking_and_loading_keys_are_not_understood() {
        for code in [17u8, 18, 19, 20, 21, 22, 23, 25, 26] {
            assert_eq!(parse(&[code, 0, 0, 0, 0]), Request::Other);
        }
    }

    #[test]
    fn a_binding_that_cannot_be_read_is_still_known_to_be_one() {
        let mut frame = vec![EXTENSION];
        wire::put_string(&mut frame, SESSION_BIND);
        frame.push(7);
        assert_eq!(parse(&frame), Request::Bind(Err(Short)));
    }

    #[test]
    fn a_frame_is_read_up_to_the_limit_and_refused_past_it_before_memory_is_taken() {
        let mut at_limit = (FRAME as u32).to_be_bytes().to_vec();
        at_limit.resize(4 + FRAME, 11);
        assert_eq!(read(&mut &at_limit[..]).unwrap().unwrap().len(), FRAME);
        let past = (FRAME as u32 + 1).to_be_bytes();
        assert_eq!(read(&mut &past[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(&mut &u32::MAX.to_be_bytes()[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(&mut &[0u8; 4][..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(&mut &[][..]).unwrap(), None);
        assert!(read(&mut &[0, 0, 0, 9, 1][..]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_codec_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            parse(&bytes);
            let _ = read(&mut &bytes[..]);
        }

        #[test]
        fn no_cut_of_a_good_request_is_taken_for_one(cut in 0usize..27) {
            let frame = sign_request(b"a certificate", b"x");
            prop_assert_eq!(parse(&frame[..cut.min(frame.len() - 1)]), Request::Other);
        }
    }
}
