//! A file of evidence on its way out. First the running CA logs the hash of its manifest, under the name of whoever
//! asks; only then anything is written. So a file that somebody holds is in the log, or says itself that it is not.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use fireaxe_protocol::evidence::Made;
use rustix::process::getuid;

use crate::clock::{Clock, SystemClock};
use crate::command::{Data, Failed, operator_client, tell};
use crate::data_dir::DataDir;
use crate::door::{EvidenceRequest, RecordedAnswer};
use crate::evidence::{Draft, Fault, Logged};
use crate::log::Reader;

/// Where it goes, and whether the log learns of it.
#[derive(Debug, Args)]
pub(super) struct Out {
    /// The file to write, or - for stdout; one that is there is left alone
    #[arg(short, long = "output", value_name = "FILE")]
    output: PathBuf,
    /// Without a running CA: the file then says itself that the log does not know of it
    #[arg(long)]
    unlogged: bool,
    #[command(flatten)]
    data: Data,
}

impl Out {
    pub(super) fn dir(&self) -> DataDir {
        DataDir::at(&self.data.dir)
    }

    pub(super) fn is_logged(&self) -> bool {
        !self.unlogged
    }

    /// Who makes it, now.
    pub(super) fn made(&self) -> Made {
        Made {
            at: SystemClock.now().wall_s,
            by: format!("operator uid {}", getuid().as_raw()),
            version: env!("CARGO_PKG_VERSION").into(),
            logged: self.is_logged(),
        }
    }

    /// That the file can be made, before anything is logged.
    pub(super) fn check(&self) -> Result<(), Failed> {
        if self.output != Path::new("-") && self.output.symlink_metadata().is_ok() {
            return Err(Failed::error(format!("{} is there already", self.output.display()))
                .hint("name another file: what was handed out is not written over"));
        }
        Ok(())
    }

    /// Logs it, then writes it.
    pub(super) fn hand_out(&self, reader: &Reader, draft: &Draft<'_>) -> Result<(), Failed> {
        let dir = self.dir();
        let logged = if self.is_logged() { Some(self.log(&dir, reader, draft)?) } else { None };
        if self.output == Path::new("-") {
            let mut out = BufWriter::new(std::io::stdout().lock());
            draft.write(&mut out, logged.as_ref()).map_err(failed)?;
            return out.flush().map_err(|error| failed(error.into()));
        }
        let beside = beside(&self.output);
        let written = write_new(&beside, draft, logged.as_ref())
            .and_then(|()| std::fs::hard_link(&beside, &self.output).map_err(Fault::Io));
        // Best effort: what matters is whether the file is there under its own name.
        let _ = std::fs::remove_file(&beside);
        written.map_err(failed)?;
        tell(format_args!("{}: {} parts", self.output.display(), draft.manifest().parts.len()));
        match &logged {
            Some(_) => tell(format_args!("the log has it: manifest {}", draft.manifest().hash())),
            None => tell("NOT LOGGED: the file says so, too"),
        }
        tell(format_args!(
            "next:  fireaxe verify {} --key {}",
            self.output.display(),
            draft.manifest().log_key
        ));
        Ok(())
    }

    fn log(&self, dir: &DataDir, reader: &Reader, draft: &Draft<'_>) -> Result<Logged, Failed> {
        let manifest = draft.manifest();
        let request = EvidenceRequest { what: manifest.of.clone(), manifest: Some(manifest.hash()) };
        let told: RecordedAnswer = operator_client::post(dir, "/operator/evidence", &request)
            .map_err(|failed| self.unavailable(failed))?;
        let read = |error| Failed::log(dir, error);
        let entry = reader.entry_bytes(told.index).map_err(read)?;
        let proof = reader.receipt(told.index).map_err(read)?.encode();
        Ok(Logged { entry, proof })
    }

    /// A CA that does not run can log nothing.
    pub(super) fn unavailable(&self, mut failed: Failed) -> Failed {
        if failed.code == 69 {
            failed
                .lines
                .push("reading evidence is itself logged, and nothing is handed out before that".into());
            let data = self.data.dir.display();
            failed.hint =
                Some(format!("fireaxe-ca serve --data {data}; or add --unlogged: the file then says so"));
        }
        failed
    }
}

pub(super) fn failed(fault: Fault) -> Failed {
    Failed::error(fault)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    PathBuf::from(name)
}

/// For its owner alone, on disk before it has its name.
fn write_new(path: &Path, draft: &Draft<'_>, logged: Option<&Logged>) -> Result<(), Fault> {
    let file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut out = BufWriter::new(file);
    draft.write(&mut out, logged)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    Ok(())
}
