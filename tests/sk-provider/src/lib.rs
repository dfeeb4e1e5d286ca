//! A security key in software, for tests: OpenSSH loads it as `SSH_SK_PROVIDER` where it would reach a
//! FIDO token. It protects nothing: the key handle *is* the private key, and whether somebody touched it
//! is what the environment says.
//!
//! | variable | meaning |
//! |---|---|
//! | `FIREAXE_TEST_SK_FLAGS` | the flags of each signature, decimal: 1 touched (the default), 0 not, 5 touched and verified |
//! | `FIREAXE_TEST_SK_COUNTER` | a file with the last counter, decimal; each signature adds one. Without it the counter stays 0 |
//!
//! `ed25519-sk` only, no resident keys. [`key`] is the token, [`api`] the C interface to it.

pub mod api;
pub mod key;
