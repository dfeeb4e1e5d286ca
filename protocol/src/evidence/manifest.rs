//! The manifest: what the file is, who made it from which log, and the hash of every part. One spelling.
//!
//! Its SHA-256 stands in the entry `evidence.exported`, which lies beside it with its proof: so the log's own key
//! signs it. What is not logged says so in [`Made::logged`], and is as good as whoever hands it over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::layout;
use super::parts::is_name;
use crate::limits;
use crate::log::{Evidence, Hash};
use crate::names::{HostName, Origin};
use crate::statement::Nonce;

/// The schema of a dossier's manifest.
pub const DOSSIER: &str = "fireaxe.dossier/v1";
/// The schema of a period's manifest.
pub const PERIOD: &str = "fireaxe.period/v1";

/// See the file's top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`DOSSIER`] or [`PERIOD`].
    pub schema: String,
    /// The emergency, or the period.
    pub of: Evidence,
    /// The log.
    pub origin: Origin,
    /// Its key, a C2SP verifier key; the same as `log/key`.
    pub log_key: String,
    /// How many entries the log had: the size of `log/checkpoint`.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// Who made the file, when, with what.
    pub made: Made,
    /// Recordings that hosts reported and that are not here. Sorted.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub missing: Vec<Missing>,
    /// Of a period: how many of its entries are of which kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub counts: BTreeMap<String, u64>,
    /// Every part but [`layout::OUTSIDE`]. Sorted by name, none twice.
    pub parts: Vec<Part>,
}

/// How a file came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// When, unix seconds: the clock of whoever made it.
    pub at: u64,
    /// Who ran it: `operator uid 0`.
    pub by: String,
    /// The version of `fireaxe-ca`.
    pub version: String,
    /// Whether the log has an entry that says so.
    pub logged: bool,
}

/// A recording that is not here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// The host.
    pub host: HostName,
    /// Its name.
    pub recording: Nonce,
    /// `expired`: the policy keeps it no longer, which an entry says; `absent`: the CA does not have it.
    pub why: String,
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// How many bytes.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: Hash,
}

impl Manifest {
    /// Its bytes.
    pub fn encode(&self) -> String {
        // Nothing in it can fail to be written; an empty text is no manifest.
        serde_json::to_string_pretty(self).map(|text| text + "\n").unwrap_or_default()
    }

    /// Reads a manifest: one spelling, names that are safe, in order, none twice and none of those outside.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, String> {
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if manifest.encode().as_bytes() != bytes {
            return Err("it is not spelled the one allowed way".into());
        }
        if !matches!(
            (manifest.schema.as_str(), &manifest.of),
            (DOSSIER, Evidence::Emergency(_)) | (PERIOD, Evidence::Period { .. })
        ) {
            return Err(format!("it is neither a {DOSSIER} of an emergency nor a {PERIOD}"));
        }
        if manifest.parts.len() > limits::EVIDENCE_PARTS {
            return Err(format!("it names more than {} parts", limits::EVIDENCE_PARTS));
        }
        let wrong = |part: &Part| !is_name(&part.name) || layout::OUTSIDE.contains(&part.name.as_str());
        if let Some(part) = manifest.parts.iter().find(|part| wrong(part)) {
            return Err(format!("it names a part {}", crate::names::shown(&part.name)));
        }
        if !manifest.parts.windows(2).all(|two| matches!(two, [a, b] if a.name < b.name)) {
            return Err("its parts are not in order, or one stands twice".into());
        }
        Ok(manifest)
    }

    /// Its hash: what the entry `evidence.exported` names.
    pub fn hash(&self) -> Hash {
        Hash::of(self.encode().as_bytes())
    }
}

/// The text of `SHA256SUMS`: every part, and what lies outside the manifest.
pub fn sums(manifest: &Manifest, outside: &[(&str, Hash)]) -> String {
    let inside = manifest.parts.iter().map(|part| (part.name.as_str(), part.sha256));
    let mut all: Vec<(&str, Hash)> = inside.chain(outside.iter().copied()).collect();
    all.sort();
    all.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::EmergencyId;

    fn manifest() -> Manifest {
        let part = |name: &str| Part { name: name.into(), bytes: 1, sha256: Hash([1; 32]) };
        Manifest {
            schema: DOSSIER.into(),
            of: Evidence::Emergency(EmergencyId(42)),
            origin: "ca/0123456789abcdef".parse().unwrap(),
            log_key: "k".into(),
            size: 3,
            root: Hash([2; 32]),
            made: Made { at: 1, by: "operator uid 0".into(), version: "0.1.0".into(), logged: true },
            missing: Vec::new(),
            counts: BTreeMap::new(),
            parts: vec![part("a"), part("b/c")],
        }
    }

    #[test]
    fn a_manifest_has_one_spelling() {
        let good = manifest().encode();
        assert_eq!(Manifest::decode(good.as_bytes()), Ok(manifest()));
        for (from, to) in
            [("\"v", " \"v"), ("\n}", ",\n\"x\": 1}"), ("dossier/v1", "period/v1"), ("}\n", "}")]
        {
            assert!(good.contains(from), "{from}");
            assert!(Manifest::decode(good.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
        for names in [&["b/c", "a"][..], &["a", "a"], &["../a"], &["/a"], &["manifest.json"], &["SHA256SUMS"]]
        {
            let mut bad = manifest();
            bad.parts.truncate(1);
            let part = bad.parts.remove(0);
            bad.parts.extend(names.iter().map(|name| Part { name: (*name).into(), ..part.clone() }));
            assert!(Manifest::decode(bad.encode().as_bytes()).is_err(), "{names:?}");
        }
    }

    #[test]
    fn sums_are_what_sha256sum_takes() {
        let text = sums(&manifest(), &[("B", Hash([3; 32]))]);
        let (one, three) = ("01".repeat(32), "03".repeat(32));
        assert_eq!(text, format!("{three}  B\n{one}  a\n{one}  b/c\n"));
    }
}
