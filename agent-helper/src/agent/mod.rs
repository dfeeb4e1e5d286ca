//! The in-memory ssh-agent: keys that are born here, are used here for logins only, and die here.
//!
//! | room | what it does |
//! |---|---|
//! | `frames` | the agent protocol on the wire |
//! | `binding` | where a connection comes from; a forwarded one gets nothing |
//! | `userauth` | the only bytes that are ever signed for ssh |
//! | `keyring` | the keys and certificates, and the rules for their use |
//! | `bound` | one emergency's key: its certificates, what replaces what, what it waits for |
//! | `narrowed` | certificates for single hosts: when one is wanted, which stands in, whom not to ask |
//! | `service` | the two sockets, their peers, the sweep at each certificate's end |
//!
//! A key cannot be brought in, taken out, or used for anything but a login (through the agent socket)
//! and the proof of a reader (through the control socket). Certificates only: the plain key is never
//! listed and never used. Nothing here talks to the network: who asks the CA for a certificate for one host is
//! a process of its own, started by what `service` was given.

pub(crate) mod binding;
mod bound;
pub(crate) mod frames;
pub(crate) mod keyring;
mod narrowed;
#[cfg(test)]
mod narrowing;
pub(crate) mod service;
pub(crate) mod userauth;
