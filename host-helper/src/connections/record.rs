//! What is remembered of a connection across restarts of the daemon, and across one of the host.
//!
//! | file | holds | ends with |
//! |---|---|---|
//! | `/run/fireaxe/connections/<name>.json` | all that is known of a live connection | the connection, or the boot |
//! | `/run/fireaxe/connections/<name>.waiting` | what the hook left while the daemon was away | the daemon's next look |
//! | `<state>/connections/<name>.json` | that it was opened, in which boot | the connection; found after a boot, it is told as `restarted` |
//!
//! Trusted: whoever can write there is root. Damaged or foreign files are left alone.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fireaxe_protocol::host::Recorded;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::{AccountName, PersonName, TierName};
use fireaxe_protocol::policy::Record as Recording;
use fireaxe_protocol::statement::Nonce;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::HostError;
use crate::processes::Mark;
use crate::teardown::{Life, Moment};

/// Where live connections are remembered: gone with the boot, as they are.
pub const RUN: &str = "/run/fireaxe/connections";

/// A live connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its name.
    pub connection: Nonce,
    /// The account.
    pub account: AccountName,
    /// Where from.
    pub from: IpAddr,
    /// The serial of the certificate that it came in with.
    pub serial: u64,
    /// Who signed that.
    pub ca_key: Ed25519Key,
    /// The key that it certifies: a later certificate of the same key lets it go on.
    pub public_key: Ed25519Key,
    /// Its holder; a self-test has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub person: Option<PersonName>,
    /// The tier.
    pub tier: TierName,
    /// What the terms say of recording.
    pub record: Recording,
    /// What the certificate forces.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub force_command: Option<String>,
    /// What ties processes to it.
    pub mark: Mark,
    /// When it ends.
    pub life: Life,
    /// Whether the CA is told that it was opened.
    pub told: bool,
    /// Recordings that are whole.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub recordings: Vec<Recorded>,
    /// Recordings beyond those.
    #[serde(default)]
    pub more: u32,
    /// Recorders that it must have and that may come back, after a restart of the daemon.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub awaited: Option<Awaited>,
}

/// Recorders that wrote to an earlier daemon. Each asks again within a second, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Awaited {
    /// How many have not come back.
    pub recorders: u32,
    /// Until when they may, milliseconds since boot.
    pub until_ms: u64,
}

impl Record {
    /// Gives `more` recorders, and those that are awaited already, a minute to come back, if it must be
    /// recorded.
    pub fn await_recorders(&mut self, more: u32, now: Moment) {
        let recorders = self.awaited.map_or(0, |awaited| awaited.recorders).saturating_add(more);
        if recorders > 0 && self.record == Recording::Required {
            self.awaited = Some(Awaited { recorders, until_ms: now.boot_ms.saturating_add(AWAITED_MS) });
        }
    }

    /// A recorder began: the daemon takes it for one that came back, if any is awaited. Gives whether.
    pub fn came_back(&mut self) -> bool {
        let Some(awaited) = &mut self.awaited else { return false };
        awaited.recorders = awaited.recorders.saturating_sub(1);
        if awaited.recorders == 0 {
            self.awaited = None;
        }
        true
    }
}

/// What the hook leaves when the daemon is away and the terms let the login go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// Its monitor, and what tied processes to it then: it may be gone when the file is read.
    pub mark: Mark,
    /// The account.
    pub account: AccountName,
    /// Where from.
    pub from: String,
    /// When it came in, unix seconds.
    pub at: u64,
    /// The certificate, base64.
    pub certificate: String,
}

/// What outlives a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The connection.
    pub connection: Nonce,
    /// Its serial.
    pub serial: u64,
    /// The boot it was opened in.
    pub boot: String,
}

/// The folders.
#[derive(Debug, Clone)]
pub struct Store {
    run: PathBuf,
    traces: PathBuf,
}

impl Store {
    /// Opens the folders, made when missing, for root alone.
    pub fn open(run: &Path, state: &Path) -> Result<Store, HostError> {
        let store = Store { run: run.into(), traces: state.join("connections") };
        for folder in [&store.run, &store.traces] {
            atomic::folder(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
                .map_err(|error| HostError::write(folder, &error))?;
        }
        Ok(store)
    }

    /// Remembers a connection as it is now. A crash before the end: as it was.
    pub fn write(&self, record: &Record) -> Result<(), HostError> {
        put(&self.run.join(format!("{}.json", record.connection)), record)
    }

    /// Remembers that it was opened, beyond this boot.
    pub fn trace(&self, record: &Record) -> Result<(), HostError> {
        let (connection, serial) = (record.connection, record.serial);
        put(&self.traces.join(format!("{connection}.json")), &Trace { connection, serial, boot: boot() })
    }

    /// Forgets a connection that is told to be over. The trace goes first: a crash in between leaves what the
    /// next daemon of this boot tells once more, under the same name and with the same end. A trace alone would
    /// be told after the next boot, as ended by that.
    pub fn remove(&self, connection: Nonce) -> Result<(), HostError> {
        atomic::remove(&self.traces.join(format!("{connection}.json")))?;
        atomic::remove(&self.run.join(format!("{connection}.json"))).map(|_| ())
    }

    /// All that are remembered of this boot.
    pub fn records(&self) -> Vec<Record> {
        all(&self.run, "json").into_iter().map(|(_, record)| record).collect()
    }

    /// Those of boots that are over.
    pub fn traces_of_other_boots(&self) -> Vec<Trace> {
        let boot = boot();
        let all = all(&self.traces, "json").into_iter().map(|(_, trace): (PathBuf, Trace)| trace);
        all.filter(|trace| trace.boot != boot).collect()
    }

    /// What the hook left, with the file it is in: to be removed once it is registered, or refused.
    pub fn waiting(&self) -> Vec<(PathBuf, Waiting)> {
        all(&self.run, WAITING)
    }
}

/// Leaves what the hook knows for a daemon that is away. It is picked up at its start, or at its next look;
/// until then nothing ends the connection in time. With the boot it is gone, as the connection is.
pub fn leave(run: &Path, name: Nonce, waiting: &Waiting) -> Result<(), HostError> {
    atomic::folder(run)?;
    fs::set_permissions(run, fs::Permissions::from_mode(0o700)).map_err(|e| HostError::write(run, &e))?;
    put(&run.join(format!("{name}.{WAITING}")), waiting)
}

fn put(path: &Path, value: &impl Serialize) -> Result<(), HostError> {
    let text = serde_json::to_string(value)
        .map_err(|error| HostError::Write { path: path.into(), why: error.to_string() })?;
    atomic::write(path, (text + "\n").as_bytes()).map(|_| ())
}

fn all<T: DeserializeOwned>(folder: &Path, ending: &str) -> Vec<(PathBuf, T)> {
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = paths.filter(|path| path.extension().is_some_and(|e| e == ending));
    named
        .filter_map(|path| {
            let value = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            Some((path, value))
        })
        .collect()
}

/// The kernel's name for this boot.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// How long recorders of an earlier daemon have to come back, milliseconds: as long as they try.
const AWAITED_MS: u64 = 60_000;
const WAITING: &str = "waiting";
