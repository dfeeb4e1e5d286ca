//! How things are printed: data to stdout, words to stderr, an error line and then what to type next.
//!
//! Text that came from elsewhere is escaped here, in one place, before a terminal sees it.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};

use fireaxe_protocol::reason::Reason;
use serde::Serialize;

use crate::tty;

/// The terminal, or what stands for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    json: bool,
    colour: bool,
}

impl Screen {
    /// `get` is `std::env::var_os` made text: `NO_COLOR` and `TERM=dumb` are honoured.
    pub(crate) fn new(json: bool, get: impl Fn(&str) -> Option<String>) -> Screen {
        let plain = get("NO_COLOR").is_some_and(|v| !v.is_empty())
            || get("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        Screen { json, colour: !plain && std::io::stderr().is_terminal() }
    }

    /// Whether answers are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether somebody is there to be asked: stdin and stderr are terminals.
    pub(crate) fn can_ask(&self) -> bool {
        !self.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// One line for people. Escaped.
    pub(crate) fn say(&self, line: &str) {
        to_stderr(&clean(line));
    }

    /// The same, emphasised where the terminal can.
    pub(crate) fn headline(&self, line: &str) {
        let line = clean(line);
        let text = if self.colour { format!("\u{1b}[1m{line}\u{1b}[0m") } else { line.into_owned() };
        to_stderr(&text);
    }

    /// Asks for one line on the terminal; `None` at its end.
    pub(crate) fn ask(&self, prompt: &str) -> Option<String> {
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "{prompt}").and_then(|()| err.flush());
        let mut line = String::new();
        match std::io::stdin().read_line(&mut line) {
            Ok(n) if n > 0 => Some(line.trim().to_owned()),
            _ => None,
        }
    }

    /// The place for a line that changes while something is waited for.
    pub(crate) fn progress(&self) -> Progress {
        Progress { screen: *self, in_place: self.colour, last: String::new() }
    }

    /// Data: one line of text on stdout.
    pub(crate) fn data(&self, line: &str) {
        // A reader that went away (`| head`) is no error of ours.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    /// Data as one JSON object on stdout, if JSON was asked for.
    pub(crate) fn json(&self, value: &impl Serialize) {
        if self.json
            && let Ok(text) = serde_json::to_string(value)
        {
            self.data(&text);
        }
    }
}

/// One line that is written over itself; on a terminal that cannot, or where there is none, a further line
/// whenever it changes. Silent where JSON was asked for.
#[derive(Debug)]
pub(crate) struct Progress {
    screen: Screen,
    in_place: bool,
    last: String,
}

impl Progress {
    /// Shows this now.
    pub(crate) fn show(&mut self, line: &str) {
        let line = clean(line).into_owned();
        if self.screen.json || line == self.last {
            return;
        }
        if self.in_place {
            // Cut, since a line that wraps cannot be written over.
            let width = usize::from(tty::width()).saturating_sub(3);
            let shown: String = line.chars().take(width).collect();
            let more = if shown.len() < line.len() { "…" } else { "" };
            let _ = std::io::stderr().write_all(format!("\r\u{1b}[2K  {shown}{more}").as_bytes());
        } else {
            to_stderr(&format!("  {line}"));
        }
        self.last = line;
    }

    /// Takes the line away, so that other lines may follow.
    pub(crate) fn clear(&mut self) {
        if self.in_place && !self.last.is_empty() {
            let _ = std::io::stderr().write_all(b"\r\x1b[2K");
        }
        self.last.clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One line in one write, so that lines of two programs do not mix.
fn to_stderr(line: &str) {
    // stderr may be closed; there is nowhere left to say so.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// A reason as one line, with the place in the policy that gives it.
pub(crate) fn reason(reason: &Reason) -> String {
    match &reason.at {
        Some(at) => format!("{}  ({at})  [{}]", reason.sentence, reason.code),
        None => format!("{}  [{}]", reason.sentence, reason.code),
    }
}

/// Makes text harmless for a terminal: control characters, and those that reorder or hide text, become
/// escapes. Line breaks too: what is printed as one line stays one.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let escape = |out: &mut String, c: char| match is_harmful(c) {
        true => out.extend(c.escape_unicode()),
        false => out.push(c),
    };
    Cow::Owned(text.chars().fold(String::with_capacity(text.len() + 16), |mut out, c| {
        escape(&mut out, c);
        out
    }))
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_drive_a_terminal_is_shown_not_obeyed() {
        assert_eq!(clean("plain, ünd so weiter — 日本"), "plain, ünd so weiter — 日本");
        assert_eq!(clean("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(clean("a\r\nb\u{9b}c"), "a\\u{d}\\u{a}b\\u{9b}c");
        assert_eq!(clean("a\u{202e}b\u{200b}c"), "a\\u{202e}b\\u{200b}c");
    }

    #[test]
    fn colour_is_off_when_asked_so() {
        let set = |name: &'static str, value: &'static str| {
            Screen::new(false, move |n| (n == name).then(|| value.to_owned())).colour
        };
        assert!(!set("NO_COLOR", "1") && !set("TERM", "dumb") && !set("TERM", ""));
    }

    proptest! {
        #[test]
        fn cleaned_text_is_harmless(text in any::<String>()) {
            prop_assert!(!clean(&text).chars().any(is_harmful));
        }
    }
}
