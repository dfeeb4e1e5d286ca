//! The world in which everything is proved: real sshd, real ssh, the real binaries, nothing of the machine.
//!
//! A test says what it needs and what it expects; this library builds it and takes it down again:
//!
//! | room | what it is |
//! |---|---|
//! | [`world`] | a temporary directory and the programs; everything below is made through it |
//! | [`host`] | a host: stock sshd on a loopback port, in namespaces of its own |
//! | [`network`] | a network of its own for hosts, the CA and people; a host of it can be cut off |
//! | [`bench`] | what `make bench` measures, and how |
//! | [`ca`] | a `fireaxe-ca` that is started, killed and started again |
//! | [`engineer`] | a person with a home, a key and a `fireaxe` |
//! | [`fleet`] | any number of simulated hosts on the real feed |
//! | [`holder`] | somebody who keeps a certificate that an agent would drop |
//! | [`keys`] | key pairs and certificates made by `ssh-keygen` or, where it refuses, by hand |
//! | [`lists`] | a server of revocation lists, good and bad |
//! | [`scene`] | what most tests begin with: the default policy, two hosts, three people |
//! | [`run`] | a command run to its end with a limit, and what it printed |
//! | [`running`] | a command that goes on while the test does other things |
//! | [`town`] | a host whose sessions are registered, and recorded or not, without a CA |
//! | [`clock`] | the one clock, and waiting for a condition |
//!
//! It needs root (for the namespaces) and says so. Values clean up when dropped, a panic included.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a world that cannot be built ends the test, with a message"
)]

pub mod bench;
pub mod ca;
pub mod clock;
pub mod engineer;
pub mod fleet;
pub mod holder;
pub mod host;
pub mod keys;
pub mod lists;
pub mod network;
pub mod run;
pub mod running;
pub mod scene;
pub mod town;
pub mod world;

pub use ca::Ca;
pub use engineer::Engineer;
pub use host::Host;
pub use network::Network;
pub use run::{Ran, run};
pub use world::{OpenSsh, World};
