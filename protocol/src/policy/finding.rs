//! Findings: what is wrong with a bundle, where, and what was probably meant.

use std::fmt;

/// One thing wrong with a bundle. All that can be told at once is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// `policy.toml` or `roster.toml`.
    pub file: &'static str,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Stable, dotted: `key.unknown`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// What was probably meant, or what to do.
    pub help: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { file, line, column, code, message, help } = self;
        write!(f, "{file}:{line}:{column}: {message} [{code}]")?;
        match help {
            Some(help) => write!(f, "\n  hint: {help}"),
            None => Ok(()),
        }
    }
}

/// A value and where the bundle says it, to point at when another part disagrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

impl<T> At<T> {
    /// A finding about this value.
    pub(crate) fn finding(
        &self,
        file: &'static str,
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Finding {
        Finding { file, line: self.line, column: self.column, code, message: message.into(), help }
    }

    /// The same place with another value.
    pub(crate) fn with<U>(&self, value: U) -> At<U> {
        At { value, line: self.line, column: self.column }
    }
}

/// The names most like `name`, best first, at most three; none that is nothing like it.
pub(crate) fn nearest<'a>(name: &str, valid: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut scored: Vec<(f64, &str)> = valid
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(score, _)| *score >= 0.7)
        .collect();
    scored.sort_by(|(a, x), (b, y)| b.total_cmp(a).then(x.cmp(y)));
    scored.into_iter().take(3).map(|(_, candidate)| candidate).collect()
}

/// "did you mean `x`?", or all valid names when none is near and they are few.
pub(crate) fn meant<'a>(name: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let valid: Vec<&str> = valid.into_iter().collect();
    match nearest(name, valid.iter().copied()).first() {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if valid.is_empty() || valid.len() > 16 => None,
        None => Some(format!("known: {}", valid.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_gets_the_name_that_was_meant_and_nonsense_gets_the_list() {
        let valid = ["look", "fix", "guarded"];
        assert_eq!(meant("gaurded", valid).unwrap(), "did you mean `guarded`?");
        assert_eq!(meant("zzzz", valid).unwrap(), "known: look, fix, guarded");
        assert_eq!(nearest("fixx", valid), ["fix"]);
    }
}
