//! Which log a command reads, and what whoever reads it knew before.

use std::path::{Path, PathBuf};

use clap::Args;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::NoteKey;

use crate::command::{Failed, tell};
use crate::data_dir::DataDir;
use crate::log::Reader;
use crate::verify::Beforehand;
use crate::verify::source::{Database, Folder, Source, SourceError, TilesLog, Zipped};

/// Which log.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct From {
    /// The CA's data folder
    #[arg(long = "data", value_name = "DIR", env = "FIREAXE_CA_DATA")]
    data: Option<PathBuf>,
    /// A copy of the log as tiles (C2SP tlog-tiles): a folder, or a zip of one. Read instead of a CA's log
    #[arg(long, value_name = "PATH")]
    tiles: Option<PathBuf>,
}

/// What was known before.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Knew {
    /// The key that signs the log's heads, as `fireaxe-ca log verify` named it the last time
    #[arg(long, value_name = "VKEY")]
    key: Option<NoteKey>,
    /// A head of the log from before (a host's, a witness's, last month's): the log must contain it
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
}

impl From {
    /// Opens it.
    pub(super) fn open(&self) -> Result<Box<dyn Source>, Failed> {
        match (&self.tiles, &self.data) {
            (Some(tiles), _) => open_tiles(tiles),
            (None, Some(data)) => {
                let dir = DataDir::at(data);
                let opened = Reader::open(&dir.log()).and_then(Database::of);
                Ok(Box::new(opened.map_err(|error| Failed::log(&dir, error))?))
            }
            (None, None) => Err(Failed { code: 2, lines: vec!["which log?".into()], hint: None }
                .hint("say --data DIR of a CA, or --tiles PATH of a copy")),
        }
    }
}

fn open_tiles(path: &Path) -> Result<Box<dyn Source>, Failed> {
    let failed = |what: String| {
        Failed::error(format!("{}: {what}", path.display()))
            .hint("a copy of a log has a file checkpoint and a folder tile: fireaxe log fetch DIR makes one")
    };
    let wrong = |error: SourceError| failed(error.what);
    if path.is_dir() {
        return Ok(Box::new(TilesLog::open(Folder::at(path)).map_err(wrong)?));
    }
    Ok(Box::new(TilesLog::open(Zipped::open(path).map_err(failed)?).map_err(wrong)?))
}

impl Knew {
    /// Whether the log's key was given.
    pub(super) fn gives_key(&self) -> bool {
        self.key.is_some()
    }

    /// Reads it.
    pub(super) fn read(&self) -> Result<Beforehand, Failed> {
        let since = self.since.as_deref().map(note).transpose()?;
        Ok(Beforehand { key: self.key.clone(), since })
    }
}

fn note(path: &Path) -> Result<String, Failed> {
    let failed = |what: &dyn std::fmt::Display| {
        Failed::error(format!("{}: {what}", path.display()))
            .hint("--since takes a file with one signed checkpoint")
    };
    let length = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
    if length > limits::NOTE as u64 {
        return Err(failed(&format_args!(
            "longer than the {} bytes that a checkpoint may have",
            limits::NOTE
        )));
    }
    std::fs::read_to_string(path).map_err(|error| failed(&error))
}

/// Says that the newest head is all that a copy has, where that matters.
pub(super) fn tell_what_a_copy_lacks(source: &dyn Source) {
    if !source.has_all_heads() {
        tell(
            "a copy has the newest head alone: where earlier batches ended, and whether something was missing \
             there, only the CA's own database can show",
        );
    }
}
