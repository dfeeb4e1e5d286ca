//! The lines of one recording, chunk by chunk: of its screen, if it had a terminal, else of what went over its plain
//! streams; with what was asked for, and how it ended.

use fireaxe_protocol::recording::{Body, Chunk, Ended, Event, Header, Stream};

use super::screen::Screen;
use super::{LINE, TEXT};

/// A line, and when it was last on the screen, or came by: microseconds since the recording began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at_us: u64,
    /// Its text; what is no UTF-8 stands as U+FFFD.
    pub text: String,
}

/// One recording as text.
#[derive(Default)]
pub struct Text {
    screen: Option<Screen>,
    /// Lines of output, errors and input that have not ended.
    open: [Vec<u8>; 3],
    plain: u64,
    cut: bool,
    latest_us: u64,
    /// Whose.
    pub header: Option<Header>,
    /// What was asked for, whole.
    pub asked: Vec<u8>,
    /// How it ended.
    pub ended: Option<Ended>,
}

impl Text {
    /// Whether a limit was reached: not all lines are given.
    pub fn is_cut(&self) -> bool {
        self.cut || self.screen.as_ref().is_some_and(Screen::is_cut)
    }

    /// What its terminal shows now; nothing: it has none.
    pub fn screen(&self) -> Option<&Screen> {
        self.screen.as_ref()
    }

    /// Takes the next chunk; `out` gets lines. Of one that is sealed there are none.
    pub fn chunk(&mut self, chunk: &Chunk, out: &mut Vec<Line>) {
        match &chunk.body {
            Body::Header(header) => {
                let size = header.terminal.as_ref();
                self.screen = size.map(|size| Screen::new(size.columns, size.rows));
                self.asked = header.asked.clone().unwrap_or_default().into_bytes();
                self.header = Some((**header).clone());
            }
            Body::Data(events) => events.iter().for_each(|event| self.event(event, out)),
            Body::Sealed(_) => {}
            Body::End(end) => {
                self.ended = Some(end.how);
                self.latest_us = end.offset_us;
            }
        }
    }

    /// Gives what is left; called once, at the end.
    pub fn finish(&mut self, out: &mut Vec<Line>) {
        if let Some(screen) = &mut self.screen {
            screen.end(self.latest_us, out);
        }
        for stream in 0..3 {
            self.line(stream, self.latest_us, out);
        }
        let asked = String::from_utf8_lossy(&self.asked).into_owned();
        for line in asked.lines().filter(|line| !line.trim().is_empty()) {
            pieces(line, 0, out);
        }
    }

    fn event(&mut self, event: &Event, out: &mut Vec<Line>) {
        self.latest_us = event.offset_us;
        match (event.stream, &mut self.screen) {
            (Stream::Output, Some(screen)) => screen.feed(event.offset_us, &event.bytes, out),
            (Stream::Resize, Some(screen)) => {
                let (columns, rows) = event.size().unwrap_or((80, 24));
                screen.resize(event.offset_us, columns, rows, out);
            }
            (Stream::Output, None) => self.came(0, event, out),
            (Stream::Error, _) => self.came(1, event, out),
            (Stream::Input, _) => self.came(2, event, out),
            (Stream::Asked, _) => {
                // The header of one that is in clear holds its beginning.
                if event.offset_us == 0 && self.header.as_ref().is_some_and(|header| header.asked.is_some()) {
                    self.asked.clear();
                    if let Some(header) = &mut self.header {
                        header.asked = None;
                    }
                }
                self.asked.extend_from_slice(&event.bytes);
            }
            (Stream::Resize, None) | (Stream::Notice | Stream::Lost, _) => {}
        }
    }

    fn came(&mut self, stream: usize, event: &Event, out: &mut Vec<Line>) {
        self.plain += event.bytes.len() as u64;
        if self.plain > TEXT {
            self.cut = true;
            return;
        }
        for part in event.bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(open) = self.open.get_mut(stream) else { return };
            open.extend_from_slice(part);
            if part.ends_with(b"\n") || open.len() > LINE {
                self.line(stream, event.offset_us, out);
            }
        }
    }

    fn line(&mut self, stream: usize, at_us: u64, out: &mut Vec<Line>) {
        let open = self.open.get_mut(stream).map(std::mem::take).unwrap_or_default();
        let text = String::from_utf8_lossy(&open);
        if !text.trim().is_empty() {
            pieces(text.trim_end(), at_us, out);
        }
    }
}

/// A line as one or several of at most [`LINE`] bytes.
fn pieces(text: &str, at_us: u64, out: &mut Vec<Line>) {
    let mut rest = text;
    while !rest.is_empty() {
        let mut at = LINE.min(rest.len());
        while !rest.is_char_boundary(at) {
            at -= 1;
        }
        let (piece, more) = rest.split_at(at);
        out.push(Line { at_us, text: piece.to_owned() });
        rest = more;
    }
}
