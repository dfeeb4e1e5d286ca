//! The thread of `serve` that looks daily for recordings which the policy in force keeps no longer
//! (`recordings/expiry.rs`). Never on the path of a request; each entry waits its turn with the writer like all others.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::door::Door;
use crate::log::Reader;
use crate::recordings::catalog::Name;
use crate::recordings::expiry::{Expiry, ExpiryFault, Looked};
use crate::recordings::search::Index;

/// After a start: once whatever a start brings is over.
const FIRST: Duration = Duration::from_secs(60);
/// Between two looks.
const DAILY: Duration = Duration::from_secs(86_400);
/// When a look left some for the next.
const SOON: Duration = Duration::from_secs(10);

/// What the thread needs.
pub(super) struct Expiring {
    pub(super) reader: Reader,
    pub(super) door: Arc<Door>,
    /// The index beside the recordings: what has expired goes out of it, too.
    pub(super) search: PathBuf,
}

impl Expiring {
    /// Starts it. It ends when it is unparked after the road has stopped.
    pub(super) fn start(self) -> std::io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("expiry".into()).spawn(move || {
            let mut expiry = Expiry::default();
            let mut pause = FIRST;
            loop {
                std::thread::park_timeout(pause);
                if self.door.road.is_stopped() {
                    return;
                }
                let mut gone = Vec::new();
                let looked = self.look(&mut expiry, &runtime, &mut gone);
                self.forget(&gone);
                pause = match looked {
                    Ok(Looked { more: true, .. }) => SOON,
                    Ok(_) => DAILY,
                    Err(error) => {
                        tracing::warn!(event = "recordings.not_expired", %error);
                        DAILY
                    }
                };
            }
        })
    }

    fn look(
        &self,
        expiry: &mut Expiry,
        runtime: &tokio::runtime::Runtime,
        gone: &mut Vec<Name>,
    ) -> Result<Looked, ExpiryFault> {
        let (road, now) = (&self.door.road, self.door.clock.now().wall_s);
        let bundle = road.published().gate().bundle;
        let Some(keep) = bundle.policy.keep() else { return Ok(Looked::default()) };
        let log = |of, name: &Name| {
            let logged = runtime.block_on(road.recording_expired(of, name.0.clone(), name.1));
            logged.map(|_| ()).map_err(|refusal| refusal.to_string())
        };
        let looked = expiry.look(&self.reader, &self.door.recordings, keep, now, log, gone)?;
        if looked != Looked::default() {
            let Looked { expired, removed, unreported, more } = looked;
            tracing::info!(event = "recordings.expired", expired, removed, unreported, more);
        }
        Ok(looked)
    }

    /// Takes their lines out of the index. One that cannot be opened goes whole: it is a view.
    fn forget(&self, gone: &[Name]) {
        if gone.is_empty() || !self.search.exists() {
            return;
        }
        if let Err(error) = Index::open(&self.search).and_then(|mut index| index.drop(gone)) {
            tracing::warn!(event = "search.not_forgotten", %error);
            let _ = std::fs::remove_file(&self.search);
        }
    }
}
