//! Where recordings and their log are read from: a CA's data folder, or an auditor's copy of it (`checkpoint`,
//! `tile/...`, `recordings/HOST/NAME`). Neither needs a running CA.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::Evidence;
use fireaxe_protocol::log::tiles::{TILE_WIDTH, TileKind, TilePath, decode_bundle};
use fireaxe_protocol::names::shown;

use crate::command::Failed;
use crate::command::evidence_access::tell_the_log;
use crate::data_dir::DataDir;
use crate::log::Reader;
use crate::recordings::opening::{Identities, IdentityFault};

/// Which recordings.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// The CA's data folder
    #[arg(long = "data", value_name = "DIR", env = "FIREAXE_CA_DATA", required_unless_present = "from")]
    dir: Option<PathBuf>,
    /// An auditor's copy instead: checkpoint, tile/ and recordings/
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,
}

/// What opens those that are sealed.
#[derive(Debug, Args)]
pub(super) struct Key {
    /// An age identity file that opens what is sealed to it
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

/// Whether to do without the log.
#[derive(Debug, Args)]
pub(super) struct Unlogged {
    /// Read although no running CA logs that it is read
    #[arg(long)]
    unlogged: bool,
}

impl Key {
    pub(super) fn is_given(&self) -> bool {
        self.identity.is_some()
    }

    pub(super) fn read(&self) -> Result<Option<Identities>, Failed> {
        let Some(path) = &self.identity else { return Ok(None) };
        Identities::read(path).map(Some).map_err(|error| {
            let failed = Failed::config(vec![error.to_string()]);
            match error {
                IdentityFault::Exposed(path, _) => failed.hint(format!(
                    "chmod 600 {}, and think about who has read it: they can open what is sealed to it",
                    path.display()
                )),
                _ => failed.hint("give a file that age-keygen wrote: AGE-SECRET-KEY-1... a line"),
            }
        })
    }
}

/// A source.
#[derive(Debug)]
pub(super) enum Source {
    /// A CA's data folder.
    Ca(DataDir),
    /// A copy.
    Copy(PathBuf),
}

impl Where {
    pub(super) fn source(&self) -> Source {
        match (&self.from, &self.dir) {
            (Some(folder), _) => Source::Copy(folder.clone()),
            (None, dir) => Source::Ca(DataDir::at(dir.as_deref().unwrap_or("".as_ref()))),
        }
    }
}

impl Source {
    /// Where the recordings are.
    pub(super) fn recordings(&self) -> PathBuf {
        match self {
            Source::Ca(dir) => dir.recordings(),
            Source::Copy(folder) => folder.join("recordings"),
        }
    }

    /// Where the index is, unless another is named.
    pub(super) fn index(&self) -> PathBuf {
        match self {
            Source::Ca(dir) => dir.search(),
            Source::Copy(folder) => folder.join("search.sqlite"),
        }
    }

    /// The words that name it, for the next command.
    pub(super) fn words(&self) -> String {
        match self {
            Source::Ca(dir) => format!("--data {}", dir.path().display()),
            Source::Copy(folder) => format!("--from {}", folder.display()),
        }
    }

    /// On the CA's machine reading is logged; who reads a copy was logged when they got it.
    pub(super) fn is_read(&self, what: Evidence, unlogged: &Unlogged) -> Result<(), Failed> {
        match self {
            Source::Ca(dir) => tell_the_log(dir, what, unlogged.unlogged),
            Source::Copy(_) => Ok(()),
        }
    }

    /// The entries of the log, in order. Of a copy they are as they came: `fireaxe-ca log verify` checks them.
    pub(super) fn entries(&self, mut each: impl FnMut(u64, &[u8])) -> Result<(), Failed> {
        match self {
            Source::Ca(dir) => {
                let reader = Reader::open(&dir.log()).map_err(|e| Failed::log(dir, e))?;
                let read = reader.entries(0, u64::MAX, |index, bytes| {
                    each(index, bytes);
                    ControlFlow::Continue(())
                });
                read.map_err(|e| Failed::log(dir, e))
            }
            Source::Copy(folder) => copied(folder, &mut each),
        }
    }
}

fn copied(folder: &std::path::Path, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failed> {
    let wrong = |path: &std::path::Path, why: &dyn std::fmt::Display| {
        Failed::error(format!("{}: {why}", path.display())).hint("fetch the copy again")
    };
    let path = folder.join("checkpoint");
    let note = bounded(&path, limits::NOTE as u64).map_err(|error| wrong(&path, &error))?;
    let text = String::from_utf8_lossy(&note).into_owned();
    let second = text.lines().nth(1).unwrap_or_default();
    let size: u64 =
        second.parse().map_err(|_| wrong(&path, &format!("{} is no tree's size", shown(second))))?;
    let (width, mut index) = (u64::from(TILE_WIDTH), 0u64);
    while index * width < size {
        let here = (size - index * width).min(width);
        let tile =
            TilePath { kind: TileKind::Entries, index, width: u16::try_from(here).unwrap_or(TILE_WIDTH) };
        let path = folder.join(tile.to_string());
        let most = (limits::ENTRY as u64 + 2) * width;
        let bytes = bounded(&path, most).map_err(|error| wrong(&path, &error))?;
        let entries = decode_bundle(&bytes).map_err(|error| wrong(&path, &error))?;
        if entries.len() as u64 != here {
            return Err(wrong(&path, &format!("it holds {} entries and not {here}", entries.len())));
        }
        for (n, entry) in entries.into_iter().enumerate() {
            each(index * width + n as u64, entry);
        }
        index += 1;
    }
    Ok(())
}

fn bounded(path: &std::path::Path, most: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(std::io::Error::other(format!("longer than {most} bytes"))),
        false => Ok(bytes),
    }
}
