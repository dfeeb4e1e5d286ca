//! `follow`: the process that stays when `open` has gone. It puts what is approved into the agent, and warns
//! on the terminal that opened it before a certificate ends. One an emergency, kept so by a lock on a file.
//!
//! It has no terminal and signs nothing: it reads with the emergency's own key, as `status` does. It ends when
//! the emergency or the agent is gone, or when nothing is left to do. In its other part, standing by for `run`,
//! it signs one thing: the closing that `run` did not come to.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fireaxe_protocol::names::EmergencyId;

use super::watch::{Seen, Watch};
use super::{Context, close, grant};
use crate::authority::Authority;
use crate::cli::Follow;
use crate::clock;
use crate::control::client::Control;
use crate::control::{Held, Pending};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::places::Places;
use crate::tty;
use crate::words;

/// Warnings before the end, minutes.
const WARN_MIN: [u64; 3] = [10, 5, 1];
/// The longest it does not look at the agent.
const LOOK: Duration = Duration::from_secs(5);

/// Starts one for this emergency, unless one runs already. It outlives this process: its own session, no
/// terminal. When it cannot be started nothing is lost but the comfort: `status` does the same.
pub(super) fn start(places: &Places, emergency: EmergencyId) {
    let Ok(me) = std::env::current_exe() else { return };
    let mut child = Command::new(me);
    child.args(["follow", &emergency.to_string(), "--detached"]);
    if let Some(tty) = tty::name() {
        child.arg("--tty").arg(tty);
    }
    // It pins no directory, so a relative name would mean another file there.
    if let Ok(config) = std::path::absolute(&places.config) {
        child.env("FIREAXE_CONFIG", config);
    }
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/");
    if let Ok(mut child) = child.spawn()
        && let Some(mut stdout) = child.stdout.take()
    {
        // Until it is in a session of its own, Ctrl-C and the end of the terminal would take it along.
        let _ = stdout.read(&mut [0]);
    }
}

pub(super) fn run(cx: &Context, what: &Follow) -> Result<Exit, Failure> {
    if what.close_at_end {
        return close_at_end(cx, what);
    }
    if what.detached {
        // Fails only if this process leads its group already: then it is detached enough.
        let _ = rustix::process::setsid();
        // Whoever started it waits for this, or has gone.
        let _ = std::io::stdout().write_all(b"\n").and_then(|()| std::io::stdout().flush());
    }
    let Some(_lock) = lock(&cx.places, "follow", what.emergency) else { return Ok(Exit::Ok) };
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let mut warned = Warned::default();
    let mut watch = Watch::new(what.emergency);
    while let Some((held, pending)) = look(&cx.places, what.emergency) {
        let patience = match (&what.tty, held.first()) {
            (Some(tty), Some(best)) => warned.say(tty, best, clock::now()).min(LOOK),
            _ => LOOK,
        };
        let Some(mine) = pending else {
            // Nothing waits: only the warnings are left.
            if what.tty.is_none() || held.is_empty() {
                break;
            }
            std::thread::sleep(patience);
            continue;
        };
        if watch.next(&authority, &cx.places, patience) == Seen::News
            && take_up(cx, &authority, &mine, what.tty.as_deref()).is_err()
        {
            break;
        }
    }
    Ok(Exit::Ok)
}

/// Stands by while `run` runs: when that one ends without having closed the emergency, however it ends, it
/// is closed here. What needs a touch that nobody gives stays open to its end, but not in the agent.
fn close_at_end(cx: &Context, what: &Follow) -> Result<Exit, Failure> {
    let mut said = Vec::new();
    // An end is an end, also one that comes as an error.
    let _ = std::io::stdin().lock().take(64).read_to_end(&mut said);
    if said == CLOSED {
        return Ok(Exit::Ok);
    }
    let closed = close::run(cx, Some(what.emergency));
    if closed.is_err() {
        if let Ok(mut control) = Control::connect(&cx.places) {
            let _ = control.drop_emergency(what.emergency);
        }
        if let Some(tty) = &what.tty {
            let id = what.emergency;
            tty::warn(tty, &format!("fireaxe: {id} is still open.   next: fireaxe close {id}"));
        }
    }
    closed
}

/// The process that stands by.
pub(super) struct StandBy(Child);

impl StandBy {
    /// Starts it. It is in a process group of its own: what ends this one does not end it.
    pub(super) fn start(emergency: EmergencyId) -> std::io::Result<StandBy> {
        let mut child = Command::new(std::env::current_exe()?);
        child.args(["follow", &emergency.to_string(), "--close-at-end"]);
        if let Some(tty) = tty::name() {
            child.arg("--tty").arg(tty);
        }
        child.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(StandBy(child.spawn()?))
    }

    /// The emergency is closed: nothing is left to do for it.
    pub(super) fn dismiss(mut self) {
        if let Some(mut stdin) = self.0.stdin.take() {
            let _ = stdin.write_all(CLOSED);
        }
        let _ = self.0.wait();
    }
}

/// What `run` says to it at the end.
const CLOSED: &[u8] = b"closed";

/// What is held of it, and what waits; `None` when neither, or when the agent has gone.
fn look(places: &Places, emergency: EmergencyId) -> Option<(Vec<Held>, Option<Pending>)> {
    let mut control = Control::connect(places).ok()?;
    let held: Vec<Held> = control.list().ok()?.into_iter().filter(|h| h.emergency == emergency).collect();
    let now = clock::now();
    let waits = |p: &Pending| p.emergency == emergency && p.until > now.saturating_sub(LATE_S);
    let pending = control.pending().ok()?.into_iter().find(waits);
    (!held.is_empty() || pending.is_some()).then_some((held, pending))
}

/// A request is asked about a little longer than it waits: by clocks that differ, it may yet be granted.
const LATE_S: u64 = 60;

/// `Err`: there is no sense in asking again.
fn take_up(cx: &Context, authority: &Authority<'_>, mine: &Pending, tty: Option<&Path>) -> Result<(), ()> {
    let mut control = Control::connect(&cx.places).map_err(drop)?;
    match grant::take_up(authority, &mut control, mine) {
        Ok((_, Some(new))) => {
            if let Some(tty) = tty.filter(|_| in_front(&cx.places, mine.emergency).is_some()) {
                tty::warn(tty, &format!("fireaxe: {}", new.in_words(clock::now())));
            }
            if let (Some(said), Some(tty)) = (authority.look_back(), tty) {
                tty::warn(tty, &format!("fireaxe: WARNING: {said}"));
            }
            Ok(())
        }
        Ok((_, None)) => Ok(()),
        Err(failure) if grant::may_pass(&failure) => Ok(()),
        // It is over, or what came is not what was agreed: `status` says so to somebody who can read it.
        Err(_) => Err(()),
    }
}

/// Says, as long as it lives, that somebody waits in the foreground and sees what happens.
pub(super) fn in_front(places: &Places, emergency: EmergencyId) -> Option<File> {
    lock(places, "wait", emergency)
}

/// The lock goes with the process, however it ends.
fn lock(places: &Places, what: &str, emergency: EmergencyId) -> Option<File> {
    let path = places.run.join(format!("{what}-{emergency}.lock"));
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

/// Which warnings were given.
#[derive(Debug, Default)]
struct Warned {
    serial: Option<u64>,
    /// The least number of minutes that was warned of, or that had begun before it was first seen.
    least: u64,
}

impl Warned {
    /// Warns if it is time; how long until the next warning of this certificate.
    fn say(&mut self, tty: &Path, held: &Held, now: u64) -> Duration {
        let left = held.valid_before.saturating_sub(now);
        if let Some(minutes) = self.due(held.serial, left) {
            tty::warn(tty, &warning(held, minutes));
        }
        let next = WARN_MIN.iter().map(|m| m * 60).filter(|at| *at < left).max();
        Duration::from_secs(next.map_or(LOOK.as_secs(), |at| (left - at).max(1)))
    }

    /// The minutes to warn of, when so many seconds are left.
    fn due(&mut self, serial: u64, left: u64) -> Option<u64> {
        let reached = WARN_MIN.into_iter().filter(|m| left <= m * 60).min();
        if self.serial != Some(serial) {
            // A short one is not warned of what it never had.
            self.serial = Some(serial);
            self.least = reached.unwrap_or(u64::MAX);
            return None;
        }
        let reached = reached.filter(|m| *m < self.least)?;
        self.least = reached;
        Some(reached)
    }
}

fn warning(held: &Held, minutes: u64) -> String {
    format!(
        "fireaxe: {} ({} on {}) ends in {minutes} min.   next: fireaxe extend {}",
        held.emergency,
        words::held(held),
        held.reach(),
        held.emergency
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::keyring::Keyring;
    use crate::agent::keyring::tests::hold_of;

    #[test]
    fn each_warning_comes_once_and_a_short_certificate_is_not_warned_of_what_it_never_had() {
        let mut warned = Warned::default();
        let said = |warned: &mut Warned, serial, lefts: &[u64]| {
            lefts.iter().filter_map(|left| warned.due(serial, *left)).collect::<Vec<_>>()
        };
        assert_eq!(said(&mut warned, 7, &[2700, 601, 600, 599, 301, 300, 61, 60, 1]), [10, 5, 1]);
        assert_eq!(said(&mut warned, 8, &[299, 200, 59, 58]), [1], "a certificate of five minutes");
        assert_eq!(said(&mut warned, 9, &[2700, 30]), [1], "after a sleep only the nearest is said");
    }

    #[test]
    fn the_warning_is_one_line_without_a_bell_and_ends_with_the_command() {
        let mut ring = Keyring::default();
        let held = hold_of(&mut ring, 42, "root", 3, "db-3.payments.prod");
        let line = warning(&held, 5);
        assert!(line.ends_with("next: fireaxe extend EM-42") && line.contains("ends in 5 min"), "{line}");
        assert!(!line.chars().any(char::is_control));
    }
}
