//! `agent`: the process that holds keys. One a user, kept so by a lock on a file.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde::Serialize;

use super::{Context, narrow};
use crate::agent::service::Service;
use crate::cli::Agent;
use crate::clock;
use crate::control::Narrow;
use crate::control::client::{Control, ControlError};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::lockdown;
use crate::places::{self, Places};

pub(super) fn run(cx: &Context, what: &Agent) -> Result<Exit, Failure> {
    if what.stop {
        return stop(cx);
    }
    if what.detached {
        // Fails only if this process leads its group already: then it is detached enough.
        let _ = rustix::process::setsid();
    }
    places::own_directory(&cx.places.run)?;
    let _lock = lock(&cx.places)?;
    // Before the first key: afterwards it would be too late.
    let notes = lockdown::lock_down();
    let (agent, control) = (cx.places.agent_socket(), cx.places.control_socket());
    // ssh first, so that whoever can speak to the control socket finds the other one there.
    let listeners = (listen(&agent)?, listen(&control)?);
    if !what.detached {
        cx.screen
            .say(&format!("fireaxe agent at {}; Ctrl-C ends it and wipes what it holds", agent.display()));
        for note in &notes {
            cx.screen.say(&format!("  note: {note}"));
        }
    }
    let places = cx.places.clone();
    let ask_ca = Box::new(move |wanted: &[Narrow], patience| narrow::ask(&places, wanted, patience));
    let service = Service::new(clock::now, notes, ask_ca, move || {
        let _ = std::fs::remove_file(&agent);
        let _ = std::fs::remove_file(&control);
        std::process::exit(0);
    });
    service.run(listeners.0, listeners.1).map_err(|e| refused(&cx.places.run, &e))?;
    Ok(Exit::Ok)
}

/// Nothing to end is no failure: nothing is held, which is what was wanted.
fn stop(cx: &Context) -> Result<Exit, Failure> {
    let ended = match Control::connect(&cx.places) {
        Ok(mut control) => control.stop().map(|()| true)?,
        Err(ControlError::NotRunning) => false,
        Err(e) => return Err(e.into()),
    };
    #[derive(Serialize)]
    struct Answer {
        schema: &'static str,
        ended: bool,
    }
    cx.screen.json(&Answer { schema: "fireaxe.agent/v1", ended });
    if !cx.screen.is_json() {
        cx.screen.say(match ended {
            true => "the agent has ended; what it held is wiped",
            false => "no agent is running; nothing is held",
        });
    }
    Ok(Exit::Ok)
}

/// The lock goes with the process, however it ends; so whoever has it may clear away old sockets.
fn lock(places: &Places) -> Result<File, Failure> {
    let path = places.lock();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| refused(&path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::AgentRuns),
        Err(TryLockError::Error(e)) => Err(refused(&path, &e)),
    }
}

fn listen(path: &Path) -> Result<UnixListener, Failure> {
    places::check_socket_path(path)?;
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(refused(path, &e)),
        _ => {}
    }
    UnixListener::bind(path).map_err(|e| refused(path, &e))
}

fn refused(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Listen { path: path.display().to_string(), why: error.to_string() }
}
