//! `krl`: the current revocation list as the running CA would serve it, made offline from the log.

use std::io::Write;

use clap::Args;
use fireaxe_protocol::krl::Krl;

use super::{Data, Failed};
use crate::clock::{Clock, SystemClock};
use crate::data_dir::DataDir;
use crate::log::Reader;

/// Write the current revocation list to stdout.
#[derive(Debug, Args)]
pub(super) struct KrlCommand {
    #[command(flatten)]
    data: Data,
}

impl KrlCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        let reader = Reader::open(&DataDir::at(&self.data.dir).log()).map_err(Failed::error)?;
        let now = SystemClock.now().wall_s;
        let state = crate::road::fold(&reader, now).map_err(Failed::error)?;
        let (serials, version) = (state.revocations.listed(now), state.revocations.version());
        let krl = Krl::of_serials(state.keys().user_ca, &serials, version, now).encode();
        std::io::stdout().write_all(&krl).map_err(Failed::error)?;
        eprintln!("version {version}, {} serials", serials.len());
        Ok(())
    }
}
