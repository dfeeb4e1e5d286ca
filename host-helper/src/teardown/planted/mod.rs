//! What was left behind on the host while a connection was there, that could let somebody in later or run
//! without them. Found and reported, never removed: an honest repair looks the same.
//!
//! | file | what it does |
//! |---|---|
//! | `places` | where is looked |
//! | `snapshot` | what stands there at one moment |
//! | `compare` | what differs |
//!
//! A look takes some tens of milliseconds, so the first one is taken beside the login, not before it; what a
//! quick session planted before it is found by the times that the kernel keeps.

mod compare;
mod places;
mod snapshot;

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use fireaxe_protocol::host::Planted;

pub use snapshot::Snapshot;

use crate::config::Config;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// By kind.
    pub planted: Vec<Planted>,
    /// Whether everything that should be looked at was.
    pub complete: bool,
}

/// Which look it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Beside a login, which it must not slow: at most [`MOST`].
    Beside,
    /// At the end, when nothing else would tell: at most [`MOST_AT_THE_END`], and it waits for nobody.
    AtTheEnd,
}

/// Looks now. `None`: it took longer than it may, e.g. because a home is on a file server that hangs.
pub fn look(config: &Config, which: Look) -> Option<Snapshot> {
    let skip = own_files(config);
    let (to, from) = mpsc::sync_channel(1);
    // One that hangs is left behind: it holds nothing, and nobody waits for it.
    let started = std::thread::Builder::new().name("look".into()).spawn(move || {
        if which == Look::Beside {
            // Of this thread alone.
            let _ = rustix::process::nice(10);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let places = places::places(&places::homes(&passwd));
        let _ = to.send(Snapshot::take(&places, &skip, snapshot::LIMITS));
    });
    started.ok()?;
    let most = if which == Look::Beside { MOST } else { MOST_AT_THE_END };
    from.recv_timeout(most).ok()
}

/// What differs since the first look at a connection that came in at `opened_at`, unix seconds.
pub fn since(before: Option<&Snapshot>, after: Option<&Snapshot>, opened_at: u64) -> Findings {
    let Some(after) = after else { return Findings::default() };
    // Without a first look (the daemon was restarted) the second one stands for it: times tell what changed.
    let first = before.unwrap_or(after);
    let complete = before.is_some_and(|before| !before.cut) && !after.cut;
    Findings { planted: compare::compare(first, after, opened_at), complete }
}

/// Files that the daemon itself replaces while connections are there.
fn own_files(config: &Config) -> Vec<PathBuf> {
    let mut own = vec![config.revoked_keys.clone()];
    if let Some(enrolled) = &config.enrolled {
        let mut certificate = enrolled.host_key.clone().into_os_string();
        certificate.push("-cert.pub");
        own.push(certificate.into());
    }
    let pending = own.iter().filter_map(|path| {
        let name = path.file_name()?.to_string_lossy();
        Some(path.with_file_name(format!(".{name}.new")))
    });
    let pending: Vec<PathBuf> = pending.collect();
    own.into_iter().chain(pending).collect()
}

/// How long a look beside a login may take.
pub const MOST: Duration = Duration::from_secs(10);
/// How long the look at the end may take: a busy host must not hide what was planted.
pub const MOST_AT_THE_END: Duration = Duration::from_secs(60);
