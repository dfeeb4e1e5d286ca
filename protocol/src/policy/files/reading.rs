//! Strict reading of TOML: every value has its place, every key must be known, and one mistake does not
//! hide the next. Knows nothing of policies; `policy_file` and `roster_file` say which keys there are.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use crate::names::shown;
use crate::policy::finding::{At, Finding, meant};

/// One file being read, and what was found wrong so far.
pub(in crate::policy) struct Reading<'t> {
    file: &'static str,
    text: &'t str,
    lines: Vec<usize>,
    findings: RefCell<Vec<Finding>>,
}

impl<'t> Reading<'t> {
    pub(in crate::policy) fn new(file: &'static str, text: &'t str) -> Reading<'t> {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Reading { file, text, lines, findings: RefCell::default() }
    }

    /// The whole file as TOML; `None` when it is not TOML, with every syntax error found.
    pub(in crate::policy) fn document(&self) -> Option<Spanned<DeTable<'t>>> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let place = self.at(error.span().unwrap_or(0..0), ());
            self.add(&place, "toml.syntax", first_line(error.message()), None);
        }
        errors.is_empty().then_some(document)
    }

    pub(in crate::policy) fn add(
        &self,
        at: &At<impl Sized>,
        code: &'static str,
        message: String,
        help: Option<String>,
    ) {
        self.findings.borrow_mut().push(at.finding(self.file, code, message, help));
    }

    /// Whether nothing was found wrong so far.
    pub(in crate::policy) fn is_clean(&self) -> bool {
        self.findings.borrow().is_empty()
    }

    pub(in crate::policy) fn into_findings(self) -> Vec<Finding> {
        self.findings.into_inner()
    }

    /// `value` with the line and column of the first byte of `span`.
    pub(in crate::policy) fn at<T>(&self, span: Range<usize>, value: T) -> At<T> {
        let line = self.lines.partition_point(|start| *start <= span.start).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..span.start).map_or(0, |before| before.chars().count()) + 1;
        At {
            value,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect()
}

/// A table being read: which keys have been asked for, so that the rest can be called unknown.
pub(in crate::policy) struct Table<'r, 't> {
    reading: &'r Reading<'t>,
    table: &'r DeTable<'t>,
    place: At<()>,
    what: String,
    known: Vec<&'static str>,
}

/// One value and where it stands.
#[derive(Clone)]
pub(in crate::policy) struct Value<'r, 't> {
    reading: &'r Reading<'t>,
    value: &'r DeValue<'t>,
    pub(in crate::policy) place: At<()>,
    what: String,
}

/// One named part of a table of tables, `[tier.look]`: its name's text, where the name stands, its value.
pub(in crate::policy) type Part<'r, 't> = (At<&'r str>, Value<'r, 't>);

impl<'r, 't> Table<'r, 't> {
    pub(in crate::policy) fn root(
        reading: &'r Reading<'t>,
        document: &'r Spanned<DeTable<'t>>,
    ) -> Table<'r, 't> {
        Table {
            reading,
            table: document.get_ref(),
            place: reading.at(0..0, ()),
            what: "the file".into(),
            known: vec![],
        }
    }

    pub(in crate::policy) fn place(&self) -> At<()> {
        self.place
    }

    /// The value of `key`, if it is there.
    pub(in crate::policy) fn may(&mut self, key: &'static str) -> Option<Value<'r, 't>> {
        self.known.push(key);
        let (name, value) = self.table.get_key_value(key)?;
        Some(self.value(name, value, key))
    }

    /// The value of `key`; missing is a finding.
    pub(in crate::policy) fn must(&mut self, key: &'static str) -> Option<Value<'r, 't>> {
        let value = self.may(key);
        if value.is_none() {
            let message = format!("{} has no `{key}`", self.what);
            self.reading.add(&self.place, "key.missing", message, None);
        }
        value
    }

    /// All keys, for tables whose keys are names that the file itself gives.
    /// Something is wrong with the table's own name.
    pub(in crate::policy) fn wrong(&self, name: &At<impl Sized>, message: &str) {
        self.reading.add(name, "value.invalid", message.to_owned(), None);
    }

    pub(in crate::policy) fn parts(&self) -> Vec<Part<'r, 't>> {
        let parts = self.table.iter().map(|(name, value)| {
            let text: &'r str = name.get_ref();
            (self.reading.at(name.span(), text), self.value(name, value, text))
        });
        let mut parts: Vec<Part<'r, 't>> = parts.collect();
        parts.sort_by_key(|(name, _)| (name.line, name.column));
        parts
    }

    fn value(
        &self,
        name: &Spanned<std::borrow::Cow<'t, str>>,
        value: &'r Spanned<DeValue<'t>>,
        key: &str,
    ) -> Value<'r, 't> {
        // An inline value points at itself; a `[table]` at its name, which is where a reader looks.
        let span = if value.get_ref().is_table() { name.span() } else { value.span() };
        let what = if self.what == "the file" {
            format!("`{}`", plain(key))
        } else {
            format!("{}`{}`", self.what.trim_end_matches('`').to_owned() + ".", plain(key)).replace(".`", ".")
        };
        Value { reading: self.reading, value: value.get_ref(), place: self.reading.at(span, ()), what }
    }

    /// Every key that nobody asked for is a mistake.
    pub(in crate::policy) fn finish(self) {
        for name in self.table.keys() {
            let text: &str = name.get_ref();
            if !self.known.contains(&text) {
                let place = self.reading.at(name.span(), ());
                let help = meant(text, self.known.iter().copied());
                let message = format!("{} has no key {}", self.what, shown(text));
                self.reading.add(&place, "key.unknown", message, help);
            }
        }
    }
}

fn plain(key: &str) -> String {
    shown(key).trim_matches('"').to_owned()
}

impl<'r, 't> Value<'r, 't> {
    pub(in crate::policy) fn wrong(&self, message: impl Display, help: Option<String>) {
        self.reading.add(&self.place, "value.invalid", format!("{}: {message}", self.what), help);
    }

    pub(in crate::policy) fn finding(&self, code: &'static str, message: impl Display, help: Option<String>) {
        self.reading.add(&self.place, code, format!("{}: {message}", self.what), help);
    }

    fn expected(&self, what: &str) {
        self.wrong(format_args!("{what} is expected, this is a {}", self.value.type_str()), None);
    }

    pub(in crate::policy) fn table(&self) -> Option<Table<'r, 't>> {
        let Some(table) = self.value.as_table() else {
            self.expected("a table");
            return None;
        };
        Some(Table {
            reading: self.reading,
            table,
            place: self.place,
            what: self.what.clone(),
            known: vec![],
        })
    }

    pub(in crate::policy) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(in crate::policy) fn is_boolean(&self) -> bool {
        self.value.is_bool()
    }

    pub(in crate::policy) fn is_array(&self) -> bool {
        self.value.is_array()
    }

    pub(in crate::policy) fn array(&self) -> Option<Vec<Value<'r, 't>>> {
        let Some(array) = self.value.as_array() else {
            self.expected("a list");
            return None;
        };
        let each = array.iter().map(|item| Value {
            reading: self.reading,
            value: item.get_ref(),
            place: self.reading.at(item.span(), ()),
            what: self.what.clone(),
        });
        Some(each.collect())
    }

    pub(in crate::policy) fn text(&self) -> Option<&'r str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.expected("a text in quotes");
        }
        text
    }

    /// A text that must not be empty and must be fit to print.
    pub(in crate::policy) fn sentence(&self) -> Option<String> {
        let text = self.text()?;
        if text.trim().is_empty() || text.len() > 200 || text.chars().any(char::is_control) {
            self.wrong("1 to 200 bytes of text without control characters are expected", None);
            return None;
        }
        Some(text.to_owned())
    }

    /// A text that is a name: anything that reads itself and says why not.
    pub(in crate::policy) fn name<T: FromStr<Err: Display>>(&self) -> Option<At<T>> {
        match self.text()?.parse() {
            Ok(name) => Some(self.place.with(name)),
            Err(error) => {
                self.wrong(error, None);
                None
            }
        }
    }

    /// One of a few fixed words.
    pub(in crate::policy) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let help = meant(text, words.iter().map(|(word, _)| *word));
        self.wrong(format_args!("{} is not one of the words it may be", shown(text)), help);
        None
    }

    pub(in crate::policy) fn boolean(&self) -> Option<bool> {
        let value = self.value.as_bool();
        if value.is_none() {
            self.expected("true or false");
        }
        value
    }

    pub(in crate::policy) fn number(&self, range: RangeInclusive<u8>) -> Option<u8> {
        let Some(integer) = self.value.as_integer() else {
            self.expected("a number");
            return None;
        };
        match u8::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let (low, high) = range.into_inner();
                self.wrong(format_args!("{integer} is not from {low} to {high}"), None);
                None
            }
        }
    }

    /// `90s`, `30m`, `4h`, `2d`: seconds.
    pub(in crate::policy) fn duration(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let text = self.text()?;
        match seconds(text) {
            Some(s) if range.contains(&s) => Some(s),
            Some(_) => {
                let (low, high) = (span(*range.start()), span(*range.end()));
                self.wrong(format_args!("{} is not from {low} to {high}", shown(text)), None);
                None
            }
            None => {
                let help = Some("a number and s, m, h or d: \"90s\", \"30m\", \"4h\"".to_owned());
                self.wrong(format_args!("{} is not a duration", shown(text)), help);
                None
            }
        }
    }

    pub(in crate::policy) fn date(&self) -> Option<&'r Datetime> {
        let date = self.value.as_datetime();
        if date.is_none() {
            self.wrong("a date without quotes is expected", Some("e.g. 2027-01-31".into()));
        }
        date
    }

    /// A list whose members `read` reads; repeated members are a finding.
    pub(in crate::policy) fn list<T: PartialEq>(
        &self,
        read: impl Fn(&Value<'r, 't>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut out: Vec<T> = Vec::new();
        let mut whole = true;
        for item in self.array()? {
            match read(&item) {
                Some(value) if out.contains(&value) => {
                    item.finding("value.repeated", "this stands in the list already", None);
                    whole = false;
                }
                Some(value) => out.push(value),
                None => whole = false,
            }
        }
        whole.then_some(out)
    }

    /// Like [`Value::list`], and the list may not be empty.
    pub(in crate::policy) fn some<T: PartialEq>(
        &self,
        read: impl Fn(&Value<'r, 't>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let list = self.list(read)?;
        if list.is_empty() {
            self.wrong("the list is empty", None);
            return None;
        }
        Some(list)
    }

    pub(in crate::policy) fn names<T: FromStr<Err: Display> + PartialEq>(&self) -> Option<Vec<At<T>>> {
        let names: Vec<At<T>> = self.some(|item| item.name())?;
        let mut whole = true;
        for (n, name) in names.iter().enumerate() {
            if names.iter().take(n).any(|earlier| earlier.value == name.value) {
                let message = format!("{}: this stands in the list already", self.what);
                self.reading.add(name, "value.repeated", message, None);
                whole = false;
            }
        }
        whole.then_some(names)
    }
}

/// `90s`, `30m`, `4h`, `2d` in seconds. One spelling a unit; no sign, no fraction, no blanks.
pub(in crate::policy) fn seconds(text: &str) -> Option<u32> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = text.get(..text.len() - 1)?;
    if digits.is_empty()
        || digits.starts_with('0') && digits != "0"
        || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    digits.parse::<u32>().ok()?.checked_mul(unit)
}

/// Seconds as people say them: `45m`, `90s`, `8h`.
pub(in crate::policy) fn span(seconds: u32) -> String {
    match seconds {
        s if s > 0 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s > 0 && s % 3600 == 0 => format!("{}h", s / 3600),
        s if s > 0 && s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_spelling_and_survive_being_shown() {
        for text in ["90s", "30m", "4h", "2d", "0s"] {
            assert_eq!(seconds(text).map(span).as_deref(), Some(text));
        }
        for text in ["", "m", "30", "-3m", "+3m", "03m", "3.5h", "3 m", "99999999d", "3m "] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let reading = Reading::new("policy.toml", "a = 1\nö = 2\n");
        let at = |start| {
            let place = reading.at(start..start, ());
            (place.line, place.column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(6), (2, 1));
        assert_eq!(at(8), (2, 2));
        assert_eq!(at(9999), (3, 1));
    }
}
