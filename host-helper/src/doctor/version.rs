//! Which OpenSSH this is, by the server's own words.

use std::path::Path;
use std::process::Command;

use crate::escape::plain;

/// What the server says of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// Its words: at most [`WORDS`] bytes of printable ASCII; `unknown` if it says nothing.
    pub(crate) words: String,
    /// `(major, minor)`, if they can be read.
    pub(super) number: Option<(u32, u32)>,
}

/// As much as a heartbeat may hold. Bytes.
const WORDS: usize = 64;

impl Version {
    /// Asks `sshd -V`. Before 9.3 that is an unknown option: it says its version while it complains.
    pub(crate) fn ask(sshd: &Path) -> Version {
        let said = Command::new(sshd).arg("-V").output();
        let text = said.map(|said| [said.stderr, said.stdout].concat()).unwrap_or_default();
        Version::read(&String::from_utf8_lossy(&text))
    }

    fn read(text: &str) -> Version {
        let line = text.lines().find(|line| line.contains("OpenSSH")).unwrap_or("unknown");
        Version { words: plain(line, WORDS), number: number(line) }
    }
}

fn number(line: &str) -> Option<(u32, u32)> {
    let (_, rest) = line.split_once("OpenSSH_")?;
    let (major, rest) = rest.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_either_answer() {
        let old =
            "unknown option -- V\nOpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.17 1 Jul 2025\nusage: sshd";
        let read = Version::read(old);
        assert_eq!(read.number, Some((9, 2)));
        assert_eq!(read.words, "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.17 1 Jul 2025");
        assert_eq!(Version::read("OpenSSH_10.0p2, OpenSSL 3.0.17").number, Some((10, 0)));
        for other in ["", "OpenSSH_", "OpenSSH_x.1", "dropbear"] {
            assert_eq!(Version::read(other).number, None);
        }
        assert_eq!(Version::read("").words, "unknown");
        let long = Version::read(&format!("OpenSSH_9.2\u{1b}{}", "x".repeat(200))).words;
        assert!(long.len() <= WORDS && long.is_ascii() && !long.contains('\u{1b}'), "{long}");
    }
}
