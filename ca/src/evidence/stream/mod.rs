//! The log as a stream of events for other systems: at least once, in order, with a stable name each, so that whoever
//! collects them can drop what comes twice. A process of its own with a reader of its own: the CA never waits for it.
//!
//! What is sent is one batch after the other. A batch has arrived when its lines are on the disk or in the pipe, or
//! when the connection that carried it, and nothing else, was closed by both ends; only then does the position move.
//! Whatever goes wrong before that, the batch is sent again.
//!
//! | file | |
//! |---|---|
//! | `ocsf.rs`, `syslog.rs` | an entry -> an event, an event -> a message |
//! | `position.rs` | where the stream stands, in a file of the operator's |
//! | `target.rs`, `lines.rs`, `tls.rs` | where to, and what it takes for a batch to have arrived |
//! | `pump.rs` | the loop: read, deliver, move on; or wait and try again |

mod lines;
mod ocsf;
mod position;
mod pump;
mod syslog;
mod target;
mod tls;

use fireaxe_protocol::log::{Entry, Hash, line1};
use fireaxe_protocol::names::{EmergencyId, Origin};
use serde_json::json;

pub use lines::Lines;
pub use position::{Position, PositionError, PositionFile};
pub use pump::{Batch, Follow, Pace, Pump, PumpError, Source, Undelivered};
pub use target::{Target, TargetError};
pub use tls::{Tls, TlsError};

/// What an event looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OCSF 1.3.
    Ocsf,
    /// The entry's own bytes, as text in JSON.
    Jsonl,
}

/// One event, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The entry's place in the log.
    pub index: u64,
    /// Its time, unix seconds.
    pub at: u64,
    /// Its leaf hash: the event's name for ever.
    pub leaf: Hash,
    /// `certificate.issued`.
    pub kind: String,
    /// The emergency that it names.
    pub emergency: Option<EmergencyId>,
    /// The log's name.
    pub origin: String,
    /// As OCSF counts: 1 informational, 4 high.
    pub severity: u32,
    /// JSON, one line.
    pub text: String,
    /// The same without what makes it long, for where there is a bound.
    pub short: String,
}

impl Item {
    /// The event of an entry, whose bytes are `bytes`.
    pub fn of(entry: &Entry, bytes: &[u8], leaf: Hash, origin: &Origin, format: Format) -> Item {
        let kind = ocsf::kind_of(&entry.event);
        let text = |short: bool| match format {
            Format::Ocsf => ocsf::event(entry, &leaf, origin, short).to_string(),
            Format::Jsonl => {
                // Text, not an object: so its leaf can be computed from it.
                let whole = (!short).then(|| String::from_utf8_lossy(bytes));
                let first = short
                    .then(|| String::from_utf8_lossy(line1(bytes)).chars().take(200).collect::<String>());
                json!({
                    "schema": "fireaxe.entry/v1", "log": origin, "index": entry.index, "at": entry.at,
                    "kind": kind, "leaf": leaf, "entry": whole, "cut": first,
                })
                .to_string()
            }
        };
        Item {
            index: entry.index,
            at: entry.at,
            leaf,
            emergency: entry.event.emergency(),
            origin: origin.to_string(),
            severity: ocsf::mapping(&entry.event).severity,
            text: text(false),
            short: text(true),
            kind,
        }
    }
}
