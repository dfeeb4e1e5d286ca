//! What runs at a login, called by sshd and by PAM: short programs without network, which print nothing they
//! did not make themselves, and end in milliseconds whatever state the host is in.
//!
//! | file | what it does |
//! |---|---|
//! | [`judge`] | pure: whether a certificate may open an account here |
//! | [`known`] | what the host knows for that, read from its files |
//! | [`witnesses`] | which witnesses it asks for |
//! | [`principals`] | `fireaxe-host principals`: sshd's AuthorizedPrincipalsCommand |
//! | [`hook`] | `fireaxe-host hook`: PAM's `session` phase |
//!
//! Who is connected is the daemon's, [`crate::connections`].

pub mod hook;
pub mod judge;
pub mod known;
pub mod principals;
pub mod witnesses;
