//! `log`: what an auditor asks of the log. A verb a file.

mod verify;

use clap::Subcommand;

use super::Failed;

/// Verify the log.
#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Check tree, checkpoints, statements, decisions, certificates and state from the bytes
    Verify(verify::Verify),
}

impl LogCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            LogCommand::Verify(verify) => verify.run(),
        }
    }
}
