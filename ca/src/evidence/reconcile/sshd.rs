//! What sshd says of a login, in its own words: the `Accepted ...` line, as OpenSSH 9.2 to 10 write it.
//!
//! The text is hostile: who logs in chooses parts of it. The account stands between fixed words; the key id of a
//! foreign certificate may hold anything, so what follows it is read from the line's end, and the last
//! `(serial N) CA` counts (sshd writes nothing of a client's after it). sshd cuts its messages at 1 KiB, so a key id
//! of that length could hide what stands after it: such a line is not read at all. Nothing read here is more than
//! what the file says: who can write to the log can write such a line.

use std::net::IpAddr;

use fireaxe_protocol::keys::Fingerprint;

/// A login that sshd accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The account, as it stands there.
    pub account: String,
    /// Where from; none if it is no address.
    pub from: Option<IpAddr>,
    /// By what.
    pub how: How,
}

/// What a login was accepted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// A certificate of whatever CA.
    Certificate {
        /// Its key id, as it stands there.
        key_id: String,
        /// Its serial.
        serial: u64,
        /// The fingerprint of the key that signed it.
        ca: Fingerprint,
    },
    /// A public key without a certificate: its type and fingerprint, as they stand there.
    Key(String),
    /// Something else: `password`, `keyboard-interactive/pam`.
    Other(String),
}

/// What kind of line of sshd it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// It accepted a login.
    Accepted(Accepted),
    /// It looks like a login, and cannot be read: somebody must.
    Unreadable,
    /// Something else.
    Other,
}

/// Reads one message of sshd, without what syslog puts before it.
pub(super) fn said(message: &str) -> Said {
    let Some(rest) = message.strip_prefix("Accepted ") else { return Said::Other };
    // Before it is known who it is, VERBOSE says this of every certificate: no login.
    if rest.starts_with("certificate ID ") || rest.starts_with("key ") {
        return Said::Other;
    }
    if message.len() >= CUT {
        return Said::Unreadable;
    }
    accepted(rest).map_or(Said::Unreadable, Said::Accepted)
}

/// `publickey for root from 127.0.0.1 port 55 ssh2: ED25519-CERT SHA256:... ID fireaxe/EM-1/ana/12 (serial 12) CA
/// ED25519 SHA256:...`, `password for root from ::1 port 55 ssh2`.
fn accepted(rest: &str) -> Option<Accepted> {
    let (method, rest) = rest.split_once(" for ")?;
    let (account, rest) = rest.split_once(" from ")?;
    let (from, rest) = rest.split_once(" port ")?;
    let (port, rest) = rest.split_once(' ')?;
    port.parse::<u16>().ok()?;
    let detail = rest.strip_prefix("ssh2")?;
    let from = from.parse::<IpAddr>().ok().map(|from| from.to_canonical());
    let how = match method {
        "publickey" => public_key(detail.strip_prefix(": ")?)?,
        _ => How::Other(method.to_owned()),
    };
    let account = account.to_owned();
    (!account.is_empty() && !method.contains(' ')).then_some(Accepted { account, from, how })
}

fn public_key(detail: &str) -> Option<How> {
    let (kind, rest) = detail.split_once(' ')?;
    if !kind.ends_with("-CERT") {
        return Some(How::Key(detail.to_owned()));
    }
    let (_, rest) = rest.split_once(" ID ")?;
    let (key_id, rest) = rest.rsplit_once(" (serial ")?;
    let (serial, ca) = rest.split_once(") CA ")?;
    let (_, ca) = ca.split_once(' ')?;
    let (ca, after) = ca.split_once(' ').unwrap_or((ca, ""));
    if !after.is_empty() && !after.starts_with("via ") {
        return None;
    }
    Some(How::Certificate { key_id: key_id.to_owned(), serial: serial.parse().ok()?, ca: ca.parse().ok()? })
}

/// From this length on a message may have been cut: `MSGBUFSIZ` of OpenSSH's `log.c` is 1,024. One about a
/// certificate of ours has at most 400 bytes.
const CUT: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn of(message: &str) -> Accepted {
        match said(message) {
            Said::Accepted(accepted) => accepted,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_login_with_a_certificate_is_read_as_openssh_writes_it() {
        let line = format!(
            "Accepted publickey for root from 127.0.0.1 port 55 ssh2: ED25519-CERT SHA256:abc ID \
             fireaxe/EM-1/ana/12 (serial 12) CA ED25519 {OURS}"
        );
        let login = of(&line);
        assert_eq!((login.account.as_str(), login.from), ("root", Some([127, 0, 0, 1].into())));
        let How::Certificate { key_id, serial, ca } = login.how else { panic!() };
        assert_eq!((key_id.as_str(), serial, ca.to_string().as_str()), ("fireaxe/EM-1/ana/12", 12, OURS));
        // As 10.x ends it when it says which file trusted the CA.
        assert!(matches!(said(&format!("{line} via /etc/ssh/fireaxe_user_ca.pub")), Said::Accepted(_)));
    }

    #[test]
    fn a_key_id_that_plays_a_certificate_of_ours_does_not_pass_for_one() {
        let foreign = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE";
        let line = format!(
            "Accepted publickey for ops from ::1 port 55 ssh2: ED25519-CERT SHA256:abc ID mallory (serial 1) CA \
             ED25519 {OURS} (serial 7) CA ED25519 {foreign}"
        );
        let How::Certificate { key_id, serial, ca } = of(&line).how else { panic!() };
        assert_eq!((serial, ca.to_string().as_str()), (7, foreign));
        assert!(key_id.starts_with("mallory (serial 1) CA"));
        // As long as sshd's own limit: what really signed it was cut off.
        let hidden =
            line.replace(&format!("(serial 7) CA ED25519 {foreign}"), &format!("via {}", "x".repeat(900)));
        assert_eq!(said(&hidden), Said::Unreadable);
        assert_eq!(said(&line.replace(" (serial 7) CA ED25519 SHA256", " and more")), Said::Unreadable);
    }

    #[test]
    fn keys_and_passwords_are_logins_too() {
        let line = "Accepted publickey for root from 10.0.0.9 port 2 ssh2: ED25519 SHA256:abc";
        assert_eq!(of(line).how, How::Key("ED25519 SHA256:abc".into()));
        let line = "Accepted keyboard-interactive/pam for ops from fe80::1%eth0 port 2 ssh2";
        assert_eq!((of(line).how, of(line).from), (How::Other("keyboard-interactive/pam".into()), None));
        let mapped = "Accepted password for ops from ::ffff:10.0.0.9 port 2 ssh2";
        assert_eq!(of(mapped).from, Some([10, 0, 0, 9].into()));
    }

    #[test]
    fn what_looks_like_a_login_and_is_none_is_not_passed_over() {
        for line in [
            "Accepted publickey for root from 1.2.3.4 port 99999 ssh2: ED25519 SHA256:abc",
            "Accepted publickey for root from 1.2.3.4 port 9 ssh2",
            "Accepted publickey for root from 1.2.3.4 port 9 ssh2: ED25519-CERT SHA256:a ID x (serial y) CA ED25519 z",
            "Accepted publickey",
            "Accepted publickey for  from 1.2.3.4 port 9 ssh2: ED25519 SHA256:abc",
        ] {
            assert_eq!(said(line), Said::Unreadable, "{line}");
        }
        for line in [
            "Accepted certificate ID \"x\" (serial 12) signed by ED25519 CA SHA256:a via /etc/ssh/ca.pub",
            "Accepted key ED25519 SHA256:abc found at /root/.ssh/authorized_keys:1",
            "Failed password for root from 1.2.3.4 port 9 ssh2",
            " Accepted password for root from 1.2.3.4 port 9 ssh2",
            "",
        ] {
            assert_eq!(said(line), Said::Other, "{line}");
        }
    }
}
