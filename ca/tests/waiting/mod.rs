//! A slow, obvious model of emergencies in which things wait for people, and a small reader of the log's own
//! bytes. They share nothing with the CA but the types of question and answer.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

pub mod bytes;
pub mod model;
pub mod moves;
pub mod world;
