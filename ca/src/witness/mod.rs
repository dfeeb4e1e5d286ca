//! Witnesses: others, run elsewhere by others, who cosign each head of the log once they have the proof that it
//! only grew (C2SP tlog-witness). Both ends are here: the CA's, which asks, and a small witness for a second site.
//!
//! A witness is trusted to remember one head of each log and to cosign no other past. It learns the size and root
//! of the log, nothing of its entries. What it says is believed for its signature alone, but for one thing: that
//! it has cosigned more than this log has, or another past of it ([`crate::road::Ahead`]). That stops the CA, unsigned: whoever
//! can answer in a witness's place can stop it, not make it sign.
//!
//! | file | what it holds |
//! |---|---|
//! | `exchange` | what is asked and answered, as text: pure |
//! | `board` | who has cosigned which head, who is left out of the wait: pure |
//! | `asking` | [`Witnesses`]: a thread for each witness, what the road waits for |
//! | `http` | one request over a kept-alive connection, bounded |
//! | `memory` | the witness's own: which head it cosigned last, durable before it is told |
//! | `site` | the witness's HTTP |
//! | `places` | who may hold a connection to it |

mod asking;
mod board;
mod exchange;
mod http;
mod memory;
mod places;
mod site;

#[cfg(test)]
mod tests;

pub use asking::{Settings, WitnessError, Witnesses};
pub use http::{Roots, platform_roots};
pub use memory::{Memory, MemoryError};
pub use site::{Site, serve};
