//! `rec`: what hosts recorded: listed, held against what they reported, searched, played. Over a data folder or
//! an auditor's copy; needs no running CA but to log that something is read.
//!
//! | file | what it does |
//! |---|---|
//! | `source` | where recordings and their log are read from; identities |
//! | `shelf` | files and reports put together |
//! | `checking` | `ls`, `verify` |
//! | `showing` | `play`, `export` |
//! | `plain` | what a terminal of ours may be sent of a recording |
//! | `searching` | `index`, `grep` |

mod checking;
mod plain;
mod searching;
mod shelf;
mod showing;
mod source;

use clap::Subcommand;

use super::Failed;

/// List, verify, search and play what hosts recorded.
#[derive(Debug, Subcommand)]
pub(super) enum Rec {
    /// List them
    Ls(checking::Ls),
    /// Check their chunks, and that they are what the host reported
    Verify(checking::Verify),
    /// Find words in what was shown
    Grep(searching::Grep),
    /// Bring the index of what was shown up to date
    Index(searching::IndexCommand),
    /// Play one on this terminal, or print it as text
    Play(showing::Play),
    /// Write one as asciicast v3 to stdout
    Export(showing::Export),
}

impl Rec {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Rec::Ls(ls) => ls.run(),
            Rec::Verify(verify) => verify.run(),
            Rec::Grep(grep) => grep.run(),
            Rec::Index(index) => index.run(),
            Rec::Play(play) => play.run(),
            Rec::Export(export) => export.run(),
        }
    }
}
