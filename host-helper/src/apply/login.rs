//! The proof: a real login by the host's own `ssh`, through its own sshd, with a certificate that the CA
//! signs for it and that ends after a minute. It does what any other login does; what it cannot show is the
//! way from outside ([0021](../../../docs/decisions/0021-a-host-proves-its-own-login.md)).

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fireaxe_protocol::api::SelfTestCertificate;
use fireaxe_protocol::host::{Report, SelfTest};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::AccountName;
use fireaxe_protocol::statement::{Header, HostReport, Kind, Statement};

use super::ApplyError;
use crate::authority::Authority;
use crate::config::{Config, Enrolled};
use crate::error::HostError;
use crate::escape::{SAID, plain};
use crate::host_key::HostKey;
use crate::{clock, randomness};

/// Logs in to accounts of this host.
pub(super) struct Tester<'a> {
    config: &'a Config,
    enrolled: &'a Enrolled,
    address: SocketAddr,
    /// Whether the host shows a certificate; else it is known by its key.
    certified: bool,
    key: Arc<HostKey>,
    authority: Authority,
}

/// How long a login may take, seconds; the certificate lasts a minute.
const LOGIN_S: u32 = 30;

impl<'a> Tester<'a> {
    pub(super) fn new(
        config: &'a Config,
        enrolled: &'a Enrolled,
        address: SocketAddr,
        certified: bool,
    ) -> Result<Tester<'a>, HostError> {
        let key = Arc::new(HostKey::read(&enrolled.host_key)?);
        let authority = Authority::new(config, enrolled, key.clone())?;
        Ok(Tester { config, enrolled, address, certified, key, authority })
    }

    /// Logs in to `account`, once.
    pub(super) fn log_in(&self, account: &AccountName) -> Result<(), HostError> {
        let desk = Desk::new()?;
        let public = desk.new_key()?;
        let granted = self.ask(account, public)?;
        desk.put("key-cert.pub", &granted.certificate)?;
        desk.put("known_hosts", &self.known_hosts())?;
        let ip = self.address.ip();
        let output = Command::new("timeout")
            .arg(LOGIN_S.to_string())
            .args(["ssh", "-F", "none", "-T", "-n"])
            .arg("-i")
            .arg(desk.0.join("key"))
            .args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes"])
            .args(["-o", "PreferredAuthentications=publickey", "-o", "StrictHostKeyChecking=yes"])
            .args(["-o", "HostKeyAlgorithms=ssh-ed25519-cert-v01@openssh.com,ssh-ed25519"])
            .args(["-o", "GlobalKnownHostsFile=/dev/null", "-o", "CheckHostIP=no", "-o", "LogLevel=ERROR"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", desk.0.join("known_hosts").display()))
            .arg("-o")
            .arg(format!("HostKeyAlias={}", self.enrolled.host))
            .args(["-p", &self.address.port().to_string(), "-l", account.as_str(), &ip.to_string(), "true"])
            .output();
        let failed =
            |why: String| ApplyError::SelfTest { account: account.to_string(), why: plain(&why, SAID) };
        let output = output.map_err(|error| failed(format!("ssh cannot be run: {error}")))?;
        match output.status.code() {
            Some(0) => Ok(()),
            Some(124) => Err(failed(format!("it took more than {LOGIN_S} s")).into()),
            _ => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(failed(if said.trim().is_empty() {
                    output.status.to_string()
                } else {
                    said.trim().into()
                })
                .into())
            }
        }
    }

    fn ask(&self, account: &AccountName, public_key: Ed25519Key) -> Result<SelfTestCertificate, HostError> {
        let header = Header {
            kind: Kind::Report,
            to: self.config.origin.clone(),
            nonce: randomness::nonce()?,
            at: clock::now(),
        };
        let report = HostReport {
            header,
            host: self.enrolled.host.clone(),
            seq: 0,
            report: Report::SelfTest(SelfTest { account: account.clone(), public_key }),
        };
        let envelope = self.key.sign(&Statement::Report(Box::new(report)));
        Ok(self.authority.self_test(&envelope)?)
    }

    /// How the host is known: by the CA of hosts, as every client knows it; by its key while it has no
    /// certificate.
    fn known_hosts(&self) -> String {
        let host = &self.enrolled.host;
        match self.certified {
            true => format!("@cert-authority {host} {}\n", self.enrolled.host_ca),
            false => format!("{host} {}\n", self.key.public()),
        }
    }
}

/// A folder in memory for one login's key; gone when dropped.
struct Desk(PathBuf);

impl Desk {
    fn new() -> Result<Desk, HostError> {
        let path = Path::new("/run").join(format!("fireaxe-self-test-{}", randomness::nonce()?));
        let failed = |error| HostError::write(&path, &error);
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        Ok(Desk(path))
    }

    fn new_key(&self) -> Result<Ed25519Key, HostError> {
        let path = self.0.join("key");
        let failed = |why: String| HostError::Write { path: path.clone(), why };
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&path);
        let output =
            command.output().map_err(|error| failed(format!("ssh-keygen cannot be run: {error}")))?;
        if !output.status.success() {
            return Err(failed(plain(&String::from_utf8_lossy(&output.stderr), SAID)));
        }
        let public = self.0.join("key.pub");
        let text = fs::read_to_string(&public).map_err(|error| HostError::read(&public, &error))?;
        let words: Vec<&str> = text.split_whitespace().take(2).collect();
        Ok(words.join(" ").parse()?)
    }

    fn put(&self, name: &str, text: &str) -> Result<(), HostError> {
        use std::io::Write;
        let path = self.0.join(name);
        let failed = |error| HostError::write(&path, &error);
        let mut file =
            fs::File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(failed)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // What stays after a kill is a key whose certificate ended with its minute.
        let _ = fs::remove_dir_all(&self.0);
    }
}
