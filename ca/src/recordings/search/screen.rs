//! What a terminal showed: every line that stood on it, with the time it last did.
//!
//! The emulator is asked what stands where before anything is drawn over, moved or erased: before each control
//! sequence but colours, before a return or a step back that is followed by more, and whenever as much was printed as
//! the screen holds. So a line cannot come and go between two looks. Now and then the whole screen is read;
//! what is on it no more has gone, and is given out. A line that only grew, as one that is typed does, is given once.
//!
//! Programs are hostile: what they can cost is counted ([`super::CELLS`], [`super::FED`], [`super::TEXT`]),
//! and an emulator that fails ends the reading of that recording, not of the others.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::text::Line;
use super::{CELLS, COLUMNS, FED, ROWS, TEXT};

/// Between two looks at the whole screen, microseconds: as exact as a line's time is.
const WHOLE_US: u64 = 250_000;
/// Lines remembered between two looks at the whole screen.
const REMEMBERED: usize = 2000;

/// A terminal, and what stood on it.
pub struct Screen {
    parser: vt100::Parser,
    columns: u16,
    rows: u16,
    /// Lines that stand on it or did since the last whole look, with when they were last seen.
    seen: HashMap<String, u64>,
    /// The line that the cursor was on at the last look, while nothing but text followed.
    growing: Option<String>,
    /// Cells that may have been printed since the last look.
    printed: u64,
    /// Whether anything that can be seen was.
    dirty: bool,
    whole_at: u64,
    now: u64,
    fed: u64,
    cells: u64,
    given: u64,
    cut: bool,
}

impl Screen {
    /// An empty one; more columns and rows than are emulated are not.
    pub fn new(columns: u16, rows: u16) -> Screen {
        let (columns, rows) = (columns.clamp(1, COLUMNS), rows.clamp(1, ROWS));
        Screen {
            parser: vt100::Parser::new(nonzero(rows), nonzero(columns), 0),
            columns,
            rows,
            seen: HashMap::new(),
            growing: None,
            printed: 0,
            dirty: false,
            whole_at: 0,
            now: 0,
            fed: 0,
            cells: 0,
            given: 0,
            cut: false,
        }
    }

    /// Whether a limit was reached, or the emulator failed: what came after is not in its lines.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// What it shows now, as text.
    pub fn shows(&self) -> String {
        self.parser.screen().contents()
    }

    /// Takes output; `out` gets the lines that have gone.
    pub fn feed(&mut self, offset_us: u64, bytes: &[u8], out: &mut Vec<Line>) {
        if self.cut {
            return;
        }
        self.fed += bytes.len() as u64;
        if self.fed > FED {
            self.cut = true;
            return;
        }
        if self.dirty {
            self.look(out);
        }
        self.now = offset_us;
        let full = u64::from(self.columns) * u64::from(self.rows.saturating_sub(1).max(1));
        let mut from = 0;
        for (n, byte) in bytes.iter().enumerate() {
            let rest = bytes.get(n..).unwrap_or_default();
            if draws_over(rest) {
                if self.dirty {
                    self.process(bytes.get(from..n).unwrap_or_default());
                    from = n;
                    self.look(out);
                }
                // What is longer from here on is another line.
                self.growing = None;
            }
            match byte {
                b'\n' | 0x0b | 0x0c | 0x1b => self.printed += u64::from(self.columns),
                b'\t' => self.printed += 8,
                0x20.. => {
                    self.printed += 1;
                    self.dirty = true;
                }
                _ => {}
            }
            if self.printed >= full {
                self.process(bytes.get(from..=n).unwrap_or_default());
                from = n + 1;
                self.look(out);
            }
            if self.cut {
                return;
            }
        }
        self.process(bytes.get(from..).unwrap_or_default());
        if self.now.saturating_sub(self.whole_at) >= WHOLE_US {
            self.whole(out);
        }
    }

    /// The terminal has another size.
    pub fn resize(&mut self, offset_us: u64, columns: u16, rows: u16, out: &mut Vec<Line>) {
        self.whole(out);
        self.now = offset_us;
        let (columns, rows) = (columns.clamp(1, COLUMNS), rows.clamp(1, ROWS));
        let parser = &mut self.parser;
        let sized =
            catch_unwind(AssertUnwindSafe(|| parser.screen_mut().set_size(nonzero(rows), nonzero(columns))));
        (self.columns, self.rows) = (columns, rows);
        self.cut |= sized.is_err();
    }

    /// Gives the rest: what stands there at the end, too.
    pub fn end(&mut self, offset_us: u64, out: &mut Vec<Line>) {
        self.now = self.now.max(offset_us);
        self.whole(out);
        let mut left: Vec<(String, u64)> = self.seen.drain().collect();
        // As it stood there: the order in which lines are found is not that of a hash.
        left.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        for (text, at_us) in left {
            self.give(text, at_us, out);
        }
    }

    fn process(&mut self, bytes: &[u8]) {
        let parser = &mut self.parser;
        // Of what the emulator leaves behind when it fails, nothing is used any more.
        let done = catch_unwind(AssertUnwindSafe(|| parser.process(bytes)));
        self.cut |= done.is_err();
    }

    /// Reads the lines that were printed to since the last look.
    fn look(&mut self, out: &mut Vec<Line>) {
        let (cursor, _) = self.parser.screen().cursor_position();
        let up = u16::try_from(self.printed / u64::from(self.columns) + 1).unwrap_or(u16::MAX);
        let (from, to) = (cursor.saturating_sub(up), cursor.min(self.rows.saturating_sub(1)));
        let lines = self.lines(from, to);
        self.grew(&lines);
        for line in lines {
            self.seen.insert(line, self.now);
        }
        self.printed = 0;
        self.dirty = false;
        if self.seen.len() > REMEMBERED {
            self.whole(out);
        }
    }

    /// Reads the whole screen, and gives out what is on it no more.
    fn whole(&mut self, out: &mut Vec<Line>) {
        if self.cut {
            return;
        }
        let lines = self.lines(0, self.rows.saturating_sub(1));
        self.grew(&lines);
        let there: BTreeSet<String> = lines.into_iter().collect();
        let no_more = self.seen.iter().filter(|(text, _)| !there.contains(*text));
        let mut gone: Vec<(String, u64)> = no_more.map(|(text, at_us)| (text.clone(), *at_us)).collect();
        gone.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        for (text, at_us) in gone {
            self.seen.remove(&text);
            self.give(text, at_us, out);
        }
        for text in there {
            self.seen.insert(text, self.now);
        }
        self.whole_at = self.now;
        self.printed = 0;
        self.dirty = false;
    }

    /// A line that only grew since the last look is remembered once, whole.
    fn grew(&mut self, lines: &[String]) {
        let before = self.growing.take();
        let grown = before.as_ref().filter(|before| {
            !lines.contains(before) && lines.iter().any(|line| line.starts_with(before.as_str()))
        });
        if let Some(before) = grown {
            self.seen.remove(before);
        }
        let (cursor, _) = self.parser.screen().cursor_position();
        let row = cursor.min(self.rows.saturating_sub(1));
        let line = self.lines(row, row).pop();
        // One that stood elsewhere in the same words stays, whatever becomes of this.
        self.growing = line.filter(|line| before.as_ref() == Some(line) || !self.seen.contains_key(line));
    }

    fn give(&mut self, text: String, at_us: u64, out: &mut Vec<Line>) {
        self.given += text.len() as u64;
        if self.given > TEXT {
            self.cut = true;
            return;
        }
        out.push(Line { at_us, text });
    }

    /// What stands on these rows, each with those that it was wrapped from and into. Empty ones are none.
    fn lines(&mut self, from: u16, to: u16) -> Vec<String> {
        let screen = self.parser.screen();
        let (mut from, mut to) = (from, to);
        while from > 0 && screen.row_wrapped(from - 1) {
            from -= 1;
        }
        while to + 1 < self.rows && screen.row_wrapped(to) {
            to += 1;
        }
        let (mut lines, mut line) = (Vec::new(), String::new());
        for row in from..=to {
            for column in 0..self.columns {
                let Some(cell) = screen.cell(row, column) else { break };
                if cell.is_wide_continuation() {
                    continue;
                }
                match cell.contents() {
                    "" => line.push(' '),
                    text => line.push_str(text),
                }
            }
            if !screen.row_wrapped(row) || row == to {
                let text = line.trim_end();
                if !text.trim_start().is_empty() {
                    lines.push(text.to_owned());
                }
                line.clear();
            }
        }
        self.cells += u64::from(self.columns) * u64::from(to.saturating_sub(from) + 1);
        self.cut |= self.cells > CELLS;
        lines
    }
}

/// Whether what begins here may change what stands on the screen: anything but text, line ends and colours.
fn draws_over(rest: &[u8]) -> bool {
    match rest {
        [b'\r', next, ..] => !matches!(next, b'\n' | b'\r'),
        [0x08, ..] => true,
        [0x1b, b'[', parameters @ ..] => {
            let end = parameters.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'));
            end.and_then(|end| parameters.get(end)) != Some(&b'm')
        }
        [0x1b, ..] => true,
        _ => false,
    }
}

fn nonzero(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap_or(NonZeroU16::MIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines_of(columns: u16, rows: u16, pieces: &[(u64, &[u8])]) -> Vec<Line> {
        let (mut screen, mut out) = (Screen::new(columns, rows), Vec::new());
        for (at_us, piece) in pieces {
            screen.feed(*at_us, piece, &mut out);
        }
        screen.end(pieces.last().map_or(0, |piece| piece.0), &mut out);
        assert!(!screen.is_cut());
        out
    }

    fn texts(columns: u16, rows: u16, bytes: &[u8]) -> Vec<String> {
        lines_of(columns, rows, &[(1, bytes)]).into_iter().map(|line| line.text).collect()
    }

    fn has(texts: &[String], text: &str) -> bool {
        texts.iter().any(|line| line == text)
    }

    #[test]
    fn whatever_scrolled_by_is_there_once() {
        let many: String = (0..500).map(|n| format!("line {n}\r\n")).collect();
        let texts = texts(20, 4, many.as_bytes());
        for n in 0..500 {
            assert_eq!(texts.iter().filter(|line| **line == format!("line {n}")).count(), 1, "{n}");
        }
    }

    #[test]
    fn what_is_erased_or_drawn_over_at_once_was_shown() {
        for over in
            ["\x1b[2J", "\x1b[1;1Hxxxxxxxxxx", "\rxxxxxxxxxx", "\x1bc", "\x1b[?1049h", "\x1b[K\r\x1b[K"]
        {
            let texts = texts(20, 4, format!("the marker{over}").as_bytes());
            assert!(has(&texts, "the marker"), "{over:?}: {texts:?}");
        }
        let longer = texts(20, 4, b"line 4\x1b[2J\x1b[Hline 40");
        assert!(has(&longer, "line 4") && has(&longer, "line 40"), "{longer:?}");
        let texts = texts(20, 4, b"secret\x08\x08\x08\x08\x08\x08xxxxxx");
        assert!(has(&texts, "secret") && has(&texts, "xxxxxx"), "{texts:?}");
    }

    #[test]
    fn a_full_screen_program_leaves_each_of_its_pages() {
        let page = |n: u32| format!("\x1b[Hpage {n}\x1b[K\x1b[3;5Hload \x1b[1m{n}{n}\x1b[m\x1b[K");
        let mut pieces: Vec<(u64, String)> = vec![(0, "$ top\r\n\x1b[?1049h\x1b[2J".into())];
        pieces.extend((1..6).map(|n| (u64::from(n) * 1_000_000, page(n))));
        pieces.push((9_000_000, "\x1b[?1049l$ ".into()));
        let pieces: Vec<(u64, &[u8])> = pieces.iter().map(|(at, text)| (*at, text.as_bytes())).collect();
        let lines = lines_of(40, 10, &pieces);
        for n in 1..6 {
            let page = lines.iter().find(|line| line.text == format!("page {n}")).expect("a page");
            assert_eq!(page.at_us / 1_000_000, n, "when it was last there");
            assert!(lines.iter().any(|line| line.text.trim_start() == format!("load {n}{n}")));
        }
        assert!(lines.iter().any(|line| line.text == "$ top" && line.at_us == 9_000_000), "{lines:?}");
    }

    #[test]
    fn a_line_that_is_typed_is_one_and_one_that_wraps_is_whole() {
        let pieces: Vec<(u64, &[u8])> =
            vec![(0, b"$ "), (400_000, b"l"), (800_000, b"s"), (1_200_000, b"\r\n")];
        let typed = lines_of(20, 4, &pieces);
        assert_eq!(typed.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["$ ls"]);
        let long = "systemctl restart payments@7 --no-block";
        assert!(has(&texts(10, 8, long.as_bytes()), long));
    }

    #[test]
    fn wide_characters_and_combining_ones_stay_words() {
        let texts = texts(20, 4, "日本語 ok\r\ncafe\u{301}\r\n".as_bytes());
        assert!(has(&texts, "日本語 ok") && has(&texts, "cafe\u{301}"), "{texts:?}");
    }

    #[test]
    fn a_program_that_costs_too_much_is_cut_and_said_so() {
        let (mut screen, mut out) = (Screen::new(COLUMNS, ROWS), Vec::new());
        screen.cells = CELLS - 10_000;
        for n in 0..1000 {
            screen.feed(n, b"x\x1b[2J", &mut out);
        }
        assert!(screen.is_cut());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_are_rendered_in_any_size(
            pieces in proptest::collection::vec(
                (proptest::collection::vec(prop_oneof![
                    3 => any::<u8>(), 2 => Just(0x1b), 2 => Just(b'['), 1 => Just(b';'), 2 => b'0'..=b'9', 3 => b'@'..=b'~',
                ], 0..200), any::<u16>(), any::<u16>()), 1..6),
        ) {
            let (mut screen, mut out) = (Screen::new(80, 24), Vec::new());
            for (n, (bytes, columns, rows)) in pieces.iter().enumerate() {
                screen.feed(n as u64 * 100_000, bytes, &mut out);
                screen.resize(n as u64 * 100_000, *columns % 90, *rows % 30, &mut out);
            }
            screen.end(9_000_000, &mut out);
            for line in &out {
                prop_assert!(!line.text.contains(char::is_control), "{:?}", line);
            }
        }
    }
}
