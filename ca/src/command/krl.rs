//! `krl`: the current revocation list as the running CA would serve it, made offline from the log.

use std::io::Write;

use clap::Args;

use super::{Data, Failed, tell};
use crate::clock::{Clock, SystemClock};
use crate::data_dir::DataDir;
use crate::log::Reader;
use crate::road::RevocationView;

/// Write the current revocation list to stdout.
#[derive(Debug, Args)]
pub(super) struct KrlCommand {
    #[command(flatten)]
    data: Data,
}

impl KrlCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        let dir = DataDir::at(&self.data.dir);
        let reader = Reader::open(&dir.log()).map_err(|e| Failed::log(&dir, e))?;
        let now = SystemClock.now().wall_s;
        let state = crate::snapshot::fold(&reader).map_err(Failed::error)?.state;
        let view = RevocationView {
            version: state.revocations.version(),
            serials: state.revocations.listed(),
            at: now,
        };
        std::io::stdout().write_all(&view.list(state.keys().user_ca)).map_err(Failed::error)?;
        tell(format_args!("version {}, {} serials", view.version, view.serials.len()));
        Ok(())
    }
}
