//! `ls` and `verify`: what there is, and whether it is what the host reported. Neither reads what was said in a
//! recording, so neither is logged.

use clap::Args;
use fireaxe_protocol::recording::Chain;

use super::shelf::{Known, day, shelf};
use super::source::{Key, Source, Where};
use crate::command::{Failed, print, tell};
use crate::recordings::catalog::Name;
use crate::recordings::opening::{self, Identities};

#[derive(Debug, Args)]
pub(in crate::command) struct Ls {
    /// EM-42, or a recording's name; left out: all
    which: Option<String>,
    #[command(flatten)]
    of: Where,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::command) struct Verify {
    /// EM-42, or a recording's name; left out: all
    which: Option<String>,
    #[command(flatten)]
    of: Where,
    #[command(flatten)]
    key: Key,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Ls {
    pub(super) fn run(self) -> Result<(), Failed> {
        let shelf = shelf(&self.of.source(), self.which.as_deref())?;
        for ((host, name), known) in &shelf {
            let told = &known.told;
            let state = match (known.bytes_on_disk, &told.reported, told.expired_at) {
                (None, _, Some(at)) => format!("expired by policy on {}", day(at)),
                (Some(_), _, Some(at)) => format!("expired by policy on {}, about to be removed", day(at)),
                (None, _, None) => "missing".into(),
                (Some(_), None, _) => "not reported yet".into(),
                (Some(_), Some(_), _) => "reported".into(),
            };
            let emergency = told.emergency.map_or("-".into(), |id| id.to_string());
            let bytes = known.bytes_on_disk.unwrap_or(0);
            let account = known.header.as_ref().map_or("-", |header| header.account.as_str());
            let sealed_to = known.header.as_ref().map_or(0, |header| header.sealed.len());
            if self.json {
                let line = serde_json::json!({
                    "schema": "fireaxe.recording/v1", "recording": name, "host": host, "state": state,
                    "emergency": told.emergency, "person": told.person, "tier": told.tier, "bytes": bytes,
                    "header": known.header, "reported": told.reported.as_ref().map(|reported| &reported.recorded),
                    "expired_at": told.expired_at,
                });
                print(format_args!("{line}\n"))?;
            } else {
                let sealed = if sealed_to > 0 { format!("  sealed to {sealed_to}") } else { String::new() };
                print(format_args!(
                    "{emergency}  {host}  {account}  {name}  {bytes} bytes  {state}{sealed}\n"
                ))?;
            }
        }
        if shelf.is_empty() {
            tell("nothing is recorded");
        }
        Ok(())
    }
}

/// What came of checking one.
enum Checked {
    Wrong(String),
    Good(String),
    Expired(u64),
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failed> {
        let source = self.of.source();
        let identities = self.key.read()?;
        let (mut wrong, mut verified, mut unreported, mut expired) = (Vec::new(), 0u64, 0u64, 0u64);
        for (name, known) in &shelf(&source, self.which.as_deref())? {
            let checked = check(&source, name, known, identities.as_ref());
            let state = match &checked {
                Checked::Wrong(what) => what.clone(),
                Checked::Expired(at) => {
                    expired += 1;
                    format!("expired by policy on {}; its hash is in the log", day(*at))
                }
                Checked::Good(how) if known.told.reported.is_some() => {
                    verified += 1;
                    format!("is what the host reported{how}")
                }
                Checked::Good(how) => {
                    unreported += 1;
                    format!("holds together so far; the host has not reported it yet{how}")
                }
            };
            let (host, id) = name;
            if self.json {
                let told = serde_json::json!({
                    "schema": "fireaxe.recording-verified/v1", "recording": id, "host": host,
                    "emergency": known.told.emergency, "ok": !matches!(checked, Checked::Wrong(_)), "what": state,
                });
                print(format_args!("{told}\n"))?;
            } else {
                tell(format_args!("{host}  {id}  {state}"));
            }
            if let Checked::Wrong(what) = checked {
                wrong.push(format!("{host} {id}: {what}"));
            }
        }
        let of_expired = if expired > 0 { format!(", {expired} expired") } else { String::new() };
        tell(format_args!("{verified} verified, {unreported} not reported yet{of_expired}"));
        if wrong.is_empty() { Ok(()) } else { Err(Failed { code: 1, lines: wrong, hint: None }) }
    }
}

fn check(source: &Source, name: &Name, known: &Known, identities: Option<&Identities>) -> Checked {
    let path = source.recordings().join(name.0.as_str()).join(name.1.to_string());
    let opening = match (opening::open(&path, identities, |_| ()), known.told.expired_at) {
        (Ok(opening), _) => opening,
        (Err(error), Some(at)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Checked::Expired(at);
        }
        (Err(error), _) => return Checked::Wrong(format!("it was reported, and cannot be read: {error}")),
    };
    if let Some(error) = opening.wrong {
        return Checked::Wrong(error.to_string());
    }
    if let Some(what) = differs(&opening.chain, name, known) {
        return Checked::Wrong(what);
    }
    match (opening.sealed, opening.unopened) {
        (false, _) => Checked::Good(String::new()),
        (true, None) => Checked::Good(", and what is sealed in it was opened".into()),
        (true, Some(_)) if identities.is_none() => Checked::Good(", sealed and not opened".into()),
        (true, Some(why)) => Checked::Wrong(why.to_string()),
    }
}

fn differs(chain: &Chain, (host, name): &Name, known: &Known) -> Option<String> {
    if chain.header().is_none_or(|header| header.host != *host || header.recording != *name) {
        return Some("its own header names another host or another recording".into());
    }
    let (found, reported) = (chain.recorded()?, &known.told.reported.as_ref()?.recorded);
    if found == *reported {
        return None;
    }
    if found.chunks < reported.chunks {
        let missing = reported.chunks - found.chunks;
        return Some(format!("{missing} of its {} chunks are missing at its end", reported.chunks));
    }
    Some("it is not what the host reported: another head, or other sums".into())
}
