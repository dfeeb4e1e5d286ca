//! OpenSSH's key revocation list (PROTOCOL.krl): written by serial, read whatever its sections.
//!
//! We write a section per CA key with lists and ranges of serials only: sshd cannot read the large bitmaps
//! that `ssh-keygen -k` makes, and locks everybody out over them. Never a list without a section either:
//! sshd takes that for "nothing is revoked". Which serials stay in the list is the CA's to say.

mod canary;
mod read;
mod write;

pub use canary::{canary_ca, canary_certificate};
pub use read::{KrlError, RevocationList};
pub use write::{Krl, SerialZero};

/// `SSHKRL\n\0`
const MAGIC: &[u8; 8] = b"SSHKRL\n\0";
const FORMAT: u32 = 1;
const SECTION_CERTIFICATES: u8 = 1;
const SECTION_KEY: u8 = 2;
const SECTION_SHA1: u8 = 3;
const SECTION_SIGNATURE: u8 = 4;
const SECTION_SHA256: u8 = 5;
const SECTION_EXTENSION: u8 = 255;
const SERIAL_LIST: u8 = 0x20;
const SERIAL_RANGE: u8 = 0x21;
const SERIAL_BITMAP: u8 = 0x22;
const KEY_ID: u8 = 0x23;
const CERTIFICATES_EXTENSION: u8 = 0x39;
