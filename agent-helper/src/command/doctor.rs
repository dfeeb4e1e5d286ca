//! `doctor`: everything an emergency needs, checked before it happens. Each check is ok, a warning or a
//! failure, with the next command. Signs nothing and asks for no touch.

use std::process::Command;

use fireaxe_protocol::limits;
use serde::Serialize;

use super::{Context, ssh_config};
use crate::authority::Authority;
use crate::clock;
use crate::control::client::{Control, ControlError};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::signing::Signer;
use crate::words;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

fn ok(check: &'static str, found: impl Into<String>) -> Check {
    Check { check, verdict: Verdict::Ok, found: found.into(), next: None }
}

fn warn(check: &'static str, found: impl Into<String>, next: &str) -> Check {
    Check { check, verdict: Verdict::Warn, found: found.into(), next: Some(next.to_owned()) }
}

fn fail(check: &'static str, failure: &Failure) -> Check {
    Check { check, verdict: Verdict::Fail, found: failure.to_string(), next: failure.next() }
}

pub(super) fn run(cx: &Context) -> Result<Exit, Failure> {
    let mut checks = vec![ssh_version(), ssh_keygen()];
    match cx.config() {
        Ok(config) => {
            checks.push(ok("configuration", cx.places.config.display().to_string()));
            match config.key().map_err(Failure::from).and_then(|k| Ok(Signer::open(k)?)) {
                Ok(signer) if signer.is_hardware() => {
                    checks.push(ok("key", format!("{} on hardware", signer.fingerprint())));
                }
                Ok(signer) => checks.push(warn(
                    "key",
                    format!("{} is a file: it proves no touch", signer.fingerprint()),
                    &format!(
                        "ssh-keygen -t ed25519-sk -O verify-required -f ~/.ssh/id_fireaxe_sk   then fireaxe enrol --person {} --key ~/.ssh/id_fireaxe_sk",
                        config.person().map_or("NAME", |person| person.as_str())
                    ),
                )),
                Err(failure) => checks.push(fail("key", &failure)),
            }
            checks.extend(ca(cx, &config));
        }
        Err(failure) => checks.push(fail("configuration", &failure)),
    }
    checks.push(agent(cx));
    checks.push(match ssh_config::is_installed(&cx.places) {
        true => ok("ssh configuration", "names fireaxe"),
        false => warn(
            "ssh configuration",
            "plain `ssh HOST` will not use what is held",
            "fireaxe ssh-config > ~/.ssh/fireaxe.conf   and `Include fireaxe.conf` first in ~/.ssh/config",
        ),
    });
    show(cx, &checks);
    match checks.iter().filter(|c| c.verdict == Verdict::Fail).count() {
        0 => Ok(Exit::Ok),
        _ if cx.screen.is_json() => Ok(Exit::Error),
        failed => Err(Failure::Unwell(failed)),
    }
}

fn show(cx: &Context, checks: &[Check]) {
    #[derive(Serialize)]
    struct Answer<'a> {
        schema: &'static str,
        checks: &'a [Check],
    }
    cx.screen.json(&Answer { schema: "fireaxe.doctor/v1", checks });
    if cx.screen.is_json() {
        return;
    }
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        cx.screen.say(&format!("{verdict}  {}: {}", check.check, check.found));
        if let Some(next) = &check.next {
            cx.screen.say(&format!("        next: {next}"));
        }
    }
}

fn ca(cx: &Context, config: &crate::config::Config) -> Vec<Check> {
    let (keys, head) = match cx.authority(config).and_then(|authority| {
        let keys = authority.keys()?;
        authority.compare_keys(&keys)?;
        Ok((keys, head(&authority)))
    }) {
        Ok(found) => found,
        Err(failure) => {
            let mut check = fail("CA", &failure);
            if matches!(failure, Failure::KeysChanged { .. }) {
                check.found = format!("{} (remembered in {})", check.found, cx.places.known_ca().display());
            }
            return vec![check];
        }
    };
    let off = keys.now.abs_diff(clock::now());
    let clock = match off {
        0..=30 => ok("clock", format!("{off} s from the CA's")),
        _ if off < limits::STATEMENT_WINDOW_S => warn(
            "clock",
            format!("{} from the CA's", words::span(off)),
            "set this machine's clock (timedatectl)",
        ),
        _ => Check {
            check: "clock",
            verdict: Verdict::Fail,
            found: format!("{} from the CA's: what is signed here counts as stale there", words::span(off)),
            next: Some("set this machine's clock (timedatectl)".to_owned()),
        },
    };
    vec![ok("CA", format!("answers under its pin as {}", keys.origin)), clock, head]
}

/// The log's newest head, held against what this client has seen of it.
fn head(authority: &Authority<'_>) -> Check {
    let heads = match authority.head().and_then(|_| authority.heads()) {
        Ok(heads) => heads,
        Err(failure) => return fail("log", &failure),
    };
    let said = authority.look_back();
    let evidence =
        heads.evidence().map(|at| format!("the log has shown two pasts: both notes are in {}", at.display()));
    if let Some(found) = said.or(evidence) {
        let next = "keep that folder and tell security; what is held goes on working".to_owned();
        return Check { check: "log", verdict: Verdict::Fail, found, next: Some(next) };
    }
    match heads.seen() {
        Some((head, _)) => ok("log", format!("continues what was seen here: {} entries", head.size)),
        None => {
            warn("log", "its newest head cannot be remembered here", "make room in ~/.local/state/fireaxe")
        }
    }
}

fn agent(cx: &Context) -> Check {
    match Control::connect(&cx.places).and_then(|mut control| control.ping()) {
        Ok((version, pid, _)) if version != env!("CARGO_PKG_VERSION") => warn(
            "agent",
            format!("process {pid} is of version {version}, this is {}", env!("CARGO_PKG_VERSION")),
            "fireaxe agent --stop   when nothing is held",
        ),
        Ok((_, pid, notes)) if notes.is_empty() => ok("agent", format!("process {pid}, locked down")),
        Ok((_, _, notes)) => {
            warn("agent", notes.join("; "), "raise the limit for your session (ulimit -l unlimited)")
        }
        Err(ControlError::NotRunning) => ok("agent", "not running; `open` starts it"),
        Err(e) => fail("agent", &e.into()),
    }
}

fn ssh_version() -> Check {
    let said =
        Command::new("ssh").arg("-V").output().map(|o| String::from_utf8_lossy(&o.stderr).into_owned());
    match said.as_deref().map(version) {
        Ok(Some((major, minor))) if (major, minor) >= (8, 9) => ok("ssh", format!("OpenSSH {major}.{minor}")),
        Ok(Some((major, minor))) => warn(
            "ssh",
            format!(
                "OpenSSH {major}.{minor} does not tell the agent where a connection comes from; 8.9 does"
            ),
            "install a newer openssh-client",
        ),
        _ => Check {
            check: "ssh",
            verdict: Verdict::Fail,
            found: "no OpenSSH client could be run".to_owned(),
            next: Some("install openssh-client".to_owned()),
        },
    }
}

/// `OpenSSH_9.2p1 Debian-2+deb12u6, OpenSSL ...` is (9, 2).
fn version(said: &str) -> Option<(u32, u32)> {
    let (major, rest) = said.trim_start().strip_prefix("OpenSSH_")?.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn ssh_keygen() -> Check {
    // Without arguments that make sense it prints its usage; that it runs is all that matters.
    match Command::new("ssh-keygen").args(["-Q"]).output() {
        Ok(_) => ok("ssh-keygen", "runs"),
        Err(e) => fail("ssh-keygen", &crate::signing::SigningError::NoKeygen(e.to_string()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_ssh_says() {
        assert_eq!(version("OpenSSH_9.2p1 Debian-2+deb12u6, OpenSSL 3.0.19"), Some((9, 2)));
        assert_eq!(version("OpenSSH_for_Windows_9.5p1"), None);
        assert_eq!(version("OpenSSH_10.0p2"), Some((10, 0)));
        assert_eq!(version("dropbear"), None);
    }
}
