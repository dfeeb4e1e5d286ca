//! `enrol`: a key, the roster lines to be reviewed, the configuration. Nothing is sent anywhere.

use std::path::{Path, PathBuf};

use fireaxe_protocol::names::PersonName;
use serde::Serialize;

use super::Context;
use crate::cli::Enrol;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::signing::{self, Signer, SigningError};

pub(super) fn run(cx: &Context, enrol: Enrol) -> Result<Exit, Failure> {
    let screen = cx.screen;
    let old = Config::load_or_empty(&cx.places.config)?;
    let key = match (&enrol.key, old.as_ref().and_then(|c| c.key().ok())) {
        (Some(path), _) => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
        (None, Some(kept)) => kept.to_owned(),
        (None, None) => default_key(cx)?,
    };
    let made = make_if_missing(cx, &enrol.person, &key)?;
    let signer = Signer::open(&key)?;
    Config::updated(old, &cx.places.config, enrol.person.clone(), key.clone(), enrol.addr, enrol.pin)
        .save()?;
    let line = roster(&enrol.person, &signer.line);
    if screen.is_json() {
        #[derive(Serialize)]
        struct Answer<'a> {
            schema: &'static str,
            person: &'a PersonName,
            key: String,
            made: bool,
            hardware: bool,
            fingerprint: fireaxe_protocol::keys::Fingerprint,
            roster: &'a str,
            config: String,
        }
        screen.json(&Answer {
            schema: "fireaxe.enrol/v1",
            person: &enrol.person,
            key: key.display().to_string(),
            made,
            hardware: signer.is_hardware(),
            fingerprint: signer.fingerprint(),
            roster: &line,
            config: cx.places.config.display().to_string(),
        });
        return Ok(Exit::Ok);
    }
    screen.data(&line);
    let which = if made { "made" } else { "taken as it is" };
    screen.say(&format!("key {} ({which}), {}", key.display(), signer.fingerprint()));
    screen.say(&format!("configuration in {}", cx.places.config.display()));
    if !signer.is_hardware() {
        screen.say("  this key is a file: whoever copies it can sign in your name. With a FIDO key:");
        screen.say("    ssh-keygen -t ed25519-sk -O verify-required -C NAME-key-1 -f ~/.ssh/id_fireaxe_sk");
        screen.say(&format!("    fireaxe enrol --person {} --key ~/.ssh/id_fireaxe_sk", enrol.person));
    }
    screen.say("  next: have the lines above reviewed into roster.toml   |   fireaxe doctor");
    Ok(Exit::Ok)
}

fn default_key(cx: &Context) -> Result<PathBuf, Failure> {
    let home = cx.places.home.as_ref().ok_or(crate::places::PlaceError::NoHome)?;
    Ok(home.join(".ssh/id_fireaxe"))
}

/// Makes the key if nothing is there. Whatever is there stays as it is. Whether one was made.
fn make_if_missing(cx: &Context, person: &PersonName, key: &Path) -> Result<bool, Failure> {
    let public = signing::public_half(key);
    match (exists(key), exists(&public)) {
        (_, true) => return Ok(false),
        (true, false) => return Err(Failure::HalfAKey(key.display().to_string())),
        (false, false) if public == key => {
            return Err(SigningError::NoKey(key.display().to_string()).into());
        }
        (false, false) => {}
    }
    if let Some(parent) = key.parent() {
        crate::places::make_parent(parent)?;
    }
    if cx.screen.can_ask() {
        cx.screen.say("making a new key; ssh-keygen asks for its passphrase ...");
    }
    signing::make_key(key, &format!("{person}-file"), cx.screen.can_ask())?;
    Ok(true)
}

/// A dangling link counts as something: nothing is ever written through it.
fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// The lines for `roster.toml`. The key's line has passed the roster's own reader: printable ASCII;
/// quotes and backslashes can only be in its comment.
fn roster(person: &PersonName, line: &str) -> String {
    let quoted = line.replace('\\', "\\\\").replace('"', "\\\"");
    // A name with a dot is two keys to TOML unless it is quoted.
    let name = person.as_str();
    let name = if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() };
    format!("[person.{name}]\ngroups = []\nkeys = [\"{quoted}\"]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roster_lines_are_toml_whatever_the_comment() {
        for (person, line) in [("ana", "ssh-ed25519 AAAA ana-1"), ("ana.b", r#"ssh-ed25519 AAAA a "b" \c"#)] {
            let text = roster(&person.parse().unwrap(), line);
            let read: toml::Table = text.parse().unwrap();
            let keys = &read["person"][person]["keys"];
            assert_eq!(keys[0].as_str(), Some(line));
        }
    }
}
