//! What hosts and the CA say to each other: what a host reports under its own key, and the command by which
//! a certificate names the recorder.
//!
//! | file | what it holds |
//! |---|---|
//! | `join_token` | the secret with which a host joins, once |
//! | `report` | what a host signs: sessions, confirmations, alarms, heartbeats |
//! | `session_command` | the forced command of a recorded tier, written and read |

mod join_token;
mod report;
mod session_command;

pub use join_token::JoinToken;
pub use report::{
    Change, Confirmed, EndReason, Heartbeat, Mode, Planted, PlantedKind, Recorded, Report, SelfTest,
    SessionClosed, SessionOpened, Stray, StrayKind, Swept,
};
pub use session_command::{RECORDER, SessionCommand};
