//! `log export`: a period.

use clap::Args;
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time, macros::format_description};

use super::handing_out::{Out, failed};
use crate::command::Failed;
use crate::evidence::{PeriodQuery, period};
use crate::log::Reader;

/// Put everything of a period into one file: entries with their proof, tables, a page.
#[derive(Debug, Args)]
pub(in crate::command) struct Export {
    /// The first day or second, UTC: 2026-11-01 or 2026-11-01T06:00:00Z
    #[arg(long, value_name = "DATE", value_parser = date)]
    from: u64,
    /// The day or second after the last
    #[arg(long, value_name = "DATE", value_parser = date)]
    to: u64,
    /// The whole log too, as C2SP tiles
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    out: Out,
}

fn date(text: &str) -> Result<u64, String> {
    let day = Date::parse(text, format_description!("[year]-[month]-[day]"));
    let at = match day {
        Ok(day) => Some(PrimitiveDateTime::new(day, Time::MIDNIGHT).assume_utc()),
        Err(_) => OffsetDateTime::parse(text, &Rfc3339).ok(),
    };
    at.and_then(|at| u64::try_from(at.unix_timestamp()).ok())
        .ok_or_else(|| "a day like 2026-11-01, or a time like 2026-11-01T06:00:00Z, after 1970".into())
}

impl Export {
    pub(in crate::command) fn run(self) -> Result<(), Failed> {
        if self.from >= self.to {
            return Err(Failed { code: 2, lines: vec!["--from must be before --to".into()], hint: None });
        }
        let dir = self.out.dir();
        self.out.check()?;
        let reader = Reader::open(&dir.log()).map_err(|e| Failed::log(&dir, e))?;
        let note = reader.latest_checkpoint().map_err(|e| Failed::log(&dir, e))?;
        let query = PeriodQuery { from: self.from, to: self.to, all: self.all };
        let draft = period(&reader, &note, query, self.out.made()).map_err(failed)?;
        self.out.hand_out(&reader, &draft)
    }
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn a_day_is_its_first_second() {
        assert_eq!(date("2027-01-31"), Ok(1_801_353_600));
        assert_eq!(date("2027-01-31T12:00:00Z"), Ok(1_801_396_800));
        assert_eq!(date("2027-01-31T14:00:00+02:00"), Ok(1_801_396_800));
        for bad in ["", "yesterday", "2027-02-30", "2027-01-31T12:00:00", "1969-12-31", "27-01-31"] {
            assert!(date(bad).is_err(), "{bad}");
        }
    }
}
