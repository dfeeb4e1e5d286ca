//! `fireaxe-host run`: the daemon. It follows the CA, keeps the revocation list, registers what comes in and
//! ends it in time, and says so under the host's key.

pub mod words;
