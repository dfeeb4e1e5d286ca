//! What the daemon says to whoever runs it: lines on standard error, which systemd keeps in its journal.

use std::io::Write;

use fireaxe_protocol::reason::Reason;

/// The longest line. Characters.
const LONGEST: usize = 1000;

/// One line. A reader that has gone away is no error of ours.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "fireaxe-host: {}", plain(line));
}

/// A reason, with its code where programs find it.
pub fn reason(reason: &Reason) {
    say(&format!("{}: {}", reason.code, reason.sentence));
}

/// Part of a line may come from a stranger: it must not end it, nor speak to a terminal.
fn plain(line: &str) -> String {
    let mut out = String::new();
    for c in line.chars().take(LONGEST) {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_is_one_line_and_says_nothing_to_a_terminal() {
        let line = super::plain(&format!("a\nb\u{1b}[2J{}", "x".repeat(5000)));
        assert!(line.starts_with("a\\nb\\u{1b}[2J") && line.len() < 1100);
    }
}
