//! Dates in a bundle, as seconds: the calendar and nothing else. Whether they make sense beside each other is
//! for who reads them.

use toml::value::Datetime;

use super::reading::Value;

/// A date (its first second, UTC) or a date with time and offset, as unix seconds.
pub(in crate::policy) fn unix(value: &Value<'_, '_>) -> Option<u64> {
    let seconds = date_seconds(value.date()?);
    if seconds.is_none() {
        value
            .wrong("a date, or a date with a time and an offset, after 1970", Some("e.g. 2027-01-31".into()));
    }
    seconds
}

fn date_seconds(date: &Datetime) -> Option<u64> {
    let day = date.date?;
    // Days from 1970-01-01 in the Gregorian calendar, counted in years that begin in March.
    let (year, month) = match day.month {
        1 | 2 => (i64::from(day.year) - 1, i64::from(day.month) + 9),
        _ => (i64::from(day.year), i64::from(day.month) - 3),
    };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + i64::from(day.day) - 1;
    let days = days - 719_468;
    let seconds = match (date.time, date.offset) {
        (None, None) => 0,
        (Some(time), Some(offset)) => {
            let minutes = match offset {
                toml::value::Offset::Z => 0,
                toml::value::Offset::Custom { minutes } => i64::from(minutes),
            };
            i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0))
                - minutes * 60
        }
        _ => return None,
    };
    u64::try_from(days * 86_400 + seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_unix_seconds() {
        for (text, expected) in [
            ("1970-01-01", Some(0)),
            ("2000-03-01", Some(951_868_800)),
            ("2024-02-29", Some(1_709_164_800)),
            ("2027-01-31T12:00:00Z", Some(1_801_396_800)),
            ("2027-01-31T14:00:00+02:00", Some(1_801_396_800)),
            ("2027-01-31T12:00:00", None),
            ("1969-12-31", None),
            ("12:00:00", None),
        ] {
            assert_eq!(date_seconds(&text.parse().unwrap()), expected, "{text}");
        }
    }
}
