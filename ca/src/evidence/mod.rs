//! What is made of log and recordings for those who look from outside: the dossier of an emergency and the export
//! of a period, each one file that leaves the CA; whether something is missing; a stream of events. Reads only,
//! signs and logs nothing, and the service never waits for it: certificates, and the entry by which the log's key
//! signs a manifest, are asked of the running CA by whoever calls.
//!
//! | file | what it does |
//! |---|---|
//! | `collect` | which entries an emergency is, and rests on |
//! | `dossier` | its parts |
//! | `period`, `period_page`, `tables` | the parts of a period |
//! | `draft` | parts that are known and not yet written; their manifest; the zip |
//! | `cell` | a cell of a table that no spreadsheet takes for a formula |
//! | [`reconcile`] | sshd's logs, hosts' reports, recordings and the log against each other |
//! | [`stream`] | the log as events for another system, at least once |

mod cell;
mod collect;
mod dossier;
mod draft;
mod period;
mod period_page;
pub mod reconcile;
pub mod stream;
mod tables;

pub use collect::{Collected, collect};
pub use dossier::dossier;
pub use draft::{Draft, Fault, Logged};
pub use period::{PeriodQuery, period};
