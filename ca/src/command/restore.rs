//! `restore`: a CA from a backup, its mirror, or both, up to the newest head that the mirror has.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;
use fireaxe_protocol::log::{Checkpoint, Event, NoteKey};

use super::folders::{beside, copy_tree, flush, move_whole};
use super::mirror::refused;
use super::{Data, Failed, tell};
use crate::data_dir::DataDir;
use crate::fence::{self, Fenced};
use crate::keys::{self, Purpose};
use crate::log::{LogError, Mirrored, Reader, Refilled};

/// Make a CA's folder from a backup, from its mirror, or from both.
#[derive(Debug, Args)]
pub(super) struct Restore {
    #[command(flatten)]
    data: Data,
    /// What `backup` made, or the data folder of a CA that does not run
    #[arg(long, value_name = "DIR", required_unless_present = "mirror")]
    from: Option<PathBuf>,
    /// The mirror: its newest entries are added, byte for byte; alone, the whole log is made from it
    #[arg(long, value_name = "DIR")]
    mirror: Option<PathBuf>,
}

struct Made {
    head: Checkpoint,
    key: NoteKey,
    refilled: Option<Refilled>,
    /// Whether the mirror says that whatever was answered is in it.
    has_all: bool,
    /// A head that the log still lacks.
    lacks: Option<Fenced>,
    has_keys: bool,
}

impl Restore {
    pub(super) fn run(self) -> Result<(), Failed> {
        let target = &self.data.dir;
        let beside = beside(target, "restore")?;
        let made = self.make(&DataDir::at(&beside));
        let made = made.and_then(|made| move_whole(&beside, target).map(|()| made));
        if made.is_err() {
            let _ = fs::remove_dir_all(&beside);
        }
        self.say(&made?);
        Ok(())
    }

    fn make(&self, to: &DataDir) -> Result<Made, Failed> {
        let failed = |error| Failed::error(format!("{}: {error}", to.path().display()));
        fs::DirBuilder::new().mode(0o700).create(to.path()).map_err(failed)?;
        if let Some(from) = &self.from {
            let from = DataDir::at(from);
            let reader = Reader::open(&from.log()).map_err(|error| unreadable(&from, error))?;
            // Of a copy in SQLite's own way: what a CA that was killed left in its write-ahead log comes too.
            reader.copy_to(&to.log()).map_err(|error| unreadable(&from, error))?;
            // A head of this log that it lacks is no less there for being restored.
            if from.fence_note().exists() {
                fs::copy(from.fence_note(), to.fence_note()).map_err(failed)?;
            }
            if from.tls_certificate().exists() {
                fs::copy(from.tls_certificate(), to.tls_certificate()).map_err(failed)?;
            }
            copy_tree(&from.recordings(), &to.recordings())?;
            copy_tree(&from.keys(), &to.keys())?;
        }
        let refilled = self.mirror.as_deref().map(|folder| self.refill(folder, to)).transpose()?;
        let (refilled, has_all) = refilled.map_or((None, false), |(refilled, all)| (Some(refilled), all));
        // All of it, from bytes: nothing is moved into place that `serve` would not start with.
        let reader = Reader::open(&to.log()).map_err(|error| unreadable(to, error))?;
        let head = reader.replay(|_, _, _| ()).map_err(|error| unreadable(to, error))?;
        let has_keys = to.keys().exists();
        if has_keys {
            fits(to, &reader)?;
        }
        let lacks = fence::look(to, &reader).map_err(Failed::error)?;
        fence::mark_restored(to, head.size, refilled.is_some()).map_err(Failed::error)?;
        flush(to.path())?;
        Ok(Made { head, key: reader.key().clone(), refilled, has_all, lacks, has_keys })
    }

    fn refill(&self, folder: &Path, to: &DataDir) -> Result<(Refilled, bool), Failed> {
        let failed = |error| match error {
            LogError::Mirror(error) => refused(self.from.as_deref().unwrap_or(folder), folder, error),
            error => unreadable(to, error),
        };
        let mirror = Mirrored::open(folder).map_err(|error| failed(error.into()))?;
        // Read before the entries are: who writes it meanwhile may begin to wait for it, and has not yet.
        let has_all = mirror.has_all_answers().map_err(|error| failed(error.into()))?;
        let refilled = match self.from {
            Some(_) => mirror.refill(&to.log()),
            None => mirror.rebuild(&to.log()),
        };
        Ok((refilled.map_err(failed)?, has_all))
    }

    fn say(&self, made: &Made) {
        let data = self.data.dir.display();
        tell(format_args!("restored to {data}: {} entries, all of them checked", made.head.size));
        tell(format_args!("  log       {}", made.head.origin));
        tell(format_args!("  log key   {}   (as entry 0 names it: compare it with yours)", made.key));
        if let Some(Refilled { had, size, heads }) = made.refilled {
            tell(format_args!("  {} of them from the mirror, with {heads} signed heads between", size - had));
            if heads == 0 && size > had + 1 {
                tell(
                    "  certificates of those carry another receipt than before, when they are asked for again",
                );
            }
            if !made.has_all {
                tell(
                    "  answers did not wait for this mirror, so that it may lack the last of them. This CA signs",
                );
                tell("  nothing until hosts or a witness confirm its head");
            }
        } else {
            tell(
                "  without a mirror: what came after the backup is missing. This CA signs nothing until hosts or a",
            );
            tell(
                "  witness confirm its head; if they know more, find the mirror, or make a new CA with --succeeds",
            );
        }
        if let Some(why) = &made.lacks {
            tell(format_args!("  it signs nothing: {why}"));
        }
        if !made.has_keys {
            tell(format_args!(
                "  without keys: put them into {data}/keys, and tls.crt beside, from where they are kept"
            ));
        }
        let mirror = self.mirror.as_ref().map_or_else(String::new, |m| format!(" --mirror {}", m.display()));
        tell(format_args!("next:  fireaxe-ca serve --data {data}{mirror}"));
    }
}

/// The keys that came along must be those that the log pins.
fn fits(dir: &DataDir, reader: &Reader) -> Result<(), Failed> {
    let first = reader.entry(0).map_err(|error| unreadable(dir, error))?;
    let Event::LogCreated { keys: pinned, .. } = first.event else {
        return Err(Failed::error("the first entry is not log.created"));
    };
    for (purpose, pinned) in [
        (Purpose::UserCa, pinned.user_ca),
        (Purpose::Log, pinned.log),
        (Purpose::Krl, pinned.krl),
        (Purpose::HostCa, pinned.host_ca),
    ] {
        let key = keys::load(&dir.keys(), purpose).map_err(|error| Failed::key(&error))?;
        if keys::public(&key) != pinned {
            return Err(Failed::config(vec![format!(
                "the {purpose:?} key file is not the one that entry 0 pins"
            )])
            .hint("restore with the keys of this log"));
        }
    }
    Ok(())
}

/// A log that cannot be restored from.
fn unreadable(dir: &DataDir, error: LogError) -> Failed {
    Failed::error(format!("{}: {error}", dir.log().display()))
        .hint("nothing was made; try an older backup with --mirror, or --mirror alone")
}
