//! What a host runs: files for a stock sshd, and a revocation list that never locks anyone out.
//!
//! Nothing here is in the login path: sshd reads files, and these are written so that at any moment,
//! also after a crash, they are whole.
//!
//! | room | what it does |
//! |---|---|
//! | [`apply`] | `fireaxe-host apply` and `remove`: sshd's way in, proved by a login, or as it was before |
//! | [`doctor`] | `fireaxe-host doctor`: what is not as it was set up, and every other way in |
//! | [`files`] | `fireaxe-host files`: CA keys, principals, the drop-in, in an order that never locks out |
//! | [`drop_in`] | the drop-in's text, and what in sshd's configuration contradicts it |
//! | [`krl`] | `fireaxe-host krl`: fetch, check, self-test, replace |
//! | [`daemon`] | `fireaxe-host run` |
//! | [`reports`] | where rooms put what the CA must learn |
//! | [`status`] | `fireaxe-host status`: what is in force, and how old |
//! | [`config`] | `/etc/fireaxe/host.toml` |
//! | [`atomic`] | one file replaced as a whole |
//! | [`clock`] | the one clock |
//! | [`randomness`] | the one source of random bytes |
//! | [`command`] | the command line |
//! | [`escape`] | text of others, shown |
//! | [`error`] | what can go wrong, and which exit code says so |

pub mod apply;
pub mod atomic;
pub mod authority;
pub mod clock;
pub mod command;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod drop_in;
pub mod error;
pub mod escape;
pub mod files;
pub mod host_key;
pub mod krl;
pub mod randomness;
pub mod reports;
pub mod status;
