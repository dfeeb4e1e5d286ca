//! `fireaxe-host enrol`

use std::path::PathBuf;
use std::process::ExitCode;

use fireaxe_protocol::names::HostName;
use fireaxe_transport::{Address, Pin};

use super::{print, say};
use crate::config;
use crate::enrol::{self, Plan};
use crate::error::HostError;
use crate::sink::Sealing;

/// Its words.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the CA is: https://HOST:8443
    #[arg(long, value_name = "URL")]
    addr: Address,
    /// Which certificate it shows, as `fireaxe-ca host invite` printed it: sha256:...
    #[arg(long)]
    pin: Pin,
    /// The name this host was invited under, e.g. db-3.payments.prod.
    #[arg(long)]
    host: HostName,
    /// The token that `fireaxe-ca host invite` printed: a file, or - for standard input.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Where the configuration is written.
    #[arg(long, value_name = "FILE", default_value = config::PATH)]
    config: PathBuf,
    /// The host key to enrol: Ed25519.
    #[arg(long, value_name = "FILE", default_value = "/etc/ssh/ssh_host_ed25519_key")]
    host_key: PathBuf,
    #[arg(long, value_name = "FILE", hide = true, default_value = "/etc/ssh/fireaxe_user_ca.pub")]
    user_ca: PathBuf,
    #[arg(long, value_name = "FILE", hide = true, default_value = "/etc/ssh/fireaxe_revoked_keys")]
    revoked_keys: PathBuf,
    /// Where this host keeps its state.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/fireaxe")]
    state: PathBuf,
    /// Admit only what witnesses of the log have cosigned: a C2SP tlog-policy file, copied to
    /// /etc/fireaxe/witness-policy. Without it: as before.
    #[arg(long, value_name = "FILE")]
    witness_policy: Option<PathBuf>,
    /// Seal recordings to the age keys in this file, e.g. /etc/fireaxe/auditors; the CA cannot read them.
    #[arg(long, value_name = "FILE")]
    auditors: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self, json: bool) -> Result<ExitCode, HostError> {
        let Args {
            addr,
            pin,
            host,
            token_file,
            config,
            host_key,
            user_ca,
            revoked_keys,
            state,
            witness_policy,
            auditors,
        } = self;
        // Before the token is spent: a file that cannot be used would leave a host that records nothing.
        if let Some(path) = auditors.clone().filter(|path| !path.is_absolute()) {
            return Err(HostError::Auditors { path, lines: vec!["an absolute path is expected".into()] });
        }
        Sealing::to(auditors.as_deref()).read()?;
        let plan = Plan {
            addr,
            pin,
            host,
            config,
            host_key,
            user_ca,
            revoked_keys,
            state,
            witness_policy,
            auditors,
        };
        let token = enrol::token(&token_file)?;
        let done = enrol::enrol(&plan, &token)?;
        let joined = &done.joined;
        if json {
            print(&serde_json::json!({
                "schema": "fireaxe.host-enrolled/v1",
                "host": joined.host,
                "system": joined.system,
                "enrolment": joined.enrolment,
                "certificate_until": joined.valid_before,
                "krl_version": done.krl_version,
            }));
        } else {
            say(&format!(
                "enrolled: {} of {}, host certificate and revocation list (version {}) are in place\n  \
                 next: systemctl enable fireaxe-host && systemctl restart fireaxe-host, then \
                 fireaxe-host apply --account NAME (each account that a tier uses)\n",
                joined.host, joined.system, done.krl_version
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}
