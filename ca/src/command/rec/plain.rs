//! What a terminal of ours may be sent of a recording: printable characters, line ends, and SGR, which colours.
//! No title, no clipboard, no keys, no answers, no moves: a recording is hostile, and an auditor's terminal obeys.

/// Escapes a line for a list: nothing in it moves, colours or turns anything.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_plain(c) {
            true => out.push(c),
            false => out.extend(c.escape_unicode()),
        }
    }
    out
}

/// Whether a character is seen, stays where it is, and turns nothing.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// What a player may print of what a screen shows, row by row; takes only what the emulator says that each cell
/// holds, so nothing of the recorded bytes passes.
pub(super) fn rows(screen: &vt100::Screen) -> String {
    let (rows, columns) = screen.size();
    let mut out = String::new();
    for row in 0..rows.get() {
        let mut style = String::new();
        for column in 0..columns.get() {
            let Some(cell) = screen.cell(row, column) else { break };
            if cell.is_wide_continuation() {
                continue;
            }
            let here = sgr(cell);
            if here != style {
                out.push_str("\x1b[0m");
                out.push_str(&here);
                style = here;
            }
            match cell.contents() {
                "" => out.push(' '),
                text => out.push_str(&escaped(text)),
            }
        }
        out.push_str("\x1b[0m\x1b[K\r\n");
    }
    out
}

fn sgr(cell: &vt100::Cell) -> String {
    let mut out = String::new();
    for (is, code) in [(cell.bold(), 1), (cell.italic(), 3), (cell.underline(), 4), (cell.inverse(), 7)] {
        if is {
            out.push_str(&format!("\x1b[{code}m"));
        }
    }
    for (colour, base) in [(cell.fgcolor(), 38), (cell.bgcolor(), 48)] {
        match colour {
            vt100::Color::Default => {}
            vt100::Color::Idx(n) => out.push_str(&format!("\x1b[{base};5;{n}m")),
            vt100::Color::Rgb(r, g, b) => out.push_str(&format!("\x1b[{base};2;{r};{g};{b}m")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use proptest::prelude::*;

    use super::*;

    /// What is left when colours and our own line ends are taken out.
    fn rest(shown: &str) -> String {
        let mut rest = String::new();
        let mut parts = shown.split('\x1b');
        rest.push_str(parts.next().unwrap());
        for part in parts {
            let end = part.find(|c: char| !matches!(c, '[' | ';' | '0'..='9')).unwrap();
            assert!(part.starts_with('[') && matches!(&part[end..=end], "m" | "K"), "{part:?}");
            rest.push_str(&part[end + 1..]);
        }
        rest.replace("\r\n", "")
    }

    #[test]
    fn neither_titles_nor_the_clipboard_nor_questions_pass() {
        let mut parser = vt100::Parser::new(NonZeroU16::new(4).unwrap(), NonZeroU16::new(40).unwrap(), 0);
        parser.process(b"\x1b]0;title\x07\x1b]52;c;c2VjcmV0\x07\x1b[6n\x1b[31mred\x1b[m \x1bP$q\x1b\\ok");
        let shown = rows(parser.screen());
        assert!(rest(&shown).contains("red ok") && shown.contains("\x1b[38;5;1mred"), "{shown:?}");
        assert!(!shown.contains("title") && !shown.contains("c2VjcmV0"), "{shown:?}");
        assert_eq!(escaped("a\x1b[2J\u{202e}b"), "a\\u{1b}[2J\\u{202e}b");
    }

    proptest! {
        #[test]
        fn nothing_but_colours_passes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut parser = vt100::Parser::new(NonZeroU16::new(5).unwrap(), NonZeroU16::new(20).unwrap(), 0);
            parser.process(&bytes);
            prop_assert!(!rest(&rows(parser.screen())).contains(char::is_control));
        }
    }
}
