//! The thread that keeps the host certificate: a new one when half of its time is over. Clients know hosts by
//! it alone, so it is looked at once an hour, and somebody is told well before it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fireaxe_protocol::certificate::{AcceptedHost, ExpectedHost, compare_host};
use fireaxe_protocol::host::Report;
use fireaxe_protocol::reason::Reason;

use crate::apply::effective::Effective;
use crate::apply::server::Server;
use crate::authority::Authority;
use crate::config::Enrolled;
use crate::error::HostError;
use crate::host_key::HostKey;
use crate::reports::Reports;
use crate::{atomic, clock, journal, randomness};

/// How often the certificate is looked at.
const EVERY: Duration = Duration::from_secs(3600);

/// Where sshd reads the host certificate: beside its key, as `ssh-keygen` names it.
pub fn certificate_path(host_key: &Path) -> PathBuf {
    let mut name = host_key.as_os_str().to_owned();
    name.push("-cert.pub");
    PathBuf::from(name)
}

/// The host certificate that is there, if it is ours and in its time.
pub fn certificate(enrolled: &Enrolled, key: &HostKey, now: u64) -> Option<AcceptedHost> {
    let text = fs::read_to_string(certificate_path(&enrolled.host_key)).ok()?;
    check(text.trim_end(), enrolled, key, now).ok()
}

/// Whether this is the certificate of this host's key, under its name, by the CA that was pinned.
pub fn check(text: &str, enrolled: &Enrolled, key: &HostKey, now: u64) -> Result<AcceptedHost, HostError> {
    let expected =
        ExpectedHost { public_key: key.public(), ca_key: enrolled.host_ca, host: &enrolled.host, now };
    compare_host(text, &expected).map_err(|differences| {
        let told = differences.iter().map(|differs| {
            format!("{} should be {} and is {}", differs.field, differs.expected, differs.found)
        });
        HostError::Certificate(told.collect::<Vec<_>>().join("; "))
    })
}

/// What the thread works with.
pub(super) struct Renewal {
    pub(super) authority: Authority,
    pub(super) enrolled: Enrolled,
    pub(super) key: Arc<HostKey>,
    pub(super) reports: Arc<dyn Reports>,
}

impl Renewal {
    /// Keeps it for ever.
    pub(super) fn run(&self) -> Result<(), HostError> {
        // Hosts that were set up together do not come back together.
        std::thread::sleep(randomness::jitter(MINUTE));
        let mut told = false;
        loop {
            if let Err(error) = self.look() {
                journal::say(&format!("host certificate: {error}"));
                if !told && self.ends_soon() {
                    let sentence = format!("the host certificate ends soon and is not renewed: {error}");
                    // Not kept: the journal has it.
                    let _ =
                        self.reports.say(Report::Alarmed(Reason::new("certificate.not_renewed", sentence)));
                    told = true;
                }
            } else {
                told = false;
            }
            std::thread::sleep(EVERY * 9 / 10 + randomness::jitter(EVERY / 5));
        }
    }

    fn look(&self) -> Result<(), HostError> {
        let now = clock::now();
        if certificate(&self.enrolled, &self.key, now).is_some_and(|there| now < half(&there)) {
            return Ok(());
        }
        let fresh = self.authority.certificate()?;
        check(&fresh.certificate, &self.enrolled, &self.key, now)?;
        let path = certificate_path(&self.enrolled.host_key);
        // A crash after this line: sshd has it at its next reload or start, whatever causes that.
        if atomic::write(&path, format!("{}\n", fresh.certificate).as_bytes())? {
            reload()?;
            journal::say(&format!("host certificate: renewed until {}", fresh.valid_before));
        }
        Ok(())
    }

    /// Within the last quarter of its time, or over.
    fn ends_soon(&self) -> bool {
        let now = clock::now();
        certificate(&self.enrolled, &self.key, now).is_none_or(|there| {
            let quarter = there.valid_before.saturating_sub(there.valid_after) / 4;
            now >= there.valid_before.saturating_sub(quarter)
        })
    }
}

fn half(there: &AcceptedHost) -> u64 {
    there.valid_after + there.valid_before.saturating_sub(there.valid_after) / 2
}

/// Tells sshd to read its files again, if it likes them. By a signal, never a restart: one that fails leaves
/// nobody a way in. A host without a running sshd has nothing to tell.
fn reload() -> Result<(), HostError> {
    let sshd = Path::new(SSHD);
    let Some(server) = Server::find(&Effective::ask(sshd, "root")?) else { return Ok(()) };
    server.reload(sshd)?;
    Ok(())
}

const SSHD: &str = "/usr/sbin/sshd";
const MINUTE: Duration = Duration::from_secs(60);
