//! `fireaxe-host doctor`: what is not as enrolment and `apply` left it, and every way in that needs no
//! emergency. Looks, and changes nothing.
//!
//! | file | what it looks at |
//! |---|---|
//! | `written` | files of ours: whole, root's, of this host, young enough |
//! | `server` | what sshd makes of all files together, and what its version is known for |
//! | `standing` | `authorized_keys` and `known_hosts` of every account, other CAs, passwords |
//! | `version` | which OpenSSH it is |
//! | `asked` | what the CA and the daemon say when asked |
//!
//! [`Doctor::findings`] asks nobody but files and `sshd -T`; the daemon sends them with its heartbeat.
//! Everything read is hostile: bounded, never waited for, links out of a home not followed, shown escaped.

mod asked;
mod server;
mod standing;
mod version;
mod written;

use std::path::Path;

use fireaxe_protocol::host::{Mode, Stray};
use fireaxe_protocol::limits;
use fireaxe_protocol::reason::Reason;

use crate::apply::drop_in_there;
use crate::config::Config;
use crate::drop_in::{DropIn, Principals};

pub(crate) use version::Version;
pub(crate) use written::is_host_certificate_of;

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub reason: Reason,
    /// What to do about it.
    pub next: &'static str,
    /// How much it matters.
    pub weight: Weight,
    /// The way in, if it is one.
    pub stray: Option<Stray>,
    /// Who can change it: a uid, of files.
    pub owner: Option<u32>,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Something is not as it must be.
    Wrong,
    /// A way in that needs no emergency.
    Standing,
    /// Good to know; nothing is wrong.
    Note,
}

impl Finding {
    fn wrong(code: &str, sentence: impl Into<String>, next: &'static str) -> Finding {
        let reason = Reason::new(code, sentence);
        Finding { reason, next, weight: Weight::Wrong, stray: None, owner: None }
    }

    fn note(code: &str, sentence: impl Into<String>, next: &'static str) -> Finding {
        Finding { weight: Weight::Note, ..Finding::wrong(code, sentence, next) }
    }
}

/// Who looks, and at what.
#[derive(Debug, Clone, Copy)]
pub struct Doctor<'a> {
    /// The host's configuration.
    pub config: &'a Config,
    /// The server's program.
    pub sshd: &'a Path,
}

impl Doctor<'_> {
    /// Everything that files and sshd tell; `now` is unix seconds. Takes as long as a few `sshd -T`, 20 ms
    /// each, and a look into every home.
    pub fn findings(&self, now: u64) -> Vec<Finding> {
        let drop_in = drop_in_there();
        let mut found = written::findings(self.config, drop_in.as_ref(), now);
        let (general, mut more) = server::findings(self, drop_in.as_ref());
        found.append(&mut more);
        found.append(&mut standing::findings(self, drop_in.as_ref(), general.as_ref()));
        found
    }

    /// [`Doctor::findings`], and what the CA and the daemon say.
    pub fn all(&self, now: u64) -> Vec<Finding> {
        let mut found = self.findings(now);
        found.append(&mut asked::findings(self.config));
        found
    }

    /// How sshd learns principals, by what it makes of its files.
    pub fn mode(&self) -> Mode {
        drop_in_there().map_or(Mode::Neither, |drop_in| server::mode(self, &drop_in))
    }
}

/// What a heartbeat says of findings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reported {
    /// What is wrong.
    pub drift: Vec<Reason>,
    /// Ways in.
    pub strays: Vec<Stray>,
    /// How many more there are than could be listed.
    pub more: u32,
}

/// At most [`limits::REPORTED`] of each kind; notes are nobody's news.
pub fn reported(findings: &[Finding]) -> Reported {
    let mut out = Reported::default();
    for finding in findings.iter().filter(|finding| finding.weight != Weight::Note) {
        match &finding.stray {
            Some(stray) if out.strays.len() < limits::REPORTED => out.strays.push(stray.clone()),
            None if out.drift.len() < limits::REPORTED => out.drift.push(finding.reason.clone()),
            _ => out.more = out.more.saturating_add(1),
        }
    }
    out
}

/// What was found when last looked, for who asks more often than that is worth.
#[derive(Debug, Default)]
pub struct Rounds(Option<(u64, Reported)>);

/// How long a look counts. Seconds.
const ROUND_S: u64 = 600;

impl Rounds {
    /// What a heartbeat says at `now`, unix seconds: found now, or, unless something was `changed` since, within
    /// [`ROUND_S`] before.
    pub fn reported(&mut self, doctor: &Doctor<'_>, now: u64, changed: bool) -> Reported {
        match &self.0 {
            // A clock that was set back looks again.
            Some((at, found)) if !changed && (*at..at.saturating_add(ROUND_S)).contains(&now) => {
                found.clone()
            }
            _ => {
                let found = reported(&doctor.findings(now));
                self.0 = Some((now, found.clone()));
                found
            }
        }
    }
}

/// Whether sshd is to ask a program, and which.
fn asks_program(drop_in: &DropIn) -> Option<&Path> {
    match &drop_in.principals {
        Principals::Command(program) => Some(program),
        Principals::Files => None,
    }
}

#[cfg(test)]
mod tests {
    use fireaxe_protocol::host::StrayKind;

    use super::*;

    #[test]
    fn a_heartbeat_lists_so_many_and_counts_the_rest() {
        let stray = Stray { kind: StrayKind::Password, place: "x".into(), account: None, since: None };
        let mut findings = vec![Finding::wrong("host.x", "x", "x"); limits::REPORTED + 2];
        findings.push(Finding::note("host.n", "n", "n"));
        findings.push(Finding { stray: Some(stray.clone()), ..Finding::wrong("host.s", "s", "s") });
        let out = reported(&findings);
        assert_eq!((out.drift.len(), out.strays, out.more), (limits::REPORTED, vec![stray], 2));
    }
}
