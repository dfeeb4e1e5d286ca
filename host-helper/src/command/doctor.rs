//! `fireaxe-host doctor`

use std::path::PathBuf;
use std::process::ExitCode;

use fireaxe_protocol::host::Mode;

use super::{print, say};
use crate::clock;
use crate::config::{self, Config};
use crate::doctor::{Doctor, Finding, Weight};
use crate::error::HostError;

/// Its words.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the CA is and who this host is.
    #[arg(long, value_name = "FILE", default_value = config::PATH)]
    config: PathBuf,
    /// The server that is asked what counts.
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/sshd")]
    sshd: PathBuf,
    /// Ask neither the CA nor the daemon.
    #[arg(long)]
    offline: bool,
}

impl Args {
    pub(super) fn run(self, json: bool) -> Result<ExitCode, HostError> {
        let config = Config::read(&self.config)?;
        let doctor = Doctor { config: &config, sshd: &self.sshd };
        let now = clock::now();
        let found = if self.offline { doctor.findings(now) } else { doctor.all(now) };
        let mode = doctor.mode();
        if json {
            let findings: Vec<_> = found.iter().map(as_json).collect();
            print(&serde_json::json!({
                "schema": "fireaxe.host-doctor/v1",
                "mode": mode,
                "findings": findings,
            }));
        } else {
            say(&text(&found, now));
            let mode = match mode {
                Mode::Stock => "stock",
                Mode::Helper => "helper",
                Mode::Neither => "neither files nor this program: see above",
            };
            say(&format!("sshd learns principals by: {mode}\n"));
        }
        let fine = found.iter().all(|finding| finding.weight == Weight::Note);
        Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn as_json(finding: &Finding) -> serde_json::Value {
    let mut out = serde_json::json!({
        "weight": word(finding.weight),
        "code": finding.reason.code,
        "sentence": finding.reason.sentence,
        "next": finding.next,
    });
    if let (Some(out), Some(stray)) = (out.as_object_mut(), &finding.stray) {
        out.insert("stray".into(), serde_json::json!(stray));
    }
    if let (Some(out), Some(owner)) = (out.as_object_mut(), finding.owner) {
        out.insert("owner".into(), owner.into());
    }
    out
}

fn word(weight: Weight) -> &'static str {
    match weight {
        Weight::Wrong => "wrong",
        Weight::Standing => "standing",
        Weight::Note => "note",
    }
}

fn text(found: &[Finding], now: u64) -> String {
    if found.is_empty() {
        return "nothing to say: all is as it was set up, and there is no other way in\n".into();
    }
    let mut out = String::new();
    for finding in found {
        out.push_str(&format!("{:<9} {}\n", word(finding.weight), finding.reason.sentence));
        let mut about = Vec::new();
        if let Some(owner) = finding.owner {
            about.push(format!("owner: uid {owner}"));
        }
        if let Some(since) = finding.stray.as_ref().and_then(|stray| stray.since) {
            about.push(format!("last changed {} days ago", now.saturating_sub(since) / 86_400));
        }
        if !about.is_empty() {
            out.push_str(&format!("{:<9} {}\n", "", about.join(", ")));
        }
        out.push_str(&format!("{:<9} next: {}\n", "", finding.next));
    }
    out
}
