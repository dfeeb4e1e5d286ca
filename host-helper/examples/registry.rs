//! The registry of connections behind the daemon's socket, without a CA: lists, countdowns and certificates
//! come from files, reports go to one. For the tests of logins and of what ends them.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_host::config::Config;
use fireaxe_host::connections::{Registry, Setup, record};
use fireaxe_host::daemon::socket::{Handler, bind, reply, serve};
use fireaxe_host::daemon::words::{Answer, SOCKET};
use fireaxe_host::daemon::{Beginning, Begun, Connections, InForce, Rooms, Sink, Took};
use fireaxe_host::error::HostError;
use fireaxe_host::processes::Cgroups;
use fireaxe_host::reports::Reports;
use fireaxe_host::teardown::Moment;
use fireaxe_host::{clock, config};
use fireaxe_protocol::host::Report;
use fireaxe_protocol::krl::RevocationList;
use fireaxe_protocol::log::Hash;

/// A line a report.
struct Lines(Mutex<File>);

impl Reports for Lines {
    fn say(&self, report: Report) -> Result<(), HostError> {
        let line = serde_json::to_string(&report).unwrap_or_default() + "\n";
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(line.as_bytes()).map_err(|error| HostError::write(Path::new(REPORTS), &error))
    }
}

/// Answers, and waits for the session's end.
struct Nothing;

impl Sink for Nothing {
    fn record(&self, begun: Begun, _: Beginning, mut stream: UnixStream) -> Took {
        reply(&mut stream, &Answer::Run(Box::new(begun.run)));
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
        Took::default()
    }
}

fn main() -> Result<(), HostError> {
    let config = Arc::new(Config::read(Path::new(config::PATH))?);
    let reports = File::options().create(true).append(true).open(REPORTS);
    let reports = reports.map_err(|error| HostError::write(Path::new(REPORTS), &error))?;
    let cgroups = if Path::new(NO_CGROUPS).exists() { Cgroups::none() } else { Cgroups::find() };
    let registry = Registry::open(Setup {
        config: config.clone(),
        reports: Arc::new(Lines(Mutex::new(reports))),
        run: record::RUN.into(),
        cgroups,
        now: Moment::now,
    })?;
    let listener = bind(Path::new(SOCKET))?;
    let rooms: Arc<dyn Handler> =
        Arc::new(Rooms::new(Arc::new(registry.clone()), Arc::new(Nothing), || serde_json::Value::Null));
    std::thread::spawn(move || serve(&listener, &rooms));
    let keeper = registry.clone();
    std::thread::spawn(move || keeper.keep());
    let (mut list, mut closing, mut extended) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        if let Some(bytes) = changed(&config.revoked_keys, &mut list)
            && let Ok(read) = RevocationList::read(&bytes)
        {
            registry.listed(InForce {
                version: read.version,
                hash: Hash::of(&bytes),
                bytes: &bytes,
                at: clock::now(),
            });
        }
        if let Some(bytes) = changed(Path::new("/run/closing.json"), &mut closing) {
            registry.closing(serde_json::from_slice(&bytes).unwrap_or_default());
        }
        if let Some(bytes) = changed(Path::new("/run/extended"), &mut extended) {
            registry.extended(&[STANDARD.decode(bytes).unwrap_or_default()]);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn changed(path: &Path, last: &mut Vec<u8>) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok().filter(|bytes| !bytes.is_empty() && bytes != last)?;
    last.clone_from(&bytes);
    Some(bytes)
}

const REPORTS: &str = "/var/log/reports.jsonl";
const NO_CGROUPS: &str = "/run/no-cgroups";
