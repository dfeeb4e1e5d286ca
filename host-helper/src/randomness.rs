//! The one source of randomness of this program: the kernel's.

use std::time::Duration;

use fireaxe_protocol::statement::Nonce;

use crate::error::HostError;

/// 128 bits that make a statement, a connection or a recording one of a kind.
#[allow(clippy::disallowed_methods, reason = "this file is the source of randomness")]
pub fn nonce() -> Result<Nonce, HostError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| HostError::NoRandomness(error.to_string()))?;
    Ok(Nonce(bytes))
}

/// 32 bytes for a key, wiped after use.
#[allow(clippy::disallowed_methods, reason = "this file is the source of randomness")]
pub fn seed() -> Result<zeroize::Zeroizing<[u8; 32]>, HostError> {
    let mut bytes = zeroize::Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *bytes).map_err(|error| HostError::NoRandomness(error.to_string()))?;
    Ok(bytes)
}

/// A time between none and `most`, so that ten thousand hosts do not come back in one moment. Half of
/// `most` when there is no randomness: jitter is a courtesy.
#[allow(clippy::disallowed_methods, reason = "this file is the source of randomness")]
pub fn jitter(most: Duration) -> Duration {
    let mut bytes = [0u8; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => most.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)),
        Err(_) => most / 2,
    }
}
