//! `verify`: a dossier or a period, checked offline. Needs no configuration, no network and no CA; writes nothing.

use std::path::Path;

use fireaxe_protocol::evidence::{Told, Trust, check};
use fireaxe_protocol::log::NoteKey;
use serde_json::json;

use crate::authority;
use crate::cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::parts;
use crate::places::Places;
use crate::screen::{Screen, clean};

/// Checks it, with the key that was given, or the one that this client remembers of that log.
pub(super) fn run(screen: Screen, places: Option<&Places>, what: &cli::Verify) -> Result<Exit, Failure> {
    let unreadable = |why| Failure::Evidence { path: what.path.display().to_string(), why };
    let mut parts = parts::open(&what.path).map_err(unreadable)?;
    let remembered = places.and_then(authority::remembered_log_key);
    let trust = Trust {
        key: what.key.as_ref().or(remembered.as_ref()),
        must: what.key.is_some(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let told = check(&mut *parts, trust);
    if screen.is_json() {
        screen.json(&as_json(&told));
    } else {
        say(screen, &what.path, &told);
    }
    Ok(if told.is_good() { Exit::Ok } else { Exit::Error })
}

fn as_json(told: &Told) -> serde_json::Value {
    let found: Vec<_> = told.found.iter().map(|one| json!({"place": one.place, "what": one.what})).collect();
    json!({
        "schema": "fireaxe.verified-file/v1",
        "ok": told.is_good(),
        "of": told.of,
        "origin": told.origin,
        "key": told.key.as_ref().map(NoteKey::to_string),
        "anchored": told.anchored,
        "logged": told.logged,
        "size": told.head.map(|(size, _)| size),
        "root": told.head.map(|(_, root)| root),
        "entries": told.entries,
        "statements": told.statements,
        "decisions": told.decisions,
        "certificates": told.certificates,
        "recordings": told.recordings,
        "remarks": told.remarks,
        "found": found,
    })
}

fn say(screen: Screen, path: &Path, told: &Told) {
    for one in &told.found {
        screen.say(&format!("error: {}: {}", one.place, one.what));
    }
    for remark in &told.remarks {
        screen.say(&format!("note:  {remark}"));
    }
    if let Some((size, root)) = told.head {
        screen.say(&format!("head:  {size} entries, root {root}"));
    }
    let key = told.key.as_ref().map(NoteKey::to_string).unwrap_or_default();
    if told.anchored {
        screen.say(&format!("key:   {key}, which is the one that you have"));
    } else if !key.is_empty() {
        screen.say(&format!(
            "key:   {key}, which the file itself brought: COMPARE IT with what you have from elsewhere"
        ));
    }
    let path = clean(&path.display().to_string()).into_owned();
    if !told.is_good() {
        return screen.headline(&format!("{path} does not hold: {} finding(s)", told.found.len()));
    }
    screen.headline(&format!(
        "{path} holds ({}): {} entries in the log, {} statements signed by whom they say, {} decisions the same again, \
         {} certificates as they were decided, {} recordings as hosts reported them",
        told.of, told.entries, told.statements, told.decisions, told.certificates, told.recordings
    ));
    screen.say("       that nothing was left out shows only the whole log: fireaxe-ca log verify");
}
