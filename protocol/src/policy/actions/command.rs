//! A command with places to fill in: how its words are read, and what may be filled in.
//!
//! Two locks stand between what a person typed and a shell, and neither trusts the other: the policy's
//! pattern must match the whole value, and the word that comes of it must be of letters that no shell reads
//! otherwise, whatever a careless pattern allows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::host::SessionCommand;
use crate::limits;
use crate::names::{ActionName, shown};
use crate::policy::ParamPattern;
use crate::policy::finding::meant;
use crate::reason::Reason;
use crate::shell::{PLAIN, is_plain, is_printable, quoted};

/// A command with places to fill in, and the pattern of each place. Made only of what can be filled safely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    action: ActionName,
    words: Vec<Word>,
    params: BTreeMap<String, ParamPattern>,
}

/// One word: what the policy wrote, and `{name}` where a parameter goes. `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Param(String),
}

/// What is wrong with an action's command or parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandFault {
    /// Which part of it.
    pub part: CommandPart,
    /// Stable, dotted: `param.pattern`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// What was probably meant, or what to do.
    pub help: Option<String>,
}

/// A part of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandPart {
    /// The command as a whole.
    Command,
    /// A word of it, from 0.
    Word(usize),
    /// A parameter, by name.
    Param(String),
}

impl Command {
    /// Reads the words of a command and the patterns of its parameters. All that is wrong with them.
    pub fn parse(
        action: ActionName,
        words: &[String],
        params: &BTreeMap<String, String>,
    ) -> Result<Command, Vec<CommandFault>> {
        let mut faults = Faults(Vec::new());
        let read: Vec<Word> = words.iter().enumerate().filter_map(|(n, w)| faults.word(n, w)).collect();
        let patterns = faults.params(params);
        if !words.first().is_some_and(|program| program.starts_with('/')) {
            let part = if words.is_empty() { CommandPart::Command } else { CommandPart::Word(0) };
            faults.add(part, "value.invalid", "the first word must be the absolute path of a program");
        }
        let named: BTreeSet<&str> = read.iter().flat_map(Word::params).collect();
        for (n, word) in read.iter().enumerate() {
            for name in word.params().filter(|name| !params.contains_key(*name)) {
                let help = meant(name, params.keys().map(String::as_str));
                let message = format!("`{{{name}}}` is no parameter");
                faults.with_help(CommandPart::Word(n), "param.undefined", message, help);
            }
        }
        if faults.0.is_empty() {
            for name in params.keys().filter(|name| !named.contains(name.as_str())) {
                let part = CommandPart::Param(name.clone());
                faults.add(part, "param.unused", format!("no word holds `{{{name}}}`"));
            }
        }
        let command = Command { action, words: read, params: patterns };
        if command.to_string().len() > limits::FORCE_COMMAND {
            let message = format!("the command is longer than {} bytes", limits::FORCE_COMMAND);
            faults.add(CommandPart::Command, "value.invalid", message);
        }
        if faults.0.is_empty() { Ok(command) } else { Err(faults.0) }
    }

    /// The parameters and their patterns, by name.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.iter().map(|(name, pattern)| (name.as_str(), pattern.as_str()))
    }

    /// The same with `name` for each `{name}`.
    pub(in crate::policy) fn without_params(&self) -> Command {
        let fixed = |piece: &Piece| match piece {
            Piece::Text(text) | Piece::Param(text) => Piece::Text(text.clone()),
        };
        let words = self.words.iter().map(|word| Word(word.0.iter().map(fixed).collect())).collect();
        Command { action: self.action.clone(), words, params: BTreeMap::new() }
    }

    /// The command as a shell gets it, for these parameters. All reasons why not: one that is unknown,
    /// missing or repeated, a value that its pattern or the rule for all values does not take, and a command
    /// above [`limits::FORCE_COMMAND`].
    pub fn fill(&self, given: &[(String, String)]) -> Result<String, Vec<Reason>> {
        let mut reasons = Vec::new();
        let mut values: BTreeMap<&str, &str> = BTreeMap::new();
        let mut wrong: BTreeSet<&str> = BTreeSet::new();
        for (name, value) in given {
            match self.params.get(name) {
                None => {
                    let help = meant(name, self.params.keys().map(String::as_str));
                    let help = help.map(|help| format!("; {help}")).unwrap_or_default();
                    let sentence = format!(
                        "action {} has no parameter {}{help}; {}",
                        self.action,
                        shown(name),
                        self.takes()
                    );
                    reasons.push(Reason::new("param.unknown", sentence));
                }
                Some(pattern) => {
                    if let Some(why) = pattern.refuses(value) {
                        let sentence = format!("parameter {name}: {} {why}", shown(value));
                        reasons.push(Reason::new("param.invalid", sentence));
                        wrong.insert(name);
                    }
                    if values.insert(name, value).is_some() {
                        let sentence = format!("parameter {name} is given more than once");
                        reasons.push(Reason::new("param.repeated", sentence));
                    }
                }
            }
        }
        for name in self.params.keys().filter(|name| !values.contains_key(name.as_str())) {
            let sentence = format!("action {} needs {name}; {}", self.action, self.takes());
            reasons.push(Reason::new("param.missing", sentence));
        }
        let filled = self.words.iter().filter_map(|word| match word.fill(&values)? {
            Ok(filled) => Some(quoted(&filled)),
            Err(sentence) => {
                // A value that its pattern refuses has been told already.
                if !word.params().any(|name| wrong.contains(name)) {
                    reasons.push(Reason::new("param.unsafe", sentence));
                }
                None
            }
        });
        let command = filled.collect::<Vec<_>>().join(" ");
        let forced = SessionCommand::of(Some(&command)).write();
        if command.len() > limits::FORCE_COMMAND || forced.len() > limits::FORCED {
            let sentence = format!(
                "action {} would run a command of {} bytes; at most {} fit into a certificate",
                self.action,
                command.len(),
                limits::FORCE_COMMAND
            );
            reasons.push(Reason::new("action.too_long", sentence));
        }
        if reasons.is_empty() { Ok(command) } else { Err(reasons) }
    }

    /// `it takes shard=[0-9]{1,3}`
    fn takes(&self) -> String {
        let each: Vec<String> = self.params().map(|(name, pattern)| format!("{name}={pattern}")).collect();
        if each.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", each.join(" ")) }
    }
}

/// As the policy wrote it, quoted for a shell, with `{name}` where a parameter goes.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<String> = self.words.iter().map(ToString::to_string).collect();
        f.write_str(&each.join(" "))
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("''"),
            [Piece::Text(text)] => f.write_str(&quoted(text)),
            pieces => pieces.iter().try_for_each(|piece| match piece {
                Piece::Text(text) => f.write_str(text),
                Piece::Param(name) => write!(f, "{{{name}}}"),
            }),
        }
    }
}

impl Word {
    /// `None`: a brace without its other half.
    fn parse(text: &str) -> Option<Word> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '{' | '}' if rest.next_if_eq(&c).is_some() => plain.push(c),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match rest.next()? {
                            '}' => break,
                            '{' => return None,
                            c => name.push(c),
                        }
                    }
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(Piece::Param(name));
                }
                '}' => return None,
                c => plain.push(c),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Some(Word(pieces))
    }

    fn params(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Param(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text that it begins with, before any parameter.
    fn head(&self) -> &str {
        match self.0.first() {
            Some(Piece::Text(text)) => text,
            _ => "",
        }
    }

    /// `None`: a value is missing. `Err`: a sentence on what could be read otherwise than as it stands.
    fn fill(&self, values: &BTreeMap<&str, &str>) -> Option<Result<String, String>> {
        let mut out = String::new();
        for piece in &self.0 {
            out.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Param(name) => values.get(name.as_str())?,
            });
        }
        if self.params().next().is_none() {
            return Some(Ok(out));
        }
        // The rule for all values, whatever their patterns allow.
        let why = if !is_plain(&out) {
            format!("only {PLAIN} reach a shell")
        } else if out.starts_with('=') {
            "a word that begins with '=' is the name of a program to some shells".to_owned()
        } else if out.starts_with('-') && !self.head().starts_with('-') {
            "a word that begins with '-' would be an option".to_owned()
        } else {
            return Some(Ok(out));
        };
        let names: BTreeSet<&str> = self.params().collect();
        let names: Vec<&str> = names.into_iter().collect();
        Some(Err(format!("parameter {}: it would make the word {}; {why}", names.join(", "), shown(&out))))
    }
}

/// What is wrong so far.
struct Faults(Vec<CommandFault>);

impl Faults {
    fn add(&mut self, part: CommandPart, code: &'static str, message: impl Into<String>) {
        self.with_help(part, code, message, None);
    }

    fn with_help(
        &mut self,
        part: CommandPart,
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.0.push(CommandFault { part, code, message: message.into(), help });
    }

    fn word(&mut self, n: usize, text: &str) -> Option<Word> {
        if !is_printable(text) {
            self.add(CommandPart::Word(n), "value.invalid", "only printable ASCII characters are taken");
            return None;
        }
        let Some(word) = Word::parse(text) else {
            let help =
                "`{name}` is a parameter; a brace of your own is written twice, `{{` or `}}`".to_owned();
            let message = "a brace without its other half";
            self.with_help(CommandPart::Word(n), "action.brace", message, Some(help));
            return None;
        };
        if word.params().next().is_some() {
            if n == 0 {
                let message = "the program itself cannot be a parameter";
                self.add(CommandPart::Word(n), "action.program", message);
            }
            let texts = word.0.iter().filter_map(|piece| match piece {
                Piece::Text(text) => Some(text.as_str()),
                Piece::Param(_) => None,
            });
            if word.head().starts_with('=') || !texts.collect::<Vec<_>>().into_iter().all(is_plain) {
                let message =
                    format!("a word with a parameter may hold only {PLAIN}, and does not begin with '='");
                self.add(CommandPart::Word(n), "action.word_unsafe", message);
            }
        }
        Some(word)
    }

    fn params(&mut self, params: &BTreeMap<String, String>) -> BTreeMap<String, ParamPattern> {
        if params.len() > limits::PARAMS {
            let message = format!("at most {} parameters are taken", limits::PARAMS);
            self.add(CommandPart::Command, "value.invalid", message);
        }
        let mut out = BTreeMap::new();
        for (name, pattern) in params {
            let part = CommandPart::Param(name.clone());
            let spelled = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            if name.is_empty() || name.len() > limits::NAME || !name.bytes().all(spelled) {
                let message = format!("a parameter's name is 1 to {} of a-z, 0-9 and _", limits::NAME);
                self.add(part.clone(), "value.invalid", message);
            }
            match ParamPattern::parse(pattern) {
                Ok(pattern) => {
                    out.insert(name.clone(), pattern);
                }
                Err(why) => self.add(part, "param.pattern", format!("not a pattern: {why}")),
            }
        }
        out
    }
}
