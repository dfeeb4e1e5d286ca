//! A message of syslog (RFC 5424) with its length before it (RFC 6587 3.4.1, RFC 5425 4.3). Pure.
//!
//! The message proper is JSON in ASCII: what is not is written as `\uXXXX`, so that it needs no byte order mark,
//! which many readers of JSON do not take.

use std::fmt::Write;

use fireaxe_protocol::limits::STREAM_MESSAGE;
use time::OffsetDateTime;

use super::Item;

/// Facility 13, "log audit".
const FACILITY: u32 = 13;

/// The message of `item` with its length before it; with its short text where the whole would be longer than
/// [`STREAM_MESSAGE`]. `host` is where this program runs.
pub(super) fn framed(item: &Item, host: &str) -> String {
    let whole = message(item, host, &item.text);
    let message = if whole.len() > STREAM_MESSAGE { message(item, host, &item.short) } else { whole };
    format!("{} {message}", message.len())
}

fn message(item: &Item, host: &str, text: &str) -> String {
    let severity = match item.severity {
        0 | 1 => 6,
        2 => 5,
        3 => 4,
        4 => 3,
        _ => 2,
    };
    let priority = FACILITY * 8 + severity;
    let (host, kind) = (name(host, 255), name(&item.kind, 32));
    let mut out = format!("<{priority}>1 {} {host} fireaxe-ca - {kind} ", stamp(item.at));
    // 32473 is the number that RFC 5612 keeps for examples: who has one of their own rewrites it.
    out.push_str("[fireaxe@32473");
    let (index, leaf) = (item.index.to_string(), item.leaf.to_string());
    let emergency = item.emergency.map(|id| id.to_string());
    let all = [("index", Some(&index)), ("leaf", Some(&leaf)), ("log", Some(&item.origin))];
    for (key, value) in all.into_iter().chain([("emergency", emergency.as_ref())]) {
        if let Some(value) = value {
            let _ = write!(out, " {key}=\"{}\"", escaped(value));
        }
    }
    out.push_str("] ");
    ascii(text, &mut out);
    out
}

/// RFC 5424 6.3.3: `"`, `\` and `]` with a backslash before them.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Printable ASCII without blanks, at most `most` of it; `-` for nothing.
fn name(text: &str, most: usize) -> String {
    let name: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if name.is_empty() { "-".into() } else { name }
}

fn stamp(at: u64) -> String {
    let at = i64::try_from(at).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let form = &time::format_description::well_known::Rfc3339;
    at.and_then(|at| at.format(form).ok()).unwrap_or_else(|| "-".into())
}

/// JSON without anything but ASCII; outside of its strings it has nothing else anyway.
fn ascii(json: &str, out: &mut String) {
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fireaxe_protocol::log::Hash;
    use fireaxe_protocol::names::EmergencyId;

    fn item(text: &str) -> Item {
        Item {
            index: 7,
            at: 1_795_845_600,
            leaf: Hash([1; 32]),
            kind: "emergency.declared".into(),
            emergency: Some(EmergencyId(4)),
            origin: "fireaxe.example/a]b\"c\\d".into(),
            severity: 3,
            text: text.into(),
            short: "{\"cut\":true}".into(),
        }
    }

    #[test]
    fn a_message_is_as_the_rfc_says_and_its_length_is_its_bytes() {
        let framed = framed(&item("{\"reason\":\"Größe 🔥\"}"), "ca-1");
        let (length, message) = framed.split_once(' ').unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), message.len());
        let expected = format!(
            "<108>1 2026-11-28T06:00:00Z ca-1 fireaxe-ca - emergency.declared [fireaxe@32473 index=\"7\" \
             leaf=\"{}\" log=\"fireaxe.example/a\\]b\\\"c\\\\d\" emergency=\"EM-4\"] \
             {{\"reason\":\"Gr\\u00f6\\u00dfe \\ud83d\\udd25\"}}",
            Hash([1; 32])
        );
        assert_eq!(message, expected);
        let text = message.rsplit_once("] ").unwrap().1;
        assert_eq!(serde_json::from_str::<serde_json::Value>(text).unwrap()["reason"], "Größe 🔥");
    }

    #[test]
    fn a_message_at_its_bound_is_whole_and_one_past_it_says_that_it_is_cut() {
        let around = message(&item(""), "ca-1", "").len();
        let at = framed(&item(&"x".repeat(STREAM_MESSAGE - around)), "ca-1");
        assert!(at.starts_with(&format!("{STREAM_MESSAGE} <108>")) && !at.contains("cut"));
        let past = framed(&item(&"x".repeat(STREAM_MESSAGE - around + 1)), "ca-1");
        assert!(past.ends_with("{\"cut\":true}"), "{past}");
    }

    #[test]
    fn a_host_without_a_fit_name_is_a_dash() {
        assert_eq!((name("", 9), name("a b\nc", 9), name("abc", 2)), ("-".into(), "abc".into(), "ab".into()));
    }
}
