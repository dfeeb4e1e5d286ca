//! The one thing the agent signs: a user authentication request (RFC 4252, section 7, and OpenSSH's
//! host-bound form, PROTOCOL section 3.1). Read whole; one byte more or less is another thing.

use fireaxe_protocol::wire::{Reader, Short};

const USERAUTH_REQUEST: u8 = 50;
/// The only algorithm whose keys are offered.
pub(crate) const ALGORITHM: &str = "ssh-ed25519-cert-v01@openssh.com";

/// "Let this key log in as that user in that session."
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserAuth<'a> {
    /// The session's identifier: the exchange hash of its first key exchange.
    pub(crate) session: &'a [u8],
    /// The account.
    pub(crate) user: &'a str,
    /// The key blob; a certificate.
    pub(crate) key: &'a [u8],
    /// The server's host key, in the host-bound form.
    pub(crate) host_key: Option<&'a [u8]>,
}

/// Reads the bytes that are to be signed. Anything else, however close, is [`Short`].
pub(crate) fn parse(data: &[u8]) -> Result<UserAuth<'_>, Short> {
    let mut reader = Reader::new(data);
    let session = reader.string()?;
    let kind = reader.byte()?;
    let user = std::str::from_utf8(reader.string()?).map_err(|_| Short)?;
    let service = reader.string()?;
    let method = reader.string()?;
    let with_signature = reader.byte()?;
    let algorithm = reader.string()?;
    let key = reader.string()?;
    let host_key = match method {
        b"publickey" => None,
        b"publickey-hostbound-v00@openssh.com" => Some(reader.string()?),
        _ => return Err(Short),
    };
    // The hashes of the key exchanges in use are 20 to 64 bytes long.
    let whole = reader.is_done()
        && kind == USERAUTH_REQUEST
        && service == b"ssh-connection"
        && with_signature == 1
        && algorithm == ALGORITHM.as_bytes()
        && (20..=64).contains(&session.len());
    if whole { Ok(UserAuth { session, user, key, host_key }) } else { Err(Short) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use fireaxe_protocol::wire::put_string;
    use proptest::prelude::*;

    pub(crate) fn request(session: &[u8], user: &str, key: &[u8], host_key: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        put_string(&mut out, session);
        out.push(USERAUTH_REQUEST);
        put_string(&mut out, user.as_bytes());
        put_string(&mut out, b"ssh-connection");
        match host_key {
            None => put_string(&mut out, b"publickey"),
            Some(_) => put_string(&mut out, b"publickey-hostbound-v00@openssh.com"),
        }
        out.push(1);
        put_string(&mut out, ALGORITHM.as_bytes());
        put_string(&mut out, key);
        if let Some(host_key) = host_key {
            put_string(&mut out, host_key);
        }
        out
    }

    #[test]
    fn both_forms_are_read() {
        let plain = request(&[1; 32], "root", b"cert", None);
        let read = parse(&plain).unwrap();
        assert_eq!((read.user, read.key, read.host_key), ("root", &b"cert"[..], None));
        let bound = request(&[1; 32], "root", b"cert", Some(b"host"));
        assert_eq!(parse(&bound).unwrap().host_key, Some(&b"host"[..]));
    }

    #[test]
    fn anything_that_is_not_exactly_a_login_is_not_one() {
        let good = request(&[1; 32], "root", b"cert", None);
        let mut tail = good.clone();
        tail.push(0);
        let replace = |from: &[u8], to: &[u8]| {
            let at = good.windows(from.len()).position(|w| w == from).unwrap();
            [&good[..at], to, &good[at + from.len()..]].concat()
        };
        for (what, bytes) in [
            ("a tail", tail),
            ("a cut", good[..good.len() - 1].to_vec()),
            ("an SSHSIG", b"SSHSIG\0\0\0\x07declare".to_vec()),
            ("another message", replace(&[50, 0, 0, 0, 4], &[80, 0, 0, 0, 4])),
            ("another service", replace(b"ssh-connection", b"ssh-userauth!!")),
            ("a plain key's algorithm", replace(b"-cert-v01@openssh.com", b"-cert-v02@openssh.com")),
            ("a query without signature", replace(&[b'y', 1, 0], &[b'y', 0, 0])),
            ("no session", request(b"", "root", b"cert", None)),
            ("a long session", request(&[1; 65], "root", b"cert", None)),
            ("nothing", Vec::new()),
        ] {
            assert!(parse(&bytes).is_err(), "{what} was taken for a login");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
