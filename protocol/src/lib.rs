//! Formats and checks that CA, client and host must read alike.
//!
//! This crate knows nobody: no I/O, no clock, no randomness, no async. Time and random bytes are
//! parameters; every function gives the same answer for the same arguments, so that a decision or a
//! certificate can be re-derived from the log by anyone, years later.
//!
//! The rooms, in the order a request meets them:
//!
//! | room | what it holds |
//! |---|---|
//! | [`limits`] | every limit, in one table, with the sum that justifies it |
//! | [`names`] | people, systems, hosts, accounts, principals: valid by construction |
//! | [`keys`] | Ed25519 public keys and fingerprints, one spelling each |
//! | [`statement`] | what people sign, and the check of their signature |
//! | [`policy`] | the bundle, its checks, and `decide` |
//! | [`certificate`] | the certificate profile: body, lint, comparison, receipt |
//! | [`host`] | what hosts report, and how a certificate names the recorder |
//! | [`recording`] | chunks of a recorded session, their chain, and asciicast |
//! | [`krl`] | OpenSSH's key revocation list, written and read |
//! | [`log`] | entries, Merkle tree, signed notes, checkpoints, receipts, tiles |
//! | [`evidence`] | what leaves the CA in one file: its layout, its page, every check of it |
//! | [`api`] | the JSON shapes of the HTTP surface |

pub mod api;
pub mod certificate;
pub mod evidence;
pub mod host;
pub mod keys;
pub mod krl;
pub mod limits;
pub mod log;
pub mod names;
pub mod policy;
pub mod reason;
pub mod recording;
mod shell;
pub mod statement;
pub mod wire;
