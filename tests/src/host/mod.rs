//! A host: a stock sshd with its own `/etc`, `/home`, `/root`, `/var`, `/tmp`, `/run`, `/dev`, processes,
//! terminals, syslog and control groups. The machine's are never touched; see `openssh/host.sh`.
//!
//! | file | what it holds |
//! |---|---|
//! | `furnish` | what a fresh Debian has, as far as sshd and a login need it |
//! | `namespaces` | where the host runs: entered, left, with a control group where there is one |
//! | `sshd` | the server: started, stopped, asked, its log |
//! | `login` | a real `ssh` to the host |
//! | `fireaxe` | `fireaxe-host` on it: files, enrolment, apply, the daemon |
//! | `syslog` | what programs on the host log |
//!
//! A host listens on a loopback port of the machine, or, when a [`Network`](crate::network::Network) made it,
//! on port 22 of an address of its own.

mod fireaxe;
mod furnish;
mod login;
mod namespaces;
mod sshd;
mod syslog;

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::network::Link;
use crate::run::{Ran, end, run};
use crate::world::{OpenSsh, World};

pub use furnish::ACCOUNTS;
pub use login::Login;

use namespaces::Namespaces;
use syslog::Syslog;

/// A host of the world. Ends with everything that runs on it when dropped.
pub struct Host {
    world: World,
    name: String,
    system: String,
    dir: PathBuf,
    openssh: OpenSsh,
    pub(crate) link: Option<Link>,
    inside: Namespaces,
    syslog: Syslog,
    sshd: Option<Child>,
    daemon: Option<Child>,
    address: IpAddr,
    port: u16,
}

impl Host {
    pub(crate) fn new(world: &World, name: &str, system: &str, openssh: OpenSsh, link: Option<Link>) -> Host {
        let dir = world.room("hosts").join(name);
        furnish::furnish(world, &dir, name, openssh);
        let syslog = Syslog::listen(&dir);
        let inside = Namespaces::enter(world, &dir, openssh, link.as_ref());
        let address = link.as_ref().map_or(IpAddr::from([127, 0, 0, 1]), Link::address);
        Host {
            world: world.clone(),
            name: name.into(),
            system: system.into(),
            dir,
            openssh,
            link,
            inside,
            syslog,
            sshd: None,
            daemon: None,
            address,
            port: 0,
        }
    }

    /// Its DNS name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The system it belongs to.
    pub fn system(&self) -> &str {
        &self.system
    }

    /// Where its sshd listens: loopback, or its own address in a network.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The port of its sshd, once started.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether processes of this host are in a control group (version 2) of its own.
    pub fn has_control_groups(&self) -> bool {
        self.inside.cgroup().is_some()
    }

    /// Where the host's `path` is for the test, e.g. `/etc/ssh/fireaxe_revoked_keys`. Only what is below
    /// `/etc`, `/home`, `/root`, `/tmp` and `/var`.
    pub fn file(&self, path: &str) -> PathBuf {
        self.dir.join(path.trim_start_matches('/'))
    }

    /// Puts a file on the host, owned by root, its folder made when missing.
    pub fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let file = self.file(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("folder");
        fs::write(&file, bytes).expect("file on the host");
    }

    /// Puts a program on the host that only root can change.
    pub fn put_program(&self, path: &str, text: &str) {
        self.put(path, text);
        let mode = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mode");
        let file = self.file(path);
        mode(&file);
        file.ancestors().skip(1).take_while(|dir| *dir != self.dir).for_each(mode);
    }

    /// Gives an account another login shell, as the host sees its path.
    pub fn set_shell(&self, account: &str, shell: &str) {
        let before = fs::read_to_string(self.file("/etc/passwd")).expect("passwd");
        let line = |line: &str| match line.strip_prefix(&format!("{account}:")) {
            Some(_) => format!("{}:{shell}\n", line.rsplit_once(':').expect("a shell").0),
            None => format!("{line}\n"),
        };
        self.put("/etc/passwd", before.lines().map(line).collect::<String>());
    }

    /// Makes a program of [`World::tool`] one that every account of the host finds; gives whether there is one.
    pub fn install_tool(&self, name: &str) -> bool {
        let Some(found) = self.world.tool(name) else { return false };
        if found == self.world.unpacked_tool(name) {
            let line = format!(
                "printf '#!/bin/sh\\nexec /run/world/openssh/tools/{name} \"$@\"\\n' >/usr/bin/{name}"
            );
            self.run("sh", &["-ec", &format!("{line}; chmod 755 /usr/bin/{name}")]).ok();
        }
        true
    }

    /// A command to be run on the host as root.
    pub fn command(&self, program: &str) -> Command {
        self.inside.command(program)
    }

    /// A line to be typed to get a root shell on the host, past sshd.
    pub fn enter_line(&self) -> String {
        self.inside.enter_line()
    }

    /// Any path of the host as the machine finds it, sockets below `/run` too, while it is up.
    pub fn outside(&self, path: &str) -> PathBuf {
        self.inside.root().join(path.trim_start_matches('/'))
    }

    /// Runs a command on the host as root.
    pub fn run(&self, program: &str, args: &[&str]) -> Ran {
        run(self.command(program).args(args))
    }

    /// What programs on the host have sent to syslog, a line each.
    pub fn syslog(&self) -> String {
        self.syslog.text()
    }

    /// Everything on it ends at once, as by a reset; the disk stays. It comes up again with an empty `/run`,
    /// and with sshd and the daemon if they ran.
    pub fn reboot(&mut self) {
        let (sshd, daemon) = (self.sshd.take(), self.daemon.take());
        let (with_sshd, with_daemon) = (sshd.is_some(), daemon.is_some());
        self.inside.leave();
        for mut child in sshd.into_iter().chain(daemon) {
            end(&mut child);
        }
        self.inside = Namespaces::enter(&self.world, &self.dir, self.openssh, self.link.as_ref());
        if self.file(fireaxe::INSTALLED).exists() {
            self.install();
        }
        if with_daemon {
            self.daemon();
        }
        if with_sshd {
            self.restart();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.inside.leave();
        for mut child in self.sshd.take().into_iter().chain(self.daemon.take()) {
            end(&mut child);
        }
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- sshd of {}\n{}", self.name, self.log());
            let _ = writeln!(std::io::stderr(), "--- daemon of {}\n{}", self.name, self.daemon_log());
        }
    }
}
