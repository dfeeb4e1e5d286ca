//! The registry of connections and the sink of recordings behind the daemon's socket, without a CA: lists come
//! from the file that sshd reads, reports go to a file. For the tests of what is recorded.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fireaxe_host::clock;
use fireaxe_host::config::{self, Config};
use fireaxe_host::connections::{Registry, Setup, record};
use fireaxe_host::daemon::socket::{Handler, bind, serve};
use fireaxe_host::daemon::words::SOCKET;
use fireaxe_host::daemon::{Connections, InForce, Rooms};
use fireaxe_host::error::HostError;
use fireaxe_host::processes::Cgroups;
use fireaxe_host::reports::Reports;
use fireaxe_host::sink::{Limits, Recordings, Sealing};
use fireaxe_host::teardown::Moment;
use fireaxe_protocol::host::Report;
use fireaxe_protocol::krl::RevocationList;
use fireaxe_protocol::log::Hash;

/// A line a report.
struct Lines(Mutex<File>);

impl Reports for Lines {
    fn say(&self, report: Report) -> Result<(), HostError> {
        let line = serde_json::to_string(&report).unwrap_or_default() + "\n";
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).map_err(|error| HostError::write(Path::new(REPORTS), &error))
    }
}

fn main() -> Result<(), HostError> {
    let config = Arc::new(Config::read(Path::new(config::PATH))?);
    let host = config.enrolled.as_ref().map(|enrolled| enrolled.host.clone());
    let host = host.ok_or_else(|| HostError::NotEnrolled(config::PATH.into()))?;
    let reports = File::options().create(true).append(true).open(REPORTS);
    let reports = reports.map_err(|error| HostError::write(Path::new(REPORTS), &error))?;
    let reports = Arc::new(Lines(Mutex::new(reports)));
    let registry = Registry::open(Setup {
        config: config.clone(),
        reports: reports.clone(),
        run: record::RUN.into(),
        cgroups: Cgroups::find(),
        now: Moment::now,
    })?;
    let limits = Limits { reserve: 0, ..Limits::default() };
    let (sink, _) =
        Recordings::open(&config.state.join("recordings"), host, Sealing::default(), limits, reports, || ())?;
    let listener = bind(Path::new(SOCKET))?;
    let rooms = Rooms::new(Arc::new(registry.clone()), Arc::new(sink), || serde_json::Value::Null);
    let rooms: Arc<dyn Handler> = Arc::new(rooms);
    std::thread::spawn(move || serve(&listener, &rooms));
    let keeper = registry.clone();
    std::thread::spawn(move || keeper.keep());
    let mut list = Vec::new();
    loop {
        let bytes = std::fs::read(&config.revoked_keys).unwrap_or_default();
        if bytes != list
            && let Ok(read) = RevocationList::read(&bytes)
        {
            let hash = Hash::of(&bytes);
            registry.listed(InForce { version: read.version, hash, bytes: &bytes, at: clock::now() });
            list = bytes;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

const REPORTS: &str = "/var/log/reports.jsonl";
