//! Search: what recordings showed, found by its words. A view: whoever can change `search.sqlite` can hide a line
//! from a search and nothing else; it may be deleted, and comes back from the recordings.
//!
//! | file | what it does |
//! |---|---|
//! | `screen` | what a terminal showed, line by line, also of programs that draw over it |
//! | `text` | the lines of one recording: of its screen, or of its plain streams |
//! | `file` | whose a file is, before it is written; an index that is made anew |
//! | `index` | the database: one recording in, out; which are new |
//! | `query` | words and conditions in, lines out |
//!
//! | limit | value | why |
//! |---|---|---|
//! | [`COLUMNS`], [`ROWS`] | 500 by 200 | a large display; a screen of 100,000 cells is 4 MB |
//! | [`FED`] | 512 MiB of output a recording | some ten seconds |
//! | [`CELLS`] | 2^30 cells looked at a recording | what a hostile program can cost beside that: some ten seconds |
//! | [`TEXT`] | 64 MiB of lines a recording | a thousand such fill a disk of 64 GiB |
//! | [`LINE`] | 4,096 bytes a line | longer ones are cut in several |
//!
//! A recording that comes to a limit is marked, and a search says that it was not read to its end.

mod file;
pub mod index;
pub mod query;
mod screen;
mod text;

pub use index::{Index, SearchFault};
pub use query::{Found, Query};
pub use screen::Screen;
pub use text::{Line, Text};

/// Columns of the terminal that is emulated, at most.
pub const COLUMNS: u16 = 500;
/// Rows, at most.
pub const ROWS: u16 = 200;
/// Bytes of output that are rendered of one recording.
pub const FED: u64 = 512 << 20;
/// Cells that are looked at for one recording.
pub const CELLS: u64 = 1 << 30;
/// Bytes of lines that are kept of one recording.
pub const TEXT: u64 = 64 << 20;
/// Bytes of one line.
pub const LINE: usize = 4096;
