//! `/etc/fireaxe/host.toml`: where the CA is and how its revocation lists are known. Strict.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{KrlNote, NoteKey};
use fireaxe_protocol::names::{HostName, Origin, SystemName};
use fireaxe_transport::{Address, Pin};
use serde::{Deserialize, Deserializer};

use crate::drop_in;
use crate::error::HostError;

/// Where the configuration is unless the command line says otherwise.
pub const PATH: &str = "/etc/fireaxe/host.toml";
/// Where the state is unless the configuration says otherwise.
pub const STATE: &str = "/var/lib/fireaxe";

/// Refuses a folder of state in which a CA's log or keys lie: some of their names are ours, too.
pub fn no_ca_in(state: &Path) -> Result<(), HostError> {
    match ["log.sqlite", "keys"].iter().any(|name| state.join(name).exists()) {
        true => Err(HostError::HoldsCa(state.into())),
        false => Ok(()),
    }
}

/// What `fireaxe-host krl` must know. Whoever can change it can point the host at another CA's lists, but
/// not make sshd trust that CA: that is `fireaxe_user_ca.pub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `https://HOST:PORT`
    pub addr: Address,
    /// Which certificate the CA shows.
    pub pin: Pin,
    /// The key of the notes beside revocation lists, as a C2SP verifier key.
    pub krl_key: NoteKey,
    /// The log's name.
    pub origin: Origin,
    /// The keys that sshd trusts; each must be covered by the list.
    pub user_ca: PathBuf,
    /// Where sshd reads the list.
    pub revoked_keys: PathBuf,
    /// What this program remembers between runs.
    pub state: PathBuf,
    /// What enrolment taught it; a host that only fetches lists has none.
    pub enrolled: Option<Enrolled>,
}

/// The part that `fireaxe-host enrol` writes: who this host is, and how receipts are known.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// This host's name.
    pub host: HostName,
    /// The system it belongs to.
    pub system: SystemName,
    /// The log's key, as a C2SP verifier key: what checkpoints and receipts are checked with.
    #[serde(deserialize_with = "note_key")]
    pub log_key: NoteKey,
    /// Signs host certificates.
    pub host_ca: Ed25519Key,
    /// The private host key, which signs reports.
    #[serde(default = "host_key")]
    pub host_key: PathBuf,
    /// Which witnesses must have cosigned the log (C2SP tlog-policy). Nothing: none are asked for. A file that is
    /// named and cannot be read refuses every certificate.
    #[serde(default)]
    pub witness_policy: Option<PathBuf>,
    /// The file of auditors' keys: with it, recordings are sealed to them and never made in clear. Whoever can
    /// change it reads what is recorded from then on.
    #[serde(default)]
    pub auditors: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    addr: String,
    pin: Pin,
    krl_key: String,
    origin: Origin,
    #[serde(default = "user_ca")]
    user_ca: PathBuf,
    #[serde(default = "revoked_keys")]
    revoked_keys: PathBuf,
    #[serde(default = "state")]
    state: PathBuf,
    enrolled: Option<Enrolled>,
}

fn note_key<'de, D: Deserializer<'de>>(from: D) -> Result<NoteKey, D::Error> {
    String::deserialize(from)?
        .parse()
        .map_err(|_| serde::de::Error::custom("a verifier key is expected: <name>+<8 hex digits>+<base64>"))
}

fn host_key() -> PathBuf {
    PathBuf::from("/etc/ssh/ssh_host_ed25519_key")
}

fn user_ca() -> PathBuf {
    Path::new("/").join(drop_in::USER_CA)
}

fn revoked_keys() -> PathBuf {
    Path::new("/").join(drop_in::REVOKED)
}

fn state() -> PathBuf {
    PathBuf::from(STATE)
}

impl Config {
    /// Reads and checks a configuration file.
    pub fn read(path: &Path) -> Result<Config, HostError> {
        let wrong = |why| HostError::Config { path: path.into(), why };
        let text = fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        Config::parse(&text).map_err(wrong)
    }

    /// The same of a host that may have none yet. Why one that is there cannot be used, in words.
    pub(crate) fn read_before(path: &Path) -> Result<Option<Config>, String> {
        match fs::read_to_string(path) {
            Ok(text) => Config::parse(&text).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot be read: {error}")),
        }
    }

    /// Reads and checks its text.
    pub(crate) fn parse(text: &str) -> Result<Config, String> {
        let written: Written =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let paths = [&written.user_ca, &written.revoked_keys, &written.state];
        if let Some(path) = paths.into_iter().find(|path| !path.is_absolute()) {
            return Err(format!("{} is not an absolute path", path.display()));
        }
        let krl_key: NoteKey = written.krl_key.parse().map_err(|_| {
            "krl_key is not a verifier key: <origin>/krl+<8 hex digits>+<base64>, as the CA prints it"
                .to_owned()
        })?;
        if let Some(enrolled) = &written.enrolled {
            if enrolled.log_key.name() != written.origin.as_str() {
                return Err(format!("log_key is not the key of {}", written.origin));
            }
            let paths = [Some(&enrolled.host_key), enrolled.witness_policy.as_ref()];
            if let Some(path) = paths.into_iter().flatten().find(|path| !path.is_absolute()) {
                return Err(format!("{} is not an absolute path", path.display()));
            }
            if let Some(auditors) = enrolled.auditors.as_ref().filter(|path| !path.is_absolute()) {
                return Err(format!("{} is not an absolute path", auditors.display()));
            }
        }
        if krl_key.name() != KrlNote::key_name(&written.origin) {
            return Err(format!("krl_key is not the key of {}", KrlNote::key_name(&written.origin)));
        }
        Ok(Config {
            addr: written
                .addr
                .parse()
                .map_err(|error: fireaxe_transport::TransportError| error.to_string())?,
            pin: written.pin,
            krl_key,
            origin: written.origin,
            user_ca: written.user_ca,
            revoked_keys: written.revoked_keys,
            state: written.state,
            enrolled: written.enrolled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> String {
        let origin: Origin = "ca.fireaxe.test/0123456789abcdef".parse().unwrap();
        let secret = ed25519_dalek::SigningKey::from_bytes(&[2; 32]);
        let signer = fireaxe_protocol::log::NoteSigner::new(&KrlNote::key_name(&origin), secret).unwrap();
        format!(
            "addr = \"https://127.0.0.1:8443\"\npin = \"sha256:{}\"\nkrl_key = \"{}\"\norigin = \"{origin}\"\n",
            "ab".repeat(32),
            signer.key(),
        )
    }

    #[test]
    fn four_lines_are_enough_and_the_rest_is_where_sshd_reads() {
        let config = Config::parse(&good()).unwrap();
        assert_eq!(config.revoked_keys, Path::new("/etc/ssh/fireaxe_revoked_keys"));
        assert_eq!(config.user_ca, Path::new("/etc/ssh/fireaxe_user_ca.pub"));
        assert_eq!(config.state, Path::new("/var/lib/fireaxe"));
    }

    #[test]
    fn what_enrolment_writes_is_read_and_must_be_of_the_same_log() {
        let origin: Origin = "ca.fireaxe.test/0123456789abcdef".parse().unwrap();
        let key = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
        let ca = Ed25519Key::from(&key);
        let log = fireaxe_protocol::log::NoteSigner::new(origin.as_str(), key).unwrap();
        let text = format!(
            "{}[enrolled]\nhost = \"db-3.payments.prod\"\nsystem = \"payments-db\"\nlog_key = \"{}\"\nhost_ca = \"{ca}\"\n",
            good(),
            log.key()
        );
        let enrolled = Config::parse(&text).unwrap().enrolled.unwrap();
        assert_eq!((enrolled.log_key, enrolled.host_ca), (log.key().clone(), ca));
        assert_eq!(enrolled.host_key, Path::new("/etc/ssh/ssh_host_ed25519_key"));
        let other = text.replace("log_key = \"ca.", "log_key = \"cb.");
        assert!(Config::parse(&other).is_err());
        assert!(Config::parse(&(text.clone() + "host_key = \"key\"\n")).unwrap_err().contains("absolute"));
        let asked = Config::parse(&(text.clone() + "witness_policy = \"/etc/fireaxe/witness-policy\"\n"));
        let policy = asked.unwrap().enrolled.unwrap().witness_policy;
        assert_eq!(policy.as_deref(), Some(Path::new("/etc/fireaxe/witness-policy")));
        assert!(
            Config::parse(&(text.clone() + "witness_policy = \"policy\"\n"))
                .unwrap_err()
                .contains("absolute")
        );
        assert_eq!(enrolled.auditors, None);
        let sealed = |path: &str| Config::parse(&format!("{text}auditors = \"{path}\"\n"));
        let read = sealed("/etc/fireaxe/auditors").unwrap().enrolled.unwrap();
        assert_eq!(read.auditors.as_deref(), Some(Path::new("/etc/fireaxe/auditors")));
        assert!(sealed("auditors").unwrap_err().contains("absolute"));
        assert!(Config::parse(&(text + "host_key = \"key\"\n")).unwrap_err().contains("absolute"));
    }

    #[test]
    fn what_is_not_known_is_an_error_with_its_line() {
        let error = Config::parse(&(good() + "revoked_key = \"/x\"\n")).unwrap_err();
        assert!(error.contains("line 5") && error.contains("revoked_key"), "{error}");
        for (from, to) in
            [("https:", "http:"), ("sha256:", ""), ("origin = \"ca", "origin = \"cb"), ("krl_key", "key")]
        {
            assert!(Config::parse(&good().replacen(from, to, 1)).is_err(), "{from}");
        }
        assert!(Config::parse(&(good() + "state = \"var\"\n")).unwrap_err().contains("absolute"));
    }
}
