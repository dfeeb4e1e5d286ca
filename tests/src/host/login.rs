//! A real `ssh` of the machine to the host: what it logs in with, and what it asks for.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::Host;
use crate::keys::KeyPair;
use crate::run::{Ran, run, shown};

/// What a client logs in with.
#[derive(Debug, Clone)]
pub enum Login {
    /// A private key's file and its certificate's.
    Files(PathBuf, PathBuf),
    /// An agent's socket.
    Agent(PathBuf),
    /// A private key's file alone.
    Key(PathBuf),
}

impl Login {
    /// A key with the certificate that lies beside it.
    pub fn certified(key: &KeyPair) -> Login {
        Login::Files(key.path().to_path_buf(), key.certificate_path())
    }
}

impl Host {
    /// `ssh_config` lines by which a client of the machine reaches this host under its name. The key
    /// exchange is the quick one: the default costs 0.2 s a login, and nothing here rests on it.
    pub fn client_config(&self) -> String {
        format!(
            "Host {name}\n    HostName {address}\n    Port {port}\n    HostKeyAlias {name}\n    \
             UserKnownHostsFile {known}\n    GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n    \
             BatchMode yes\n    ConnectTimeout 20\n    CheckHostIP no\n    KexAlgorithms curve25519-sha256\n",
            name = self.name,
            address = self.address,
            port = self.port,
            known = self.dir.join("known_hosts").display(),
        )
    }

    /// Makes clients take this host by the word of this host CA alone, no longer by its key.
    pub fn is_known_by(&self, host_ca: &str) {
        let line = format!("@cert-authority {} {host_ca}\n", self.name);
        fs::write(self.dir.join("known_hosts"), line).expect("known_hosts");
    }

    /// A real `ssh` to `account` on this host; the caller adds options and the command.
    pub fn ssh_command(&self, login: &Login, account: &str, options: &[&str]) -> Command {
        let config = self.dir.join("client_config");
        // Another ssh may be reading it just now.
        if fs::read(&config).ok().as_deref() != Some(self.client_config().as_bytes()) {
            let beside =
                self.dir.join(format!("client_config.{}", rustix::thread::gettid().as_raw_nonzero()));
            fs::write(&beside, self.client_config()).expect("client configuration");
            fs::rename(&beside, &config).expect("client configuration");
        }
        let mut command = Command::new("ssh");
        command.arg("-F").arg(config);
        match login {
            Login::Files(key, certificate) => {
                command.arg("-i").arg(key);
                command.arg("-o").arg(format!("CertificateFile={}", certificate.display()));
                command.args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]);
            }
            Login::Key(key) => {
                command.arg("-i").arg(key);
                command.args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]);
            }
            Login::Agent(socket) => {
                command.arg("-o").arg(format!("IdentityAgent={}", socket.display()));
                command.args(["-o", "IdentityFile=none"]);
            }
        }
        command.args(options).arg(format!("{account}@{}", self.name));
        command
    }

    /// The same up to the destination as one line, for programs that run `ssh` by themselves (`rsync -e`,
    /// `GIT_SSH_COMMAND`).
    pub fn remote_shell(&self, login: &Login) -> String {
        let whole = shown(&self.ssh_command(login, "", &[]));
        whole.rsplit_once(' ').map(|(options, _)| options.to_owned()).expect("a destination")
    }

    /// Logs in with a real `ssh` and runs `remote` there.
    pub fn ssh(&self, login: &Login, account: &str, remote: &str) -> Ran {
        run(self.ssh_command(login, account, &[]).arg(remote))
    }

    /// The same with a terminal asked for (`-tt`).
    pub fn ssh_with_terminal(&self, login: &Login, account: &str, remote: &str) -> Ran {
        run(self.ssh_command(login, account, &["-tt"]).arg(remote))
    }

    /// Tries to reach `port` of the host's loopback through it (`-W`).
    pub fn tunnel(&self, login: &Login, account: &str, port: u16) -> Ran {
        run(&mut self.ssh_command(login, account, &["-W", &format!("127.0.0.1:{port}")]))
    }

    /// Asks the host to listen for the client (`-R`); an ssh that cannot ends with an error.
    pub fn reverse_tunnel(&self, login: &Login, account: &str) -> Ran {
        let back = format!("0:127.0.0.1:{}", self.port);
        run(self.ssh_command(login, account, &["-o", "ExitOnForwardFailure=yes", "-R", &back]).arg("true"))
    }
}
