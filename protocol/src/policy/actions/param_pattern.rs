//! What a parameter of an action may be: the policy's pattern, matched whole, in time linear in the value.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

use crate::limits;
use crate::shell::is_printable;

/// What a parameter may be: a regular expression over ASCII that must match the whole value, in time linear
/// in the value's length.
#[derive(Clone)]
pub struct ParamPattern {
    text: String,
    whole: Regex,
}

impl ParamPattern {
    /// Reads a pattern; says why not.
    pub(in crate::policy) fn parse(text: &str) -> Result<ParamPattern, String> {
        if text.is_empty() || text.len() > limits::PATTERN || !is_printable(text) {
            return Err(format!("1 to {} printable ASCII characters are expected", limits::PATTERN));
        }
        if let Some(flag) = forbidden_flag(text) {
            return Err(format!("the flag `{flag}` is not taken: patterns are ASCII and say what they mean"));
        }
        // Alone first: what is not a whole expression by itself could close the group that anchors it.
        compile(text)?;
        Ok(ParamPattern { text: text.to_owned(), whole: compile(&format!(r"\A(?:{text})\z"))? })
    }

    /// As the policy spells it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Why it does not take `value`.
    pub(in crate::policy) fn refuses(&self, value: &str) -> Option<String> {
        if value.is_empty() || value.len() > limits::PARAM {
            return Some(format!("has {} bytes; 1 to {} are taken", value.len(), limits::PARAM));
        }
        (!self.whole.is_match(value.as_bytes())).then(|| format!("is not {}", self.text))
    }
}

impl fmt::Debug for ParamPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

/// Two patterns are the same when they are spelled the same.
impl PartialEq for ParamPattern {
    fn eq(&self, other: &ParamPattern) -> bool {
        self.text == other.text
    }
}

impl Eq for ParamPattern {}

fn compile(text: &str) -> Result<Regex, String> {
    // Bytes and no Unicode: `\d` is ten digits, and which tables were compiled in does not matter.
    let built = RegexBuilder::new(text)
        .unicode(false)
        .size_limit(limits::PATTERN_PROGRAM)
        .dfa_size_limit(limits::PATTERN_PROGRAM)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "it is too large for a parameter".to_owned(),
        // Several lines with a caret under the place: the last one says what is wrong.
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        }
    })
}

/// `u` would bring in Unicode, `x` makes blanks and `#` mean nothing: either in `(?flags` is not taken.
fn forbidden_flag(text: &str) -> Option<char> {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '(']) {
        let after = rest.get(at..).unwrap_or_default();
        if after.starts_with('\\') {
            rest = after.get(2..).unwrap_or_default();
        } else {
            rest = after.get(1..).unwrap_or_default();
            let flags = rest.strip_prefix('?').unwrap_or_default();
            let mut flags = flags.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '-');
            if let Some(flag) = flags.find(|flag| matches!(flag, 'u' | 'x')) {
                return Some(flag);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(pattern: &str, value: &str) -> bool {
        ParamPattern::parse(pattern).unwrap().refuses(value).is_none()
    }

    #[test]
    fn a_pattern_matches_the_whole_value_or_not_at_all() {
        assert!(takes("[0-9]{1,3}", "12") && takes("[0-9]{1,3}", "123"));
        for value in ["12; reboot", "12\n", "\n12", "1234", "x12", "12x", "", " 12", "12 ", "12\0", "１２"]
        {
            assert!(!takes("[0-9]{1,3}", value), "{value:?}");
        }
        // The whole, also where a shorter alternative comes first, lines have ends, or the author anchored.
        assert!(takes("a|ab", "ab") && takes("^[0-9]+$", "12") && takes("(?i)abc", "ABC"));
        for (pattern, value) in [("a|ab", "abc"), ("a|b", "ab"), ("(?m)^12$", "12\nreboot"), ("12$", "12\n")]
        {
            assert!(!takes(pattern, value), "{pattern} {value:?}");
        }
    }

    #[test]
    fn a_digit_is_one_of_ten_and_a_dot_is_one_byte() {
        assert!(takes(r"\d", "7") && !takes(r"\d", "٧") && !takes(r"\w", "é"));
        assert!(!takes(".", "é") && takes("..", "é"));
    }

    #[test]
    fn what_is_no_whole_pattern_is_refused_with_a_reason() {
        for (pattern, says) in [
            ("[0-9", "unclosed character class"),
            ("a)|(?:b", "unopened group"),
            ("(a", "unclosed group"),
            ("a\\", "incomplete escape"),
            (r"\p{L}", "Unicode not allowed here"),
            ("(?=a)", "look-around"),
            (r"(a)\1", "backreferences are not supported"),
            ("(?u)a", "flag `u`"),
            ("(?i-u:a)", "flag `u`"),
            ("(?x)a #", "flag `x`"),
            (r"\\(?u:a)", "flag `u`"),
            ("é", "printable ASCII"),
            ("a\n", "printable ASCII"),
            ("", "1 to 200"),
            ("(a{100}){100}{100}", "too large"),
        ] {
            let why = ParamPattern::parse(pattern).unwrap_err();
            assert!(why.contains(says), "{pattern}: {why}");
            assert!(!why.contains('\n'));
        }
        assert!(ParamPattern::parse(r"\(?u").is_ok() && ParamPattern::parse("(?P<u>a)").is_ok());
    }

    #[test]
    fn limits_are_taken_at_the_limit_and_not_one_past_it() {
        let of = |n: usize| ParamPattern::parse(&"a".repeat(n));
        assert!(of(limits::PATTERN).is_ok() && of(limits::PATTERN + 1).is_err());
        let (at, past) = ("a".repeat(limits::PARAM), "a".repeat(limits::PARAM + 1));
        assert!(takes("a*", &at) && !takes("a*", &past));
        // The largest that an honest policy writes.
        assert!(takes("[A-Za-z0-9._:/@+=,-]{1,253}", &at));
    }
}
