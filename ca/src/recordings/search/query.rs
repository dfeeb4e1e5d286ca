//! Words and conditions in, lines out, in the order of recordings and of the lines within them.

use fireaxe_protocol::names::{EmergencyId, HostName};
use fireaxe_protocol::statement::Nonce;
use rusqlite::params;

use super::index::{Index, SearchFault};

/// What is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// FTS5's words: `restart payments`, `"exact words"`, `pay*`, `a OR b`, `a NOT b`.
    pub words: String,
    /// Only on this host.
    pub host: Option<String>,
    /// Only of this person.
    pub person: Option<String>,
    /// Only of this tier.
    pub tier: Option<String>,
    /// Only of this emergency.
    pub emergency: Option<EmergencyId>,
    /// Only recordings that began at this time or later, unix seconds.
    pub since: Option<u64>,
    /// Only recordings that ended so.
    pub exit: Option<u16>,
    /// Lines at most.
    pub most: u32,
}

/// A line that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// On which host.
    pub host: HostName,
    /// In which recording.
    pub recording: Nonce,
    /// Of which emergency.
    pub emergency: Option<EmergencyId>,
    /// Whose.
    pub person: Option<String>,
    /// Of which tier.
    pub tier: Option<String>,
    /// As which account.
    pub account: Option<String>,
    /// When the recording began, unix microseconds.
    pub began_us: u64,
    /// When the line was last on the screen, microseconds after that.
    pub at_us: u64,
    /// The line.
    pub text: String,
}

impl Index {
    /// Looks for lines.
    pub fn find(&self, query: &Query) -> Result<Vec<Found>, SearchFault> {
        let mut rows = self.database.prepare_cached(
            "SELECT r.host, r.name, r.emergency, r.person, r.tier, r.account, r.began_us, line.at_us, line.text
             FROM line CROSS JOIN recording r ON r.id = line.rowid >> 32
             WHERE line MATCH ?1 AND (?2 IS NULL OR r.host = ?2) AND (?3 IS NULL OR r.person = ?3)
               AND (?4 IS NULL OR r.tier = ?4) AND (?5 IS NULL OR r.emergency = ?5)
               AND (?6 IS NULL OR r.began_us >= ?6) AND (?7 IS NULL OR r.exit = ?7)
             ORDER BY line.rowid LIMIT ?8",
        )?;
        let since =
            query.since.map(|since| since.saturating_mul(1_000_000).min(i64::MAX as u64).cast_signed());
        let given = params![
            query.words,
            query.host,
            query.person,
            query.tier,
            query.emergency.map(|id| id.0.cast_signed()),
            since,
            query.exit,
            query.most,
        ];
        let read = rows.query_map(given, |row| {
            let (host, name): (String, String) = (row.get(0)?, row.get(1)?);
            let unsigned = |n: usize| row.get::<_, i64>(n).map(i64::cast_unsigned);
            let emergency: Option<i64> = row.get(2)?;
            let (Ok(host), Ok(recording)) = (host.parse(), name.parse()) else {
                return Err(rusqlite::Error::QueryReturnedNoRows);
            };
            Ok(Found {
                host,
                recording,
                emergency: emergency.map(|id| EmergencyId(id.cast_unsigned())),
                person: row.get(3)?,
                tier: row.get(4)?,
                account: row.get(5)?,
                began_us: unsigned(6)?,
                at_us: unsigned(7)?,
                text: row.get(8)?,
            })
        })?;
        read.collect::<Result<Vec<Found>, rusqlite::Error>>().map_err(told)
    }

    /// Recordings of which the index has no text: sealed, and never opened for it.
    pub fn unsearched(&self) -> Result<usize, SearchFault> {
        let many: i64 =
            self.database
                .query_row("SELECT count(*) FROM recording WHERE NOT searched", [], |row| row.get(0))?;
        Ok(usize::try_from(many).unwrap_or(0))
    }
}

/// FTS5 says what is wrong with words in a message alone: what the database says while it reads the words is that.
fn told(error: rusqlite::Error) -> SearchFault {
    match &error {
        rusqlite::Error::SqliteFailure(failure, Some(said))
            if failure.code == rusqlite::ErrorCode::Unknown =>
        {
            SearchFault::Query(said.clone())
        }
        _ => SearchFault::Database(error),
    }
}
