//! Which witnesses this host asks for: the policy file that `host.toml` names. Read at each login, by whoever judges
//! it: `principals` as an account without rights, so everybody may read it; root alone may change it.
//!
//! A file that is named and cannot be read as it must be refuses every certificate: a host that was told to ask for
//! witnesses never goes on without.

use std::path::Path;

use fireaxe_protocol::limits;
use fireaxe_protocol::log::{NoteKey, WitnessPolicy};

use crate::config::Config;
use crate::guarded::{self, Unread};

/// What is asked of a certificate's witnesses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witnesses {
    /// Nothing: no file is named.
    NotAsked,
    /// A quorum.
    Policy(Box<WitnessPolicy>),
    /// A file is named and is not one: why.
    Unreadable(String),
}

impl Witnesses {
    /// Reads what the configuration names.
    pub fn of(config: &Config) -> Witnesses {
        let Some(enrolled) = &config.enrolled else { return Witnesses::NotAsked };
        match &enrolled.witness_policy {
            None => Witnesses::NotAsked,
            Some(path) => match kept(path, &enrolled.log_key) {
                Ok((policy, _)) => Witnesses::Policy(Box::new(policy)),
                Err(why) => Witnesses::Unreadable(why),
            },
        }
    }

    /// In words, for `status`; nothing: none are asked for.
    pub fn words(&self) -> Option<String> {
        match self {
            Witnesses::NotAsked => None,
            Witnesses::Policy(policy) => Some(format!(
                "at least {} of {} must have cosigned",
                policy.least(),
                policy.witnesses().len()
            )),
            Witnesses::Unreadable(why) => Some(format!("NOT READABLE, every certificate is refused: {why}")),
        }
    }
}

/// Reads the policy that this host keeps, for the log of this key; gives its text too. Why not, in words with the
/// file's name.
pub fn kept(path: &Path, log: &NoteKey) -> Result<(WitnessPolicy, Vec<u8>), String> {
    parsed(path, guarded::kept(path, MOST), log)
}

/// The same of a file that is given to be copied, whoever has it.
pub fn given(path: &Path, log: &NoteKey) -> Result<(WitnessPolicy, Vec<u8>), String> {
    parsed(path, guarded::given(path, MOST), log)
}

/// One byte more than a policy may have, so that one that is cut is not taken for whole.
const MOST: u64 = limits::WITNESS_POLICY as u64 + 1;

fn parsed(
    path: &Path,
    text: Result<Vec<u8>, Unread>,
    log: &NoteKey,
) -> Result<(WitnessPolicy, Vec<u8>), String> {
    let failed = |why: String| format!("{}: {why}", path.display());
    let text = text.map_err(|unread| failed(unread.to_string()))?;
    match WitnessPolicy::parse(&text, log) {
        Ok(policy) => Ok((policy, text)),
        Err(errors) => {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Err(failed(all.join("; ")))
        }
    }
}
