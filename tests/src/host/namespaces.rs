//! Where a host runs: its first process and the namespaces that it keeps, a control group of its own where
//! the machine has version 2 of them, and the way in.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::clock;
use crate::network::Link;
use crate::run::end;
use crate::world::{OpenSsh, World};

/// The host's namespaces, for as long as its first process lives.
pub(super) struct Namespaces {
    outer: Child,
    pid: String,
    cgroup: Option<PathBuf>,
    own_network: bool,
}

impl Namespaces {
    /// Starts the first process; it mounts what `openssh/host.sh` says.
    pub(super) fn enter(world: &World, dir: &Path, openssh: OpenSsh, link: Option<&Link>) -> Namespaces {
        let cgroup = free_cgroup();
        let mut command = Command::new("sh");
        command.args(["-c", include_str!("../../openssh/enter.sh"), "enter.sh"]);
        command.arg(cgroup.as_deref().unwrap_or(Path::new("")));
        if link.is_some() {
            command.arg("--net");
        }
        command.args(["--", "sh", "-c", include_str!("../../openssh/host.sh"), "host.sh"]);
        command.arg(dir).arg(&world.programs().bin).arg(world.room("package")).arg(&world.programs().openssh);
        command.arg(world.programs().server(openssh).unwrap_or_default());
        command.arg(if cgroup.is_some() { "yes" } else { "no" });
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut outer = command.spawn().expect("sh is installed");
        let mut line = String::new();
        let _ = BufReader::new(outer.stdout.take().expect("pipe")).read_line(&mut line);
        let Some(pid) = line.trim().strip_prefix("ready ").map(str::to_owned) else {
            drop(outer.stdin.take());
            let said = outer.wait_with_output().map(|o| String::from_utf8_lossy(&o.stderr).into_owned());
            panic!(
                "cannot make private namespaces here (root in a container needs CAP_SYS_ADMIN): {}",
                said.unwrap_or_default()
            );
        };
        if let Some(link) = link {
            link.plug_in(&pid);
        }
        Namespaces { outer, pid, cgroup, own_network: link.is_some() }
    }

    /// The host's control group as the machine sees it.
    pub(super) fn cgroup(&self) -> Option<&Path> {
        self.cgroup.as_deref()
    }

    /// The root folder of its first process.
    pub(super) fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid))
    }

    /// A command to be run there as root.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = match &self.cgroup {
            // Entering a namespace of control groups makes nobody a member.
            Some(cgroup) => {
                let mut command = Command::new("sh");
                command.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]);
                command.arg(cgroup.join("cgroup.procs")).arg("nsenter");
                command
            }
            None => Command::new("nsenter"),
        };
        command.args(self.way_in()).args(["--", program]);
        command.env("HOME", "/root");
        command
    }

    /// A line to be typed for a root shell there.
    pub(super) fn enter_line(&self) -> String {
        format!("nsenter {} -- /bin/bash", self.way_in().join(" "))
    }

    fn way_in(&self) -> Vec<String> {
        let mut words = vec![format!("--target={}", self.pid), "--mount".into(), "--pid".into()];
        words.extend(self.cgroup.is_some().then(|| "--cgroup".into()));
        words.extend(self.own_network.then(|| "--net".into()));
        words.push("--wd=/".into());
        words
    }

    /// Ends every process there, and waits for that. Once more does nothing.
    pub(super) fn leave(&mut self) {
        // The first process ends with its input; the kernel then ends all others of its namespace.
        drop(self.outer.stdin.take());
        if clock::wait_for(clock::LIMIT, || self.outer.try_wait().ok().flatten()).is_none() {
            end(&mut self.outer);
        }
    }
}

/// A name for a control group within this process's own, where the machine has version 2 and lets us.
fn free_cgroup() -> Option<PathBuf> {
    static PARENT: OnceLock<Option<PathBuf>> = OnceLock::new();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let parent = PARENT.get_or_init(|| {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let mount = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (place, kind) = (words.next()?, words.next()?);
            (kind == "cgroup2").then_some(place)
        })?;
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        let parent = Path::new(mount).join(own.trim_start_matches('/'));
        // Read-only in many containers.
        let probe = parent.join(format!("fireaxe-probe-{}", std::process::id()));
        fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)).ok().map(|()| parent)
    });
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Some(parent.as_ref()?.join(format!("fireaxe-host-{}-{number}", std::process::id())))
}
