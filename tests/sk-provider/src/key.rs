//! The token itself: keys, and signatures as PROTOCOL.u2f wants them. No C, no pointers.

use std::path::PathBuf;

use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

/// How long a key handle is: it is the seed.
pub const HANDLE_LEN: usize = 32;

/// A key, made or found again by its handle.
pub struct Key(SigningKey);

/// A signature and what it says about how it came to be.
pub struct Signed {
    /// 0x01 touched, 0x04 verified.
    pub flags: u8,
    /// Of the token, not of the key.
    pub counter: u32,
    /// Ed25519.
    pub signature: [u8; 64],
}

impl Key {
    /// A key from OpenSSH's random challenge, which makes it a new one each time.
    pub fn enrol(challenge: &[u8]) -> Key {
        Key(SigningKey::from_bytes(&Sha256::digest(challenge).into()))
    }

    /// The key that this handle is; `None` when it is none of ours.
    pub fn of_handle(handle: &[u8]) -> Option<Key> {
        let seed: [u8; HANDLE_LEN] = handle.try_into().ok()?;
        Some(Key(SigningKey::from_bytes(&seed)))
    }

    /// What is kept in the private key's file.
    pub fn handle(&self) -> [u8; HANDLE_LEN] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs SHA-256 of the application, flags, counter, SHA-256 of the data (PROTOCOL.u2f).
    pub fn sign(&self, application: &[u8], data: &[u8], flags: u8, counter: u32) -> Signed {
        let mut bytes = Sha256::digest(application).to_vec();
        bytes.push(flags);
        bytes.extend_from_slice(&counter.to_be_bytes());
        bytes.extend_from_slice(&Sha256::digest(data));
        Signed { flags, counter, signature: self.0.sign(&bytes).to_bytes() }
    }
}

/// The flags that the environment wants; `None` when it says something else than a byte.
pub fn flags() -> Option<u8> {
    match std::env::var("FIREAXE_TEST_SK_FLAGS") {
        Ok(flags) => flags.parse().ok(),
        Err(_) => Some(TOUCHED),
    }
}

/// Counts one more signature; `None` when the file cannot be read, counted on or written.
pub fn count() -> Option<u32> {
    let Some(file) = std::env::var_os("FIREAXE_TEST_SK_COUNTER").map(PathBuf::from) else {
        return Some(0);
    };
    let last: u32 =
        if file.exists() { std::fs::read_to_string(&file).ok()?.trim().parse().ok()? } else { 0 };
    let next = last.checked_add(1)?;
    std::fs::write(&file, format!("{next}\n")).ok()?;
    Some(next)
}

const TOUCHED: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_finds_its_key_again_and_another_length_none() {
        let key = Key::enrol(b"challenge");
        let again = Key::of_handle(&key.handle()).unwrap();
        assert_eq!(again.public(), key.public());
        assert_ne!(Key::enrol(b"another").public(), key.public());
        assert!(Key::of_handle(&[0; 31]).is_none() && Key::of_handle(&[]).is_none());
    }
}
