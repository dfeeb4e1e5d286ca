//! Which part has which name. An index has at least six digits, so that a folder lists in order.

use crate::names::HostName;
use crate::statement::Nonce;

/// What is in the file, with its hashes.
pub const MANIFEST: &str = "manifest.json";
/// The entry by which the log's key signs the manifest.
pub const MANIFEST_ENTRY: &str = "manifest.entry.json";
/// Its proof.
pub const MANIFEST_PROOF: &str = "manifest.tlog-proof";
/// For `sha256sum -c`: everything but itself.
pub const SUMS: &str = "SHA256SUMS";
/// How to check it.
pub const VERIFY: &str = "VERIFY.txt";
/// The page for people.
pub const PAGE: &str = "index.html";
/// One line for each entry.
pub const TIMELINE: &str = "timeline.txt";
/// Whose key is whose, for `ssh-keygen -Y verify`.
pub const ALLOWED_SIGNERS: &str = "allowed_signers";
/// The signed head that all proofs end in.
pub const CHECKPOINT: &str = "log/checkpoint";
/// The log's key, a C2SP verifier key.
pub const KEY: &str = "log/key";
/// Of a period: that its entries lie in the log.
pub const RANGE: &str = "log/range";
/// Of a period: its entries, one a line.
pub const ENTRIES: &str = "entries.jsonl";

/// What the manifest does not list: itself, and what is made after it.
pub const OUTSIDE: [&str; 4] = [MANIFEST, MANIFEST_ENTRY, MANIFEST_PROOF, SUMS];

/// The exact bytes of entry `index`.
pub fn entry(index: u64) -> String {
    format!("entries/{index:06}.json")
}

/// Its C2SP tlog-proof.
pub fn proof(index: u64) -> String {
    format!("proofs/{index:06}.tlog-proof")
}

/// Statement `n` of entry `index`, counted from 0: the signed words, and their signature.
pub fn statement(index: u64, n: usize) -> [String; 2] {
    let stem = if n == 0 { format!("{index:06}") } else { format!("{index:06}-{}", n + 1) };
    [format!("statements/{stem}.json"), format!("statements/{stem}.sig")]
}

/// The certificate whose serial is `serial`, as it went out.
pub fn certificate(serial: u64) -> String {
    format!("certificates/{serial:06}-cert.pub")
}

/// The two files of the bundle that entry `index` put in force.
pub fn policy(index: u64) -> [String; 2] {
    [format!("policy/{index:06}/policy.toml"), format!("policy/{index:06}/roster.toml")]
}

/// A recording, its chunks as stored.
pub fn recording(host: &HostName, name: Nonce) -> String {
    format!("recordings/{host}/{name}")
}

/// Its picture, asciicast v3.
pub fn cast(host: &HostName, name: Nonce) -> String {
    format!("recordings/{host}/{name}.cast")
}

/// The index in a name that `make` makes; no other spelling of it.
pub(super) fn index_of(name: &str, make: impl Fn(u64) -> String) -> Option<u64> {
    let digits = name.rsplit('/').next()?;
    let end = digits.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    let index = digits.get(..end)?.parse().ok()?;
    (make(index) == name).then_some(index)
}

/// Host and name in the name of a recording, and whether it is the picture.
pub(super) fn recording_of(part: &str) -> Option<(HostName, Nonce, bool)> {
    let (host, name) = part.strip_prefix("recordings/")?.split_once('/')?;
    let (name, is_cast) = name.strip_suffix(".cast").map_or((name, false), |name| (name, true));
    Some((host.parse().ok()?, name.parse().ok()?, is_cast))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_has_one_spelling_in_a_name() {
        assert_eq!(entry(7), "entries/000007.json");
        assert_eq!(index_of("entries/000007.json", entry), Some(7));
        assert_eq!(index_of(&entry(12_345_678), entry), Some(12_345_678));
        for bad in
            ["entries/7.json", "entries/0000007.json", "entries/000007.js", "proofs/000007.json", "entries/"]
        {
            assert_eq!(index_of(bad, entry), None, "{bad}");
        }
        assert_eq!(statement(7, 0)[0], "statements/000007.json");
        assert_eq!(statement(7, 1)[1], "statements/000007-2.sig");
        assert_eq!(index_of("certificates/000007-cert.pub", certificate), Some(7));
    }

    #[test]
    fn a_recording_has_its_host_and_its_name() {
        let host: HostName = "db-3.payments.prod".parse().unwrap();
        let name = Nonce([7; 16]);
        assert_eq!(recording_of(&recording(&host, name)), Some((host.clone(), name, false)));
        assert_eq!(recording_of(&cast(&host, name)), Some((host, name, true)));
        assert_eq!(recording_of("recordings/db-3.payments.prod/x"), None);
    }
}
