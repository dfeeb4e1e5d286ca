//! The load bench: the real `fireaxe-ca` over real HTTPS on loopback, beside this machine's own ceilings
//! measured in the same run. Prints a table, writes `target/bench/summary.json`, asserts nothing about
//! speed.
//!
//! | file | what it measures |
//! |---|---|
//! | [`ceilings`] | what the machine can do at all: sign, verify, sync, commit |
//! | [`load`] | declarations over HTTPS, each a fresh signed statement, each answer a certificate |
//! | [`client`] | the real `fireaxe` as a person runs it |
//! | [`process`] | CPU time and memory of the CA, read from `/proc` |
//! | [`summary`] | figures, ratios, the file |

pub mod ceilings;
pub mod client;
pub mod load;
pub mod process;
pub mod summary;
