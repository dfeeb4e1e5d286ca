//! What the daemon is asked over its socket, and what it answers: one JSON line each, at most
//! [`LINE`] bytes.
//!
//! Nothing in a question is believed because it says so: who asks is what the kernel says of the other end
//! (`SO_PEERCRED`: pid and uid). Everybody on the host may connect; what each may ask is in the table.
//!
//! | question | may ask | what is believed of it |
//! |---|---|---|
//! | [`Ask::Considered`] | anybody | a line in the journal, a hint for [`Ask::Opened`]; never a right |
//! | [`Ask::Opened`] | uid 0 | the certificate, once its signature and receipt hold |
//! | [`Ask::Begin`] | whoever descends from a registered connection, with its account's uid | the kind of session |
//! | [`Ask::Status`] | uid 0 | – |
//! | [`Ask::Applied`] | uid 0 | nothing: it is looked, at most once in ten seconds |

use fireaxe_protocol::names::{AccountName, EmergencyId, TierName};
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Nonce;
use serde::{Deserialize, Serialize};

/// Where the daemon listens. Root-owned folder; the socket itself is open to everybody.
pub const SOCKET: &str = "/run/fireaxe/host.sock";
/// The longest line, either way. Bytes. A certificate at its limit is 22 KiB of base64.
pub const LINE: usize = 64 * 1024;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// `principals` has judged a certificate, before its holder proved to have the key. No answer.
    Considered {
        /// The monitor: parent of the program that sshd ran.
        monitor: u32,
        /// The account asked for.
        account: String,
        /// The certificate's serial, if it could be read.
        serial: Option<u64>,
        /// Why it was refused; nothing: its principals were printed.
        refused: Option<Reason>,
    },
    /// The PAM hook: a certificate came in. The monitor is the parent of the process that asks.
    Opened {
        /// `PAM_USER`.
        account: AccountName,
        /// `PAM_RHOST`.
        from: String,
        /// The whole certificate, base64, from `SSH_AUTH_INFO_0`.
        certificate: String,
    },
    /// The recorder: may I, and what am I to run? After the answer the same socket carries the recording.
    Begin {
        /// Whether a terminal was allocated.
        terminal: Option<Terminal>,
        /// `SSH_ORIGINAL_COMMAND`: what the client asks to run; nothing: a shell.
        asked: Option<String>,
    },
    /// How things are, for `status` and `doctor`.
    Status,
    /// `apply` has changed how sshd lets people in, or put it back: the CA's view of it is old.
    Applied,
}

/// A terminal's kind and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terminal {
    /// `TERM`.
    pub term: String,
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// The connection is registered.
    Registered {
        /// Its name.
        connection: Nonce,
    },
    /// It is noted.
    Noted,
    /// The session may run.
    Run(Box<Run>),
    /// It may not, and why.
    Refused(Reason),
    /// `status`, as JSON of `fireaxe.host-status/v1`.
    Status(serde_json::Value),
}

/// What a session is to run, and what its user is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The name of its recording.
    pub recording: Nonce,
    /// The one command line that the certificate names; nothing: what the client asks, or a shell.
    pub command: Option<String>,
    /// The shell that runs it: absolute path.
    pub shell: String,
    /// Whether it is recorded.
    pub record: Record,
    /// The emergency, for the banner; none for a self-test.
    pub emergency: Option<EmergencyId>,
    /// The tier, for the banner.
    pub tier: TierName,
    /// When it ends, unix seconds.
    pub until: u64,
}

/// What the daemon tells a recorder while it runs, a line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Notice {
    /// It ends then (unix seconds), for this reason: shown to its user.
    Ends {
        /// When.
        at: u64,
        /// Why, in words.
        why: String,
    },
    /// A certificate with a later end is there: it goes on until then.
    Goes {
        /// When it ends now, unix seconds.
        until: u64,
    },
}
