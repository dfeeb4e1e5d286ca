//! `log`: what an auditor asks of the log. A verb a file.

mod bar;
mod export;
mod handing_out;
mod receipt;
mod reconcile;
mod replay;
mod source;
mod stream;
mod verify;

use clap::Subcommand;

use super::Failed;

/// Verify the log; compare it with what hosts' own logs show; stream it.
#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Check tree, checkpoints, statements, decisions, certificates and state from the bytes
    Verify(Box<verify::Verify>),
    /// Decide everything again; explain the decisions of one emergency
    Replay(replay::Replay),
    /// Put everything of one emergency into one file that is checked offline
    Receipt(receipt::Receipt),
    /// Put everything of a period into one file: entries with their proof, tables, a page
    Export(export::Export),
    /// Compare what was issued with what hosts' sshd logs and recordings show
    Reconcile(reconcile::Reconcile),
    /// Send the log as events to another system, at least once and in order
    Stream(stream::Stream),
}

impl LogCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            LogCommand::Verify(verify) => verify.run(),
            LogCommand::Replay(replay) => replay.run(),
            LogCommand::Receipt(receipt) => receipt.run(),
            LogCommand::Export(export) => export.run(),
            LogCommand::Reconcile(reconcile) => reconcile.run(),
            LogCommand::Stream(stream) => stream.run(),
        }
    }
}

/// Text for a terminal, with nothing in it that a terminal acts on: what a log holds was written by others.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_graphic() || c == ' ' {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

/// `2026-11-28 05:50:00 UTC`
fn time(at: u64) -> String {
    let known = i64::try_from(at).ok().and_then(|at| time::OffsetDateTime::from_unix_timestamp(at).ok());
    known.map_or_else(
        || format!("{at} s after 1970"),
        |at| format!("{} {:02}:{:02}:{:02} UTC", at.date(), at.hour(), at.minute(), at.second()),
    )
}

/// JSON with nothing but ASCII in it: a value reads the same, and a terminal acts on none of it.
fn ascii_json(value: &serde_json::Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::{ascii_json, plain};

    #[test]
    fn json_says_the_same_in_ascii() {
        let value = serde_json::json!({"what": "a\x1b\x7f\u{9b}\u{202e}\u{1f525}\"\\ö"});
        let text = ascii_json(&value);
        assert!(text.trim_end().chars().all(|c| c.is_ascii_graphic() || c == ' '), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn what_moves_a_terminal_is_shown_and_not_done() {
        let hostile = "a\x1b[2J\x1b]52;c;QQ==\x07\u{9b}31m\u{202e}b\n";
        assert_eq!(plain(hostile), "a\\u{1b}[2J\\u{1b}]52;c;QQ==\\u{7}\\u{9b}31m\\u{202e}b\\u{a}");
    }
}
