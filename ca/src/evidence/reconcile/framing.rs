//! A line of a log, taken apart into time, host and sshd's own words: syslog as files have it (RFC 3164, with a year
//! or without), as programs send it (`<86>` before it, no host), ISO times, RFC 5424, and `journalctl -o json`.
//! Lines of other programs, and all that is none of these, are nothing.

use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// A message of sshd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message<'l> {
    /// When, unix seconds; none where the line has no time.
    pub(super) at: Option<u64>,
    /// On which host, as the line says it.
    pub(super) host: Option<String>,
    /// What it says.
    pub(super) text: std::borrow::Cow<'l, str>,
}

/// What times without a zone or a year mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The present, unix seconds: a time without a year is its last one that is not after tomorrow.
    pub now: u64,
    /// The zone of times that name none.
    pub zone: UtcOffset,
}

/// Reads one line; nothing if it is not sshd's.
pub(super) fn message(line: &str, times: Times) -> Option<Message<'_>> {
    if line.starts_with('{') {
        return journal(line);
    }
    let line = without_priority(line);
    if let Some(rest) = line.strip_prefix("1 ") {
        return rfc5424(rest, times);
    }
    let (at, rest) = moment(line, times)?;
    // `db-3 sshd[12]: text`, or without a host: `sshd[12]: text`.
    let (first, after) = rest.split_once(' ')?;
    if let Some(text) = is_sshd(first).then_some(after) {
        return Some(Message { at: Some(at), host: None, text: text.into() });
    }
    let (tag, text) = after.split_once(' ')?;
    is_sshd(tag).then(|| Message { at: Some(at), host: Some(first.to_owned()), text: text.into() })
}

/// `sshd[12]:`, `sshd-session[12]:`.
fn is_sshd(tag: &str) -> bool {
    let Some(tag) = tag.strip_suffix(':') else { return false };
    is_program(tag.split_once('[').map_or(tag, |(program, _)| program))
}

fn is_program(name: &str) -> bool {
    ["sshd", "sshd-session", "sshd-auth"].contains(&name)
}

fn without_priority(line: &str) -> &str {
    let inner = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    match inner {
        Some((number, rest)) if number.len() <= 3 && number.parse::<u16>().is_ok() => rest,
        _ => line,
    }
}

/// The time at a line's front, and what follows it.
fn moment(line: &str, times: Times) -> Option<(u64, &str)> {
    if line.as_bytes().first()?.is_ascii_digit() {
        let (text, rest) = line.split_once(' ')?;
        return Some((iso(text, times)?, rest));
    }
    // `Nov  7 22:17:08 rest`, `Nov 27 2026 22:17:08 rest`, `Nov 27 22:17:08 2026 rest`.
    let (month, rest) = line.split_once(' ')?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = Month::try_from(u8::try_from(month + 1).ok()?).ok()?;
    let (day, rest) = rest.trim_start_matches(' ').split_once(' ')?;
    let day: u8 = day.parse().ok()?;
    let (next, after) = rest.split_once(' ')?;
    let (year, clock, rest) = match next.parse::<i32>() {
        Ok(year) => {
            let (clock, rest) = after.split_once(' ')?;
            (Some(year), clock, rest)
        }
        Err(_) => match after.split_once(' ').map(|(word, rest)| (word.parse::<i32>(), rest)) {
            Some((Ok(year @ 1970..=9999), rest)) => (Some(year), next, rest),
            _ => (None, next, after),
        },
    };
    let clock = clock_of(clock)?;
    Some((dated(year, month, day, clock, times)?, rest))
}

fn clock_of(text: &str) -> Option<Time> {
    let whole = text.split_once(['.', ',']).map_or(text, |(whole, _)| whole);
    let mut parts = whole.split(':').map(str::parse::<u8>);
    let (hour, minute, second) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    if parts.next().is_some() {
        return None;
    }
    // A leap second is the one after it: sshd's clock has none.
    Time::from_hms(hour, minute, second.min(59)).ok()
}

fn dated(year: Option<i32>, month: Month, day: u8, clock: Time, times: Times) -> Option<u64> {
    let at = |year| {
        let date = Date::from_calendar_date(year, month, day).ok()?;
        unix(PrimitiveDateTime::new(date, clock).assume_offset(times.zone))
    };
    match year {
        Some(year) => at(year),
        None => {
            let now = OffsetDateTime::from_unix_timestamp(i64::try_from(times.now).ok()?).ok()?;
            // A clock that is a little ahead, and 29 February, which some years have not.
            let past = |at: &u64| *at <= times.now.saturating_add(DAY_S);
            (0..=8).filter_map(|back| at(now.year() - back + 1)).find(past)
        }
    }
}

fn iso(text: &str, times: Times) -> Option<u64> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return unix(at);
    }
    // `+0100` as `date` and `journalctl -o short-iso` of some ages write it.
    let split = text.len().checked_sub(5)?;
    if let (Some(front), Some(zone)) = (text.get(..split), text.get(split..))
        && zone.starts_with(['+', '-'])
        && let (Some(hours), Some(minutes)) = (zone.get(..3), zone.get(3..))
        && let Ok(at) = OffsetDateTime::parse(&format!("{front}{hours}:{minutes}"), &Rfc3339)
    {
        return unix(at);
    }
    let local = OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339).ok()?;
    unix(local.replace_offset(times.zone))
}

fn unix(at: OffsetDateTime) -> Option<u64> {
    u64::try_from(at.unix_timestamp()).ok()
}

/// What follows `<PRI>1 `: `TIME HOST APP PROCID MSGID SD MSG`.
fn rfc5424(rest: &str, times: Times) -> Option<Message<'_>> {
    let mut words = rest.splitn(6, ' ');
    let (time, host, app) = (words.next()?, words.next()?, words.next()?);
    let (_, _, data) = (words.next()?, words.next()?, words.next()?);
    if !is_program(app) {
        return None;
    }
    let text = match data.strip_prefix("- ") {
        Some(text) => text,
        None => after_elements(data)?,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let host = (host != "-").then(|| host.to_owned());
    Some(Message { at: iso(time, times), host, text: text.into() })
}

/// What follows structured data: a closing bracket that no backslash stands before, not within quotes, and a blank.
fn after_elements(data: &str) -> Option<&str> {
    let (mut quoted, mut escaped) = (false, false);
    for (place, c) in data.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ']' if !quoted => {
                let rest = data.get(place + 1..)?;
                if let Some(text) = rest.strip_prefix(' ') {
                    return Some(text);
                }
            }
            _ => {}
        }
    }
    None
}

/// One object of `journalctl -o json`. A message that is no text comes as numbers: not sshd's own words.
#[derive(Deserialize)]
struct Journal {
    #[serde(rename = "MESSAGE")]
    message: serde_json::Value,
    #[serde(rename = "SYSLOG_IDENTIFIER")]
    identifier: Option<String>,
    #[serde(rename = "_HOSTNAME")]
    host: Option<String>,
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    received_us: Option<String>,
    #[serde(rename = "_SOURCE_REALTIME_TIMESTAMP")]
    sent_us: Option<String>,
}

fn journal(line: &str) -> Option<Message<'_>> {
    let entry: Journal = serde_json::from_str(line).ok()?;
    if !is_program(entry.identifier.as_deref()?) {
        return None;
    }
    let us = entry.sent_us.or(entry.received_us).and_then(|us| us.parse::<u64>().ok());
    let serde_json::Value::String(text) = entry.message else { return None };
    Some(Message { at: us.map(|us| us / 1_000_000), host: entry.host, text: text.into() })
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_S: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-28 06:00:00 UTC.
    const NOW: u64 = 1_795_845_600;
    const UTC: Times = Times { now: NOW, zone: UtcOffset::UTC };

    fn read(line: &str) -> Option<(Option<u64>, Option<String>, String)> {
        message(line, UTC).map(|found| (found.at, found.host, found.text.into_owned()))
    }

    #[test]
    fn every_shape_of_a_line_gives_the_same_time_host_and_words() {
        let at = NOW - 86_400 - 3600; // 2026-11-27 05:00:00
        let host = Some("db-3".to_owned());
        for line in [
            "Nov 27 05:00:00 db-3 sshd[12]: Accepted it",
            "Nov 27 05:00:00 2026 db-3 sshd[12]: Accepted it",
            "Nov 27 2026 05:00:00 db-3 sshd-session[12]: Accepted it",
            "<86>Nov 27 05:00:00 db-3 sshd[12]: Accepted it",
            "2026-11-27T05:00:00Z db-3 sshd[12]: Accepted it",
            "2026-11-27T05:00:00.123456+00:00 db-3 sshd-session[12]: Accepted it",
            "2026-11-27T06:00:00+0100 db-3 sshd[12]: Accepted it",
            "2026-11-27T05:00:00 db-3 sshd[12]: Accepted it",
            "<86>1 2026-11-27T05:00:00Z db-3 sshd 12 - - Accepted it",
            "<86>1 2026-11-27T05:00:00Z db-3 sshd 12 - [a@1 b=\"]\\\" x\"][c@1 d=\"e\"] Accepted it",
            "{\"MESSAGE\":\"Accepted it\",\"SYSLOG_IDENTIFIER\":\"sshd\",\"_HOSTNAME\":\"db-3\",\
             \"__REALTIME_TIMESTAMP\":\"1795755600123456\"}",
        ] {
            assert_eq!(read(line), Some((Some(at), host.clone(), "Accepted it".into())), "{line}");
        }
        let sent = "<86>Nov  7 05:00:00 sshd[12]: Accepted it";
        assert_eq!(read(sent), Some((Some(at - 20 * 86_400), None, "Accepted it".into())));
    }

    #[test]
    fn a_time_without_a_year_is_of_the_last_year_that_had_it() {
        let of = |line: &str| read(line).unwrap().0.unwrap();
        assert_eq!(of("Nov 28 07:00:00 db-3 sshd[1]: x"), NOW + 3600, "a clock ahead");
        assert_eq!(of("Dec 24 06:00:00 db-3 sshd[1]: x"), NOW - 339 * 86_400, "last year's");
        let leap = OffsetDateTime::from_unix_timestamp(of("Feb 29 00:00:00 db-3 sshd[1]: x").cast_signed());
        assert_eq!(leap.unwrap().year(), 2024);
        let zone = Times { now: NOW, zone: UtcOffset::from_hms(1, 0, 0).unwrap() };
        let there = message("Nov 27 06:00:00 db-3 sshd[1]: x", zone).unwrap();
        assert_eq!(there.at, Some(NOW - 86_400 - 3600));
    }

    #[test]
    fn other_programs_and_other_text_are_nothing() {
        for line in [
            "Nov 27 05:00:00 db-3 sudo: Accepted it",
            "Nov 27 05:00:00 db-3 cron[1]: sshd[12]: Accepted password for root from 1.2.3.4 port 1 ssh2",
            "Nov 27 05:00:00 db-3 sshdx[12]: Accepted it",
            "Foo 27 05:00:00 db-3 sshd[12]: it",
            "Nov 32 05:00:00 db-3 sshd[12]: it",
            "Nov 27 25:00:00 db-3 sshd[12]: it",
            "{\"MESSAGE\":[1,2],\"SYSLOG_IDENTIFIER\":\"sshd\"}",
            "{\"MESSAGE\":\"x\",\"SYSLOG_IDENTIFIER\":\"su\"}",
            "<86>1 2026-11-27T05:00:00Z db-3 sshd 12 - [a@1 b=\"never closed",
            "{",
            "<999999>Nov",
            "",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in ".{0,120}", tail in "[A-Za-z0-9 :+<>\\[\\]{}\"-]{0,60}") {
            let _ = message(&line, UTC);
            let _ = message(&format!("Nov 27 {tail}"), UTC);
            let _ = message(&format!("2026-11-27T{tail}"), UTC);
            let _ = message(&format!("<86>1 2026-11-27T05:00:00Z h sshd {tail}"), UTC);
        }
    }
}
