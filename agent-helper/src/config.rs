//! The configuration: which CA, who, with which key. Strict TOML; nothing else is read from it.

use std::path::{Path, PathBuf};

use fireaxe_protocol::names::PersonName;
use fireaxe_transport::{Address, Pin};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::places::{self, PlaceError};

/// What is wrong with the configuration. Exit code 78.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ConfigError {
    /// There is none.
    #[error("there is no configuration at {0}")]
    Missing(String),
    /// It cannot be read or is not this user's alone.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// It is not what it should be; says where.
    #[error("{path}: {why}")]
    Invalid {
        /// The file.
        path: String,
        /// Line, column, and what is wrong.
        why: String,
    },
    /// A key is missing that this verb needs.
    #[error("{path} does not say {key}")]
    Incomplete {
        /// The file.
        path: String,
        /// `addr`, `pin`, `person` or `key`.
        key: &'static str,
    },
    /// `FIREAXE_ADDR` is not an address.
    #[error("FIREAXE_ADDR: {0}")]
    Environment(String),
}

/// The file as it stands. Which keys must be there depends on the verb.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// `https://HOST:PORT`
    #[serde(skip_serializing_if = "Option::is_none", default)]
    addr: Option<String>,
    /// `sha256:<hex>`
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pin: Option<Pin>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    person: Option<PersonName>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    key: Option<PathBuf>,
    #[serde(skip)]
    path: PathBuf,
}

impl Config {
    /// Reads it. `address` is `FIREAXE_ADDR`, which wins over the file.
    pub(crate) fn load(path: &Path, address: Option<&str>) -> Result<Config, ConfigError> {
        let mut config = Config::load_or_empty(path)?.ok_or_else(|| ConfigError::Missing(shown(path)))?;
        if let Some(address) = address.filter(|a| !a.is_empty()) {
            let address: Address = address.parse().map_err(|e| ConfigError::Environment(format!("{e}")))?;
            config.addr = Some(address.as_str().to_owned());
        }
        Ok(config)
    }

    /// Reads it if it is there; `None` when it is not.
    pub(crate) fn load_or_empty(path: &Path) -> Result<Option<Config>, ConfigError> {
        let io = |e: std::io::Error| PlaceError::Io { path: shown(path), why: e.to_string() };
        let found = match std::fs::metadata(path) {
            Ok(found) => found,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(e).into()),
        };
        places::check_own_file(path, &found)?;
        let invalid = |why: String| ConfigError::Invalid { path: shown(path), why };
        if found.len() > LARGEST {
            return Err(invalid(format!("it is longer than {LARGEST} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(io)?;
        let mut config: Config =
            toml::from_str(&text).map_err(|e| invalid(e.to_string().trim_end().to_owned()))?;
        config.path = path.to_owned();
        if let Some(addr) = &config.addr {
            addr.parse::<Address>().map_err(|e| invalid(format!("addr: {e}")))?;
        }
        if config.key.as_ref().is_some_and(|key| !key.is_absolute()) {
            return Err(invalid("key: the path must be absolute".into()));
        }
        Ok(Some(config))
    }

    /// What `enrol` writes: the old values with the new ones over them.
    pub(crate) fn updated(
        old: Option<Config>,
        path: &Path,
        person: PersonName,
        key: PathBuf,
        addr: Option<Address>,
        pin: Option<Pin>,
    ) -> Config {
        let old = old.unwrap_or_default();
        Config {
            addr: addr.map(|a| a.as_str().to_owned()).or(old.addr),
            pin: pin.or(old.pin),
            person: Some(person),
            key: Some(key),
            path: path.to_owned(),
        }
    }

    /// Writes it whole.
    pub(crate) fn save(&self) -> Result<(), ConfigError> {
        let text = toml::to_string(self)
            .map_err(|e| ConfigError::Invalid { path: shown(&self.path), why: e.to_string() })?;
        Ok(places::replace(&self.path, &text)?)
    }

    /// Where the CA listens.
    pub(crate) fn addr(&self) -> Result<Address, ConfigError> {
        let addr = self.addr.as_ref().ok_or_else(|| self.lacks("addr"))?;
        addr.parse().map_err(|e| ConfigError::Invalid { path: shown(&self.path), why: format!("addr: {e}") })
    }

    /// Its certificate's pin.
    pub(crate) fn pin(&self) -> Result<Pin, ConfigError> {
        self.pin.ok_or_else(|| self.lacks("pin"))
    }

    /// Who uses it.
    pub(crate) fn person(&self) -> Result<&PersonName, ConfigError> {
        self.person.as_ref().ok_or_else(|| self.lacks("person"))
    }

    /// The key statements are signed with: a private key's file, or the `.pub` of one in an agent.
    pub(crate) fn key(&self) -> Result<&Path, ConfigError> {
        self.key.as_deref().ok_or_else(|| self.lacks("key"))
    }

    fn lacks(&self, key: &'static str) -> ConfigError {
        ConfigError::Incomplete { path: shown(&self.path), key }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Bytes: four lines.
const LARGEST: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, env: Option<&str>) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        places::replace(&path, text).unwrap();
        Config::load(&path, env)
    }

    #[test]
    fn a_whole_configuration_is_read_and_the_environment_wins_over_its_address() {
        let pin = format!("sha256:{}", "ab".repeat(32));
        let text = format!(
            "addr = \"https://127.0.0.1:8443\"\npin = \"{pin}\"\nperson = \"ana\"\nkey = \"/home/ana/.ssh/id\"\n"
        );
        let config = load(&text, None).unwrap();
        assert_eq!(config.addr().unwrap().as_str(), "https://127.0.0.1:8443");
        assert_eq!(config.pin().unwrap().to_string(), pin);
        assert_eq!(
            (config.person().unwrap().as_str(), config.key().unwrap()),
            ("ana", Path::new("/home/ana/.ssh/id"))
        );
        assert_eq!(load(&text, Some("https://[::1]:1")).unwrap().addr().unwrap().as_str(), "https://[::1]:1");
        assert!(matches!(load(&text, Some("nowhere")), Err(ConfigError::Environment(_))));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let why = |text: &str| match load(text, None) {
            Err(ConfigError::Invalid { why, .. }) => why,
            other => panic!("{text}: {other:?}"),
        };
        assert!(why("person = \"ana\"\nperso = \"ana\"\n").contains("line 2"));
        assert!(why("person = \"Ana\"\n").contains("lower-case"));
        assert!(why("addr = \"http://x:1\"\n").contains("addr"));
        assert!(why("pin = \"abc\"\n").contains("sha256"));
        assert!(why("key = \"id\"\n").contains("absolute"));
        assert!(why("key = [").contains("line 1"));
        let empty = load("", None).unwrap();
        assert!(matches!(empty.person(), Err(ConfigError::Incomplete { key: "person", .. })));
        assert!(matches!(Config::load(Path::new("/nonexistent/x"), None), Err(ConfigError::Missing(_))));
    }
}
