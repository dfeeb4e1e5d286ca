//! `clock confirm`: an operator's word that the clock is right after a jump stopped the CA.

use clap::{Args, Subcommand};
use fireaxe_protocol::names::ReasonText;

use super::{Data, Failed, operator_client, tell};
use crate::data_dir::DataDir;
use crate::door::{ClockConfirmation, RecordedAnswer};

/// Confirm the clock after a jump.
#[derive(Debug, Subcommand)]
pub(super) enum Clock {
    /// The machine's clock is right now
    Confirm(Confirm),
}

#[derive(Debug, Args)]
pub(super) struct Confirm {
    /// How you know
    #[arg(long)]
    reason: ReasonText,
    #[command(flatten)]
    data: Data,
}

impl Clock {
    pub(super) fn run(self) -> Result<(), Failed> {
        let Clock::Confirm(confirm) = self;
        let told: RecordedAnswer = operator_client::post(
            &DataDir::at(&confirm.data.dir),
            "/operator/clock",
            &ClockConfirmation { reason: confirm.reason },
        )?;
        tell(format_args!("confirmed: entry {} of the log; the CA signs again", told.index));
        Ok(())
    }
}
