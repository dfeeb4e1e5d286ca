//! `policy shadow`: a candidate decides beside the bundle in force, in the running CA. It gives nothing to
//! anybody; where it would decide otherwise is logged and counted.

use std::path::PathBuf;

use clap::Args;

use super::super::bundle_files::BundleFiles;
use super::super::{Data, Failed, operator_client, print, tell};
use crate::data_dir::DataDir;
use crate::door::{ShadowAnswer, ShadowRequest};

/// Let a bundle decide beside the one in force.
#[derive(Debug, Args)]
pub(crate) struct Shadow {
    /// Folder with policy.toml and roster.toml
    #[arg(required_unless_present = "off")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
    /// End it
    #[arg(long, conflicts_with = "bundle")]
    off: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Shadow {
    pub(super) fn run(&self) -> Result<(), Failed> {
        let files = match &self.bundle {
            Some(folder) => {
                let files = BundleFiles::read(folder)?;
                Some((files.policy, files.roster))
            }
            None => None,
        };
        let dir = DataDir::at(&self.data.dir);
        let done: ShadowAnswer = operator_client::post(&dir, "/operator/shadow", &ShadowRequest { files })?;
        if self.json {
            let text = serde_json::to_string(&done).map_err(Failed::error)?;
            print(format_args!("{text}\n"))?;
        }
        match done.bundle {
            Some(hash) => {
                tell(format_args!("bundle {hash} decides beside the one in force until the CA stops"));
                tell("next:  the CA's log, event \"shadow.differs\"; fireaxe_shadow_decisions in /metrics");
                tell(format_args!(
                    "       fireaxe-ca policy shadow --off --data {}",
                    self.data.dir.display()
                ));
            }
            None => tell("no bundle decides beside the one in force"),
        }
        Ok(())
    }
}
