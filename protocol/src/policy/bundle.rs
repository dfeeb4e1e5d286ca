//! The bundle: policy and roster, read together, with the hash that names them. A bundle that exists has
//! no findings; what enumeration alone can show is [`super::check`]'s.

use sha2::{Digest, Sha256};

use super::files::roster::Roster;
use super::files::{policy_file, references, roster};
use super::finding::Finding;
use super::proving::enough;
use super::shape::Policy;
use crate::limits;
use crate::log::Hash;

/// What decides: a policy, the people it is about, and their hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// What `policy.toml` says.
    pub policy: Policy,
    /// What `roster.toml` says.
    pub roster: Roster,
    /// Names both texts, byte for byte: the policy version.
    pub hash: Hash,
}

impl Bundle {
    /// Reads both files, strictly. All findings that can be told at once, in order of file and line.
    pub fn parse(policy_toml: &str, roster_toml: &str) -> Result<Bundle, Vec<Finding>> {
        let size = policy_toml.len().saturating_add(roster_toml.len());
        if size > limits::BUNDLE {
            let message = format!("the bundle has {size} bytes; at most {} are taken", limits::BUNDLE);
            let (file, code) = ("policy.toml", "bundle.too_large");
            return Err(vec![Finding { file, line: 1, column: 1, code, message, help: None }]);
        }
        let (policy, mut findings) = policy_file::read(policy_toml);
        let (roster, of_roster) = roster::read(roster_toml);
        let whole = findings.is_empty();
        // A group is missing only if the roster could be read.
        let readable = roster.as_ref().filter(|_| of_roster.is_empty());
        findings.extend(of_roster);
        let mut policy = policy;
        if let Some((policy, declared)) = &mut policy {
            findings.extend(references::undefined(policy, declared, readable));
            findings.extend(references::clashing_triggers(policy));
            findings.extend(references::hosts(policy));
            findings.extend(references::rungs(policy));
            if whole {
                findings.extend(references::unused(policy));
                findings.extend(readable.map(|roster| enough::too_few(policy, roster)).unwrap_or_default());
            }
        }
        findings.sort();
        findings.dedup();
        match (policy, roster) {
            (Some((policy, _)), Some(roster)) if findings.is_empty() => {
                Ok(Bundle { policy, roster, hash: hash(policy_toml, roster_toml) })
            }
            _ => Err(findings),
        }
    }
}

/// SHA-256 over a domain, then each text behind its length: no two bundles share the bytes hashed.
fn hash(policy_toml: &str, roster_toml: &str) -> Hash {
    let mut sha = Sha256::new();
    sha.update(b"fireaxe bundle v1\n");
    for text in [policy_toml, roster_toml] {
        sha.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        sha.update(text.as_bytes());
    }
    Hash(sha.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn moving_text_between_the_files_changes_the_hash() {
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
        assert_ne!(hash("", "x"), hash("x", ""));
    }
}
