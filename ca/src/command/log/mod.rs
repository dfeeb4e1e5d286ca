//! `log`: what an auditor asks of the log. A verb a file.

mod export;
mod handing_out;
mod receipt;
mod verify;

use clap::Subcommand;

use super::Failed;

/// Verify the log.
#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Check tree, checkpoints, statements, decisions, certificates and state from the bytes
    Verify(verify::Verify),
    /// Put everything of one emergency into one file that is checked offline
    Receipt(receipt::Receipt),
    /// Put everything of a period into one file: entries with their proof, tables, a page
    Export(export::Export),
}

impl LogCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            LogCommand::Verify(verify) => verify.run(),
            LogCommand::Receipt(receipt) => receipt.run(),
            LogCommand::Export(export) => export.run(),
        }
    }
}
