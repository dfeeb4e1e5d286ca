//! The way back: what was there is kept on the disk, and a process of its own puts it back unless somebody
//! confirms in time. It also does when the process that applies is gone. `run` does at its start and once a
//! minute, and the next `apply`: after a reboot, or when the timer's process was ended, too.
//!
//! | file in `STATE/apply/` | means |
//! |---|---|
//! | `lock` | held by the process that applies, as long as it lives |
//! | `before/` | what was there, see [`super::kept`] |
//! | `armed` | not confirmed yet: whoever renames it away decides what becomes of it |
//! | `restoring` | being put back; whoever finds it goes on with it |
//! | `last` | what came of the last one that was put back, for `doctor` |

use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{ApplyError, effective::Effective, kept, server::Server};
use crate::atomic;
use crate::config::Config;
use crate::error::HostError;

/// The folder of all this.
pub(crate) struct Room(PathBuf);

/// Nobody else applies while this lives.
pub(crate) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

/// The shortest and longest time to confirm, seconds: a login takes some; a day is for another tool.
pub(crate) const CONFIRM_S: std::ops::RangeInclusive<u64> = 10..=86_400;

/// How often the timer looks.
const TICK: Duration = Duration::from_millis(200);

impl Room {
    /// Of this configuration.
    pub(crate) fn of(config: &Config) -> Room {
        Room::at(&config.state)
    }

    /// Below this state.
    pub(crate) fn at(state: &Path) -> Room {
        Room(state.join("apply"))
    }

    /// Takes the lock.
    pub(crate) fn lock(&self) -> Result<Lock, HostError> {
        atomic::folder(&self.0)?;
        let path = self.0.join("lock");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|error| HostError::write(&path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(ApplyError::Busy.into()),
            Err(TryLockError::Error(error)) => Err(HostError::write(&path, &error)),
        }
    }

    /// Whether something was not confirmed.
    pub(crate) fn is_open(&self) -> bool {
        self.armed().exists() || self.restoring().exists()
    }

    /// Keeps what is there and starts the timer. The order in which `paths` are put back is theirs.
    pub(crate) fn arm(&self, paths: &[PathBuf], timer: &Timer<'_>) -> Result<(), HostError> {
        // A crash up to the second line: copies that nobody reads. After it: put back what was not changed.
        kept::keep(&self.before(), paths)?;
        atomic::write(&self.armed(), b"fireaxe.host-armed/v1\n")?;
        if let Err(why) = timer.start() {
            self.confirm()?;
            return Err(why.into());
        }
        Ok(())
    }

    /// It stays as it is now.
    pub(crate) fn confirm(&self) -> Result<(), HostError> {
        // Whoever removes it decides: the timer renames the same file.
        if !atomic::remove(&self.armed())? {
            return Err(ApplyError::TooLate.into());
        }
        kept::forget(&self.before())
    }

    /// Puts back what was there, if it is still to be decided, and makes sshd read it. Gives whether it did.
    pub(crate) fn take_back(&self, sshd: &Path, why: &str) -> Result<bool, HostError> {
        let claimed = fs::rename(self.armed(), self.restoring()).is_ok();
        if !claimed && !self.restoring().exists() {
            return Ok(false);
        }
        // A crash from here on: `restoring` says so, and whoever comes next does it all again.
        kept::put_back(&self.before())?;
        let reloaded = reload(sshd);
        let said = reloaded.as_ref().err().map_or_else(String::new, ToString::to_string);
        atomic::write(&self.0.join("last"), format!("{why}\n{said}").as_bytes())?;
        atomic::remove(&self.restoring())?;
        kept::forget(&self.before())?;
        super::tell_daemon();
        reloaded.map(|()| true)
    }

    /// What came of the last one that was put back.
    pub(crate) fn last(&self) -> Option<String> {
        fs::read_to_string(self.0.join("last")).ok()
    }

    /// The next one went well.
    pub(crate) fn forget_last(&self) -> Result<(), HostError> {
        atomic::remove(&self.0.join("last")).map(drop)
    }

    /// Where the old bytes are.
    pub(crate) fn before(&self) -> PathBuf {
        self.0.join("before")
    }

    fn armed(&self) -> PathBuf {
        self.0.join("armed")
    }

    fn restoring(&self) -> PathBuf {
        self.0.join("restoring")
    }
}

/// Makes the running sshd read what is there now; nothing to do when none runs.
fn reload(sshd: &Path) -> Result<(), HostError> {
    match Server::find(&Effective::ask(sshd, "root")?) {
        Some(server) => server.reload(sshd).map(drop).map_err(HostError::from),
        None => Ok(()),
    }
}

/// How the timer is started.
pub(crate) struct Timer<'a> {
    /// This program.
    pub(crate) program: &'a Path,
    /// The state, in which the room is.
    pub(crate) state: &'a Path,
    /// The server that is asked and told.
    pub(crate) sshd: &'a Path,
    /// Seconds.
    pub(crate) within_s: u64,
}

impl Timer<'_> {
    /// Starts `apply --restore-after` where the end of this session does not reach it.
    fn start(&self) -> Result<(), ApplyError> {
        let failed = |why: String| ApplyError::NoTimer(why);
        if Path::new("/run/systemd/system").is_dir() {
            let unit = format!("--unit=fireaxe-restore-{}", std::process::id());
            let mut command = Command::new("systemd-run");
            command.args(["--quiet", "--collect", &unit]).arg("--").arg(self.program);
            let output = self.words(&mut command).output().map_err(|error| failed(error.to_string()))?;
            return match output.status.success() {
                true => Ok(()),
                false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
            };
        }
        let mut command = Command::new(self.program);
        self.words(&mut command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        // It says so once it is in a session of its own.
        let mut line = String::new();
        let pipe = child.stdout.take().ok_or_else(|| failed("it has no pipe".into()))?;
        let _ = BufReader::new(pipe).read_line(&mut line);
        if line == ARMED { Ok(()) } else { Err(failed("it said nothing".into())) }
    }

    fn words<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.args(["apply", "--restore-after", &format!("{}s", self.within_s)]);
        command.arg("--state").arg(self.state).arg("--sshd").arg(self.sshd)
    }
}

/// What the timer says when it is on its own.
pub(crate) const ARMED: &str = "armed\n";

/// The timer: waits until it is confirmed, or the time is up, or the process that applies is gone. Time is
/// counted in ticks, so that a clock that jumps neither shortens nor lengthens it.
pub(crate) fn wait_and_restore(room: &Room, sshd: &Path, within_s: u64) -> Result<bool, HostError> {
    let ticks = u128::from(within_s) * 1000 / TICK.as_millis();
    for _ in 0..ticks {
        if !room.is_open() {
            return Ok(false);
        }
        if let Ok(_lock) = room.lock() {
            return room.take_back(sshd, "the process that applied ended before it was confirmed");
        }
        thread::sleep(TICK);
    }
    room.take_back(sshd, "it was not confirmed in time")
}

/// Puts back what a crash or a reboot left unconfirmed; for `run`, at its start and once a minute. Does nothing while somebody
/// applies or the timer waits for them. Gives whether it did.
pub fn settle(config: &Config, sshd: &Path) -> Result<bool, HostError> {
    let room = Room::of(config);
    if !room.is_open() {
        return Ok(false);
    }
    match room.lock() {
        Ok(_lock) => {
            room.take_back(sshd, "the host was restarted, or the process ended, before it was confirmed")
        }
        Err(HostError::Apply(ApplyError::Busy)) => Ok(false),
        Err(other) => Err(other),
    }
}
