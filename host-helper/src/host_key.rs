//! The host key in memory: it signs reports and proves requests. Read once, wiped when dropped, never shown.
//!
//! Whoever has it can speak for this host, and be this host to clients; nothing else. It is sshd's own file.

use std::fmt;
use std::fs;
use std::path::Path;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::ReadProof;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::statement::{Envelope, Statement, sign_ed25519};
use ssh_key::private::KeypairData;
use zeroize::Zeroizing;

use crate::error::HostError;

/// The longest file taken for a host key: an Ed25519 key has 400 bytes. Bytes.
const LONGEST: u64 = 16 * 1024;

/// A host key.
pub struct HostKey {
    secret: SigningKey,
    public: Ed25519Key,
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.public.fingerprint())
    }
}

impl HostKey {
    /// Reads the private key that sshd uses: OpenSSH's format, Ed25519, without a passphrase.
    pub fn read(path: &Path) -> Result<HostKey, HostError> {
        let wrong = |why: String| HostError::HostKey { path: path.into(), why };
        let size = fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if size > LONGEST {
            return Err(wrong(format!("it has {size} bytes, which no host key has")));
        }
        let text = Zeroizing::new(fs::read(path).map_err(|error| wrong(error.to_string()))?);
        let key = ssh_key::PrivateKey::from_openssh(text.as_slice())
            .map_err(|error| wrong(format!("not a private key as ssh-keygen writes it: {error}")))?;
        let KeypairData::Ed25519(pair) = key.key_data() else {
            return Err(wrong("not an Ed25519 key, or one with a passphrase".into()));
        };
        let seed = Zeroizing::new(pair.private.to_bytes());
        let secret = SigningKey::from_bytes(&seed);
        let public = Ed25519Key::from(&secret);
        if public.0 != pair.public.0 {
            return Err(wrong("its public half is another key's".into()));
        }
        Ok(HostKey { secret, public })
    }

    /// A key from its 32 bytes.
    pub fn of(secret: SigningKey) -> HostKey {
        HostKey { public: Ed25519Key::from(&secret), secret }
    }

    /// The public half.
    pub fn public(&self) -> Ed25519Key {
        self.public
    }

    /// Signs a statement under its kind's namespace.
    pub fn sign(&self, statement: &Statement) -> Envelope {
        sign_ed25519(&self.secret, statement.header().kind, &statement.write())
    }

    /// The `Authorization` header of one request at `at`, unix seconds.
    pub fn proof(&self, origin: &Origin, method: &str, path: &str, at: u64) -> String {
        ReadProof::sign(&self.secret, origin, method, path, at).header()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keygen(dir: &Path, arguments: &[&str]) -> std::path::PathBuf {
        let path = dir.join("key");
        let _ = fs::remove_file(&path);
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-f"])
            .arg(&path)
            .args(arguments)
            .status()
            .unwrap();
        assert!(made.success());
        path
    }

    #[test]
    fn what_ssh_keygen_makes_for_a_host_is_read_and_its_signature_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = keygen(dir.path(), &["-t", "ed25519", "-N", "", "-C", "root@db-3"]);
        let key = HostKey::read(&path).unwrap();
        let public = fs::read_to_string(path.with_extension("pub")).unwrap();
        assert!(public.starts_with(&key.public().to_string()));
        let origin: Origin = "ca.example/0123456789abcdef".parse().unwrap();
        let proof = ReadProof::read(&key.proof(&origin, "GET", "/v1/feed", 7)).unwrap();
        assert_eq!(proof.verify(&key.public(), &origin, "GET", "/v1/feed"), Ok(()));
        assert!(!format!("{key:?}").contains("secret"));
    }

    #[test]
    fn other_keys_are_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let no = |path: &Path| HostKey::read(path).unwrap_err().to_string();
        assert!(no(&dir.path().join("none")).contains("No such file"));
        assert!(no(&keygen(dir.path(), &["-t", "ed25519", "-N", "secret"])).contains("passphrase"));
        assert!(no(&keygen(dir.path(), &["-t", "ecdsa", "-N", ""])).contains("Ed25519"));
        fs::write(dir.path().join("key"), "garbage").unwrap();
        assert!(no(&dir.path().join("key")).contains("ssh-keygen"));
        fs::write(dir.path().join("key"), vec![b'x'; 20_000]).unwrap();
        assert!(no(&dir.path().join("key")).contains("20000 bytes"));
    }
}
