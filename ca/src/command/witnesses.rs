//! `serve --witness-policy`: who is asked to cosign, and what they know of this log before it signs anything.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::{NoteKey, WitnessPolicy};

use super::Failed;
use crate::clock::Clock;
use crate::data_dir::DataDir;
use crate::road::Cosigners;
use crate::witness::{Roots, Settings, Witnesses, platform_roots};

/// Who is asked.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Witnesses that cosign each head, and how many are enough (C2SP tlog-policy, each with its address)
    #[arg(long, value_name = "FILE", env = "FIREAXE_WITNESS_POLICY")]
    witness_policy: Option<PathBuf>,
    /// CA certificates (PEM) for https witnesses; default: this machine's own
    #[arg(long, value_name = "FILE", requires = "witness_policy")]
    witness_ca: Option<PathBuf>,
}

impl Asked {
    /// Starts asking, and waits a moment for what they know. Refuses when one of them is ahead of this log; else
    /// also says whether they confirm its newest head ([`Witnesses::look`]).
    pub(super) fn start(
        &self,
        dir: &DataDir,
        log: &NoteKey,
        clock: Arc<dyn Clock>,
        in_doubt: bool,
    ) -> Result<(Option<Box<dyn Cosigners>>, bool), Failed> {
        let Some(path) = &self.witness_policy else { return Ok((None, false)) };
        let policy = read(path, log)?;
        let secure =
            policy.witnesses().iter().any(|w| w.url.as_deref().is_some_and(|u| u.starts_with("https:")));
        let roots = match (self.witness_ca.clone().or_else(platform_roots), secure) {
            (_, false) => Roots::default(),
            (Some(path), true) => Roots::read(&path).map_err(|line| Failed::config(vec![line]))?,
            (None, true) => {
                let line = "this machine has no CA certificates for https witnesses".to_owned();
                return Err(Failed::config(vec![line]).hint("name a PEM file of them: --witness-ca FILE"));
            }
        };
        let witnesses = Witnesses::start(Settings { policy, roots, clock, in_doubt }, &dir.log())
            .map_err(|e| Failed::config(vec![format!("{}: {e}", path.display())]))?;
        let confirmed = witnesses.look().map_err(|ahead| {
            Failed::error(format!(
                "{ahead}: this log is an older copy, or another past of it; nothing is signed"
            ))
            .hint(format!(
                "fireaxe-ca restore --from {} --mirror MIRROR --data NEW, and serve NEW; without a mirror: \
                 docs/OPERATIONS.md, When a witness is ahead",
                dir.path().display()
            ))
        })?;
        Ok((Some(Box::new(witnesses)), confirmed))
    }
}

fn read(path: &std::path::Path, log: &NoteKey) -> Result<WitnessPolicy, Failed> {
    use std::io::Read;
    let unreadable = |e: std::io::Error| Failed::config(vec![format!("{}: {e}", path.display())]);
    let mut text = Vec::new();
    let most = limits::WITNESS_POLICY as u64 + 1;
    std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut text)).map_err(unreadable)?;
    WitnessPolicy::parse(&text, log).map_err(|errors| {
        let lines = errors.iter().map(|error| format!("{}: {error}", path.display())).collect();
        Failed::config(lines).hint("docs/PROTOCOL.formats.md, Witness policy, has an example")
    })
}
