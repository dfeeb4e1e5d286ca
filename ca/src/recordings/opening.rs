//! Opens what hosts sealed, for whoever has an auditor's identity. The CA itself has none: nothing that `serve`
//! does comes here.
//!
//! Ciphertext is hostile: a chunk is at most 48 KiB, what is within is read up to that and no further, and
//! no stanza but X25519 is tried, so none can cost more than that.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use age::x25519::Identity;
use fireaxe_protocol::limits::RECORDING_CHUNK;
use fireaxe_protocol::recording::{Body, Chain, Chunk, Opened, RecordingError};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why a file holds no identities that are used.
#[derive(Debug, Error)]
pub enum IdentityFault {
    /// The disk.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, std::io::Error),
    /// Others may read it.
    #[error("{} can be read by others than its owner (mode {:o})", .0.display(), .1)]
    Exposed(PathBuf, u32),
    /// A line that is none. The line is a secret, and not shown.
    #[error("{}, line {}: {}", .0.display(), .1, .2)]
    Line(PathBuf, usize, &'static str),
    /// Nothing in it.
    #[error("{} holds no identity", .0.display())]
    None(PathBuf),
}

/// Why a sealed chunk is not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotOpened {
    /// There is no key for it.
    #[error("sealed to others than these identities")]
    NoKey,
    /// It is no age file, or was changed.
    #[error("chunk {0} cannot be opened: {1}")]
    Damaged(u64, String),
    /// What is within is not what belongs there.
    #[error("{0}")]
    Within(RecordingError),
}

/// What an auditor opens recordings with. Wiped when dropped: age sees to that.
pub struct Identities(Vec<Identity>);

/// A recording as it was read.
#[derive(Debug)]
pub struct Opening {
    /// Its chunks, checked without any key.
    pub chain: Chain,
    /// Why what comes after them is none of it, if something does.
    pub wrong: Option<RecordingError>,
    /// Why what is sealed could not be read, if it is sealed.
    pub unopened: Option<NotOpened>,
    /// Whether it is sealed.
    pub sealed: bool,
}

/// Bytes of a file of identities.
const FILE: u64 = 64 * 1024;

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}

impl Identities {
    /// Reads an age identity file: `AGE-SECRET-KEY-1...` a line, `#` comments; readable for its owner alone.
    pub fn read(path: &Path) -> Result<Identities, IdentityFault> {
        let failed = |error| IdentityFault::File(path.to_owned(), error);
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode();
        if mode & 0o077 != 0 {
            return Err(IdentityFault::Exposed(path.to_owned(), mode & 0o777));
        }
        // As large as it may get: growing would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(FILE as usize + 1));
        file.take(FILE + 1).read_to_string(&mut text).map_err(failed)?;
        let mut all = Vec::new();
        for (n, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            all.push(line.parse().map_err(|why| IdentityFault::Line(path.to_owned(), n + 1, why))?);
        }
        if all.is_empty() || text.len() as u64 > FILE {
            return Err(IdentityFault::None(path.to_owned()));
        }
        Ok(Identities(all))
    }

    /// These.
    pub fn of(all: Vec<Identity>) -> Identities {
        Identities(all)
    }

    fn plain(&self, seq: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
        use age::DecryptError;
        let damaged = |why: String| NotOpened::Damaged(seq, why);
        let decryptor = age::Decryptor::new_buffered(sealed).map_err(|error| damaged(error.to_string()))?;
        let identities = self.0.iter().map(|identity| identity as &dyn age::Identity);
        let reader = decryptor.decrypt(identities).map_err(|error| match error {
            DecryptError::NoMatchingKeys => NotOpened::NoKey,
            other => damaged(other.to_string()),
        })?;
        let mut plain = Zeroizing::new(Vec::with_capacity(RECORDING_CHUNK));
        let most = RECORDING_CHUNK as u64;
        reader.take(most).read_to_end(&mut plain).map_err(|error| damaged(error.to_string()))?;
        Ok(plain)
    }
}

/// Reads a recording to its end; `each` is given every chunk: one that could be opened as its events, one that
/// could not as it is. Reading goes on past what cannot be opened; the chain stands without it.
pub fn open(
    path: &Path,
    identities: Option<&Identities>,
    mut each: impl FnMut(&Chunk),
) -> Result<Opening, std::io::Error> {
    let mut opened = None;
    let (mut sealed, mut unopened) = (false, None);
    let (chain, _, wrong) = super::read(path, |chunk| {
        if let Body::Header(header) = &chunk.body {
            opened = Some(Opened::of(header));
            sealed = !header.sealed.is_empty();
            if sealed && identities.is_none() {
                unopened = Some(NotOpened::NoKey);
            }
        }
        let (Body::Sealed(within), Some(identities), Some(opened)) = (&chunk.body, identities, &mut opened)
        else {
            return each(chunk);
        };
        // Once one is not read, sums no longer fit: the first is what is said.
        if unopened.is_some() {
            return each(chunk);
        }
        let events = identities
            .plain(chunk.seq, &within.age)
            .and_then(|plain| opened.take(chunk.seq, within, &plain).map_err(NotOpened::Within));
        match events {
            Ok(events) => each(&Chunk { seq: chunk.seq, before: chunk.before, body: Body::Data(events) }),
            Err(why) => {
                unopened = Some(why);
                each(chunk);
            }
        }
    })?;
    Ok(Opening { chain, wrong, unopened, sealed })
}

/// The header of a recording, if its file begins with one.
pub fn header_of(path: &Path) -> Option<fireaxe_protocol::recording::Header> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(RECORDING_CHUNK as u64).read_to_end(&mut bytes).ok()?;
    match Chunk::read(&bytes).ok()??.0.body {
        Body::Header(header) => Some(*header),
        _ => None,
    }
}
