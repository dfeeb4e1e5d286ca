//! The join token: what an operator hands to whoever installs a host. Good once, for one host, until its time.
//! Only its hash is kept anywhere but in that hand.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::log::Hash;
use crate::names::NameError;

/// A join token, `fxj_` and 32 bytes in URL-safe base64: one word, that scanners for secrets can find.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken(String);

impl JoinToken {
    /// The token of these random bytes.
    pub fn from_random(bytes: &[u8; 32]) -> JoinToken {
        JoinToken(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// SHA-256 of its text: what invitations and `enrol` statements name it by.
    pub fn hash(&self) -> Hash {
        Hash::of(self.0.as_bytes())
    }

    /// Its text: a secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for JoinToken {
    type Err = NameError;
    fn from_str(text: &str) -> Result<JoinToken, NameError> {
        let raw = text.strip_prefix(PREFIX).and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok());
        match raw.and_then(|raw| <[u8; 32]>::try_from(raw).ok()) {
            Some(_) => Ok(JoinToken(text.to_owned())),
            // Not shown: most of it may be the secret.
            None => Err(NameError {
                what: "join token",
                shown: "(not shown)".to_owned(),
                rule: "fxj_ and 43 characters, as fireaxe-ca host invite prints it",
            }),
        }
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(not shown)")
    }
}

const PREFIX: &str = "fxj_";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn a_token_has_one_spelling_and_is_never_shown() {
        let token = JoinToken::from_random(&[0xfb; 32]);
        assert_eq!(token.reveal().len(), limits::JOIN_TOKEN);
        assert_eq!(token.reveal().parse(), Ok(token.clone()));
        assert_eq!(token.hash(), Hash::of(token.reveal().as_bytes()));
        assert!(!format!("{token:?}").contains(&token.reveal()[8..]));
        let text = token.reveal();
        for other in [
            text[4..].to_owned(),
            text.replace("fxj_", "FXJ_"),
            text.replace('-', "+"),
            text.replace('_', "/"),
            format!("{text}="),
            format!("{text}\n"),
            format!(" {text}"),
            text[..text.len() - 1].to_owned(),
            String::new(),
        ] {
            let error = other.parse::<JoinToken>().unwrap_err();
            assert!(!error.to_string().contains("-_"), "{error}");
        }
        // The last character has bits to spare: only one of its spellings is taken.
        assert!(format!("{}x", &text[..text.len() - 1]).parse::<JoinToken>().is_err());
    }
}
