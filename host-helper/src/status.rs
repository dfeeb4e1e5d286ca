//! `fireaxe-host status`: which list is in force, how old it is, and whom the host trusts.

use std::path::Path;

use fireaxe_protocol::log::Hash;
use serde::Serialize;

use crate::config::Config;
use crate::files;
use crate::krl::{State, installed};

/// What is in force on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// `fireaxe.host-status/v1`
    pub schema: &'static str,
    /// Whether the revocation list is one that revokes.
    pub list_ok: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// SHA-256 of its bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
    /// Seconds since the CA last said that it is the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u64>,
    /// Fingerprints of the CA keys that sshd trusts.
    pub user_ca: Vec<String>,
    /// Whether the drop-in is there.
    pub drop_in: bool,
}

/// Looks; `now` is unix seconds.
pub fn status(config: &Config, now: u64) -> Status {
    let state = State::read(&config.state);
    let list = installed(&config.revoked_keys);
    let hash = list.as_ref().ok().map(|list| list.hash);
    let known = state.filter(|state| Some(state.hash) == hash);
    let keys = files::read_user_ca(&config.user_ca).unwrap_or_default();
    Status {
        schema: "fireaxe.host-status/v1",
        list_ok: list.is_ok(),
        problem: list.as_ref().err().map(ToString::to_string),
        version: list.as_ref().ok().map(|list| list.version),
        hash,
        age_s: known.map(|state| now.saturating_sub(state.signed_at)),
        user_ca: keys.iter().map(|key| key.fingerprint().to_string()).collect(),
        drop_in: Path::new("/").join(crate::drop_in::DROP_IN).exists(),
    }
}

impl Status {
    /// The same in words.
    pub fn text(&self) -> String {
        let list = match (&self.problem, self.version, self.age_s) {
            (Some(problem), _, _) => format!("NOT GOOD: {problem}"),
            (None, Some(version), Some(age)) => {
                format!("version {version}, confirmed by the CA {} ago", age_words(age))
            }
            (None, Some(version), None) => format!("version {version}, never confirmed by the CA"),
            (None, None, _) => "unknown".into(),
        };
        let keys = if self.user_ca.is_empty() { "none".into() } else { self.user_ca.join(", ") };
        let drop_in = if self.drop_in { "in place" } else { "missing: run `fireaxe-host files`" };
        format!("revocation list  {list}\ntrusted CA keys  {keys}\nsshd drop-in     {drop_in}\n")
    }
}

fn age_words(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
