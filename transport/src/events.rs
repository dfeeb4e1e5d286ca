//! Server-sent events: one `GET` that goes on answering. Bounded: a line, an event, and how long the
//! connection may be silent; a CA that is there sends a comment line every ten seconds.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use crate::TransportError;

/// How long the stream may be silent before it counts as lost: two keep-alives and a half.
pub(crate) const SILENCE: Duration = Duration::from_secs(25);

/// A stream of events, read one after the other. Ends with its connection.
pub struct Events {
    addr: String,
    lines: BufReader<Box<dyn Read + Send>>,
    longest: u64,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("addr", &self.addr).finish()
    }
}

impl Events {
    /// The longest line, and the longest event, unless the caller takes more. Bytes.
    pub const LONGEST: u64 = 64 * 1024;

    pub(crate) fn new(addr: String, body: Box<dyn Read + Send>, longest: u64) -> Events {
        Events { addr, lines: BufReader::new(body), longest }
    }

    /// The data of the next event; waits for it. `None` when the CA has ended the stream. Comment lines
    /// and fields other than `data` are passed over.
    pub fn next_event(&mut self) -> Result<Option<String>, TransportError> {
        let mut data = String::new();
        let mut begun = false;
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            if line.is_empty() {
                if begun {
                    return Ok(Some(data));
                }
                continue;
            }
            let Some(value) = line.strip_prefix("data:") else { continue };
            if begun {
                data.push('\n');
            }
            begun = true;
            data.push_str(value.strip_prefix(' ').unwrap_or(value));
            if data.len() as u64 > self.longest {
                return Err(self.too_large());
            }
        }
    }

    /// One line without its end; `None` at the end of the stream. A line that was cut off is none.
    fn line(&mut self) -> Result<Option<String>, TransportError> {
        let mut line = Vec::new();
        let read = self
            .lines
            .by_ref()
            .take(self.longest)
            .read_until(b'\n', &mut line)
            .map_err(|e| TransportError::Lost { addr: self.addr.clone(), why: e.to_string() })?;
        if line.pop() != Some(b'\n') {
            return if read as u64 == self.longest { Err(self.too_large()) } else { Ok(None) };
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let text = String::from_utf8(line).map_err(|e| TransportError::Garbage {
            addr: self.addr.clone(),
            status: 200,
            why: e.to_string(),
        })?;
        Ok(Some(text))
    }

    fn too_large(&self) -> TransportError {
        TransportError::TooLarge { addr: self.addr.clone(), limit: self.longest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: impl Into<Vec<u8>>) -> Events {
        within(text, LONGEST)
    }

    fn within(text: impl Into<Vec<u8>>, longest: u64) -> Events {
        Events::new("https://127.0.0.1:1".into(), Box::new(std::io::Cursor::new(text.into())), longest)
    }

    const LONGEST: u64 = Events::LONGEST;

    #[test]
    fn data_is_read_event_by_event_and_comments_are_passed_over() {
        let mut events =
            events(": hello\n\ndata: {\"a\":1}\n\n:\n\nid: 7\nevent: x\ndata:b\r\ndata: c\r\n\r\ndata: cut");
        assert_eq!(events.next_event().unwrap().as_deref(), Some("{\"a\":1}"));
        assert_eq!(events.next_event().unwrap().as_deref(), Some("b\nc"));
        assert_eq!(events.next_event(), Ok(None), "an event that was cut off was taken");
    }

    #[test]
    fn a_line_or_an_event_past_the_limit_is_refused() {
        let at = |n: u64| format!("data:{}\n\n", "x".repeat(usize::try_from(n).unwrap() - 6));
        assert!(events(at(LONGEST)).next_event().is_ok());
        assert!(matches!(events(at(LONGEST + 1)).next_event(), Err(TransportError::TooLarge { .. })));
        assert!(within(at(LONGEST + 1), LONGEST + 1).next_event().is_ok());
        let many = format!("{}\n", "data: xxxxxxxxx\n".repeat(8000));
        assert!(matches!(events(many).next_event(), Err(TransportError::TooLarge { .. })));
        assert!(matches!(events(*b"data: \xff\n\n").next_event(), Err(TransportError::Garbage { .. })));
    }
}
