//! `fireaxe-host status`: which list is in force, how old it is, and whom the host trusts.

use std::path::Path;
use std::time::Duration;

use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{HostName, SystemName};
use fireaxe_protocol::recording::AuditorKey;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Enrolled};
use crate::daemon::witness::Witness;
use crate::daemon::words::{Answer, Ask};
use crate::daemon::{Live, call, renewal};
use crate::escape::plain;
use crate::files;
use crate::host_key::HostKey;
use crate::krl::{State, installed};
use crate::login::witnesses::Witnesses;
use crate::sink::Sealing;

/// What is in force on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `fireaxe.host-status/v1`
    pub schema: String,
    /// Whether the revocation list is one that revokes.
    pub list_ok: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// SHA-256 of its bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
    /// Seconds since the CA last said that it is the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u64>,
    /// Fingerprints of the CA keys that sshd trusts.
    pub user_ca: Vec<String>,
    /// Whether the drop-in is there.
    pub drop_in: bool,
    /// As whom this host is enrolled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub enrolled: Option<EnrolledAs>,
    /// What is asked of the log's witnesses, in words; nothing: none are asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub witnesses: Option<String>,
    /// Whether the log was seen with two pasts: the evidence is in the state's folder.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub log_forked: bool,
    /// What the daemon knows, when it could be asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub daemon: Option<Live>,
}

/// Who the host is to the CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledAs {
    /// Its name.
    pub host: HostName,
    /// Its system.
    pub system: SystemName,
    /// To whom its recordings are sealed: age keys; none: whoever runs the CA can read them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub auditors: Vec<AuditorKey>,
    /// Why nothing can be recorded: recordings are to be sealed, and the keys cannot be used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unsealed: Option<String>,
    /// When its host certificate ends, unix seconds; nothing: there is none that is good.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate_until: Option<u64>,
}

/// Looks; `now` is unix seconds.
pub fn status(config: &Config, now: u64) -> Status {
    let state = State::read(&config.state);
    let list = installed(&config.revoked_keys);
    let hash = list.as_ref().ok().map(|list| list.hash);
    let known = state.filter(|state| Some(state.hash) == hash);
    let keys = files::read_user_ca(&config.user_ca).unwrap_or_default();
    Status {
        schema: "fireaxe.host-status/v1".into(),
        list_ok: list.is_ok(),
        problem: list.as_ref().err().map(ToString::to_string),
        version: list.as_ref().ok().map(|list| list.version),
        hash,
        age_s: known.map(|state| now.saturating_sub(state.signed_at)),
        user_ca: keys.iter().map(|key| key.fingerprint().to_string()).collect(),
        drop_in: Path::new("/").join(crate::drop_in::DROP_IN).exists(),
        enrolled: config.enrolled.as_ref().map(|enrolled| enrolled_as(enrolled, now)),
        witnesses: Witnesses::of(config).words(),
        log_forked: Witness::forked(&config.state),
        daemon: None,
    }
}

fn enrolled_as(enrolled: &Enrolled, now: u64) -> EnrolledAs {
    // Only root can read the key; to others the certificate is unknown.
    let key = HostKey::read(&enrolled.host_key).ok();
    let certificate = key.and_then(|key| renewal::certificate(enrolled, &key, now));
    let (auditors, unsealed) = match Sealing::to(enrolled.auditors.as_deref()).read() {
        Ok(seal) => (seal.map(|seal| seal.keys().to_vec()).unwrap_or_default(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    EnrolledAs {
        host: enrolled.host.clone(),
        system: enrolled.system.clone(),
        auditors,
        unsealed,
        certificate_until: certificate.map(|there| there.valid_before),
    }
}

/// The same with the daemon's part, if it is there and this is root.
pub fn asked(config: &Config, socket: &Path, now: u64) -> Status {
    match call::ask(socket, &Ask::Status, PATIENCE) {
        Ok(Answer::Status(value)) => serde_json::from_value(value).unwrap_or_else(|_| status(config, now)),
        _ => status(config, now),
    }
}

impl Status {
    /// With what the daemon knows.
    #[must_use]
    pub fn with(self, daemon: Option<Live>) -> Status {
        Status { daemon, ..self }
    }

    /// The same in words. `now` is unix seconds.
    pub fn text(&self, now: u64) -> String {
        let list = match (&self.problem, self.version, self.age_s) {
            (Some(problem), _, _) => format!("NOT GOOD: {problem}"),
            (None, Some(version), Some(age)) => {
                format!("version {version}, confirmed by the CA {} ago", age_words(age))
            }
            (None, Some(version), None) => format!("version {version}, never confirmed by the CA"),
            (None, None, _) => "unknown".into(),
        };
        let keys = if self.user_ca.is_empty() { "none".into() } else { self.user_ca.join(", ") };
        let drop_in = match (self.drop_in, &self.enrolled) {
            (true, _) => "our file for sshd (10-fireaxe.conf) is in place",
            (false, Some(_)) => {
                "our file for sshd (10-fireaxe.conf) is missing: fireaxe-host apply --account NAME"
            }
            (false, None) => "our file for sshd (10-fireaxe.conf) is missing: run `fireaxe-host files`",
        };
        let mut text =
            format!("revocation list  {list}\ntrusted CA keys  {keys}\nsshd drop-in     {drop_in}\n");
        match &self.enrolled {
            Some(EnrolledAs { host, system, auditors, unsealed, certificate_until }) => {
                let until = certificate_until.map_or("no good host certificate".to_owned(), |until| {
                    format!("host certificate for {} more", age_words(until.saturating_sub(now)))
                });
                text.push_str(&format!("enrolled         {host} of {system}, {until}\n"));
                let to = match unsealed {
                    Some(why) => format!("NONE IS MADE: {}", plain(why, 300)),
                    None if auditors.is_empty() => "in clear: whoever runs the CA can read them".into(),
                    None => {
                        let keys: Vec<&str> = auditors.iter().map(AuditorKey::as_str).collect();
                        format!("sealed to {}", keys.join(", "))
                    }
                };
                text.push_str(&format!("recordings       {to}\n"));
            }
            None => text.push_str(
                "enrolled         no: this host only fetches lists (fireaxe-host enrol changes that)\n",
            ),
        }
        if let Some(witnesses) = &self.witnesses {
            text.push_str(&format!("witnesses        {witnesses}\n"));
        }
        if let Some(live) = &self.daemon {
            let feed = live.feed_since.map_or("not followed: the CA is not there".to_owned(), |since| {
                format!("followed for {}", age_words(now.saturating_sub(since)))
            });
            let lost = match live.spool.lost {
                0 => String::new(),
                lost => format!(", {lost} lost"),
            };
            text.push_str(&format!(
                "feed             {feed}\nto be sent       {} reports{lost}\nconnections      {}\n",
                live.spool.reports, live.sessions
            ));
        } else if self.enrolled.is_some() {
            text.push_str("daemon           not asked: it does not run, or this is not root\n");
        }
        if self.log_forked {
            text.push_str("LOG              SEEN WITH TWO PASTS: see evidence/ in the state's folder\n");
        }
        text
    }
}

fn age_words(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How long the daemon may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_only_fetches_lists_is_asked_for_no_daemon() {
        let mut status = Status {
            schema: "fireaxe.host-status/v1".into(),
            list_ok: true,
            problem: None,
            version: Some(7),
            hash: None,
            age_s: Some(30),
            user_ca: Vec::new(),
            drop_in: true,
            enrolled: None,
            witnesses: None,
            log_forked: false,
            daemon: None,
        };
        let text = status.text(1_700_000_000);
        assert!(text.contains("this host only fetches lists") && !text.contains("daemon "), "{text}");
        let (host, system) = ("db-3.payments.prod".parse().unwrap(), "payments-db".parse().unwrap());
        status.enrolled = Some(EnrolledAs {
            host,
            system,
            auditors: Vec::new(),
            unsealed: Some("no file".into()),
            certificate_until: None,
        });
        let text = status.text(1_700_000_000);
        assert!(text.contains("daemon           not asked"), "{text}");
        assert!(text.contains("recordings       NONE IS MADE: no file"), "{text}");
    }
}
