//! `log`: what an auditor asks of the log. A verb a file.

mod reconcile;
mod stream;
mod verify;

use clap::Subcommand;

use super::Failed;

/// Verify the log; compare it with what hosts' own logs show; stream it.
#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Check tree, checkpoints, statements, decisions, certificates and state from the bytes
    Verify(verify::Verify),
    /// Compare what was issued with what hosts' sshd logs and recordings show
    Reconcile(reconcile::Reconcile),
    /// Send the log as events to another system, at least once and in order
    Stream(stream::Stream),
}

impl LogCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            LogCommand::Verify(verify) => verify.run(),
            LogCommand::Reconcile(reconcile) => reconcile.run(),
            LogCommand::Stream(stream) => stream.run(),
        }
    }
}
