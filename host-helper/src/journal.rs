//! What `fireaxe-host` writes into the host's journal. Under systemd both ways end there, under one name.
//!
//! | way | who | why this way |
//! |---|---|---|
//! | [`Line`], a datagram to syslog | the hook, `principals`, and the daemon about connections | nobody keeps what the first two print: sshd throws it away, PAM too |
//! | [`say`], [`reason`], standard error | the daemon about itself | also where there is no syslog, and by hand in the foreground |
//!
//! Parts of a line may come from strangers: all of it goes through [`crate::escape`].

use std::io::Write;
use std::os::unix::net::UnixDatagram;

use fireaxe_protocol::reason::Reason;

use crate::escape::{field, plain};

/// One line of the daemon's about itself. A reader that has gone away is no error of ours.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "fireaxe-host: {}", plain(line, LONGEST));
}

/// A reason, with its code where programs find it.
pub fn reason(reason: &Reason) {
    say(&format!("{}: {}", reason.code, reason.sentence));
}

/// One line for syslog: a verb and its fields, in the same order for what was admitted and what was refused.
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
    pub fn with(mut self, name: &str, value: impl ToString) -> Line {
        self.text.push_str(&format!(" {name}={}", field(&value.to_string(), MOST)));
        self
    }

    /// A field that may be missing: then `-`, so that every line has all of them.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl ToString>) -> Line {
        match value {
            Some(value) => self.with(name, value),
            None => self.with(name, "-"),
        }
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Says it. Never waits: nobody listening, or one who is slow, is no failure of the login's.
    pub fn say(&self, severity: Severity) {
        let Ok(socket) = UnixDatagram::unbound() else { return };
        if socket.set_nonblocking(true).is_err() {
            return;
        }
        let priority = AUTHPRIV * 8 + severity as u8;
        let line = format!("<{priority}>fireaxe-host[{}]: {}", std::process::id(), self.text);
        let _ = socket.send_to(line.as_bytes(), SYSLOG);
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

/// Where syslog, or journald in its place, listens.
const SYSLOG: &str = "/dev/log";
/// Facility 10.
const AUTHPRIV: u8 = 10;
/// The longest line of the daemon's about itself. Bytes.
const LONGEST: usize = 1000;
/// The longest value of a field. Bytes.
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
        assert!(
            text.starts_with("considered account=\"x\\nAccepted") && text.ends_with(" serial=-"),
            "{text}"
        );
        assert!(text.contains("a=\\\"b\\\\\""), "{text}");
        assert_eq!(Line::new("v").with("host", "db-3.payments.prod").text(), "v host=db-3.payments.prod");
        assert!(Line::new("v").with("x", "y".repeat(5000)).text().len() < 600);
    }
}
