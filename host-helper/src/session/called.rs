//! How the recorder was called. sshd and shells call it in four ways; what is believed of them is only which
//! one it is, and what the client asks to run, which the daemon may overrule.
//!
//! | called as | by | the client asks |
//! |---|---|---|
//! | `session shell`, `session run LINE` | a shell, for the certificate's forced command | `SSH_ORIGINAL_COMMAND` |
//! | `session -c "/usr/libexec/fireaxe/session ..."` | sshd: login shell and forced command | the same |
//! | `session -c LINE` | sshd: login shell | LINE, or `SSH_ORIGINAL_COMMAND` when LINE was forced |
//! | `-session` | sshd: login shell | a shell |

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Whether a program of ours that was called by this name is the recorder: `session`, or `-session` as sshd
/// calls a login shell.
pub fn is_session(called: &OsStr) -> bool {
    let name = Path::new(called).file_name().unwrap_or_default().as_bytes();
    name.strip_prefix(b"-").unwrap_or(name) == b"session"
}

/// What the client asks to run; nothing: a shell.
pub(super) fn asked(words: &[OsString], original: Option<OsString>) -> Option<OsString> {
    let line = match words {
        [option, line, ..] if option == "-c" => Some(line.clone()),
        _ => None,
    };
    // With a forced command, whatever it says, sshd puts the client's own there, if it has one.
    let forced = line
        .as_ref()
        .is_none_or(|line| line.as_bytes().starts_with(fireaxe_protocol::host::RECORDER.as_bytes()));
    original.or(if forced { None } else { line }).filter(|asked| !asked.is_empty())
}

/// What sshd asks of a login shell for a certificate that does not name the recorder, and so need not be
/// recorded: a line, or a shell. `None`: it names it, or was called by somebody else.
///
/// Believed only while there is no daemon to ask. Who calls it like this from within a session gets there what
/// they could run themselves.
pub(super) fn unrecorded(called: &OsStr, words: &[OsString]) -> Option<Option<OsString>> {
    let recorder = fireaxe_protocol::host::RECORDER.as_bytes();
    match words {
        [] if called.as_bytes().starts_with(b"-") => Some(None),
        [option, line] if option == "-c" && !line.as_bytes().starts_with(recorder) => {
            Some(Some(line.clone()))
        }
        _ => None,
    }
}

/// Where OpenSSH keeps the program that `internal-sftp` stands for: Debian, Fedora, Arch, Alpine.
const SFTP_SERVERS: [&str; 4] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
];

/// The command with sshd's `internal-sftp`, which is no program, replaced by the one that does the same.
pub(super) fn with_sftp_server(asked: &OsStr) -> OsString {
    let rest = match asked.as_bytes().strip_prefix(b"internal-sftp") {
        Some(rest) if rest.is_empty() || rest.starts_with(b" ") => rest,
        _ => return asked.to_owned(),
    };
    let there = SFTP_SERVERS.iter().find(|path| Path::new(path).exists()).unwrap_or(&SFTP_SERVERS[0]);
    OsString::from_vec([there.as_bytes(), rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(words: &[&str], original: Option<&str>) -> Option<String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        asked(&words, original.map(OsString::from)).map(|asked| asked.into_string().unwrap())
    }

    #[test]
    fn each_way_of_being_called_says_what_the_client_asks() {
        assert_eq!(asks(&["shell"], None), None);
        assert_eq!(asks(&["shell"], Some("uptime")), Some("uptime".into()));
        assert_eq!(asks(&["run", "uptime"], Some("id")), Some("id".into()), "the daemon says what runs");
        assert_eq!(asks(&["-c", "/usr/libexec/fireaxe/session shell"], None), None);
        assert_eq!(asks(&["-c", "/usr/libexec/fireaxe/session shell"], Some("id")), Some("id".into()));
        assert_eq!(asks(&["-c", "id; uptime"], None), Some("id; uptime".into()));
        assert_eq!(asks(&["-c", "/usr/bin/look"], Some("id")), Some("id".into()));
        assert_eq!(asks(&[], None), None);
        assert_eq!(asks(&["-c", ""], None), None);
    }

    #[test]
    fn only_a_certificate_that_does_not_name_the_recorder_can_do_without_it() {
        let alone = |called: &str, words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            unrecorded(OsStr::new(called), &words)
        };
        assert_eq!(alone("session", &["-c", "uptime"]), Some(Some("uptime".into())));
        assert_eq!(alone("-session", &[]), Some(None));
        for (called, words) in [
            ("session", &["-c", "/usr/libexec/fireaxe/session shell"][..]),
            ("session", &["-c", "/usr/libexec/fireaxe/session run uptime"]),
            ("/usr/libexec/fireaxe/session", &["shell"]),
            ("/usr/libexec/fireaxe/session", &["run", "uptime"]),
            ("/usr/libexec/fireaxe/session", &[]),
        ] {
            assert_eq!(alone(called, words), None, "{called} {words:?}");
        }
    }

    #[test]
    fn it_is_known_by_its_name() {
        for name in ["session", "-session", "/usr/libexec/fireaxe/session"] {
            assert!(is_session(OsStr::new(name)), "{name}");
        }
        for name in ["fireaxe-host", "/session/fireaxe-host", "--session", "sessions", ""] {
            assert!(!is_session(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn only_the_word_internal_sftp_stands_for_the_program() {
        let ends = |asked: &str, end: &str| {
            let line = with_sftp_server(OsStr::new(asked)).into_string().unwrap();
            assert!(line.ends_with(end) && line != asked, "{line}");
        };
        ends("internal-sftp", "/sftp-server");
        ends("internal-sftp -l INFO", "/sftp-server -l INFO");
        for other in ["internal-sftpx", "echo internal-sftp", "/usr/lib/openssh/sftp-server"] {
            assert_eq!(with_sftp_server(OsStr::new(other)), other);
        }
    }
}
