//! Words on their way through a shell. sshd hands a forced command to `$SHELL -c`, and which shell that is
//! the account decides: so what the policy wrote is quoted in the one way that all shells read alike, and
//! what a person filled in is of letters that no shell reads otherwise.

/// Whether every shell reads each of these characters as itself, within a word: letters, digits and
/// `. _ : / @ + = , -`.
pub(crate) fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/@+=,-".contains(&b))
}

/// What [`is_plain`] takes, for people.
pub(crate) const PLAIN: &str = "letters, digits and . _ : / @ + = , -";

/// Whether `word` is fit for a command line of ours at all: printable ASCII.
pub(crate) fn is_printable(word: &str) -> bool {
    word.bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// A word of printable ASCII as every shell reads it back unchanged.
///
/// Single quotes, from which three characters are taken out because shells disagree on them there: the quote
/// itself, `!` (csh calls up its history), and a `\` that fish would take for an escape. A word with `=` is
/// quoted although it is plain: zsh looks up `=name`, and with an option of its own `a==name` too.
pub(crate) fn quoted(word: &str) -> String {
    if !word.is_empty() && is_plain(word) && !word.contains('=') {
        return word.to_owned();
    }
    let mut out = String::from("'");
    let mut rest = word.chars().peekable();
    while let Some(c) = rest.next() {
        let escape = c == '\\' && rest.peek().is_none_or(|next| matches!(next, '\\' | '\'' | '!'));
        if escape || matches!(c, '\'' | '!') {
            out.extend(['\'', '\\', c, '\'']);
        } else {
            out.push(c);
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_quotes_has_none() {
        for (word, expected) in [
            ("/usr/bin/uptime", "/usr/bin/uptime"),
            ("payments@12", "payments@12"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("%s\\n", r"'%s\n'"),
            ("a\\", r"'a'\\''"),
            ("hey!", r"'hey'\!''"),
            ("=ls", "'=ls'"),
            ("--sort=-pcpu", "'--sort=-pcpu'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
