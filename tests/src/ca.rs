//! A `fireaxe-ca` of the world: initialised from a bundle, served on a free loopback port, killed and
//! started again at will.

use std::fs;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fireaxe_ca::log::Reader;
use fireaxe_protocol::api::Fleet;
use fireaxe_protocol::host::Report;
use fireaxe_protocol::log::{Entry, Event};
use fireaxe_protocol::statement::{Claimed, Statement};

use crate::clock;
use crate::run::{Ran, bound, end, run};
use crate::world::World;

/// A CA. Its process ends when this is dropped.
pub struct Ca {
    data: PathBuf,
    log: PathBuf,
    program: PathBuf,
    init: Ran,
    address: IpAddr,
    port: u16,
    serving: Option<Child>,
    environment: Vec<(String, String)>,
}

impl Ca {
    pub(crate) fn init(world: &World, bundle: &Path) -> Ca {
        let program = world.programs().ours("fireaxe-ca");
        let data = world.room("ca").join("data");
        let mut command = Command::new(&program);
        command.arg("init").arg("--data").arg(&data).arg("--bundle").arg(bundle);
        let init = run(command.args(["--name", "fireaxe.test", "--json"]));
        init.ok();
        Ca {
            log: world.room("ca").join("serve.log"),
            data,
            program,
            init,
            address: world.address(),
            port: 0,
            serving: None,
            environment: Vec::new(),
        }
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What `init` printed.
    pub fn init_output(&self) -> &Ran {
        &self.init
    }

    /// Uses another build of the program, e.g. one with crash points, from the next start on.
    pub fn use_program(&mut self, program: &Path) {
        self.program = program.to_path_buf();
    }

    /// Sets an environment variable for the next starts.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.retain(|(n, _)| n != name);
        self.environment.push((name.into(), value.into()));
    }

    /// `https://127.0.0.1:PORT`, or the address of the world's network.
    pub fn url(&self) -> String {
        format!("https://{}:{}", self.address, self.port)
    }

    /// The port it serves on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A value of what `init --json` printed: `pin`, `origin`, `user_ca`, `krl_key`, `log_key`, `bundle`.
    pub fn told(&self, name: &str) -> String {
        let told: serde_json::Value = serde_json::from_str(&self.init.stdout)
            .unwrap_or_else(|error| panic!("init prints no JSON: {error}\n{}", self.init));
        let value = told.get(name).and_then(serde_json::Value::as_str);
        value.unwrap_or_else(|| panic!("init does not tell {name}:\n{}", self.init)).to_owned()
    }

    /// The pin of its TLS certificate: `sha256:` and 64 hex digits.
    pub fn pin(&self) -> String {
        self.told("pin")
    }

    /// What a host's `/etc/fireaxe/host.toml` says to use this CA.
    pub fn host_config(&self) -> String {
        format!(
            "addr = \"{}\"\npin = \"{}\"\nkrl_key = \"{}\"\norigin = \"{}\"\n",
            self.url(),
            self.pin(),
            self.told("krl_key"),
            self.told("origin")
        )
    }

    /// Serves, and waits until it accepts connections.
    pub fn start(&mut self) {
        for _ in 0..10 {
            if self.port == 0 {
                let free = TcpListener::bind((self.address, 0)).expect("a free port");
                self.port = free.local_addr().expect("address").port();
            }
            if self.launch() {
                return;
            }
            self.port = 0;
        }
        panic!("the CA does not start:\n{}", self.serve_log());
    }

    fn launch(&mut self) -> bool {
        let log = fs::File::options().create(true).append(true).open(&self.log).expect("log");
        let mut command = bound(&self.program);
        command.arg("serve").arg("--data").arg(&self.data);
        command.arg("--listen").arg(format!("{}:{}", self.address, self.port));
        command.envs(self.environment.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("log")).stderr(log);
        let mut child = command.spawn().expect("fireaxe-ca starts");
        let up = clock::wait_for(clock::LIMIT, || {
            if child.try_wait().ok().flatten().is_some() {
                Some(false)
            } else {
                let operators = || UnixStream::connect(self.data.join("operator.sock"));
                let both = TcpStream::connect((self.address, self.port)).and_then(|_| operators());
                both.ok().map(|_| true)
            }
        });
        if up == Some(true) {
            self.serving = Some(child);
            true
        } else {
            end(&mut child);
            false
        }
    }

    /// What `serve` has printed.
    pub fn serve_log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process, while it serves.
    pub fn pid(&self) -> Option<u32> {
        self.serving.as_ref().map(Child::id)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut serving) = self.serving.take() {
            end(&mut serving);
        }
    }

    /// Waits until it has ended by itself (a crash point).
    pub fn wait_for_end(&mut self) {
        if let Some(mut serving) = self.serving.take() {
            let ended = clock::wait_for(clock::LIMIT, || serving.try_wait().ok().flatten());
            if ended.is_none() {
                end(&mut serving);
                panic!("the CA goes on:\n{}", self.serve_log());
            }
        }
    }

    /// All entries of its log.
    pub fn entries(&self) -> Vec<Entry> {
        let reader = Reader::open(&self.data.join("log.sqlite")).expect("log");
        let mut found = Vec::new();
        reader.replay(|_, entry, _| found.push(entry)).expect("the log holds together");
        found
    }

    /// What hosts signed of their sessions and lists, as the log holds it.
    pub fn reports(&self) -> Vec<Report> {
        let said = |event: Event| match event {
            Event::SessionOpened { by, .. }
            | Event::SessionClosed { by, .. }
            | Event::HostConfirmed { by, .. } => Some(by.said),
            _ => None,
        };
        let said = self.entries().into_iter().filter_map(|entry| said(entry.event));
        let words = said.map(|said| match Claimed::read(said).expect("a statement").statement() {
            Statement::Report(words) => words.report.clone(),
            other => panic!("no report: {other:?}"),
        });
        words.collect()
    }

    /// Every entry, signature, decision and certificate of its log is as it must be.
    #[track_caller]
    pub fn verifies(&self) {
        self.cmd(&["log", "verify"]).ok();
    }

    /// `fireaxe-ca fleet --json`
    pub fn fleet(&self) -> Fleet {
        let ran = self.cmd(&["fleet", "--json"]);
        serde_json::from_str(ran.ok()).unwrap_or_else(|error| panic!("no fleet: {error}\n{ran}"))
    }

    /// Runs one of its commands on its data: `--data` is added.
    pub fn cmd(&self, args: &[&str]) -> Ran {
        run(Command::new(&self.program).args(args).arg("--data").arg(&self.data))
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- fireaxe-ca\n{}", self.serve_log());
        }
    }
}
