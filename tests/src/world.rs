//! The world: a temporary directory, and the programs that run in it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use tempfile::TempDir;

use crate::ca::Ca;
use crate::engineer::Engineer;
use crate::host::Host;
use crate::network::Network;
use crate::run::{Ran, run};

/// A private directory with everything in it. Cheap to clone; the directory goes with its last holder.
#[derive(Clone)]
pub struct World {
    dir: Arc<TempDir>,
    programs: Arc<Programs>,
    address: Arc<OnceLock<IpAddr>>,
}

/// Which OpenSSH a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenSsh {
    /// The one that Debian 12 ships.
    Stock,
    /// The newest that its backports offer.
    Backports,
}

/// Where the programs are.
#[derive(Debug)]
pub struct Programs {
    /// The directory with `fireaxe`, `fireaxe-ca` and `fireaxe-host`.
    pub bin: PathBuf,
    /// What `tests/openssh/provide.sh` unpacked; need not exist when the machine has an sshd.
    pub openssh: PathBuf,
    /// What it unpacked of Debian's backports; need not exist.
    pub backports: PathBuf,
}

impl World {
    /// An empty world.
    ///
    /// Panics, saying what to do, without root or without an sshd.
    pub fn new() -> World {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test needs root for its private namespaces: run `make test` (it uses sudo when you are not root)"
        );
        let programs = Programs::find();
        assert!(
            programs.server(OpenSsh::Stock).is_some() || Path::new("/").join(SSHD).exists(),
            "there is no sshd to test against: run `make test`, or once tests/openssh/provide.sh target"
        );
        let dir = tempfile::Builder::new().prefix("fireaxe-").tempdir().expect("temporary directory");
        World { dir: Arc::new(dir), programs: Arc::new(programs), address: Arc::default() }
    }

    /// The world's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Makes a directory of the world and gives its path.
    pub fn room(&self, name: &str) -> PathBuf {
        let path = self.dir().join(name);
        fs::create_dir_all(&path).expect("directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("mode");
        path
    }

    /// Where the programs are.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// A host without any of our files: stock sshd, not yet started.
    pub fn host(&self, name: &str, system: &str) -> Host {
        Host::new(self, name, system, OpenSsh::Stock, None)
    }

    /// The same with this OpenSSH; none, said loudly, when it could not be had.
    pub fn host_with(&self, openssh: OpenSsh, name: &str, system: &str) -> Option<Host> {
        self.has(openssh).then(|| Host::new(self, name, system, openssh, None))
    }

    /// Whether hosts can have this OpenSSH; says so loudly when they cannot.
    pub fn has(&self, openssh: OpenSsh) -> bool {
        let there = openssh == OpenSsh::Stock || self.programs.backports.join(SSHD).exists();
        if !there {
            eprintln!(
                "SKIPPED: there is no OpenSSH of Debian's backports; tests/openssh/provide.sh could not fetch it"
            );
        }
        there
    }

    /// A network of its own, into which this thread goes: hosts get addresses of their own there, and the CA
    /// serves on one. To be made before the CA. See [`Network`].
    pub fn network(&self) -> Network {
        let network = Network::begin(self);
        self.address.set(network.address()).expect("a world has one network");
        network
    }

    /// Where hosts and people reach what serves outside of hosts.
    pub fn address(&self) -> IpAddr {
        *self.address.get().unwrap_or(&IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// A CA with this bundle (a folder with `policy.toml` and `roster.toml`), initialised, not started.
    pub fn ca(&self, bundle: &Path) -> Ca {
        Ca::init(self, bundle)
    }

    /// A person with a home and a software key.
    pub fn engineer(&self, name: &str) -> Engineer {
        Engineer::new(self, name)
    }

    /// Writes a bundle into the world: this policy, and a roster with the lines that `fireaxe
    /// enrol` prints for these people. Groups are given for each person.
    pub fn bundle(&self, policy: &str, people: &[(&Engineer, &[&str])], roster_tail: &str) -> PathBuf {
        let bundle = self.room("bundle");
        let mut roster = String::from("version = 1\n");
        for (engineer, groups) in people {
            roster.push_str(&format!("\n{}\n", engineer.roster(groups)));
        }
        roster.push_str(roster_tail);
        fs::write(bundle.join("policy.toml"), policy).expect("policy");
        fs::write(bundle.join("roster.toml"), roster).expect("roster");
        bundle
    }

    /// Login shells to try, as a host sees their paths: those of the machine, and what `provide.sh` unpacked.
    /// Says which are missing.
    pub fn shells(&self) -> Vec<String> {
        let mut found = Vec::new();
        for shell in ["bash", "dash", "zsh", "fish", "tcsh"] {
            let unpacked = self.programs.openssh.join("shells").join(shell);
            if Path::new("/usr/bin").join(shell).exists() {
                found.push(format!("/usr/bin/{shell}"));
            } else if unpacked.exists() {
                found.push(format!("/run/world/openssh/shells/{shell}"));
            } else {
                eprintln!("SKIPPED: there is no {shell} here; tests/openssh/provide.sh could not fetch it");
            }
        }
        found
    }

    /// A program that people run through ssh or in sessions: the machine's own, or what `provide.sh` unpacked.
    /// None, said loudly, when it could not be had. A host has it after
    /// [`Host::install_tool`](crate::host::Host::install_tool).
    pub fn tool(&self, name: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.exists());
        let found = own.or_else(|| Some(self.unpacked_tool(name)).filter(|path| path.exists()));
        if found.is_none() {
            eprintln!("SKIPPED: there is no {name} here; tests/openssh/provide.sh could not fetch it");
        }
        found
    }

    pub(crate) fn unpacked_tool(&self, name: &str) -> PathBuf {
        self.programs.openssh.join("tools").join(name)
    }

    /// Runs one of our programs with these arguments, outside any host.
    pub fn ours(&self, program: &str, args: &[&str]) -> Ran {
        run(Command::new(self.programs.ours(program)).args(args))
    }
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

impl Programs {
    /// `FIREAXE_BIN_DIR`, or where cargo puts binaries beside this test.
    pub fn find() -> Programs {
        let bin = given("FIREAXE_BIN_DIR").unwrap_or_else(|| {
            let exe = std::env::current_exe().expect("own path");
            let dir = exe.parent().expect("a directory");
            if dir.ends_with("deps") || dir.ends_with("examples") {
                dir.parent().expect("a directory").to_path_buf()
            } else {
                dir.to_path_buf()
            }
        });
        let openssh = given("FIREAXE_OPENSSH_DIR").unwrap_or_else(|| {
            let beside = bin.parent().map(|target| target.join("openssh"));
            beside
                .filter(|dir| dir.exists())
                .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/openssh"))
        });
        Programs { bin, backports: openssh.with_file_name("openssh-backports").join("root"), openssh }
    }

    /// Where `provide.sh` unpacked this server; none: the machine's own is used.
    pub fn server(&self, openssh: OpenSsh) -> Option<PathBuf> {
        let root = match openssh {
            OpenSsh::Stock => self.openssh.join("root"),
            OpenSsh::Backports => self.backports.clone(),
        };
        root.join(SSHD).exists().then_some(root)
    }

    /// The security key in software, which cargo builds beside the tests.
    pub fn sk_provider(&self) -> PathBuf {
        let exe = std::env::current_exe().expect("own path");
        let path = exe.with_file_name("libfireaxe_test_sk_provider.so");
        assert!(path.exists(), "{} is not built: it comes with `cargo test`", path.display());
        path
    }

    /// One of our binaries; panics, saying how to build it, when it is missing.
    pub fn ours(&self, program: &str) -> PathBuf {
        let path = self.bin.join(program);
        assert!(
            path.exists(),
            "{} is not built: run `make test`, or `cargo build --workspace --bins` first",
            path.display()
        );
        path
    }
}

const SSHD: &str = "usr/sbin/sshd";

fn given(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
