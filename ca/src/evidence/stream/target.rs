//! Where a stream goes: `stdout`, `file:PATH`, `tls://HOST:PORT`. One spelling each.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rustls::pki_types::ServerName;
use thiserror::Error;

/// See the file's top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file that grows.
    File(PathBuf),
    /// A syslog server, over TLS.
    Tls {
        /// Its name or address: what its certificate must be for.
        host: String,
        /// Its port.
        port: u16,
    },
}

/// Not a target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a target is stdout, file:PATH or tls://HOST:PORT (6514 is syslog's port)")]
pub struct TargetError;

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Target, TargetError> {
        if text == "stdout" {
            return Ok(Target::Stdout);
        }
        if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            return Ok(Target::File(path.into()));
        }
        let (host, port) =
            text.strip_prefix("tls://").and_then(|rest| rest.rsplit_once(':')).ok_or(TargetError)?;
        let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or(TargetError)?;
        let bare = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or(TargetError)?,
            None if host.contains(':') => return Err(TargetError),
            None => host,
        };
        ServerName::try_from(bare).map_err(|_| TargetError)?;
        Ok(Target::Tls { host: bare.to_owned(), port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Stdout => f.write_str("stdout"),
            Target::File(path) => write!(f, "file:{}", path.display()),
            Target::Tls { host, port } if host.contains(':') => write!(f, "tls://[{host}]:{port}"),
            Target::Tls { host, port } => write!(f, "tls://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_written_the_same_and_others_refused() {
        for good in ["stdout", "file:/var/log/fireaxe.jsonl", "tls://siem.example:6514", "tls://[::1]:6514"] {
            assert_eq!(good.parse::<Target>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "stderr",
            "file:",
            "tls://",
            "tls://siem",
            "tls://siem:0",
            "tls://a b:1",
            "tls://::1:6514",
            "tls://[::1:6",
        ] {
            assert_eq!(bad.parse::<Target>(), Err(TargetError), "{bad}");
        }
    }
}
