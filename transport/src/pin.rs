//! The pin: which certificate the CA's end must show. One spelling.

use std::fmt;
use std::str::FromStr;

use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{NameError, shown};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// SHA-256 over the DER of the server's certificate, written `sha256:<64 lower-case hex digits>`.
///
/// The whole trust of a client in the CA's address: name, issuer and dates of the certificate do not
/// count. Whoever can change a stored pin can show the client another CA.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(Hash);

impl Pin {
    /// The pin of a certificate in DER.
    pub fn of_der(der: &[u8]) -> Pin {
        Pin(Hash::of(der))
    }
}

impl FromStr for Pin {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Pin, NameError> {
        text.strip_prefix("sha256:").and_then(|hex| hex.parse().ok()).map(Pin).ok_or_else(|| NameError {
            what: "pin",
            shown: shown(text),
            rule: "sha256: and 64 lower-case hex digits, as `fireaxe-ca init` prints it",
        })
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Pin {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_has_one_spelling() {
        let text = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
        for wrong in [
            "".to_owned(),
            "0f".repeat(32),
            text.to_uppercase(),
            format!("{text}0"),
            format!(" {text}"),
            text.replace("sha256", "sha1"),
            text[..70].to_owned(),
        ] {
            assert!(wrong.parse::<Pin>().is_err(), "{wrong} was taken");
        }
    }
}
