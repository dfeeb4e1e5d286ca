//! `rec`: what hosts recorded, held against what they reported. Reads the data folder; needs no running CA.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use clap::{Args, Subcommand};
use fireaxe_protocol::host::{Recorded, Report};
use fireaxe_protocol::log::{Entry, Event, HostSaid};
use fireaxe_protocol::names::{EmergencyId, HostName, shown};
use fireaxe_protocol::recording::{Body, Cast, Chain, Header};
use fireaxe_protocol::statement::{Nonce, Statement};

use super::{Data, Failed, print, tell};
use crate::data_dir::DataDir;
use crate::log::Reader;
use crate::recordings;

/// List, verify and play what hosts recorded.
#[derive(Debug, Subcommand)]
pub(super) enum Rec {
    /// List them
    Ls(Ls),
    /// Check their chunks, and that they are what the host reported
    Verify(Verify),
    /// Write one as asciicast v3 to stdout
    Export(Export),
}

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// EM-42, or a recording's name; left out: all
    which: Option<String>,
    #[command(flatten)]
    data: Data,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// EM-42, or a recording's name; left out: all
    which: Option<String>,
    #[command(flatten)]
    data: Data,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// EM-42, or a recording's name
    which: String,
    #[command(flatten)]
    data: Data,
}

/// A recording that is on disk, was reported, or both.
#[derive(Debug, Default)]
struct Known {
    emergency: Option<EmergencyId>,
    header: Option<Header>,
    bytes_on_disk: Option<u64>,
    reported: Option<Recorded>,
}

type Shelf = BTreeMap<(HostName, Nonce), Known>;

impl Rec {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Rec::Ls(Ls { which, data, json }) => ls(&DataDir::at(&data.dir), which.as_deref(), json),
            Rec::Verify(Verify { which, data, json }) => {
                verify(&DataDir::at(&data.dir), which.as_deref(), json)
            }
            Rec::Export(Export { which, data }) => cast(&DataDir::at(&data.dir), &which),
        }
    }
}

fn ls(dir: &DataDir, which: Option<&str>, json: bool) -> Result<(), Failed> {
    let shelf = shelf(dir, which)?;
    for ((host, name), known) in &shelf {
        let state = match (known.bytes_on_disk, &known.reported) {
            (None, _) => "missing",
            (Some(_), None) => "not reported yet",
            (Some(_), Some(_)) => "reported",
        };
        let emergency = known.emergency.map_or("-".into(), |id| id.to_string());
        let bytes = known.bytes_on_disk.unwrap_or(0);
        let account = known.header.as_ref().map_or("-", |header| header.account.as_str());
        if json {
            let told = serde_json::json!({
                "schema": "fireaxe.recording/v1", "recording": name, "host": host, "state": state,
                "emergency": known.emergency, "bytes": bytes, "header": known.header, "reported": known.reported,
            });
            print(format_args!("{told}\n"))?;
        } else {
            print(format_args!("{emergency}  {host}  {account}  {name}  {bytes} bytes  {state}\n"))?;
        }
    }
    if shelf.is_empty() {
        tell("nothing is recorded");
    }
    Ok(())
}

fn verify(dir: &DataDir, which: Option<&str>, json: bool) -> Result<(), Failed> {
    let (mut wrong, mut verified, mut unreported) = (Vec::new(), 0u64, 0u64);
    let shelf = shelf(dir, which)?;
    for ((host, name), known) in &shelf {
        let found = what_is_wrong(dir, host, *name, known);
        let state = match (&found, &known.reported) {
            (Some(what), _) => what.as_str(),
            (None, Some(_)) => {
                verified += 1;
                "is what the host reported"
            }
            (None, None) => {
                unreported += 1;
                "holds together so far; the host has not reported it yet"
            }
        };
        if json {
            let told = serde_json::json!({
                "schema": "fireaxe.recording-verified/v1", "recording": name, "host": host,
                "emergency": known.emergency, "ok": found.is_none(), "what": state,
            });
            print(format_args!("{told}\n"))?;
        } else {
            tell(format_args!("{host}  {name}  {state}"));
        }
        wrong.extend(found.map(|what| format!("{host} {name}: {what}")));
    }
    tell(format_args!("{verified} verified, {unreported} not reported yet"));
    if wrong.is_empty() { Ok(()) } else { Err(Failed { code: 1, lines: wrong, hint: None }) }
}

fn what_is_wrong(dir: &DataDir, host: &HostName, name: Nonce, known: &Known) -> Option<String> {
    let path = dir.recordings().join(host.as_str()).join(name.to_string());
    let (chain, _, error) = match recordings::read(&path, |_| ()) {
        Ok(read) => read,
        Err(error) => return Some(format!("it was reported, and cannot be read: {error}")),
    };
    if let Some(error) = error {
        return Some(error.to_string());
    }
    differs(&chain, host, name, known)
}

fn differs(chain: &Chain, host: &HostName, name: Nonce, known: &Known) -> Option<String> {
    if chain.header().is_none_or(|header| header.host != *host || header.recording != name) {
        return Some("its own header names another host or another recording".into());
    }
    let (found, reported) = (chain.recorded()?, known.reported.as_ref()?);
    if found == *reported {
        return None;
    }
    if found.chunks < reported.chunks {
        let missing = reported.chunks - found.chunks;
        return Some(format!("{missing} of its {} chunks are missing at its end", reported.chunks));
    }
    Some("it is not what the host reported: another head, or other sums".into())
}

fn cast(dir: &DataDir, which: &str) -> Result<(), Failed> {
    let shelf = shelf(dir, Some(which))?;
    let mut there = shelf.iter().filter(|(_, known)| known.bytes_on_disk.is_some());
    let Some(((host, name), _)) = there.next() else {
        return Err(nothing_of(which));
    };
    let more: Vec<String> = there.map(|((_, name), _)| name.to_string()).collect();
    if !more.is_empty() {
        let lines = vec![format!("{which} has {} recordings: {name}, {}", more.len() + 1, more.join(", "))];
        return Err(Failed { code: 2, lines, hint: Some("fireaxe-ca rec export NAME --data DIR".into()) });
    }
    let path = dir.recordings().join(host.as_str()).join(name.to_string());
    let (mut cast, mut out, mut failed) = (Cast::default(), String::new(), Ok(()));
    let read = recordings::read(&path, |chunk| {
        cast.chunk(chunk, &mut out);
        if failed.is_ok() {
            failed = print(&out);
        }
        out.clear();
    });
    failed?;
    match read {
        Ok((_, _, None)) => Ok(()),
        Ok((_, _, Some(error))) => Err(Failed::error(format!("{}: {error}", path.display()))),
        Err(error) => Err(Failed::error(format!("{}: {error}", path.display()))),
    }
}

/// Nothing to list, to check or to play is no success when something was asked for.
fn nothing_of(which: &str) -> Failed {
    let of = which.parse().map_or_else(|_| shown(which), |id: EmergencyId| format!("of {id}"));
    Failed::error(format!("there is no recording {of}")).hint("fireaxe-ca rec ls --data DIR")
}

/// What there is: files, and what was reported, of one emergency or of one name; if one of these was asked for,
/// never nothing.
fn shelf(dir: &DataDir, which: Option<&str>) -> Result<Shelf, Failed> {
    let mut shelf = Shelf::new();
    let mut connections: BTreeMap<(HostName, Nonce), Option<EmergencyId>> = BTreeMap::new();
    let reader = Reader::open(&dir.log()).map_err(|e| Failed::log(dir, e))?;
    let read = reader.entries(0, u64::MAX, |_, bytes| {
        // Most entries are of other kinds: not worth taking apart.
        let head = bytes.get(..100).unwrap_or(bytes);
        if head.windows(KIND.len()).any(|part| part == KIND)
            && let Ok(entry) = Entry::decode(bytes)
        {
            heard(&entry.event, &mut connections, &mut shelf);
        }
        ControlFlow::Continue(())
    });
    read.map_err(|e| Failed::log(dir, e))?;
    for (host, name, path) in files(dir) {
        let header = header_of(&path);
        let known = shelf.entry((host.clone(), name)).or_default();
        known.bytes_on_disk = path.metadata().ok().map(|known| known.len());
        let connection = header.as_ref().map(|header| header.connection);
        let of = connection.and_then(|connection| connections.get(&(host, connection)).copied().flatten());
        known.emergency = known.emergency.or(of);
        known.header = header;
    }
    if let Some(which) = which {
        let id = which.parse::<EmergencyId>().ok();
        shelf.retain(|(_, name), known| match id {
            Some(id) => known.emergency == Some(id),
            None => name.to_string().starts_with(which),
        });
        if shelf.is_empty() {
            return Err(nothing_of(which));
        }
    }
    Ok(shelf)
}

const KIND: &[u8] = b"\"kind\":\"session.";

fn heard(
    event: &Event,
    connections: &mut BTreeMap<(HostName, Nonce), Option<EmergencyId>>,
    shelf: &mut Shelf,
) {
    match (event, words(event)) {
        (Event::SessionOpened { emergency, by, .. }, Some(Report::SessionOpened(said))) => {
            connections.insert((by.host.clone(), said.connection), *emergency);
        }
        (Event::SessionClosed { emergency, by, .. }, Some(Report::SessionClosed(said))) => {
            for recorded in said.recordings {
                let known = shelf.entry((by.host.clone(), recorded.recording)).or_default();
                known.emergency = *emergency;
                known.reported = Some(recorded);
            }
        }
        _ => {}
    }
}

fn words(event: &Event) -> Option<Report> {
    let (Event::SessionOpened { by: HostSaid { said, .. }, .. }
    | Event::SessionClosed { by: HostSaid { said, .. }, .. }) = event
    else {
        return None;
    };
    match Statement::read(&said.statement) {
        Ok(Statement::Report(words)) => Some(words.report),
        _ => None,
    }
}

fn files(dir: &DataDir) -> Vec<(HostName, Nonce, std::path::PathBuf)> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(dir.recordings()).into_iter().flatten().flatten() {
        let Some(host) = folder.file_name().to_str().and_then(|name| name.parse::<HostName>().ok()) else {
            continue;
        };
        for file in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            if let Some(name) = file.file_name().to_str().and_then(|name| name.parse::<Nonce>().ok()) {
                found.push((host.clone(), name, file.path()));
            }
        }
    }
    found
}

fn header_of(path: &std::path::Path) -> Option<Header> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let most = fireaxe_protocol::limits::RECORDING_CHUNK as u64;
    std::fs::File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    let (chunk, _) = fireaxe_protocol::recording::Chunk::read(&bytes).ok()??;
    match chunk.body {
        Body::Header(header) => Some(*header),
        Body::Data(_) | Body::End(_) => None,
    }
}
