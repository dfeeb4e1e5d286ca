//! What of the environment that sshd and PAM made reaches the session: names that say who and where, and
//! nothing that makes a program load or read something before it begins. A list of what is kept, because
//! what would have to be dropped has no end.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Who, where, which terminal, which words; agent, display and bus where sshd or PAM allowed them.
const KEPT: [&str; 18] = [
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "MAIL",
    "TZ",
    "TERM",
    "COLORTERM",
    "LANG",
    "LANGUAGE",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_AUTH_SOCK",
    "DISPLAY",
    "XDG_SESSION_ID",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    // git asks for its protocol's second version by it; sshd takes it only where AcceptEnv names it.
    "GIT_PROTOCOL",
];
/// All of one family: the parts of a locale.
const FAMILY: &[u8] = b"LC_";
/// One value: bytes. A PATH that is longer is none.
const VALUE: usize = 4096;

/// What the client asked for, where something else runs: as sshd has it, for commands that read it.
const ASKED: &str = "SSH_ORIGINAL_COMMAND";

/// The session's environment; `forced`: it runs what its certificate names, not what the client asks.
pub(super) fn kept(
    all: impl Iterator<Item = (OsString, OsString)>,
    shell: &str,
    forced: bool,
) -> Vec<(OsString, OsString)> {
    let is_kept = |name: &OsStr| {
        KEPT.iter().any(|kept| *kept == name)
            || name.as_bytes().strip_prefix(FAMILY).is_some_and(|rest| {
                !rest.is_empty() && rest.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
            })
    };
    // A shell function in a variable is how shells were told to run something before the command.
    let is_plain = |value: &OsStr| value.len() <= VALUE && !value.as_bytes().starts_with(b"()");
    let mut kept: Vec<_> =
        all.filter(|(name, value)| (is_kept(name) && is_plain(value)) || (forced && name == ASKED)).collect();
    kept.push(("SHELL".into(), shell.into()));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_something_before_the_session_does_is_gone() {
        let given = [
            ("HOME", "/home/ops"),
            ("PATH", "/usr/bin"),
            ("LC_TIME", "C"),
            ("SHELL", "/usr/libexec/fireaxe/session"),
            ("LD_PRELOAD", "/tmp/x.so"),
            ("LD_AUDIT", "/tmp/x.so"),
            ("BASH_ENV", "/tmp/x"),
            ("ENV", "/tmp/x"),
            ("PROMPT_COMMAND", "x"),
            ("BASH_FUNC_ls%%", "() { x; }"),
            ("PYTHONSTARTUP", "/tmp/x"),
            ("LC_", "x"),
            ("LC_X%%", "x"),
            ("LANG", "() { :; }; x"),
            ("SSH_USER_AUTH", "/tmp/sshauth.x"),
            // The recorder, called by its name within the session, would run it again.
            ("SSH_ORIGINAL_COMMAND", "id"),
        ];
        let kept = |forced| {
            let given = given.into_iter().map(|(name, value)| (name.into(), value.into()));
            let kept = kept(given, "/bin/bash", forced).into_iter();
            kept.map(|(name, value)| format!("{}={}", name.display(), value.display())).collect::<Vec<_>>()
        };
        assert_eq!(kept(false), ["HOME=/home/ops", "PATH=/usr/bin", "LC_TIME=C", "SHELL=/bin/bash"]);
        assert!(kept(true).contains(&"SSH_ORIGINAL_COMMAND=id".to_owned()));
    }
}
