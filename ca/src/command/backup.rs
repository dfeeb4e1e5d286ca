//! `backup`: a copy of a CA that may be running, whole and checked before it gets its name.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;
use fireaxe_protocol::log::Checkpoint;

use super::folders::{beside, copy_tree, flush, move_whole};
use super::{Data, Failed, tell};
use crate::data_dir::DataDir;
use crate::log::Reader;

/// Copy a CA, running or not, to a new folder.
#[derive(Debug, Args)]
pub(super) struct Backup {
    #[command(flatten)]
    data: Data,
    /// The folder to make; it must not be there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Copy the private keys too: whoever reads the backup can then sign whatever this CA can
    #[arg(long)]
    with_keys: bool,
}

impl Backup {
    pub(super) fn run(self) -> Result<(), Failed> {
        let dir = DataDir::at(&self.data.dir);
        let reader = Reader::open(&dir.log()).map_err(|error| Failed::log(&dir, error))?;
        let beside = beside(&self.to, "backup")?;
        let made = self.make(&dir, &reader, &DataDir::at(&beside));
        let made = made.and_then(|head| move_whole(&beside, &self.to).map(|()| head));
        if made.is_err() {
            let _ = fs::remove_dir_all(&beside);
        }
        let head = made?;
        tell(format_args!("a backup in {}: {} entries, checked", self.to.display(), head.size));
        tell(format_args!("  log key   {}   (as entry 0 names it)", reader.key()));
        match self.with_keys {
            true => tell("  with the private keys, unencrypted: keep it where nobody else reads"),
            false => {
                tell("  without the private keys: a CA that is restored from it needs them from elsewhere")
            }
        }
        tell(format_args!(
            "next:  fireaxe-ca restore --from {} --mirror MIRROR --data NEW   (when it is needed)",
            self.to.display()
        ));
        Ok(())
    }

    fn make(&self, from: &DataDir, reader: &Reader, to: &DataDir) -> Result<Checkpoint, Failed> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| Failed::error(format!("{path}: {error}"))
        };
        fs::DirBuilder::new().mode(0o700).create(to.path()).map_err(failed(to.path()))?;
        reader.copy_to(&to.log()).map_err(|error| Failed::log(to, error))?;
        // What is copied is checked, not what was read: whole, under its signed head.
        let copy = Reader::open(&to.log()).map_err(|error| Failed::log(to, error))?;
        let head = copy.replay(|_, _, _| ()).map_err(|error| Failed::log(to, error))?;
        if from.tls_certificate().exists() {
            fs::copy(from.tls_certificate(), to.tls_certificate())
                .map_err(failed(&from.tls_certificate()))?;
        }
        copy_tree(&from.recordings(), &to.recordings())?;
        if self.with_keys {
            copy_tree(&from.keys(), &to.keys())?;
        }
        flush(to.path())?;
        Ok(head)
    }
}
