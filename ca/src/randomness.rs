//! The CA's one source of random bytes. Everything else takes them as an argument.

use thiserror::Error;

/// The operating system gave no random bytes. Nothing may be signed or created without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

/// A source of random bytes; tests bring their own.
pub trait Randomness: Send {
    /// 32 fresh bytes.
    fn bytes32(&mut self) -> Result<[u8; 32], NoRandomness>;
}

/// The operating system's generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    #[allow(clippy::disallowed_methods, reason = "the one place where the generator is read")]
    fn bytes32(&mut self) -> Result<[u8; 32], NoRandomness> {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(bytes)
    }
}
