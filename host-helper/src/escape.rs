//! Text of others, shown: what programs print, names of files, lines of somebody's `authorized_keys`.

/// `text` on one line, with everything that is no printable ASCII escaped, at most `most` bytes long.
pub fn plain(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
        let mut piece = String::new();
        match c {
            '\\' => piece.push_str("\\\\"),
            c if c.is_ascii_graphic() || c == ' ' => piece.push(c),
            c => piece.extend(c.escape_default()),
        }
        if out.len() + piece.len() + CUT.len() > most {
            out.push_str(CUT);
            break;
        }
        out.push_str(&piece);
    }
    out
}

/// How much of what a program said is repeated. Bytes.
pub const SAID: usize = 500;

/// What stands where text was cut.
const CUT: &str = "...";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_could_move_its_cursor() {
        assert_eq!(plain("a\u{1b}[31m\nb \\ ä\u{202e}", 80), "a\\u{1b}[31m\\nb \\\\ \\u{e4}\\u{202e}");
        assert_eq!(plain(" x \n", 80), "x");
    }

    #[test]
    fn it_is_never_longer_than_allowed_and_says_when_it_was_cut() {
        for most in [3, 4, 10, 255] {
            let text = plain(&"ä".repeat(300), most);
            assert!(text.len() <= most && text.ends_with("..."), "{text}");
        }
        assert_eq!(plain(&"a".repeat(7), 10), "aaaaaaa");
    }
}
