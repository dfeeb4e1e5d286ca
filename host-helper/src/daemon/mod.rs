//! `fireaxe-host run`: the daemon. It follows the CA, keeps the revocation list, registers what comes in and
//! ends it in time, and says so under the host's key.
//!
//! Threads that wait. One that ends is started again (`threads`); what it touched is on the disk. Idle, the
//! daemon wakes for the CA's comment line every ten seconds, and some three times a minute of its own.
//!
//! | thread | waits for | may touch |
//! |---|---|---|
//! | `socket` | a connection on [`words::SOCKET`] | nothing: it hands each question to a thread of its own |
//! | `question` | one line, two seconds | what [`Rooms`] hands it to: [`Connections`] |
//! | `session` | what a recorder writes | the [`Sink`]; at its end [`Connections::ended`] |
//! | `deadlines` | the next end of a connection | [`Connections`] |
//! | `feed` | the CA's next event | sshd's revocation list, the [`witness`]' head; tells [`Connections`] |
//! | `poll` | a minute | the same list, when the feed did not bring it |
//! | `sender` | something in the [`crate::spool`] | the spool's folder |
//! | `uploads` | a recording that grows | the recordings' folder |
//! | `heartbeat` | a minute, a new list, or an `apply` | nothing |
//! | `renewal` | an hour | the host certificate; reloads sshd |
//!
//! Rooms say what the CA must learn to [`crate::reports::Reports`]. Times are [`crate::clock`]'s.
//!
//! | file | what it does |
//! |---|---|
//! | `run` | starts everything, in order |
//! | `rooms` | what the threads know of the rooms behind them |
//! | [`socket`], [`words`], [`call`] | the socket: served, spoken, asked |
//! | `feed`, `lists`, [`witness`] | the CA's news: the list is taken, the log's head is checked |
//! | `heartbeat`, [`renewal`] | how the host is; its certificate |
//! | `ready` | tells systemd that it can be asked |
//! | `threads` | threads that do not end |

pub mod call;
mod feed;
mod heartbeat;
mod lists;
mod ready;
pub mod renewal;
mod rooms;
mod run;
pub mod socket;
mod threads;
pub mod witness;
pub mod words;

pub use rooms::{Beginning, Begun, Connections, Considering, InForce, Opening, Rooms, Sink, Took};
pub use run::{Live, Places, run};
