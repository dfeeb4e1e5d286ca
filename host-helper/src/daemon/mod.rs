//! `fireaxe-host run`: the daemon. It follows the CA, keeps the revocation list, registers what comes in and
//! ends it in time, and says so under the host's key.
//!
//! Threads that wait; none polls. A thread that ends is started again; what it touched is on the disk.
//!
//! | thread | waits for | may touch |
//! |---|---|---|
//! | `socket` | a connection on [`words::SOCKET`] | nothing: it hands each question to a thread of its own |
//! | `question` | one line, two seconds | what [`Rooms`] hands it to: [`Connections`] |
//! | `session` | what a recorder writes | the [`Sink`]; at its end [`Connections::ended`] |
//! | `deadlines` | the next end of a connection | [`Connections`] |
//!
//! Rooms say what the CA must learn to [`crate::reports::Reports`]. Times are [`crate::clock`]'s.

pub mod call;
mod rooms;
pub mod socket;
pub mod words;

pub use rooms::{Beginning, Begun, Connections, Considering, InForce, Opening, Rooms, Sink, Took};
