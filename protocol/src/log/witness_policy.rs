//! Which witnesses must have cosigned a head (C2SP tlog-policy): a text of `log`, `witness`, `group` and
//! `quorum` lines. Strict and bounded, with all errors and their lines.
//!
//! Stricter than the specification in three places: a file with `log` lines must name the log it is used for;
//! the log's own key is no witness; and a quorum that needs more cosignatures than a note carries is refused.
//! A key counts once whatever it is called: two names for one key would make two witnesses of one.

use std::collections::HashMap;

use crate::keys::Ed25519Key;
use crate::limits;
use crate::log::{NoteKey, WitnessKey};
use crate::names::shown;

/// A policy that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessPolicy {
    witnesses: Vec<PolicyWitness>,
    nodes: Vec<Node>,
    quorum: Option<usize>,
}

/// A witness as the policy has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWitness {
    /// Its key.
    pub key: WitnessKey,
    /// Where it is asked, if the line says so: `http://` or `https://`, no slash at the end.
    pub url: Option<String>,
}

/// What a line of a policy gets wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// Counted from 1; 0: the file as a whole.
    pub line: usize,
    /// What is wrong, in words that may be shown.
    pub what: String,
}

impl std::fmt::Display for PolicyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => f.write_str(&self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

/// A name of the file: a witness, or so many of a group's members. Members stand before their group, and each
/// in one group at most, so that nothing is counted twice.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Witness(usize),
    Group { least: usize, members: Vec<usize> },
}

impl WitnessPolicy {
    /// Reads a policy for the log whose key is `log`. Gives all errors, in order of their lines.
    pub fn parse(text: &[u8], log: &NoteKey) -> Result<WitnessPolicy, Vec<PolicyError>> {
        let whole = |what: String| vec![PolicyError { line: 0, what }];
        if text.len() > limits::WITNESS_POLICY {
            let most = limits::WITNESS_POLICY;
            return Err(whole(format!("it is {} bytes long, {most} are allowed", text.len())));
        }
        let Some(lines) = text.strip_suffix(b"\n") else {
            return Err(whole("its last line is not ended by a newline: it may be cut short".into()));
        };
        let mut reading = Reading::new(log);
        for (number, line) in (1..).zip(lines.split(|byte| *byte == b'\n')) {
            if let Err(what) = reading.line(line) {
                reading.errors.push(PolicyError { line: number, what });
            }
        }
        reading.end()
    }

    /// Its witnesses, in the file's order.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// Their keys.
    pub fn keys(&self) -> impl Iterator<Item = &WitnessKey> + Clone {
        self.witnesses.iter().map(|witness| &witness.key)
    }

    /// Whether cosignatures of these keys are enough. Keys that are not of the policy count for nothing.
    pub fn is_met_by(&self, cosigned: &[&WitnessKey]) -> bool {
        let has = |witness: usize| self.witnesses.get(witness).is_some_and(|w| cosigned.contains(&&w.key));
        // Members stand before their groups: one pass.
        let mut met: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let is = match node {
                Node::Witness(witness) => has(*witness),
                Node::Group { least, members } => {
                    members.iter().filter(|member| met.get(**member) == Some(&true)).count() >= *least
                }
            };
            met.push(is);
        }
        self.quorum.is_none_or(|quorum| met.get(quorum) == Some(&true))
    }

    /// The fewest cosignatures that can be enough: 0 for `quorum none`.
    pub fn least(&self) -> usize {
        let mut least: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let of = match node {
                Node::Witness(_) => 1,
                Node::Group { least: k, members } => {
                    let mut each: Vec<usize> =
                        members.iter().filter_map(|m| least.get(*m).copied()).collect();
                    each.sort_unstable();
                    each.iter().take(*k).sum()
                }
            };
            least.push(of);
        }
        self.quorum.and_then(|quorum| least.get(quorum).copied()).unwrap_or(0)
    }
}

/// What was read so far.
struct Reading<'l> {
    log: &'l NoteKey,
    logs: Vec<NoteKey>,
    names: HashMap<Vec<u8>, usize>,
    taken: Vec<bool>,
    policy: WitnessPolicy,
    has_quorum: bool,
    errors: Vec<PolicyError>,
}

impl<'l> Reading<'l> {
    fn new(log: &'l NoteKey) -> Reading<'l> {
        let policy = WitnessPolicy { witnesses: Vec::new(), nodes: Vec::new(), quorum: None };
        Reading {
            log,
            logs: Vec::new(),
            names: HashMap::new(),
            taken: Vec::new(),
            policy,
            has_quorum: false,
            errors: Vec::new(),
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        if line.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
            return Err("a control character: only blanks, tabs and newlines are allowed".into());
        }
        let words: Vec<&[u8]> = line.split(|b| matches!(b, b' ' | b'\t')).filter(|w| !w.is_empty()).collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", rest @ ..] => self.log_line(rest),
            [b"witness", rest @ ..] => self.witness(rest),
            [b"group", rest @ ..] => self.group(rest),
            [b"quorum", rest @ ..] => self.quorum(rest),
            [other, ..] => Err(format!(
                "{} is not log, witness, group or quorum",
                shown(&String::from_utf8_lossy(other))
            )),
        }
    }

    fn log_line(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let (key, url) = match words {
            [key] => (key, None),
            [key, url] => (key, Some(*url)),
            _ => return Err("a log is: log <vkey> [<url>]".into()),
        };
        let key: NoteKey = text(key).parse().map_err(|_| {
            "the log's key is not a verifier key of type Ed25519: <name>+<8 hex digits>+<base64>".to_owned()
        })?;
        url.map(checked_url).transpose()?;
        if self.logs.iter().any(|other| other.key() == key.key()) {
            return Err("this log key stands in an earlier line already".into());
        }
        if self.logs.len() == limits::WITNESS_POLICY_LINES {
            return Err(format!("more than {} logs", limits::WITNESS_POLICY_LINES));
        }
        self.logs.push(key);
        Ok(())
    }

    fn witness(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let (name, key, url) = match words {
            [name, key] => (name, key, None),
            [name, key, url] => (name, key, Some(*url)),
            _ => return Err("a witness is: witness <name> <vkey> [<url>]".into()),
        };
        let key: WitnessKey = text(key).parse().map_err(|_| {
            "the witness's key is not a verifier key of type cosignature/v1: <name>+<8 hex digits>+<base64>"
                .to_owned()
        })?;
        let url = url.map(checked_url).transpose()?;
        if self.same_key(&key.key()) {
            return Err("this key stands in an earlier line already: one witness may not count twice".into());
        }
        if key.key() == self.log.key() {
            return Err("this is the log's own key: it witnesses nothing".into());
        }
        if self.policy.witnesses.len() == limits::WITNESS_POLICY_LINES {
            return Err(format!("more than {} witnesses", limits::WITNESS_POLICY_LINES));
        }
        let node = Node::Witness(self.policy.witnesses.len());
        self.name(name, node)?;
        self.policy.witnesses.push(PolicyWitness { key, url });
        Ok(())
    }

    fn same_key(&self, key: &Ed25519Key) -> bool {
        self.policy.witnesses.iter().any(|other| other.key.key() == *key)
    }

    fn group(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let [name, least, members @ ..] = words else {
            return Err("a group is: group <name> all|any|<k> <name>...".into());
        };
        if members.is_empty() {
            return Err("a group has at least one member".into());
        }
        let mut found = Vec::with_capacity(members.len());
        for member in members {
            let node = self.known(member)?;
            if self.taken.get(node) == Some(&true) || found.contains(&node) {
                let member = text(member);
                return Err(format!("{} is a member already: each name may be one once", shown(&member)));
            }
            found.push(node);
        }
        let least = match *least {
            b"all" => found.len(),
            b"any" => 1,
            k => decimal(k)
                .filter(|k| (1..=found.len()).contains(k))
                .ok_or_else(|| format!("a group of {} needs all, any, or 1 to {0} of them", found.len()))?,
        };
        let groups = self.policy.nodes.len() - self.policy.witnesses.len();
        if groups == limits::WITNESS_POLICY_LINES {
            return Err(format!("more than {} groups", limits::WITNESS_POLICY_LINES));
        }
        self.name(name, Node::Group { least, members: found.clone() })?;
        for node in found {
            if let Some(taken) = self.taken.get_mut(node) {
                *taken = true;
            }
        }
        Ok(())
    }

    fn quorum(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let [name] = words else { return Err("a quorum is: quorum <name>, or quorum none".into()) };
        if std::mem::replace(&mut self.has_quorum, true) {
            return Err("there is a quorum in an earlier line already".into());
        }
        if *name != NONE {
            self.policy.quorum = Some(self.known(name)?);
        }
        Ok(())
    }

    fn known(&self, name: &[u8]) -> Result<usize, String> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| format!("{} is no witness or group of a line before", shown(&text(name))))
    }

    fn name(&mut self, name: &[u8], node: Node) -> Result<(), String> {
        if name == NONE {
            return Err("none is the name for no witness at all".into());
        }
        if self.names.contains_key(name) {
            return Err(format!("{} is the name of a line before", shown(&text(name))));
        }
        self.names.insert(name.to_vec(), self.policy.nodes.len());
        self.policy.nodes.push(node);
        self.taken.push(false);
        Ok(())
    }

    fn end(mut self) -> Result<WitnessPolicy, Vec<PolicyError>> {
        let mut whole = |what: String| self.errors.push(PolicyError { line: 0, what });
        if !self.has_quorum {
            whole("there is no quorum line".into());
        }
        if !self.logs.is_empty() && !self.logs.contains(self.log) {
            whole(format!("its log lines name other logs than {}", self.log.name()));
        }
        let (least, most) = (self.policy.least(), limits::NOTE_SIGNATURES - 1);
        if least > most {
            whole(format!("its quorum needs {least} cosignatures, a checkpoint carries at most {most}"));
        }
        if self.errors.is_empty() { Ok(self.policy) } else { Err(self.errors) }
    }
}

/// An address without what could be misread: no user, no query, nothing but printable ASCII.
fn checked_url(url: &[u8]) -> Result<String, String> {
    let url = text(url);
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:[]/%".contains(c);
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(plain) => {
            Ok(url.trim_end_matches('/').to_owned())
        }
        _ => Err(format!("{} is not http://HOST[/...] or https://HOST[/...]", shown(&url))),
    }
}

fn text(word: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(word)
}

/// A number in its one spelling.
fn decimal(word: &[u8]) -> Option<usize> {
    let number: usize = std::str::from_utf8(word).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == word).then_some(number)
}

/// The name for no witness at all.
const NONE: &[u8] = b"none";

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::log::{Cosigner, NoteSigner};

    fn log() -> NoteKey {
        let key = SigningKey::from_bytes(&[200; 32]);
        NoteSigner::new("ca.example/0123456789abcdef", key).unwrap().key().clone()
    }

    fn key(seed: u8) -> WitnessKey {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        Cosigner::new(&format!("witness.example/w{seed}"), secret).unwrap().key().clone()
    }

    fn witnesses(many: u8) -> String {
        (1..=many).map(|n| format!("witness w{n} {}\n", key(n))).collect()
    }

    fn read(text: &str) -> Result<WitnessPolicy, Vec<String>> {
        WitnessPolicy::parse(text.as_bytes(), &log())
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    fn met(policy: &WitnessPolicy, by: &[u8]) -> bool {
        let keys: Vec<WitnessKey> = by.iter().map(|n| key(*n)).collect();
        policy.is_met_by(&keys.iter().collect::<Vec<_>>())
    }

    #[test]
    fn the_specifications_example_needs_two_of_one_side_and_one_of_the_other() {
        let text = format!(
            "log {}\n\n{}group X 2 w1 w2 w3\n\twitness  y {}\t\n # with words\ngroup Y any y w4\n\
             group X-and-Y all X Y\nquorum X-and-Y\n",
            log(),
            witnesses(4),
            key(5)
        );
        let policy = read(&text).unwrap();
        for (by, is) in [
            (&[1, 2, 4][..], true),
            (&[1, 3, 5], true),
            (&[1, 2, 3, 4, 5], true),
            (&[1, 2, 3], false),
            (&[1, 4, 5], false),
            (&[1, 1, 4], false),
            (&[], false),
            (&[1, 9, 4], false),
        ] {
            assert_eq!(met(&policy, by), is, "{by:?}");
        }
        assert_eq!((policy.least(), policy.witnesses().len()), (3, 5));
    }

    #[test]
    fn one_witness_or_none_at_all() {
        let one = read(&format!("witness w {} https://w.example/sub/\nquorum w\n", key(1))).unwrap();
        assert!(met(&one, &[1]) && !met(&one, &[2]) && !met(&one, &[]));
        assert_eq!(one.witnesses()[0].url.as_deref(), Some("https://w.example/sub"));
        let none = read("quorum none\n").unwrap();
        assert!(met(&none, &[]) && none.least() == 0);
    }

    #[test]
    fn one_key_under_two_names_is_refused() {
        let twin = WitnessKey::new("elsewhere.example/w", &key(1).key()).unwrap();
        let errors = read(&format!("witness a {}\nwitness b {twin}\nquorum a\n", key(1))).unwrap_err();
        assert_eq!(
            errors,
            ["line 2: this key stands in an earlier line already: one witness may not count twice"]
        );
        let own = WitnessKey::new("witness.example/w", &log().key()).unwrap();
        assert!(read(&format!("witness a {own}\nquorum a\n")).unwrap_err()[0].contains("log's own key"));
    }

    #[test]
    fn every_wrong_line_is_told_with_its_number() {
        let (w, one) = (witnesses(3), key(1));
        for (text, told) in [
            ("", "0 its last line is not ended"),
            ("quorum none", "0 its last line"),
            ("\n", "0 there is no quorum"),
            ("quorum none\nquorum none\n", "2 there is a quorum"),
            ("quorum w\n", "1 w is no witness"),
            ("quorum w\nwitness w KEY\n", "1 w is no witness"),
            ("quorum\n", "1 a quorum is"),
            ("quorum none none\n", "1 a quorum is"),
            ("Quorum none\n", "1 Quorum is not"),
            ("quorum none # why\n", "1 a quorum is"),
            ("quorum none\r\n", "1 a control character"),
            ("quorum\u{b}none\n", "1 a control character"),
            ("quorum\u{a0}none\n", "1 "),
            ("witness none KEY\nquorum none\n", "1 none is the name"),
            ("witness a KEY ftp://x\nquorum none\n", "1 ftp://x is not http"),
            ("witness a KEY https://a@b\nquorum none\n", "1 https://a@b is not http"),
            ("witness a KEY u u\nquorum none\n", "1 a witness is"),
            ("witness a\nquorum none\n", "1 a witness is"),
            ("witness a LOG\nquorum none\n", "1 the witness's key is not"),
            ("log KEY\nquorum none\n", "1 the log's key is not"),
            ("log LOG\nlog LOG\nquorum none\n", "2 this log key stands"),
            ("log OTHER\nquorum none\n", "0 its log lines name other logs"),
            ("WITNESSESgroup w1 any w2\nquorum none\n", "4 w1 is the name"),
            ("WITNESSESgroup g any\nquorum none\n", "4 a group has"),
            ("WITNESSESgroup g\nquorum none\n", "4 a group is"),
            ("WITNESSESgroup g 0 w1\nquorum none\n", "4 a group of 1 needs"),
            ("WITNESSESgroup g 2 w1\nquorum none\n", "4 a group of 1 needs"),
            ("WITNESSESgroup g 01 w1\nquorum none\n", "4 a group of 1 needs"),
            ("WITNESSESgroup g +1 w1\nquorum none\n", "4 a group of 1 needs"),
            ("WITNESSESgroup g -1 w1\nquorum none\n", "4 a group of 1 needs"),
            ("WITNESSESgroup g any w1 w1\nquorum none\n", "4 w1 is a member already"),
            ("WITNESSESgroup g any w1\ngroup h any w1\nquorum none\n", "5 w1 is a member already"),
            ("WITNESSESgroup g any g\nquorum none\n", "4 g is no witness"),
            ("WITNESSESgroup g any none\nquorum none\n", "4 none is no witness"),
        ] {
            let other =
                NoteSigner::new("cb.example/0123456789abcdef", SigningKey::from_bytes(&[3; 32])).unwrap();
            let text = text.replace("WITNESSES", &w).replace("KEY", &one.to_string());
            let text = text.replace("LOG", &log().to_string()).replace("OTHER", &other.key().to_string());
            let (line, what) = told.split_once(' ').unwrap();
            let errors = WitnessPolicy::parse(text.as_bytes(), &log()).unwrap_err();
            let is =
                |e: &PolicyError| e.line.to_string() == line && e.what.replace('"', "").starts_with(what);
            assert!(errors.iter().any(is), "{text:?}: {errors:?}");
        }
        // All at once, each with its own.
        let errors = read("wit\ngroup\nquorum x\n").unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
    }

    #[test]
    fn names_are_octets_and_errors_show_them_escaped() {
        let text = [b"witness K\xff\xfe ".as_slice(), key(1).to_string().as_bytes(), b"\nquorum K\xff\xfe\n"]
            .concat();
        assert!(WitnessPolicy::parse(&text, &log()).is_ok());
        let text = [b"quorum \xe2\x80\xae\xff\n".as_slice()].concat();
        let errors = WitnessPolicy::parse(&text, &log()).unwrap_err();
        assert!(errors[0].what.chars().all(|c| c == '…' || c == ' ' || c.is_ascii_graphic()), "{errors:?}");
    }

    #[test]
    fn the_limits_hold_at_the_limit_and_one_past_it() {
        let all = |n: u8| (1..=n).map(|n| format!(" w{n}")).collect::<String>();
        let text = |n: u8, k: u8| format!("{}group g {k}{}\nquorum g\n", witnesses(n), all(n));
        assert_eq!(read(&text(32, 15)).unwrap().least(), 15);
        assert!(read(&text(32, 16)).unwrap_err()[0].contains("needs 16 cosignatures"));
        assert!(read(&text(33, 1)).unwrap_err()[0].contains("more than 32 witnesses"));
        let groups = |n: u8| {
            let mut text = witnesses(1) + "group g1 any w1\n";
            (2..=n).for_each(|n| text.push_str(&format!("group g{n} any g{}\n", n - 1)));
            text + &format!("quorum g{n}\n")
        };
        assert!(met(&read(&groups(32)).unwrap(), &[1]));
        assert!(read(&groups(33)).is_err());
        let padded = |n: usize| format!("{}\nquorum none\n", "#".repeat(n - 13));
        assert!(read(&padded(limits::WITNESS_POLICY)).is_ok());
        assert!(read(&padded(limits::WITNESS_POLICY + 1)).unwrap_err()[0].contains("bytes long"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(log |witness |group |quorum |w1 |any |2 |\n|#|.){0,40}") {
            let _ = WitnessPolicy::parse(text.as_bytes(), &log());
        }

        #[test]
        fn more_cosignatures_never_unmeet_a_quorum(
            k in 1usize..4, l in 1usize..3, by in proptest::collection::vec(1u8..6, 0..5), more in 1u8..6,
        ) {
            let text = format!(
                "{}group X {k} w1 w2 w3\ngroup Y {l} w4 w5\ngroup Z {} X Y\nquorum Z\n",
                witnesses(5), 1 + k % 2
            );
            let policy = read(&text).unwrap();
            let with: Vec<u8> = by.iter().copied().chain([more]).collect();
            prop_assert!(!met(&policy, &by) || met(&policy, &with));
            let mut distinct = by.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert!(!met(&policy, &by) || distinct.len() >= policy.least());
        }
    }
}
