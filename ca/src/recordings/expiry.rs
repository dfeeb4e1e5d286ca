//! Retention: removes recordings that the policy in force keeps no longer. First the log says so
//! (`recording.expired`), then the file goes; a crash between the two leaves a file that the next look removes.
//! The report that holds its hash stays in the log for ever.
//!
//! What no host has reported is never removed: nothing in the log would say that it was ever there. `rec ls` lists
//! it as never reported, and each look counts it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use fireaxe_protocol::log::Hash;
use fireaxe_protocol::policy::Keep;

use super::catalog::{Catalog, Name};
use super::{RecordingFault, Recordings};
use crate::log::{LogError, Reader};

/// Recordings that one look removes: as many entries, half a mebibyte of log. The rest waits for the next.
pub const AT_ONCE: usize = 1000;

/// What has been read of the log.
#[derive(Debug, Default)]
pub struct Expiry {
    catalog: Catalog,
    /// Logged by a look, and not read back yet.
    logged: BTreeSet<Name>,
}

/// What a look did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Looked {
    /// Recordings that the log says have expired, from this look on.
    pub expired: usize,
    /// Files removed.
    pub removed: usize,
    /// Files older than the policy keeps any that no host has reported.
    pub unreported: usize,
    /// Whether more are due.
    pub more: bool,
}

/// Why a look ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExpiryFault {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log does not take the entry: nothing was removed.
    #[error("not logged: {0}")]
    NotLogged(String),
    /// The disk. The log has the entry; the next look tries again.
    #[error(transparent)]
    File(#[from] RecordingFault),
}

impl Expiry {
    /// Looks once. `log` puts `recording.expired` into the log, and returns when it is there; `gone` gets what was
    /// removed. `now` is unix seconds.
    pub fn look(
        &mut self,
        reader: &Reader,
        recordings: &Recordings,
        keep: &Keep,
        now: u64,
        mut log: impl FnMut(Hash, &Name) -> Result<(), String>,
        gone: &mut Vec<Name>,
    ) -> Result<Looked, ExpiryFault> {
        reader.entries(self.catalog.next(), u64::MAX, |index, bytes| {
            self.catalog.take(index, bytes);
            ControlFlow::Continue(())
        })?;
        let there: BTreeMap<Name, u64> = recordings.there().collect();
        self.logged.retain(|name| there.contains_key(name));
        let mut looked = Looked::default();
        for (name, changed_at) in there {
            let told = self.catalog.told(&name, None);
            let Some(reported) = told.reported else {
                looked.unreported += usize::from(keep.is_over(changed_at, now));
                continue;
            };
            if told.expired_at.is_none() && !keep.is_over(reported.at, now) {
                continue;
            }
            if looked.removed >= AT_ONCE {
                looked.more = true;
                break;
            }
            if told.expired_at.is_none() && !self.logged.contains(&name) {
                log(reported.of, &name).map_err(ExpiryFault::NotLogged)?;
                self.logged.insert(name.clone());
                looked.expired += 1;
            }
            // A crash here: the entry is there, the file too. The next look finds both.
            recordings.remove(&name.0, name.1)?;
            looked.removed += 1;
            gone.push(name);
        }
        Ok(looked)
    }
}
