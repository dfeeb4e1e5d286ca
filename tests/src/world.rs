//! The world: a temporary directory, and the programs that run in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use crate::ca::Ca;
use crate::engineer::Engineer;
use crate::host::Host;
use crate::run::{Ran, run};

/// A private directory with everything in it. Cheap to clone; the directory goes with its last holder.
#[derive(Clone)]
pub struct World {
    dir: Arc<TempDir>,
    programs: Arc<Programs>,
}

/// Where the programs are.
#[derive(Debug)]
pub struct Programs {
    /// The directory with `fireaxe`, `fireaxe-ca` and `fireaxe-host`.
    pub bin: PathBuf,
    /// What `tests/openssh/provide.sh` unpacked; need not exist when the machine has an sshd.
    pub openssh: PathBuf,
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
            programs.unpacked_sshd().exists() || Path::new("/usr/sbin/sshd").exists(),
            "there is no sshd to test against: run `make test`, or once tests/openssh/provide.sh target"
        );
        let dir = tempfile::Builder::new().prefix("fireaxe-").tempdir().expect("temporary directory");
        World { dir: Arc::new(dir), programs: Arc::new(programs) }
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
        Host::new(self, name, system)
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
                found.push(format!("/run/fireaxe/openssh/shells/{shell}"));
            } else {
                eprintln!("SKIPPED: there is no {shell} here; tests/openssh/provide.sh could not fetch it");
            }
        }
        found
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
        Programs { bin, openssh }
    }

    /// The sshd that `provide.sh` unpacked.
    pub fn unpacked_sshd(&self) -> PathBuf {
        self.openssh.join("root/usr/sbin/sshd")
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

fn given(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
