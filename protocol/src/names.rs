//! Names: people, groups, systems, tiers, hosts, accounts, principals. Valid by construction.
//!
//! Parsed at the door, never escaped: what a certificate, a path, a terminal or a log line could
//! misread (`,` `*` `?` `!` quotes, control characters, anything beyond ASCII) is refused. One spelling
//! per value: upper case is refused too, not folded.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::limits;

/// Why a text is not the name it should be. Never repeats the text raw.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} {shown} is not valid: {rule}")]
pub struct NameError {
    /// `person`, `host`, ...
    pub what: &'static str,
    /// The text, escaped and cut, in quotes.
    pub shown: String,
    /// The grammar, in words.
    pub rule: &'static str,
}

/// Shows hostile text: escaped, quoted, cut at 64 characters. For errors only.
pub fn shown(text: &str) -> String {
    let mut out = String::from("\"");
    for (n, c) in text.chars().enumerate() {
        if n == 64 {
            out.push('…');
            break;
        }
        if c.is_ascii_graphic() && c != '"' && c != '\\' || c == ' ' {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out.push('"');
    out
}

/// The tier of a host's self-test: no policy has one of that name.
pub const SELF_TEST_TIER: &str = "self-test";

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok($type(text.into()))
                } else {
                    Err(NameError { what: $what, shown: shown(text), rule: $rule })
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'de, str>>::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

fn is_name(text: &str) -> bool {
    text.len() <= limits::NAME
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

macro_rules! plain_name {
    ($($(#[$doc:meta])* $type:ident, $what:literal;)*) => {
        $(name!($(#[$doc])* $type, $what,
            "1 to 32 characters, the first a lower-case letter, then lower-case letters, digits, '.', '_' or '-'",
            is_name);)*
    };
}

plain_name! {
    /// A person of the roster, e.g. `ana`.
    PersonName, "person";
    /// A group of people, e.g. `payments-oncall`.
    GroupName, "group";
    /// A system: hosts that belong together, e.g. `payments-db`.
    SystemName, "system";
    /// A tier: one cell's worth of access, e.g. `root`.
    TierName, "tier";
    /// A trigger: a pre-defined way an emergency may begin, e.g. `pagerduty`.
    TriggerName, "trigger";
    /// An action: one exact command instead of a shell.
    ActionName, "action";
    /// A rule or an exception of the policy.
    RuleId, "rule";
}

name!(
    /// A host: a lower-case DNS name with at least one dot, e.g. `db-3.payments.prod`.
    HostName,
    "host",
    "a lower-case DNS name with at least one dot: labels of 1 to 63 letters, digits or '-', 253 characters at most",
    |text| text.len() <= limits::HOST && text.contains('.') && text.split('.').all(is_label)
);

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

name!(
    /// A login account on a host, e.g. `root`.
    AccountName,
    "account",
    "1 to 32 characters, the first a lower-case letter or '_', then lower-case letters, digits, '_' or '-'",
    |text| {
        text.len() <= limits::ACCOUNT
            && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
    }
);

name!(
    /// An incident of a tracker: `<prefix>:<id>`, e.g. `pd:PGR0VU2`.
    IncidentId,
    "incident",
    "a prefix of 1 to 16 lower-case letters, ':', then 1 to 64 letters, digits, '.', '_' or '-'",
    |text| {
        text.split_once(':').is_some_and(|(prefix, id)| {
            (1..=16).contains(&prefix.len())
                && prefix.bytes().all(|b| b.is_ascii_lowercase())
                && (1..=limits::INCIDENT).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        })
    }
);

impl IncidentId {
    /// The part before the colon, which names the tracker.
    pub fn prefix(&self) -> &str {
        self.as_str().split_once(':').map_or("", |(prefix, _)| prefix)
    }
}

name!(
    /// The log's name, `<name>/<16 hex digits>`: the random part keeps two installations apart.
    /// The first line of every checkpoint (C2SP tlog-checkpoint).
    Origin,
    "origin",
    "a lower-case DNS-like name, '/', and 16 lower-case hex digits",
    |text| {
        text.split_once('/').is_some_and(|(name, id)| {
            name.len() <= limits::HOST
                && name.split('.').all(is_label)
                && id.len() == 16
                && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
    }
);

name!(
    /// What a person says in their own words: 1 to 500 bytes of UTF-8, no control characters and no
    /// bidirectional overrides. Never enters a certificate or a receipt.
    ReasonText,
    "reason",
    "1 to 500 bytes of text, no control or bidirectional characters, and not only blanks",
    |text| {
        text.len() <= limits::REASON
            && !text.trim().is_empty()
            && !text.chars().any(|c| c.is_control() || is_bidi_or_invisible(c))
    }
);

/// Characters that reorder or hide text on a terminal (Unicode TR 36: "Trojan source").
fn is_bidi_or_invisible(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

name!(
    /// What a person asks access to: a system's name or a host's. The policy says which it is; the two
    /// cannot be confused because a bundle in which a host pattern matches a system's name is refused.
    TargetName,
    "system or host",
    "a system is a short lower-case name, a host a lower-case DNS name with a dot",
    |text| text.parse::<HostName>().is_ok() || is_name(text)
);

/// `<account>:<scope>`: the only kind of principal there is. A stock sshd compares it whole with the
/// lines of its principals file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    /// The account it opens.
    pub account: AccountName,
    /// A system's or a host's name.
    pub scope: Arc<str>,
}

impl Principal {
    /// The principal of `account` on all hosts of `system`.
    pub fn of_system(account: &AccountName, system: &SystemName) -> Principal {
        Principal { account: account.clone(), scope: system.as_str().into() }
    }

    /// The principal of `account` on one host.
    pub fn of_host(account: &AccountName, host: &HostName) -> Principal {
        Principal { account: account.clone(), scope: host.as_str().into() }
    }

    /// The one host that it is for, if it is no system's.
    pub fn host(&self) -> Option<HostName> {
        self.scope.parse().ok()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.account, self.scope)
    }
}

impl FromStr for Principal {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong =
            || NameError { what: "principal", shown: shown(text), rule: "<account>:<system or host>" };
        let (account, scope) = text.split_once(':').ok_or_else(wrong)?;
        let account: AccountName = account.parse().map_err(|_| wrong())?;
        let scope: TargetName = scope.parse().map_err(|_| wrong())?;
        Ok(Principal { account, scope: scope.as_str().into() })
    }
}

impl Serialize for Principal {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Principal {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An emergency's number, shown as `EM-42`. Counted from 1, gapless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmergencyId(pub u64);

impl fmt::Display for EmergencyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EM-{}", self.0)
    }
}

impl FromStr for EmergencyId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let digits = text.strip_prefix("EM-").unwrap_or(text);
        if digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0')
            && let Ok(number) = digits.parse()
        {
            return Ok(EmergencyId(number));
        }
        Err(NameError { what: "emergency", shown: shown(text), rule: "EM- and a number, e.g. EM-42" })
    }
}

impl Serialize for EmergencyId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EmergencyId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // People may type a bare number; signed and logged text has one spelling.
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        let id: EmergencyId = text.parse().map_err(serde::de::Error::custom)?;
        if text.starts_with("EM-") { Ok(id) } else { Err(serde::de::Error::custom("EM- is missing")) }
    }
}

/// 1 (worst) to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Severity(u8);

impl Severity {
    /// The four severities, mildest first, as the policy's rows are written.
    pub const MILDEST_FIRST: [Severity; 4] = [Severity(4), Severity(3), Severity(2), Severity(1)];

    /// The number, 1 to 4.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Severity {
    type Error = NameError;
    fn try_from(number: u8) -> Result<Severity, NameError> {
        if (1..=4).contains(&number) {
            Ok(Severity(number))
        } else {
            Err(NameError { what: "severity", shown: shown(&number.to_string()), rule: "1 (worst) to 4" })
        }
    }
}

impl From<Severity> for u8 {
    fn from(severity: Severity) -> u8 {
        severity.0
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a certificate, a path, a terminal or a log line could misread.
    fn hostile() -> Vec<String> {
        let mut texts: Vec<String> = [
            ",", "*", "?", "!", "[", "\"", "'", "\\", " ", "\n", "\r", "\0", "\u{1b}", "\u{7f}", "ä",
            "\u{202e}", "%", "$", "~", "/", "#",
        ]
        .iter()
        .flat_map(|c| [format!("a{c}b"), format!("{c}a"), format!("a{c}"), format!("a{c}.b")])
        .collect();
        texts.extend([String::new(), "A".into(), "-a".into(), "a".repeat(64 * 1024)]);
        texts
    }

    #[test]
    fn names_refuse_everything_that_could_be_misread() {
        for text in hostile() {
            assert!(text.parse::<PersonName>().is_err(), "{text:?}");
            assert!(text.parse::<AccountName>().is_err(), "{text:?}");
            assert!(text.parse::<HostName>().is_err(), "{text:?}");
            assert!(text.parse::<TargetName>().is_err(), "{text:?}");
            assert!(format!("root:{text}").parse::<Principal>().is_err(), "{text:?}");
            assert!(format!("{text}:payments-db").parse::<Principal>().is_err(), "{text:?}");
            assert!(format!("ca.example/{text}").parse::<Origin>().is_err(), "{text:?}");
            assert!(text.parse::<IncidentId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_error_shows_hostile_text_escaped_and_cut() {
        for text in hostile() {
            let message = text.parse::<PersonName>().unwrap_err().to_string();
            assert!(message.chars().all(|c| c == '…' || c == ' ' || c.is_ascii_graphic()), "{message:?}");
            assert!(message.len() < 900, "{}", message.len());
        }
    }

    #[test]
    fn lengths_are_taken_at_the_limit_and_not_one_past_it() {
        let of = |n: usize| "a".repeat(n);
        assert!(of(limits::NAME).parse::<PersonName>().is_ok());
        assert!(of(limits::NAME + 1).parse::<PersonName>().is_err());
        assert!(of(limits::ACCOUNT).parse::<AccountName>().is_ok());
        assert!(of(limits::ACCOUNT + 1).parse::<AccountName>().is_err());
        assert!(format!("pd:{}", of(limits::INCIDENT)).parse::<IncidentId>().is_ok());
        assert!(format!("pd:{}", of(limits::INCIDENT + 1)).parse::<IncidentId>().is_err());
        assert!(of(limits::REASON).parse::<ReasonText>().is_ok());
        assert!(of(limits::REASON + 1).parse::<ReasonText>().is_err());
        let host = |last: usize| [of(63), of(63), of(63), of(last)].join(".");
        assert_eq!(host(61).len(), limits::HOST);
        assert!(host(61).parse::<HostName>().is_ok());
        assert!(host(62).parse::<HostName>().is_err());
        assert!(format!("{}.b", of(64)).parse::<HostName>().is_err());
    }

    #[test]
    fn a_reason_is_one_visible_line() {
        assert!("primary refuses writes — Störung".parse::<ReasonText>().is_ok());
        for text in ["", "  ", "a\nb", "a\u{1b}[2J", "a\u{202e}b", "a\u{200b}b", "a\u{85}b"] {
            assert!(text.parse::<ReasonText>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_emergency_may_be_typed_short_but_is_written_one_way() {
        assert_eq!("EM-42".parse(), Ok(EmergencyId(42)));
        assert_eq!("42".parse(), Ok(EmergencyId(42)));
        for text in
            ["", "EM-", "EM-0", "0", "EM-042", "EM--1", "EM-+1", "em-1", "EM-EM-1", "18446744073709551616"]
        {
            assert!(text.parse::<EmergencyId>().is_err(), "{text:?}");
        }
        assert!(serde_json::from_str::<EmergencyId>("\"42\"").is_err());
        assert_eq!(serde_json::from_str::<EmergencyId>("\"EM-42\"").unwrap(), EmergencyId(42));
    }
}
