//! The forced command of a recorded tier: the recorder, and what it is to run, spelled out.
//!
//! It stands in the certificate's own `force-command`, so nothing in sshd's configuration overrides it, and
//! a host without the recorder fails closed: there is no such program. The account's login shell reads this
//! line (`$SHELL -c LINE`), so the command within it is one word that every shell reads alike.

use crate::shell::quoted;

/// Where the recorder is on every host.
pub const RECORDER: &str = "/usr/libexec/fireaxe/session";

/// What a recorded session runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionCommand {
    /// A shell, or whatever the client asks to run.
    Shell,
    /// This one command line.
    Run(String),
}

impl SessionCommand {
    /// Of terms with this forced command, or none.
    pub fn of(force_command: Option<&str>) -> SessionCommand {
        force_command.map_or(SessionCommand::Shell, |command| SessionCommand::Run(command.to_owned()))
    }

    /// `/usr/libexec/fireaxe/session shell`, or `/usr/libexec/fireaxe/session run '...'`.
    pub fn write(&self) -> String {
        match self {
            SessionCommand::Shell => format!("{RECORDER} shell"),
            SessionCommand::Run(command) => format!("{RECORDER} run {}", quoted(command)),
        }
    }

    /// Reads a forced command back: only the spelling that [`SessionCommand::write`] writes.
    pub fn read(text: &str) -> Option<SessionCommand> {
        let rest = text.strip_prefix(RECORDER)?.strip_prefix(' ')?;
        let read = match rest.strip_prefix("run ") {
            Some(word) => SessionCommand::Run(unquoted(word)),
            None => SessionCommand::Shell,
        };
        (read.write() == text).then_some(read)
    }
}

/// The word that [`quoted`] wrote as `text`; something else if it wrote none such.
fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut within = false;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' => within = !within,
            '\\' if !within => out.extend(rest.next()),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is() {
        for command in
            ["uptime", "uptime; df -h | head -n 5", r"echo 'it'\''s' \! a\\", "=x", "shell", "!", "'"]
        {
            let command = SessionCommand::of(Some(command));
            assert_eq!(SessionCommand::read(&command.write()), Some(command));
        }
        assert_eq!(SessionCommand::read("/usr/libexec/fireaxe/session shell"), Some(SessionCommand::Shell));
        for other in [
            "/usr/libexec/fireaxe/session",
            "/usr/libexec/fireaxe/session shell ",
            "/usr/libexec/fireaxe/session run",
            "/usr/libexec/fireaxe/session run 'uptime'",
            "/usr/libexec/fireaxe/session run uptime; id",
            "/usr/libexec/fireaxe/session  shell",
            "/tmp/session shell",
            "/bin/sh",
        ] {
            assert_eq!(SessionCommand::read(other), None, "{other}");
        }
    }
}
