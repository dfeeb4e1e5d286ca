//! The one source of randomness of this program: the kernel's.

use thiserror::Error;
use zeroize::Zeroizing;

/// The kernel gave no random bytes. Nothing is made without them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the system gives no random bytes: {0}")]
pub(crate) struct NoRandomness(String);

/// 32 bytes for a key, wiped after use.
#[allow(clippy::disallowed_methods, reason = "this file is the source of randomness")]
pub(crate) fn seed() -> Result<Zeroizing<[u8; 32]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *bytes).map_err(|e| NoRandomness(e.to_string()))?;
    Ok(bytes)
}

/// 128 bits that make a statement one of a kind.
#[allow(clippy::disallowed_methods, reason = "this file is the source of randomness")]
pub(crate) fn nonce() -> Result<[u8; 16], NoRandomness> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| NoRandomness(e.to_string()))?;
    Ok(bytes)
}
