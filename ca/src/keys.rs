//! Key files: made once by `init`, read by `serve`, never shown.
//!
//! Trusted: whoever reads `keys/user-ca` can sign certificates that a stock sshd accepts; whoever reads
//! `keys/log` too can also sign a private fork of the log; whoever reads `keys/host-ca` can pass for a host (docs/THREATS.md). All are OpenSSH private
//! key files, mode 0600, unencrypted: what guards them is the machine. Loaded keys are zeroized on drop.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use fireaxe_protocol::keys::Ed25519Key;
use ssh_key::private::{Ed25519Keypair, KeypairData};
use thiserror::Error;

use crate::randomness::{NoRandomness, Randomness};

/// What a key is for. One file each; no key does two jobs, but that the log's signs the CA's own snapshots too,
/// under a name of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Signs user certificates.
    UserCa,
    /// Signs checkpoints, and notes in front of snapshots.
    Log,
    /// Signs the notes beside revocation lists.
    Krl,
    /// Signs host certificates.
    HostCa,
}

impl Purpose {
    /// All of them, in the order of `init`.
    pub const ALL: [Purpose; 4] = [Purpose::UserCa, Purpose::Log, Purpose::Krl, Purpose::HostCa];

    fn file(self) -> &'static str {
        match self {
            Purpose::UserCa => "user-ca",
            Purpose::Log => "log",
            Purpose::Krl => "krl",
            Purpose::HostCa => "host-ca",
        }
    }
}

/// Why a key file cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file or its folder.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others could read it.
    #[error("{path} may be read by others (mode {mode:o})")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not an unencrypted OpenSSH Ed25519 private key.
    #[error("{path} is not an unencrypted OpenSSH Ed25519 private key")]
    Unreadable {
        /// Which.
        path: PathBuf,
    },
    /// No random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// Makes the keys under `folder`, which must not exist yet.
pub fn create(folder: &Path, random: &mut dyn Randomness) -> Result<(), KeyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KeyError::File { path, source }
    };
    fs::DirBuilder::new().mode(0o700).create(folder).map_err(failed(folder))?;
    for purpose in Purpose::ALL {
        create_one(&folder.join(purpose.file()), &format!("fireaxe {}", purpose.file()), random)?;
    }
    fs::File::open(folder).and_then(|d| d.sync_all()).map_err(failed(folder))
}

/// Makes one key file, which must not exist yet. Its name is durable once its folder is.
pub(crate) fn create_one(path: &Path, comment: &str, random: &mut dyn Randomness) -> Result<(), KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let unreadable = |_| KeyError::Unreadable { path: path.to_owned() };
    let seed = zeroize::Zeroizing::new(random.bytes32()?);
    let pair = Ed25519Keypair::from_seed(&seed);
    let key = ssh_key::PrivateKey::new(KeypairData::Ed25519(pair), comment).map_err(unreadable)?;
    let text = key.to_openssh(ssh_key::LineEnding::LF).map_err(unreadable)?;
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// Whether there is a file for it.
pub(crate) fn exists(folder: &Path, purpose: Purpose) -> bool {
    folder.join(purpose.file()).exists()
}

/// Reads one key.
pub fn load(folder: &Path, purpose: Purpose) -> Result<SigningKey, KeyError> {
    load_file(&folder.join(purpose.file()))
}

/// Reads the key of a file.
pub(crate) fn load_file(path: &Path) -> Result<SigningKey, KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    unexposed(path)?;
    let text = zeroize::Zeroizing::new(fs::read(path).map_err(failed)?);
    let unreadable = || KeyError::Unreadable { path: path.to_owned() };
    let key = ssh_key::PrivateKey::from_openssh(text.as_slice()).map_err(|_| unreadable())?;
    let KeypairData::Ed25519(pair) = key.key_data() else { return Err(unreadable()) };
    let seed = zeroize::Zeroizing::new(pair.private.to_bytes());
    Ok(SigningKey::from_bytes(&seed))
}

/// Refuses a secret's file that others may read.
pub(crate) fn unexposed(path: &Path) -> Result<(), KeyError> {
    let found = fs::metadata(path).map_err(|source| KeyError::File { path: path.to_owned(), source })?;
    let mode = found.mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyError::Exposed { path: path.to_owned(), mode }) }
}

/// The public half, as the protocol knows it.
pub fn public(key: &SigningKey) -> Ed25519Key {
    Ed25519Key(key.verifying_key().to_bytes())
}
