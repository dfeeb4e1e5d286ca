//! What a host runs: who may come in, until when, what is recorded, and how it ends.
//!
//! With `apply --stock` or `files` nothing here is in the login path: sshd reads files, and these are written so
//! that at any moment, also after a crash, they are whole. Else sshd asks `principals`, and PAM runs `hook`, for
//! certificates of ours alone.
//!
//! | room | what it does |
//! |---|---|
//! | [`apply`] | `fireaxe-host apply` and `remove`: sshd's way in, proved by a login, or as it was before |
//! | [`doctor`] | `fireaxe-host doctor`: what is not as it was set up, and every other way in |
//! | [`files`] | `fireaxe-host files`: CA keys, principals, the drop-in, in an order that never locks out |
//! | [`drop_in`] | the drop-in's text, and what in sshd's configuration contradicts it |
//! | [`krl`] | `fireaxe-host krl`: fetch, check, self-test, replace |
//! | [`enrol`] | `fireaxe-host enrol`: makes this host one of the CA's |
//! | [`daemon`] | `fireaxe-host run` |
//! | [`host_key`] | the host key: signs reports, proves requests |
//! | [`authority`] | the CA as an enrolled host sees it |
//! | [`journal`] | what is written into the host's journal: syslog lines, and the daemon's about itself |
//! | [`sink`] | where recordings are written, by the daemon, out of reach of who is recorded |
//! | [`session`] | `fireaxe-host session`: the recorder |
//! | [`login`] | what sshd and PAM run at a login: `principals`, `hook`, and the judgement that they share |
//! | [`connections`] | who is connected with a certificate of ours, until when, and how that ends |
//! | [`processes`] | the host's processes, and which came in with a connection |
//! | [`teardown`] | ends a connection with everything that came in with it; finds what it left behind |
//! | `shares` | what one person may hold of what all share |
//! | [`reports`] | where rooms put what the CA must learn |
//! | [`spool`] | keeps that until the CA has it |
//! | [`status`] | `fireaxe-host status`: what is in force, and how old |
//! | [`config`] | `/etc/fireaxe/host.toml` |
//! | `guarded` | files that say whom this host trusts, read if root alone can change them |
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
pub mod connections;
pub mod daemon;
pub mod doctor;
pub mod drop_in;
pub mod enrol;
pub mod error;
pub mod escape;
pub mod files;
mod guarded;
pub mod host_key;
pub mod journal;
pub mod krl;
pub mod login;
pub mod processes;
pub mod randomness;
pub mod reports;
pub mod session;
mod shares;
pub mod sink;
pub mod spool;
pub mod status;
pub mod teardown;
