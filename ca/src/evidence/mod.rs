//! Evidence put together in one file that leaves the CA: the dossier of an emergency, the export of a period.
//! Reads log and recordings, signs and logs nothing: certificates, and the entry by which the log's key signs the
//! manifest, are asked of the running CA by whoever calls.
//!
//! | file | what it does |
//! |---|---|
//! | `collect` | which entries an emergency is, and rests on |
//! | `dossier` | its parts |
//! | `period`, `period_page`, `tables` | the parts of a period |
//! | `draft` | parts that are known and not yet written; their manifest; the zip |
//! | `cell` | a cell of a table that no spreadsheet takes for a formula |

mod cell;
mod collect;
mod dossier;
mod draft;
mod period;
mod period_page;
mod tables;

pub use collect::{Collected, collect};
pub use dossier::dossier;
pub use draft::{Draft, Fault, Logged};
pub use period::{PeriodQuery, period};
