//! What the CA and the daemon say when they are asked.

use std::path::Path;
use std::time::Duration;

use fireaxe_protocol::api::Keys;
use fireaxe_protocol::limits;
use fireaxe_transport::{Ca, Timeouts, TransportError};

use super::Finding;
use crate::clock;
use crate::config::Config;
use crate::daemon::call;
use crate::daemon::words::{Answer, Ask, SOCKET};
use crate::files;

/// How long the daemon has to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A clock that is off by more than this is worth a look; by [`limits::STATEMENT_WINDOW_S`] it is wrong.
/// Seconds.
const CLOCK_NOTE_S: u64 = 30;

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    let keys = Ca::new(config.addr.clone(), config.pin, Timeouts::default())
        .and_then(|ca| ca.get::<Keys>("/v1/keys", None));
    match keys {
        Err(error @ TransportError::WrongPin { .. }) => found.push(Finding::wrong(
            "ca.wrong_pin",
            error.to_string(),
            "compare the pin by another way: fireaxe-ca serve prints it",
        )),
        Err(error) => found.push(Finding::wrong(
            "ca.unavailable",
            format!("the CA cannot be asked: {error}"),
            "certificates that are out go on to their end; look at the CA with fireaxe-ca doctor",
        )),
        Ok(keys) => of_the_ca(config, &keys, clock::now(), &mut found),
    }
    if config.enrolled.is_some() {
        match call::ask(Path::new(SOCKET), &Ask::Status, PATIENCE) {
            Ok(Answer::Status(_)) => {}
            Ok(_) => found.push(daemon("it does not answer in its words".into())),
            Err(error) => found.push(daemon(error.to_string())),
        }
    }
    found
}

fn daemon(why: String) -> Finding {
    let next =
        "systemctl start fireaxe-host; until then recorded tiers are refused and no session ends in time";
    Finding::wrong("host.no_daemon", why, next)
}

fn of_the_ca(config: &Config, keys: &Keys, now: u64, found: &mut Vec<Finding>) {
    let off = now.abs_diff(keys.now);
    let sentence = format!("this host's clock is {off} s off the CA's");
    let next = "set the clock (NTP): certificates begin and end by it";
    if off > limits::STATEMENT_WINDOW_S {
        found.push(Finding::wrong("host.clock", sentence, next));
    } else if off > CLOCK_NOTE_S {
        found.push(Finding::note("host.clock", sentence, next));
    }
    if keys.origin != config.origin {
        let sentence = format!("the CA's log is {}, not {}", keys.origin, config.origin);
        found.push(Finding::wrong("ca.other_log", sentence, "is it a new installation? then enrol again"));
    }
    let trusted = files::read_user_ca(&config.user_ca).unwrap_or_default();
    if !trusted.contains(&keys.user_ca) {
        found.push(Finding::wrong(
            "host.other_ca",
            format!("sshd does not trust the key that the CA signs with, {}", keys.user_ca.fingerprint()),
            "add it to /etc/ssh/fireaxe_user_ca.pub after comparing it by another way",
        ));
    }
    for key in trusted.iter().filter(|key| **key != keys.user_ca) {
        found.push(Finding::note(
            "host.further_ca",
            format!("sshd also trusts {}: the next or the offline CA?", key.fingerprint()),
            "remove it from /etc/ssh/fireaxe_user_ca.pub unless it is known",
        ));
    }
    if config.enrolled.as_ref().is_some_and(|enrolled| enrolled.host_ca != keys.host_ca) {
        let sentence = "the CA signs hosts with another key than this host was enrolled with";
        found.push(Finding::wrong("host.other_host_ca", sentence, "fireaxe-host enrol again"));
    }
}
