//! One run: fetch, check, self-test, replace; and its later steps alone, for lists that come otherwise.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fireaxe_protocol::limits;
use fireaxe_protocol::log::Hash;
use fireaxe_transport::{Ca, Timeouts};
use rustix::fs::FlockOperation;

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
    // Step 1: fetch. What is there is named only when it is whole and the one that was remembered: else a
    // damaged list would be confirmed as the newest.
    let hash = installed(&config.revoked_keys).ok().map(|list| list.hash);
    let known = State::read(&config.state).filter(|state| hash == Some(state.hash));
    let ca = Ca::new(config.addr.clone(), config.pin, Timeouts::default())?;
    let etag = known.as_ref().and_then(|state| state.etag.as_deref());
    let answer = ca.get_raw("/v1/krl", etag, limits::KRL as u64)?;
    let note = answer.header(NOTE).ok_or(KrlError::NoNote)?;
    if answer.status == 304 {
        // "Not modified" is only the server's word; the note that comes with it is the CA's, and says how
        // fresh the list is.
        return renew(config, note, now)?.ok_or(KrlError::NothingNew.into());
    }
    take(config, &Received { bytes: &answer.body, note }, answer.header("etag"), now)
}

/// Steps 2 to 5 with a list that came. `etag` is how the CA names it, if it said so.
pub fn take(
    config: &Config,
    received: &Received<'_>,
    etag: Option<&str>,
    now: u64,
) -> Result<Outcome, HostError> {
    let _one_at_a_time = Lock::take(&config.state)?;
    let user_ca = files::read_user_ca(&config.user_ca)?;
    let state = State::read(&config.state);
    let there = installed(&config.revoked_keys);
    let hash = there.as_ref().ok().map(|list| list.hash);

    // Steps 2 and 3: the note, the order of versions, our own reader.
    let last = last_version(state.as_ref(), there.ok().map(|list| list.version));
    let checked = check(received, config, &user_ca, last)?;

    // Step 4: whole and synced beside the one in force, judged by the host's own reader. A crash up to
    // here: the old list, and a file that nobody reads.
    if let Some(folder) = config.revoked_keys.parent() {
        atomic::folder(folder)?;
    }
    let came = Hash::of(received.bytes);
    let replaced = hash != Some(came);
    if replaced {
        let pending = Pending::write(&config.revoked_keys, received.bytes)?;
        self_test(pending.path(), &user_ca)?;

        // Step 5: in force at the next login.
        pending.replace()?;
    }
    // A crash here: the new list is in force and not remembered; its own version keeps the order.
    let state = State {
        schema: "fireaxe.host-krl/v1".into(),
        version: checked.version,
        hash: came,
        signed_at: checked.signed_at,
        confirmed_at: now,
        etag: etag.map(str::to_owned),
    };
    state.write(&config.state)?;
    let version = checked.version;
    Ok(if replaced { Outcome::Replaced { version } } else { Outcome::Newest { version } })
}

/// A note without its list: it renews the list in force, if it is about that one. Nothing: it is about
/// another, which must be fetched.
pub fn renew(config: &Config, note: &str, now: u64) -> Result<Option<Outcome>, HostError> {
    let _one_at_a_time = Lock::take(&config.state)?;
    let state = State::read(&config.state);
    let Ok(there) = installed(&config.revoked_keys) else { return Ok(None) };
    let Ok(bytes) = std::fs::read(&config.revoked_keys) else { return Ok(None) };
    let user_ca = files::read_user_ca(&config.user_ca)?;
    let last = last_version(state.as_ref(), Some(there.version));
    let checked = match check(&Received { bytes: &bytes, note }, config, &user_ca, last) {
        Ok(checked) => checked,
        Err(KrlError::OtherBytes) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let etag = state.filter(|state| state.hash == there.hash).and_then(|state| state.etag);
    let state = State {
        schema: "fireaxe.host-krl/v1".into(),
        version: checked.version,
        hash: there.hash,
        signed_at: checked.signed_at,
        confirmed_at: now,
        etag,
    };
    state.write(&config.state)?;
    Ok(Some(Outcome::Newest { version: checked.version }))
}

/// Lists are taken one at a time, by the daemon and by `fireaxe-host krl` alike: two would write the same
/// file beside the one in force. Released when dropped, or when its process ends.
struct Lock(#[allow(dead_code, reason = "held, not read")] File);

impl Lock {
    fn take(state: &Path) -> Result<Lock, HostError> {
        atomic::folder(state)?;
        let path = state.join("krl.lock");
        let failed = |error: std::io::Error| HostError::write(&path, &error);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        Ok(Lock(file))
    }
}

/// The newest (version, time of signing) that was ever in force here.
fn last_version(state: Option<&State>, installed: Option<u64>) -> Option<(u64, u64)> {
    let remembered = state.map(|state| (state.version, state.signed_at));
    remembered.max(installed.map(|version| (version, 0)))
}
