//! One run: fetch, check, self-test, replace.

use fireaxe_protocol::limits;
use fireaxe_protocol::log::Hash;
use fireaxe_transport::{Ca, Timeouts};

use crate::atomic::{self, Pending};
use crate::config::Config;
use crate::error::HostError;
use crate::files;
use crate::krl::{KrlError, Received, State, check, installed, self_test};

/// The header with the list's note, base64.
const NOTE: &str = "fireaxe-krl-note";

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A new list is in force.
    Replaced {
        /// Its version.
        version: u64,
    },
    /// The one in force is the newest.
    Newest {
        /// Its version.
        version: u64,
    },
}

/// Fetches once and puts the list in force, if it is newer. `now` is unix seconds.
pub fn update(config: &Config, now: u64) -> Result<Outcome, HostError> {
    let user_ca = files::read_user_ca(&config.user_ca)?;
    let state = State::read(&config.state);
    let there = installed(&config.revoked_keys);

    // Step 1: fetch. What is there is named only when it is whole and the one that was remembered: else a
    // damaged list would be confirmed as the newest.
    let hash = there.as_ref().ok().map(|list| list.hash);
    let known = state.as_ref().filter(|state| hash == Some(state.hash));
    let ca = Ca::new(config.addr.clone(), config.pin, Timeouts::default())?;
    let etag = known.and_then(|state| state.etag.as_deref());
    let answer = ca.get_raw("/v1/krl", etag, limits::KRL as u64)?;
    if answer.status == 304 {
        let known = known.ok_or(KrlError::NothingNew)?;
        // "Not modified" is only the server's word; the note that comes with it is the CA's, and says how
        // fresh the list is.
        let bytes = std::fs::read(&config.revoked_keys).map_err(|_| KrlError::NothingNew)?;
        let received = Received { bytes: &bytes, note: answer.header(NOTE).ok_or(KrlError::NoNote)? };
        let last = last_version(state.as_ref(), None);
        let checked = check(&received, config, &user_ca, last)?;
        State { signed_at: checked.signed_at, confirmed_at: now, ..known.clone() }.write(&config.state)?;
        return Ok(Outcome::Newest { version: known.version });
    }

    // Steps 2 and 3: the note, the order of versions, our own reader.
    let received = Received { bytes: &answer.body, note: answer.header(NOTE).ok_or(KrlError::NoNote)? };
    let last = last_version(state.as_ref(), there.ok().map(|list| list.version));
    let checked = check(&received, config, &user_ca, last)?;

    // Step 4: whole and synced beside the one in force, judged by the host's own reader. A crash up to
    // here: the old list, and a file that nobody reads.
    if let Some(folder) = config.revoked_keys.parent() {
        atomic::folder(folder)?;
    }
    let replaced = hash != Some(Hash::of(&answer.body));
    if replaced {
        let pending = Pending::write(&config.revoked_keys, &answer.body)?;
        self_test(pending.path(), &user_ca, &config.state)?;

        // Step 5: in force at the next login.
        pending.replace()?;
    }
    // A crash here: the new list is in force and not remembered; its own version keeps the order.
    let state = State {
        schema: "fireaxe.host-krl/v1".into(),
        version: checked.version,
        hash: Hash::of(&answer.body),
        signed_at: checked.signed_at,
        confirmed_at: now,
        etag: answer.header("etag").map(str::to_owned),
    };
    state.write(&config.state)?;
    let version = checked.version;
    Ok(if replaced { Outcome::Replaced { version } } else { Outcome::Newest { version } })
}

/// The newest (version, time of signing) that was ever in force here.
fn last_version(state: Option<&State>, installed: Option<u64>) -> Option<(u64, u64)> {
    let remembered = state.map(|state| (state.version, state.signed_at));
    remembered.max(installed.map(|version| (version, 0)))
}
