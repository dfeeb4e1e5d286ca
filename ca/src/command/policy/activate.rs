//! `policy activate`: hands a bundle and its admins' signatures to the running CA, which judges both.

use std::path::{Path, PathBuf};

use clap::Args;
use fireaxe_protocol::limits;
use fireaxe_protocol::policy::unsound;
use fireaxe_protocol::statement::Envelope;

use super::super::bundle_files::BundleFiles;
use super::super::{Data, Failed, operator_client, print, tell};
use super::Folder;
use crate::data_dir::DataDir;
use crate::door::{ActivatedAnswer, BundleChangeRequest};

/// Put a bundle in force.
#[derive(Debug, Args)]
pub(crate) struct Activate {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    data: Data,
    /// A file that `policy statement -o` wrote and an admin signed: FILE.sig lies beside it. Once for each
    #[arg(long = "signed", value_name = "FILE", required = true)]
    signed: Vec<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Activate {
    pub(super) fn run(&self) -> Result<(), Failed> {
        let files = BundleFiles::read(&self.folder.bundle)?;
        let unsound = unsound(&files.bundle);
        if !unsound.is_empty() {
            let folder = self.folder.bundle.display();
            return Err(Failed::config(unsound).hint(format!("fireaxe-ca policy check {folder}")));
        }
        let signed: Vec<Envelope> =
            self.signed.iter().map(|path| envelope(path)).collect::<Result<_, _>>()?;
        let request = BundleChangeRequest { policy: files.policy, roster: files.roster, signed };
        let dir = DataDir::at(&self.data.dir);
        let done: ActivatedAnswer = operator_client::post(&dir, "/operator/bundle", &request)?;
        if self.json {
            let text = serde_json::to_string(&done).map_err(Failed::error)?;
            print(format_args!("{text}\n"))?;
        }
        tell(format_args!("bundle {} is in force since entry {}", done.bundle, done.entry));
        for id in &done.closed {
            tell(format_args!("  {id} is closed: who declared it is no longer in the roster"));
        }
        for id in &done.decided_again {
            tell(format_args!("  {id} waits by the new bundle: its approvals so far are void"));
        }
        Ok(())
    }
}

/// The words and the signature beside them.
fn envelope(path: &Path) -> Result<Envelope, Failed> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".sig");
    let beside = PathBuf::from(beside);
    let read = |path: &Path, limit: usize| {
        let failed = |said: String| Failed::config(vec![format!("{}: {said}", path.display())]);
        let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
        if text.len() > limit { Err(failed(format!("longer than {limit} bytes"))) } else { Ok(text) }
    };
    let statement = read(path, limits::STATEMENT)?;
    let signature = read(&beside, limits::SIGNATURE).map_err(|failed| {
        failed.hint(format!("ssh-keygen -Y sign -n bundle.v1@fireaxe -f KEY {}", path.display()))
    })?;
    Ok(Envelope { statement, signature })
}
