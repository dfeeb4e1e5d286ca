//! A recording as asciicast v3: what an auditor plays. Made from the chunks, by a function of them alone.
//!
//! Only what was shown is in it: output, sizes, and marks for what the recorder said or lost. Nothing of it
//! reaches the terminal of whoever prints the file raw: control characters and characters that turn the
//! direction of text stand as `\uXXXX`. A character that was cut between two events is put together again;
//! bytes that are no UTF-8 are shown as U+FFFD (the chunks have them as they were).

use super::chunk::{Body, Chunk, Ended, Header};
use super::event::{Event, Stream};

/// Makes asciicast v3 of one recording, chunk by chunk.
#[derive(Debug, Default)]
pub struct Cast {
    terminal: bool,
    latest_us: u64,
    /// The beginning of a character whose rest has not come, of output and of standard error.
    cut: [Vec<u8>; 2],
}

/// The asciicast of a whole recording.
pub fn cast<'a>(chunks: impl IntoIterator<Item = &'a Chunk>) -> String {
    let (mut cast, mut out) = (Cast::default(), String::new());
    for chunk in chunks {
        cast.chunk(chunk, &mut out);
    }
    out
}

impl Cast {
    /// Appends the lines of the next chunk.
    pub fn chunk(&mut self, chunk: &Chunk, out: &mut String) {
        match &chunk.body {
            Body::Header(header) => self.header(header, out),
            Body::Data(events) => events.iter().for_each(|event| self.event(event, out)),
            Body::Sealed(sealed) => {
                self.line(sealed.latest_us, 'm', "sealed: what was shown here, an auditor's key opens", out);
            }
            Body::End(end) => {
                for n in 0..2 {
                    let rest = self.cut.get_mut(n).map(std::mem::take).unwrap_or_default();
                    if !rest.is_empty() {
                        self.line(end.offset_us, 'o', "\u{fffd}", out);
                    }
                }
                let (status, why) = match end.how {
                    Ended::Exited(code) => (u16::from(code), None),
                    // As a shell says it.
                    Ended::Signalled(signal) => (128 + u16::from(signal), None),
                    Ended::Broken => (255, Some("the recorder was gone: what followed is not here")),
                    Ended::Restarted => (255, Some("the daemon was restarted: what followed is not here")),
                    Ended::Full => (255, Some("no room to record on: the session was ended")),
                };
                if let Some(why) = why {
                    self.line(end.offset_us, 'm', why, out);
                }
                self.line(end.offset_us, 'x', &status.to_string(), out);
            }
        }
    }

    fn header(&mut self, header: &Header, out: &mut String) {
        self.terminal = header.terminal.is_some();
        // Without a terminal nothing has a width; players need one.
        let (columns, rows) =
            header.terminal.as_ref().map_or((80, 24), |t| (t.columns.max(1), t.rows.max(1)));
        out.push_str(&format!("{{\"version\":3,\"term\":{{\"cols\":{columns},\"rows\":{rows}"));
        if let Some(terminal) = &header.terminal {
            out.push_str(",\"type\":");
            put_text(&terminal.term, out);
        }
        out.push_str(&format!("}},\"timestamp\":{},\"title\":", header.began_us / 1_000_000));
        let title =
            format!("{} on {}, serial {}, {}", header.account, header.host, header.serial, header.recording);
        put_text(&title, out);
        if let Some(command) = header.command.as_ref().or(header.asked.as_ref()) {
            out.push_str(",\"command\":");
            put_text(command, out);
        }
        out.push_str("}\n");
    }

    fn event(&mut self, event: &Event, out: &mut String) {
        match event.stream {
            Stream::Output => self.shown(0, event, out),
            Stream::Error => self.shown(1, event, out),
            Stream::Resize => {
                let (columns, rows) = event.size().unwrap_or((80, 24));
                self.line(event.offset_us, 'r', &format!("{columns}x{rows}"), out);
            }
            Stream::Notice => {
                self.line(event.offset_us, 'm', &String::from_utf8_lossy(&event.bytes), out);
            }
            Stream::Lost => {
                let lost = format!("{} bytes are not recorded here", event.lost_bytes());
                self.line(event.offset_us, 'm', &lost, out);
            }
            Stream::Input | Stream::Asked => {}
        }
    }

    fn shown(&mut self, stream: usize, event: &Event, out: &mut String) {
        let Some(cut) = self.cut.get_mut(stream) else { return };
        let mut bytes = std::mem::take(cut);
        bytes.extend_from_slice(&event.bytes);
        let keep = bytes.len() - unfinished(&bytes);
        *cut = bytes.split_off(keep);
        let text = String::from_utf8_lossy(&bytes);
        if text.is_empty() {
            return;
        }
        if self.terminal {
            self.line(event.offset_us, 'o', &text, out);
        } else {
            // A player is a terminal: without the return that a terminal adds, lines would be stairs.
            self.line(event.offset_us, 'o', &text.replace('\n', "\r\n"), out);
        }
    }

    fn line(&mut self, offset_us: u64, code: char, text: &str, out: &mut String) {
        let since = offset_us.saturating_sub(self.latest_us);
        self.latest_us = offset_us.max(self.latest_us);
        out.push_str(&format!("[{}.{:06}, \"{code}\", ", since / 1_000_000, since % 1_000_000));
        put_text(text, out);
        out.push_str("]\n");
    }
}

/// How many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    for back in 1..=3.min(bytes.len()) {
        let tail = bytes.get(bytes.len() - back..).unwrap_or_default();
        match tail.first().copied().unwrap_or(0) {
            // Follows something.
            0x80..=0xbf => {}
            _ => {
                let ends_within = std::str::from_utf8(tail).is_err_and(|error| error.error_len().is_none());
                return if ends_within { back } else { 0 };
            }
        }
    }
    0
}

/// A JSON string of printable characters only.
fn put_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || turns(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Characters that are not seen, break lines, or turn the direction of what follows.
fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
