//! Lines for the host's log, from programs whose own output nobody keeps: sshd throws away what
//! `principals` says, PAM what the hook does. One datagram to syslog, never waited for.

use std::os::unix::net::UnixDatagram;

/// Where syslog, or journald in its place, listens.
const LOG: &str = "/dev/log";

/// One line: a verb and its fields, in the same order for what was admitted and what was refused.
#[derive(Debug)]
pub struct Line {
    text: String,
}

impl Line {
    /// `fireaxe-host` did this.
    pub fn new(verb: &str) -> Line {
        Line { text: verb.to_owned() }
    }

    /// A field: a number, a name, a sentence of ours. What came from elsewhere is escaped.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl ToString) -> Line {
        self.text.push_str(&format!(" {field}={}", escaped(&value.to_string())));
        self
    }

    /// A field that may be missing: then `-`, so that every line has all of them.
    #[must_use]
    pub fn with_some(self, field: &str, value: Option<impl ToString>) -> Line {
        match value {
            Some(value) => self.with(field, value),
            None => self.with(field, "-"),
        }
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Says it. Nobody listening, or one who is slow, is no failure of the login's.
    pub fn say(&self, severity: Severity) {
        let Ok(socket) = UnixDatagram::unbound() else { return };
        if socket.set_nonblocking(true).is_err() {
            return;
        }
        let priority = AUTHPRIV * 8 + severity as u8;
        let line = format!("<{priority}>fireaxe-host[{}]: {}", std::process::id(), self.text);
        let _ = socket.send_to(line.as_bytes(), LOG);
    }
}

/// How much a line matters, as syslog counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Somebody should look.
    Warning = 4,
    /// What happens every day.
    Info = 6,
}

/// A word as it is, anything else in quotes with only printable ASCII in it; at most 500 characters.
fn escaped(value: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || "._:/@+-".contains(c);
    if !value.is_empty() && value.len() <= MOST && value.chars().all(word) {
        return value.to_owned();
    }
    let mut out = String::from("\"");
    for (n, c) in value.chars().enumerate() {
        if n == MOST {
            out.push_str("...");
            break;
        }
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.extend(c.escape_unicode()),
        }
    }
    out.push('"');
    out
}

/// Facility 10.
const AUTHPRIV: u8 = 10;
const MOST: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_said_makes_a_second_line_or_a_field_of_its_own() {
        let hostile = "x\nAccepted publickey for root serial=7\x1b[2J\u{202e} a=\"b\\";
        let line = Line::new("considered").with("account", hostile).with_some("serial", None::<u64>);
        let text = line.text();
        assert!(text.is_ascii() && !text.contains('\n') && !text.contains('\x1b'), "{text}");
        assert!(text.starts_with("considered account=\"x\\u{a}Accepted") && text.ends_with(" serial=-"));
        assert!(text.contains("a=\\\"b\\\\\""), "{text}");
        assert_eq!(Line::new("v").with("host", "db-3.payments.prod").text(), "v host=db-3.payments.prod");
        assert!(Line::new("v").with("x", "y".repeat(5000)).text().len() < 600);
    }
}
