//! `index` and `grep`: words in what was shown.

use std::path::PathBuf;

use clap::Args;
use fireaxe_protocol::log::Evidence;
use fireaxe_protocol::names::EmergencyId;

use super::plain::escaped;
use super::shelf::catalog;
use super::source::{Key, Source, Unlogged, Where};
use crate::command::{Failed, print, tell};
use crate::recordings::files;
use crate::recordings::search::index::Updated;
use crate::recordings::search::{Index, Query, SearchFault};

#[derive(Debug, Args)]
pub(in crate::command) struct IndexCommand {
    #[command(flatten)]
    of: Where,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    index: IndexFile,
    #[command(flatten)]
    unlogged: Unlogged,
}

#[derive(Debug, Args)]
pub(in crate::command) struct Grep {
    /// Words that stand in one line: restart payments, "exact words", pay*, a OR b, a NOT b
    words: String,
    #[command(flatten)]
    of: Where,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    index: IndexFile,
    #[command(flatten)]
    unlogged: Unlogged,
    /// Only on this host
    #[arg(long)]
    host: Option<String>,
    /// Only of this person
    #[arg(long)]
    person: Option<String>,
    /// Only of this tier
    #[arg(long)]
    tier: Option<String>,
    /// Only of this emergency
    #[arg(long, value_name = "EM-42")]
    emergency: Option<EmergencyId>,
    /// Only what began on this day or later, UTC
    #[arg(long, value_name = "2026-11-28", value_parser = since)]
    since: Option<u64>,
    /// Only what ended with this exit code; 128 and the signal for what a signal ended
    #[arg(long, value_name = "N")]
    exit: Option<u16>,
    /// Lines at most
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    most: u32,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct IndexFile {
    /// The index; else search.sqlite beside the recordings
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
}

fn since(text: &str) -> Result<u64, String> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let day =
        time::Date::parse(text, format).map_err(|_| "a day is YEAR-MONTH-DAY: 2026-11-28".to_owned())?;
    u64::try_from(day.midnight().assume_utc().unix_timestamp()).map_err(|_| "that is before 1970".to_owned())
}

impl IndexCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        let source = self.of.source();
        // An index of the caller's own is the text of every recording in their hands; the one beside the data is
        // read through `grep`, which is logged.
        if self.index.index.is_some() || self.key.is_given() {
            source.is_read(Evidence::Recordings, &self.unlogged)?;
        }
        let (_, updated) = updated(&source, &self.key, &self.index)?;
        let Updated { read, gone, sealed, cut } = updated;
        tell(format_args!(
            "{read} recordings read, {gone} gone, {sealed} sealed and not searched, {cut} cut"
        ));
        Ok(())
    }
}

impl Grep {
    pub(super) fn run(self) -> Result<(), Failed> {
        let source = self.of.source();
        let what = self.emergency.map_or(Evidence::Recordings, Evidence::Emergency);
        source.is_read(what, &self.unlogged)?;
        let (index, updated) = updated(&source, &self.key, &self.index)?;
        let query = Query {
            words: self.words,
            host: self.host,
            person: self.person,
            tier: self.tier,
            emergency: self.emergency,
            since: self.since,
            exit: self.exit,
            most: self.most,
        };
        let found = index.find(&query).map_err(failed)?;
        for line in &found {
            let at_s = (line.began_us + line.at_us) / 1_000_000;
            if self.json {
                let told = serde_json::json!({
                    "schema": "fireaxe.recording-line/v1", "emergency": line.emergency, "host": line.host,
                    "recording": line.recording, "person": line.person, "tier": line.tier,
                    "account": line.account, "at": at_s, "offset_us": line.at_us, "line": line.text,
                });
                print(format_args!("{told}\n"))?;
            } else {
                let emergency = line.emergency.map_or("-".into(), |id| id.to_string());
                let person = line.person.as_deref().unwrap_or("-");
                print(format_args!(
                    "{emergency}  {}  {}  {}  {}  +{}.{:01}s  {}\n",
                    line.host,
                    escaped(person),
                    line.recording,
                    moment(at_s),
                    line.at_us / 1_000_000,
                    line.at_us / 100_000 % 10,
                    escaped(&line.text)
                ))?;
            }
        }
        let more =
            if found.len() as u64 >= u64::from(self.most) { " (there may be more: --most N)" } else { "" };
        tell(format_args!("{} lines{more}", found.len()));
        let unsearched = index.unsearched().map_err(failed)?;
        if unsearched > 0 {
            tell(format_args!(
                "{unsearched} recordings were not searched: they are sealed, and no identity opened them"
            ));
        }
        if updated.cut > 0 {
            tell(format_args!(
                "{} recordings were not read to their end: damaged, or past a limit",
                updated.cut
            ));
        }
        Ok(())
    }
}

/// The index, brought up to date.
fn updated(source: &Source, key: &Key, file: &IndexFile) -> Result<(Index, Updated), Failed> {
    let identities = key.read()?;
    if let (Source::Ca(_), Some(_), None) = (source, &identities, &file.index) {
        let line = "what is sealed is not written in clear beside the CA's data";
        return Err(Failed { code: 2, lines: vec![line.into()], hint: None }
            .hint("name an index on a disk of yours: --index FILE"));
    }
    let catalog = catalog(source)?;
    let path = file.index.clone().unwrap_or_else(|| source.index());
    let mut index = Index::open(&path).map_err(failed)?;
    let there = files(&source.recordings());
    let told = |name: &_, connection| catalog.told(name, connection);
    let updated = index.update(&there, identities.as_ref(), told).map_err(failed)?;
    Ok((index, updated))
}

fn failed(fault: SearchFault) -> Failed {
    let failed = Failed::error(escaped(&fault.to_string()));
    match fault {
        SearchFault::Query(_) => Failed { code: 2, ..failed }
            .hint("put words with signs in them into double quotes: rec grep '\"payments-db restart\"'"),
        SearchFault::Database(error) if is_in_use(&error) => failed.hint("another search writes it: try again"),
        SearchFault::Database(_) => {
            failed.hint("remove the index (search.sqlite) and run it again: it comes back")
        }
        SearchFault::File(..) => failed.hint("give an index that can be written: --index FILE"),
        SearchFault::NoIndex(_) => {
            failed.hint("name an index, or a file that is not there yet: --index FILE; one of an older version: remove it")
        }
    }
}

fn is_in_use(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}

fn moment(at: u64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let at = i64::try_from(at).ok().and_then(|at| time::OffsetDateTime::from_unix_timestamp(at).ok());
    at.and_then(|at| at.format(format).ok()).unwrap_or_else(|| "?".into())
}
