//! The bench: the real `fireaxe-ca` over real HTTPS on loopback and its commands on generated input, beside
//! this machine's own ceilings measured in the same run. Prints a table, writes `target/bench/summary.json`,
//! asserts nothing about speed.
//!
//! | file | what it measures |
//! |---|---|
//! | [`ceilings`] | what the machine can do at all: sign, verify, sync, commit |
//! | [`log_size`] | a log of ten million entries: start, append, receipt |
//! | [`load`] | declarations over HTTPS, each a fresh signed statement, each answer a certificate |
//! | [`client`] | the real `fireaxe` as a person runs it |
//! | [`upgrade`] | from an approval to the certificate in the agent of whoever waits |
//! | [`decide`] | one decision of the policy, without anything around it |
//! | [`offline`] | `policy check` and `policy simulate` as an operator runs them |
//! | [`hosts`] | logins as ratios to one with a plain key, revocations |
//! | [`reach`] | a revocation on its way to a fleet and back |
//! | [`fleet`] | generates a bundle of many systems |
//! | [`history`] | generates a log of many emergencies |
//! | [`audit`] | makes a log by the CA's own road; verifying and replaying it |
//! | [`dice`] | what is drawn in a generated history |
//! | [`recorder`] | a flood through a recorded session |
//! | [`search`] | words in 1,000 generated recordings |
//! | [`process`] | CPU time and memory of the CA, read from `/proc` |
//! | [`summary`] | figures, ratios, the file |

pub mod audit;
pub mod ceilings;
pub mod client;
pub mod decide;
pub mod dice;
pub mod fleet;
pub mod history;
pub mod hosts;
pub mod load;
pub mod log_size;
pub mod offline;
pub mod process;
pub mod reach;
pub mod recorder;
pub mod search;
pub mod summary;
pub mod upgrade;
