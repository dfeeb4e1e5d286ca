//! `serve --mirror`: the second copy of the log, before each answer or beside the road.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Failed;
use crate::clock::Clock;
use crate::data_dir::DataDir;
use crate::fence::Fence;
use crate::log::{Log, LogError, Mirror, MirrorError, Reader, Standing};
use crate::road::{Road, SinceThen};

/// Where the second copy is, and whether answers wait for it.
#[derive(Debug, Args)]
pub(super) struct MirrorTo {
    /// Folder on another disk for a second copy of the log; it must be there
    #[arg(long = "mirror", value_name = "DIR", env = "FIREAXE_MIRROR")]
    folder: Option<PathBuf>,
    /// Whether an answer waits until the mirror has what it rests on
    #[arg(long = "mirror-mode", value_name = "MODE", default_value = "before")]
    mode: Mode,
}

/// When the second copy is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Before the answer: what was answered is in both copies; a mirror that cannot be written stops the CA
    Before,
    /// After it: the mirror may lack the last moments, and says so when it lags
    After,
}

/// A mirror that is caught up with beside the road.
pub(super) struct Follower {
    mirror: Mirror,
    reader: Reader,
}

impl MirrorTo {
    /// Takes the mirror, if there is to be one. Refuses one that this log is behind, or that does not fit. Says
    /// whether it confirms that this log is the newest, and what is left to be followed.
    pub(super) fn begin(
        &self,
        dir: &DataDir,
        log: &mut Log,
        reader: Reader,
        fence: &Fence,
    ) -> Result<(bool, Option<Follower>), Failed> {
        let Some(folder) = &self.folder else { return Ok((false, None)) };
        let failed = |error| match error {
            LogError::Mirror(error) => refused(dir.path(), folder, error),
            error => Failed::log(dir, error),
        };
        let mut mirror = Mirror::open(folder).map_err(|error| failed(error.into()))?;
        // Nobody but this log's key has signed past an equal head, as far as the mirror knows. A log that was made from
        // it knows no more, so it must have had whatever was answered.
        let has_all = mirror.has_all_answers().map_err(|error| failed(error.into()))?;
        let knows = has_all || !fence.was_refilled();
        if self.mode == Mode::After {
            let standing = mirror.look(&reader).map_err(failed)?;
            if has_all {
                mirror.answers_go_first().map_err(|error| failed(error.into()))?;
            }
            return Ok((knows && standing == Standing::Equal, Some(Follower { mirror, reader })));
        }
        let standing = log.mirrored(mirror, fence.is_in_doubt()).map_err(failed)?;
        Ok((knows && standing == Standing::Equal, None))
    }
}

impl Follower {
    /// Follows the log until the writer has stopped, and once more then.
    pub(super) fn start(self, road: Road, clock: Arc<dyn Clock>) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("mirror".into()).spawn(move || self.run(&road, &*clock))
    }

    fn run(mut self, road: &Road, clock: &dyn Clock) {
        let mut heard = SinceThen::default();
        let mut failing: Option<u64> = None;
        let mut told = false;
        loop {
            let last = road.is_stopped();
            // A log in doubt must not write what is later to confirm it.
            let in_doubt = road.published().fence().is_in_doubt();
            let kept =
                if in_doubt { self.mirror.look(&self.reader) } else { self.mirror.keep_up(&self.reader) };
            match kept {
                Ok(_) => {
                    if told {
                        tracing::warn!(event = "mirror.caught_up");
                        road.published().set_mirror_ok(true);
                    }
                    (failing, told) = (None, false);
                }
                Err(error) => {
                    let now = clock.now().tick_ms;
                    let since = *failing.get_or_insert(now);
                    if !told && now.saturating_sub(since) >= LAG_MS {
                        tracing::error!(event = "mirror.behind", %error);
                        road.published().set_mirror_ok(false);
                        told = true;
                    }
                }
            }
            if last {
                return;
            }
            heard = road.published().wait(heard, LOOK);
        }
    }
}

/// What an operator is told of a mirror that cannot be used, with the next command.
pub(super) fn refused(data: &Path, folder: &Path, error: MirrorError) -> Failed {
    let (data, mirror) = (data.display(), folder.display());
    let failed = Failed::config(vec![format!("mirror {mirror}: {error}")]);
    match error {
        MirrorError::Missing => failed.hint(format!("mount its disk, then: mkdir -m 700 {mirror}")),
        MirrorError::Locked => failed.hint(
            "one CA writes one mirror: stop the other one, or it is this log's copy that must not be started",
        ),
        MirrorError::ReadOnly => {
            failed.hint(format!("make {mirror} writable to this user: look at its owner, its mode and mount"))
        }
        MirrorError::Full => failed.hint(format!("make room on the disk of {mirror}")),
        MirrorError::Io(_) => failed.hint(format!("look at the disk of {mirror}")),
        MirrorError::Ahead { .. } => failed.hint(format!(
            "fireaxe-ca restore --from {data} --mirror {mirror} --data NEW, then serve NEW; never without --mirror"
        )),
        MirrorError::Forked(_) => failed.hint(format!(
            "keep both: {data} and {mirror} are two logs of one name. Find the other CA, and look with: fireaxe-ca \
             log verify --data {data}"
        )),
        MirrorError::Foreign => failed.hint("an empty folder for each log: choose another one"),
        MirrorError::Empty => failed.hint("a mirror is written by: fireaxe-ca serve --mirror DIR"),
        MirrorError::Tile(..) | MirrorError::Heads(..) | MirrorError::Entry(..) | MirrorError::OtherTree(_) => {
            failed.hint(format!(
                "keep {mirror} as it is; restore from a backup that is newer than the damage, or from another copy"
            ))
        }
    }
}

/// How long a mirror may fail before it is said, milliseconds.
const LAG_MS: u64 = 10_000;
/// How often it is looked whether the CA is stopping, or a mirror that failed can be written again.
const LOOK: Duration = Duration::from_secs(1);
