//! Text of others, shown: what programs print, names of files, lines of somebody's `authorized_keys`, what
//! was asked for at a login. Nobody else in this program escapes anything for people to read.

/// `text` on one line, with everything that is no printable ASCII escaped, at most `most` bytes long.
pub fn plain(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
        let mut piece = String::new();
        match c {
            '\\' => piece.push_str("\\\\"),
            c => push(&mut piece, c),
        }
        if out.len() + piece.len() + CUT.len() > most {
            out.push_str(CUT);
            break;
        }
        out.push_str(&piece);
    }
    out
}

/// The value of a field in a line of `field=value`: a word as it is, anything else [`plain`] and in quotes, so
/// that it neither ends nor is taken for a field of its own. At most `most` bytes between the quotes, quotes
/// within not counted twice.
pub fn field(value: &str, most: usize) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || "._:/@+-".contains(c);
    if !value.is_empty() && value.len() <= most && value.chars().all(word) {
        return value.to_owned();
    }
    format!("\"{}\"", plain(value, most).replace('"', "\\\""))
}

/// Lines of ours, with parts of others in them: all that is printed stays in its line but for the ends of lines.
/// What was escaped before is left as it is.
pub fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' { out.push(c) } else { push(&mut out, c) }
    }
    out
}

fn push(out: &mut String, c: char) {
    if c.is_ascii_graphic() || c == ' ' { out.push(c) } else { out.extend(c.escape_default()) }
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
        let hostile = "a\u{1b}[31m\nb \\ ä\u{202e}\u{9b}2J";
        assert_eq!(plain(hostile, 80), "a\\u{1b}[31m\\nb \\\\ \\u{e4}\\u{202e}\\u{9b}2J");
        assert_eq!(plain(" x \n", 80), "x");
        assert_eq!(lines(hostile), "a\\u{1b}[31m\nb \\ \\u{e4}\\u{202e}\\u{9b}2J");
        // Twice is once: what a sentence quotes was escaped when it was made.
        assert_eq!(lines(&plain(hostile, 80)), plain(hostile, 80));
    }

    #[test]
    fn it_is_never_longer_than_allowed_and_says_when_it_was_cut() {
        for most in [3, 4, 10, 255] {
            let text = plain(&"ä".repeat(300), most);
            assert!(text.len() <= most && text.ends_with("..."), "{text}");
        }
        assert_eq!(plain(&"a".repeat(7), 10), "aaaaaaa");
    }

    #[test]
    fn a_field_is_one_word_or_in_quotes_that_it_cannot_leave() {
        assert_eq!(field("db-3.payments.prod", 80), "db-3.payments.prod");
        for (value, shown) in
            [("", "\"\""), ("a b", "\"a b\""), ("a\" b=\"c", "\"a\\\" b=\\\"c\""), ("\\\"", "\"\\\\\\\"\"")]
        {
            assert_eq!(field(value, 80), shown);
        }
    }
}
