//! What sshd makes of its configuration for one account (`sshd -T -C`), and whether a change of it is the
//! change that was meant. First value wins there, so the files alone do not say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::ApplyError;
use crate::escape::{SAID, plain};

/// sshd's settings for one account, by keyword in lower case; several values in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Effective(BTreeMap<String, Vec<String>>);

/// A setting that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surprise {
    /// The account that was asked for.
    pub account: String,
    /// sshd's keyword.
    pub keyword: String,
    /// What it was, or should be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl Effective {
    /// Asks sshd what counts for a login to `account` from this host.
    pub(crate) fn ask(sshd: &Path, account: &str) -> Result<Effective, ApplyError> {
        let who = format!("user={account},host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22");
        let output = Command::new(sshd)
            .args(["-T", "-C", &who])
            .output()
            .map_err(|error| ApplyError::Sshd(format!("{}: {error}", sshd.display())))?;
        if !output.status.success() {
            return Err(ApplyError::Sshd(plain(&String::from_utf8_lossy(&output.stderr), SAID)));
        }
        Ok(Effective::read(&String::from_utf8_lossy(&output.stdout)))
    }

    fn read(text: &str) -> Effective {
        let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text.lines() {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            settings.entry(keyword.to_ascii_lowercase()).or_default().push(value.trim().to_owned());
        }
        Effective(settings)
    }

    /// The values of a keyword, in order.
    pub(crate) fn all(&self, keyword: &str) -> &[String] {
        self.0.get(keyword).map_or(&[], Vec::as_slice)
    }

    /// The first value of a keyword.
    pub(crate) fn first(&self, keyword: &str) -> Option<&str> {
        self.all(keyword).first().map(String::as_str)
    }

    /// Whether a keyword has this one value.
    pub(crate) fn is(&self, keyword: &str, value: &str) -> bool {
        self.all(keyword) == [value]
    }

    /// Everything that is neither as `before` nor as it was meant to become.
    pub(crate) fn surprises(
        &self,
        account: &str,
        before: &Effective,
        meant: &[(String, Vec<String>)],
    ) -> Vec<Surprise> {
        let keywords: BTreeSet<&String> = self.0.keys().chain(before.0.keys()).collect();
        let meant: BTreeMap<&String, &Vec<String>> = meant.iter().map(|(k, v)| (k, v)).collect();
        let mut found = Vec::new();
        for keyword in keywords {
            let expected = match meant.get(keyword) {
                Some(values) => values.as_slice(),
                None => before.all(keyword),
            };
            if expected != self.all(keyword) {
                found.push(Surprise {
                    account: plain(account, 64),
                    keyword: plain(keyword, 64),
                    expected: plain(&expected.join(" | "), SAID),
                    found: plain(&self.all(keyword).join(" | "), SAID),
                });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_meant_may_change() {
        let before = Effective::read("port 22\nloglevel INFO\nhostkey /a\nhostkey /b\n");
        let meant = [("loglevel".to_owned(), vec!["VERBOSE".to_owned()])];
        let good = Effective::read("port 22\nloglevel VERBOSE\nhostkey /a\nhostkey /b\n");
        assert_eq!(good.surprises("ops", &before, &meant), []);
        for (text, keyword) in [
            ("port 22\nloglevel INFO\nhostkey /a\nhostkey /b\n", "loglevel"),
            ("port 22\nloglevel VERBOSE\nhostkey /a\n", "hostkey"),
            ("port 22\nloglevel VERBOSE\nhostkey /a\nhostkey /b\nbanner x\n", "banner"),
            ("port 23\nloglevel VERBOSE\nhostkey /a\nhostkey /b\n", "port"),
        ] {
            let found = Effective::read(text).surprises("ops", &before, &meant);
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[0].keyword, keyword);
        }
    }
}
