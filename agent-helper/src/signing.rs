//! Signs statements through `ssh-keygen -Y sign`: one road for key files, agent keys and FIDO keys. The
//! private key is never read here. What comes back is verified before anything is sent.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::names::NameError;
use fireaxe_protocol::statement::{Claimed, EnrolledKey, Envelope, SignatureError, Statement};
use thiserror::Error;

use crate::clock::Deadline;
use crate::screen;

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum SigningError {
    /// There is no such key.
    #[error("there is no key at {0}")]
    NoKey(String),
    /// There is a private half without its public one.
    #[error("{0} has no public half beside it")]
    NoPublicHalf(String),
    /// Not a key that a roster takes.
    #[error("{path}: {why}")]
    Key {
        /// The public half's file.
        path: String,
        /// Why not.
        why: NameError,
    },
    /// OpenSSH's client tools are not there.
    #[error("ssh-keygen cannot be run: {0}")]
    NoKeygen(String),
    /// Only the public half is here, and no agent has the other.
    #[error("nothing here holds the private half of {0}: no file beside it, and no ssh-agent that has it")]
    NotHeld(String),
    /// A passphrase is needed and there is nobody to ask, or it was wrong.
    #[error("{0} is protected by a passphrase that was not given or was wrong")]
    Passphrase(String),
    /// Nobody touched the key in time.
    #[error("the key was not touched within {0} s")]
    Untouched(u64),
    /// Anything else that ssh-keygen says.
    #[error("ssh-keygen did not sign: {0}")]
    Failed(String),
    /// The signature is not one by this key over these bytes.
    #[error("what ssh-keygen made is not a signature by this key: {0}")]
    Bad(#[from] SignatureError),
    /// It was made by another key than the one configured.
    #[error("ssh-keygen signed with {found}, not with {expected}")]
    OtherKey {
        /// What was configured.
        expected: String,
        /// What signed.
        found: String,
    },
}

/// A person's key, as far as this program sees it.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    path: PathBuf,
    key: EnrolledKey,
    /// The public half as it stands in its file: type, base64, comment.
    pub(crate) line: String,
}

impl Signer {
    /// Reads the public half of the key at `path`, which is a private key's file or a `.pub`.
    pub(crate) fn open(path: &Path) -> Result<Signer, SigningError> {
        let public = public_half(path);
        let text = match std::fs::read_to_string(&public) {
            Ok(text) => text,
            Err(_) if path.exists() => return Err(SigningError::NoPublicHalf(path.display().to_string())),
            Err(_) => return Err(SigningError::NoKey(path.display().to_string())),
        };
        let line = text.trim_end().to_owned();
        let key = EnrolledKey::read(&line)
            .map_err(|why| SigningError::Key { path: public.display().to_string(), why })?;
        Ok(Signer { path: path.to_owned(), key, line })
    }

    /// Whether somebody must touch it.
    pub(crate) fn is_hardware(&self) -> bool {
        self.key.is_hardware()
    }

    /// Whether signing may make somebody touch it or type: a hardware key, or a file that no empty
    /// passphrase opens. A key that only an ssh-agent holds was unlocked when it was added.
    pub(crate) fn may_ask(&self) -> bool {
        if self.is_hardware() {
            return true;
        }
        if public_half(&self.path) == self.path {
            return false;
        }
        let mut open = Command::new("ssh-keygen");
        open.args(["-y", "-P", "", "-f"]).arg(&self.path);
        open.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        !open.status().is_ok_and(|status| status.success())
    }

    /// Its fingerprint, for people.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.key.fingerprint
    }

    /// Writes a statement's text and signs exactly those bytes. May wait for a touch, a PIN or a
    /// passphrase, which ssh-keygen itself asks for on the terminal.
    pub(crate) fn sign(&self, statement: &Statement) -> Result<Envelope, SigningError> {
        let text = statement.write();
        let namespace = statement.header().kind.namespace();
        let signature = self.run_keygen(namespace, text.as_bytes())?;
        let envelope = Envelope { statement: text, signature };
        let claimed = Claimed::read(envelope)?;
        if *claimed.fingerprint() != self.key.fingerprint {
            let (expected, found) = (self.key.fingerprint.to_string(), claimed.fingerprint().to_string());
            return Err(SigningError::OtherKey { expected, found });
        }
        Ok(claimed.verify(&self.key)?.envelope)
    }

    fn run_keygen(&self, namespace: &str, bytes: &[u8]) -> Result<String, SigningError> {
        let mut child = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
            .arg(&self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| SigningError::NoKeygen(e.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // If it ended early its own message says more than a broken pipe.
            let _ = stdin.write_all(bytes);
        }
        let out = collect(child.stdout.take());
        let err = collect(child.stderr.take());
        let deadline = Deadline::after(Duration::from_secs(PATIENCE_S));
        let Ok(signature) = out.recv_timeout(deadline.left()) else {
            // Nobody is there; whatever it waits for, it must not go on waiting. If it just ended, both
            // calls fail and that is all right.
            let _ = child.kill();
            let _ = child.wait();
            return Err(SigningError::Untouched(PATIENCE_S));
        };
        let status = child.wait().map_err(|e| SigningError::Failed(e.to_string()))?;
        if status.success() {
            return Ok(signature);
        }
        let said = err.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        Err(self.explain(&said))
    }

    fn explain(&self, said: &str) -> SigningError {
        let path = self.path.display().to_string();
        if said.contains("No private key found") || said.contains("agent refused operation") {
            SigningError::NotHeld(path)
        } else if said.contains("passphrase") {
            SigningError::Passphrase(path)
        } else {
            let lines: Vec<&str> = said.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
            SigningError::Failed(screen::clean(&lines.join("; ")).into_owned())
        }
    }
}

/// The file of a key's public half.
pub(crate) fn public_half(path: &Path) -> PathBuf {
    if path.extension().is_some_and(|e| e == "pub") {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(".pub");
    PathBuf::from(name)
}

/// Makes a new Ed25519 key file without a passphrase prompt of ours: ssh-keygen asks on the terminal.
/// Never overwrites: `ssh-keygen` itself asks before it would, and is given no answer.
pub(crate) fn make_key(path: &Path, comment: &str, passphrase: bool) -> Result<(), SigningError> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-C", comment, "-f"]).arg(path);
    if !passphrase {
        command.args(["-N", ""]);
    }
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(SigningError::Failed(status.to_string())),
        Err(e) => Err(SigningError::NoKeygen(e.to_string())),
    }
}

/// Reads a pipe to its end on a thread, at most 64 KiB of it.
fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before an error is still the best there is.
            let _ = pipe.take(64 * 1024).read_to_end(&mut bytes);
        }
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receive
}

/// A FIDO key gives up after 30 s by itself; finding it, a PIN and a second try are in this.
const PATIENCE_S: u64 = 120;

#[cfg(test)]
mod tests {
    use super::*;
    use fireaxe_protocol::keys::Ed25519Key;
    use fireaxe_protocol::statement::{Header, Kind, Login, Nonce};

    fn statement() -> Statement {
        Statement::Login(Login {
            header: Header {
                kind: Kind::Login,
                to: "fireaxe.prod/0123456789abcdef".parse().unwrap(),
                nonce: Nonce([7; 16]),
                at: 1_800_000_000,
            },
            session_key: Ed25519Key([3; 32]),
            for_s: 60,
        })
    }

    fn key(dir: &Path, passphrase: &str) -> PathBuf {
        let path = dir.join("id");
        let done = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-C", "ana-1", "-N", passphrase, "-f"])
            .arg(&path)
            .status();
        assert!(done.unwrap().success());
        path
    }

    #[test]
    fn a_key_file_signs_and_the_signature_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        make_key(&path, "ana-1", false).unwrap();
        let signer = Signer::open(&path).unwrap();
        let envelope = signer.sign(&statement()).unwrap();
        assert_eq!(envelope.statement, statement().write());
        assert!(!signer.is_hardware() && signer.line.ends_with(" ana-1"));
        let claimed = Claimed::read(envelope).unwrap();
        assert_eq!(*claimed.fingerprint(), signer.fingerprint());
    }

    #[test]
    fn a_file_that_holds_another_key_than_its_public_half_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = key(dir.path(), "");
        let signer = Signer::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(public_half(&path)).unwrap();
        key(dir.path(), "");
        assert!(matches!(signer.sign(&statement()), Err(SigningError::OtherKey { .. })));
    }

    #[test]
    fn what_ssh_keygen_says_is_put_into_words() {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer::open(&key(dir.path(), "")).unwrap();
        // As OpenSSH 9.2 says it, without a terminal.
        let said =
            "Enter passphrase: Load key \"id\": incorrect passphrase supplied to decrypt private key\n";
        assert!(matches!(signer.explain(said), SigningError::Passphrase(_)));
        let said = "No private key found for public key \"id.pub\"\n";
        assert!(matches!(signer.explain(said), SigningError::NotHeld(_)));
        let odd = signer.explain("device \u{1b}[2Jnot found\n");
        assert_eq!(odd, SigningError::Failed("device \\u{1b}[2Jnot found".into()));
    }

    #[test]
    fn what_is_missing_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        assert!(matches!(Signer::open(&path), Err(SigningError::NoKey(_))));
        key(dir.path(), "");
        let signer = Signer::open(&public_half(&path)).unwrap();
        std::fs::rename(&path, dir.path().join("away")).unwrap();
        let not_held = signer.sign(&statement());
        assert!(matches!(not_held, Err(SigningError::NotHeld(_))), "{not_held:?}");
        std::fs::rename(dir.path().join("away"), &path).unwrap();
        std::fs::remove_file(public_half(&path)).unwrap();
        assert!(matches!(Signer::open(&path), Err(SigningError::NoPublicHalf(_))));
        std::fs::write(public_half(&path), "ssh-rsa AAAA x").unwrap();
        assert!(matches!(Signer::open(&path), Err(SigningError::Key { .. })));
    }
}
